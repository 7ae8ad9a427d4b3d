"""The whole momentum tick, SQL included, over very many active entities in a real Postgres.

An embedded Postgres is filled with seven hours of counts: the active entities, of which half have been spoken of all
the time and the others began somewhere within it, and as many again that were named once or twice. Then posts are
committed as a relay does, some late, some deleted, and the tick looks after each batch. Timed is the tick alone: all
that it waits for, and the processor time of the process and of Postgres together. Once an hour is settled it is learnt
tick by tick; when it is, time leaps to where what was learnt is used from, and goes on until that is stored.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import LiteralString

import numpy as np
import psutil
import psycopg

from bench.processes import cpu_s, rss_mb
from bench.report import publish, quantile
from groundswell.adapters.embedded_postgres import EmbeddedPostgres
from groundswell.adapters.migrations import migrate
from groundswell.adapters.postgres_momentum import PostgresMomentum
from groundswell.adapters.postgres_pool import Pool, open_pool
from groundswell.adapters.postgres_store import PostgresStore
from groundswell.adapters.system_clock import SystemClock
from groundswell.core.habit import Watched, fold_hour, no_habits
from groundswell.core.learning import HOUR, QUARTER
from groundswell.core.momentum import BUCKETS, GRID
from groundswell.core.posts import MICROS_PER_MINUTE, MICROS_PER_SECOND, Deleted, Micros, Post
from groundswell.metrics import Metrics
from groundswell.ports.momentum import HourCounts, StoredHabits
from groundswell.ports.storing import Batch
from groundswell.services.momentum import MomentumTicker

GOAL_S = 1.0
HISTORY_MINUTES = 430
STEP_S = 5
POSTS_A_STEP = 1000
SURGING = 300
"""Entities that surge while it is measured: their rows, stages and copies have to be written and read too."""
END: Micros = 1_783_210_440_000_000
"""A minute before the last hour is settled: from then on each tick learns a little of it."""
AHEAD = (9, 17)
"""Minutes after `END` that are filled too: time leaps over them, and those who look then find everybody there."""
WITHIN, MINUTE, LEARNS, TAKES, STORES = KINDS = (
    "within a minute",
    "at a whole minute",
    "learns of the last hour",
    "takes what was learnt",
    "stores what was learnt",
)
RARE = 0.3
"""Mentions a minute that the rarest of the active have: a few of them fall under three in a quarter of an hour."""

FILL: LiteralString = """
INSERT INTO minute_counts (entity, minute, source, mentions, authors)
SELECT 'hashtag:topic' || e.i, timestamptz 'epoch' + (%(last)s - m.ago) * interval '1 minute', 'jetstream', n.n, n.n
FROM (SELECT i, LEAST(%(rare)s / ((i %% %(entities)s + 1) / %(entities)s::float8) ^ 0.7, 60.0) AS rate,
             CASE WHEN i %% 2 = 0 THEN %(history)s ELSE 15 + (i * 7919 %% (%(history)s - 15)) END AS began
      FROM generate_series(0, %(entities)s - 1) AS i) e
CROSS JOIN (
    SELECT generate_series(1, %(history)s::integer)
    UNION ALL SELECT -generate_series(%(from)s::integer, %(to)s::integer)
) AS m (ago)
CROSS JOIN LATERAL (
    SELECT floor(e.rate + (hashint8(e.i * 100003::bigint + m.ago) & 1048575) / 1048576.0)::integer
) AS n (n)
WHERE m.ago <= e.began AND n.n > 0
ORDER BY m.ago DESC -- as they come: what is said of one entity lies far apart
"""
SELDOM = """
INSERT INTO minute_counts (entity, minute, source, mentions, authors)
SELECT 'mention:someone' || i, timestamptz 'epoch' + (%(last)s - 1 - i %% %(history)s) * interval '1 minute',
       'jetstream', 1, 1
FROM generate_series(1, %(entities)s * 4) AS i
"""
AUTHORS = """
INSERT INTO minute_authors (entity, minute, source, author, mentions)
SELECT c.entity, c.minute, c.source, 'did:plc:a' || (hashtext(c.entity) & 65535) || 'b' || a, 1
FROM minute_counts c CROSS JOIN LATERAL generate_series(1, c.authors) AS a
WHERE c.minute >= timestamptz 'epoch' + (%(last)s - 40) * interval '1 minute'
"""
COVER = """
INSERT INTO coverage (source, minute, observed_seconds)
SELECT 'jetstream', timestamptz 'epoch' + (%(last)s - ago) * interval '1 minute', 60
FROM generate_series(1, %(history)s) AS ago
"""
BUILT_LAST: tuple[tuple[LiteralString, ...], tuple[LiteralString, ...]] = (
    ("ALTER TABLE minute_counts DROP CONSTRAINT minute_counts_pkey", "DROP INDEX minute_counts_by_minute"),
    (
        "ALTER TABLE minute_counts ADD PRIMARY KEY (entity, minute, source)",
        "CREATE INDEX minute_counts_by_minute ON minute_counts (minute)",
    ),
)


def fill(url: str, entities: int) -> tuple[int, int]:
    """Answers how many rows of counts there are, and how many entities are active at the end."""
    values = {"entities": entities, "history": HISTORY_MINUTES, "last": END // MICROS_PER_MINUTE, "rare": RARE}
    values |= {"from": AHEAD[0], "to": AHEAD[1]}
    with psycopg.connect(url, autocommit=True) as conn:
        for statement in BUILT_LAST[0]:
            conn.execute(statement)
        conn.execute(FILL, values)
        conn.execute(SELDOM, values)
        for statement in BUILT_LAST[1]:
            conn.execute(statement)
        conn.execute(AUTHORS, values)
        conn.execute(COVER, values)
        conn.execute(
            "INSERT INTO cursors (source, cursor, covered_until) VALUES"
            " ('jetstream', %(end)s, timestamptz 'epoch' + %(end)s * interval '1 microsecond')",
            {"end": END},
        )
        conn.execute("VACUUM ANALYZE")
        found = conn.execute(
            "SELECT (SELECT count(*) FROM minute_counts), (SELECT count(*) FROM ("
            " SELECT FROM minute_counts WHERE minute >= timestamptz 'epoch' + %(since)s * interval '1 microsecond'"
            " AND minute <= timestamptz 'epoch' + %(until)s * interval '1 microsecond'"
            " GROUP BY entity HAVING sum(mentions) >= 3) AS active)",
            {"since": END - 15 * MICROS_PER_MINUTE, "until": END},
        ).fetchone()
    assert found is not None
    return found[0], found[1]


class Feed:
    """Posts as they come: each names two of the active entities, the much named more often, or a surging one."""

    def __init__(self, entities: int) -> None:
        self._rng = Random(7)
        self._entities = entities
        self._number = 0
        self._said: list[Post] = []
        self.now: Micros = END

    def batch(self) -> Batch:
        since, self.now = self.now, self.now + STEP_S * MICROS_PER_SECOND
        posts = [self._post(since) for _ in range(POSTS_A_STEP)]
        gone = [self._said[self._rng.randrange(len(self._said))] for _ in range(20 if self._said else 0)]
        deletes = [
            Deleted("jetstream", post.author, self.now, self.now, post.id, rev="z")
            for post in {post.id: post for post in gone}.values()
        ]
        self._said += posts[::10]
        return Batch("jetstream", posts, deletes, self.now, since, self.now)

    def silence(self, until: Micros) -> Batch:
        """Nothing is said, and all is watched, up to `until`."""
        since, self.now = self.now, until
        return Batch("jetstream", [], [], until, since, until)

    def _post(self, since: Micros) -> Post:
        self._number += 1
        rng, n = self._rng, self._number
        late = rng.randrange(600) * MICROS_PER_SECOND if n % 100 == 0 else 0
        names = {f"hashtag:topic{int(self._entities * rng.random() ** 3)}" for _ in range(2)}
        if n % 3 == 0:
            names.add(f"hashtag:surge{rng.randrange(SURGING)}")
        author = f"did:plc:author{n}"
        return Post(
            id=f"at://{author}/app.bsky.feed.post/{n}", source="jetstream", author=author,
            text=" ".join(f"{rng.getrandbits(24):x}" for _ in range(8)), rev="a", cursor=since,
            event_time=since - late + rng.randrange(STEP_S * MICROS_PER_SECOND), entities=tuple(sorted(names)),
        )  # fmt: skip


class Noted(PostgresMomentum):
    """Remembers what a tick asked for."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self.asked: set[str] = set()

    async def spoken(self, hour: int, first: int, last: int, limit: int) -> tuple[Sequence[str], Sequence[int]]:
        self.asked.add(LEARNS)
        return await super().spoken(hour, first, last, limit)

    async def hour_counts(self, hour: int, entities: Sequence[str]) -> HourCounts:
        self.asked.add(LEARNS)
        return await super().hour_counts(hour, entities)

    async def learnt_up_to(self, hour: int) -> Sequence[str]:
        self.asked.add(LEARNS)
        return await super().learnt_up_to(hour)

    async def save_habits(self, habits: StoredHabits) -> None:
        self.asked.add(STORES)
        await super().save_habits(habits)


class Nobody:
    """Broadcasts to nobody."""

    async def publish(self, events: object) -> None:
        del events

    async def preview(self, posts: object, deleted: object, ts: object) -> None:
        del posts, deleted, ts


async def measure(entities: int, steps: int) -> None:
    with tempfile.TemporaryDirectory(prefix="groundswell-bench-") as folder:
        postgres = EmbeddedPostgres(Path(folder))
        url = await postgres.start()
        try:
            await migrate(url)
            started = time.monotonic()
            counted, active = await asyncio.to_thread(fill, url, entities)
            print(
                f"{counted:,} rows of counts, {active:,} active entities, filled in {time.monotonic() - started:.0f} s"
            )
            await _habits(url, entities)
            pid = postgres.running_pid()
            assert pid is not None
            await _watch(url, psutil.Process(pid), Feed(entities), steps, active)
        finally:
            await postgres.stop()


async def _habits(url: str, entities: int) -> None:
    """What a week of watching would have taught, so that it need not be learnt from the counts first."""
    rng, hour = np.random.default_rng(1), END // HOUR - 1
    counts = rng.poisson(5 * RARE * 3, (entities, BUCKETS)).astype(float)
    habits, watched = no_habits(entities), Watched.nothing()
    for _ in range(3):
        habits, watched = fold_hour(GRID, habits, watched, counts, np.ones(BUCKETS), hour=hour - 1)
    names = [f"hashtag:topic{i}" for i in range(entities)]
    pool = await open_pool(url, size=1, wait_s=10, statement_timeout_s=60, application_name="bench")
    store = PostgresMomentum(pool)
    await store.save_habits(StoredHabits(names, [hour] * entities, habits))
    await store.save_watched(hour, watched)
    await pool.close()


async def _watch(url: str, server: psutil.Process, feed: Feed, steps: int, active: int) -> None:
    pool = await open_pool(url, size=3, wait_s=10, statement_timeout_s=60, application_name="bench")
    me = psutil.Process(os.getpid())
    store, noted = PostgresStore(pool), Noted(pool)
    ticker = MomentumTicker(noted, Nobody(), SystemClock(), interval_s=STEP_S, metrics=Metrics(), is_live=lambda: True)

    def own() -> float:
        return sum(me.cpu_times()[:2])

    async def tick() -> tuple[float, float, float]:
        before, at = (own(), cpu_s(server)), time.monotonic()
        await ticker.tick()
        return time.monotonic() - at, own() - before[0], cpu_s(server) - before[1]

    try:
        first = await tick()
        print(f"the first tick, which reads it all: {first[0]:.1f} s")
        taken: dict[str, list[tuple[float, float, float]]] = {kind: [] for kind in KINDS}
        taken_at = (END // QUARTER + 2) * QUARTER
        learning, stored = False, 0
        while stored < steps:
            noted.asked.clear()
            before = feed.now
            await store.commit(feed.batch())
            one = await tick()
            kinds = {MINUTE if feed.now // MICROS_PER_MINUTE > before // MICROS_PER_MINUTE else WITHIN, *noted.asked}
            if before < taken_at <= feed.now:
                kinds.add(TAKES)
            for kind in kinds:
                taken[kind].append(one)
            print(f"{', '.join(sorted(kinds)):60s} wall %.2f s, python %.2f s, postgres %.2f s" % one, flush=True)
            if learning and LEARNS not in noted.asked and feed.now < taken_at:
                await store.commit(feed.silence(taken_at - STEP_S * MICROS_PER_SECOND))
                await tick()
            learning = LEARNS in noted.asked
            stored += feed.now >= taken_at and STORES not in noted.asked
    finally:
        await pool.close()
    rows: list[tuple[str, str, str]] = [("the first tick, which reads everything", f"{first[0]:.1f} s", "")]
    values: dict[str, object] = {"active": active, "first_s": first[0]}
    for kind, ticks in taken.items():
        for n, what in enumerate(("wall", "processor, Python", "processor, Postgres")):
            figures = [one[n] for one in ticks]
            if figures:
                goal = f"< {GOAL_S:g} s" if n == 0 else ""
                rows.append((f"{kind}: {what}", f"{quantile(figures, 0.5):.2f} s, at most {max(figures):.2f} s", goal))
        values[kind] = ticks
    rows.append(("memory of the process, MB", f"{rss_mb(me):.0f}", ""))
    publish("tick", f"The momentum tick over {active:,} active entities", rows, values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entities", type=int, default=50_000)
    parser.add_argument("--steps", type=int, default=12, help=f"batches of {STEP_S} s that follow what is learnt")
    options = parser.parse_args()
    asyncio.run(measure(options.entities, options.steps))


if __name__ == "__main__":
    main()
