"""Watches the platform's condition and tells the screens when it changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress

import msgspec

from groundswell.errors import StoreUnavailable
from groundswell.ports.live import Broadcaster
from groundswell.ports.reading import ReadStore, Status
from groundswell.ports.storing import EventDraft, PostStore

log = logging.getLogger(__name__)

LOOK_EVERY_S = 2.0


class ConditionWatch:
    """Looks at the status every `LOOK_EVERY_S`; with a `store`, each change becomes a `status.update` frame.

    One process of a platform announces; others only look, for the `degraded` of their greetings.
    """

    def __init__(self, reads: ReadStore, *, store: PostStore | None, broadcaster: Broadcaster) -> None:
        self._reads = reads
        self._store = store
        self._broadcaster = broadcaster
        self._announced: bytes | None = None
        self.degraded: Sequence[str] = ()
        """What is missing, as last seen."""

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await self.look()
            except StoreUnavailable as error:
                self.degraded = ("postgres",)
                log.debug("condition unknown: %s", error)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), LOOK_EVERY_S)

    async def look(self) -> None:
        """Look once. Raises `StoreUnavailable`."""
        status = await self._reads.status()
        self.degraded = status.degraded
        told = msgspec.json.encode(condition_json(status))
        if told == self._announced:
            return
        if self._store is not None:
            events = await self._store.append_events([EventDraft("status.update", msgspec.Raw(told))])
            await self._broadcaster.publish(events)
        self._announced = told


def condition_json(status: Status) -> dict[str, object]:
    """The data of a `status.update` frame: what can change the meaning of everything else on the screen."""
    return {
        "degraded": sorted(status.degraded),
        "sources": [{"source": source.source, "state": source.state} for source in status.sources],
    }
