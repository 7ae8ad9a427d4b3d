"""Keeping habits: what entities usually do, folded hour by hour from the stored counts.

Nothing here is precious. Habits are stored after every hour, together with the hour they are folded up to; where they
are missing they are made anew from the counts by the minute, as far back as those are kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np

from groundswell.core.habit import Floats, Watched, age, fold_hour, no_habits, taught
from groundswell.core.momentum import GRID
from groundswell.core.priors import Priors, priors_of
from groundswell.ports.momentum import HourCounts, MomentumStore, StoredHabits
from groundswell.services.recent_counts import Recent

MAX_ENTITIES = 50_000
"""Entities that an hour is learnt of: the most mentioned of the seven hours up to its end."""
MAX_REMEMBERED = 100_000
"""Entities whose habits are in memory. Beyond it all are forgotten but those that are asked for: the store has them."""
MAX_HOURS = 14 * 24
"""How far back habits are made anew. What is older is not missed: hours count half after one to four weeks."""


class HabitKeeper:
    """Habits of the entities that are active, in memory; of all others, in the store.

    What it remembers is bounded by `MAX_REMEMBERED`, and by what is asked for at once.
    """

    def __init__(self, store: MomentumStore) -> None:
        self._store = store
        self._places: dict[str, int] = {}
        self._rows = no_habits(1)
        """Row 0 is nobody's: what was never seen."""
        self._hour: int | None = None
        self.watched = Watched.nothing()

    @property
    def hour(self) -> int:
        """Up to which hour of the epoch habits are folded."""
        assert self._hour is not None, "catch_up comes first"
        return self._hour

    async def catch_up(self, hour: int, recent: Recent | None = None) -> None:
        """Learn every full hour before `hour`. Each is stored on its own: what is interrupted goes on where it was.

        `recent`: counts that are at hand; where they end with the hour that is learnt they need not be read.

        Raises:
            StoreUnavailable: the hours learnt until then are kept.
        """
        if self._hour is None:
            await self._remember(hour)
        while self.hour < hour:
            counts = await self._counts(recent)
            habits = await self.of(counts.entities)
            learnt, watched = await asyncio.to_thread(self._learn, counts, habits)
            after = self.hour + 1
            rows = StoredHabits(counts.entities, [after] * len(counts.entities), learnt)
            await self._store.save_habits(rows, after, watched)
            self._places = {}
            self._rows = no_habits(1)
            self._hold(counts.entities, learnt)
            self._hour, self.watched = after, watched

    async def _counts(self, recent: Recent | None) -> HourCounts:
        if recent is None or recent.last + 1 != (self.hour + 1) * 60:
            return await self._store.hour_counts(self.hour, MAX_ENTITIES)
        held = {entity: place for place, entity in enumerate(recent.entities)}
        counts = await self._store.hour_counts(self.hour, MAX_ENTITIES, held.keys())
        places = [(n, held[entity]) for n, entity in enumerate(counts.entities) if entity in held]
        counts.voices[[n for n, _ in places]] = recent.voices[[place for _, place in places]]
        return counts

    def _learn(self, counts: HourCounts, habits: Floats) -> tuple[Floats, Watched]:
        priors = self.priors(counts.entities)
        learnt, watched = fold_hour(
            GRID, habits, self.watched, counts.voices, counts.exposure, hour=self.hour, priors=priors
        )
        return learnt, taught(GRID, learnt, watched, _kinds(counts.entities)) if counts.entities else watched

    def priors(self, entities: Sequence[str]) -> Priors:
        """What is expected of these before they have a history."""
        return priors_of(_kinds(entities), self.watched.kinds)

    async def as_they_are(self, hour: int) -> None:
        """Take the habits that are stored, as far as they go, and learn nothing: for looking back.

        What happened at `hour` or later is in them too, a little: they are what is known of an entity by now.
        """
        stored = await self._store.watched()
        self._hour, self.watched = (hour, Watched.nothing()) if stored is None else stored

    async def of(self, entities: Sequence[str]) -> Floats:
        """The habits of these entities as they are at `hour`: shape (n, WIDTH), zeros for what was never seen."""
        missing = [entity for entity in entities if entity not in self._places]
        if missing:
            stored = await self._store.habits(missing)
            if stored.hours:
                since, priors = np.array(stored.hours, int), self.priors(stored.entities)
                self._hold(stored.entities, age(stored.rows, self.watched, since, self.hour, priors))
            for entity in missing:
                self._places.setdefault(entity, 0)
        places = np.fromiter((self._places[entity] for entity in entities), np.int64, len(entities))
        found = self._rows[places]
        if len(self._places) > MAX_REMEMBERED:
            self._places, self._rows = dict.fromkeys(entities, 0), no_habits(1)
            seen = places > 0
            self._hold([entity for entity, known in zip(entities, seen, strict=True) if known], found[seen])
        return found

    def _hold(self, entities: Sequence[str], rows: Floats) -> None:
        self._places.update(zip(entities, range(len(self._rows), len(self._rows) + len(entities)), strict=True))
        self._rows = np.concatenate([self._rows, rows.astype(np.float32)])

    async def _remember(self, hour: int) -> None:
        stored = await self._store.watched()
        if stored is not None:
            self._hour, self.watched = stored
            # After a long time without a tick, what lies further back is not learnt.
            self._hour = max(self._hour, hour - MAX_HOURS)
            return
        first = await self._store.first_hour()
        self._hour = hour if first is None else min(hour, max(first, hour - MAX_HOURS))


def _kinds(entities: Sequence[str]) -> list[str]:
    return [entity.partition(":")[0] for entity in entities]
