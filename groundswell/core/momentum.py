"""What is gathering speed: pure functions of mention counts and coverage.

An entity's recent minutes are held against its own earlier ones. Those give the mean of a negative binomial for
the recent count; how far the count lies from it, in standard deviations, is its *surprise* (the signed deviance
residual: McCullagh & Nelder, Generalized Linear Models, 2nd ed., section 2.4, with the negative binomial's
deviance). Every rate divides by the time that was really observed, so an outage is neither a dip nor a spike.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from groundswell.core.posts import MICROS_PER_SECOND, Micros

Floats: TypeAlias = npt.NDArray[np.float64]
Stage: TypeAlias = Literal["dormant", "emerging", "rising", "peaking", "fading"]
STAGES: tuple[Stage, ...] = ("dormant", "emerging", "rising", "peaking", "fading")

HISTORY_MINUTES = 120
"""How far back an entity's own history is read."""
RECENT_MINUTES = 5
"""What is held against that history."""
WINDOW_MINUTES = 15
"""The window of the published `mentions` and `authors`."""
SPARKLINE_MINUTES = 30

MIN_EXPOSURE = 0.05
"""A minute observed for less than three seconds says nothing about a rate."""
PRIOR_MENTIONS = 0.1
PRIOR_MINUTES = 2.0
"""The rate expected of an entity never seen before: one mention in twenty minutes, worth two minutes of history."""
ENOUGH_HISTORY_MINUTES = 15.0
"""With less history than this, little can be called surprising: what was not watched may have been there before."""
PRIOR_SIZE = 0.5
EFFECTIVE_MINUTES = 30.0
"""The negative binomial's size: the mentions of half an hour of history, and half a mention where there is none.
A longer history does not make it narrower: rates drift, and mentions clump more than Poisson allows."""

MIN_AUTHORS = 3
"""Below this many distinct authors nothing is more than dormant: one account shouting is not a groundswell."""
MIN_DWELL_S = 60
"""A stage lasts at least this long in event time, but for the first rise from dormant."""


class Momentum(msgspec.Struct, frozen=True):
    """Columns over the same n entities; see `assess`."""

    mentions: Floats
    velocity: Floats
    acceleration: Floats
    surprise: Floats
    score: Floats
    rates: Floats
    """Shape (n, minutes): mentions a minute, NaN where nothing was observed."""


def assess(counts: Floats, exposure: Floats, authors: Floats) -> Momentum:
    """Momentum of n entities at the end of the last minute given.

    Args:
        counts: shape (n, minutes), mentions in each minute, oldest first.
        exposure: shape (minutes,), the observed part of each minute, 0 to 1. The last minute is usually partial.
        authors: shape (n,), distinct authors within the last `WINDOW_MINUTES`.
    """
    observed = np.where(exposure >= MIN_EXPOSURE, exposure, 0.0)
    seen = counts * (observed > 0)
    recent, before, history = _windows(observed)

    recent_count, recent_time = seen[:, recent].sum(1), observed[recent].sum()
    before_count, before_time = seen[:, before].sum(1), observed[before].sum()
    velocity = recent_count / max(recent_time, MIN_EXPOSURE)
    earlier = before_count / max(before_time, MIN_EXPOSURE)
    acceleration = (velocity - earlier) / RECENT_MINUTES if recent_time and before_time else np.zeros(len(counts))

    surprise = _surprise(recent_count, recent_time, seen[:, history].sum(1), observed[history].sum())
    mentions = seen[:, -WINDOW_MINUTES:].sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        rates = np.where(observed > 0, counts / observed, np.nan)
    return Momentum(
        mentions=mentions,
        velocity=velocity,
        acceleration=acceleration,
        surprise=surprise,
        score=_score(surprise, authors, mentions),
        rates=rates,
    )


def _windows(observed: Floats) -> tuple[slice, slice, slice]:
    """The last five observed minutes' worth of columns, the five before them, and all that is older than the first."""
    recent = _reach_back(observed, len(observed))
    before = _reach_back(observed, recent.start)
    return recent, before, slice(0, recent.start)


def _reach_back(observed: Floats, end: int) -> slice:
    """Columns up to `end` that hold `RECENT_MINUTES` of observation, reaching over gaps of at most as long again."""
    start, total = end, 0.0
    while start > 0 and end - start < 2 * RECENT_MINUTES and total < RECENT_MINUTES - 0.5:
        start -= 1
        total += float(observed[start])
    return slice(start, end)


def _surprise(count: Floats, time: float, past_count: Floats, past_time: float) -> Floats:
    """Signed deviance residual of `count` mentions in `time` minutes, given `past_count` in `past_time`.

    The count is taken as negative binomial, with its mean from the whole history and its size from a part of it.
    """
    if time <= 0:
        return np.zeros(len(count))
    mean = (PRIOR_MENTIONS + past_count) * time / (PRIOR_MINUTES + past_time)
    size = PRIOR_SIZE + past_count * min(1.0, EFFECTIVE_MINUTES / max(past_time, 1.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        own = np.where(count > 0, count * np.log(count / mean), 0.0)
    deviance = 2 * (own - (count + size) * np.log((count + size) / (mean + size)))
    confidence = min(1.0, past_time / ENOUGH_HISTORY_MINUTES)
    return confidence * np.sign(count - mean) * np.sqrt(np.maximum(deviance, 0.0))


def _score(surprise: Floats, authors: Floats, mentions: Floats) -> Floats:
    """0 to 1: how far the surprise lies above chance, tempered by how many people carry it."""
    strength = 1 - np.exp(-np.maximum(surprise - 1.0, 0.0) / 2.0)
    diversity = np.clip(authors / np.maximum(mentions * 0.4, MIN_AUTHORS), 0.0, 1.0)
    return strength * diversity


class StageState(msgspec.Struct, frozen=True):
    stage: Stage
    since: Micros
    peak: float = 0.0
    """The greatest velocity since the entity left `dormant`."""


def next_stage(
    state: StageState,
    *,
    score: float,
    velocity: float,
    acceleration: float,
    authors: int,
    now: Micros,
) -> StageState:
    """Where an entity stands after one more look at it. `now` is event time.

    Hysteresis: a stage is entered at a higher score than it is left at, and lasts `MIN_DWELL_S` at least.
    """
    peak = max(state.peak, velocity) if state.stage != "dormant" else velocity
    target = _target(state.stage, score=score, velocity=velocity, acceleration=acceleration, authors=authors, peak=peak)
    dwelt = now - state.since >= MIN_DWELL_S * MICROS_PER_SECOND
    if target != state.stage and (dwelt or state.stage == "dormant"):
        return StageState(target, now, 0.0 if target == "dormant" else peak)
    return StageState(state.stage, state.since, peak)


def _target(stage: Stage, *, score: float, velocity: float, acceleration: float, authors: int, peak: float) -> Stage:
    crowd = authors >= MIN_AUTHORS
    climbing = acceleration > 0.02 * max(velocity, 1.0)
    strong = crowd and score >= 0.75
    if stage == "dormant":
        found: Stage = "emerging" if crowd and score >= 0.5 else "dormant"
    elif stage == "emerging":
        holds = crowd and score >= 0.3
        found = "rising" if strong and authors >= 2 * MIN_AUTHORS else "emerging" if holds else "dormant"
    elif stage == "rising":
        spent = score < 0.3 or velocity < 0.5 * peak
        found = "fading" if spent else "rising" if climbing else "peaking"
    elif strong and climbing and (stage == "peaking" or velocity > 0.8 * peak):
        found = "rising"
    elif stage == "peaking":
        found = "fading" if score < 0.5 or velocity < 0.6 * peak else "peaking"
    else:
        found = "dormant" if score < 0.15 or not crowd else "fading"
    return found
