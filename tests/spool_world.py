"""A relay over a store that a test takes away, and a spool that outlives it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

from groundswell.adapters.disk_spool import DiskSpool
from groundswell.adapters.postgres_pool import open_pool
from groundswell.adapters.postgres_store import PostgresStore
from groundswell.core.posts import Post
from groundswell.errors import StoreUnavailable
from groundswell.metrics import Metrics
from groundswell.ports.sources import Source
from groundswell.services.relay import Relay
from tests.relay_world import EagerClock, Screen, rows, stored
from tests.roles import as_role
from tests.tape import TapeConnection, TapeItem, TapeSource


class Switch:
    """A store that a test takes away, for good or for the calls it names."""

    def __init__(self, store: PostgresStore, away_in: Sequence[tuple[int, int]] = ()) -> None:
        self._store = store
        self._away_in = away_in
        self.away = False
        self.calls = 0
        self.commits: asyncio.Semaphore | None = None
        """How many more commits are let through before the next one has to wait. None: all."""

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        method = getattr(self._store, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            if name == "commit" and self.commits is not None:
                await self.commits.acquire()
            if self.away or any(since <= self.calls < until for since, until in self._away_in):
                raise StoreUnavailable("the database is away")
            return await method(*args, **kwargs)

        return call


class World:
    """A relay over a store that can be taken away and a spool that outlives it."""

    def __init__(self, url: str, folder: Path, **spool: int) -> None:
        self._url = url
        self._folder = folder
        self._spool_options = {"max_bytes": 10_000_000, "segment_bytes": 4000, **spool}
        self.screen = Screen()

    @asynccontextmanager
    async def relay(
        self, source: Source, *, away: bool = False, away_in: Sequence[tuple[int, int]] = (), recording: bool = False
    ) -> AsyncGenerator[Running]:
        pool = await open_pool(
            as_role(self._url, "relay"), size=3, wait_s=5, statement_timeout_s=10, application_name="test"
        )
        store = Switch(PostgresStore(pool), away_in)
        store.away = away
        spool = DiskSpool(self._folder, **self._spool_options)
        metrics = Metrics()
        relay = Relay(
            source,
            store,  # pyright: ignore[reportArgumentType] -- answers every call of a PostStore
            self.screen,
            EagerClock(),
            batch_max_posts=4,
            batch_max_age_s=0.02,
            rng=Random(1),
            metrics=metrics,
            spool=spool,
            recording=recording,
        )
        stop = asyncio.Event()
        running = Running(relay, store, spool, metrics, stop, asyncio.create_task(relay.run(stop)))
        try:
            yield running
        finally:
            running.task.cancel()  # as abrupt as a kill: nothing in memory is stored or spooled any more
            await asyncio.gather(running.task, return_exceptions=True)
            spool.close()
            await pool.close()


class Running:
    def __init__(
        self,
        relay: Relay,
        store: Switch,
        spool: DiskSpool,
        metrics: Metrics,
        stop: asyncio.Event,
        task: asyncio.Task[None],
    ) -> None:
        self.relay, self.store, self.spool, self.metrics, self.stop, self.task = (
            relay,
            store,
            spool,
            metrics,
            stop,
            task,
        )

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not condition():
                if self.task.done():
                    self.task.result()
                    assert condition(), "the relay ended first"
                await asyncio.sleep(0.005)

    async def lose_the_store(self) -> None:
        """As soon as something is stored."""
        await self.until(lambda: self.relay.state.batches_total >= 2)
        self.store.away = True

    async def ended(self) -> None:
        await asyncio.wait_for(self.task, 60)

    async def drained(self) -> None:
        await self.until(lambda: self.spool.depth == 0 and self.relay.state.storing)


def run(main: Awaitable[None]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(main, 110)

    asyncio.run(bounded())


def same_but_for_silence(url: str, undisturbed: list[Any]) -> None:
    """Everything is as an undisturbed relay leaves it; the silence that follows the tape may be watched longer."""
    posts, counts, totals, coverage, ((cursor, _),), *_ = stored(url)
    assert [posts, counts, totals, cursor] == [*undisturbed[:3], undisturbed[4][0][0]]
    seconds = {minute: float(observed) for minute, observed in coverage}
    assert all(seconds[minute] >= float(observed) for minute, observed in undisturbed[3])


def gaps(url: str) -> list[tuple[Any, ...]]:
    return rows(url, "SELECT cause, backfilled, closed_at IS NOT NULL FROM gaps ORDER BY id")


def posts_of(items: Sequence[TapeItem]) -> set[str]:
    return {item.id for item in items if isinstance(item, Post)}


LAST_CURSOR = "SELECT cursor FROM cursors"


async def stored_to_the_end(running: Running, url: str, items: list[TapeItem]) -> None:
    last = max(item.cursor or 0 for item in items)
    await running.until(lambda: rows(url, LAST_CURSOR) == [(last,)])
    await running.drained()


class Live(TapeSource):
    """A source of the present: what passes while nobody is connected is gone."""

    def __init__(self, items: list[TapeItem]) -> None:
        super().__init__(items, ends=False, can_replay=False, name="jetstream")
        self._left = list(items)
        self.connected = 0
        self.now = max(item.cursor or 0 for item in items) if items else 0
        self.missed: list[int] = []

    def _coming(self) -> Iterator[TapeItem]:
        while self._left and (self._left[0].cursor or 0) <= self.now:
            yield self._left.pop(0)

    def pass_by(self, *, until: int) -> None:
        while self._left and (self._left[0].cursor or 0) < until:
            self.missed.append(self._left.pop(0).cursor or 0)

    @asynccontextmanager
    async def connect(self, cursor: int | None) -> AsyncGenerator[Any]:
        self.connected += 1
        try:
            yield TapeConnection(self._coming(), None, ends=False)
        finally:
            self.connected -= 1
