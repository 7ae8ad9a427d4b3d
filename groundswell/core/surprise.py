"""How rare a count is: from a count to standard deviations, from there to a chance, from there to a score.

1. A count against its expectation is a *deviance residual* of the negative binomial: counts of mentions are sparse
   and clump more than Poisson allows (McCullagh & Nelder, Generalized Linear Models, 2nd ed., section 2.4).
2. The highest residual of each past day follows, whatever the entity, nearly a *Gumbel* distribution (Gumbel,
   Statistics of Extremes, 1958; Coles, An Introduction to Statistical Modeling of Extreme Values, chapter 3). That
   gives the chance that an ordinary day of this entity reaches what is seen now.
3. The chances of several scales are merged by their *geometric mean*, which needs no independence (Vovk & Wang,
   Combining p-values via averaging, Biometrika 107, 2020).

Chances are carried as *surprisal*, their negative decimal logarithm: 1 is one day in ten, 2 one in a hundred.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.floating]

EULER_GAMMA = 0.5772156649015329
MOST_SURPRISAL = 100.0


def deviance_residual(count: Floats, mean: Floats, size: Floats) -> Floats:
    """Signed deviance residual of counts under a negative binomial of the given mean and size (1 / dispersion).

    0 where the count is as expected, in standard deviations otherwise. Arguments broadcast; `mean` and `size` > 0.
    """
    ratio = np.where(count > 0, np.maximum(count / mean, 1e-300), 1.0)
    deviance = 2 * (count * np.log(ratio) - (count + size) * np.log((count + size) / (mean + size)))
    return np.sign(count - mean) * np.sqrt(np.maximum(deviance, 0.0))


def gumbel_of_moments(mean: Floats, deviation: Floats) -> tuple[Floats, Floats]:
    """Location and scale of the Gumbel distribution with this mean and standard deviation (> 0)."""
    scale = np.sqrt(6.0) / np.pi * deviation
    return mean - EULER_GAMMA * scale, scale


def surprisal(value: Floats, location: Floats, scale: Floats) -> Floats:
    """Negative decimal logarithm of the chance that a Gumbel variable exceeds `value`; 0 to `MOST_SURPRISAL`."""
    y = np.clip((value - location) / scale, -3.0, None)
    # 1 - exp(-exp(-y)), without the loss of every digit where it is small.
    chance = -np.expm1(-np.exp(-np.minimum(y, 200.0)))
    return np.clip(-np.log10(np.maximum(chance, 1e-300)), 0.0, MOST_SURPRISAL)


def merged(fast: Floats, slow: Floats, slow_confidence: Floats) -> Floats:
    """The mean of two surprisals; where the slow one cannot be known yet, the fast one alone."""
    return (fast + slow_confidence * slow) / (1 + slow_confidence)


def probability(surprisals: Floats) -> Floats:
    """Surprisal as a score from 0 to 1: the chance that an ordinary day stays below."""
    return -np.expm1(-np.log(10.0) * surprisals)
