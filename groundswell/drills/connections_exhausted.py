"""`connections-exhausted`: ten times the pool's capacity asks at once; then Postgres has no connection left."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack, suppress
from typing import Any

import httpx
import psycopg

from groundswell.drills.harness.rig import Rig, Setup
from groundswell.drills.harness.running import Drill

POOL = 4
CLIENTS = 10 * POOL
MAX_CONNECTIONS = 24
PRESSURE_S = 5.0
TAKEN_S = 4.0
RECOVERY_S = 30.0
"""On a quiet machine it takes less than five."""
PATHS = ("/v1/momentum?limit=50", "/v1/search?q=coffee", "/v1/stats", "/v1/posts?limit=50", "/v1/gaps")


async def course(rig: Rig) -> None:
    for _ in range(3 if rig.full else 1):
        await _press(rig)
    await _take_all(rig)
    await rig.more_posts(60)


async def _press(rig: Rig) -> None:
    rig.say(f"{CLIENTS} clients ask without a pause, and a lock holds every answer about momentum up")
    statuses: Counter[int] = Counter()
    hung: list[str] = []
    silent: list[str] = []
    over = asyncio.Event()

    async def insist(number: int) -> None:
        async with httpx.AsyncClient(base_url=rig.api_url, timeout=20, trust_env=False) as client:
            while not over.is_set():
                path = PATHS[number % len(PATHS)]
                try:
                    answer = await client.get(path)
                except httpx.TransportError as error:
                    hung.append(f"{path}: {type(error).__name__}")
                    continue
                statuses[answer.status_code] += 1
                if answer.status_code == 503 and "retry-after" not in answer.headers:
                    silent.append(path)
                # A client that is told when to come back, and comes back far too early.
                await asyncio.sleep(0.05)

    async with await psycopg.AsyncConnection.connect(rig.database_url) as holder, asyncio.TaskGroup() as group:
        await holder.execute("LOCK TABLE momentum IN ACCESS EXCLUSIVE MODE")
        for number in range(CLIENTS):
            group.create_task(insist(number))
        await rig.pause(PRESSURE_S)
        alive = await rig.get("/healthz")
        await holder.rollback()
        over.set()
    rig.check("the process answers under pressure", alive is not None, alive, promised="/healthz answers")
    odd = {status: n for status, n in statuses.items() if status not in (200, 503)}
    rig.check(
        "answers under pressure", not odd and not hung, dict(statuses) | {"hung": len(hung)}, promised="200 or 503"
    )
    rig.check("the pool was exhausted", statuses[503] > 0, f"{statuses[503]} times 503", promised="some 503")
    rig.check("each 503 says when to come back", not silent, f"{len(silent)} did not", promised="Retry-After")
    await rig.recover("ten times the load", limit_s=RECOVERY_S)


async def _take_all(rig: Rig) -> None:
    rig.say(f"another program takes every connection that Postgres has, for {TAKEN_S:g} s")
    async with AsyncExitStack() as stack:
        mine: list[psycopg.AsyncConnection[Any]] = []

        async def none_is_left() -> bool:
            """Take one more. Where none is left, end what the services hold: they come back, and find us."""
            with suppress(psycopg.OperationalError):
                while len(mine) < MAX_CONNECTIONS:
                    connection = await psycopg.AsyncConnection.connect(rig.database_url, autocommit=True)
                    mine.append(await stack.enter_async_context(connection))
            ended = await mine[0].execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name IN ('groundswell api', 'groundswell relay')"
            )
            return ended.rowcount == 0

        await rig.until(none_is_left, "every connection is taken")
        taken = len(mine)
        rig.check("every connection was taken", taken >= MAX_CONNECTIONS - 2, taken, promised=f"of {MAX_CONNECTIONS}")
        await rig.pause(TAKEN_S)
        ready = await rig.get("/readyz")
        rig.check(
            "without a connection the API says so",
            ready is not None and ready.get("status") == 503,
            None if ready is None else ready.get("detail", ready),
            promised="503",
        )
    await rig.recover("the connections came back")


DRILL = Drill(
    name="connections-exhausted",
    breaks="ten times the pool's capacity asks at once; then another program takes every connection of Postgres",
    promises="nothing hangs: what cannot be served is told when to come back, and all is well soon after",
    setup=Setup(
        posts_per_second=60,
        postgres={"max_connections": f"{MAX_CONNECTIONS}", "superuser_reserved_connections": "0"},
        api={
            "GROUNDSWELL_DATABASE_POOL_SIZE": f"{POOL}",
            "GROUNDSWELL_DATABASE_STATEMENT_TIMEOUT_S": "2",
        },
    ),
    course=course,
)
