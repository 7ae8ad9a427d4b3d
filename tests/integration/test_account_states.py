"""What becomes of an account's posts when the network takes the account away, and when it brings it back."""

from __future__ import annotations

import asyncio
from itertools import permutations
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest

from groundswell.adapters.postgres_store import PostgresStore
from groundswell.adapters.simulator import WATCH_NAMES, WorldConfig, truth
from groundswell.adapters.simulator import World as Network
from groundswell.core.accounts import ACCOUNT_PASSING, STATUSES
from groundswell.core.batching import Batcher
from groundswell.core.entities import EntityExtractor
from groundswell.core.jetstream import decode
from groundswell.core.posts import MICROS_PER_SECOND, AccountChange, Deleted, Post
from groundswell.ports.storing import Batch
from tests import archive_world
from tests.archive_world import DAY_ONE, DAY_S, World, age, in_world
from tests.integration.test_store import COUNTS, T0, batch, deleted, everything, post, rows, with_store

ANN, BOB = "did:plc:ann", "did:plc:bob"
REVERSIBLE = ["deactivated", "suspended", "takendown", "unknown"]
HIDDEN = "SELECT id FROM hidden_posts ORDER BY id"
VISIBLE = "SELECT id FROM posts ORDER BY id"


def state(status: str, *, at: float, author: str = ANN) -> AccountChange:
    when = T0 + round(at * MICROS_PER_SECOND)
    return AccountChange("jetstream", author, when, when, status)


def told(*changes: AccountChange, posts: tuple[Post, ...] = (), deletes: tuple[Deleted, ...] = ()) -> Batch:
    return msgspec.structs.replace(batch(*posts, deletes=deletes), accounts=changes)


def ids(url: str, query: str) -> list[str]:
    return [row[0].rpartition("/")[2] for row in rows(url, query)]


@pytest.mark.parametrize("status", REVERSIBLE)
def test_what_is_reversible_hides_the_posts_and_brings_them_back_with_their_counts(
    database_url: str, status: str
) -> None:
    mine, other = post("1", "ticker:BTC", "hashtag:kcon"), post("2", "ticker:BTC", author=BOB, at=2)
    before: list[Any] = []
    keys = "SELECT pk, id FROM posts ORDER BY id"

    async def scenario(store: PostgresStore) -> tuple[Any, Any]:
        await store.commit(batch(mine, other))
        before.extend([everything(database_url), rows(database_url, keys)])
        hidden = await store.commit(told(state(status, at=20)))
        assert [(e, n, a) for e, _, n, a in rows(database_url, COUNTS)] == [("ticker:BTC", 1, 1)]
        assert ids(database_url, VISIBLE) == ["2"]
        return hidden, await store.commit(told(state("active", at=25)))

    hidden, restored = with_store(database_url, scenario)
    assert (hidden.hidden, hidden.deleted, restored.restored) == (1, 0, 1)
    assert [everything(database_url), rows(database_url, keys)] == before
    assert rows(database_url, HIDDEN) == []


def test_hidden_posts_leave_the_open_pages_and_the_vector_index_and_come_back_to_the_index(database_url: str) -> None:
    async def scenario(store: PostgresStore) -> Any:
        await store.commit(batch(post("1")))
        hidden = await store.commit(told(state("suspended", at=20)))
        await store.commit(told(state("active", at=25)))
        return hidden

    hidden = with_store(database_url, scenario)
    (event,) = hidden.events
    assert event.type == "posts.deleted" and post("1").id in bytes(event.data).decode()
    assert [op for (op,) in rows(database_url, "SELECT op FROM outbox ORDER BY id")] == ["upsert", "delete", "upsert"]


def test_what_is_final_deletes_the_posts_for_good_hidden_ones_too(database_url: str) -> None:
    async def scenario(store: PostgresStore) -> None:
        await store.commit(batch(post("1", "ticker:BTC")))
        await store.commit(told(state("deactivated", at=10)))
        await store.commit(told(state("deleted", at=20)))
        await store.commit(told(state("active", at=25), posts=(post("1", "ticker:BTC"), post("2", at=26))))

    with_store(database_url, scenario)
    assert ids(database_url, VISIBLE) == ["2"], "what is posted after the return is new"
    assert rows(database_url, HIDDEN) == rows(database_url, COUNTS) == []


def test_new_posts_of_a_hidden_account_are_kept_unseen_and_uncounted_until_it_is_active(database_url: str) -> None:
    late = post("late", "ticker:BTC", at=25)

    async def scenario(store: PostgresStore) -> Any:
        await store.commit(told(state("takendown", at=10)))
        kept = await store.commit(batch(late, post("other", author=BOB)))
        again = await store.commit(batch(late))
        assert ids(database_url, VISIBLE) == ["other"] and rows(database_url, COUNTS) == []
        edited = post("late", "ticker:ETH", at=26, rev="b", text="edited")
        await store.commit(batch(edited))
        await store.commit(told(state("active", at=28)))
        return kept, again

    kept, again = with_store(database_url, scenario)
    assert (len(kept.created), kept.hidden, again.hidden, again.duplicates) == (1, 1, 0, 1)
    assert [event.posts[0].id for event in kept.events] == [post("other", author=BOB).id]
    assert rows(database_url, "SELECT text FROM posts WHERE author = 'did:plc:ann'") == [("edited",)]
    assert [(e, n) for e, _, n, _ in rows(database_url, COUNTS)] == [("ticker:ETH", 1)]


def test_a_post_that_is_deleted_while_its_account_is_hidden_does_not_come_back(database_url: str) -> None:
    async def scenario(store: PostgresStore) -> None:
        await store.commit(batch(post("1"), post("2")))
        await store.commit(told(state("suspended", at=10)))
        await store.commit(batch(deletes=(deleted(post("1")),)))
        await store.commit(told(state("active", at=20)))
        await store.commit(batch(post("1")))

    with_store(database_url, scenario)
    assert ids(database_url, VISIBLE) == ["2"]


def test_the_state_of_an_account_of_one_source_says_nothing_about_another_source(database_url: str) -> None:
    async def scenario(store: PostgresStore) -> None:
        await store.commit(batch(post("1")))
        await store.commit(Batch("elsewhere", [], [], 1, T0, T0 + 1, accounts=[state("takendown", at=10)]))

    with_store(database_url, scenario)
    assert ids(database_url, VISIBLE) == ["1"]


def test_an_account_that_a_release_before_states_spooled_as_gone_is_hidden(database_url: str) -> None:
    old = Deleted("jetstream", ANN, T0 + 10 * MICROS_PER_SECOND, 1, cause="suspended")

    async def scenario(store: PostgresStore) -> None:
        await store.commit(batch(post("1")))
        await store.commit(batch(deletes=(old,)))

    with_store(database_url, scenario)
    assert rows(database_url, "SELECT status, hidden FROM account_states") == [("suspended", True)]


CHANGES = [
    told(posts=(post("1", "ticker:BTC"), post("2", "ticker:BTC", author=BOB))),
    told(state("takendown", at=5)),
    told(state("active", at=10), posts=(post("3", "ticker:ETH", at=12),)),
    told(state("deleted", at=3, author=BOB)),
    told(state("deactivated", at=15), deletes=(deleted(post("3", at=12)),)),
]


@pytest.mark.parametrize("ends_active", [True, False])
def test_every_order_of_the_same_events_leaves_the_same_posts_and_counts(database_url: str, ends_active: bool) -> None:
    changes = [*CHANGES, told(state("active", at=20))] if ends_active else CHANGES
    tables = (VISIBLE, HIDDEN, COUNTS, "SELECT author, status, at::text FROM account_states ORDER BY 1")

    async def scenario(store: PostgresStore) -> set[str]:
        found: set[str] = set()
        for order in [*permutations(changes)][:: 7 if ends_active else 3]:
            for each in order:
                await store.commit(each)
            for each in order[2:]:
                await store.commit(each)  # a source that is resumed sends its end again
            found.add(repr([rows(database_url, table) for table in tables]))
            wipe(database_url)
        return found

    (only,) = with_store(database_url, scenario)
    assert ("/1'" in only.partition("]")[0]) is ends_active


def wipe(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(
            "TRUNCATE posts, hidden_posts, tombstones, author_tombstones, account_states, minute_authors,"
            " minute_counts, minute_totals, coverage, cursors, outbox, events, late_counts RESTART IDENTITY"
        )


def test_archived_posts_of_a_hidden_account_are_hidden_at_once_and_come_back_with_their_counts(
    database_url: str, tmp_path: Path
) -> None:
    posts = [archive_world.post(n, day=day) for day in range(2) for n in range(40)]
    author = "did:plc:3"
    mine = [p for p in posts if p.author == author]
    counted = "SELECT entity, minute::text, mentions, authors FROM minute_counts WHERE mentions <> 0 ORDER BY 1, 2"

    def change(status: str, day: int) -> Batch:
        when = DAY_ONE + day * DAY_S * MICROS_PER_SECOND
        return msgspec.structs.replace(
            archive_world.batch(), accounts=[AccountChange("jetstream", author, when, when, status)]
        )

    async def shown(world: World) -> list[str]:
        stored = {row[0] for row in await asyncio.to_thread(rows, database_url, "SELECT id FROM posts")}
        return [p.id for p in posts if p.id in stored or await world.reader.post(p.id) is not None]

    async def scenario(world: World) -> None:
        others = [p.id for p in posts if p.author != author]
        await world.store.commit(archive_world.batch(*posts))
        age(database_url)
        await world.mover(file_rows=30).move()
        before = rows(database_url, counted)
        # Back before anybody has read the file: nothing has moved.
        await world.store.commit(change("suspended", 5))
        assert await shown(world) == others
        await world.store.commit(change("active", 6))
        assert await world.withdrawals.settle() == 0
        assert await shown(world) == [p.id for p in posts] and rows(database_url, counted) == before
        # Back after they were taken out of the counts.
        await world.store.commit(change("suspended", 7))
        assert await world.withdrawals.settle() == len(mine)
        assert await world.withdrawals.settle() == 0
        assert await shown(world) == others and rows(database_url, counted) != before
        await world.store.commit(archive_world.batch(*mine))
        assert await shown(world) == others, "and a source that sends them again changes nothing"
        await world.store.commit(change("active", 8))
        assert await shown(world) == [p.id for p in posts] and rows(database_url, counted) == before
        assert (await world.mover().move()).posts == len(mine), "they are as old as they were, and are archived again"
        assert await shown(world) == [p.id for p in posts] and rows(database_url, counted) == before
        # And gone for good.
        await world.store.commit(change("deleted", 9))
        await world.withdrawals.settle()
        assert await shown(world) == others and rows(database_url, HIDDEN) == []

    in_world(database_url, tmp_path, scenario)


def test_an_account_that_comes_back_while_its_file_is_read_keeps_its_archived_posts(
    database_url: str, tmp_path: Path
) -> None:
    posts = [archive_world.post(n) for n in range(20)]
    author = posts[3].author
    when = DAY_ONE + 5 * DAY_S * MICROS_PER_SECOND

    async def scenario(world: World) -> None:
        await world.store.commit(archive_world.batch(*posts))
        age(database_url)
        await world.mover().move()
        before = rows(database_url, COUNTS)
        for status, later in (("suspended", 0), ("active", 1)):
            change = AccountChange("jetstream", author, when + later, when, status)
            await world.store.commit(msgspec.structs.replace(archive_world.batch(), accounts=[change]))
            if status == "suspended":
                pending = await world.index.pending()
        assert pending is not None
        gone = [row async for page in world.files.read(await _path(world, pending)) for row in page]
        mine = [row for row in gone if row.author == author]
        assert await world.index.settle(pending, mine, []) == 0
        assert rows(database_url, COUNTS) == before
        assert await world.reader.post(posts[3].id) is not None

    in_world(database_url, tmp_path, scenario)


async def _path(world: World, pending: Any) -> Path:
    path = world.archive.local(pending.file.manifest.file)
    assert path is not None
    return path


def test_a_simulated_network_that_takes_accounts_away_and_brings_them_back_leaves_what_it_should(
    database_url: str,
) -> None:
    began, minutes = 1_783_175_880 * MICROS_PER_SECOND, 4
    world = Network(
        WorldConfig(
            seed=3, posts_per_second=8, authors=40, began_at=began, away_per_minute=30, delete_share=0.05,
            update_share=0.05, duplicate_share=0.05, surge_every_s=0,
        )
    )  # fmt: skip
    until = began + minutes * 60 * MICROS_PER_SECOND
    extractor = EntityExtractor(WATCH_NAMES)
    seen: set[str] = set()

    async def scenario(store: PostgresStore) -> None:
        batcher = Batcher(60, 1e9)
        since = began
        for time_us, raw in world.frames(began, until):
            decoded = decode(raw, source="jetstream", extractor=extractor)
            seen.add(decoded.status if isinstance(decoded, AccountChange) else getattr(decoded, "reason", ""))
            if batcher.add(decoded, 0.0):
                since = await store_what(store, batcher, since, time_us)
        await store_what(store, batcher, since, until)

    with_store(database_url, scenario)
    told = truth(world, began, until)
    assert {row[0] for row in rows(database_url, "SELECT id FROM posts")} == told.posts.keys()
    assert dict(rows(database_url, "SELECT id, rev FROM posts")) == {key: each.rev for key, each in told.posts.items()}
    counted = "SELECT entity, (extract(epoch FROM minute) * 1000000)::bigint, mentions, authors FROM minute_counts"
    mentions, authors = told.mentions(), told.authors()
    assert {(e, m): (n, a) for e, m, n, a in rows(database_url, counted)} == {
        key: (mentions[key], authors[key]) for key in mentions
    }
    assert seen >= {*STATUSES, ACCOUNT_PASSING}


async def store_what(store: PostgresStore, batcher: Batcher, since: int, until: int) -> int:
    taken = batcher.take()
    await store.commit(
        Batch(
            "jetstream", taken.posts, taken.deletes, until, since, until, accounts=taken.accounts,
            profiles=taken.profiles,
        )
    )  # fmt: skip
    return until
