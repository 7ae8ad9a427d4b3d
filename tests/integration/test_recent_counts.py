"""Reading only what is new finds what a fresh reading finds, whatever comes late, is edited, or is withdrawn."""

from __future__ import annotations

import asyncio
from random import Random

import msgspec
import numpy as np
import pytest

from groundswell.adapters.postgres_momentum import PostgresMomentum
from groundswell.adapters.postgres_pool import open_pool
from groundswell.adapters.postgres_store import PostgresStore
from groundswell.core.momentum import Observed
from groundswell.core.posts import MICROS_PER_MINUTE, MICROS_PER_SECOND, AccountChange, Deleted, Micros, Post
from groundswell.ports.momentum import MinuteCounts
from groundswell.ports.storing import Batch
from groundswell.services.recent_counts import RecentCounts

T0 = 1_783_209_600_000_000 + 47 * MICROS_PER_MINUTE
ENTITIES = [f"hashtag:e{n}" for n in range(9)]
LIMIT = 50_000


class Writer:
    """Two sources, of which one lags: posts now and late, edits of what is named, deletes, states of accounts."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.posts: dict[str, list[Post]] = {"jetstream": [], "sealed": []}
        self.until: dict[str, Micros] = {}
        self.away: dict[str, str] = {}

    def batch(self, source: str, now: Micros) -> Batch:
        chance, known = self.chance, self.posts[source]
        since = self.until.get(source, now - MICROS_PER_MINUTE)
        self.until[source] = now
        posts = [self._post(source, since, now) for _ in range(chance.randrange(12))]
        edits = [
            msgspec.structs.replace(old, rev=old.rev + "x", operation="update", entities=self._names())
            for old in chance.sample(known, min(len(known), chance.randrange(3)))
        ]
        gone: list[Deleted] = [
            Deleted(source, old.author, now, now, old.id, rev="z")
            for old in chance.sample(known, min(len(known), chance.randrange(4)))
        ]
        accounts: list[AccountChange] = []
        if known and chance.random() < (0.4 if source in self.away else 0.07):
            author = self.away.pop(source, None)
            status = "active" if author is not None else chance.choice(("takendown", "deleted"))
            if author is None:
                author = self.away[source] = chance.choice(known).author
            accounts.append(AccountChange(source, author, now, now, status))
        left = {deleted.id for deleted in gone}
        self.posts[source] = [*known, *posts][-400:]
        kept = [*posts, *(edit for edit in edits if edit.id not in left)]
        return Batch(source, kept, gone, now, since, now, accounts=accounts)

    def _names(self) -> tuple[str, ...]:
        return tuple(sorted(self.chance.sample(ENTITIES, self.chance.randrange(1, 4))))

    def _post(self, source: str, since: Micros, now: Micros) -> Post:
        chance = self.chance
        at = chance.randrange(since, now)
        if chance.random() < 0.3:
            at -= round(chance.expovariate(1 / 3000)) * MICROS_PER_SECOND
        author, number = f"did:plc:{source}{chance.randrange(25)}", chance.getrandbits(60)
        return Post(f"at://{author}/{number}", source, author, f"{number:x}", at, "a", now, entities=self._names())


def differs(one: Observed, other: Observed) -> list[str]:
    return [
        name
        for name in Observed.__struct_fields__
        if not np.allclose(getattr(one, name), getattr(other, name), atol=1e-9)
    ]


@pytest.mark.parametrize("seed", range(4))
def test_what_is_kept_in_memory_is_what_a_fresh_reading_finds(database_url: str, seed: int) -> None:
    async def scenario() -> int:
        pool = await open_pool(database_url, size=4, wait_s=10, statement_timeout_s=30, application_name="test")
        store, momentum = PostgresStore(pool), PostgresMomentum(pool)
        recent, writer, looked = RecentCounts(momentum, limit=LIMIT), Writer(seed), 0
        now, lag, last = T0, 0, 0
        # Now and then a long step: hours slide out of what is held minute by minute, and a pause begins anew.
        steps = [7, 20, 45, 60, 61, 200, 900, 1500, 3000, 5 * 3600]
        for _ in range(60):
            now += writer.chance.choice(steps) * MICROS_PER_SECOND
            await store.commit(writer.batch("jetstream", now))
            lag = writer.chance.choice((lag, lag, 0, 90, 4 * 3600, 9 * 3600)) * MICROS_PER_SECOND
            if (then := now - lag) > writer.until.get("sealed", 0):
                await store.commit(writer.batch("sealed", then))
            last = max(last, (now - writer.chance.choice((0, MICROS_PER_MINUTE))) // MICROS_PER_MINUTE)
            found = await recent.read(last, ENTITIES[:2])
            fresh = await momentum.minute_counts(last * MICROS_PER_MINUTE, LIMIT)
            assert {*fresh.entities, *ENTITIES[:2]} == set(found.entities)
            held = [found.entities.index(entity) for entity in fresh.entities]
            authors = await momentum.authors(fresh.entities, last)
            mine: MinuteCounts = recent.of(found, held, authors, fresh.as_of)
            assert differs(mine.observed, fresh.observed) == []
            looked += len(fresh.entities)
        await pool.close()
        return looked

    assert asyncio.run(scenario()) > 50
