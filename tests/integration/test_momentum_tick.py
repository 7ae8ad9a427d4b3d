"""The momentum tick over a real Postgres: stages as events, taken up after a restart, unmoved by how time is cut."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Any

import msgspec
import psycopg

from groundswell.adapters.postgres_momentum import PostgresMomentum
from groundswell.adapters.postgres_pool import Pool, open_pool
from groundswell.adapters.postgres_store import PostgresStore
from groundswell.adapters.system_clock import SystemClock
from groundswell.core.learning import HOUR, USED_AFTER
from groundswell.core.posts import MICROS_PER_MINUTE, MICROS_PER_SECOND, Deleted, Micros, Post
from groundswell.metrics import Metrics
from groundswell.ports.storing import Batch, Event
from groundswell.services.momentum import COARSE_MINUTES, MAX_MINUTES, MomentumTicker, instants_between

HOUR_MINUTES = 60
T0 = 1_783_209_600_000_000 // (HOUR_MINUTES * MICROS_PER_MINUTE) * HOUR_MINUTES * MICROS_PER_MINUTE
QUIET_MINUTES = 100
SURGE_MINUTES = 30
BTC = "ticker:BTC"


def post(number: int, at: Micros, *entities: str, author: str | None = None, text: str | None = None) -> Post:
    name = author or f"did:plc:a{number}"
    return Post(
        id=f"at://{name}/app.bsky.feed.post/{number}",
        source="jetstream",
        author=name,
        text=text or f"post {number} {Random(number).getrandbits(64):x} on {Random(~number).getrandbits(64):x}",
        event_time=at,
        rev="a",
        cursor=at,
        entities=entities,
        lang="en",
    )


def a_story(*, copies: bool = False, shouting: bool = False) -> list[Post]:
    """A calm network for a hundred minutes, then half an hour in which everyone speaks of one thing."""
    rng, posts = Random(5), []
    for minute in range(QUIET_MINUTES + SURGE_MINUTES):
        mentions = rng.randrange(2) if minute < QUIET_MINUTES or minute > QUIET_MINUTES + 12 else 20
        for n in range(mentions):
            at = T0 + minute * MICROS_PER_MINUTE + (2 * n + 1) * MICROS_PER_SECOND
            surging = mentions > 1
            author = "did:plc:loud" if shouting and surging else None
            text = "buy $BTC now, everyone is talking about it" if copies and surging else None
            posts.append(post(len(posts), at, BTC, author=author, text=text))
    return posts


def batch_until(posts: Sequence[Post], since: Micros, until: Micros, deletes: Sequence[Deleted] = ()) -> Batch:
    return Batch(
        source="jetstream",
        posts=[p for p in posts if since <= p.event_time < until],
        deletes=list(deletes),
        cursor=until,
        covered_from=since,
        covered_until=until,
    )


class Heard:
    def __init__(self) -> None:
        self.events: list[Event] = []

    async def publish(self, events: Sequence[Event]) -> None:
        self.events += events

    async def preview(self, posts: object, deleted: object, ts: object) -> None:
        raise AssertionError("a tick previews nothing")


def ticker(pool: Pool, heard: Heard) -> MomentumTicker:
    return MomentumTicker(
        PostgresMomentum(pool), heard, SystemClock(), interval_s=1, metrics=Metrics(), is_live=lambda: True
    )


def run(url: str, scenario: Callable[[Pool], Awaitable[Any]]) -> Any:
    async def inside() -> Any:
        pool = await open_pool(url, size=4, wait_s=10, statement_timeout_s=30, application_name="test")
        try:
            return await scenario(pool)
        finally:
            await pool.close()

    return asyncio.run(inside())


async def play(
    pool: Pool, posts: Sequence[Post], steps_s: Sequence[float], restart_at: int | None = None
) -> tuple[list[dict[str, Any]], Heard]:
    """Commit and tick in steps of so many seconds, in turn; answers the changes of stage that were broadcast."""
    store, heard = PostgresStore(pool), Heard()
    tick = ticker(pool, heard)
    end = T0 + (QUIET_MINUTES + SURGE_MINUTES) * MICROS_PER_MINUTE
    since, n = T0, 0
    while since < end:
        until = min(end, since + round(steps_s[n % len(steps_s)] * MICROS_PER_SECOND))
        await store.commit(batch_until(posts, since, until))
        if n == restart_at:
            tick = ticker(pool, heard)
        await tick.tick()
        since, n = until, n + 1
    changes = [msgspec.json.decode(event.data) for event in heard.events if event.type == "momentum.stage"]
    return changes, heard


def test_every_change_of_stage_is_stored_and_broadcast_once_with_its_evidence(database_url: str) -> None:
    changes, heard = run(database_url, lambda pool: play(pool, a_story(), [60]))
    assert [change["stage"] for change in changes][:3] == ["emerging", "rising", "peaking"]
    first = changes[0]
    assert (first["entity"], first["from_stage"]) == (BTC, "dormant")
    assert first["score"] >= 0.9
    assert {"mentions", "authors", "expected", "fast", "slow", "crowd", "originality", "slopes"} <= first[
        "evidence"
    ].keys()
    surge = T0 + QUIET_MINUTES * MICROS_PER_MINUTE
    with psycopg.connect(database_url) as conn:
        stored = conn.execute(
            "SELECT stage, (extract(epoch FROM at) * 1000000)::bigint FROM stage_changes ORDER BY id"
        ).fetchall()
        alerts = conn.execute("SELECT count(*) FROM alerts WHERE stage = 'rising'").fetchone()
    assert [stage for stage, _ in stored] == [change["stage"] for change in changes]
    assert surge < stored[0][1] <= surge + 2 * MICROS_PER_MINUTE, "within two minutes of its beginning"
    assert alerts is not None and alerts[0] >= 1
    assert {"momentum.update", "momentum.stage", "alert.fired"} == {event.type for event in heard.events}


def test_how_time_is_cut_into_ticks_and_restarts_changes_no_stage(database_url: str, postgres_server: str) -> None:
    steady, _ = run(database_url, lambda pool: play(pool, a_story(), [60]))
    for steps, restart in (([7], None), ([25 * 60], None), ([60], 104), ([13, 200, 60], 33)):
        with psycopg.connect(database_url, autocommit=True) as conn:
            conn.execute(
                "TRUNCATE posts, minute_authors, minute_counts, minute_totals, coverage, cursors, gaps, outbox, events,"
                " momentum, stage_changes, habits, watched, alerts"
            )
        changes, _ = run(database_url, lambda pool, s=steps, r=restart: play(pool, a_story(), s, r))
        seen = [(change["at"], change["from_stage"], change["stage"]) for change in changes]
        assert seen == [(change["at"], change["from_stage"], change["stage"]) for change in steady], (steps, restart)


def test_one_loud_account_and_a_chain_of_copies_change_no_stage(database_url: str) -> None:
    shouted, _ = run(database_url, lambda pool: play(pool, a_story(shouting=True), [60]))
    assert shouted == []
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(
            "TRUNCATE posts, minute_authors, minute_counts, minute_totals, coverage, cursors, momentum, habits, watched"
        )
    copied, heard = run(database_url, lambda pool: play(pool, a_story(copies=True), [60]))
    assert copied == []
    # Nor do copies make a score that says otherwise.
    updates = [msgspec.json.decode(event.data) for event in heard.events if event.type == "momentum.update"]
    rows = [row for update in updates for row in update["entities"] if row["entity"] == BTC]
    assert min(row["parts"]["originality"] for row in rows) < 0.2
    assert max(row["parts"]["surprisal"] for row in rows) > 2
    assert max(row["score"] for row in rows if row["parts"]["surprisal"] > 2) < 0.9


def test_what_is_deleted_is_gone_from_the_next_tick(database_url: str) -> None:
    async def scenario(pool: Pool) -> Any:
        store, heard, posts = PostgresStore(pool), Heard(), a_story()
        end = T0 + (QUIET_MINUTES + 5) * MICROS_PER_MINUTE
        await store.commit(batch_until(posts, T0, end))
        tick = ticker(pool, heard)
        await tick.tick()
        (before,) = [row for row, _ in await PostgresMomentum(pool).current() if row.entity == BTC]
        gone = [
            Deleted(source=p.source, author=p.author, event_time=end, cursor=end, id=p.id, rev="z")
            for p in posts
            if p.event_time >= T0 + QUIET_MINUTES * MICROS_PER_MINUTE and p.event_time < end
        ]
        await store.commit(batch_until([], end, end + MICROS_PER_MINUTE, gone))
        await tick.tick()
        after = [row for row, _ in await PostgresMomentum(pool).current() if row.entity == BTC]
        return before, after

    before, after = run(database_url, scenario)
    assert before.mentions > 80
    assert all(row.mentions < 20 for row in after)


def test_habits_are_learnt_from_stored_counts_and_survive_a_restart(database_url: str) -> None:
    async def scenario(pool: Pool) -> Any:
        heard = Heard()
        await play(pool, a_story(), [60])
        kept = await PostgresMomentum(pool).habits([BTC])
        hour, _ = await PostgresMomentum(pool).watched() or (0, None)
        async with pool.connection() as conn:
            await conn.execute("TRUNCATE habits, watched")
        await ticker(pool, heard).tick()
        return kept, hour, await PostgresMomentum(pool).habits([BTC])

    kept, hour, anew = run(database_url, scenario)
    assert hour == T0 // HOUR + 1, "the second hour is not over for so long"
    assert list(kept.hours) == [hour] == list(anew.hours)
    assert (kept.rows == anew.rows).all()


def test_an_hour_is_expected_when_it_is_over_for_so_long_and_not_before(database_url: str) -> None:
    async def scenario(pool: Pool) -> list[int]:
        store, tick, hours = PostgresStore(pool), ticker(pool, Heard()), []
        used = T0 + HOUR + USED_AFTER
        since = T0
        for until in (used - 30 * MICROS_PER_SECOND, used):
            await store.commit(batch_until(a_story(), since, until))
            await tick.tick()
            await tick.tick()
            stored = await PostgresMomentum(pool).watched()
            hours.append(0 if stored is None else stored[0])
            since = until
        return hours

    before, after = run(database_url, scenario)
    assert before <= T0 // HOUR
    assert after == T0 // HOUR + 1


def test_every_minute_of_an_hours_pause_is_judged_and_fewer_of_a_longer_one() -> None:
    def minutes(judged: int | None, now: int) -> list[int]:
        found = instants_between(None if judged is None else judged * MICROS_PER_MINUTE, now * MICROS_PER_MINUTE)
        return [at // MICROS_PER_MINUTE for at in found]

    assert minutes(None, 7) == [7]
    assert minutes(7, 7) == []
    assert minutes(3, 7) == [4, 5, 6, 7]
    assert len(minutes(0, MAX_MINUTES)) == MAX_MINUTES
    assert minutes(0, 100)[-2:] == [100 - COARSE_MINUTES, 100]
    assert len(minutes(0, 10**6)) == 144
