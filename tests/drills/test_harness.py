"""The drills' own instruments: a judge that cannot find fault proves nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from groundswell.adapters.postgres_pool import open_pool
from groundswell.adapters.postgres_store import PostgresStore
from groundswell.adapters.simulator import WATCH_NAMES, World, WorldConfig, truth
from groundswell.cli import app
from groundswell.core.entities import EntityExtractor
from groundswell.core.instants import from_datetime
from groundswell.core.jetstream import decode
from groundswell.core.posts import MICROS_PER_SECOND, Deleted, Post
from groundswell.drills.harness.feed import Feed
from groundswell.drills.harness.oracle import reconcile
from groundswell.drills.harness.prober import ROUTES, Prober
from groundswell.drills.harness.side_by_side import run_side_by_side
from groundswell.drills.harness.verdict import Answers, Reconciliation, Recovery, standard_checks
from groundswell.ports.storing import Batch


async def store_all(url: str, feed: Feed, *, leave_out: Callable[[int], bool] = lambda time: False) -> None:
    """Store what the feed told, as the relay would, but for the frames of some instants."""
    extractor = EntityExtractor(WATCH_NAMES)
    posts: list[Post] = []
    deletes: list[Deleted] = []
    pool = await open_pool(url, size=1, wait_s=5, statement_timeout_s=10, application_name="test")
    store = PostgresStore(pool)
    until = await feed.last_frame_at()
    for time, frame in feed.world.frames(feed.began_at, until + 1):
        decoded = decode(frame, source="jetstream", extractor=extractor)
        if leave_out(time):
            continue
        posts = [decoded] if isinstance(decoded, Post) else []
        deletes = [decoded] if isinstance(decoded, Deleted) else []
        if posts or deletes:
            await store.commit(Batch("jetstream", posts, deletes, time, feed.began_at, time))
    await pool.close()


def with_feed(scenario: Callable[[Feed], Awaitable[None]]) -> None:
    """An ended feed of some seconds, in which nothing is deleted."""

    async def run() -> None:
        from contextlib import AsyncExitStack

        async with AsyncExitStack() as stack:
            feed = Feed(posts_per_second=8, garbage_share=0.05, seed=3)
            await feed.open(stack, 1)
            feed.end()
            await scenario(feed)

    asyncio.run(run())


def test_a_store_that_has_everything_is_found_to_be_right(database_url: str) -> None:
    async def scenario(feed: Feed) -> None:
        await store_all(database_url, feed)
        found = await reconcile(database_url, feed)
        assert found.delivered == found.stored > 50
        assert (found.missing, found.unexpected, found.differing, found.wrong_counts) == (0, 0, 0, 0)

    with_feed(scenario)


@pytest.mark.parametrize(
    ("damage", "where"),
    [
        ("DELETE FROM posts WHERE pk = (SELECT max(pk) FROM posts)", "missing"),
        (
            "INSERT INTO posts (id, source, author, text, event_time, rev) VALUES ('at://x/y/z', 'jetstream', 'x',"
            " 'never said', now(), 'a')",
            "unexpected",
        ),
        ("UPDATE posts SET rev = 'other' WHERE pk = (SELECT max(pk) FROM posts)", "differing"),
        ("UPDATE minute_totals SET posts = posts + 1", "wrong_counts"),
        ("UPDATE minute_counts SET authors = authors - 1 WHERE authors > 1", "wrong_counts"),
    ],
)
def test_whatever_is_wrong_with_the_store_is_found(database_url: str, damage: str, where: str) -> None:
    async def scenario(feed: Feed) -> None:
        await store_all(database_url, feed)
        with psycopg.connect(database_url) as conn:
            conn.execute(damage)  # pyright: ignore[reportArgumentType]
        found = await reconcile(database_url, feed)
        assert getattr(found, where) > 0
        assert found.examples
        broken = [check for check in standard_checks(None, found, ()) if not check.kept]
        assert broken

    with_feed(scenario)


def test_a_post_may_be_in_the_archive_instead_but_not_as_well(database_url: str) -> None:
    async def scenario(feed: Feed) -> None:
        await store_all(database_url, feed)
        with psycopg.connect(database_url) as conn:
            row = conn.execute("SELECT id, author, rev, event_time, entities FROM posts ORDER BY pk DESC").fetchone()
            assert row is not None
            archived = (row[0], row[1], row[2], from_datetime(row[3]), tuple(row[4]))
            twice = await reconcile(database_url, feed, [archived])
            conn.execute("DELETE FROM posts WHERE id = %s", (row[0],))
        assert (twice.twice, twice.missing, twice.archived) == (1, 0, 1)
        assert [check.what for check in standard_checks(None, twice, ()) if not check.kept] == [
            "posts stored exactly once"
        ]
        once = await reconcile(database_url, feed, [archived])
        assert (once.twice, once.missing, once.differing, once.wrong_counts) == (0, 0, 0, 0)
        assert once.stored == once.delivered

    with_feed(scenario)


def test_absence_is_excused_by_a_gap_around_it_and_by_nothing_else(database_url: str) -> None:
    async def scenario(feed: Feed) -> None:
        times = [time for time, _ in feed.world.frames(feed.began_at, await feed.last_frame_at())]
        start, end = times[40], times[70]
        await store_all(database_url, feed, leave_out=lambda time: start < time < end)
        without = await reconcile(database_url, feed)
        assert without.missing > 0
        with psycopg.connect(database_url) as conn:
            conn.execute(
                "INSERT INTO gaps (source, cause, started_at, ended_at, backfilled, closed_at) VALUES ('jetstream',"
                " 'retention', timestamptz 'epoch' + %s * interval '1 microsecond',"
                " timestamptz 'epoch' + %s * interval '1 microsecond', false, now())",
                (start, end),
            )
        excused = await reconcile(database_url, feed)
        assert (excused.missing, excused.wrong_counts) == (0, 0)
        assert excused.absent_in_gaps == without.missing
        with psycopg.connect(database_url) as conn:
            conn.execute("UPDATE gaps SET backfilled = true")
        assert (await reconcile(database_url, feed)).missing == without.missing

    with_feed(scenario)


def test_the_truth_without_an_unseen_stretch_is_that_of_a_reader_who_missed_it() -> None:
    world = World(WorldConfig(seed=5, began_at=1_783_175_880 * MICROS_PER_SECOND, posts_per_second=30))
    since, until = world.config.began_at, world.config.began_at + 20 * MICROS_PER_SECOND
    whole = truth(world, since, until)
    hole = (since + 5 * MICROS_PER_SECOND, since + 9 * MICROS_PER_SECOND)
    seen = truth(world, since, until, unseen=[hole])
    absent = [whole.posts[key].event_time for key in whole.posts.keys() - seen.posts.keys()]
    assert absent
    assert all(hole[0] < time < hole[1] for time in absent)
    assert not any(hole[0] < post.event_time < hole[1] for post in seen.posts.values())
    # What was deleted inside the stretch still stands for somebody who did not hear of it.
    assert (seen.posts.keys() - whole.posts.keys()) <= whole.gone


ANSWERS: list[tuple[str, int, dict[str, str], Any, str]] = [
    ("/healthz", 200, {}, {"status": "alive", "version": "1"}, "data"),
    ("/healthz", 200, {}, {"status": "alive"}, "bad"),
    ("/healthz", 200, {}, b"<html>", "bad"),
    ("/healthz", 500, {"content-type": "application/problem+json"}, {"status": 500, "detail": "?"}, "bad"),
    ("/readyz", 503, {"content-type": "application/problem+json"}, {"status": 503, "detail": "no database"}, "bad"),
    (
        "/readyz",
        503,
        {"content-type": "application/problem+json", "retry-after": "2"},
        {"status": 503, "detail": "no database"},
        "problem",
    ),
    ("/readyz", 503, {"retry-after": "2"}, {"status": 503, "detail": "no database"}, "bad"),
    ("/v1/posts?limit=many", 200, {}, {"data": []}, "bad"),
    (
        "/v1/posts?limit=many",
        400,
        {"content-type": "application/problem+json"},
        {"status": 400, "detail": "?"},
        "problem",
    ),
]


@pytest.mark.parametrize(("path", "status", "headers", "body", "judged"), ANSWERS)
def test_the_prober_tells_data_honest_problems_and_bad_answers_apart(
    path: str, status: int, headers: dict[str, str], body: Any, judged: str
) -> None:
    import httpx

    assert path in ROUTES
    content = body if isinstance(body, bytes) else json.dumps(body).encode()

    async def scenario() -> Answers:
        prober = Prober("http://test")
        transport = httpx.MockTransport(lambda request: httpx.Response(status, headers=headers, content=content))
        async with httpx.AsyncClient(base_url="http://test", transport=transport) as client:
            await prober.ask(client, path)
        return prober.answers

    answers = asyncio.run(scenario())
    found = "bad" if answers.bad_total else "data" if answers.data else "problem"
    assert found == judged, answers


def test_a_verdict_fails_without_recovery_without_posts_and_without_answers() -> None:
    nothing = Reconciliation(0, 0, 0, 0, 0, 0, 0, 0, 0)
    checks = standard_checks(Answers(), nothing, (Recovery("a kill", None, 60),))
    assert [check.what for check in checks if not check.kept] == [
        "posts stored exactly once",
        "answers of the API",
        "recovery after a kill",
    ]


def test_a_drill_that_ends_without_a_verdict_has_failed_with_its_last_words() -> None:
    told: list[str] = []
    verdicts = asyncio.run(
        run_side_by_side(["kil", "outag"], flags=(), at_once=2, done=lambda verdict: told.append(verdict.drill))
    )
    assert [verdict.drill for verdict in verdicts] == ["kil", "outag"]
    assert set(told) == {"kil", "outag"}
    assert not any(verdict.passed for verdict in verdicts)
    assert "There is no drill 'outag'" in (verdicts[1].failed or "")


def test_the_command_lists_what_there_is_and_names_a_drill_that_there_is_not() -> None:
    listed = CliRunner().invoke(app, ["drill", "list", "--json"])
    assert listed.exit_code == 0
    assert {row["name"] for row in json.loads(listed.stdout)} >= {"kill", "socket-drop", "database-down"}
    unknown = CliRunner().invoke(app, ["drill", "kil"])
    assert unknown.exit_code == 64
    assert "There is no drill 'kil'" in unknown.output
