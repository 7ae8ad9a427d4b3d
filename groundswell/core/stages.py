"""Where an entity stands: stages with hysteresis and a minimum dwell."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from groundswell.core.detector import MIN_AUTHORS, SURGE
from groundswell.core.news import QUIET_MINUTES, TOLD, TOLD_AGAIN
from groundswell.core.posts import MICROS_PER_MINUTE, MICROS_PER_SECOND, Micros

Stage: TypeAlias = Literal["dormant", "emerging", "rising", "peaking", "fading"]
STAGES: tuple[Stage, ...] = ("dormant", "emerging", "rising", "peaking", "fading")

MIN_DWELL_S = 60
"""A stage lasts at least this long in event time, but for the first rise from dormant."""
HOLDS = 0.4
"""Surprisal below which an emerging entity, or one past its peak, is done: two days in five get there."""
SPENT = 0.2
"""The same for one that fades already."""
CLIMBING = 0.02
"""A climb: velocity grows by this part of itself in a minute."""


class StageState(msgspec.Struct, frozen=True):
    stage: Stage
    since: Micros
    peak: float = 0.0
    """The greatest velocity since the entity left `dormant`."""
    told_at: Micros | None = None
    """When it was worth telling last."""


class Now(msgspec.Struct, frozen=True):
    """What a stage is judged by. `at` is event time."""

    at: Micros
    surprisal: float
    """Tempered by crowd and originality."""
    velocity: float
    acceleration: float
    authors: int


def next_stage(state: StageState, now: Now) -> StageState:
    """Where an entity stands after one more look at it.

    Hysteresis: a stage is entered at a higher surprisal than it is left at, and lasts `MIN_DWELL_S` at least. What was
    told within a day leaves `dormant` again only for something ten times as rare as what is worth telling.
    """
    known = state.told_at is not None and now.at - state.told_at < QUIET_MINUTES * MICROS_PER_MINUTE
    peak = max(state.peak, now.velocity) if state.stage != "dormant" else now.velocity
    target = _target(state.stage, now, peak=peak, news=now.surprisal >= TOLD + TOLD_AGAIN * known)
    dwelt = now.at - state.since >= MIN_DWELL_S * MICROS_PER_SECOND
    if not (dwelt or state.stage == "dormant"):
        target = state.stage
    told_at = now.at if target != "dormant" and now.surprisal >= TOLD else state.told_at if known else None
    if target == state.stage:
        return StageState(state.stage, state.since, peak, told_at)
    return StageState(target, now.at, 0.0 if target == "dormant" else peak, told_at)


def _target(stage: Stage, now: Now, *, peak: float, news: bool) -> Stage:
    crowd = now.authors >= MIN_AUTHORS
    climbing = now.acceleration > CLIMBING * max(now.velocity, 1.0)
    strong = crowd and now.surprisal >= SURGE
    if stage == "dormant":
        found: Stage = "emerging" if crowd and news else "dormant"
    elif stage == "emerging":
        holds = crowd and now.surprisal >= HOLDS
        found = "rising" if strong and now.authors >= 2 * MIN_AUTHORS else "emerging" if holds else "dormant"
    elif stage == "rising":
        spent = now.surprisal < HOLDS or now.velocity < 0.5 * peak
        found = "fading" if spent else "rising" if climbing else "peaking"
    elif strong and climbing and (stage == "peaking" or now.velocity > 0.8 * peak):
        found = "rising"
    elif stage == "peaking":
        found = "fading" if now.surprisal < HOLDS or now.velocity < 0.6 * peak else "peaking"
    else:
        found = "dormant" if now.surprisal < SPENT or not crowd else "fading"
    return found
