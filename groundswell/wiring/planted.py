"""The simulator's surges as counts: the same curves, without writing a post for every mention."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from groundswell.adapters.simulator.config import Surge
from groundswell.adapters.simulator.writing import day_rhythm
from groundswell.core.posts import MICROS_PER_SECOND

SAMPLES = 20


def surge_curve(*, ramp_s: float, duration_s: float, bucket_s: int) -> npt.NDArray[np.floating]:
    """The height of a planted surge, 0 to 1, averaged over each bucket from its start to its end."""
    surge = Surge("", 0, ramp_s=ramp_s, duration_s=duration_s)
    buckets = int(-(-duration_s // bucket_s))
    return np.array(
        [
            np.mean(
                [
                    surge.intensity(round((n + (k + 0.5) / SAMPLES) * bucket_s * MICROS_PER_SECOND))
                    for k in range(SAMPLES)
                ]
            )
            for n in range(buckets)
        ]
    )


def rhythm(buckets: int, bucket_s: int) -> npt.NDArray[np.floating]:
    """The simulated network's rhythm of the day, 1 on average, from a midnight on."""
    return np.array([day_rhythm((n + 0.5) * bucket_s / 3600 % 24) for n in range(buckets)])
