"""The relay while its database is away: received work waits on disk, in order, and nothing is lost or stored twice."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from groundswell.adapters.disk_spool import DiskSpool
from groundswell.adapters.postgres_pool import open_pool
from groundswell.adapters.postgres_store import PostgresStore
from groundswell.core.posts import Post
from groundswell.errors import StoreUnavailable
from groundswell.metrics import Metrics
from groundswell.ports.sources import Source
from groundswell.services.relay import Relay
from tests.integration.test_relay import EagerClock, Screen, at, rows, run_relay, stored, tape, wipe
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
        pool = await open_pool(self._url, size=3, wait_s=5, statement_timeout_s=10, application_name="test")
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
    posts, counts, totals, coverage, ((cursor, _),) = stored(url)
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


def test_with_the_database_away_the_relay_reads_on_and_stores_everything_later(
    database_url: str, tmp_path: Path
) -> None:
    items = tape(60)
    run_relay(database_url, TapeSource(items))
    undisturbed = stored(database_url)
    wipe(database_url)

    async def main() -> None:
        world = World(database_url, tmp_path)
        async with world.relay(TapeSource(items, ends=False)) as running:
            await running.until(lambda: running.relay.state.batches_total >= 2)
            running.store.away = True
            await running.until(lambda: running.relay.state.frames_total == len(items))
            await running.until(lambda: running.spool.depth > 5)
            state, detail = running.relay.status()
            assert state == "storing-delayed"
            assert "wait on disk" in str(detail["why"])
            spool = detail["spool"]
            assert isinstance(spool, dict)
            assert spool["batches"] == running.spool.depth
            assert spool["age_s"] >= 0
            assert running.metrics.value("spool_batches") == running.spool.depth
            assert not running.relay.live
            running.store.away = False
            await stored_to_the_end(running, database_url, items)
            assert running.relay.status()[0] != "storing-delayed"
            assert running.metrics.value("spool_batches") == 0
        same_but_for_silence(database_url, undisturbed)
        assert gaps(database_url) == []

    run(main())


def test_a_relay_that_is_stopped_while_it_catches_up_with_its_spool_stores_all_of_it_first(
    database_url: str, tmp_path: Path
) -> None:
    items = tape(60)

    async def main() -> None:
        world = World(database_url, tmp_path)
        async with world.relay(TapeSource(items, ends=False)) as running:
            first = running.store.commits = asyncio.Semaphore(2)
            await running.until(lambda: running.relay.state.batches_total == 2)
            running.store.away = True
            for _ in items:
                first.release()
            await running.until(lambda: running.relay.state.frames_total == len(items) and running.spool.depth > 5)
            commits = running.store.commits = asyncio.Semaphore(1)
            running.store.away = False
            await running.until(lambda: running.relay.state.batches_total == 3)
            running.stop.set()
            await running.until(lambda: running.relay.state.phase == "stopped")
            for _ in items:
                commits.release()
            await running.ended()
            assert running.spool.depth == 0
        assert rows(database_url, LAST_CURSOR) == [(max(item.cursor or 0 for item in items),)]
        assert ("shutdown", False, False) in gaps(database_url)

    run(main())


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    away=st.lists(st.tuples(st.integers(1, 60), st.integers(1, 25)), max_size=4),
    breaks=st.lists(st.integers(0, 70), max_size=4),
    kills=st.lists(st.integers(1, 70), max_size=3),
)
def outages(database_url: str, undisturbed: list[Any], away: Any, breaks: list[int], kills: list[int]) -> None:
    wipe(database_url)
    items = tape(60)

    async def main(folder: Path) -> None:
        world = World(database_url, folder, segment_bytes=1500)
        plan = [(since, since + n) for since, n in away]
        for frames in kills:
            async with world.relay(TapeSource(items, breaks), away_in=plan, recording=True) as running:
                await running.until(
                    lambda frames=frames: running.relay.state.frames_total >= frames or running.task.done()
                )
                if running.task.done():
                    running.task.result()  # one that ended before it was killed did so well
        async with world.relay(TapeSource(items, ends=False), recording=True) as running:
            await stored_to_the_end(running, database_url, items)

    with tempfile.TemporaryDirectory() as folder:
        run(main(Path(folder)))
    assert stored(database_url) == undisturbed


def test_outages_of_the_database_and_the_source_and_kills_in_any_order_leave_the_same(database_url: str) -> None:
    run_relay(database_url, TapeSource(tape(60)))
    outages(database_url, stored(database_url))


def test_a_relay_that_is_killed_while_storing_is_delayed_loses_nothing(database_url: str, tmp_path: Path) -> None:
    items = tape(60)
    run_relay(database_url, TapeSource(items))
    undisturbed = stored(database_url)
    wipe(database_url)

    async def main() -> None:
        world = World(database_url, tmp_path)
        async with world.relay(TapeSource(items, [30], ends=False)) as running:
            await running.until(lambda: running.relay.state.batches_total >= 2)
            running.store.away = True
            await running.until(lambda: running.spool.depth > 3)
        async with world.relay(TapeSource(items, ends=False), away=True) as running:
            await running.until(lambda: running.relay.state.frames_total > 20)
            await running.until(lambda: running.relay.state.spooled_total > 3)
        source = TapeSource(items, ends=False)
        async with world.relay(source) as running:
            await stored_to_the_end(running, database_url, items)
        assert source.connections[0] is not None
        assert source.connections[0] > at(0)
        same_but_for_silence(database_url, undisturbed)

    run(main())


def test_a_start_without_the_database_goes_on_where_it_was_last_known_to_be(database_url: str, tmp_path: Path) -> None:
    items = tape(60)

    async def main() -> None:
        world = World(database_url, tmp_path)
        async with world.relay(TapeSource(items[:40], ends=False)) as running:
            await running.until(lambda: running.relay.state.frames_total == 40)
            await running.until(lambda: running.spool.remembered() is not None)
        remembered = DiskSpool(tmp_path, max_bytes=1)
        note = remembered.remembered()
        remembered.close()
        assert note is not None
        source = TapeSource(items, ends=False)
        async with world.relay(source, away=True) as running:
            await running.until(lambda: running.relay.state.spooled_total > 0)
            assert source.connections == [note[0].cursor]
            running.store.away = False
            await stored_to_the_end(running, database_url, items)
        assert {row[0] for row in rows(database_url, "SELECT id FROM posts")} <= posts_of(items)

    run(main())


def test_a_start_without_the_database_that_does_not_know_where_waits_for_it(database_url: str, tmp_path: Path) -> None:
    items = tape(20)
    run_relay(database_url, TapeSource(items))
    undisturbed = stored(database_url)
    wipe(database_url)

    async def main() -> None:
        source = TapeSource(items, ends=False)
        async with World(database_url, tmp_path).relay(source, away=True) as running:
            await running.until(lambda: running.store.calls > 5)
            assert source.connections == []
            assert running.relay.state.why is not None
            running.store.away = False
            await stored_to_the_end(running, database_url, items)
        same_but_for_silence(database_url, undisturbed)

    run(main())


def test_a_source_that_cannot_send_again_is_read_from_the_start_and_what_was_missed_is_a_gap(
    database_url: str, tmp_path: Path
) -> None:
    items = tape(60)
    run_relay(database_url, TapeSource(items[:10]), recording=True)

    async def main() -> None:
        source = TapeSource(items[40:], ends=False, can_replay=False)
        async with World(database_url, tmp_path).relay(source, away=True) as running:
            await running.until(lambda: running.relay.state.spooled_total > 0)
            running.store.away = False
            await stored_to_the_end(running, database_url, items)

    run(main())
    ((cause, closed, seconds),) = rows(
        database_url, "SELECT cause, closed_at IS NOT NULL, extract(epoch FROM ended_at - started_at)::int FROM gaps"
    )
    assert (cause, closed) == ("start", True)
    assert seconds > 60


def test_a_full_spool_leaves_a_source_unread_that_can_send_again(database_url: str, tmp_path: Path) -> None:
    items = tape(200)
    run_relay(database_url, TapeSource(items))
    undisturbed = stored(database_url)
    wipe(database_url)

    async def main() -> None:
        world = World(database_url, tmp_path, max_bytes=6000, segment_bytes=1500)
        async with world.relay(TapeSource(items, ends=False)) as running:
            await running.until(lambda: running.relay.state.batches_total >= 2)
            running.store.away = True
            await running.until(lambda: running.relay.state.spool_full is not None)
            read = running.relay.state.frames_total
            assert read < len(items)
            assert running.spool.size <= 6000
            assert "left unread" in str(running.relay.status()[1]["why"])
            running.store.away = False
            await stored_to_the_end(running, database_url, items)
            assert running.relay.state.spool_full is None
        same_but_for_silence(database_url, undisturbed)
        assert gaps(database_url) == []

    run(main())


def test_a_full_spool_is_a_gap_of_its_own_for_a_source_that_cannot_send_again(
    database_url: str, tmp_path: Path
) -> None:
    items = tape(200)
    wire = Live(items)
    wire.now = at(300)

    async def main() -> None:
        world = World(database_url, tmp_path, max_bytes=4000, segment_bytes=1000)
        async with world.relay(wire) as running:
            await running.until(lambda: running.relay.state.batches_total >= 2)
            running.store.away = True
            await running.until(lambda: running.relay.state.spool_full is not None)
            await running.until(lambda: wire.connected == 0)
            wire.pass_by(until=at(450))
            wire.now = at(10_000)
            running.store.away = False
            await stored_to_the_end(running, database_url, items)

    run(main())
    missed = posts_of([item for item in items if item.cursor is not None and item.cursor in wire.missed])
    assert missed
    recorded = rows(
        database_url,
        "SELECT (extract(epoch FROM started_at) * 1000000)::bigint, (extract(epoch FROM ended_at) * 1000000)::bigint"
        " FROM gaps WHERE cause = 'spool-full' AND closed_at IS NOT NULL",
    )
    assert all(any(started < at < ended for started, ended in recorded) for at in wire.missed)
    have = {row[0] for row in rows(database_url, "SELECT id FROM posts")}
    assert have.isdisjoint(missed)
    # What is stored has been watched, and the gap has not.
    ((observed, span, missing),) = rows(
        database_url,
        "SELECT sum(observed_seconds)::int, max(extract(epoch FROM date_trunc('minute', g.ended_at)"
        " - date_trunc('minute', g.started_at)))::int + 60, max(extract(epoch FROM g.ended_at - g.started_at))::int"
        " FROM coverage c JOIN gaps g ON g.id = (SELECT min(id) FROM gaps WHERE cause = 'spool-full')"
        " AND c.minute < g.ended_at AND c.minute + interval '1 minute' > g.started_at",
    )
    assert observed <= span - missing + 1


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


def flip(folder: Path, *, share: float) -> None:
    """Damage the record in the given part of the spool."""
    paths = sorted(folder.glob("*.seg"))
    path = paths[int(share * len(paths))]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)


def test_a_damaged_spool_is_made_good_by_a_source_that_can_send_again(database_url: str, tmp_path: Path) -> None:
    items = tape(60)
    run_relay(database_url, TapeSource(items))
    undisturbed = stored(database_url)
    wipe(database_url)

    async def main() -> None:
        world = World(database_url, tmp_path, segment_bytes=1500)
        async with world.relay(TapeSource(items, ends=False)) as running:
            await running.until(lambda: running.relay.state.batches_total >= 2)
            running.store.away = True
            await running.until(lambda: running.relay.state.frames_total == len(items))
            await running.until(lambda: running.spool.depth > 8)
        flip(tmp_path, share=0.5)
        async with world.relay(TapeSource(items, ends=False)) as running:
            await stored_to_the_end(running, database_url, items)
            assert running.metrics.value("spool_damaged_total") == 1
            await running.until(lambda: ("spool-damaged", True, True) in gaps(database_url))

    run(main())
    same_but_for_silence(database_url, undisturbed)


def test_damage_is_a_gap_where_the_source_cannot_send_again_and_all_else_is_stored(
    database_url: str, tmp_path: Path
) -> None:
    items = tape(60)

    async def main() -> None:
        world = World(database_url, tmp_path, segment_bytes=1500)
        async with world.relay(Live(items)) as running:
            await running.until(lambda: running.relay.state.batches_total >= 2)
            running.store.away = True
            await running.until(lambda: running.relay.state.frames_total == len(items))
            await running.until(lambda: running.spool.last is None and running.spool.depth > 8)
            running.stop.set()
            await running.ended()
        flip(tmp_path, share=0.5)
        async with world.relay(Live([])) as running:
            await running.drained()

    run(main())
    lost = rows(
        database_url,
        "SELECT extract(epoch FROM ended_at - started_at)::int, backfilled FROM gaps WHERE cause = 'spool-damaged'",
    )
    assert len(lost) == 1
    assert 0 < lost[0][0] < 60
    assert not lost[0][1]
    ((observed, minutes),) = rows(
        database_url,
        "SELECT sum(observed_seconds)::int, count(*) FROM coverage c JOIN gaps g ON g.cause = 'spool-damaged'"
        " AND c.minute < g.ended_at AND c.minute + interval '1 minute' > g.started_at",
    )
    assert observed <= 60 * minutes - lost[0][0]


def test_a_database_that_has_nothing_gets_all_that_a_damaged_spool_still_holds(
    database_url: str, tmp_path: Path
) -> None:
    """It does not know from where the source could be asked again, so there is nothing to wait for."""
    items = tape(60)

    async def main() -> None:
        world = World(database_url, tmp_path, segment_bytes=1500)
        async with world.relay(TapeSource(items, ends=False)) as running:
            await running.until(lambda: running.relay.state.batches_total >= 2)
            running.store.away = True
            await running.until(lambda: running.relay.state.frames_total == len(items))
            await running.until(lambda: running.spool.depth > 8)
            damaged = running.spool.depth
        flip(tmp_path, share=0)
        await asyncio.to_thread(wipe, database_url)
        async with world.relay(TapeSource([], ends=False)) as running:
            await running.drained()
            assert running.metrics.value("spool_damaged_total") == 1
            assert running.relay.state.batches_total == damaged - 1

    run(main())
    assert rows(database_url, "SELECT id FROM posts")


def test_a_database_that_lost_what_it_had_taken_is_given_it_again(database_url: str, tmp_path: Path) -> None:
    """It was restored, or failed over to a replica that lagged."""
    items = tape(60)
    run_relay(database_url, TapeSource(items))
    undisturbed = stored(database_url)
    wipe(database_url)

    async def main() -> None:
        world = World(database_url, tmp_path)
        await asyncio.to_thread(run_relay, database_url, TapeSource(items[:10]))
        async with world.relay(TapeSource(items[:40], ends=False)) as running:
            known = items[39].cursor
            await running.until(lambda: (note := running.spool.remembered()) is not None and note[0].cursor == known)
        await asyncio.to_thread(wipe, database_url)
        await asyncio.to_thread(run_relay, database_url, TapeSource(items[:10]))
        async with world.relay(TapeSource(items, ends=False), away=True) as running:
            await running.until(lambda: running.relay.state.spooled_total > 0)
            running.store.away = False
            await stored_to_the_end(running, database_url, items)

    run(main())
    same_but_for_silence(database_url, undisturbed)


def test_what_is_live_is_shown_while_storing_is_delayed_and_comes_again_with_its_number(
    database_url: str, tmp_path: Path
) -> None:
    items = tape(60)

    async def main() -> None:
        world = World(database_url, tmp_path)
        source = TapeSource(items, ends=False)
        async with world.relay(source, recording=True) as running:  # a recording counts as live throughout
            await running.until(lambda: running.relay.state.batches_total >= 2)
            running.store.away = True
            await running.until(
                lambda: running.relay.state.frames_total == len(items) and len(world.screen.previewed) > 20
            )
            assert not running.relay.live
            known = len(world.screen.events)
            running.store.away = False
            await stored_to_the_end(running, database_url, items)
            assert running.relay.live
        caught_up = world.screen.events[known:]
        assert caught_up
        assert not any(event.live for event in caught_up)
        again = [post.id for event in caught_up for post in event.posts]
        withdrawn = {row[0] for row in rows(database_url, "SELECT id FROM tombstones")}
        assert set(again) - withdrawn <= set(world.screen.previewed)
        everything = [post.id for event in world.screen.events for post in event.posts]
        assert len(everything) == len(set(everything))

    run(main())
