"""What is learnt of an hour depends on what the sources said until it was settled, and on nothing else."""

from __future__ import annotations

import asyncio
from random import Random
from typing import TypeAlias

import pytest

from groundswell.adapters.postgres_momentum import PostgresMomentum
from groundswell.adapters.postgres_pool import open_pool
from groundswell.adapters.postgres_store import PostgresStore
from groundswell.core.learning import HOUR, QUARTER, expected_from, quarter_of, settled_before, watched_by_all
from groundswell.core.posts import MICROS_PER_MINUTE, MICROS_PER_SECOND, Deleted, Micros, Post
from groundswell.ports.storing import Batch
from groundswell.services import habits, lessons
from groundswell.services.habits import HabitKeeper
from tests.integration.test_outage_invariance import wipe
from tests.integration.test_recent_counts import ENTITIES, T0, Writer

HOURS = 5
Expected: TypeAlias = dict[Micros, tuple[int, bytes, bytes]]
"""By instant: up to which hour habits are folded, what they are divided by, and the habits."""


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lessons, "LEARNT_AT_ONCE", 3)
    monkeypatch.setattr(habits, "SAVED_AT_ONCE", 2)


def history(seed: int) -> list[Batch]:
    """Two sources, of which one lags by up to three hours; both are stored to the same instant in the end."""
    writer, batches = Writer(seed), list[Batch]()
    chance, end = writer.chance, T0 + HOURS * HOUR
    for source in ("jetstream", "sealed"):
        batches.append(writer.batch(source, T0))
    while min(writer.until.values()) < end:
        first, last = writer.until["jetstream"], writer.until["sealed"]
        lags = first - last < chance.choice((0, 1, 3)) * HOUR and first < end
        source = "jetstream" if lags or last >= end else "sealed"
        at = writer.until[source]
        step = chance.choice((20, 90, 400, 900)) * MICROS_PER_SECOND
        # As the relay cuts them: no batch goes from one quarter of an hour into the next.
        whole = (at // QUARTER + 1) * QUARTER
        batches.append(writer.batch(source, min(end, at + step, whole - 1 if at < whole - 1 else whole)))
    return batches


async def expected(url: str, batches: list[Batch], chance: Random | None = None) -> Expected:
    """Commit them all and look now and then, or after each; with `chance`, restarts and long pauses come in between."""
    pool = await open_pool(url, size=2, wait_s=10, statement_timeout_s=30, application_name="test")
    store, momentum = PostgresStore(pool), PostgresMomentum(pool)
    keeper, found, patience = HabitKeeper(momentum), Expected(), 1.0
    for n, batch in enumerate(batches):
        await store.commit(batch)
        if chance is not None:
            if chance.random() < 0.1:
                patience = chance.choice((1.0, 0.5, 0.02))
            if chance.random() < 0.15:
                keeper = HabitKeeper(momentum)
            if chance.random() > patience and n < len(batches) - 1:
                continue
        position = await momentum.read_position()
        now = max(position.until.values())
        watched = watched_by_all(position.until, now)
        await keeper.catch_up(expected_from(watched))
        rows = await keeper.of(ENTITIES)
        found[n] = keeper.hour, keeper.watched.row.tobytes(), rows.tobytes()
        await keeper.go_on(settled_before(watched))
    await pool.close()
    return found


SEEDS = [0, 1, *(pytest.param(seed, marks=pytest.mark.drill) for seed in range(2, 12))]


@pytest.mark.parametrize("seed", SEEDS)
def test_when_an_hour_is_learnt_and_who_is_killed_meanwhile_changes_nothing_that_is_expected(
    database_url: str, seed: int
) -> None:
    batches = history(seed)
    steady = asyncio.run(expected(database_url, batches))
    hours = {hour for hour, _, _ in steady.values()}
    assert len(hours) >= HOURS - 1, "it takes several hours"
    assert len({rows for _, _, rows in steady.values()}) >= HOURS - 1, "and each of them teaches something"
    for plan in range(2):
        wipe(database_url)
        disturbed = asyncio.run(expected(database_url, batches, Random(plan)))
        assert disturbed == {n: steady[n] for n in disturbed}


def a_post(number: int, at: Micros) -> Post:
    return Post(f"at://{number}", "jetstream", f"did:plc:{number}", f"{number}", at, "a", at, entities=("ticker:BTC",))


def test_what_comes_or_goes_after_an_hour_is_settled_is_not_learnt_and_what_does_before_is(database_url: str) -> None:
    start = T0 // HOUR * HOUR
    end = start + HOUR
    said = [a_post(n, start + n * MICROS_PER_MINUTE) for n in range(60)]

    def gone(post: Post, at: Micros) -> Deleted:
        return Deleted("jetstream", post.author, at, at, post.id, rev="z")

    async def learnt(changed_at: Micros) -> bytes:
        wipe(database_url)
        pool = await open_pool(database_url, size=2, wait_s=10, statement_timeout_s=30, application_name="test")
        store, momentum = PostgresStore(pool), PostgresMomentum(pool)
        await store.commit(Batch("jetstream", said, [], start, start, end))
        late = [a_post(n, start + n * MICROS_PER_SECOND) for n in range(100, 130)]
        changes = [gone(post, changed_at) for post in said[:20]]
        await store.commit(Batch("jetstream", late, changes, changed_at, end, changed_at))
        await store.commit(Batch("jetstream", [], [], changed_at, changed_at, end + HOUR))
        keeper = HabitKeeper(momentum)
        await keeper.catch_up(end // HOUR)
        rows = await keeper.of(["ticker:BTC"])
        await pool.close()
        return rows.tobytes()

    settled = end + QUARTER
    before, at, after = (asyncio.run(learnt(when)) for when in (settled - 1, settled, settled + 20 * MICROS_PER_MINUTE))
    assert quarter_of(settled) == quarter_of(settled - 1) + 1
    assert at == after
    assert before != after
