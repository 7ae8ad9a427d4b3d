"""Cleanup: forgets what is only kept for a while, and mends what has come apart, in bounded bites."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress

from groundswell.errors import GroundswellError
from groundswell.metrics import Metrics
from groundswell.ports.cleanup import Sweep
from groundswell.ports.time import Clock

log = logging.getLogger(__name__)

SWEEP_EVERY_S = 60.0
MAX_BITES = 200
"""Of one sweep in one round: a backlog of one holds up no other."""


class Cleanup:
    """Runs every sweep in turn. One that fails is tried again in the next round, and holds up no other."""

    def __init__(
        self, sweeps: Sequence[Sweep], clock: Clock, *, metrics: Metrics | None = None, every_s: float = SWEEP_EVERY_S
    ) -> None:
        self._sweeps = sweeps
        self._clock = clock
        self._metrics = metrics or Metrics()
        self._every_s = every_s

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await self.round(stop)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self._every_s)

    async def round(self, stop: asyncio.Event | None = None, *, within_s: float | None = None) -> Mapping[str, int]:
        """Every sweep once, until it has nothing left, has had its bites, or `within_s` seconds have passed.

        Answers how much each dealt with. Nothing is raised for a store that is away.
        """
        started = self._clock.monotonic()
        done: dict[str, int] = {}
        for sweep in self._sweeps:
            try:
                for _ in range(MAX_BITES):
                    over = within_s is not None and self._clock.monotonic() - started >= within_s
                    if over or (stop is not None and stop.is_set()):
                        return done
                    dealt = await sweep.sweep()
                    done[sweep.name] = done.get(sweep.name, 0) + dealt
                    if not dealt:
                        break
                    self._metrics.inc("cleanup_swept_total", dealt, label=sweep.name)
            except GroundswellError as error:
                log.debug("the sweep %s waits: %s", sweep.name, error.detail)
        return done
