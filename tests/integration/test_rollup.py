"""Rolling counts up in a real Postgres: whatever happens meanwhile, every bucket says what the posts say."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from groundswell.adapters.postgres_pool import Pool, open_pool
from groundswell.adapters.postgres_reads import PostgresReads
from groundswell.adapters.postgres_rollup import SQL, PostgresRollup
from groundswell.adapters.postgres_store import PostgresStore
from groundswell.core.posts import MICROS_PER_SECOND, AccountChange, Deleted, Micros, Post
from groundswell.core.series import SeriesRequest
from groundswell.ports.storing import Batch
from tests.rollup_world import DAY_S, HOUR_S, KEEP_S, buckets_of_counts, buckets_of_posts, roll_up

T = TypeVar("T")

T0 = 1_782_864_000 * MICROS_PER_SECOND
"""The first instant of 2026-07-01."""
ENTITIES = ("ticker:BTC", "hashtag:kcon", "name:Bank of England")
RESOLUTIONS = (300, 3600, 86_400)


def in_database(url: str, scenario: Callable[[Pool], Awaitable[T]]) -> T:
    async def run() -> T:
        pool = await open_pool(url, size=6, wait_s=10, statement_timeout_s=30, application_name="test")
        try:
            return await scenario(pool)
        finally:
            await pool.close()

    return asyncio.run(run())


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as conn:
        return conn.execute(query).fetchall()  # pyright: ignore


def post(key: int, at_s: float, *entities: str, author: str = "ann", rev: str = "a", source: str = "jetstream") -> Post:
    when = T0 + round(at_s * MICROS_PER_SECOND)
    return Post(
        id=f"at://{author}/{key}", source=source, author=author, text="hello", event_time=when, rev=rev, cursor=when,
        entities=entities,
    )  # fmt: skip


def gone(of: Post) -> Deleted:
    return Deleted(of.source, of.author, of.event_time, of.cursor, of.id, rev="z")


def batch(
    *posts: Post, deletes: tuple[Deleted, ...] = (), until_s: float, from_s: float | None = None,
    source: str = "jetstream",
) -> Batch:  # fmt: skip
    until: Micros = T0 + round(until_s * MICROS_PER_SECOND)
    start = until if from_s is None else T0 + round(from_s * MICROS_PER_SECOND)
    return Batch(source, posts, deletes, cursor=until, covered_from=start, covered_until=until)


def assert_buckets_say_what_the_posts_say(url: str) -> None:
    for resolution in RESOLUTIONS:
        assert buckets_of_counts(url, resolution) == buckets_of_posts(url, resolution), resolution
    wrong = rows(
        url,
        "SELECT * FROM rollups, LATERAL (SELECT sum(COALESCE(n, 1)) AS mentions, count(*) FILTER (WHERE"
        " COALESCE(n, 1) > 0) AS authors FROM unnest(author_keys, author_mentions) AS u (key, n)) AS kept"
        " WHERE (rollups.mentions, rollups.authors) IS DISTINCT FROM (COALESCE(kept.mentions, 0), kept.authors)",
    )
    assert wrong == []


async def assert_series_say_what_the_posts_say(pool: Pool, url: str, watched: list[tuple[float, float]]) -> None:
    """What a history answers is what the posts and the watched time say, whatever of it is rolled up."""
    for bucket_s in (300, 900, 3600, 7200, DAY_S):
        counted = buckets_of_posts(url, bucket_s)
        step = bucket_s * MICROS_PER_SECOND
        for entity in ENTITIES[:2]:
            request = SeriesRequest(since=T0, until=T0 + 5 * DAY_S * MICROS_PER_SECOND, bucket_s=bucket_s)
            series = await PostgresReads(pool).series(entity, request)
            assert [bucket.start for bucket in series.buckets] == list(range(T0, series.plan.until, step))
            for bucket in series.buckets:
                start_s = (bucket.start - T0) / MICROS_PER_SECOND
                seen_s = sum(max(0.0, min(b, start_s + bucket_s) - max(a, start_s)) for a, b in watched)
                mentions, authors = counted.get((entity, bucket.start, "jetstream"), (0, 0))
                if seen_s == 0:
                    assert (bucket.mentions, bucket.authors, bucket.rate, bucket.coverage) == (None, None, None, 0)
                    continue
                assert (bucket.mentions, bucket.authors) == (mentions, authors)
                assert bucket.coverage == pytest.approx(seen_s / bucket_s)
                assert bucket.rate == pytest.approx(mentions / (seen_s / 60))


def assert_minutes_are_reached_by_their_counts(url: str) -> None:
    assert (
        rows(
            url,
            "SELECT * FROM minute_authors m WHERE NOT EXISTS (SELECT 1 FROM minute_counts c"
            " WHERE (c.entity, c.minute, c.source) = (m.entity, m.minute, m.source))",
        )
        == []
    )


def test_old_minutes_become_buckets_and_leave(database_url: str) -> None:
    async def scenario(pool: Pool) -> None:
        posts = [post(i, 20 * i, ENTITIES[i % 3], author=f"a{i % 7}") for i in range(600)]
        await PostgresStore(pool).commit(batch(*posts, from_s=0, until_s=12_000))
        await roll_up(pool)

    in_database(database_url, scenario)
    assert_buckets_say_what_the_posts_say(database_url)
    kept_from = "(SELECT kept_from FROM resolutions WHERE resolution = 60)"
    assert rows(database_url, f"SELECT {kept_from}::text") == [("2026-07-01 02:00:00+00",)]
    for table in ("minute_authors", "minute_counts", "minute_totals", "coverage"):
        assert rows(database_url, f"SELECT count(*) FROM {table} WHERE minute < {kept_from}") == [(0,)]
        assert rows(database_url, f"SELECT count(*) > 0 FROM {table}") == [(True,)]
    assert rows(
        database_url,
        "SELECT resolution, sum(posts), sum(observed_seconds) FROM source_rollups GROUP BY 1 ORDER BY 1",
    ) == [(300, 360, 7200), (3600, 360, 7200), (86_400, 360, 7200)]


def test_a_late_post_lands_in_the_bucket_that_its_minute_went_to(database_url: str) -> None:
    early, late = post(1, 60, ENTITIES[0]), post(2, 65, ENTITIES[0])
    other = post(3, 70, ENTITIES[0], author="bob")

    async def scenario(pool: Pool) -> None:
        store = PostgresStore(pool)
        await store.commit(batch(early, until_s=4 * HOUR_S))
        await roll_up(pool)
        await store.commit(batch(late, other, until_s=4 * HOUR_S + 1))
        await asyncio.to_thread(assert_buckets_say_what_the_posts_say, database_url)
        await roll_up(pool)

    in_database(database_url, scenario)
    assert_buckets_say_what_the_posts_say(database_url)
    assert rows(database_url, "SELECT DISTINCT mentions, authors FROM rollups") == [(3, 2)]
    assert rows(database_url, "SELECT * FROM minute_authors") == []


def test_a_late_delete_takes_its_mention_and_its_author_out_of_the_bucket(database_url: str) -> None:
    first, second = post(1, 60, ENTITIES[0]), post(2, 4000, ENTITIES[0])
    other = post(3, 65, ENTITIES[0], author="bob")

    async def scenario(pool: Pool) -> None:
        store = PostgresStore(pool)
        await store.commit(batch(first, second, other, until_s=4 * HOUR_S))
        await roll_up(pool)
        await store.commit(batch(deletes=(gone(first),), until_s=4 * HOUR_S + 1))
        await asyncio.to_thread(assert_buckets_say_what_the_posts_say, database_url)
        await roll_up(pool)
        await asyncio.to_thread(assert_buckets_say_what_the_posts_say, database_url)
        await store.commit(batch(deletes=(gone(second), gone(other)), until_s=4 * HOUR_S + 2))
        await roll_up(pool)

    in_database(database_url, scenario)
    for table in ("rollups", "minute_authors", "minute_counts"):
        assert rows(database_url, f"SELECT * FROM {table}") == []
    assert rows(database_url, "SELECT DISTINCT posts FROM source_rollups") == [(0,)]


Operation = tuple[str, int, int, int]
OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(
            ["post", "post", "post", "late", "delete", "edit", "takedown", "return", "end", "sweep", "crash"]
        ),
        st.integers(0, 400),
        st.integers(0, 3),
        st.integers(0, 6),
    ),
    min_size=4,
    max_size=30,
)


STATES = {"takedown": "takendown", "return": "active", "end": "deleted"}


async def act(pool: Pool, operations: list[Operation]) -> list[tuple[float, float]]:
    """Hours of a small network, told by `operations`, with the roller coming by in between; answers what was watched,
    in seconds since T0."""
    store, posts, clock_s = PostgresStore(pool), dict[int, Post](), 0.0
    watched: list[tuple[float, float]] = []
    for number, (what, minute, author, which) in enumerate(operations):
        entities = tuple(entity for bit, entity in enumerate(ENTITIES) if (which + 1) >> bit & 1)
        started, clock_s = clock_s, clock_s + 600 + 11 * minute
        name = f"author{author}"
        known = list(posts.values())
        picked = known[minute % len(known)] if known else None
        if what in ("post", "late", *STATES) or (what in ("edit", "delete") and picked is not None):
            watched.append((started, clock_s))
        match what:
            case "post" | "late":
                at_s = clock_s - 1 if what == "post" else max(0.0, clock_s - minute * 300)
                posts[number] = post(number, at_s, *entities, author=name)
                await store.commit(batch(posts[number], from_s=started, until_s=clock_s))
            case "edit" if picked is not None:
                edited = Post(
                    id=picked.id, source=picked.source, author=picked.author, text="edited", entities=entities,
                    event_time=picked.event_time + 1, rev=f"b{number:04}", cursor=picked.cursor, operation="update",
                )  # fmt: skip
                await store.commit(batch(edited, from_s=started, until_s=clock_s))
            case "delete" if picked is not None:
                await store.commit(batch(deletes=(gone(picked),), from_s=started, until_s=clock_s))
            case "takedown" | "return" | "end":
                change = AccountChange("jetstream", name, T0 + round(clock_s) * MICROS_PER_SECOND, T0, STATES[what])
                changed = batch(from_s=started, until_s=clock_s)
                await store.commit(msgspec.structs.replace(changed, accounts=(change,)))
            case "crash":
                await half_a_bite(pool)
            case _:
                await roll_up(pool, bite=1 + which)
    return watched


async def half_a_bite(pool: Pool) -> None:
    """A roller that is killed after its statement and before its commit."""
    async with pool.connection() as conn:
        await conn.execute(SQL["advance"], {"resolution": list(KEEP_S), "keep_s": list(KEEP_S.values())})
        await conn.execute(SQL["fold"], {"limit": 5})
        await conn.rollback()


def wipe(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(
            "TRUNCATE posts, hidden_posts, account_states, tombstones, author_tombstones, minute_authors,"
            " minute_counts, minute_totals, coverage,"
            " cursors, gaps, outbox, events, rollups, source_rollups RESTART IDENTITY"
        )
        conn.execute("UPDATE resolutions SET kept_from = '-infinity'")


@pytest.mark.slow
@pytest.mark.timeout(300)  # sixty histories, each in all resolutions
def test_any_order_of_posts_edits_deletes_and_rolling_up_leaves_what_the_posts_say(database_url: str) -> None:
    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(OPERATIONS)
    def history(operations: list[Operation]) -> None:
        wipe(database_url)
        watched = in_database(database_url, lambda pool: act(pool, operations))
        in_database(database_url, lambda pool: assert_series_say_what_the_posts_say(pool, database_url, watched))
        assert_buckets_say_what_the_posts_say(database_url)
        assert_minutes_are_reached_by_their_counts(database_url)
        in_database(database_url, roll_up)
        assert_buckets_say_what_the_posts_say(database_url)
        assert (
            rows(
                database_url,
                "SELECT * FROM minute_authors WHERE minute < (SELECT kept_from FROM resolutions WHERE resolution = 60)",
            )
            == []
        )
        ((counted, stored),) = rows(
            database_url,
            "SELECT (SELECT COALESCE(sum(posts), 0) FROM minute_totals)"
            " + (SELECT COALESCE(sum(posts), 0) FROM source_rollups WHERE resolution = 3600),"
            " (SELECT count(*) FROM posts)",
        )
        assert counted == stored
        in_database(database_url, lambda pool: assert_series_say_what_the_posts_say(pool, database_url, watched))

    history()


def test_committing_and_rolling_up_at_once_loses_nothing(database_url: str) -> None:
    """Writers that add and take away in the very minutes that are being rolled up."""

    async def scenario(pool: Pool) -> None:
        store, stop = PostgresStore(pool), asyncio.Event()
        await store.commit(batch(until_s=10 * HOUR_S))

        async def write(source: str) -> None:
            for i in range(40):
                made = [post(i * 10 + n, n, *ENTITIES, author=f"a{n % 4}", source=source) for n in range(10)]
                made = [
                    Post(**{f: getattr(p, f) for f in p.__struct_fields__} | {"id": f"{p.id}/{source}"}) for p in made
                ]
                await store.commit(batch(*made, until_s=10 * HOUR_S, source=source))
                withdrawn = tuple(gone(p) for p in made[::3])
                await store.commit(batch(deletes=withdrawn, until_s=10 * HOUR_S, source=source))

        async def roll() -> None:
            while not stop.is_set():
                await roll_up(pool, bite=3)
                await asyncio.sleep(0)

        rolling = asyncio.create_task(roll())
        await asyncio.gather(write("one"), write("two"))
        stop.set()
        await rolling
        await roll_up(pool)

    in_database(database_url, scenario)
    assert_buckets_say_what_the_posts_say(database_url)
    assert rows(database_url, "SELECT count(*) FROM minute_authors") == [(0,)]
    assert rows(database_url, "SELECT DISTINCT mentions, authors FROM rollups") == [(240, 4)]


def test_coverage_that_comes_in_parts_is_added_up(database_url: str) -> None:
    async def scenario(pool: Pool) -> None:
        store = PostgresStore(pool)
        await store.commit(batch(from_s=0, until_s=30))
        await store.commit(batch(from_s=0, until_s=30, source="other"))
        await store.commit(batch(until_s=9 * HOUR_S, source="other"))
        await roll_up(pool)
        await store.commit(batch(from_s=10, until_s=90))
        await roll_up(pool)

    in_database(database_url, scenario)
    assert rows(
        database_url,
        "SELECT source, resolution, observed_seconds FROM source_rollups ORDER BY 1, 2",
    ) == [(source, r, seconds) for source, seconds in (("jetstream", 90), ("other", 30)) for r in RESOLUTIONS]


def test_the_minutes_of_a_recording_are_as_old_as_its_end_makes_them(database_url: str) -> None:
    """Its event times are long past by the clock, and still nothing that momentum looks at is taken away."""

    async def scenario(pool: Pool) -> int:
        await PostgresStore(pool).commit(batch(post(1, 10, ENTITIES[0]), from_s=0, until_s=HOUR_S))
        return await roll_up(pool)

    assert in_database(database_url, scenario) == 0
    assert rows(database_url, "SELECT count(*) FROM minute_counts") == [(1,)]


def test_nothing_is_too_old_before_anything_was_watched(database_url: str) -> None:
    async def scenario(pool: Pool) -> None:
        await roll_up(pool)
        await PostgresStore(pool).commit(batch(post(1, 10, ENTITIES[0]), until_s=9 * HOUR_S))
        await roll_up(pool)

    in_database(database_url, scenario)
    assert_buckets_say_what_the_posts_say(database_url)


def test_buckets_older_than_they_are_kept_are_forgotten_and_never_answered_again(database_url: str) -> None:
    short = {60: HOUR_S, 300: DAY_S, 3600: 2 * DAY_S, 86_400: 3 * DAY_S}

    async def scenario(pool: Pool) -> None:
        store = PostgresStore(pool)
        posts = [post(i, i * DAY_S + 5, ENTITIES[0]) for i in range(6)]
        await store.commit(batch(*posts, from_s=0, until_s=5 * DAY_S + 7200))
        await roll_up(pool, short)
        await store.commit(batch(post(9, 20, ENTITIES[0]), until_s=5 * DAY_S + 7201))
        await roll_up(pool, KEEP_S)

    in_database(database_url, scenario)
    kept = rows(database_url, "SELECT resolution, count(*), min(bucket)::date::text FROM rollups GROUP BY 1 ORDER BY 1")
    assert kept == [(300, 1, "2026-07-06"), (3600, 2, "2026-07-05"), (86_400, 4, "2026-07-03")]
    assert rows(database_url, "SELECT resolution, kept_from::text FROM resolutions ORDER BY 1") == [
        (60, "2026-07-06 01:00:00+00"),
        (300, "2026-07-05 02:00:00+00"),
        (3600, "2026-07-04 02:00:00+00"),
        (86_400, "2026-07-03 00:00:00+00"),
    ]
    assert rows(database_url, "SELECT * FROM minute_authors WHERE minute < '2026-07-06'") == []
    days = "SELECT sum(posts), sum(observed_seconds) FROM source_rollups WHERE resolution = 86400"
    assert rows(database_url, days) == [(7, 5 * DAY_S + HOUR_S)]


def test_a_second_roller_leaves_the_work_to_the_first(database_url: str) -> None:
    async def scenario(pool: Pool) -> tuple[int, int]:
        await PostgresStore(pool).commit(batch(post(1, 10, ENTITIES[0]), from_s=0, until_s=9 * HOUR_S))
        async with pool.connection() as other:
            await other.execute(SQL["try_lock"])
            held_up = await PostgresRollup(pool).bite(KEEP_S, 100)
        return held_up, await roll_up(pool)

    held_up, later = in_database(database_url, scenario)
    assert held_up == 0
    assert later > 0


def test_a_minute_that_a_commit_holds_is_left_for_the_next_bite(database_url: str) -> None:
    async def scenario(pool: Pool) -> tuple[int, int]:
        await PostgresStore(pool).commit(batch(post(1, 10, ENTITIES[0]), until_s=9 * HOUR_S))
        async with pool.connection() as other:
            await other.execute("SELECT * FROM minute_authors FOR UPDATE")
            await roll_up(pool)
            left = await (await other.execute("SELECT count(*) FROM minute_counts")).fetchone()
            await other.rollback()
        return left[0] if left else -1, await roll_up(pool)

    left, later = in_database(database_url, scenario)
    assert left == 1
    assert later > 0
    assert_buckets_say_what_the_posts_say(database_url)
