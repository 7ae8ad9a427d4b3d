"""Forgets what is only kept for a while, by the database's clock."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from groundswell.errors import StoreUnavailable

log = logging.getLogger(__name__)

SWEEP_EVERY_S = 60.0


class Sweepable(Protocol):
    async def forget_events(self, keep_s: float, limit: int) -> int:
        """Delete up to `limit` broadcast frames older than `keep_s`; answers how many. Raises `StoreUnavailable`."""
        ...


class Sweep(Protocol):
    async def sweep(self) -> int:
        """One bounded bite; answers 0 when there is nothing left to do. Raises `StoreUnavailable`."""
        ...


class Housekeeper:
    """Sweeps spent broadcast frames in small bites, so that no lock is held for long; then `sweeps`, likewise."""

    BITE = 5000

    def __init__(self, store: Sweepable, *, events_keep_s: float, sweeps: Sequence[Sweep] = ()) -> None:
        self._store = store
        self._events_keep_s = events_keep_s
        self._sweeps = sweeps

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                while await self._store.forget_events(self._events_keep_s, self.BITE) == self.BITE:
                    pass
                for sweep in self._sweeps:
                    while not stop.is_set() and await sweep.sweep():
                        pass
            except StoreUnavailable as error:
                log.debug("housekeeping waits for the database: %s", error)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), SWEEP_EVERY_S)
