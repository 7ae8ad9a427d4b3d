"""Notices that the vector index holds fewer posts than were put into it, and has the missing ones indexed again.

Somebody may delete points, remove a folder, or put an old snapshot in the index's place while the platform runs. The
outbox has nothing to do then, and searches by meaning find less without a word. Postgres knows which posts were put
into the index: their number is compared with the number of points, and where points are missing, the keys of both.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal, TypeAlias

import msgspec

from groundswell.errors import GroundswellError
from groundswell.ports.outbox import Outbox
from groundswell.ports.time import Clock
from groundswell.ports.vectors import VectorIndex
from groundswell.services.orphan_vectors import OrphanVectors
from groundswell.services.pausing import pause

log = logging.getLogger(__name__)

LOOK_EVERY_S = 30.0
STEP_S = 0.5
"""Between two pages while posts are missing."""
QUEUED_AHEAD = 5_000
"""Posts in the outbox at which the walk waits: what is posted meanwhile waits for no more than these and a page."""
LOOKS = 2
"""Points and posts are counted one after the other, and posts leave in between: one look may see too few points."""

Phase: TypeAlias = Literal["full", "rebuilding"]


class CensusState(msgspec.Struct):
    """For `/v1/status`."""

    phase: Phase = "full"
    missing: int = 0
    """Posts without their point, when last counted."""
    queued_total: int = 0
    """Posts that were indexed again because their point was gone, since the process started."""


class VectorCensus:
    """Call `run`.

    Args:
        indexed: returns how many posts were put into the index, by space.
        walk: compares pages of keys; it belongs to this object alone.
        wake: called after posts were put into the outbox; the indexer's.
    """

    def __init__(
        self,
        indexed: Callable[[], Awaitable[Mapping[str, int]]],
        index: VectorIndex,
        walk: OrphanVectors,
        outbox: Outbox,
        clock: Clock,
        *,
        wake: Callable[[], None],
    ) -> None:
        self._indexed = indexed
        self._index = index
        self._walk = walk
        self._outbox = outbox
        self._clock = clock
        self._wake = wake
        self._short = 0
        self._walking = False
        self.state = CensusState()

    async def run(self, stop: asyncio.Event) -> None:
        """Outages of either store are waited out: what is away is not missing."""
        while not stop.is_set():
            soon = False
            try:
                soon = await self.step()
            except GroundswellError as error:
                log.debug("the points of the vector index are not counted: %s", error)
            await pause(self._clock, STEP_S if soon else LOOK_EVERY_S, stop)

    async def step(self) -> bool:
        """Count, or compare a page. Whether there is more to do soon.

        Raises:
            StoreUnavailable, VectorIndexUnavailable
        """
        if self.state.phase == "full":
            return await self._count()
        waiting = await self._outbox.depth()
        if self._walking:
            if waiting <= QUEUED_AHEAD:
                queued = await self._walk.compare()
                self.state.queued_total += queued
                self._walking = not self._walk.at_start
                if queued:
                    self._wake()
            return True
        if waiting:
            return True
        self.state.phase, self._short = "full", 0
        log.info("the vector index is whole again: %d posts were indexed again so far", self.state.queued_total)
        return await self._count()

    async def _count(self) -> bool:
        state = self.state
        # Postgres first: a post has its point before it is counted there, and so never too few.
        posts = sum((await self._indexed()).values())
        state.missing = max(0, posts - await self._index.count()) if posts else 0
        self._short = self._short + 1 if state.missing else 0
        if self._short < LOOKS:
            return bool(self._short)
        log.warning(
            "the vector index lacks %d of %d posts, which something else than this platform has removed; they are "
            "indexed again, and searches by meaning find less until then",
            state.missing,
            posts,
        )
        state.phase, self._walking = "rebuilding", True
        self._walk.restart()
        return True
