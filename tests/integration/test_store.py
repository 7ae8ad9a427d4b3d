"""What one batch changes in a real Postgres, and that repeating it changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
import pytest

from groundswell.adapters.postgres_pool import open_pool
from groundswell.adapters.postgres_store import PostgresStore
from groundswell.core.posts import MICROS_PER_MINUTE, MICROS_PER_SECOND, AccountChange, Deleted, Post
from groundswell.errors import StoreUnavailable
from groundswell.ports.storing import Batch
from tests.roles import as_role

T0 = 1_783_175_880_000_000 // MICROS_PER_MINUTE * MICROS_PER_MINUTE
"""The start of a minute."""


def post(
    key: str, *entities: str, author: str = "did:plc:ann", at: float = 0, rev: str = "a", text: str = "hello"
) -> Post:
    when = T0 + round(at * MICROS_PER_SECOND)
    return Post(
        id=f"at://{author}/app.bsky.feed.post/{key}",
        source="jetstream",
        author=author,
        text=text,
        event_time=when,
        rev=rev,
        cursor=when,
        entities=entities,
        lang="en",
    )


def deleted(of: Post, rev: str = "z") -> Deleted:
    return Deleted(source=of.source, author=of.author, event_time=of.event_time, cursor=of.cursor, id=of.id, rev=rev)


def batch(
    *posts: Post,
    deletes: tuple[Deleted, ...] = (),
    accounts: tuple[AccountChange, ...] = (),
    start: float = 0,
    end: float = 30,
) -> Batch:
    until = T0 + round(end * MICROS_PER_SECOND)
    return Batch(
        source="jetstream",
        posts=posts,
        deletes=deletes,
        accounts=accounts,
        cursor=until,
        covered_from=T0 + round(start * MICROS_PER_SECOND),
        covered_until=until,
    )


def with_store(url: str, scenario: Callable[[PostgresStore], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        pool = await open_pool(as_role(url, "relay"), size=4, wait_s=5, statement_timeout_s=10, application_name="test")
        try:
            return await scenario(PostgresStore(pool))
        finally:
            await pool.close()

    return asyncio.run(run())


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as conn:
        return conn.execute(query).fetchall()


COUNTS = "SELECT entity, minute::text, mentions, authors FROM minute_counts ORDER BY 1, 2"
EVERYTHING = (
    "SELECT id, text, rev, entities FROM posts ORDER BY id",
    COUNTS,
    "SELECT entity, author, mentions FROM minute_authors ORDER BY 1, 2",
    "SELECT minute::text, posts FROM minute_totals ORDER BY 1",
    "SELECT minute::text, observed_seconds FROM coverage ORDER BY 1",
    "SELECT source, cursor, covered_until::text FROM cursors",
)


def everything(url: str) -> list[list[tuple[Any, ...]]]:
    return [rows(url, query) for query in EVERYTHING]


def test_a_batch_stores_posts_counts_coverage_cursor_outbox_and_events_together(database_url: str) -> None:
    posts = (
        post("1", "ticker:BTC"),
        post("2", "ticker:BTC", "hashtag:kcon", author="did:plc:bob", at=10),
        post("3", "ticker:BTC", at=70),
    )
    committed = with_store(database_url, lambda store: store.commit(batch(*posts, end=90)))

    assert [stored.post.id for stored in committed.created] == [p.id for p in posts]
    assert [(e, n, a) for e, _, n, a in rows(database_url, COUNTS)] == [
        ("hashtag:kcon", 1, 1),
        ("ticker:BTC", 2, 2),
        ("ticker:BTC", 1, 1),
    ]
    assert rows(database_url, "SELECT posts FROM minute_totals ORDER BY minute") == [(2,), (1,)]
    assert rows(database_url, "SELECT observed_seconds FROM coverage ORDER BY minute") == [(60,), (30,)]
    assert rows(database_url, "SELECT cursor FROM cursors") == [(T0 + 90 * MICROS_PER_SECOND,)]
    assert rows(database_url, "SELECT op, count(*) FROM outbox GROUP BY op") == [("upsert", 3)]
    (event,) = committed.events
    assert rows(database_url, "SELECT seq, type, cardinality(pks) FROM events") == [(event.seq, "posts.new", 3)]
    assert event.posts == posts


def test_the_same_batch_again_changes_nothing(database_url: str) -> None:
    posts = (post("1", "ticker:BTC"), post("2", "hashtag:kcon", at=5))

    async def twice(store: PostgresStore) -> list[Any]:
        await store.commit(batch(*posts))
        before = await asyncio.to_thread(everything, database_url)
        again = await store.commit(batch(*posts))
        return [before, again]

    before, again = with_store(database_url, twice)
    assert (again.created, again.duplicates, again.events) == ([], 2, [])
    assert everything(database_url) == before


def test_a_delete_subtracts_what_the_post_counted_and_keeps_it_from_coming_back(database_url: str) -> None:
    first, other = post("1", "ticker:BTC", at=1), post("2", "ticker:BTC", author="did:plc:bob", at=2)

    async def scenario(store: PostgresStore) -> Any:
        await store.commit(batch(first, other))
        gone = await store.commit(batch(deletes=(deleted(first),), end=31))
        await store.commit(batch(first, end=32))
        return gone

    gone = with_store(database_url, scenario)
    assert gone.deleted == 1
    assert [event.type for event in gone.events] == ["posts.deleted"]
    assert [(e, n, a) for e, _, n, a in rows(database_url, COUNTS)] == [("ticker:BTC", 1, 1)]
    assert rows(database_url, "SELECT author FROM minute_authors") == [("did:plc:bob",)]
    assert rows(database_url, "SELECT posts FROM minute_totals") == [(1,)]
    assert rows(database_url, "SELECT id FROM posts") == [(other.id,)]
    assert rows(database_url, "SELECT op FROM outbox ORDER BY id") == [("upsert",), ("upsert",), ("delete",)]


def test_deleting_the_only_post_leaves_no_count_behind(database_url: str) -> None:
    only = post("1", "ticker:BTC")

    async def scenario(store: PostgresStore) -> None:
        await store.commit(batch(only))
        await store.commit(batch(deletes=(deleted(only),), end=31))

    with_store(database_url, scenario)
    assert rows(database_url, COUNTS) == []
    assert rows(database_url, "SELECT * FROM minute_authors") == []


def test_an_edit_moves_the_mentions_and_keeps_the_minute(database_url: str) -> None:
    original = post("1", "ticker:BTC", at=5)
    edit = post("1", "ticker:ETH", at=65, rev="b", text="edited")

    async def scenario(store: PostgresStore) -> Any:
        await store.commit(batch(original))
        return await store.commit(batch(edit, end=90))

    committed = with_store(database_url, scenario)
    assert committed.updated == 1
    assert [(e, n) for e, _, n, _ in rows(database_url, COUNTS)] == [("ticker:ETH", 1)]
    assert rows(database_url, "SELECT text, rev, entities FROM posts") == [("edited", "b", ["ticker:ETH"])]
    assert rows(database_url, "SELECT posts FROM minute_totals WHERE posts > 0") == [(1,)]


def test_an_older_revision_never_overwrites_a_newer_one(database_url: str) -> None:
    async def scenario(store: PostgresStore) -> None:
        await store.commit(batch(post("1", rev="b", text="new")))
        await store.commit(batch(post("1", rev="a", text="old"), end=40))

    with_store(database_url, scenario)
    assert rows(database_url, "SELECT text FROM posts") == [("new",)]


def test_a_deleted_account_takes_its_posts_and_counts_along_but_not_what_it_posts_after_its_return(
    database_url: str,
) -> None:
    spam = "did:plc:spam"
    down, back = (
        AccountChange("jetstream", spam, T0 + at * MICROS_PER_SECOND, T0, status)
        for at, status in ((20, "deleted"), (22, "active"))
    )
    early, other = post("1", "ticker:BTC", author=spam, at=1), post("2", "ticker:BTC", at=2)
    late = post("3", "ticker:BTC", author=spam, at=25)

    async def scenario(store: PostgresStore) -> None:
        await store.commit(batch(early, other))
        await store.commit(batch(late, accounts=(down, back), end=31))
        await store.commit(batch(early, end=32))

    with_store(database_url, scenario)
    assert {row[0] for row in rows(database_url, "SELECT id FROM posts")} == {other.id, late.id}
    assert [(e, n, a) for e, _, n, a in rows(database_url, COUNTS)] == [("ticker:BTC", 2, 2)]


def test_coverage_counts_every_second_once_however_batches_overlap(database_url: str) -> None:
    async def scenario(store: PostgresStore) -> None:
        await store.commit(batch(start=0, end=40))
        await store.commit(batch(start=10, end=40))
        await store.commit(batch(start=20, end=65))
        await store.commit(batch(start=80, end=90))

    with_store(database_url, scenario)
    assert rows(database_url, "SELECT observed_seconds FROM coverage ORDER BY minute") == [(60,), (15,)]


def test_a_cursor_never_moves_backwards(database_url: str) -> None:
    async def scenario(store: PostgresStore) -> Any:
        await store.commit(batch(end=60))
        await store.commit(batch(end=30))
        return await store.resume_point("jetstream")

    assert with_store(database_url, scenario).cursor == T0 + 60 * MICROS_PER_SECOND


def test_a_gap_is_opened_once_and_closed_once_with_an_event_each(database_url: str) -> None:
    async def scenario(store: PostgresStore) -> list[Any]:
        opened = await store.open_gap("jetstream", "disconnect", T0, "reset by peer")
        again = await store.open_gap("jetstream", "stall", T0 + 1, "still away")
        closed = await store.close_gap("jetstream", T0 + 5 * MICROS_PER_SECOND, backfilled=True)
        nothing = await store.close_gap("jetstream", T0 + 6 * MICROS_PER_SECOND, backfilled=True)
        return [opened, again, closed, nothing]

    opened, again, closed, nothing = with_store(database_url, scenario)
    assert (opened.type, closed.type, again, nothing) == ("gap", "gap", None, None)
    assert rows(database_url, "SELECT cause, backfilled, ended_at - started_at = '5 s' FROM gaps") == [
        ("disconnect", True, True)
    ]


def test_gaps_that_are_filled_later_become_backfilled_with_an_event_each(database_url: str) -> None:
    async def scenario(store: PostgresStore) -> list[Any]:
        for start in (0, 100):
            await store.open_gap("jetstream", "disconnect", T0 + start * MICROS_PER_SECOND, "reset by peer")
            await store.close_gap("jetstream", T0 + (start + 50) * MICROS_PER_SECOND, backfilled=False)
        await store.open_gap("jetstream", "disconnect", T0 + 60 * MICROS_PER_SECOND, "still open")
        until = T0 + 149 * MICROS_PER_SECOND
        return [await store.fill_gaps("jetstream", T0, until), await store.fill_gaps("jetstream", T0, until)]

    filled, again = with_store(database_url, scenario)
    assert [event.type for event in filled] == ["gap"]
    assert not again
    assert rows(database_url, "SELECT backfilled FROM gaps ORDER BY id") == [(True,), (False,), (False,)]


def test_a_failing_batch_leaves_nothing_behind(database_url: str) -> None:
    broken = post("2", text="a NUL\x00 cannot be stored")

    async def scenario(store: PostgresStore) -> None:
        with pytest.raises(psycopg.DataError):
            await store.commit(batch(post("1", "ticker:BTC"), broken))

    with_store(database_url, scenario)
    assert everything(database_url) == [[] for _ in EVERYTHING]


def test_events_are_numbered_in_the_order_they_become_visible(database_url: str) -> None:
    async def scenario(store: PostgresStore) -> list[int]:
        committed = await asyncio.gather(
            *(store.commit(batch(post(str(i), at=i), start=i, end=i + 1)) for i in range(12))
        )
        return [event.seq for c in committed for event in c.events]

    assert sorted(with_store(database_url, scenario)) == list(range(1, 13))


def test_a_store_that_is_away_is_named_and_not_a_crash() -> None:
    async def scenario(store: PostgresStore) -> None:
        with pytest.raises(StoreUnavailable):
            await store.commit(batch(post("1")))

    async def run() -> None:
        pool = await open_pool(
            "postgresql://nobody@127.0.0.1:1/none", size=1, wait_s=0.3, statement_timeout_s=1, application_name="t"
        )
        try:
            await scenario(PostgresStore(pool))
        finally:
            await pool.close()

    asyncio.run(run())
