"""The one place that reads this machine's clock."""

from __future__ import annotations

import asyncio
import time

from groundswell.core.posts import Micros


class SystemClock:
    """The `Clock` port over the operating system."""

    def monotonic(self) -> float:
        return time.monotonic()

    def now(self) -> Micros:
        return time.time_ns() // 1000

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
