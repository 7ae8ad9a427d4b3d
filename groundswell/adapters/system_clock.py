"""The one place that reads this machine's clock."""

from __future__ import annotations

import asyncio
import time

from groundswell.core.posts import MICROS_PER_SECOND, Micros


class SystemClock:
    """The `Clock` port over the operating system.

    Args:
        skew: how wrong the time of day is to be, for drills: seconds, such as `10800`, and after a slash the seconds
            after which it jumps to the other side and back, such as `10800/2`. Durations are never wrong.
    """

    def __init__(self, *, skew: str | None = None) -> None:
        wrong, _, every = (skew or "0").partition("/")
        self._skew_us = int(wrong) * MICROS_PER_SECOND
        self._jump_every_s = int(every) if every else 0

    def monotonic(self) -> float:
        return time.monotonic()

    def now(self) -> Micros:
        return time.time_ns() // 1000 + (-self._skew_us if self._jumped() else self._skew_us)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def _jumped(self) -> bool:
        return self._jump_every_s > 0 and int(time.monotonic() / self._jump_every_s) % 2 == 1
