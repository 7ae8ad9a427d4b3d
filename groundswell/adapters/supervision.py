"""Starts a part again that has died, with growing pauses, and keeps its state for `/v1/status`."""

from __future__ import annotations

import logging
import signal
from collections.abc import Mapping
from random import Random
from typing import Protocol

from groundswell.core.session import STABLE_AFTER_S, full_jitter_backoff
from groundswell.errors import DataDirectoryLost, GroundswellError
from groundswell.ports.time import Clock

log = logging.getLogger(__name__)

DEATHS_LOGGED = 3
"""Of a part that dies again and again, so many deaths are logged one by one."""


class Part(Protocol):
    """Something that runs outside this process and can be started again."""

    async def ended(self) -> str:
        """Wait until it has ended; return how, as the end of a sentence."""
        ...

    async def restart(self) -> None:
        """Start it again where it was.

        Raises:
            DataDirectoryLost: what it kept is gone, so that it cannot come back.
            GroundswellError: it did not start; a later attempt may succeed.
        """
        ...


def way_of_ending(code: int) -> str:
    """Return how a process ended that left this exit code, as the end of a sentence; a signal's is negative."""
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"has ended with exit code {code}"


class Supervisor:
    """Keeps one part running. `state` is `running`, `restarting`, or `failed` where it did not start again."""

    def __init__(self, name: str, part: Part, clock: Clock, *, rng: Random) -> None:
        self.name = name
        self.state = "running"
        self.why: str | None = None
        """A sentence while it does not run."""
        self.restarts = 0
        self._part = part
        self._clock = clock
        self._rng = rng

    async def run(self) -> None:
        """Restart the part whenever it ends, until cancelled.

        The first restart is immediate. A part that ran for `STABLE_AFTER_S` counts as well again.

        Raises:
            DataDirectoryLost: it cannot come back.
        """
        pauses, deaths = full_jitter_backoff(self._rng), 0
        started = self._clock.monotonic()
        while True:
            how = await self._part.ended()
            if self._clock.monotonic() - started >= STABLE_AFTER_S:
                pauses, deaths = full_jitter_backoff(self._rng), 0
            deaths += 1
            self.state, self.why = "restarting", f"{self.name} {how} and is started again."
            self._log_death(deaths, how)
            if deaths > 1:
                await self._clock.sleep(next(pauses))
            failure: str | None = None
            while not await self._restart(failure):
                failure = self.why
                await self._clock.sleep(next(pauses))
            self.restarts += 1
            self.state, self.why = "running", None
            started = self._clock.monotonic()
            if deaths <= DEATHS_LOGGED:
                log.info("%s runs again", self.name)

    def status(self) -> tuple[str, Mapping[str, object]]:
        """Return state and detail for `/v1/status`."""
        return self.state, {"why": self.why, "restarts": self.restarts}

    async def _restart(self, failure: str | None) -> bool:
        try:
            await self._part.restart()
        except DataDirectoryLost as error:
            self.state, self.why = "failed", error.detail
            raise
        except (GroundswellError, OSError) as error:
            self.state, self.why = "failed", str(error)
            if self.why != failure:  # the same reason again is no news
                log.error("%s does not start again: %s It is tried again from time to time.", self.name, self.why)  # noqa: TRY400 -- explained in its message
            return False
        return True

    def _log_death(self, deaths: int, how: str) -> None:
        if deaths < DEATHS_LOGGED:
            log.warning("%s %s and is started again", self.name, how)
        elif deaths == DEATHS_LOGGED:
            log.error(
                "%s %s for the %d. time shortly after its start. It is started again with growing pauses, and this is "
                "not logged again.",
                self.name,
                how,
                deaths,
            )
