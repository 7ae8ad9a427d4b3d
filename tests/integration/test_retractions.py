"""A post that is withdrawn leaves everything that was made of it."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import psycopg
import pytest

from functions.api import models
from groundswell.adapters.postgres_momentum import PostgresMomentum
from groundswell.adapters.postgres_reads import PostgresReads
from groundswell.adapters.postgres_search import PostgresSearch
from groundswell.adapters.postgres_store import PostgresStore
from groundswell.adapters.system_clock import SystemClock
from groundswell.core.frames import alert_json
from groundswell.core.posts import MICROS_PER_MINUTE, MICROS_PER_SECOND, AccountChange, Post
from groundswell.core.queries import parse_query
from groundswell.metrics import Metrics
from groundswell.ports.storing import Batch, Event
from groundswell.ports.vectors import SearchFilters
from groundswell.services import surges
from groundswell.services.momentum import MomentumTicker
from groundswell.services.surges import SurgeTeller
from tests.integration.test_store import T0, batch, deleted, post, rows, with_store

ANN = "did:plc:ann"
BTC = "ticker:BTC"
WITHDRAWN = ["deleted", "takendown", "deactivated", "account-deleted"]


def alert(url: str, at_s: float) -> None:
    """An alert about BTC, so many seconds after T0."""
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(
            "INSERT INTO alerts (rule_id, entity, stage, score, at, evidence)"
            " VALUES (NULL, %s, 'rising', 0.9, to_timestamp(%s), '{\"mentions\": 3}')",
            (BTC, T0 / MICROS_PER_SECOND + at_s),
        )


def withdrawn(how: str, of: Post) -> Batch:
    if how == "deleted":
        return batch(deletes=(deleted(of),))
    when = T0 + 29 * MICROS_PER_SECOND
    status = "deleted" if how == "account-deleted" else how
    return batch(accounts=(AccountChange("jetstream", of.author, when, when, status),))


def active(author: str = ANN) -> Batch:
    when = T0 + 40 * MICROS_PER_SECOND
    return batch(accounts=(AccountChange("jetstream", author, when, when, "active"),))


def corrections(events: Any) -> list[Any]:
    return [msgspec.json.decode(event.data)["corrected"] for event in events if event.type == "alert.corrected"]


@pytest.mark.parametrize("how", WITHDRAWN)
def test_an_alert_says_how_many_of_its_mentions_were_withdrawn_until_they_come_back(
    database_url: str, how: str
) -> None:
    mine, other = post("1", BTC, "hashtag:kcon"), post("2", BTC, author="did:plc:bob", at=2)

    async def scenario(store: PostgresStore) -> Any:
        pool = store._pool  # pyright: ignore[reportPrivateUsage]
        reads = PostgresReads(pool)
        await store.commit(batch(mine, other))
        for seconds in (10, 1000, -60):
            alert(database_url, seconds)
        gone = await store.commit(withdrawn(how, mine))
        (change,) = corrections(gone.events)
        assert change["withdrawn"] == 1
        found = {each.id: alert_json(each) for each in await reads.alerts(10)}
        assert [found[n]["corrected"] is None for n in (1, 2, 3)] == [False, True, True], "only that which rested on it"
        models.Alert.model_validate_json(msgspec.json.encode(found[1]))
        back = await store.commit(active())
        (after,) = [each for each in await reads.alerts(10) if each.id == 1]
        return corrections(back.events), after

    change, after = with_store(database_url, scenario)
    reversible = how in ("takendown", "deactivated")
    assert change == ([None] if reversible else [])
    assert after.withdrawn == (0 if reversible else 1)


def test_labels_and_links_of_a_hidden_accounts_posts_go_at_once_and_are_made_anew(database_url: str) -> None:
    mine = post("1", BTC)

    async def scenario(store: PostgresStore) -> list[bool]:
        await store.commit(batch(mine, post("2", "ticker:ETH", author="did:plc:bob")))
        with psycopg.connect(database_url, autocommit=True) as conn:
            for entity in (BTC, "ticker:ETH"):
                conn.execute("INSERT INTO surge_labels VALUES (%s, now(), 'words', '[]', 3, 3)", (entity,))
                conn.execute("INSERT INTO co_mentions VALUES (%s, 'hashtag:x', now(), 3, 3, 0.5, 20)", (entity,))
        nothing = await store.commit(batch(post("3", "hashtag:none", author="did:plc:cem")))
        other = await store.commit(batch(deletes=(deleted(post("3", author="did:plc:cem")),)))
        hidden = await store.commit(withdrawn("takendown", mine))
        one = await store.commit(batch(deletes=(deleted(post("2", author="did:plc:bob")),)))
        return [each.outdates_labels for each in (nothing, other, hidden, one)]

    assert with_store(database_url, scenario) == [False, False, True, True]
    assert rows(database_url, "SELECT entity FROM surge_labels") == [("ticker:ETH",)], (
        "of one post of several it is renewed"
    )
    assert rows(database_url, "SELECT entity FROM co_mentions") == [("ticker:ETH",)]


def test_labels_are_looked_at_soon_after_posts_of_theirs_are_withdrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surges, "SOONEST_S", 0.0)
    looks = asyncio.Queue[int]()

    class Material:
        async def material(self, **_: object) -> None:
            looks.put_nowait(1)

    async def scenario() -> None:
        store: Any = Material()
        teller = SurgeTeller(store, SystemClock(), interval_s=3600, metrics=Metrics())
        stop = asyncio.Event()
        running = asyncio.create_task(teller.run(stop))
        await looks.get()
        teller.wake()
        async with asyncio.timeout(30):
            await looks.get()
        stop.set()
        async with asyncio.timeout(30):
            await running

    asyncio.run(scenario())


@pytest.mark.parametrize("how", WITHDRAWN)
def test_a_withdrawn_post_is_found_nowhere_any_more(database_url: str, how: str) -> None:
    mine = post("1", BTC, text="rates fall again")
    like = post("2", BTC, author="did:plc:bob", at=2, text="rates fall once more")

    async def scenario(store: PostgresStore) -> Any:
        pool = store._pool  # pyright: ignore[reportPrivateUsage]
        reads, search, everybody = PostgresReads(pool), PostgresSearch(pool), SearchFilters(signed_in=True)
        created = (await store.commit(batch(mine, like))).created
        gone = await store.commit(withdrawn(how, mine))
        pks = [each.pk for each in created]
        assert [each.post.id for each in await reads.posts(everybody, 9)] == [like.id], "listings and exports"
        assert await reads.post(mine.id) is None
        assert [hit.pk for hit in await search.lexical(parse_query("rates fall"), everybody, 9)] == pks[1:], (
            "highlights"
        )
        assert [hit.pk for hit in await search.related(like, everybody, 9)] == pks[1:], "similar"
        assert set(await search.traits(pks)) == {pks[1]}, "what the vector index still finds"
        page = await reads.events(0, 9, signed_in=True)
        assert [each.id for event in page.events for each in event.posts] == [like.id], "what was missed"
        return gone

    gone = with_store(database_url, scenario)
    told = [msgspec.json.decode(event.data)["ids"] for event in gone.events if event.type == "posts.deleted"]
    assert told == [[mine.id]], "the page of whoever has it open"
    assert rows(database_url, "SELECT sum(mentions) FROM minute_counts") == [(1,)], "counts"
    assert rows(database_url, "SELECT op FROM outbox ORDER BY id DESC LIMIT 1") == [("delete",)], "the vector index"


def test_a_surge_whose_accounts_are_taken_down_loses_its_stage_and_comes_down_in_the_listing(database_url: str) -> None:
    """A steady murmur, then sixty accounts at once, all of which the network takes down a minute later."""
    minutes = 90
    start = T0 - minutes * MICROS_PER_MINUTE

    def said(second: int, author: str) -> Post:
        when = start + second * MICROS_PER_SECOND
        name = f"at://{author}/app.bsky.feed.post/{second}"
        return Post(name, "jetstream", author, f"{author} {second}", when, "a", when, entities=(BTC,))

    class Nobody:
        async def publish(self, events: list[Event]) -> None:
            return None

    async def scenario(store: PostgresStore) -> tuple[Any, Any]:
        pool = store._pool  # pyright: ignore[reportPrivateUsage]
        momentum, nobody = PostgresMomentum(pool), Nobody()
        ticker = MomentumTicker(
            momentum,
            nobody,
            SystemClock(),
            interval_s=1,
            metrics=Metrics(),
            is_live=lambda: True,  # pyright: ignore[reportArgumentType]
        )

        async def commit(since: int, until: int, *posts: Post, accounts: tuple[AccountChange, ...] = ()) -> None:
            at = [start + second * MICROS_PER_SECOND for second in (since, until)]
            await store.commit(Batch("jetstream", posts, (), at[1], at[0], at[1], accounts=accounts))
            await ticker.tick()

        for minute in range(70):
            await commit(60 * minute, 60 * minute + 60, said(60 * minute + 5, f"did:plc:{minute % 9}"))
        crowd = [f"did:plc:crowd{n}" for n in range(120)]
        for minute in range(70, 74):
            mine = crowd[30 * (minute - 70) : 30 * (minute - 69)]
            await commit(
                60 * minute, 60 * minute + 60, *(said(60 * minute + n, author) for n, author in enumerate(mine))
            )
        before = {row.entity: row for row, _ in await momentum.current()}
        when = start + 74 * 60 * MICROS_PER_SECOND
        down = tuple(AccountChange("jetstream", author, when, when, "takendown") for author in crowd)
        await commit(74 * 60, 75 * 60, accounts=down)
        for minute in range(75, 90):
            await commit(60 * minute, 60 * minute + 60, said(60 * minute + 5, f"did:plc:{minute % 9}"))
        return before, {row.entity: row for row, _ in await momentum.current()}

    before, after = with_store(database_url, scenario)
    assert before[BTC].stage in ("rising", "peaking", "emerging") and before[BTC].mentions >= 100
    assert after[BTC].stage in ("fading", "dormant")
    assert after[BTC].mentions < 20 and after[BTC].score < before[BTC].score
    assert rows(database_url, "SELECT count(*) FROM alerts WHERE corrected_at IS NULL") == [(0,)]
