"""What has been told is no news: one event gives one peak.

An entity whose surprisal reaches `TOLD` is told once. For a day after that only something ten times as rare is news
again; what merely goes on is not. This is what keeps a rate of false alarms per day, and not per look.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from groundswell.core.posts import MICROS_PER_MINUTE, Micros

Floats: TypeAlias = npt.NDArray[np.floating]

TOLD = 1.0
"""Surprisal worth telling: what an ordinary day reaches one time in ten."""
TOLD_AGAIN = 1.0
"""How much more surprisal it takes to be told again."""
QUIET_MINUTES = 24 * 60
NEVER = -(2**62)


class Told(msgspec.Struct, frozen=True):
    """Columns over n entities."""

    level: Floats
    """The surprisal that was told; 0 where nothing was."""
    at: npt.NDArray[np.int64]
    """`Micros`."""

    @classmethod
    def nothing(cls, n: int) -> Told:
        return cls(np.zeros(n), np.full(n, NEVER, np.int64))


def tell(told: Told, surprisal: Floats, now: Micros) -> tuple[Floats, Told]:
    """What is news of `surprisal`, shape (n,): itself, or 0 where it has been told; and what has been told now."""
    recent = told.at > now - QUIET_MINUTES * MICROS_PER_MINUTE
    level = np.where(recent, told.level, 0.0)
    known = (level > 0) & (surprisal < level + TOLD_AGAIN)
    news = np.where(known, 0.0, surprisal)
    fresh = news >= TOLD
    return news, Told(np.where(fresh, surprisal, level), np.where(fresh, np.int64(now), told.at))
