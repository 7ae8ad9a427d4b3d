"""Looking at counts: how surprising the latest buckets are, given what the entities usually do.

The same function serves the tick, which looks at the last bucket of many entities, and a recording, which looks at
every bucket of an hour at once. It uses nothing later than the bucket it judges.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from groundswell.core.habit import (
    Grid,
    Watched,
    confidence,
    deviations,
    outlook,
    peak_distribution,
    windows,
)
from groundswell.core.priors import GENERAL, Priors
from groundswell.core.surprise import merged, surprisal

Floats: TypeAlias = npt.NDArray[np.floating]

MIN_EXPOSURE = 0.05
"""A bucket of which less than a twentieth was watched says nothing about a rate."""
SURGE = 1.3
"""Surprisal of a surge proper: by the merged chances one ordinary day in twenty, by count far fewer."""
MENTIONS_AN_AUTHOR = 2.5
"""More than this many mentions an author are one person insisting."""
MIN_AUTHORS = 3
"""A crowd begins here: fewer temper the score in proportion."""
PLAIN_ORIGINALITY = 0.4
"""Up to six copies in ten posts are the way of a crowd that passes something on."""


class Look(msgspec.Struct, frozen=True):
    """How surprising n entities are at the end of each of the last m buckets: shape (n, m) throughout."""

    fast: Floats
    """Standard deviations above what is usual, in one bucket."""
    slow: Floats
    """The same in six hours."""
    fast_surprisal: Floats
    slow_surprisal: Floats
    surprisal: Floats
    """Both merged: minus the decimal logarithm of the chance that an ordinary day gets here."""
    expected: Floats
    """Mentions expected in the last bucket."""
    expected_slow: Floats


def look(
    grid: Grid,
    habits: Floats,
    watched: Watched,
    counts: Floats,
    exposure: Floats,
    *,
    first_minute: int,
    fresh: int,
    last: int = 1,
    priors: Priors = GENERAL,
) -> Look:
    """Judge the last buckets of n entities.

    Args:
        habits: shape (n, WIDTH), as `habit.fold_hour` leaves them.
        counts: shape (n, b), mentions in each bucket, oldest first; b spans six hours before the first one judged.
        exposure: shape (b,), the observed part of each bucket, 0 to 1. The last one is usually partial.
        first_minute: minutes since the epoch at the start of the first bucket.
        fresh: how many of the last buckets the habits do not hold yet.
        last: how many of the last buckets to judge.
        priors: what is expected of each before it has a history.
    """
    observed = np.where(exposure >= MIN_EXPOSURE, exposure, 0.0)
    seen = counts * (observed > 0)
    expected = outlook(grid, habits, watched, seen, observed, first_minute=first_minute, fresh=fresh, priors=priors)
    fast, slow = deviations(grid, seen, expected, last)
    location, scale = peak_distribution(expected)
    fast_surprisal = surprisal(fast, location[:, :1], scale[:, :1])
    slow_surprisal = surprisal(slow, location[:, 1:], scale[:, 1:])
    usual, usual_slow = windows(grid, expected.mean, last)
    return Look(
        fast=fast,
        slow=slow,
        fast_surprisal=fast_surprisal,
        slow_surprisal=slow_surprisal,
        surprisal=merged(fast_surprisal, slow_surprisal, confidence(grid, expected, 1, last)),
        expected=usual,
        expected_slow=usual_slow,
    )


def crowd(authors: Floats, mentions: Floats) -> Floats:
    """0 to 1: whether the mentions rest on many people. One account shouting is not a groundswell."""
    return np.clip(authors / np.maximum(mentions / MENTIONS_AN_AUTHOR, MIN_AUTHORS), 0.0, 1.0)


def originality(copies: Floats) -> Floats:
    """0 to 1, from the share of posts that repeat another one nearly word by word."""
    return np.clip((1.0 - copies) / PLAIN_ORIGINALITY, 0.0, 1.0)
