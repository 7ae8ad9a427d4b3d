"""The real relay with its database taken away, killed at every place between two durable steps of its spool."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from groundswell.adapters.simulator import WATCH_NAMES, SimulatorServer, World, WorldConfig, truth
from groundswell.adapters.system_clock import SystemClock
from groundswell.core.posts import MICROS_PER_MINUTE
from groundswell.crash_points import EXIT_CODE, CrashPoint
from tests.acceptance.test_kill import BEGAN, as_stored, reach, relay_process, stored

UNTIL = BEGAN + 2 * MICROS_PER_MINUTE
POINTS = [point for point in CrashPoint if point.service == "relay"]


class Database:
    """Takes a database away and gives it back, as an administrator of its server can."""

    def __init__(self, url: str, server: str) -> None:
        self._name = url.partition("/test_")[2].partition("?")[0]
        self._server = server

    async def away(self) -> None:
        await self._do(f"ALTER DATABASE test_{self._name} ALLOW_CONNECTIONS false")
        await self._do(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'test_{self._name}'")

    async def back(self) -> None:
        await self._do(f"ALTER DATABASE test_{self._name} ALLOW_CONNECTIONS true")

    async def _do(self, statement: str) -> None:
        async with await psycopg.AsyncConnection.connect(self._server, autocommit=True) as conn:
            await conn.execute(statement)


async def posts(url: str, at_least: int, process: asyncio.subprocess.Process) -> None:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as conn:
        await reach(conn, "SELECT count(*) FROM posts", at_least, process)


@pytest.mark.slow
@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.value)
def test_a_kill_between_any_two_steps_of_the_spool_neither_loses_nor_repeats(
    point: CrashPoint, database_url: str, postgres_server: str, tmp_path: Path
) -> None:
    world = World(WorldConfig(began_at=BEGAN, posts_per_second=40, garbage_share=0.002))
    expected = truth(world, BEGAN, UNTIL)
    (tmp_path / "names.txt").write_text("\n".join(WATCH_NAMES), "utf-8")
    database = Database(database_url, postgres_server)

    async def scenario() -> None:
        server = SimulatorServer(world, clock=SystemClock(), tape=(BEGAN, UNTIL))
        environment = {
            "GROUNDSWELL_DATA_DIR": str(tmp_path / "data"),
            "GROUNDSWELL_DATABASE_URL": database_url,
            "GROUNDSWELL_DATABASE_POOL_WAIT_S": "0.3",
            "GROUNDSWELL_SOURCE": "jetstream",
            "GROUNDSWELL_JETSTREAM_HOSTS": server.url,
            "GROUNDSWELL_WATCH_LIST": str(tmp_path / "names.txt"),
            "GROUNDSWELL_EMBEDDING_CHAIN": "none",
            "GROUNDSWELL_BATCH_MAX_POSTS": "50",
            "GROUNDSWELL_LOG_LEVEL": "error",
        }
        async with server:
            environment["GROUNDSWELL_JETSTREAM_HOSTS"] = server.url
            server.faults.slow(400_000)
            doomed: dict[str, Any] = {**environment, "GROUNDSWELL_CRASH_POINT": f"{point.value}@4"}
            async with relay_process(doomed) as process:
                if point is not CrashPoint.RELAY_AFTER_COMMIT:
                    await posts(database_url, 1, process)
                    await database.away()
                    if point in (CrashPoint.RELAY_DRAIN_STORED, CrashPoint.RELAY_DRAIN_MOVED):
                        await spooled(tmp_path / "data" / "spool" / "jetstream", process)
                        await database.back()
                assert await asyncio.wait_for(process.wait(), 60) == EXIT_CODE
            # It starts without its database, and knows where to go on.
            await database.away()
            async with relay_process(environment) as process:
                await spooled(tmp_path / "data" / "spool" / "jetstream", process)
                await database.back()
                server.faults.slow(None)
                last = max(post.event_time for post in expected.posts.values())
                async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as conn:
                    query = "SELECT (extract(epoch FROM covered_until) * 1000000)::bigint FROM cursors"
                    await reach(conn, query, last, process)
                await server.finished.wait()
                process.send_signal(signal.SIGTERM)
                assert await asyncio.wait_for(process.wait(), 30) == 0

    asyncio.run(scenario())
    assert stored(database_url) == as_stored(expected)
    assert waiting(tmp_path / "data" / "spool" / "jetstream") == 0


async def spooled(folder: Path, process: asyncio.subprocess.Process) -> None:
    """Return once something waits in the spool."""
    async with asyncio.timeout(60):
        while not waiting(folder):
            assert process.returncode is None, "the relay ended by itself"
            await asyncio.sleep(0.02)


def waiting(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.seg"))
