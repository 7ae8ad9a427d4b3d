"""From a local WebSocket to committed in Postgres and searchable in Qdrant, by a real `groundswell relay`.

Everything is its own process, as in production: the simulator, the relay, Postgres, the vector engine. The simulator
is live at a little more than the goal. What is measured is whether everything keeps up: `waiting` must not grow.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

import psutil
import psycopg

from bench.processes import cpu_s, program, rss_mb
from bench.report import publish
from groundswell.adapters.embedded_postgres import EmbeddedPostgres
from groundswell.adapters.migrations import migrate
from groundswell.adapters.qdrant_embedded.process import EmbeddedQdrant

GOAL_POSTS_S = 3000
GOAL_RSS_MB = 300
STORED = (
    "SELECT (SELECT last_value FROM posts_pk_seq), (SELECT count(*) FROM outbox),"
    " (SELECT detail FROM components WHERE component = 'relay'),"
    " (SELECT detail FROM components WHERE component = 'vectors')"
)


async def measure(seconds: float, warm_up: float, rate: float) -> None:
    with tempfile.TemporaryDirectory(prefix="groundswell-bench-") as folder:
        data_dir = Path(folder)
        postgres = EmbeddedPostgres(data_dir)
        url = await postgres.start()
        engine = EmbeddedQdrant(data_dir / "qdrant")
        try:
            await migrate(url)
            qdrant_url = await engine.start()
            feed = ("groundswell.adapters.simulator", "--port", "0", "--rate", f"{rate}")
            async with program(*feed, reads_line=True) as (simulator, address):
                environment = {
                    "GROUNDSWELL_DATA_DIR": str(data_dir / "relay"),
                    "GROUNDSWELL_DATABASE_URL": url,
                    "GROUNDSWELL_QDRANT_URL": qdrant_url,
                    "GROUNDSWELL_QDRANT_API_KEY": engine.api_key,
                    "GROUNDSWELL_SOURCE": "jetstream",
                    "GROUNDSWELL_JETSTREAM_HOSTS": address,
                    "GROUNDSWELL_LOG_LEVEL": "warning",
                }
                async with program("groundswell", "relay", environment=environment) as (relay, _):
                    assert engine.pid is not None
                    processes = {"relay": relay, "simulator": simulator, "vector engine": psutil.Process(engine.pid)}
                    pid = postgres.running_pid()
                    if pid is not None:
                        processes["postgres"] = psutil.Process(pid)
                    await _watch(url, processes, seconds, warm_up)
        finally:
            await engine.stop()
            await postgres.stop()


async def _watch(url: str, processes: dict[str, psutil.Process], seconds: float, warm_up: float) -> None:
    relay = processes["relay"]
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as conn:

        async def look() -> tuple[int, int, dict, dict]:
            row = await (await conn.execute(STORED)).fetchone()
            assert row is not None
            return row[0], row[1], row[2] or {}, row[3] or {}

        await asyncio.sleep(warm_up)
        started, (posts_before, waiting_before, relay_before, vectors_before) = time.monotonic(), await look()
        cpu_before = {name: cpu_s(process) for name, process in processes.items()}
        rss = [rss_mb(relay)]
        rates: list[float] = []
        last_at, last_posts = started, posts_before - waiting_before
        while time.monotonic() - started < seconds:
            await asyncio.sleep(5)
            posts, waiting, _, _ = await look()
            now = time.monotonic()
            rates.append((posts - waiting - last_posts) / (now - last_at))
            last_at, last_posts = now, posts - waiting
            rss.append(rss_mb(relay))
            so_far = f"{now - started:5.0f} s  {posts:8d} stored  {waiting:6d} waiting"
            print(f"{so_far}  {rates[-1]:6.0f}/s  {rss[-1]:4.0f} MB")
        elapsed = time.monotonic() - started
        posts, waiting, relay_after, vectors_after = await look()
        cpu = {name: (cpu_s(process) - cpu_before[name]) / elapsed for name, process in processes.items()}

    stored = (posts - posts_before) / elapsed
    searchable = (posts - waiting - posts_before + waiting_before) / elapsed
    shares = {
        name: (float(after.get(name, 0)) - float(before.get(name, 0))) / elapsed
        for before, after, names in (
            (relay_before, relay_after, ("decode_seconds", "commit_seconds")),
            (vectors_before, vectors_after, ("claim_seconds", "embed_seconds", "upsert_seconds", "done_seconds")),
        )
        for name in names
    }
    rows = [
        ("committed in Postgres, posts/s", f"{stored:.0f}", f"{GOAL_POSTS_S}"),
        ("searchable in Qdrant too, posts/s", f"{searchable:.0f}", f"{GOAL_POSTS_S}"),
        ("slowest 5 s, posts/s", f"{min(rates):.0f}", ""),
        (
            "relay memory, first to last, MB",
            f"{rss[0]:.0f} to {rss[-1]:.0f}, at most {max(rss):.0f}",
            f"< {GOAL_RSS_MB}",
        ),
        *((f"cores used by {name}", f"{value:.2f}", "") for name, value in cpu.items()),
        *(
            (f"relay: share of time in {name.removesuffix('_seconds')}", f"{value:.0%}", "")
            for name, value in shares.items()
        ),
    ]
    publish(
        "ingest",
        f"Ingest over {elapsed:.0f} s",
        rows,
        {
            "stored_per_s": stored,
            "searchable_per_s": searchable,
            "rates_per_5_s": rates,
            "relay_rss_mb": rss,
            "cores": cpu,
            "shares": shares,
        },
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--warm-up", type=float, default=10)
    parser.add_argument(
        "--rate", type=float, default=2800, help="posts a second that the simulator sends, before its rhythm of the day"
    )
    options = parser.parse_args()
    asyncio.run(measure(options.seconds, options.warm_up, options.rate))


if __name__ == "__main__":
    main()
