"""The relay while its database is away: received work waits on disk, in order, and nothing is lost or stored twice."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from groundswell.adapters.disk_spool import DiskSpool
from tests.relay_world import at, rows, run_relay, stored, tape, undisturbed, wipe
from tests.spool_world import (
    LAST_CURSOR,
    World,
    gaps,
    posts_of,
    run,
    same_but_for_silence,
    stored_to_the_end,
)
from tests.tape import TapeSource


def test_with_the_database_away_the_relay_reads_on_and_stores_everything_later(
    database_url: str, tmp_path: Path
) -> None:
    items = tape(60)
    whole = undisturbed(database_url, items)

    async def main() -> None:
        world = World(database_url, tmp_path)
        async with world.relay(TapeSource(items, ends=False)) as running:
            await running.lose_the_store()
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
        same_but_for_silence(database_url, whole)
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
def outages(database_url: str, whole: list[Any], away: Any, breaks: list[int], kills: list[int]) -> None:
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
    assert stored(database_url) == whole


def test_outages_of_the_database_and_the_source_and_kills_in_any_order_leave_the_same(database_url: str) -> None:
    outages(database_url, undisturbed(database_url, tape(60)))


def test_a_relay_that_is_killed_while_storing_is_delayed_loses_nothing(database_url: str, tmp_path: Path) -> None:
    items = tape(60)
    whole = undisturbed(database_url, items)

    async def main() -> None:
        world = World(database_url, tmp_path)
        async with world.relay(TapeSource(items, [30], ends=False)) as running:
            await running.lose_the_store()
            await running.until(lambda: running.spool.depth > 3)
        async with world.relay(TapeSource(items, ends=False), away=True) as running:
            await running.until(lambda: running.relay.state.frames_total > 20)
            await running.until(lambda: running.relay.state.spooled_total > 3)
        source = TapeSource(items, ends=False)
        async with world.relay(source) as running:
            await stored_to_the_end(running, database_url, items)
        assert source.connections[0] is not None
        assert source.connections[0] > at(0)
        same_but_for_silence(database_url, whole)

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
    whole = undisturbed(database_url, items)

    async def main() -> None:
        source = TapeSource(items, ends=False)
        async with World(database_url, tmp_path).relay(source, away=True) as running:
            await running.until(lambda: running.store.calls > 5)
            assert source.connections == []
            assert running.relay.state.why is not None
            running.store.away = False
            await stored_to_the_end(running, database_url, items)
        same_but_for_silence(database_url, whole)

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


def test_what_is_live_is_shown_while_storing_is_delayed_and_comes_again_with_its_number(
    database_url: str, tmp_path: Path
) -> None:
    items = tape(60)

    async def main() -> None:
        world = World(database_url, tmp_path)
        source = TapeSource(items, ends=False)
        async with world.relay(source, recording=True) as running:  # a recording counts as live throughout
            await running.lose_the_store()
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
