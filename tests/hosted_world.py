"""Simulated hosts of one world, a real relay over Postgres that reads them, and a clock that runs for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random
from typing import Any

import msgspec

from groundswell.adapters.jetstream import JetstreamSource
from groundswell.adapters.postgres_momentum import PostgresMomentum
from groundswell.adapters.postgres_pool import open_pool
from groundswell.adapters.postgres_reads import PostgresReads
from groundswell.adapters.postgres_store import PostgresStore
from groundswell.adapters.simulator import WATCH_NAMES, Host, SimulatorServer, Truth, World, WorldConfig, truth
from groundswell.adapters.system_clock import SystemClock
from groundswell.core.entities import EntityExtractor
from groundswell.core.posts import MICROS_PER_MINUTE, MICROS_PER_SECOND
from groundswell.core.session import STABLE_AFTER_S
from groundswell.metrics import Metrics
from groundswell.ports.storing import MomentumRow
from groundswell.services.relay import Relay
from groundswell.services.time_travel import TimeTravel
from tests.relay_world import Screen, rows
from tests.roles import as_role

BEGAN = 1_783_179_000 * MICROS_PER_SECOND
"""When the worlds of these tests begin: on a whole minute."""
SPEED = 20.0
WAIT_S = 30.0


class WorldClock:
    """Runs twenty times as fast as outside, for hosts, relay and store alike, from `ahead_s` after the beginning."""

    def __init__(self, ahead_s: float) -> None:
        self._zero = asyncio.get_running_loop().time()
        self._origin = BEGAN + round(ahead_s * MICROS_PER_SECOND)

    def monotonic(self) -> float:
        return (asyncio.get_running_loop().time() - self._zero) * SPEED

    def now(self) -> int:
        return self._origin + round(self.monotonic() * MICROS_PER_SECOND)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / SPEED)


class StoreOfTheWorld:
    """The store, whose clock is the world's."""

    def __init__(self, store: PostgresStore, clock: WorldClock) -> None:
        self._store = store
        self._clock = clock

    async def now(self) -> int:
        return self._clock.now()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class Hosted:
    """Hosts, and the relay over them."""

    def __init__(self, url: str, world: World, clock: WorldClock, servers: Sequence[SimulatorServer]) -> None:
        self.url = url
        self.world = world
        self.clock = clock
        self.servers = servers
        self.relay: Relay
        self.screen = Screen()

    @property
    def names(self) -> list[str]:
        return [f"127.0.0.1:{server.port}" for server in self.servers]

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not holds():  # noqa: ASYNC110 -- the relay's state and the database are no events
                await asyncio.sleep(0.02)

    async def live(self) -> None:
        await self.until(lambda: self.relay.state.phase == "live")

    async def pass_by(self, seconds: float) -> None:
        """Let so much of the world's time pass while the relay is live."""
        until = self.clock.now() + round(seconds * MICROS_PER_SECOND)
        await self.until(lambda: self.clock.now() >= until)

    async def end(self, *, sent_again: int = 0) -> Truth:
        """Let the world stand still, and wait until all of it is stored, and so many stretches were sent again."""
        ended_at = self.servers[0].end()
        for server in self.servers[1:]:
            server.end(ended_at)
        last = max(time for time, _ in self.world.frames(ended_at - 20 * MICROS_PER_SECOND, ended_at))
        await self.until(lambda: (rows(self.url, "SELECT max(cursor) FROM cursors")[0][0] or 0) >= last)
        await self.until(lambda: self.detail["sent_again"]["whole"] >= sent_again)
        await self.relay._writer.join()
        return truth(self.world, BEGAN, ended_at, names=WATCH_NAMES)

    @property
    def detail(self) -> dict[str, Any]:
        return self.relay.status()[1]


@asynccontextmanager
async def hosted(
    url: str,
    *kinds: Host,
    ahead_s: float = 60,
    retention_s: Sequence[float] = (7200,),
    world: World | None = None,
    before: Callable[[Hosted], None] = lambda hosted: None,
    **source_settings: Any,
) -> AsyncGenerator[Hosted]:
    """Hosts of a world of ten posts a second, and a relay that reads them from the world's beginning."""
    told = world or World(WorldConfig(seed=5, posts_per_second=10, began_at=BEGAN, authors=200, daily_rhythm=False))
    clock = WorldClock(ahead_s)
    async with AsyncExitStack() as stack:
        servers = [
            SimulatorServer(
                told,
                clock=clock,
                seen_by=kind,
                history_s=min(ahead_s + 60, retention_s[n % len(retention_s)]),
                retention_s=retention_s[n % len(retention_s)],
            )
            for n, kind in enumerate(kinds)
        ]
        for server in servers:
            await stack.enter_async_context(server)
        found = Hosted(url, told, clock, servers)
        before(found)
        pool = await open_pool(as_role(url, "relay"), size=4, wait_s=5, statement_timeout_s=10, application_name="test")
        stack.push_async_callback(pool.close)
        source = JetstreamSource(
            hosts=[server.url for server in servers],
            extractor=EntityExtractor([f"{name} | {name}" for name in WATCH_NAMES]),
            stable_after_s=STABLE_AFTER_S / SPEED,
            **source_settings,
        )
        store: Any = StoreOfTheWorld(PostgresStore(pool), clock)
        found.relay = Relay(
            source, store, found.screen, clock, batch_max_posts=200, batch_max_age_s=1, rng=Random(1), metrics=Metrics()
        )
        stop = asyncio.Event()
        running = asyncio.create_task(found.relay.run(stop))
        try:
            yield found
        finally:
            stop.set()
            await asyncio.wait_for(running, WAIT_S)


def figures(url: str, until: int) -> list[list[tuple[Any, ...]]]:
    """All that is counted and watched of the minutes before an instant."""
    past = f"WHERE minute < timestamptz 'epoch' + {until} * interval '1 microsecond'"
    queries = (
        f"SELECT entity, minute::text, mentions, authors FROM minute_counts {past} ORDER BY 1, 2",
        f"SELECT minute::text, posts FROM minute_totals {past} ORDER BY 1",
        f"SELECT minute::text, round(observed_seconds::numeric, 3)::text FROM coverage {past} ORDER BY 1",
    )
    return [rows(url, query) for query in queries]


def posts(url: str) -> dict[str, tuple[int, str]]:
    """What is stored: event time and revision by id."""
    query = "SELECT id, (extract(epoch FROM event_time) * 1000000)::bigint, rev FROM posts"
    return {post_id: (at, rev) for post_id, at, rev in rows(url, query)}


def true_posts(told: Truth) -> dict[str, tuple[int, str]]:
    return {post_id: (post.event_time, post.rev) for post_id, post in told.posts.items()}


def mentions(url: str) -> dict[tuple[str, int], int]:
    query = "SELECT entity, (extract(epoch FROM minute) * 1000000)::bigint, mentions FROM minute_counts"
    return {(entity, minute): n for entity, minute, n in rows(url, query)}


def watched(url: str) -> dict[int, float]:
    query = "SELECT (extract(epoch FROM minute) * 1000000)::bigint, observed_seconds FROM coverage"
    return {(minute - BEGAN) // MICROS_PER_MINUTE: float(seconds) for minute, seconds in rows(url, query)}


def gaps(url: str) -> list[tuple[str, bool, bool]]:
    """Cause, whether it is over, whether it was backfilled."""
    return rows(url, "SELECT cause, closed_at IS NOT NULL, backfilled FROM gaps WHERE cause <> 'shutdown' ORDER BY id")


async def momentum(url: str, at: int) -> dict[str, MomentumRow]:
    """The momentum of every entity, assessed at an instant from what is stored."""
    pool = await open_pool(url, size=2, wait_s=5, statement_timeout_s=10, application_name="test")
    try:
        moving = await TimeTravel(PostgresMomentum(pool), PostgresReads(pool), SystemClock()).moving(at)
    finally:
        await pool.close()
    return {row.entity: msgspec.structs.replace(row, as_of=0) for row in moving}
