"""Keeping habits: what entities usually do, folded hour by hour from the stored counts.

Nothing here is precious. Habits are stored after every hour, together with the hour they are folded up to; where they
are missing they are made anew from the counts by the minute, as far back as those are kept.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from groundswell.core.habit import Floats, Watched, age, no_habits
from groundswell.core.priors import Priors, priors_of
from groundswell.ports.momentum import MomentumStore, StoredHabits
from groundswell.services.lessons import Lesson, kinds_of

MAX_REMEMBERED = 100_000
"""Entities whose habits are in memory. Beyond it all are forgotten but those that are asked for: the store has them."""
MAX_HOURS = 14 * 24
"""How far back habits are made anew. What is older is not missed: hours count half after one to four weeks."""
SAVED_AT_ONCE = 2_500


class HabitKeeper:
    """Habits of the entities that are active, in memory; of all others, in the store.

    What it remembers is bounded by `MAX_REMEMBERED`, and by what is asked for at once.

    An hour is learnt in steps, from when it is settled until it is needed (`core.learning`), and held in memory. Only
    once it is needed is it stored, in steps again: whoever starts in between learns what is not stored again, and comes
    to the same.
    """

    def __init__(self, store: MomentumStore) -> None:
        self._store = store
        self._places: dict[str, int] = {}
        self._rows = no_habits(1)
        """Row 0 is nobody's: what was never seen."""
        self._hour: int | None = None
        self._lesson: Lesson | None = None
        self._unsaved: list[str] | None = None
        """Entities whose habits are not stored as they are now. None: all is stored, and up to which hour."""
        self.watched = Watched.nothing()

    @property
    def hour(self) -> int:
        """Up to which hour of the epoch habits are folded."""
        assert self._hour is not None, "catch_up comes first"
        return self._hour

    async def catch_up(self, hour: int) -> None:
        """Have learnt every full hour before `hour`: at once, what was not learnt in steps before.

        Raises:
            StoreUnavailable: what was learnt until then is kept.
        """
        if self._hour is None:
            await self._remember(hour)
        while self.hour < hour:
            await self._save_all()
            lesson = self._lesson = self._lesson or Lesson(self._store, self.hour, self.watched)
            while lesson.watched is None:
                await lesson.step()
            self._lesson = None
            self._places, self._rows = {}, no_habits(1)
            self._hold(lesson.entities, lesson.rows)
            self._hour, self.watched, self._unsaved = self.hour + 1, lesson.watched, lesson.entities

    async def go_on(self, settled: int) -> None:
        """Take one step of what can be done ahead: store what was learnt, or learn what is `settled`, before that hour.

        Raises:
            StoreUnavailable: the step is taken again the next time.
        """
        if self._unsaved is not None:
            await self._save()
        elif self.hour < settled:
            self._lesson = self._lesson or Lesson(self._store, self.hour, self.watched)
            await self._lesson.step()

    async def _save_all(self) -> None:
        while self._unsaved is not None:
            await self._save()

    async def _save(self) -> None:
        assert self._unsaved is not None
        some, rest = self._unsaved[:SAVED_AT_ONCE], self._unsaved[SAVED_AT_ONCE:]
        rows = self._rows[[self._places[entity] for entity in some]]
        await self._store.save_habits(StoredHabits(some, [self.hour] * len(some), rows))
        self._unsaved = rest
        if not rest:
            await self._store.save_watched(self.hour, self.watched)
            self._unsaved = None

    def priors(self, entities: Sequence[str]) -> Priors:
        """What is expected of these before they have a history."""
        return priors_of(kinds_of(entities), self.watched.kinds)

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
            await self._save_all()
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
        self._hour = hour if first is None else max(first, hour - MAX_HOURS)
