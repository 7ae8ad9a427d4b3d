"""What is full behaves as docs/invariants.md says: bounds that take a store, or the API, to be filled."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import numpy as np
import psycopg
import pytest

from functions.api.routes.export import MAX_POSTS
from functions.api.routes.momentum import MAX_NODES
from functions.api.routes.search import MAX_QUERY_CHARACTERS
from groundswell.adapters import postgres_search
from groundswell.adapters.postgres_momentum import HABITS_KEPT_HOURS, ROWS_PER_EVENT, PostgresMomentum
from groundswell.adapters.postgres_pool import open_pool
from groundswell.adapters.postgres_reads import MAX_SERIES_CHANGES, MAX_SERIES_GAPS
from groundswell.adapters.postgres_rules import MAX_RULES, PostgresRules
from groundswell.adapters.postgres_search import PostgresSearch
from groundswell.adapters.postgres_store import POSTS_PER_EVENT, PostgresStore
from groundswell.adapters.postgres_surges import BACKGROUND_STEPS, PostgresSurges
from groundswell.adapters.system_clock import SystemClock
from groundswell.core.habit import WIDTH, Watched, no_habits
from groundswell.core.learning import HOUR
from groundswell.core.posts import MICROS_PER_MINUTE, Post
from groundswell.errors import InvalidRequest
from groundswell.metrics import Metrics
from groundswell.ports.momentum import StageMemory, StoredHabits
from groundswell.ports.storing import Batch, MomentumRow
from groundswell.ports.vectors import SearchFilters, Space, Vector
from groundswell.services import habits, lessons, momentum
from groundswell.services.search import SearchService
from tests.api_world import World, fill, in_world, problem

T0 = 1_783_175_880_000_000


@pytest.mark.parametrize(
    ("path", "field"),
    [
        (f"/v1/momentum/graph?limit={MAX_NODES + 1}", "limit"),
        (f"/v1/export?limit={MAX_POSTS + 1}", "limit"),
        (f"/v1/search?q={'x' * (MAX_QUERY_CHARACTERS + 1)}", "q"),
        ("/v1/momentum/ticker/BTC?since=1990-01-01T00:00:00Z&until=2026-07-04T00:00:00Z&bucket=30d", "since"),
    ],
)
def test_who_asks_for_too_much_at_once_is_told_which_parameter_is_at_fault(
    database_url: str, path: str, field: str
) -> None:
    async def scenario(world: World) -> None:
        problem(await world.client.get(path), 400, field=field)

    in_world(database_url, scenario)


def test_there_are_so_many_alert_rules_and_the_next_one_is_refused(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(
            "INSERT INTO alert_rules (kind, stage, min_score)"
            " SELECT 'ticker', 'rising', 0.5 FROM generate_series(1, %s)",
            (MAX_RULES - 2,),  # one comes with the schema
        )

    async def scenario(world: World) -> None:
        rules = PostgresRules(world.pool)
        last = await rules.add_rule(None, "ticker", "rising", 0.5)
        with pytest.raises(InvalidRequest, match=f"{MAX_RULES} alert rules already"):
            await rules.add_rule(None, "ticker", "rising", 0.5)
        await rules.remove_rule(last.id)
        await rules.add_rule(None, "ticker", "rising", 0.5)

    in_world(database_url, scenario)


def test_a_history_shows_the_newest_of_more_gaps_and_changes_than_it_holds(database_url: str) -> None:
    fill(database_url)
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute("DELETE FROM gaps")
        conn.execute(
            "INSERT INTO gaps (source, cause, started_at, ended_at, closed_at) SELECT 'jetstream', 'disconnect',"
            " now() - make_interval(secs => n), now() - make_interval(secs => n), now() FROM generate_series(1, %s) n",
            (MAX_SERIES_GAPS + 20,),
        )
        conn.execute(
            "INSERT INTO alerts (rule_id, entity, stage, score, at, evidence) SELECT 1, 'ticker:BTC', 'rising', 0.5,"
            " now() - make_interval(secs => n), '{}' FROM generate_series(1, %s) n",
            (MAX_SERIES_CHANGES + 20,),
        )

    async def scenario(world: World) -> None:
        body = await world.get("/v1/momentum/ticker/BTC", window="1h")
        newest = max(gap["started_at"] for gap in body["gaps"])
        assert len(body["gaps"]) == MAX_SERIES_GAPS
        assert newest == max(gap["started_at"] for gap in (await world.get("/v1/gaps", limit=200))["data"])

    in_world(database_url, scenario)


def with_store(url: str, scenario: Callable[[PostgresStore, Any], Awaitable[None]]) -> None:
    async def run() -> None:
        pool = await open_pool(url, size=2, wait_s=5, statement_timeout_s=10, application_name="test")
        try:
            await scenario(PostgresStore(pool), pool)
        finally:
            await pool.close()

    asyncio.run(run())


def test_more_posts_than_an_event_holds_are_several_events(database_url: str) -> None:
    posts = [
        Post(id=f"at://a/p/{n}", source="s", author="a", text="x", event_time=T0, rev="1", cursor=T0)
        for n in range(2 * POSTS_PER_EVENT + 1)
    ]

    async def scenario(store: PostgresStore, pool: Any) -> None:
        done = await store.commit(Batch("s", posts, [], T0, T0 - 1, T0))
        told = [event.posts for event in done.events if event.type == "posts.new"]
        assert [len(some) for some in told] == [POSTS_PER_EVENT, POSTS_PER_EVENT, 1]
        assert {post.id for some in told for post in some} == {post.id for post in posts}

    with_store(database_url, scenario)


def test_a_vector_index_that_takes_too_long_is_left_out_of_the_answer(database_url: str) -> None:
    class Hangs:
        """A model, and a vector index that does not come back."""

        space = Space("toy", 2)
        min_similarity = -1.0

        def embed_query(self, text: str) -> Vector:
            return Vector(self.space, np.ones(2, np.float32))

        def __getattr__(self, name: str) -> Any:
            async def never(*values: Any, **more: Any) -> None:
                await asyncio.Event().wait()

            return never

    fill(database_url)

    async def scenario(store: PostgresStore, pool: Any) -> None:
        hangs: Any = Hangs()
        search = SearchService(PostgresSearch(pool), hangs, hangs, SystemClock(), semantic_limit_s=0.2)
        answer = await search.search("plain words", SearchFilters(), 5)
        assert answer.hits[0].post.text.startswith("plain words")
        assert list(answer.legs) == ["lexical"]
        assert "vector-index" in answer.degraded

    with_store(database_url, scenario)


def post(number: int, *entities: str) -> Post:
    return Post(
        id=f"at://a{number}/p/{number}", source="s", author=f"a{number}", text=f"number {number}", event_time=T0,
        rev="1", cursor=T0, entities=entities,
    )  # fmt: skip


LOUD, HEARD, QUIET = "hashtag:loud", "hashtag:heard", "hashtag:quiet"
MENTIONED = [post(n, LOUD, *([HEARD] if n < 3 else []), *([QUIET] if n < 1 else [])) for n in range(5)]


async def mentioned(store: PostgresStore) -> None:
    """One of three entities is mentioned most, and one least."""
    await store.commit(Batch("s", MENTIONED, [], T0, T0 - MICROS_PER_MINUTE, T0 + MICROS_PER_MINUTE))


def test_of_more_entities_than_a_tick_looks_at_the_least_mentioned_wait(database_url: str) -> None:
    async def scenario(store: PostgresStore, pool: Any) -> None:
        await mentioned(store)
        counts = await PostgresMomentum(pool).minute_counts(T0 + MICROS_PER_MINUTE - 1, 2)
        assert set(counts.entities) == {LOUD, HEARD}

    with_store(database_url, scenario)


async def learnt(pool: Any) -> lessons.Lesson:
    """What the hour of `mentioned` taught."""
    lesson = lessons.Lesson(PostgresMomentum(pool), T0 // HOUR, Watched.nothing())
    while lesson.watched is None:
        await lesson.step()
    return lesson


def test_of_more_entities_than_an_hour_is_learnt_of_the_least_mentioned_are_not(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lessons, "MAX_ENTITIES", 2)

    async def scenario(store: PostgresStore, pool: Any) -> None:
        await mentioned(store)
        lesson = await learnt(pool)
        assert lesson.entities == sorted([LOUD, HEARD])
        assert lesson.rows.shape == (2, WIDTH)

    with_store(database_url, scenario)


def test_of_more_names_in_an_hour_than_are_compared_those_that_come_up_later_are_left_out(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lessons, "MAX_SPOKEN", 2)

    async def scenario(store: PostgresStore, pool: Any) -> None:
        await mentioned(store)
        later = T0 + 10 * MICROS_PER_MINUTE
        late = msgspec.structs.replace(post(90, "hashtag:late"), event_time=later)
        await store.commit(Batch("s", [late], [], later, T0, later))
        lesson = await learnt(pool)
        assert lesson.entities == sorted([LOUD, HEARD])

    with_store(database_url, scenario)


def test_of_more_entities_than_momentum_is_published_of_the_lowest_are_left_out(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(momentum, "MAX_SHOWN", 2)

    class Screen:
        async def publish(self, events: object) -> None:
            """Nobody looks."""

    async def scenario(store: PostgresStore, pool: Any) -> None:
        await mentioned(store)
        screen: Any = Screen()
        ticker = momentum.MomentumTicker(
            PostgresMomentum(pool), screen, SystemClock(), interval_s=1, metrics=Metrics(), is_live=lambda: True
        )
        await ticker.tick()
        assert {row.entity for row, _ in await PostgresMomentum(pool).current()} == {LOUD, HEARD}

    with_store(database_url, scenario)


def test_more_rows_of_momentum_than_an_event_holds_are_several_events(database_url: str) -> None:
    names = [f"h{n}" for n in range(2 * ROWS_PER_EVENT + 1)]
    rows = [MomentumRow(f"hashtag:{h}", "hashtag", h, T0, "dormant", T0, 1, 1, 1.0, 0.0, 0.0, 0.5) for h in names]

    async def scenario(store: PostgresStore, pool: Any) -> None:
        remembered = [(row, StageMemory(0.0, None)) for row in rows]
        events = await PostgresMomentum(pool).publish(remembered, [], [], live=True)
        told = [msgspec.json.decode(event.data)["entities"] for event in events]
        assert [len(some) for some in told] == [ROWS_PER_EVENT, ROWS_PER_EVENT, 1]

    with_store(database_url, scenario)


def test_the_habit_of_an_entity_that_is_silent_for_too_long_is_forgotten(database_url: str) -> None:
    async def scenario(store: PostgresStore, pool: Any) -> None:
        stored, hour = PostgresMomentum(pool), T0 // HOUR
        for entity, at in (("hashtag:silent", hour), ("hashtag:other", hour + 1)):
            await stored.save_habits(StoredHabits([entity], [at], no_habits(1)))
        await stored.save_watched(hour + 1, Watched.nothing())
        assert len((await stored.habits(["hashtag:silent"])).entities) == 1
        late = hour + HABITS_KEPT_HOURS + 1
        await stored.save_watched(late, Watched.nothing())
        found = await stored.habits(["hashtag:silent", "hashtag:other"])
        assert list(found.entities) == ["hashtag:other"]

    with_store(database_url, scenario)


def test_after_a_long_time_without_a_tick_only_so_many_hours_are_learnt(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(habits, "MAX_HOURS", 3)
    learnt: list[int] = []

    class Noted(PostgresMomentum):
        async def hour_counts(self, hour: int, *values: Any, **more: Any) -> Any:
            learnt.append(hour)
            return await super().hour_counts(hour, *values, **more)

    async def scenario(store: PostgresStore, pool: Any) -> None:
        await mentioned(store)
        now = T0 // HOUR + 50
        await habits.HabitKeeper(Noted(pool)).catch_up(now)
        assert list(dict.fromkeys(learnt)) == [now - 3, now - 2, now - 1]

    with_store(database_url, scenario)


def test_a_look_at_the_movers_reads_no_more_than_it_may(database_url: str) -> None:
    fill(database_url)

    async def scenario(store: PostgresStore, pool: Any) -> None:
        surges = PostgresSurges(pool)
        material = await surges.material(window_minutes=60, movers=1, posts_each=2, background_posts=BACKGROUND_STEPS)
        assert material is not None
        assert {mover: len(posts) for mover, posts in material.posts.items()} == {"ticker:BTC": 2}
        assert 0 < len(material.background) <= BACKGROUND_STEPS

    with_store(database_url, scenario)


def test_a_query_of_exclusions_alone_looks_through_so_many_posts_and_no_more(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(database_url)

    async def scenario(store: PostgresStore, pool: Any) -> None:
        search = SearchService(PostgresSearch(pool), None, None, SystemClock())
        everything = await search.search("-hyperlink", SearchFilters(), 100)
        monkeypatch.setattr(postgres_search, "WALK_POSTS_UNINDEXED", 5)
        monkeypatch.setattr(postgres_search, "WALK_POSTS", 5)
        search = SearchService(PostgresSearch(pool), None, None, SystemClock())
        found = await search.search("-hyperlink", SearchFilters(), 100)
        passed = [sum(1 + hit.similar for hit in answer.hits) for answer in (everything, found)]
        assert passed[0] > 5 >= passed[1] > 0

    with_store(database_url, scenario)
