"""A spool or a database that lost something: it is asked for again, or it is a gap."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.relay_world import rows, run_relay, tape, undisturbed, wipe
from tests.spool_world import (
    Live,
    World,
    gaps,
    run,
    same_but_for_silence,
    stored_to_the_end,
)
from tests.tape import TapeSource


def flip(folder: Path, *, share: float) -> None:
    """Damage the record in the given part of the spool."""
    paths = sorted(folder.glob("*.seg"))
    path = paths[int(share * len(paths))]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)


def test_a_damaged_spool_is_made_good_by_a_source_that_can_send_again(database_url: str, tmp_path: Path) -> None:
    items = tape(60)
    whole = undisturbed(database_url, items)

    async def main() -> None:
        world = World(database_url, tmp_path, segment_bytes=1500)
        async with world.relay(TapeSource(items, ends=False)) as running:
            await running.lose_the_store()
            await running.until(lambda: running.relay.state.frames_total == len(items))
            await running.until(lambda: running.spool.depth > 8)
        flip(tmp_path, share=0.5)
        async with world.relay(TapeSource(items, ends=False)) as running:
            await stored_to_the_end(running, database_url, items)
            assert running.metrics.value("spool_damaged_total") == 1
            await running.until(lambda: ("spool-damaged", True, True) in gaps(database_url))

    run(main())
    same_but_for_silence(database_url, whole)


def test_damage_is_a_gap_where_the_source_cannot_send_again_and_all_else_is_stored(
    database_url: str, tmp_path: Path
) -> None:
    items = tape(60)

    async def main() -> None:
        world = World(database_url, tmp_path, segment_bytes=1500)
        async with world.relay(Live(items)) as running:
            await running.lose_the_store()
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
            await running.lose_the_store()
            await running.until(lambda: running.relay.state.frames_total == len(items))
            await running.until(lambda: running.spool.depth > 8)
        # What was under way is spooled while the relay stops.
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
    whole = undisturbed(database_url, items)

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
    same_but_for_silence(database_url, whole)
