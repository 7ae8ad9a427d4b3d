"""When the frames of a recording are due, by their own times: those that are wrong move nothing."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median_low
from typing import Final

from groundswell.core.posts import MICROS_PER_SECOND, Micros

LOOK_AHEAD: Final = 8
"""Frames after one that are asked whether its time can be right."""
MAX_SILENCE_S: Final = 3600.0
"""A longer silence within a recording is a hole in it, or a clock that was set: nobody waits for its end."""
MAX_STEP_BACK_S: Final = 60.0
"""Times further back than this are not out of order: another recording begins, or a clock was set."""


class Pacer:
    """Paces the frames of one recording.

    Args:
        speed: recorded seconds to a second.
    """

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._origin: tuple[Micros, float] | None = None
        self._last: Micros = 0

    def wait_s(self, at: Micros, following: Sequence[Micros], now: float) -> float:
        """Return the seconds to wait at `now` (monotonic) until a frame is due; not above 0 where it is.

        Args:
            at: the frame's time.
            following: times of the frames after it, at most `LOOK_AHEAD`.
        """
        # A time ahead of those that follow is wrong, and one before its neighbours is due anyway.
        middle = median_low([at, *following])
        due = min(at, middle)
        if self._origin is None:
            near = not following or abs(following[0] - at) <= MAX_SILENCE_S * MICROS_PER_SECOND
            return self._begin(at if near else middle, now)
        if (due - self._last) / MICROS_PER_SECOND > MAX_SILENCE_S:
            return self._begin(due, now)
        if (self._last - middle) / MICROS_PER_SECOND > MAX_STEP_BACK_S:
            return self._begin(middle, now)
        self._last = max(self._last, due)
        first_at, began = self._origin
        return began + (due - first_at) / MICROS_PER_SECOND / self._speed - now

    def _begin(self, at: Micros, now: float) -> float:
        self._origin, self._last = (at, now), at
        return 0.0
