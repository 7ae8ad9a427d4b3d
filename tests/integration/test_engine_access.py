"""The embedded engine belongs to its platform alone: other users, other names, pages in browsers are refused."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from groundswell.adapters.qdrant import QdrantIndex
from groundswell.adapters.qdrant_embedded import EmbeddedQdrant, running_engine
from groundswell.adapters.qdrant_embedded.process import API_KEY_VARIABLE
from groundswell.ports.vectors import Space

ROUTES = (
    ("GET", "/"),
    ("GET", "/collections"),
    ("GET", "/collections/c"),
    ("PUT", "/collections/c"),
    ("PATCH", "/collections/c"),
    ("DELETE", "/collections/c"),
    ("GET", "/collections/c/exists"),
    ("PUT", "/collections/c/index"),
    ("PUT", "/collections/c/vectors/v"),
    ("DELETE", "/collections/c/vectors/v"),
    ("PUT", "/collections/c/points"),
    ("POST", "/collections/c/points"),
    ("POST", "/collections/c/points/delete"),
    ("POST", "/collections/c/points/query"),
    ("POST", "/collections/c/points/query/batch"),
    ("POST", "/collections/c/points/scroll"),
    ("POST", "/collections/c/points/count"),
    ("GET", "/telemetry"),
    ("GET", "/no/such/path"),
)


@asynccontextmanager
async def asking(engine: EmbeddedQdrant, **headers: str) -> AsyncGenerator[httpx.AsyncClient]:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    async with httpx.AsyncClient(base_url=engine.url, headers=given, trust_env=False) as http:
        yield http


async def statuses(engine: EmbeddedQdrant, **headers: str) -> set[int]:
    async with asking(engine, **headers) as http:
        return {(await http.request(method, path)).status_code for method, path in ROUTES}


def test_every_route_asks_for_the_key_that_was_made_at_the_start(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with EmbeddedQdrant(tmp_path) as engine:
            assert await statuses(engine) == {401}
            assert await statuses(engine, api_key="x") == {401}
            assert await statuses(engine, api_key=engine.api_key[:-1]) == {401}
            assert await statuses(engine, authorization="Bearer x") == {401}
            assert not await statuses(engine, api_key=engine.api_key) & {401, 403, 421}
            assert not await statuses(engine, authorization=f"Bearer {engine.api_key}") & {401, 403, 421}
            assert len(engine.api_key) >= 40

    asyncio.run(scenario())


def test_two_engines_have_two_keys_and_a_restart_keeps_its_own(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with EmbeddedQdrant(tmp_path / "a") as first, EmbeddedQdrant(tmp_path / "b") as second:
            assert first.api_key != second.api_key
            assert await statuses(second, api_key=first.api_key) == {401}
            index = QdrantIndex(first.url, api_key=first.api_key)
            await first.stop()
            await first.start()
            assert await index.check()
            await index.close()

    asyncio.run(scenario())


def test_what_is_open_without_a_key_says_nothing_of_what_is_stored(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with EmbeddedQdrant(tmp_path) as engine, asking(engine) as http:
            before = (await http.get("/healthz")).json()["result"]
            index = QdrantIndex(engine.url, api_key=engine.api_key)
            await index.ensure(Space("toy", 4))
            await index.close()
            for path in ("/healthz", "/readyz", "/livez"):
                assert (await http.get(path)).json()["result"] == before == {"title": "ok"}

    asyncio.run(scenario())


@pytest.mark.parametrize("path", ["/collections", "/healthz"])
def test_a_name_that_was_made_to_point_here_is_refused_with_the_right_key_too(tmp_path: Path, path: str) -> None:
    async def scenario() -> list[int]:
        async with EmbeddedQdrant(tmp_path) as engine, asking(engine, api_key=engine.api_key) as http:
            port = engine.url.rpartition(":")[2]
            names = (f"evil.test:{port}", f"localhost:{port}", "127.0.0.1", f"127.0.0.1:{int(port) + 1}", "")
            return [(await http.get(path, headers={"host": name})).status_code for name in names]

    assert asyncio.run(scenario()) == [421] * 5


def test_what_a_browser_sends_is_refused_with_the_right_key_too(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with EmbeddedQdrant(tmp_path) as engine:
            key = engine.api_key
            assert await statuses(engine, api_key=key, origin="http://evil.test") == {403}
            assert await statuses(engine, api_key=key, origin="null") == {403}
            assert await statuses(engine, api_key=key, origin=engine.url) == {403}
            assert await statuses(engine, api_key=key, sec_fetch_site="cross-site") == {403}
            assert await statuses(engine, api_key=key, sec_fetch_mode="no-cors") == {403}

    asyncio.run(scenario())


def test_a_body_of_another_type_than_json_changes_nothing(tmp_path: Path) -> None:
    async def scenario() -> list[int]:
        async with EmbeddedQdrant(tmp_path) as engine, asking(engine, api_key=engine.api_key) as http:
            body = b'{"vectors": {"v": {"size": 4, "distance": "Dot"}}}'
            kinds = ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "")
            answers = [await http.put("/collections/c", content=body, headers={"content-type": kind}) for kind in kinds]
            assert (await http.get("/collections")).json()["result"] == {"collections": []}
            return [answer.status_code for answer in answers]

    assert asyncio.run(scenario()) == [400] * 4


@pytest.mark.skipif(os.name != "posix", reason="modes are those of POSIX systems")
def test_the_key_lies_in_no_place_that_another_user_reads(tmp_path: Path) -> None:
    async def scenario() -> None:
        folder = tmp_path / "qdrant"
        folder.mkdir(mode=0o755)
        async with EmbeddedQdrant(folder) as engine:
            assert engine.pid is not None
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            assert stat.S_IMODE((folder / "address").stat().st_mode) == 0o600
            assert engine.api_key not in " ".join(psutil.Process(engine.pid).cmdline())
            readable = [path for path in folder.rglob("*") if path.is_file() and path.stat().st_mode & 0o077]
            assert not [path for path in readable if engine.api_key.encode() in path.read_bytes()]
            found = running_engine(folder)
            assert found is not None
            assert (found.url, found.api_key, found.pid) == (engine.url, engine.api_key, engine.pid)
            assert engine.api_key not in repr(found)

    asyncio.run(scenario())


def test_an_engine_without_a_key_does_not_start(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "groundswell.adapters.qdrant_embedded", "--path", str(tmp_path)]
    environment = {name: value for name, value in os.environ.items() if name != API_KEY_VARIABLE}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode != 0
    assert API_KEY_VARIABLE in ended.stdout


ATTACK = """
import http.client, pathlib, sys
for name in pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[1]) / "address":
    try:
        print("read", name, list(name.iterdir()) if name.is_dir() else name.read_bytes())
    except PermissionError:
        pass
for method, path in ("GET", "/collections"), ("DELETE", "/collections/c"), ("POST", "/collections/c/points/delete"):
    connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[2]))
    connection.request(method, path, b'{"filter": {}}', {"content-type": "application/json"})
    answer = connection.getresponse()
    print(answer.status)
try:
    print("read", pathlib.Path(f"/proc/{sys.argv[3]}/environ").read_bytes())
except PermissionError:
    pass
"""


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can run a process of another user")
def test_another_user_of_this_machine_reads_and_changes_nothing() -> None:
    async def scenario(folder: Path) -> str:
        async with EmbeddedQdrant(folder / "qdrant") as engine:
            # Another user's Python: this one's may lie where only root reads.
            python = shutil.which("python3", path="/usr/local/bin:/usr/bin:/bin")
            if python is None:
                pytest.skip("there is no Python that every user may run")
            arguments = [str(folder / "qdrant"), engine.url.rpartition(":")[2], str(engine.pid)]
            attacker = await asyncio.create_subprocess_exec(
                python, "-c", ATTACK, *arguments, user="nobody", cwd="/", stdout=subprocess.PIPE, env={}
            )
            said, _ = await attacker.communicate()
            assert attacker.returncode == 0
            return said.decode()

    with tempfile.TemporaryDirectory(prefix="groundswell-tests-") as folder:
        Path(folder).chmod(0o755)
        assert asyncio.run(scenario(Path(folder))).split() == ["401", "401", "401"]
