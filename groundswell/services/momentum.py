"""The momentum tick: read the counts, assess them, publish what changed.

Stages are judged at every whole minute of event time, each from what is known up to there, so an outage and the
catching up after it leave the same stages as an undisturbed run. Between the minutes the numbers go on and the stages
stand.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from groundswell.core.detector import MIN_AUTHORS, Look, originality
from groundswell.core.instants import rfc3339
from groundswell.core.learning import expected_from, settled_before, watched_by_all
from groundswell.core.momentum import WINDOW_MINUTES, Floats, Momentum, assess, glance
from groundswell.core.near_duplicates import repeated_share
from groundswell.core.news import TOLD
from groundswell.core.posts import MICROS_PER_MINUTE, Micros
from groundswell.core.priors import Priors
from groundswell.core.stages import Now, StageState, next_stage
from groundswell.errors import StoreUnavailable
from groundswell.metrics import Metrics
from groundswell.ports.live import Broadcaster
from groundswell.ports.momentum import MinuteCounts, MomentumStore, StageDraft, StageMemory
from groundswell.ports.storing import Event, MomentumRow
from groundswell.ports.time import Clock
from groundswell.services.habits import HabitKeeper
from groundswell.services.momentum_rows import evidence, momentum_row
from groundswell.services.recent_counts import Recent, RecentCounts, likeliest

log = logging.getLogger(__name__)

MAX_ACTIVE = 50_000
"""Entities looked at in one tick: the most mentioned of the window, and all that have momentum."""
MAX_SHOWN = 2_000
"""Entities that are published: all that are not dormant, and of the others those with the highest scores."""
MAX_MINUTES = 60
"""Minutes judged one by one after a pause; a longer one is judged every `COARSE_MINUTES`, of its last part."""
COARSE_MINUTES = 5
MAX_COARSE = 144
MAX_POSTS_COMPARED = 200
"""Posts of a surge that are compared with one another."""


class MomentumTicker:
    """Assesses the active entities every `interval_s` and publishes the rows that changed.

    What it remembers between ticks is bounded by the entities that have momentum, `MAX_SHOWN` and those not dormant.
    """

    def __init__(
        self,
        store: MomentumStore,
        broadcaster: Broadcaster,
        clock: Clock,
        *,
        interval_s: float,
        metrics: Metrics,
        is_live: Callable[[], bool],
    ) -> None:
        self._store = store
        self._broadcaster = broadcaster
        self._clock = clock
        self._interval_s = interval_s
        self._metrics = metrics
        self._waits: str | None = None
        self._is_live = is_live
        self._habits = HabitKeeper(store)
        self._recent = RecentCounts(store, limit=MAX_ACTIVE)
        self._stages: dict[str, StageState] | None = None
        self._originality: dict[str, float] = {}
        """Of what is not dormant, and of what stirs: how much of what is said is no copy."""
        self._published: dict[str, MomentumRow] = {}
        self._as_of: Micros | None = None
        self._judged: Micros | None = None
        self._watched: Micros | None = None
        """Up to where every source had been watched when it looked last."""

    async def run(self, stop: asyncio.Event) -> None:
        """Tick until `stop`. A store that is away is waited for: momentum is derived, so nothing is lost meanwhile."""
        while not stop.is_set():
            started = self._clock.monotonic()
            try:
                await self.tick()
            except StoreUnavailable as error:
                if self._waits is None:
                    log.warning("momentum waits for the database: %s", error)
                self._waits = error.detail
            else:
                self._waits = None
                self._metrics.observe("momentum_seconds", self._clock.monotonic() - started)
            try:
                await asyncio.wait_for(stop.wait(), self._interval_s)
            except TimeoutError:
                continue

    async def tick(self) -> Sequence[Event]:
        """One look at everything active, up to the watermark. Answers the frames that were broadcast."""
        as_of = await self._store.watermark()
        if as_of is None or as_of == self._as_of:
            return []
        if self._stages is None:
            await self._remember()
        events: list[Event] = []
        minute = as_of // MICROS_PER_MINUTE * MICROS_PER_MINUTE
        instants = list(instants_between(self._judged, minute))
        for instant in instants:
            events += await self._look(instant, judge=True, publish=instant == minute)
            self._judged = instant
        if not instants:
            events += await self._look(as_of, judge=False, publish=True)
        self._as_of = as_of
        if self._watched is not None:
            # The next hour is learnt a little at a time, so that no look has to wait for it.
            await self._habits.go_on(settled_before(self._watched))
        return events

    def status(self) -> tuple[str, dict[str, object]]:
        """State and detail for `/v1/status`."""
        detail: dict[str, object] = {
            "why": self._waits,
            "as_of": None if self._as_of is None else rfc3339(self._as_of),
            "entities": len(self._published),
        }
        return "running" if self._waits is None else "waiting", detail

    async def _remember(self) -> None:
        """Take up the stages where the last process left them."""
        rows = await self._store.current()
        self._published = {row.entity: row for row, _ in rows}
        self._originality = {row.entity: float(row.parts.get("originality", 1.0)) for row, _ in rows}  # pyright: ignore[reportArgumentType]
        self._stages = {
            row.entity: StageState(row.stage, row.stage_since, memory.peak, memory.told_at)  # pyright: ignore[reportArgumentType]
            for row, memory in rows
        }
        if rows:
            self._judged = max(row.as_of for row, _ in rows) // MICROS_PER_MINUTE * MICROS_PER_MINUTE

    async def _look(self, as_of: Micros, *, judge: bool, publish: bool) -> Sequence[Event]:
        """Assess what is active at `as_of`; where `judge`, let stages change; where `publish`, show what changed."""
        before = self._stages or {}
        # A whole minute is seen up to its end: the minute that begins there does not count yet.
        recent = await self._recent.read((as_of - 1 if judge else as_of) // MICROS_PER_MINUTE, self._published.keys())
        watched = watched_by_all(recent.stored, as_of)
        await self._habits.catch_up(expected_from(watched))
        habits = await self._habits.of(recent.entities)
        priors = self._habits.priors(recent.entities)
        seen = await asyncio.to_thread(self._glance, recent, habits, priors)
        known = self._published.keys() | before.keys()
        besides = [i for i, entity in enumerate(recent.entities) if entity in known]
        # What could be shown or told is looked at closely. The crowd can only lower a surprisal.
        chosen = likeliest(seen.surprisal[:, 0], besides, MAX_SHOWN)
        authors = await self._store.authors([recent.entities[i] for i in chosen], recent.last)
        counts = self._recent.of(recent, chosen, authors, as_of)
        priors = self._habits.priors(counts.entities)
        now = await asyncio.to_thread(
            assess, counts.observed, habits[chosen], self._habits.watched, self._habits.hour, priors
        )
        stages, changes = await self._advance(counts, now, before) if judge else (before, [])
        rows = [self._row(i, counts, now, stages) for i in _shown(counts, now, stages)]
        gone = sorted(self._published.keys() - {row.entity for row in rows}) if publish else []
        changed = [row for row in rows if self._differs(row)] if publish else self._told(rows, changes)
        changed.sort(key=lambda row: (-row.score, row.entity))
        memories = [_memory(stages.get(row.entity)) for row in changed]
        pairs = list(zip(changed, memories, strict=True))
        events = await self._store.publish(pairs, gone, changes, live=self._is_live())
        # Only now: a look that could not be stored is made again, with the stages it started from.
        self._stages = stages
        for entity in gone:
            self._published.pop(entity, None)
        self._published.update((row.entity, row) for row in changed)
        await self._broadcaster.publish(events)
        self._watched = watched
        return events

    def _glance(self, recent: Recent, habits: Floats, priors: Priors) -> Look:
        return glance(
            recent.voices,
            recent.exposure,
            habits,
            self._habits.watched,
            hour=self._habits.hour,
            end_minute=recent.last + 1,
            priors=priors,
        )

    async def _advance(
        self, counts: MinuteCounts, now: Momentum, before: dict[str, StageState]
    ) -> tuple[dict[str, StageState], list[StageDraft]]:
        """The stages after this minute, and what changed. Only what has a stage, or may get one, is looked at."""
        authors = counts.observed.authors
        stirring = (now.surprisal >= TOLD) & (authors >= MIN_AUTHORS)
        positions = {entity: i for i, entity in enumerate(counts.entities)}
        stir = [counts.entities[int(i)] for i in np.flatnonzero(stirring)]
        asked = {*stir, *(before.keys() & positions.keys())}
        await self._compare(stir, counts.as_of)
        stages: dict[str, StageState] = {}
        changes: list[StageDraft] = []
        for entity in sorted(asked):
            i = positions[entity]
            old = before.get(entity, StageState("dormant", counts.as_of))
            own = self._originality.get(entity, 1.0)
            new = next_stage(
                old,
                Now(
                    at=counts.as_of,
                    surprisal=float(now.surprisal[i]) * own,
                    velocity=float(now.velocity[i]),
                    acceleration=float(now.acceleration[i]),
                    authors=int(authors[i]),
                ),
            )
            if new.stage != "dormant" or new.told_at is not None:
                stages[entity] = new
            if new.stage != old.stage:
                row = self._row(i, counts, now, {entity: new})
                numbers = evidence(row)
                changes.append(StageDraft(entity, row.kind, row.as_of, old.stage, new.stage, row.score, numbers))
        # What stirs and is held down for its copies is shown so, too.
        kept = stages.keys() | set(stir)
        self._originality = {entity: own for entity, own in self._originality.items() if entity in kept}
        return stages, changes

    async def _compare(self, entities: Sequence[str], as_of: Micros) -> None:
        """Find out how much of what is said about these is no copy."""
        if not entities:
            return
        since = as_of - WINDOW_MINUTES * MICROS_PER_MINUTE
        prints = await self._store.prints(entities, since, as_of, MAX_POSTS_COMPARED)
        copies = await asyncio.to_thread(
            lambda: np.array([repeated_share(prints.get(entity, ())) for entity in entities])
        )
        # As it is published and taken up again after a restart.
        self._originality.update(zip(entities, np.round(originality(copies), 3).tolist(), strict=True))

    def _row(self, i: int, counts: MinuteCounts, now: Momentum, stages: dict[str, StageState]) -> MomentumRow:
        entity = counts.entities[i]
        state = stages.get(entity, StageState("dormant", counts.as_of))
        return momentum_row(i, counts, now, state, original=self._originality.get(entity, 1.0))

    def _told(self, rows: Sequence[MomentumRow], changes: Sequence[StageDraft]) -> list[MomentumRow]:
        changed = {change.entity for change in changes}
        return [row for row in rows if row.entity in changed]

    def _differs(self, row: MomentumRow) -> bool:
        old = self._published.get(row.entity)
        return (
            old is None
            or (old.stage, old.mentions, old.authors) != (row.stage, row.mentions, row.authors)
            or abs(old.score - row.score) >= 0.01
            or abs(old.velocity - row.velocity) >= 0.05
        )


def instants_between(judged: Micros | None, minute: Micros) -> Iterator[Micros]:
    """The whole minutes to judge after `judged`, up to `minute`: all of the last hour, fewer of a longer pause."""
    if judged is None:
        yield minute
        return
    gap = (minute - judged) // MICROS_PER_MINUTE
    step = 1 if gap <= MAX_MINUTES else COARSE_MINUTES
    count = min(gap // step, MAX_MINUTES if step == 1 else MAX_COARSE)
    for n in range(count - 1, -1, -1):
        yield minute - n * step * MICROS_PER_MINUTE


def _shown(counts: MinuteCounts, now: Momentum, stages: dict[str, StageState]) -> list[int]:
    """Positions of what is published: what has a stage, and of the rest what scores highest and was just mentioned."""
    order = np.lexsort((-now.mentions, -now.score))
    active: list[int] = [int(i) for i in order[:MAX_SHOWN] if now.mentions[i] > 0]
    staged = [i for i, entity in enumerate(counts.entities) if entity in stages and stages[entity].stage != "dormant"]
    return sorted({*active, *staged})


def _memory(state: StageState | None) -> StageMemory:
    return StageMemory(0.0, None) if state is None else StageMemory(state.peak, state.told_at)
