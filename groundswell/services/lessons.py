"""Learning one hour, in steps that are short enough to be taken between looks.

Every step reads the hour as it stood when it was settled (`core.learning`), so the outcome is the same however far
apart the steps are, and a lesson that is broken off can be begun anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np

from groundswell.core.habit import Floats, Watched, age, fold_hour, no_habits, taught
from groundswell.core.momentum import GRID
from groundswell.core.priors import priors_of
from groundswell.ports.momentum import HourCounts, MomentumStore, StoredHabits

MAX_ENTITIES = 50_000
"""Entities that an hour is learnt of: those that were most spoken of within it, then those that were until lately."""
MAX_SPOKEN = 200_000
"""Names of one hour that are compared with one another; those that come up first after that many are left out."""
HEARD_AT_ONCE = 2
"""Minutes whose names are read in a step."""
LEARNT_AT_ONCE = 500
"""Entities that are learnt in a step: their counts lie scattered over all that was counted in seven hours."""


class Lesson:
    """What the hour `hour` of the epoch makes of habits that are folded up to it.

    Learnt are the entities that were spoken of within the hour, and those that the hour before was learnt of as long as
    they were spoken of in the six hours before: silence is learnt too, until the slow window holds nothing else.
    """

    def __init__(self, store: MomentumStore, hour: int, watched: Watched) -> None:
        self._store = store
        self._hour = hour
        self._before = watched
        self._heard = 0
        self._spoken: dict[str, int] = {}
        self._chosen: Sequence[str] | None = None
        self._asked = 0
        self._rows: list[Floats] = []
        self.entities: list[str] = []
        """Whom it was learnt of."""
        self.watched: Watched | None = None
        """What habits are divided by after the hour. None: there are steps left."""

    @property
    def rows(self) -> Floats:
        """Shape (n, WIDTH): the habits of `entities` after the hour."""
        return np.concatenate([no_habits(0), *self._rows])

    async def step(self) -> None:
        """Do a little of what is left to do.

        Raises:
            StoreUnavailable: the step is to be taken again.
        """
        if self._heard < 60:
            await self._hear()
        elif self._chosen is None:
            self._chosen = await self._choose()
        elif self._asked < len(self._chosen):
            await self._learn(self._chosen[self._asked : self._asked + LEARNT_AT_ONCE])
        elif self.watched is None:
            await self._finish()

    async def _hear(self) -> None:
        first = self._hour * 60 + self._heard
        names, voices = await self._store.spoken(self._hour, first, first + HEARD_AT_ONCE - 1, MAX_SPOKEN)
        for name, n in zip(names, voices, strict=True):
            if name in self._spoken or len(self._spoken) < MAX_SPOKEN:
                self._spoken[name] = self._spoken.get(name, 0) + n
        self._heard += HEARD_AT_ONCE

    async def _choose(self) -> Sequence[str]:
        lately = await self._store.learnt_up_to(self._hour)
        spoken = sorted(self._spoken, key=lambda name: (-self._spoken[name], name))
        ranked = [*spoken, *sorted(set(lately) - self._spoken.keys())]
        self._spoken = {}
        return sorted(ranked[:MAX_ENTITIES])

    async def _learn(self, some: Sequence[str]) -> None:
        counts = await self._store.hour_counts(self._hour, some)
        stored = await self._store.habits(counts.entities)
        self._rows.append(await asyncio.to_thread(self._fold, counts, stored))
        self.entities += counts.entities
        self._asked += len(some)

    def _fold(self, counts: HourCounts, stored: StoredHabits) -> Floats:
        places = {entity: place for place, entity in enumerate(counts.entities)}
        at = [places[entity] for entity in stored.entities]
        since = np.array(stored.hours, int)
        habits, known = no_habits(len(places)), priors_of(kinds_of(stored.entities), self._before.kinds)
        if at:
            habits[at] = age(stored.rows, self._before, since, self._hour, known)
        priors = priors_of(kinds_of(counts.entities), self._before.kinds)
        learnt, _ = fold_hour(
            GRID, habits, self._before, counts.voices, counts.exposure, hour=self._hour, priors=priors
        )
        # What was stored by a process that was stopped before it had stored all of this hour is not learnt twice.
        done = since > self._hour
        learnt[np.array(at, int)[done]] = stored.rows[done]
        return learnt

    async def _finish(self) -> None:
        nobody = await self._store.hour_counts(self._hour, [])
        self.watched = await asyncio.to_thread(self._conclude, nobody)

    def _conclude(self, nobody: HourCounts) -> Watched:
        _, watched = fold_hour(
            GRID, no_habits(0), self._before, nobody.voices, nobody.exposure, hour=self._hour,
            priors=priors_of([], self._before.kinds),
        )  # fmt: skip
        return taught(GRID, self.rows, watched, kinds_of(self.entities)) if self.entities else watched


def kinds_of(entities: Sequence[str]) -> list[str]:
    return [entity.partition(":")[0] for entity in entities]
