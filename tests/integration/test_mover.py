"""Old posts move to the archive, each exactly once, and what happens to them afterwards."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import psycopg
import pytest
from msgspec.structs import replace

from groundswell.errors import ArchiveUnavailable
from tests.archive_world import (
    DAY_ONE,
    DAY_S,
    HOT_S,
    World,
    account_active,
    account_deleted,
    age,
    archived,
    batch,
    counts,
    deleted,
    in_world,
    places,
    post,
    rows,
)

THREE_DAYS = tuple(post(number, day=day) for day in range(3) for number in range(1, 61))


async def filled(world: World, *posts: Any) -> None:
    await world.store.commit(batch(*posts))
    await asyncio.to_thread(age, world.url)


def test_old_posts_move_by_day_and_source_and_are_what_they_were(database_url: str, tmp_path: Path) -> None:
    other = tuple(post(number, day=1, source="replay:mon/day.jsonl", author="did:plc:x") for number in range(5))

    async def scenario(world: World) -> Any:
        await filled(world, *THREE_DAYS)
        await world.store.commit(batch(*other, source="replay:mon/day.jsonl"))
        age(world.url)
        before = counts(world.url)
        report = await world.mover(file_rows=50).move()
        assert counts(world.url) == before
        return report, await archived(world), await world.index.files()

    report, found, files = in_world(database_url, tmp_path, scenario)
    assert (report.posts, report.ended, report.again) == (185, "done", 0)
    assert sorted(found, key=lambda p: p.id) == [
        _as_stored(p) for p in sorted((*THREE_DAYS, *other), key=lambda p: p.id)
    ]
    assert {(f.manifest.day, f.manifest.source, f.manifest.rows) for f in files} == {
        *((f"2026-05-0{day}", "jetstream", size) for day in (1, 2, 3) for size in (50, 10)),
        ("2026-05-02", "replay:mon/day.jsonl", 5),
    }
    for table in ("posts", "archive_claims", "post_vectors"):
        assert rows(database_url, f"SELECT count(*) FROM {table}") == [(0,)]
    assert rows(database_url, "SELECT count(*) FROM archived_posts") == [(185,)]


def flip_a_byte(path: Path) -> None:
    spoiled = bytearray(path.read_bytes())
    spoiled[len(spoiled) // 2] ^= 1
    path.write_bytes(spoiled)


def _as_stored(p: Any) -> Any:
    return replace(p, cursor=p.event_time)


def test_what_is_not_old_enough_stays(database_url: str, tmp_path: Path) -> None:
    async def scenario(world: World) -> Any:
        await world.store.commit(batch(*THREE_DAYS))
        just_ingested = await world.mover().move()
        age(world.url, days=10)
        within = await world.mover().move()
        age(world.url, days=16)
        return just_ingested.posts, within.posts, (await world.mover().move()).posts

    assert in_world(database_url, tmp_path, scenario) == (0, 0, 180)


def test_a_day_moves_only_once_it_is_over(database_url: str, tmp_path: Path) -> None:
    async def scenario(world: World) -> Any:
        now = await world.store.now()
        day_start = now - now % (DAY_S * 1_000_000)
        today = [_at(number, day_start + number) for number in range(3)]
        yesterday = [_at(number, day_start - number - 1) for number in range(3, 7)]
        await world.store.commit(batch(*today, *yesterday))
        age(world.url)
        # No hot window at all: what is left is the rule that days move whole.
        return (await world.mover(hot_s=0.0).move()).posts

    assert in_world(database_url, tmp_path, scenario) == 4


def _at(number: int, event_time: int) -> Any:
    return replace(post(number), event_time=event_time)


def test_moving_again_moves_nothing(database_url: str, tmp_path: Path) -> None:
    async def scenario(world: World) -> Any:
        await filled(world, *THREE_DAYS)
        await world.mover().move()
        again = await world.mover().move()
        return again.posts, await places(world)

    posts, where = in_world(database_url, tmp_path, scenario)
    assert posts == 0
    assert set(where.values()) == {1}


def test_an_archived_post_that_is_sent_again_is_neither_stored_nor_counted(database_url: str, tmp_path: Path) -> None:
    async def scenario(world: World) -> Any:
        await filled(world, *THREE_DAYS)
        await world.mover().move()
        before = counts(world.url)
        again = await world.store.commit(batch(*THREE_DAYS))
        # The same post from another source, too.
        elsewhere = await world.store.commit(batch(THREE_DAYS[0], source="replay:again"))
        assert counts(world.url) == before
        return again.created, elsewhere.created, await places(world)

    created, elsewhere, where = in_world(database_url, tmp_path, scenario)
    assert (created, elsewhere) == ([], [])
    assert set(where.values()) == {1}


def test_deleting_an_archived_post_hides_it_at_once_and_takes_it_out_of_the_counts_once(
    database_url: str, tmp_path: Path
) -> None:
    gone = THREE_DAYS[10]

    async def scenario(world: World) -> None:
        await filled(world, *THREE_DAYS)
        await world.mover().move()
        assert await world.reader.post(gone.id) is not None
        await world.store.commit(batch(deletes=[deleted(gone)]))
        assert await world.reader.post(gone.id) is None
        assert await world.withdrawals.settle() == 1
        assert await world.withdrawals.settle() == 0
        await world.store.commit(batch(gone, deletes=[deleted(gone)]))
        assert await world.withdrawals.settle() == 0

    in_world(database_url, tmp_path, scenario)
    assert counts(database_url) == _counts_of(database_url, tmp_path, [p for p in THREE_DAYS if p != gone])


def test_a_deleted_account_takes_its_archived_posts_along_but_not_those_after_its_return(
    database_url: str, tmp_path: Path
) -> None:
    author, until = "did:plc:3", DAY_ONE + (DAY_S + 3 * 3600) * 1_000_000
    gone = [p for p in THREE_DAYS if p.author == author and p.event_time <= until]
    kept = [p for p in THREE_DAYS if p not in gone]
    assert len(gone) > 5 and any(p.author == author for p in kept)

    async def scenario(world: World) -> None:
        await filled(world, *THREE_DAYS)
        await world.mover(file_rows=20).move()
        back = account_active(author, until + 1)
        await world.store.commit(batch(accounts=[account_deleted(author, until), back]))
        shown = [p for p in THREE_DAYS if await world.reader.post(p.id) is not None]
        assert shown == kept
        assert await world.withdrawals.settle() == len(gone)
        assert await world.withdrawals.settle() == 0
        assert [p for p in THREE_DAYS if await world.reader.post(p.id) is not None] == kept
        # A second, later deletion takes the rest, and nothing twice.
        await world.store.commit(batch(accounts=[account_deleted(author, until + DAY_S * 5_000_000)]))
        assert await world.withdrawals.settle() == sum(p.author == author for p in kept)

    in_world(database_url, tmp_path, scenario)
    expected = [p for p in THREE_DAYS if p.author != author]
    assert counts(database_url) == _counts_of(database_url, tmp_path, expected)


def _counts_of(url: str, folder: Path, posts: Any) -> Any:
    """What these posts alone count, in a world of their own."""
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("CREATE DATABASE expected TEMPLATE migrated")
    other = url.rsplit("/", 1)[0] + "/expected?" + url.partition("?")[2]
    try:
        in_world(other, folder / "expected", lambda world: world.store.commit(batch(*posts)))
        return counts(other)
    finally:
        with psycopg.connect(url, autocommit=True) as conn:
            conn.execute("DROP DATABASE expected WITH (FORCE)")


def test_a_delete_that_is_older_than_the_archived_revision_changes_nothing(database_url: str, tmp_path: Path) -> None:
    newer = post(7, rev="m")

    async def scenario(world: World) -> None:
        await filled(world, newer)
        await world.mover().move()
        before = counts(world.url)
        await world.store.commit(batch(deletes=[deleted(newer, rev="c")]))
        assert await world.withdrawals.settle() == 0
        assert counts(world.url) == before
        assert await world.reader.post(newer.id) is not None

    in_world(database_url, tmp_path, scenario)


def test_posts_that_change_while_they_are_written_do_not_hold_up_the_rest(database_url: str, tmp_path: Path) -> None:
    edited, gone = THREE_DAYS[3], THREE_DAYS[4]

    async def scenario(world: World) -> Any:
        await filled(world, *THREE_DAYS[:60])

        class Meanwhile:
            """The archive, while a batch arrives in the middle of its work."""

            def __getattr__(self, name: str) -> Any:
                return getattr(world.archive, name)

            async def put(self, name: str, file: Path, *, sha256: str) -> None:
                await world.archive.put(name, file, sha256=sha256)
                edit = replace(edited, rev="b", text="edited", entities=("ticker:NEW",))
                await world.store.commit(batch(edit, deletes=[deleted(gone)]))

        before = counts(world.url)
        report = await world.mover(archive=Meanwhile()).move()
        pending = await world.index.pending()
        return report, (before, counts(world.url), pending), await places(world), await archived(world)

    report, (before, after, pending), where, found = in_world(database_url, tmp_path, scenario)
    assert (report.again, report.posts, report.files) == (0, 59, 2), "the edited one follows in a file of its own"
    assert pending is None
    posts_before, posts_after = (sum(posts for *_, posts in found_counts[2]) for found_counts in (before, after))
    assert posts_after == posts_before - 1, "what was deleted meanwhile is counted out by its deletion alone"
    assert set(where.values()) == {1} and gone.id not in where
    assert next(p for p in found if p.id == edited.id).text == "edited"


@pytest.mark.parametrize("movers", [2, 4])
def test_movers_at_once_never_move_a_post_twice(database_url: str, tmp_path: Path, movers: int) -> None:
    async def scenario(world: World) -> Any:
        await filled(world, *THREE_DAYS)
        reports = await asyncio.gather(*(world.mover(file_rows=15).move() for _ in range(movers)))
        return reports, await places(world)

    reports, where = in_world(database_url, tmp_path, scenario)
    assert sum(report.posts for report in reports) == 180
    assert len(where) == 180 and set(where.values()) == {1}


def test_a_mover_stops_before_its_deadline_and_goes_on_later(database_url: str, tmp_path: Path) -> None:
    class Ticking:
        """A clock of which every look takes a second."""

        def __init__(self) -> None:
            self.at = 0.0

        def monotonic(self) -> float:
            self.at += 1.0
            return self.at

        def now(self) -> int:
            raise AssertionError("a mover has no business with this machine's time")

        async def sleep(self, seconds: float) -> None:
            raise AssertionError("a mover does not sleep")

    async def scenario(world: World) -> Any:
        await filled(world, *THREE_DAYS)
        first = await world.mover(file_rows=10, clock=Ticking()).move(within_s=40)
        claims = rows(world.url, "SELECT count(*) FROM archive_claims")
        nothing = await world.mover(file_rows=10, clock=Ticking()).move(within_s=3)
        second = await world.mover(file_rows=10).move()
        return first, claims, nothing, second, await places(world)

    first, claims, nothing, second, where = in_world(database_url, tmp_path, scenario)
    assert first.ended == "deadline" and 0 < first.posts < 180
    assert claims == [(0,)]
    assert (nothing.ended, nothing.posts) == ("deadline", 0)
    assert (second.ended, first.posts + second.posts) == ("done", 180)
    assert set(where.values()) == {1}


def test_a_full_disk_leaves_everything_in_place(database_url: str, tmp_path: Path) -> None:
    async def scenario(world: World) -> Any:
        await filled(world, *THREE_DAYS)

        class Full:
            def __getattr__(self, name: str) -> Any:
                return getattr(world.archive, name)

            async def put(self, name: str, file: Path, *, sha256: str) -> None:
                raise OSError(28, "No space left on device")

        with pytest.raises(ArchiveUnavailable, match="No space left on device"):
            await world.mover(archive=Full()).move()
        stuck = rows(world.url, "SELECT count(*) FROM posts"), rows(world.url, "SELECT count(*) FROM archive_claims")
        return stuck, (await world.mover().move()).posts, await places(world)

    stuck, moved, where = in_world(database_url, tmp_path, scenario)
    assert stuck == ([(180,)], [(0,)])
    assert moved == 180 and set(where.values()) == {1}
    assert not list((tmp_path / "scratch").iterdir())


def test_an_archive_that_gives_back_something_else_gets_nothing(database_url: str, tmp_path: Path) -> None:
    async def scenario(world: World) -> Any:
        await filled(world, *THREE_DAYS)

        class Flipping:
            def __getattr__(self, name: str) -> Any:
                return getattr(world.archive, name)

            async def get(self, name: str, into: Path) -> None:
                await world.archive.get(name, into)
                await asyncio.to_thread(flip_a_byte, into)

        with pytest.raises(ArchiveUnavailable):
            await world.mover(archive=Flipping()).move()
        return rows(world.url, "SELECT count(*) FROM posts"), await world.index.files()

    assert in_world(database_url, tmp_path, scenario) == ([(180,)], [])


def test_a_mover_that_lost_its_claim_takes_nothing_out(database_url: str, tmp_path: Path) -> None:
    async def scenario(world: World) -> Any:
        await filled(world, *THREE_DAYS)

        class Slow:
            """Another mover comes after the lease has run out and moves everything first."""

            def __getattr__(self, name: str) -> Any:
                return getattr(world.archive, name)

            async def put(self, name: str, file: Path, *, sha256: str) -> None:
                await world.archive.put(name, file, sha256=sha256)
                if name.endswith(".json"):
                    await world.mover().move()

        report = await world.mover(archive=Slow(), lease_s=0.0).move()
        return report, await places(world), rows(world.url, "SELECT state, count(*) FROM archive_files GROUP BY 1")

    report, where, states = in_world(database_url, tmp_path, scenario)
    assert report.posts == 0 and report.again == 1
    assert len(where) == 180 and set(where.values()) == {1}
    assert dict(states) == {"archived": 3, "discarded": 1}


def test_posts_that_are_indexed_leave_the_vector_index_too(database_url: str, tmp_path: Path) -> None:
    async def scenario(world: World) -> Any:
        await filled(world, *THREE_DAYS[:4])
        with psycopg.connect(world.url) as conn:
            conn.execute("INSERT INTO post_vectors SELECT pk, 'space' FROM posts ORDER BY pk LIMIT 3")
            conn.execute("DELETE FROM outbox WHERE post_pk IN (SELECT post_pk FROM post_vectors)")
        pks = rows(world.url, "SELECT post_pk FROM post_vectors ORDER BY 1")
        await world.mover(hot_s=HOT_S).move()
        return pks

    pks = in_world(database_url, tmp_path, scenario)
    assert rows(database_url, "SELECT post_pk FROM outbox WHERE op = 'delete' ORDER BY 1") == pks
    assert rows(database_url, "SELECT count(*) FROM outbox WHERE op = 'upsert'") == [(0,)]
