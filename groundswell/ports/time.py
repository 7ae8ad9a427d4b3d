"""Time, as everything but the settings gets it."""

from __future__ import annotations

from typing import Protocol

from groundswell.core.posts import Micros


class Clock(Protocol):
    """The only way to learn the time. Local clocks serve durations and display; ages are the database's to judge."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never steps."""
        ...

    def now(self) -> Micros:
        """This machine's idea of the time. Never compare it with a stored instant."""
        ...

    async def sleep(self, seconds: float) -> None: ...
