"""Outage invariance, all the way to the screen.

Whatever is cut, stopped or refused on the way, catching up leaves the posts, counts and momentum of an undisturbed run,
and no tick on the way shows a surge that the undisturbed run does not.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import msgspec
import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from groundswell.adapters.postgres_momentum import PostgresMomentum
from groundswell.adapters.postgres_pool import open_pool
from groundswell.adapters.postgres_reads import PostgresReads
from groundswell.adapters.postgres_store import PostgresStore
from groundswell.adapters.system_clock import SystemClock
from groundswell.core.posts import MICROS_PER_MINUTE, MICROS_PER_SECOND, AccountChange, Deleted, Post
from groundswell.errors import StoreUnavailable
from groundswell.metrics import Metrics
from groundswell.ports.storing import Batch, Committed, MomentumRow
from groundswell.services.momentum import MomentumTicker
from groundswell.services.relay import Relay
from groundswell.services.time_travel import TimeTravel
from tests.tape import TapeItem, TapeSource

T0 = 1_783_179_600_000_000
"""Twenty minutes before a full hour. What is expected changes with that hour in the fiftieth minute."""
MINUTES, SURGE_FROM = 70, 60
STEADY, SURGING = "hashtag:steady", "hashtag:surging"
STATES = (
    (3, "suspended", 12), (3, "active", 18), (5, "deactivated", 14), (5, "active", 48), (8, "takendown", 25),
    (11, "deleted", 30), (11, "active", 33), (14, "unknown", 40), (14, "active", 62),
)  # fmt: skip
"""What becomes of some of the steady accounts: number, status, minute."""
HEIGHT = {"dormant": 0, "fading": 0, "emerging": 1, "rising": 2, "peaking": 3}
TABLES = (
    "SELECT id, text, rev, entities, event_time::text FROM posts ORDER BY id",
    "SELECT id, text, rev, entities, event_time::text FROM hidden_posts ORDER BY id",
    "SELECT author, status, at::text FROM account_states ORDER BY author",
    "SELECT entity, minute::text, mentions, authors FROM minute_counts ORDER BY 1, 2",
    "SELECT minute::text, posts FROM minute_totals ORDER BY 1",
    "SELECT minute::text, round(observed_seconds::numeric, 3)::text FROM coverage ORDER BY 1",
    "SELECT entity, at::text, from_stage, stage FROM stage_changes ORDER BY 1, 2",
    "SELECT entity, hour, numbers FROM habits ORDER BY 1",
    "SELECT hour, numbers, kinds FROM watched",
)


class EagerClock:
    """A clock that runs two hundred times as fast: waits are not what is tested here."""

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time() * 200

    def now(self) -> int:
        return T0

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds / 200, 0.005))


class Nobody:
    async def publish(self, events: object) -> None:
        return None

    async def preview(self, posts: object, deleted: object, ts: object) -> None:
        return None


class Plan(msgspec.Struct, frozen=True):
    """What goes wrong: frames after which connections are cut, failing commits, commits after which the relay dies."""

    cuts: tuple[int, ...] = ()
    failing_commits: frozenset[int] = frozenset()
    answer_lost: frozenset[int] = frozenset()
    restarts_after: tuple[int, ...] = ()


UNDISTURBED = Plan()
plans = st.builds(
    Plan,
    cuts=st.lists(st.integers(0, 200), max_size=5).map(tuple),
    failing_commits=st.frozensets(st.integers(0, 40), max_size=6),
    answer_lost=st.frozensets(st.integers(0, 40), max_size=4),
    restarts_after=st.lists(st.integers(1, 12), max_size=3).map(tuple),
)


def words(second: float) -> str:
    """A text of its own: copies of one would be no groundswell."""
    random = Random(second)
    return " ".join("".join(random.choices("abcdefghijklmnoprstuvw", k=6)) for _ in range(8))


def tape() -> list[TapeItem]:
    """A steady murmur for seventy minutes, some of it late or withdrawn, and a surge of another in the last ten.

    Some of the first twenty minutes comes, and some of it goes, when that hour has been settled. Accounts are hidden,
    post meanwhile and come back, are taken down to the end, or are deleted and begin anew.
    """
    items: list[TapeItem] = []

    def say(second: float, entity: str, author: int, late: float = 0.0) -> None:
        when = T0 + round(second * MICROS_PER_SECOND)
        did = f"did:plc:{entity[8:]}{author}"
        items.append(
            Post(
                id=f"at://{did}/app.bsky.feed.post/{second:.1f}", source="jetstream", author=did, text=words(second),
                event_time=when - round(late * MICROS_PER_SECOND), rev=f"{round(second * 10):06}", cursor=when,
                entities=(entity,),
            )
        )  # fmt: skip

    for n in range(MINUTES * 6):
        lag = 500.0 if n % 17 == 9 and n > 60 else 1300.0 if n % 7 == 3 and 215 < n < 250 else 0.0
        say(10 * n, STEADY, n % 29, late=lag)
        if n % 11 == 5:
            older = next(item for item in items if isinstance(item, Post) and item.id.endswith(f"/{10 * (n // 2):.1f}"))
            when = T0 + round((10 * n + 1) * MICROS_PER_SECOND)
            items.append(Deleted("jetstream", older.author, when, when, older.id, rev="z"))
    for n in range(MINUTES):
        say(60 * n + 31, SURGING, n % 7)
    for n in range((MINUTES - SURGE_FROM) * 20):
        say(60 * SURGE_FROM + 3 * n + 0.5, SURGING, 100 + n)
    for number, status, minute in STATES:
        when = T0 + minute * MICROS_PER_MINUTE + 7
        items.append(AccountChange("jetstream", f"did:plc:steady{number}", when, when, status))
    return sorted(items, key=lambda item: item.cursor or 0)


class Seen(msgspec.Struct):
    """What a run left behind, and the highest stage that any tick on the way gave to each entity."""

    tables: list[list[tuple[Any, ...]]]
    momentum: dict[str, MomentumRow]
    highest: dict[str, int]


class Died(Exception):
    """The relay was told to die here."""


class Store:
    """A store that fails as the plan says, and lets the momentum tick look after every commit that went through."""

    def __init__(self, store: PostgresStore, ticker: MomentumTicker, plan: Plan, look: Callable[[], Awaitable[None]]):
        self._store = store
        self._ticker = ticker
        self._plan = plan
        self._look = look
        self._calls = 0
        self.commits = 0
        self.dies_after: int | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def commit(self, batch: Batch) -> Committed:
        self._calls += 1
        if self._calls in self._plan.failing_commits:
            raise StoreUnavailable("the database is away")
        if self.dies_after is not None and self.commits >= self.dies_after:
            raise Died
        done = await self._store.commit(batch)
        self.commits += 1
        await self._ticker.tick()
        await self._look()
        if self._calls in self._plan.answer_lost:
            raise StoreUnavailable("the answer was lost on the way")
        return done


async def run(url: str, plan: Plan) -> Seen:
    pool = await open_pool(url, size=3, wait_s=10, statement_timeout_s=20, application_name="test")
    highest: defaultdict[str, int] = defaultdict(int)
    momentum = PostgresMomentum(pool)

    async def look() -> None:
        for row, _ in await momentum.current():
            highest[row.entity] = max(highest[row.entity], HEIGHT[row.stage])

    def new_ticker() -> MomentumTicker:
        return MomentumTicker(momentum, Nobody(), EagerClock(), interval_s=1, metrics=Metrics(), is_live=lambda: True)

    source = TapeSource(tape(), plan.cuts)
    try:
        for dies_after in (*plan.restarts_after, None):
            ticker = new_ticker()
            store = Store(PostgresStore(pool), ticker, plan, look)
            store.dies_after = dies_after
            relay = Relay(
                source, store, Nobody(), EagerClock(), batch_max_posts=20, batch_max_age_s=0.02, rng=Random(1),
                metrics=Metrics(), recording=True,
            )  # fmt: skip
            try:
                await asyncio.wait_for(relay.run(asyncio.Event()), 60)
            except Died:
                continue
            assert relay.state.phase == "ended"
        await ticker.tick()
        # What is published changes only visibly; what an assessment of the end finds is compared to the last digit.
        reads = PostgresReads(pool)
        end = T0 + MINUTES * MICROS_PER_MINUTE
        rows = {row.entity: row for row in await TimeTravel(momentum, reads, SystemClock()).moving(end)}
    finally:
        await pool.close()
    with psycopg.connect(url) as conn:
        tables = [conn.execute(query).fetchall() for query in TABLES]  # pyright: ignore[reportArgumentType, reportCallIssue]
    return Seen(tables, rows, dict(highest))


def wipe(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        names = conn.execute(
            "SELECT string_agg(quote_ident(tablename), ', ') FROM pg_tables WHERE schemaname = 'public'"
            " AND tablename NOT IN ('alembic_version', 'alert_rules')"
        ).fetchone()
        assert names is not None
        conn.execute(f"TRUNCATE {names[0]} RESTART IDENTITY CASCADE")  # pyright: ignore[reportArgumentType, reportCallIssue]


@pytest.mark.parametrize("plans_tried", [5, pytest.param(60, marks=[pytest.mark.drill, pytest.mark.timeout(600)])])
def test_no_plan_of_outages_changes_posts_counts_or_momentum_or_shows_a_surge_that_is_none(
    database_url: str, plans_tried: int
) -> None:
    undisturbed = asyncio.run(run(database_url, UNDISTURBED))
    assert undisturbed.highest[SURGING] >= HEIGHT["rising"], "the tape has a surge to be found"
    assert undisturbed.highest.get(STEADY, 0) < HEIGHT["rising"], "and an entity that never surges"
    assert undisturbed.tables[-1], "and an hour that is learnt"

    # Each plan is a whole run: one that fails is shown as it is.
    @settings(
        max_examples=plans_tried,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(plans)
    def any_plan(plan: Plan) -> None:
        wipe(database_url)
        seen = asyncio.run(run(database_url, plan))
        assert seen.tables == undisturbed.tables
        assert seen.momentum == undisturbed.momentum
        for entity, height in seen.highest.items():
            assert height <= undisturbed.highest.get(entity, 0), f"{entity} surged only because of {plan}"

    any_plan()


@pytest.mark.parametrize("cause", ["shutdown", "disconnect"])
def test_a_stretch_that_nobody_watched_and_nobody_re_sends_is_no_surge_when_watching_begins_again(
    database_url: str, cause: str
) -> None:
    """A source that cannot replay: the outage is a hole, before and after which the entity murmurs on as ever."""

    async def scenario() -> tuple[int, int]:
        pool = await open_pool(database_url, size=2, wait_s=10, statement_timeout_s=20, application_name="test")
        store, momentum = PostgresStore(pool), PostgresMomentum(pool)
        ticker = MomentumTicker(momentum, Nobody(), EagerClock(), interval_s=1, metrics=Metrics(), is_live=lambda: True)
        highest = 0
        murmur = [item for item in tape() if isinstance(item, Post) and item.entities == (STEADY,)]
        posts = [post for post in murmur if post.cursor and post.cursor < T0 + 36 * MICROS_PER_MINUTE]
        hole = (T0 + 12 * MICROS_PER_MINUTE, T0 + 24 * MICROS_PER_MINUTE)
        watched_from = T0
        for post in posts:
            if hole[0] < post.event_time < hole[1]:
                if watched_from == T0:
                    await store.open_gap("jetstream", cause, hole[0], "away")  # pyright: ignore[reportArgumentType]
                    watched_from = hole[1]
                continue
            if watched_from == hole[1] and post.event_time >= hole[1]:
                await store.close_gap("jetstream", hole[1], backfilled=False)
            start = max(watched_from, post.event_time - 10 * MICROS_PER_SECOND)
            await store.commit(Batch("jetstream", [post], [], post.cursor, start, post.event_time))
            await ticker.tick()
            for row, _ in await momentum.current():
                highest = max(highest, HEIGHT[row.stage])
        await pool.close()
        return highest, len(posts)

    highest, posts = asyncio.run(scenario())
    assert posts > 200
    assert highest < HEIGHT["rising"]
