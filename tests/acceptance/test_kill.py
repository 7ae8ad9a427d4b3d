"""SIGKILL in the middle of ingest, again and again: what is stored in the end is the simulator's truth, exactly."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg

from groundswell.adapters.simulator import WATCH_NAMES, SimulatorServer, Truth, World, WorldConfig, truth
from groundswell.adapters.system_clock import SystemClock
from groundswell.core.instants import from_datetime
from groundswell.core.posts import MICROS_PER_MINUTE, MICROS_PER_SECOND

BEGAN = 1_783_175_880 // 60 * 60 * MICROS_PER_SECOND
UNTIL = BEGAN + 4 * MICROS_PER_MINUTE
KILLS_AFTER_POSTS = (1, 1_500, 3_000, 5_500)


@asynccontextmanager
async def relay_process(environment: dict[str, str]) -> AsyncGenerator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "groundswell", "relay", env={**os.environ, **environment}
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def reach(
    conn: psycopg.AsyncConnection[Any], query: str, at_least: int, process: asyncio.subprocess.Process
) -> None:
    """Return once the number that `query` answers is `at_least`."""
    async with asyncio.timeout(90):
        while True:
            row = await (await conn.execute(query)).fetchone()
            if row is not None and row[0] is not None and row[0] >= at_least:
                return
            assert process.returncode is None, "the relay ended by itself"
            await asyncio.sleep(0.02)


def test_after_any_kill_every_post_is_stored_once_and_counts_equal_the_truth(database_url: str, tmp_path: Path) -> None:
    world = World(WorldConfig(began_at=BEGAN, posts_per_second=40, garbage_share=0.002))
    expected = truth(world, BEGAN, UNTIL)
    (tmp_path / "names.txt").write_text("\n".join(WATCH_NAMES), "utf-8")

    async def scenario() -> None:
        # A migrated database as `groundswell migrate` leaves it.
        server = SimulatorServer(world, clock=SystemClock(), tape=(BEGAN, UNTIL))
        async with server, await psycopg.AsyncConnection.connect(database_url, autocommit=True) as conn:
            environment = {
                "GROUNDSWELL_DATA_DIR": str(tmp_path / "data"),
                "GROUNDSWELL_DATABASE_URL": database_url,
                "GROUNDSWELL_SOURCE": "jetstream",
                "GROUNDSWELL_JETSTREAM_HOSTS": server.url,
                "GROUNDSWELL_WATCH_LIST": str(tmp_path / "names.txt"),
                "GROUNDSWELL_EMBEDDING_CHAIN": "none",
                "GROUNDSWELL_BATCH_MAX_POSTS": "100",
                "GROUNDSWELL_LOG_LEVEL": "error",
            }
            for posts in KILLS_AFTER_POSTS:
                async with relay_process(environment) as process:
                    await reach(conn, "SELECT count(*) FROM posts", posts, process)
                    process.send_signal(signal.SIGKILL)
            async with relay_process(environment) as process:
                last = max(post.event_time for post in expected.posts.values())
                await reach(
                    conn, "SELECT (extract(epoch FROM covered_until) * 1000000)::bigint FROM cursors", last, process
                )
                await server.finished.wait()
                # Everything is sent; the last batch is committed when the process has drained.
                process.send_signal(signal.SIGTERM)
                assert await asyncio.wait_for(process.wait(), 30) == 0

    asyncio.run(scenario())
    assert stored(database_url) == as_stored(expected)


def as_stored(expected: Truth) -> dict[str, Any]:
    return {
        "posts": {key: (p.author, p.rev, p.event_time, p.entities) for key, p in expected.posts.items()},
        "mentions": expected.mentions(),
        "authors": expected.authors(),
        "totals": expected.totals(),
    }


def stored(url: str) -> dict[str, Any]:
    with psycopg.connect(url) as conn:
        posts = conn.execute("SELECT id, author, rev, event_time, entities FROM posts").fetchall()
        counts = conn.execute("SELECT entity, minute, mentions, authors FROM minute_counts").fetchall()
        totals = conn.execute("SELECT minute, posts FROM minute_totals WHERE posts > 0").fetchall()
    return {
        "posts": {row[0]: (row[1], row[2], from_datetime(row[3]), tuple(row[4])) for row in posts},
        "mentions": {(entity, from_datetime(minute)): n for entity, minute, n, _ in counts},
        "authors": {(entity, from_datetime(minute)): n for entity, minute, _, n in counts},
        "totals": {from_datetime(minute): n for minute, n in totals},
    }
