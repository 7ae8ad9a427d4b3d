"""The function of the API as it is deployed: how long a new process takes to its first answer, and how long a warm one.

What runs is the content of the zip, for this machine's architecture, under the Python that functions are deployed for,
with AWS's runtime client and the part of a core that the deployed memory buys. It reads its database's address from a
parameter store and connects to a real Postgres, both over TLS. Nothing is written beside the code, as on Lambda.
INIT has a whole core, or no more than the share: AWS's guides promise the core, its reference only the share.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import certifi
import psutil
import psycopg
from aiohttp import web

from bench.api import COUNT, FILL
from bench.processes import cpu_s
from bench.report import publish, quantile
from bench.vectors import posts as texts_of
from bench.vectors import words
from cdk import assets, pythons
from deployment.knobs import load
from groundswell.adapters.embedded_postgres import EmbeddedPostgres
from groundswell.adapters.migrations import migrate
from groundswell.adapters.postgres_access import SOCKET_PORT
from groundswell.adapters.postgres_indexed import PostgresIndexed
from groundswell.adapters.postgres_pool import open_pool
from groundswell.services.index_upkeep import CUT_POSTS
from rehearsal import runtime
from rehearsal.authority import Authority
from rehearsal.cpu_share import CpuShare, NoCpuShare, cores_of
from rehearsal.events import http_event
from rehearsal.local_lambda import LocalFunction
from rehearsal.network import HOST, DatabaseDoor
from rehearsal.stage import free_ports

GOAL_COLD_S = 1.0
GOAL_WARM_MS = 10
POSTS = 20_000
HANDLER = "functions.api.handler.handler"
FIRST = ("/v1/momentum", "limit=20")
READS = {
    "momentum, top 20": "/v1/momentum?limit=20",
    "posts, newest 20": "/v1/posts?limit=20",
}
"""What may be cached: the same answer serves many."""
SEARCHES = {
    "search by a common word": "/v1/search?q=new&limit=10",
    "search by two words": "/v1/search?q=new+people&limit=10",
}
"""Made anew for everybody: `bench.search` has more of them, and a goal of their own."""
SHOWN_IMPORTS = 10
PARAMETER = "arn:aws:ssm:us-east-1:123456789012:parameter/groundswell/database/api"
LOOP_TURNS = 2_000_000


@dataclass(frozen=True)
class Deployed:
    """A function as it is deployed, on this machine."""

    code: Path
    python: str
    memory_mb: int
    environment: Mapping[str, str]

    def process(self, cpu: CpuShare | None) -> LocalFunction:
        return LocalFunction("api", HANDLER, self.environment, code=self.code, python=self.python, cpu=cpu)


class Start(NamedTuple):
    """One cold start."""

    ready_s: float
    """INIT: until the process asked for its first event."""
    answered_s: float
    """Until it had answered it."""
    work_s: float
    """Processor time of all that."""


def unpack(folder: Path, python: str) -> Path:
    """The content of the zip, for this machine's architecture."""
    with zipfile.ZipFile(assets.build("api", runtime.PLATFORM, python)) as archive:
        archive.extractall(folder)
    return folder


@asynccontextmanager
async def surroundings(folder: Path) -> AsyncGenerator[dict[str, str]]:
    """A filled database and a parameter store, both over TLS. Yields the variables that lead there."""
    async with AsyncExitStack() as stack:
        server = EmbeddedPostgres(folder / "postgres")
        url = await server.start()
        stack.push_async_callback(server.stop)
        await migrate(url)
        await fill(url)
        authority = Authority(folder / "authority", "Groundswell bench")
        tls = authority.server([], [HOST])
        (port,) = free_ports(1)
        parts = urlsplit(url)
        door = DatabaseDoor(Path(parse_qs(parts.query)["host"][0]) / f".s.PGSQL.{SOCKET_PORT}", port)
        await door.open(tls)
        stack.push_async_callback(door.close)
        parameter = await stack.enter_async_context(
            parameter_store(f"postgresql://{parts.username or ''}@{HOST}:{port}{parts.path}", tls)
        )
        # As many authorities as a machine of AWS knows.
        authorities = folder / "authorities.pem"
        authorities.write_text(certifi.contents() + authority.file.read_text("utf-8"), "utf-8")
        yield {
            "GROUNDSWELL_DATABASE_URL": PARAMETER,
            "GROUNDSWELL_DATABASE_CA": str(authority.file),
            "GROUNDSWELL_DATABASE_POOL_SIZE": "2",
            "GROUNDSWELL_RATE_LIMIT_PER_MINUTE": "0",
            "GROUNDSWELL_DATA_DIR": str(folder / "tmp"),
            "GROUNDSWELL_LOG_LEVEL": "warning",
            "AWS_ENDPOINT_URL_SSM": parameter,
            "AWS_CA_BUNDLE": str(authorities),
        }


@asynccontextmanager
async def parameter_store(value: str, tls: ssl.SSLContext) -> AsyncGenerator[str]:
    """What answers every `GetParameter` with this value. Yields its address."""

    async def answer(request: web.Request) -> web.Response:
        assert request.headers["X-Amz-Target"] == "AmazonSSM.GetParameter"
        assert request.headers["Authorization"].startswith("AWS4-HMAC-SHA256 ")
        return web.json_response({"Parameter": {"Value": value}}, content_type="application/x-amz-json-1.1")

    app = web.Application()
    app.router.add_post("/", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, HOST, 0, ssl_context=tls).start()
    try:
        yield f"https://{HOST}:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


async def fill(url: str) -> None:
    """Posts of ordinary words, cut into terms as the relay cuts them, and what is counted of them."""
    with psycopg.connect(url) as conn:
        conn.execute(FILL, {"posts": POSTS})
        conn.execute(
            "UPDATE posts SET text = t.text FROM unnest(%s::text[]) WITH ORDINALITY AS t (text, n) WHERE pk = t.n",
            (texts_of(POSTS, words()),),
        )
    pool = await open_pool(url, size=1, wait_s=5.0, statement_timeout_s=30.0, application_name="bench")
    try:
        while await PostgresIndexed(pool).cut(CUT_POSTS):
            pass
    finally:
        await pool.close()
    with psycopg.connect(url) as conn:
        conn.execute(COUNT)


async def cold(deployed: Deployed, *, limited_init: bool = False, **more: str) -> Start:
    """A process to its first answer.

    Args:
        limited_init: INIT has no more than the share of a core that the memory buys.

    Raises:
        NoCpuShare: the machine cannot hold it to its share.
    """
    cores = cores_of(deployed.memory_mb)
    cpu = CpuShare("api", cores, in_init=cores if limited_init else None)
    async with LocalFunction(
        "api", HANDLER, {**deployed.environment, **more}, code=deployed.code, python=deployed.python, cpu=cpu
    ) as function:
        began = time.perf_counter()
        path, query = FIRST
        answer = await function.invoke(http_event("GET", path, query=query))
        whole = time.perf_counter() - began
        assert answer["statusCode"] == 200, f"{answer}\n{function.tail()}"
        return Start(function.init_s, whole, cpu_s(psutil.Process(function.pid)))


async def warm(deployed: Deployed, count: int) -> dict[str, float]:
    """95 of 100 answers take at most this many milliseconds, by read; asked for again with its ETag as well."""
    found: dict[str, float] = {}
    async with deployed.process(CpuShare("api", cores_of(deployed.memory_mb))) as function:
        for name, path in {**READS, **SEARCHES}.items():
            where, _, query = path.partition("?")
            first = await function.invoke(http_event("GET", where, query=query))
            assert first["statusCode"] == 200, first
            headers = {"if-none-match": first["headers"].get("etag", "")}
            for label, event in (
                (name, http_event("GET", where, query=query)),
                (f"{name}, not changed", http_event("GET", where, query=query, headers=headers)),
            ):
                times: list[float] = []
                for _ in range(count):
                    began = time.perf_counter()
                    await function.invoke(event)
                    times.append(time.perf_counter() - began)
                found[label] = quantile(times, 0.95) * 1000
    return found


def imports(deployed: Deployed) -> dict[str, float]:
    """Milliseconds that each top-level package takes by itself while the handler is imported."""
    said = subprocess.run(
        [deployed.python, "-X", "importtime", "-c", f"import {HANDLER.rpartition('.')[0]}"],
        env={"PATH": os.environ["PATH"], "AWS_LAMBDA_FUNCTION_NAME": "", **deployed.environment},
        cwd=deployed.code,
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    taken: Counter[str] = Counter()
    for own, name in re.findall(r"^import time:\s+(\d+) \|\s+\d+ \|\s+([\w.]+)$", said, re.MULTILINE):
        package = name.partition(".")[0]
        taken[package if package not in sys.stdlib_module_names else "the standard library"] += int(own)
    return {name: own / 1000 for name, own in taken.most_common()}


def loop_s(python: str) -> float:
    """Processor time of a fixed loop: what the machine is worth at this moment. Compare runs by it."""
    program = f"import time\nn = 0\nfor i in range({LOOP_TURNS}):\n    n += i * i % 7\nprint(time.process_time())"
    return float(subprocess.run([python, "-c", program], capture_output=True, text=True, check=True).stdout)


async def measure(folder: Path, options: argparse.Namespace) -> None:
    chosen = load({})
    wanted, memory_mb = chosen.function_python, options.memory or chosen.api_memory_mb
    python, notes = pythons.find(wanted), list[str]()
    if python is None:
        python, wanted = sys.executable, runtime.VERSION
        notes.append(f"Python {chosen.function_python} is not here: measured on {wanted}")
    python = runtime.alone(python, folder / "python")
    code = unpack(folder / "task", wanted)
    # Nobody promises that Lambda's own packages are compiled: here each start compiles what it imports of them.
    path = os.pathsep.join(map(str, (code, assets.runtime(runtime.PLATFORM, wanted))))
    rounds = range(options.rounds)
    async with surroundings(folder) as variables:
        deployed = Deployed(code, python, memory_mb, {**variables, "PYTHONPATH": path})
        try:
            await cold(deployed)
            before = loop_s(python)
            starts = [await cold(deployed) for _ in rounds]
            limited = [await cold(deployed, limited_init=True) for _ in rounds] if cores_of(memory_mb) < 1 else starts
            after = loop_s(python)
            traces = [await cold(deployed, GROUNDSWELL_TRACING="xray") for _ in rounds]
            answers = await warm(deployed, options.requests)
        except NoCpuShare as reason:
            raise SystemExit(f"Not measured, because functions would run with more than they have: {reason}") from None
        taken = imports(deployed)
    publish_all(f"Python {wanted}, {memory_mb} MB", notes, starts, limited, traces, answers, taken, (before, after))


def middle(starts: Sequence[Start]) -> Start:
    """The median of each figure."""
    return Start(*(statistics.median(each) for each in zip(*starts, strict=True)))


def publish_all(
    what: str,
    notes: Sequence[str],
    starts: Sequence[Start],
    limited: Sequence[Start],
    traces: Sequence[Start],
    answers: Mapping[str, float],
    taken: Mapping[str, float],
    loops: tuple[float, float],
) -> None:
    usual, worst, traced = middle(starts), middle(limited), middle(traces)
    best = min(each.answered_s for each in starts)
    rows = [(note, "", "") for note in notes]
    rows += [
        ("asks for its first event, s", f"{usual.ready_s:.2f}", ""),
        ("has answered it, s", f"{usual.answered_s:.2f} ({best:.2f} at best)", f"< {GOAL_COLD_S}"),
        ("  processor time of that, s", f"{usual.work_s:.2f}", ""),
        ("  where INIT has no more than the share, s", f"{worst.answered_s:.2f}", f"< {GOAL_COLD_S}"),
        ("  with tracing, s; processor time, s", f"{traced.answered_s:.2f}; {traced.work_s:.2f}", ""),
        (f"  a loop of {LOOP_TURNS:,} turns, before and after, s", f"{loops[0]:.2f}, {loops[1]:.2f}", ""),
    ]
    rows += [(f"  importing {name}, ms", f"{ms:.0f}", "") for name, ms in list(taken.items())[:SHOWN_IMPORTS]]
    rows.append(("  importing in all, ms", f"{sum(taken.values()):.0f}", ""))
    for name, ms in answers.items():
        rows.append(
            (f"warm p95: {name}, ms", f"{ms:.1f}", f"< {GOAL_WARM_MS}" if name.startswith(tuple(READS)) else "")
        )
    values: dict[str, Any] = {
        "starts": [each._asdict() for each in starts],
        "limited": [each._asdict() for each in limited],
        "traced": [each._asdict() for each in traces],
        "loop_s": loops,
        "imports_ms": dict(taken),
        "warm_p95_ms": dict(answers),
    }
    publish("cold_start", f"Cold start of the API as it is deployed, {what}", rows, values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--memory", type=int, help="MB of the function; those that are deployed by default")
    with tempfile.TemporaryDirectory(prefix="groundswell-bench-") as folder:
        # Postgres runs as a user of its own where this is root.
        Path(folder).chmod(0o755)
        asyncio.run(measure(Path(folder), parser.parse_args()))


if __name__ == "__main__":
    main()
