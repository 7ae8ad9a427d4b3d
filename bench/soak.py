"""What stays when everything else is new: memory and tables of a platform over minutes of ever new authors, entities,
queries and connections.

    python -m bench.soak [--warm-up 17] [--minutes 10] [--rate 1000] [--turn 3]

Everything is its own process: the feed, the relay, the API, Postgres, the vector engine. After a warm-up, the slope of
each one's memory is fitted to a sample every five seconds. The relay and the API have to stay flat; the stores keep
what they are given, and are shown with it. Threads and descriptors stay as they are in the vector engine too, which
keeps ever more posts: the run fails where they grow.

The relay holds the name of everything that was mentioned in the last quarter of an hour: with ever new names these are
most of its memory, and it is warm when that quarter is over. What an hour was like is learnt a quarter of an hour after
it, and used from half an hour after it: `--turn` sets the feed's clock back so that its hour is over at that minute.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import psycopg

from bench.processes import cpu_s, program
from bench.report import publish
from groundswell.adapters.embedded_postgres import EmbeddedPostgres
from groundswell.adapters.migrations import migrate
from groundswell.adapters.qdrant_embedded.process import EmbeddedQdrant
from groundswell.core.momentum import WINDOW_MINUTES
from groundswell.drills.harness.churn import churn

GOAL_MB_A_MINUTE = 1.0
SAMPLE_S = 5.0
FLAT = ("relay", "api")
"""What keeps nothing, and so may not grow."""
COUNTED = (*FLAT, "vector engine")
"""What has as many threads and descriptors at the end as at the start."""
SLACK = 8
"""Threads or descriptors that come and go: connections, a child process, shards that are not merged yet."""
TABLES = ("posts", "minute_counts", "minute_authors", "events", "outbox", "momentum", "cursors", "components", "gaps")


def memory_mb(process: psutil.Process) -> float:
    """What a process and its children would give back by ending, in MB: shared pages are shared out."""
    total = 0
    for one in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            total += one.memory_full_info().pss
    return total / 1e6


def slope(times: list[float], values: list[float]) -> float:
    """MB a minute, by least squares over samples at `times` in seconds."""
    return float(np.polyfit(np.array(times) / 60, values, 1)[0])


async def tables(url: str) -> dict[str, tuple[int, float]]:
    """Rows and megabytes of each table, indexes included."""
    found: dict[str, tuple[int, float]] = {}
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as conn:
        for table in TABLES:
            query = f"SELECT (SELECT count(*) FROM {table}), pg_total_relation_size('{table}')"
            row = await (await conn.execute(query.encode())).fetchone()
            assert row is not None, "an aggregate has a row"
            found[table] = row[0], row[1] / 1e6
    return found


async def measure(warm_up: float, minutes: float, rate: float, behind_s: float) -> None:
    with tempfile.TemporaryDirectory(prefix="groundswell-bench-") as folder:
        data_dir = Path(folder)
        postgres, engine = EmbeddedPostgres(data_dir), EmbeddedQdrant(data_dir / "qdrant")
        url = await postgres.start()
        try:
            await migrate(url)
            qdrant_url = await engine.start()
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            shared = {
                "GROUNDSWELL_DATA_DIR": str(data_dir / "services"),
                "GROUNDSWELL_DATABASE_URL": url,
                "GROUNDSWELL_QDRANT_URL": qdrant_url,
                "GROUNDSWELL_QDRANT_API_KEY": engine.api_key,
                "GROUNDSWELL_LOG_LEVEL": "error",
            }
            api_environment = {**shared, "GROUNDSWELL_API_PORT": f"{port}", "GROUNDSWELL_RATE_LIMIT_PER_MINUTE": "0"}
            feed = ("bench.churning_feed", "--rate", f"{rate}", "--behind", f"{behind_s}")
            async with program(*feed, reads_line=True) as (feeding, address):
                relay_environment = {
                    **shared, "GROUNDSWELL_SOURCE": "jetstream", "GROUNDSWELL_JETSTREAM_HOSTS": address,
                }  # fmt: skip
                async with (
                    program("groundswell", "relay", environment=relay_environment) as (relay, _),
                    program("groundswell", "api", environment=api_environment) as (api, _),
                ):
                    pid = postgres.running_pid()
                    assert engine.pid is not None and pid is not None
                    processes = {
                        "relay": relay, "api": api, "vector engine": psutil.Process(engine.pid),
                        "postgres": psutil.Process(pid), "feed": feeding,
                    }  # fmt: skip
                    await watch(url, f"http://127.0.0.1:{port}", processes, warm_up * 60, minutes * 60)
        finally:
            await engine.stop()
            await postgres.stop()


async def watch(
    url: str, api_url: str, processes: Mapping[str, psutil.Process], warm_up: float, measured: float
) -> None:
    churning = asyncio.create_task(churn(api_url))
    started, seconds = time.monotonic(), warm_up + measured
    times: list[float] = []
    memory: dict[str, list[float]] = {name: [] for name in processes}
    files: dict[str, list[int]] = {name: [] for name in COUNTED}
    threads: dict[str, list[int]] = {name: [] for name in COUNTED}
    before, warm_at = await tables(url), 0.0
    cpu = {name: cpu_s(process) for name, process in processes.items()}
    try:
        while (now := time.monotonic() - started) < seconds:
            times.append(now)
            for name, process in processes.items():
                memory[name].append(memory_mb(process))
            for name in COUNTED:
                files[name].append(processes[name].num_fds())
                threads[name].append(processes[name].num_threads())
            if not warm_at and now >= warm_up:
                before, warm_at = await tables(url), now
            if len(times) % 12 == 0:
                said = "  ".join(f"{name} {values[-1]:.0f} MB" for name, values in memory.items())
                print(f"{now:5.0f} s  {said}", flush=True)
            await asyncio.sleep(max(0.0, len(times) * SAMPLE_S - (time.monotonic() - started)))
    finally:
        churning.cancel()
        await asyncio.gather(churning, return_exceptions=True)
    after, elapsed = await tables(url), time.monotonic() - started
    since = next(n for n, at in enumerate(times) if at >= warm_up)
    slopes = {name: slope(times[since:], values[since:]) for name, values in memory.items()}
    stored = (after["posts"][0] - before["posts"][0]) / (elapsed - warm_at)
    cores = {name: (cpu_s(process) - cpu[name]) / elapsed for name, process in processes.items()}
    rows = [
        ("stored, posts/s", f"{stored:.0f}", ""),
        *(
            (
                f"memory of the {name}, MB a minute",
                f"{slopes[name]:+.2f} ({values[since]:.0f} to {values[-1]:.0f} MB)",
                f"< {GOAL_MB_A_MINUTE:g}" if name in FLAT else "",
            )
            for name, values in memory.items()
        ),
        *((f"open files of the {name}", f"{n[since]} to {n[-1]}", "the same") for name, n in files.items()),
        *((f"threads of the {name}", f"{n[since]} to {n[-1]}", "the same") for name, n in threads.items()),
        *((f"cores used by the {name}", f"{value:.2f}", "") for name, value in cores.items()),
        *(
            (f"table {name}", f"{before[name][0]:,} to {after[name][0]:,} rows, {before[name][1]:.1f} to "
             f"{after[name][1]:.1f} MB", "")
            for name in TABLES
        ),
    ]  # fmt: skip
    publish(
        "soak",
        f"{measured / 60:g} minutes of ever new authors, entities and connections, after {warm_up / 60:g} to warm up",
        rows,
        {
            "stored_per_s": stored, "mb_a_minute": slopes, "times_s": times, "memory_mb": memory, "open_files": files,
            "threads": threads,
            "cores": cores, "tables_before": before, "tables_after": after,
        },
    )  # fmt: skip
    counts = {"open files": files, "threads": threads}
    growing = [
        f"the {what} of the {name}" for what, named in counts.items() for name, n in named.items() if grown(n[since:])
    ]
    if growing:
        raise SystemExit(f"Growing: {', '.join(growing)}.")


def grown(counts: list[int]) -> bool:
    """Whether the last quarter of the samples lies above the first, by more than what comes and goes."""
    quarter = max(1, len(counts) // 4)
    return float(np.median(counts[-quarter:]) - np.median(counts[:quarter])) > SLACK


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--warm-up", type=float, default=WINDOW_MINUTES + 2, help="minutes")
    parser.add_argument("--minutes", type=float, default=10, help="measured, after the warm-up")
    parser.add_argument("--rate", type=float, default=1000, help="posts a second")
    parser.add_argument("--turn", type=float, help="minutes from the start to the turn of the feed's hour")
    options = parser.parse_args()
    behind_s = 0.0 if options.turn is None else (time.time() + options.turn * 60) % 3600
    asyncio.run(measure(options.warm_up, options.minutes, options.rate, behind_s))


if __name__ == "__main__":
    main()
