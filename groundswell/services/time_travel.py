"""What was moving then: momentum at an instant of the past, made anew from the counts as they are known today.

What came late counts in the minute that it belongs to, and what was deleted since does not count, so the answer is what
an undisturbed platform would have seen, not what this one happened to say.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence

import msgspec

from groundswell.core.instants import rfc3339
from groundswell.core.momentum import HISTORY_MINUTES, assess
from groundswell.core.posts import MICROS_PER_MINUTE, Micros
from groundswell.core.series import RESOLUTIONS_S
from groundswell.core.stages import StageState
from groundswell.errors import InvalidRequest
from groundswell.ports.momentum import MomentumStore
from groundswell.ports.reading import ReadStore
from groundswell.ports.storing import MomentumRow
from groundswell.ports.time import Clock
from groundswell.services.habits import HabitKeeper
from groundswell.services.momentum import MAX_ACTIVE
from groundswell.services.momentum_rows import momentum_row

REMEMBERED_INSTANTS = 16
REMEMBERED_S = 10.0


class TimeTravel:
    """Momentum of the past. One instant is computed at a time, and the last few are remembered for a moment."""

    def __init__(self, store: MomentumStore, reads: ReadStore, clock: Clock) -> None:
        self._store = store
        self._reads = reads
        self._clock = clock
        self._lock = asyncio.Lock()
        self._remembered: OrderedDict[Micros, tuple[float, Sequence[MomentumRow]]] = OrderedDict()

    async def moving(self, as_of: Micros) -> Sequence[MomentumRow]:
        """Every entity that was active at `as_of`, to the minute; highest score first, names break ties.

        Raises:
            InvalidRequest: `as_of` lies in the future, or too far back for counts by the minute.
            StoreUnavailable: Postgres cannot be reached.
        """
        instant = as_of // MICROS_PER_MINUTE * MICROS_PER_MINUTE
        await self._check(as_of, instant)
        async with self._lock:
            found = self._remembered.get(instant)
            if found is not None and self._clock.monotonic() - found[0] < REMEMBERED_S:
                return found[1]
            rows = await self._look(instant)
            self._remembered[instant] = (self._clock.monotonic(), rows)
            self._remembered.move_to_end(instant)
            if len(self._remembered) > REMEMBERED_INSTANTS:
                self._remembered.popitem(last=False)
            return rows

    async def _look(self, instant: Micros) -> Sequence[MomentumRow]:
        # The last minute that counts is the one that ended at the instant.
        counts = await self._store.minute_counts(instant - 1, MAX_ACTIVE)
        counts = msgspec.structs.replace(counts, as_of=instant)
        habits = HabitKeeper(self._store)
        await habits.as_they_are(counts.observed.end_minute // 60)
        rows_of = await habits.of(counts.entities)
        priors = habits.priors(counts.entities)
        now = await asyncio.to_thread(assess, counts.observed, rows_of, habits.watched, habits.hour, priors)
        stages = await self._reads.stages_then(counts.entities, instant)

        def build() -> Sequence[MomentumRow]:
            rows = [
                momentum_row(i, counts, now, StageState(*stages.get(entity, ("dormant", instant))))  # pyright: ignore[reportArgumentType]
                for i, entity in enumerate(counts.entities)
            ]
            moving = [row for row in rows if row.stage != "dormant" or row.mentions > 0]
            return sorted(moving, key=lambda row: (-row.score, row.entity))

        return await asyncio.to_thread(build)  # a thousand of them take 60 ms

    async def _check(self, as_of: Micros, instant: Micros) -> None:
        now = await self._reads.now()
        if as_of > now:
            raise InvalidRequest(f"as_of lies in the future: it is {rfc3339(now)} now.", field="as_of")
        history = HISTORY_MINUTES * MICROS_PER_MINUTE
        horizon = (await self._reads.horizons()).get(RESOLUTIONS_S[0])
        earliest = history if horizon is None else horizon + history
        if instant < earliest:
            raise InvalidRequest(
                "Momentum is made from counts by the minute, and those are not kept that long: "
                f"the earliest as_of is {rfc3339(earliest)}. Histories in longer buckets reach further back.",
                field="as_of",
            )
