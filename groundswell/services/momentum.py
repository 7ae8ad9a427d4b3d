"""The momentum tick: read the counts, assess them, publish what changed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

import numpy as np

from groundswell.core.entities import entity_kind, entity_name
from groundswell.core.instants import rfc3339
from groundswell.core.momentum import (
    HISTORY_MINUTES,
    SPARKLINE_MINUTES,
    Momentum,
    StageState,
    assess,
    next_stage,
)
from groundswell.core.posts import Micros
from groundswell.errors import StoreUnavailable
from groundswell.metrics import Metrics
from groundswell.ports import AlertDraft, Broadcaster, Clock, Event, MinuteCounts, MomentumRow, MomentumStore

log = logging.getLogger(__name__)

MAX_ACTIVE = 2000
"""Entities looked at in one tick: the most mentioned of the window, and all that are not dormant."""


class MomentumTicker:
    """Assesses the active entities every `interval_s` and publishes the rows that changed.

    What it remembers between ticks is bounded by the entities of the last one.
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
        self._stages: dict[str, StageState] | None = None
        self._published: dict[str, MomentumRow] = {}
        self._as_of: Micros | None = None

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
        counts = await self._store.minute_counts(as_of, HISTORY_MINUTES, MAX_ACTIVE)
        rows, alerts, stages = self._advance(counts, assess(counts.counts, counts.exposure, counts.authors))
        gone = [row.entity for row in rows if row.stage == "dormant" and row.mentions == 0]
        kept = [row for row in rows if row.stage != "dormant" or row.mentions > 0]
        changed = sorted((row for row in kept if self._differs(row)), key=lambda row: (-row.score, row.entity))
        events = await self._store.publish(changed, gone, alerts, live=self._is_live())
        # Only now: a tick that could not be stored is made again, with the stages it started from.
        self._stages = stages
        for entity in gone:
            self._published.pop(entity, None)
        self._published.update((row.entity, row) for row in changed)
        self._as_of = as_of
        await self._broadcaster.publish(events)
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
        self._published = {row.entity: row for row in rows}
        self._stages = {
            row.entity: StageState(row.stage, row.stage_since, row.velocity)  # pyright: ignore[reportArgumentType]
            for row in rows
        }

    def _advance(
        self, counts: MinuteCounts, now: Momentum
    ) -> tuple[list[MomentumRow], list[AlertDraft], dict[str, StageState]]:
        before = self._stages or {}
        stages: dict[str, StageState] = {}
        rows: list[MomentumRow] = []
        alerts: list[AlertDraft] = []
        for i, entity in enumerate(counts.entities):
            old = before.get(entity, StageState("dormant", counts.as_of))
            new = next_stage(
                old,
                score=float(now.score[i]),
                velocity=float(now.velocity[i]),
                acceleration=float(now.acceleration[i]),
                authors=int(counts.authors[i]),
                now=counts.as_of,
            )
            row = momentum_row(i, counts, now, new)
            rows.append(row)
            if new.stage != "dormant":
                stages[entity] = new
            if new.stage not in ("dormant", old.stage):
                alerts.append(_alert(row, old))
        return rows, alerts, stages

    def _differs(self, row: MomentumRow) -> bool:
        old = self._published.get(row.entity)
        return (
            old is None
            or (old.stage, old.mentions, old.authors) != (row.stage, row.mentions, row.authors)
            or abs(old.score - row.score) >= 0.01
            or abs(old.velocity - row.velocity) >= 0.05
        )


def momentum_row(i: int, counts: MinuteCounts, now: Momentum, state: StageState) -> MomentumRow:
    """Row `i` of an assessment, as it is published."""
    entity = counts.entities[i]
    return MomentumRow(
        entity=entity,
        kind=entity_kind(entity),
        name=entity_name(entity),
        as_of=counts.as_of,
        stage=state.stage,
        stage_since=state.since,
        mentions=round(float(now.mentions[i])),
        authors=int(counts.authors[i]),
        velocity=round(float(now.velocity[i]), 3),
        acceleration=round(float(now.acceleration[i]), 4),
        surprise=round(float(now.surprise[i]), 3),
        score=round(float(now.score[i]), 4),
        sparkline=tuple(
            None if np.isnan(rate) else round(float(rate), 2) for rate in now.rates[i, -SPARKLINE_MINUTES:]
        ),
    )


def _alert(row: MomentumRow, old: StageState) -> AlertDraft:
    evidence = {
        "from_stage": old.stage,
        "mentions": row.mentions,
        "authors": row.authors,
        "velocity": row.velocity,
        "acceleration": row.acceleration,
        "surprise": row.surprise,
    }
    return AlertDraft(row.entity, row.kind, row.stage, row.score, row.as_of, evidence)
