"""What is expected of an entity before it has a history of its own: what its kind has taught.

Kinds differ: a mention of a person is often the beginning of a conversation of ten, a ticker seldom is. So how unsteady
counts are, and how high an ordinary day peaks, is learnt from all entities of a kind that have a history, and drawn
towards the general constants until there is enough to tell it by: partial pooling, as in Efron and Morris, Data
analysis using Stein's estimator and its generalizations, JASA 70, 1975. Each entity is then drawn towards its kind by
`groundswell.core.habit`. A stream that has no kind has the constants.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.floating]
Kinds: TypeAlias = Mapping[str, tuple[float, ...]]
"""By kind: dispersion, mean of peaks and deviation of peaks, fast and slow of each."""

PRIOR_DISPERSION = (0.25, 0.15)
"""Variance beyond Poisson, as a share of the squared mean: a bucket of mentions varies by half, six hours by 40%."""
PRIOR_PEAK_MEAN = (3.2, 1.3)
PRIOR_PEAK_DEVIATION = (1.6, 1.0)
"""How high an ordinary day of an ordinary entity peaks, in standard deviations, by scale."""
LEAST_PEAK_MEAN = (1.5, 0.4)
LEAST_PEAK_DEVIATION = (0.4, 0.3)
"""No days are taken to peak lower than this, however silent those were that were seen: silence does not teach how
steady an entity is once it speaks. Half of what 288 independent chances a day would give. This is what a newcomer is
held to, once there were days without it; for kinds that peak higher than others it is raised in proportion."""

ENOUGH_DAYS = 300.0
"""Days with something said in them, of all entities of a kind, that weigh as much as the constants."""
ENOUGH_ENTITIES = 100.0
FARTHEST = 2.0
"""A kind is at most so many times, and at least the inverse part of, what is generally expected."""


class Priors(msgspec.Struct, frozen=True):
    """Of n entities, or of all alike: shape (n, 2) or (1, 2) throughout, by scale."""

    dispersion: Floats
    peak_mean: Floats
    peak_deviation: Floats

    @property
    def least_mean(self) -> Floats:
        return np.maximum(self.peak_mean / PRIOR_PEAK_MEAN, 1.0) * LEAST_PEAK_MEAN

    @property
    def least_deviation(self) -> Floats:
        return np.maximum(self.peak_deviation / PRIOR_PEAK_DEVIATION, 1.0) * LEAST_PEAK_DEVIATION


GENERAL: Final = Priors(np.array([PRIOR_DISPERSION]), np.array([PRIOR_PEAK_MEAN]), np.array([PRIOR_PEAK_DEVIATION]))
_CONSTANTS: Final = np.array([*PRIOR_DISPERSION, *PRIOR_PEAK_MEAN, *PRIOR_PEAK_DEVIATION])


def priors_of(kinds: Sequence[str], known: Kinds) -> Priors:
    """What is expected of entities of these kinds."""
    if not known:
        return GENERAL
    names = sorted(known)
    places = {name: place for place, name in enumerate(names, 1)}
    table = np.array([_CONSTANTS, *(known[name] for name in names)])
    rows = table[np.fromiter((places.get(kind, 0) for kind in kinds), np.int64, len(kinds))]
    return Priors(rows[:, 0:2], rows[:, 2:4], rows[:, 4:6])


def learn_kinds(kinds: Sequence[str], dispersion: Floats, peaks: Floats, squares: Floats) -> Kinds:
    """What n entities with a history say of their kinds.

    Args:
        dispersion: shape (n, 2), as each has it by itself.
        peaks: shape (n, 2), sums over days of how high each peaked; silent days add nothing.
        squares: the same of the squares.

    Days with something said are not counted one by one; the sums tell how many equal ones they are worth: (sum of
    peaks)² / (sum of squares).
    """
    named = np.asarray(kinds, object)
    found: dict[str, tuple[float, ...]] = {}
    for kind in sorted(set(kinds)):
        mine = named == kind
        sums, squared = peaks[mine].astype(float), squares[mine].astype(float)
        days = np.divide(sums**2, squared, out=np.zeros_like(sums), where=squared > 0).sum(0)
        mean = (sums.sum(0) + ENOUGH_DAYS * GENERAL.peak_mean[0]) / (days + ENOUGH_DAYS)
        general = ENOUGH_DAYS * (GENERAL.peak_mean[0] ** 2 + GENERAL.peak_deviation[0] ** 2)
        deviation = np.sqrt((squared.sum(0) + general) / (days + ENOUGH_DAYS) - mean**2)
        spread = dispersion[mine].sum(0) + ENOUGH_ENTITIES * GENERAL.dispersion[0]
        numbers = np.concatenate([spread / (mine.sum() + ENOUGH_ENTITIES), mean, deviation])
        found[kind] = tuple(np.clip(numbers, _CONSTANTS / FARTHEST, _CONSTANTS * FARTHEST).round(6).tolist())
    return found
