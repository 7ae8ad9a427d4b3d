"""A page of another site, open in a browser on the machine of the platform, against every port that `up` opens."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol, TypeVar

import psutil
import pytest
from playwright.sync_api import Browser, Error, Page

from groundswell.adapters.data_directory import DirectoryLock
from groundswell.adapters.qdrant import QdrantIndex
from groundswell.adapters.qdrant_embedded import running_engine
from tests.chromium import chromium

T = TypeVar("T")
ELSEWHERE = "evil.test"
"""A name of the attacker's. It leads to this machine, as a rebound name does."""
PATIENCE_S = 120
ENOUGH = 200

SIMPLE_REQUESTS = """async ([port, collections]) => {
  const base = `http://127.0.0.1:${port}`;
  const all = JSON.stringify({filter: {}});
  const paths = collections.flatMap(name => [`/collections/${name}/points/delete`, `/collections/${name}/points`]);
  for (const path of [...paths, '/v1/rules', '/']) {
    for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x']) {
      await fetch(base + path, {method: 'POST', mode: 'no-cors', headers: {'content-type': type}, body: all})
        .catch(() => null);
    }
    navigator.sendBeacon(base + path, new Blob([all], {type: 'text/plain'}));
  }
  for (const method of ['DELETE', 'PUT']) {
    for (const name of collections) {
      await fetch(`${base}/collections/${name}`, {method, body: all, headers: {'content-type': 'application/json'}})
        .catch(() => null);
    }
  }
}"""
READ = """async ([port, path]) => {
  try { return await (await fetch(`http://127.0.0.1:${port}${path}`)).text(); } catch (error) { return null; }
}"""


class Platform(Protocol):
    url: str
    data_dir: Path


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run it in a thread: the browser's driver has an event loop in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


class Blank(BaseHTTPRequestHandler):
    """A page of another site."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>Elsewhere</title>")

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium(flags=[f"--host-resolver-rules=MAP {ELSEWHERE} 127.0.0.1"]) as browser:
        yield browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that another site has served."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Blank)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    tab = browser.new_page()
    try:
        tab.goto(f"http://{ELSEWHERE}:{server.server_address[1]}/")
        yield tab
    finally:
        tab.close()
        server.shutdown()
        serving.join()
        server.server_close()


def open_ports(platform: Platform) -> set[int]:
    """Every port that a process of the platform listens on."""
    holder = DirectoryLock(platform.data_dir).holder()
    assert holder is not None
    process = psutil.Process(holder)
    ports: set[int] = set()
    for each in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            listening = (c for c in each.net_connections("inet") if c.status == psutil.CONN_LISTEN)
            ports.update(connection.laddr.port for connection in listening)
    return ports


def filled(platform: Platform) -> list[int]:
    """The points of the index, once there are some hundred."""
    until = time.monotonic() + PATIENCE_S
    while len(found := run(points(platform))) <= ENOUGH:
        assert time.monotonic() < until, f"only {len(found)} posts are indexed"
        time.sleep(0.2)
    return found


async def points(platform: Platform) -> list[int]:
    engine = running_engine(platform.data_dir / "qdrant")
    assert engine is not None
    index = QdrantIndex(engine.url, api_key=engine.api_key)
    try:
        pks: list[int] = []
        while page := await index.pks(pks[-1] if pks else -1, 1_000):
            pks += page
        return pks
    finally:
        await index.close()


async def collections(platform: Platform) -> list[str]:
    engine = running_engine(platform.data_dir / "qdrant")
    assert engine is not None
    index = QdrantIndex(engine.url, api_key=engine.api_key)
    try:
        return [index.collection_of(space.name) for space in await index.spaces()]
    finally:
        await index.close()


def engine_port(platform: Platform) -> int:
    engine = running_engine(platform.data_dir / "qdrant")
    assert engine is not None
    return int(engine.url.rpartition(":")[2])


def test_a_page_of_another_site_deletes_nothing_by_simple_requests_at_any_port(platform: Platform, page: Page) -> None:
    before, names, ports = filled(platform), run(collections(platform)), open_ports(platform)
    assert engine_port(platform) in ports
    for port in ports:
        page.evaluate(SIMPLE_REQUESTS, [port, names])
    after = set(run(points(platform)))
    # Posts that their authors delete meanwhile leave the index as well.
    assert sum(pk in after for pk in before) > 0.9 * len(before)


def test_a_page_of_another_site_reads_nothing_at_any_port(platform: Platform, page: Page) -> None:
    for port in open_ports(platform):
        for path in ("/", "/collections", "/healthz", "/v1/status", "/v1/posts"):
            assert page.evaluate(READ, [port, path]) is None, f"port {port} let another site read {path}"


def test_a_name_rebound_to_this_machine_leads_into_the_engine_for_nobody(platform: Platform, page: Page) -> None:
    base = f"http://{ELSEWHERE}:{engine_port(platform)}"
    filled(platform)
    (name,) = run(collections(platform))
    for path in ("/", "/collections", f"/collections/{name}", "/healthz"):
        answer = page.goto(base + path)
        assert answer is not None
        assert answer.status == 421
        assert name not in page.content()
    # From here on the page has the engine's own origin, so that the browser lets it send and read everything.
    for method, path in (("GET", "/collections"), ("DELETE", f"/collections/{name}")):
        said = page.evaluate(
            "async ([method, path]) => { const answer = await fetch(path, {method}); return answer.status; }",
            [method, path],
        )
        assert said == 421
    assert run(collections(platform)) == [name]


def test_a_form_that_is_sent_into_the_engine_changes_nothing(platform: Platform, page: Page) -> None:
    filled(platform)
    (name,) = run(collections(platform))
    action = f"http://127.0.0.1:{engine_port(platform)}/collections/{name}/points/delete"
    page.set_content(
        f'<form method="post" enctype="text/plain" action="{action}"><input name=\'{{"filter":{{}},"a\'></form>'
    )
    with contextlib.suppress(Error), page.expect_navigation():
        page.evaluate("document.forms[0].submit()")
    assert name not in page.content()
    assert run(collections(platform)) == [name]
    assert run(points(platform))
