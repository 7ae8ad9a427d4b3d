"""The rate that a stage of API Gateway lets through: a bucket of tokens that fills as time passes."""

from __future__ import annotations

import time
from collections.abc import Callable


class Throttle:
    """Lets `burst` requests through at once and `rate` a second after that. A rate of zero lets everything through."""

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._tokens = float(burst)
        self._seen = clock()

    def take(self) -> bool:
        """Return whether one more request may pass now."""
        if not self._rate:
            return True
        now = self._clock()
        self._tokens = min(float(self._burst), self._tokens + (now - self._seen) * self._rate)
        self._seen = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
