"""What is gathering speed: the numbers that are published of an entity, from counts, coverage and habit.

How surprising the counts are is `detector`'s matter, and what an entity usually does `habit`'s. Here they meet how fast
things go. Every rate divides by the time that was really observed, so an outage is neither a dip nor a spike. How a
rate changes is a Theil-Sen slope, the median of the slopes between all pairs of points (Sen, Estimates of the
regression coefficient based on Kendall's tau, JASA 63, 1968): one odd minute does not turn it.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from groundswell.core.detector import MIN_EXPOSURE, Look, crowd, look
from groundswell.core.habit import Grid, Watched
from groundswell.core.priors import GENERAL, Priors
from groundswell.core.surprise import probability

Floats: TypeAlias = npt.NDArray[np.floating]

GRID: Final = Grid(5)
RECENT_MINUTES = 5
"""What velocity is measured over."""
WINDOW_MINUTES = 15
"""The window of the published `mentions` and `authors`."""
SPARKLINE_MINUTES = 30
BUCKETS = 84
"""Seven hours of five minutes: the slow window, and what the habits may not hold yet."""
HISTORY_MINUTES = BUCKETS * 5
DAY_HOURS = 24

SLOPE_WINDOWS: Final = {"5m": (5, 1), "15m": (5, 3), "1h": (6, 10), "6h": (6, 60)}
"""Points, and minutes to a point. The slope over a day, `24h`, has the hours of the clock for points."""
LEAST_POINTS = 3


class Observed(msgspec.Struct, frozen=True):
    """What was seen of n entities up to the end of the minute before `end_minute`, which may be partial.

    With several sources, each one's counts are divided by its own coverage before they are summed, and multiplied by
    the exposure given here.
    """

    end_minute: int
    """Minutes since the epoch."""
    counts: Floats
    """Shape (n, SPARKLINE_MINUTES): mentions in each minute, oldest first."""
    exposure: Floats
    """Shape (SPARKLINE_MINUTES,): the observed part of each minute, 0 to 1."""
    mentions: Floats
    """Shape (n, BUCKETS): mentions in buckets of five minutes, of which the last ends with the last minute."""
    voices: Floats
    """Shape (n, BUCKETS): the same, but each author at most once a minute."""
    bucket_exposure: Floats
    """Shape (BUCKETS,)."""
    hours: Floats
    """Shape (n, DAY_HOURS): mentions in hours of the clock, of which the last is the one the last minute is in."""
    hour_exposure: Floats
    """Shape (DAY_HOURS,)."""
    authors: Floats
    """Shape (n,): distinct authors in the last `WINDOW_MINUTES`."""


class Momentum(msgspec.Struct, frozen=True):
    """Columns over the same n entities; see `assess`."""

    mentions: Floats
    velocity: Floats
    acceleration: Floats
    surprise: Floats
    """Standard deviations above what is usual, of the last five minutes."""
    surprisal: Floats
    """Of fast and slow merged, tempered by the crowd."""
    score: Floats
    crowd: Floats
    rates: Floats
    """Shape (n, SPARKLINE_MINUTES): mentions a minute, NaN where nothing was observed."""
    seen: Look
    """Shape (n, 1) throughout."""
    slopes: dict[str, tuple[Floats, Floats]]
    """By window: mentions a minute, and their change in mentions a minute, a minute. NaN: too little was seen."""


def assess(observed: Observed, habits: Floats, watched: Watched, hour: int, priors: Priors = GENERAL) -> Momentum:
    """Momentum of n entities at the end of what was observed.

    Args:
        habits: shape (n, WIDTH), folded up to `hour` (hours since the epoch).
        watched: what they are divided by.
        priors: what is expected of each before it has a history.
    """
    voices, watch, end = observed.voices, observed.bucket_exposure, observed.end_minute
    seen = glance(voices, watch, habits, watched, hour=hour, end_minute=end, priors=priors)
    exposure = np.where(observed.exposure >= MIN_EXPOSURE, observed.exposure, 0.0)
    counts = observed.counts * (exposure > 0)
    recent = reach_back(exposure, len(exposure))
    mentions = counts[:, -WINDOW_MINUTES:].sum(1)
    people = crowd(observed.authors, mentions)
    surprisal = seen.surprisal[:, 0] * people
    with np.errstate(invalid="ignore", divide="ignore"):
        rates = np.where(exposure > 0, counts / exposure, np.nan)
    slopes = _slopes(counts, exposure, observed)
    return Momentum(
        mentions=mentions,
        velocity=counts[:, recent].sum(1) / max(float(exposure[recent].sum()), MIN_EXPOSURE),
        acceleration=np.nan_to_num(slopes["15m"][1]),
        surprise=seen.fast[:, 0],
        surprisal=surprisal,
        score=probability(surprisal),
        crowd=people,
        rates=rates,
        seen=seen,
        slopes=slopes,
    )


def glance(
    voices: Floats,
    exposure: Floats,
    habits: Floats,
    watched: Watched,
    *,
    hour: int,
    end_minute: int,
    priors: Priors = GENERAL,
) -> Look:
    """How surprising entities are, from the voices alone, shape (n, BUCKETS): before the crowd tempers it."""
    fresh = int(np.clip((end_minute - hour * 60) // GRID.minutes, 0, BUCKETS)) if watched.row[0] > 0 else BUCKETS
    first_minute = end_minute - BUCKETS * GRID.minutes
    return look(GRID, habits, watched, voices, exposure, first_minute=first_minute, fresh=fresh, priors=priors)


def reach_back(exposure: Floats, end: int) -> slice:
    """Minutes up to `end` that hold `RECENT_MINUTES` of observation, reaching over gaps of at most as long again."""
    start, total = end, 0.0
    while start > 0 and end - start < 2 * RECENT_MINUTES and total < RECENT_MINUTES - 0.5:
        start -= 1
        total += float(exposure[start])
    return slice(start, end)


def _slopes(counts: Floats, exposure: Floats, observed: Observed) -> dict[str, tuple[Floats, Floats]]:
    found: dict[str, tuple[Floats, Floats]] = {}
    for name, (points, minutes) in SLOPE_WINDOWS.items():
        if points * minutes <= counts.shape[1]:
            values, seen, each = counts, exposure, 1
        else:
            values, seen, each = observed.mentions, observed.bucket_exposure, GRID.minutes
        width = minutes // each
        last = values[:, -points * width :].reshape(len(values), points, width).sum(2)
        time = seen[-points * width :].reshape(points, width).sum(1) * each
        found[name] = _slope(last, time, minutes)
    found["24h"] = _slope(observed.hours, observed.hour_exposure * 60, 60)
    return found


def _slope(mentions: Floats, time: Floats, minutes: int) -> tuple[Floats, Floats]:
    """Velocity and its slope, from mentions in points of so many minutes, and the watched time of each in minutes."""
    known = time >= MIN_EXPOSURE * minutes
    if not known.any():
        nothing = np.full(len(mentions), np.nan)
        return nothing, nothing
    velocity = mentions[:, known].sum(1) / float(time[known].sum())
    return velocity, theil_sen(np.flatnonzero(known) * float(minutes), mentions[:, known] / time[known])


def theil_sen(at: Floats, values: Floats) -> Floats:
    """The median slope between all pairs of points: shape (n,) from times (k,) and values (n, k).

    NaN where there are fewer than `LEAST_POINTS` points.
    """
    if len(at) < LEAST_POINTS:
        return np.full(len(values), np.nan)
    one, other = np.triu_indices(len(at), 1)
    pairs = np.sort((values[:, other] - values[:, one]) / (at[other] - at[one]), axis=1)
    middle = pairs.shape[1] // 2
    return pairs[:, middle] if pairs.shape[1] % 2 else (pairs[:, middle - 1] + pairs[:, middle]) / 2
