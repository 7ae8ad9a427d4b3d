"""The Lambda functions: size of each zip, cold start of the API with what its imports take, and warm answers.

The API runs under the real runtime client against a local Runtime API, over a real Postgres. Times are of this machine
and its packages; on Lambda a processor of another kind and a share of it (512 MB have 0.3 of one) do the work.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import psutil
import psycopg

from bench.api import COUNT, FILL
from bench.processes import cpu_s
from bench.report import publish, quantile
from bench.vectors import posts as texts_of
from bench.vectors import words
from cdk import assets
from deployment.knobs import DeploymentError, load
from groundswell.adapters.embedded_postgres import EmbeddedPostgres
from groundswell.adapters.migrations import migrate
from groundswell.adapters.postgres_indexed import PostgresIndexed
from groundswell.adapters.postgres_pool import open_pool
from groundswell.services.index_upkeep import CUT_POSTS
from rehearsal.cpu_share import CpuShare, NoCpuShare, cores_of
from rehearsal.events import http_event
from rehearsal.local_lambda import LocalFunction

GOAL_ZIP_MB = 50
GOAL_COLD_S = 1.5
GOAL_WARM_MS = 15
GOAL_SHARED = "< 1.0"
POSTS = 20_000
HANDLER = "functions.api.handler.handler"
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


def zips() -> tuple[list[tuple[str, str, str]], dict[str, object]]:
    """A row for each zip, as it is deployed; nothing where the packages cannot be fetched."""
    chosen, rows, values = load({}), [], {}
    for name, contents in assets.CONTENTS.items():
        try:
            path = assets.build(name, chosen.function_platform, chosen.function_python)
        except DeploymentError as error:
            return [("zips", "not built", str(error).splitlines()[0])], {}
        size, unpacked = path.stat().st_size / 1e6, assets.unpacked_bytes(path) / 1e6
        goal = f"< {assets.MOST_UNPACKED_BYTES / 1e6:.0f} unpacked" if contents.model else f"< {GOAL_ZIP_MB} zipped"
        rows.append((f"zip of {name}, MB (unpacked)", f"{size:.1f} ({unpacked:.0f})", goal))
        values[name] = {"zip_mb": size, "unpacked_mb": unpacked}
    return rows, values


def imports(environment: Mapping[str, str]) -> dict[str, float]:
    """Milliseconds that each top-level package takes by itself while the API's handler is imported."""
    said = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", f"import {HANDLER.rpartition('.')[0]}"],
        env={"PATH": os.environ["PATH"], "AWS_LAMBDA_FUNCTION_NAME": "api", **environment},
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    taken: Counter[str] = Counter()
    for own, name in re.findall(r"^import time:\s+(\d+) \|\s+\d+ \|\s+([\w.]+)$", said, re.MULTILINE):
        package = name.partition(".")[0]
        taken[package if package not in sys.stdlib_module_names else "the standard library"] += int(own)
    return {name: own / 1000 for name, own in taken.most_common()}


async def cold(environment: Mapping[str, str], cores: float = 1.0) -> tuple[float, float, float]:
    """Seconds of INIT, until the answer to the first event is there, and of the processor's time.

    `cores`: what the function has of the processor after its INIT.

    Raises:
        NoCpuShare: the machine cannot hold it to less than a core.
    """
    cpu = CpuShare("api", cores) if cores < 1 else None
    async with LocalFunction("api", HANDLER, environment, cpu=cpu) as function:
        began = time.perf_counter()
        answer = await function.invoke(http_event("GET", READS["momentum, top 20"].partition("?")[0], query="limit=20"))
        whole = time.perf_counter() - began
        assert answer["statusCode"] == 200, answer
        return function.init_s, whole, cpu_s(psutil.Process(function.pid))


async def warm(environment: Mapping[str, str], count: int) -> dict[str, float]:
    """95 of 100 answers take at most this many milliseconds, by read; asked for again with its ETag as well."""
    found: dict[str, float] = {}
    async with LocalFunction("api", HANDLER, environment) as function:
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


async def measure(folder: Path, rounds: int, count: int) -> None:
    rows, values = zips()
    server = EmbeddedPostgres(folder)
    url = await server.start()
    try:
        await migrate(url)
        await fill(url)
        environment = {
            "GROUNDSWELL_DATABASE_URL": url,
            "GROUNDSWELL_DATABASE_POOL_SIZE": "2",
            "GROUNDSWELL_RATE_LIMIT_PER_MINUTE": "0",
            "GROUNDSWELL_DATA_DIR": str(folder / "tmp"),
            "GROUNDSWELL_LOG_LEVEL": "warning",
        }
        await cold(environment)
        starts = [await cold(environment) for _ in range(rounds)]
        traces = [await cold({**environment, "GROUNDSWELL_TRACING": "xray"}) for _ in range(rounds)]
        memory_mb = load({}).api_memory_mb
        why = ""
        try:
            shared = [await cold(environment, cores_of(memory_mb)) for _ in range(rounds)]
        except NoCpuShare as reason:
            shared, why = list[tuple[float, float, float]](), str(reason)
        taken = imports(environment)
        answers = await warm(environment, count)
    finally:
        await server.stop()
    ready, answered, work = (statistics.median(each) for each in zip(*starts, strict=True))
    _, traced, traced_work = (statistics.median(each) for each in zip(*traces, strict=True))
    rows.append(("cold start: asks for its first event, s", f"{ready:.2f}", f"< {GOAL_COLD_S}"))
    rows.append(("cold start: has answered it, s", f"{answered:.2f}", f"< {GOAL_COLD_S}"))
    rows.append(("  processor time of that, s", f"{work:.2f}", ""))
    rows.append(("cold start with tracing: has answered it, s", f"{traced:.2f}", ""))
    rows.append(("  processor time of that, s", f"{traced_work:.2f}", ""))
    label = f"cold start with the part of a core that {memory_mb} MB buy: has answered it, s"
    share = {"memory_mb": memory_mb, "answered_s": statistics.median(each[1] for each in shared) if shared else None}
    rows.append((label, f"{share['answered_s']:.2f}" if shared else "not measured", GOAL_SHARED if shared else why))
    rows += [(f"  of it importing {name}, ms", f"{ms:.0f}", "") for name, ms in list(taken.items())[:SHOWN_IMPORTS]]
    rows.append(("  importing in all, ms", f"{sum(taken.values()):.0f}", ""))
    for name, ms in answers.items():
        goal = f"< {GOAL_WARM_MS}" if name.startswith(tuple(READS)) else ""
        rows.append((f"warm p95: {name}, ms", f"{ms:.1f}", goal))
    publish(
        "functions",
        "The Lambda functions",
        rows,
        {
            "zips": values,
            "ready_s": ready,
            "answered_s": answered,
            "work_s": work,
            "traced_s": traced,
            "traced_work_s": traced_work,
            "with_its_share": share,
            "imports_ms": taken,
            "warm_p95_ms": answers,
        },
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="groundswell-bench-") as folder:
        asyncio.run(measure(Path(folder), options.rounds, options.requests))


if __name__ == "__main__":
    main()
