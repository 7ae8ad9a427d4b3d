"""A spool that takes no more: the source is left unread, or what could not be kept is a gap."""

from __future__ import annotations

from pathlib import Path

from tests.relay_world import at, rows, tape, undisturbed
from tests.spool_world import (
    Live,
    World,
    gaps,
    posts_of,
    run,
    same_but_for_silence,
    stored_to_the_end,
)
from tests.tape import TapeSource


def test_a_full_spool_leaves_a_source_unread_that_can_send_again(database_url: str, tmp_path: Path) -> None:
    items = tape(200)
    whole = undisturbed(database_url, items)

    async def main() -> None:
        world = World(database_url, tmp_path, max_bytes=6000, segment_bytes=1500)
        async with world.relay(TapeSource(items, ends=False)) as running:
            await running.lose_the_store()
            await running.until(lambda: running.relay.state.spool_full is not None)
            read = running.relay.state.frames_total
            assert read < len(items)
            assert running.spool.size <= 6000
            assert "left unread" in str(running.relay.status()[1]["why"])
            running.store.away = False
            await stored_to_the_end(running, database_url, items)
            assert running.relay.state.spool_full is None
        same_but_for_silence(database_url, whole)
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
            await running.lose_the_store()
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
