"""Input that no well-behaved source sends, and the sane answer of the momentum tick."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import psycopg
import pytest

from groundswell.adapters.postgres_momentum import PostgresMomentum
from groundswell.adapters.postgres_pool import Pool
from groundswell.adapters.postgres_store import PostgresStore
from groundswell.core.posts import MICROS_PER_MINUTE, MICROS_PER_SECOND, Deleted, Micros, Post
from groundswell.ports.storing import MomentumRow
from tests.integration.test_momentum_tick import BTC, T0, Heard, batch_until, post, run, ticker

CALM_MINUTES = 90
WEEK_MINUTES = 7 * 24 * 60


def murmur(start: int, minutes: int, seed: int = 3) -> list[Post]:
    """About a mention a minute, from the minute `start` of the story on."""
    chance = Random(seed)
    posts: list[Post] = []
    for minute in range(start, start + minutes):
        for _ in range(chance.randrange(3)):
            at = T0 + minute * MICROS_PER_MINUTE + chance.randrange(59) * MICROS_PER_SECOND
            posts.append(post(chance.getrandbits(48), at, BTC))
    return posts


def crowd(start: int, minutes: int, each: int = 25) -> list[Post]:
    return [
        post(10**9 + 1000 * minute + n, T0 + minute * MICROS_PER_MINUTE + n * MICROS_PER_SECOND, BTC)
        for minute in range(start, start + minutes)
        for n in range(each)
    ]


def minute(number: int) -> Micros:
    return T0 + number * MICROS_PER_MINUTE


async def shown(pool: Pool) -> Sequence[MomentumRow]:
    return [row for row, _ in await PostgresMomentum(pool).current()]


def stages(heard: Heard) -> list[str]:
    return [event.type for event in heard.events if event.type == "momentum.stage"]


def test_counts_of_minutes_to_come_are_not_scored_before_those_minutes_come(database_url: str) -> None:
    async def scenario(pool: Pool) -> tuple[list[str], Sequence[MomentumRow], list[str]]:
        store, heard = PostgresStore(pool), Heard()
        tick = ticker(pool, heard)
        await store.commit(batch_until(murmur(0, CALM_MINUTES), T0, minute(CALM_MINUTES)))
        await tick.tick()
        # Posts whose clock runs ten minutes ahead, in a batch that was watched for one more minute only.
        ahead = crowd(CALM_MINUTES + 10, 3)
        batch = batch_until([], minute(CALM_MINUTES), minute(CALM_MINUTES + 1))
        await store.commit(type(batch)("jetstream", ahead, [], batch.cursor, batch.covered_from, batch.covered_until))
        await tick.tick()
        before, rows = stages(heard), await shown(pool)
        await store.commit(batch_until([], minute(CALM_MINUTES + 1), minute(CALM_MINUTES + 14)))
        await tick.tick()
        return before, rows, stages(heard)

    before, rows, after = run(database_url, scenario)
    assert before == []
    assert all(row.mentions < 40 and row.velocity < 5 for row in rows)
    assert after, "they count once their minutes have come"


def test_a_watermark_that_was_set_back_gives_sane_numbers_and_no_news(database_url: str) -> None:
    async def scenario(pool: Pool) -> tuple[list[str], Sequence[MomentumRow]]:
        store, heard = PostgresStore(pool), Heard()
        tick = ticker(pool, heard)
        await store.commit(batch_until(murmur(0, CALM_MINUTES), T0, minute(CALM_MINUTES)))
        await tick.tick()
        async with pool.connection() as conn:
            await conn.execute(
                "UPDATE cursors SET covered_until = timestamptz 'epoch' + %s * interval '1 microsecond'", [minute(40)]
            )
        await tick.tick()
        await ticker(pool, heard).tick()
        return stages(heard), await shown(pool)

    told, rows = run(database_url, scenario)
    assert told == []
    assert all(row.mentions >= 0 and row.velocity >= 0 and 0 <= row.score <= 1 for row in rows)


def test_a_surge_that_is_withdrawn_leaves_numbers_at_or_above_zero_and_dies_down(database_url: str) -> None:
    async def scenario(pool: Pool) -> tuple[Sequence[MomentumRow], Sequence[MomentumRow]]:
        store = PostgresStore(pool)
        tick, end = ticker(pool, Heard()), CALM_MINUTES + 4
        surge = crowd(CALM_MINUTES, 4)
        await store.commit(batch_until([*murmur(0, CALM_MINUTES), *surge], T0, minute(end)))
        await tick.tick()
        high = await shown(pool)
        gone = [Deleted("jetstream", p.author, minute(end), minute(end), p.id, rev="z") for p in surge]
        await store.commit(batch_until([], minute(end), minute(end + 2), gone))
        async with pool.connection() as conn:
            # What is withdrawn from a minute that was rolled up is owed until the next rolling up.
            await conn.execute(
                "UPDATE minute_counts SET mentions = -7, authors = -7 WHERE minute > now() - '1 s'::interval"
            )
            await conn.execute(
                "INSERT INTO minute_counts SELECT entity, minute, 'another', -5, -5 FROM minute_counts"
                " ON CONFLICT DO NOTHING"
            )
        await tick.tick()
        return high, await shown(pool)

    high, low = run(database_url, scenario)
    assert max(row.score for row in high) > 0.9
    assert all(row.score < 0.9 and row.mentions >= 0 and row.velocity >= 0 for row in low)
    assert all(rate is None or rate >= 0 for row in low for rate in row.sparkline)


def test_entities_that_appear_once_are_neither_shown_nor_remembered(database_url: str) -> None:
    async def scenario(pool: Pool) -> tuple[list[str], Sequence[MomentumRow]]:
        store, heard = PostgresStore(pool), Heard()
        tick = ticker(pool, heard)
        once = [post(n, minute(CALM_MINUTES) + n, f"hashtag:once{n}") for n in range(3000)]
        await store.commit(batch_until([*murmur(0, CALM_MINUTES), *once], T0, minute(CALM_MINUTES + 1)))
        await tick.tick()
        return stages(heard), await shown(pool)

    told, rows = run(database_url, scenario)
    assert told == []
    assert {row.entity for row in rows} <= {BTC}


@pytest.mark.parametrize("restarted", [False, True])
def test_a_source_that_was_off_for_a_week_comes_back_quietly_and_is_watched_at_once(
    database_url: str, restarted: bool
) -> None:
    back = CALM_MINUTES + WEEK_MINUTES

    async def scenario(pool: Pool) -> tuple[list[str], list[str]]:
        store, heard = PostgresStore(pool), Heard()
        tick = ticker(pool, heard)
        await store.commit(batch_until(murmur(0, CALM_MINUTES), T0, minute(CALM_MINUTES)))
        await tick.tick()
        await store.open_gap("jetstream", "disconnect", minute(CALM_MINUTES), "switched off")
        await store.close_gap("jetstream", minute(back), backfilled=False)
        if restarted:
            tick = ticker(pool, heard)
        calm = murmur(back, CALM_MINUTES, seed=8)
        for step in range(0, CALM_MINUTES, 10):
            await store.commit(batch_until(calm, minute(back + step), minute(back + step + 10)))
            await tick.tick()
        quiet = stages(heard)
        surge = crowd(back + CALM_MINUTES, 3)
        await store.commit(batch_until(surge, minute(back + CALM_MINUTES), minute(back + CALM_MINUTES + 3)))
        await tick.tick()
        return quiet, stages(heard)

    quiet, after = run(database_url, scenario)
    assert quiet == []
    assert after
    with psycopg.connect(database_url) as conn:
        first = conn.execute("SELECT (extract(epoch FROM min(at)) * 1000000)::bigint FROM stage_changes").fetchone()
    assert first is not None
    assert minute(back + CALM_MINUTES) < first[0] <= minute(back + CALM_MINUTES + 3)
