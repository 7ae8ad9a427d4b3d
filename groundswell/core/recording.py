"""The detector over a recording: hour by hour, as it would have run, using nothing later than what it judges."""

from __future__ import annotations

from typing import TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from groundswell.core.detector import Look, crowd, look
from groundswell.core.habit import Grid, Watched, fold_hour, no_habits
from groundswell.core.news import Told, tell
from groundswell.core.posts import MICROS_PER_MINUTE
from groundswell.core.surprise import probability

Floats: TypeAlias = npt.NDArray[np.floating]


class Scores(msgspec.Struct, frozen=True):
    """Of n entities in b buckets: shape (n, b)."""

    surprisal: Floats
    """Tempered by the crowd, where authors were given."""
    anomaly: Floats
    """0 to 1. What has been told is no news: 0 until it is ten times as rare, or a day has passed."""


def score_recording(
    grid: Grid, counts: Floats, exposure: Floats, first_minute: int, authors: Floats | None = None
) -> Scores:
    """Score every bucket of a recording.

    Args:
        counts: shape (n, b), mentions by entity and bucket.
        exposure: shape (b,), the observed part of each bucket, 0 to 1.
        first_minute: minutes since the epoch at the start of the first bucket, a multiple of the grid's.
        authors: shape (n, b), distinct authors of each bucket. Where they are given they are what is counted: whoever
            says a thing ten times in a bucket says it once.

    Raises:
        ValueError: a shape that does not fit, or a value that no count can have.
    """
    _check(grid, counts, exposure, first_minute, authors)
    entities, buckets = counts.shape
    lead = first_minute % 60 // grid.minutes
    hours = -(-(lead + buckets) // grid.hour)
    slow = grid.scales[1]

    def padded(values: Floats) -> Floats:
        whole = np.zeros((*values.shape[:-1], slow + hours * grid.hour))
        whole[..., slow + lead : slow + lead + buckets] = values
        return whole

    every, watch = padded(counts if authors is None else np.minimum(authors, counts)), padded(exposure)
    temper = None if authors is None else padded(crowd(authors, counts))
    habits, watched, told = no_habits(entities), Watched.nothing(), Told.nothing(entities)
    surprisals, news = np.zeros((2, entities, hours * grid.hour))
    for n in range(hours):
        span = slice(n * grid.hour, slow + (n + 1) * grid.hour)
        hour = first_minute // 60 + n
        seen = look_at_hour(grid, habits, watched, every[:, span], watch[span], hour=hour).surprisal
        if temper is not None:
            seen = seen * temper[:, span][:, -grid.hour :]
        for bucket in range(grid.hour):
            place = n * grid.hour + bucket
            now = (hour * 60 + (bucket + 1) * grid.minutes) * MICROS_PER_MINUTE
            surprisals[:, place] = seen[:, bucket]
            news[:, place], told = tell(told, seen[:, bucket], now)
        habits, watched = fold_hour(grid, habits, watched, every[:, span], watch[span], hour=hour)
    cut = slice(lead, lead + buckets)
    return Scores(surprisals[:, cut], probability(news[:, cut]))


def look_at_hour(grid: Grid, habits: Floats, watched: Watched, counts: Floats, exposure: Floats, *, hour: int) -> Look:
    """Every bucket of one hour. `counts` and `exposure` end with it and begin six hours before it."""
    first_minute = (hour + 1) * 60 - len(exposure) * grid.minutes
    return look(grid, habits, watched, counts, exposure, first_minute=first_minute, fresh=grid.hour, last=grid.hour)


def _check(grid: Grid, counts: Floats, exposure: Floats, first_minute: int, authors: Floats | None) -> None:
    if (
        counts.ndim != 2
        or exposure.shape != counts.shape[1:]
        or (authors is not None and authors.shape != counts.shape)
    ):
        raise ValueError("counts and authors are (entities, buckets), exposure is (buckets,)")
    if first_minute % grid.minutes:
        raise ValueError(f"the first bucket has to start on a multiple of {grid.minutes} minutes")
    if not (np.isfinite(counts).all() and (counts >= 0).all()):
        raise ValueError("counts have to be finite and not negative")
    if not ((exposure >= 0) & (exposure <= 1)).all():
        raise ValueError("exposure has to be within 0 to 1")
