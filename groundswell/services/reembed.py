"""Moves posts that other models embedded into the space of the model in use, slowly, and drops spaces that are done.

It puts them into the outbox again, a few a second; the indexer does the rest. A post is in its old space until it is in
the new one, so it can be found at every moment; a crash leaves it in one of them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Literal, TypeAlias

import msgspec

from groundswell.core.spaces import retired, to_embed_anew
from groundswell.errors import GroundswellError
from groundswell.metrics import Metrics
from groundswell.ports.outbox import Outbox
from groundswell.ports.time import Clock
from groundswell.ports.vectors import SpaceStore, VectorIndex
from groundswell.services.embeddings import EmbeddingChain
from groundswell.services.outdated_vectors import OutdatedVectors
from groundswell.services.pausing import pause

log = logging.getLogger(__name__)

TICK_S = 1.0
LOOK_EVERY_S = 15.0
"""While there is nothing to do."""

Phase: TypeAlias = Literal["off", "idle", "moving", "waiting"]


class ReembedState(msgspec.Struct):
    """For `/v1/status`."""

    phase: Phase = "idle"
    remaining: int = 0
    """Posts that are still in other spaces."""
    queued_total: int = 0
    posts: dict[str, int] = msgspec.field(default_factory=dict[str, int])
    """Of each space, when last counted."""


class Reembedder:
    """Call `run`.

    Args:
        posts_per_s: the most that are put into the outbox; 0 leaves everything where it is.
        outdated: points that an earlier release stored in another form; they are moved first.
        wake: called after posts were put into the outbox; the indexer's.
    """

    def __init__(
        self,
        chain: EmbeddingChain,
        spaces: SpaceStore,
        outbox: Outbox,
        index: VectorIndex,
        clock: Clock,
        *,
        posts_per_s: float,
        metrics: Metrics,
        wake: Callable[[], None],
        outdated: OutdatedVectors | None = None,
    ) -> None:
        self._chain = chain
        self._spaces = spaces
        self._outbox = outbox
        self._index = index
        self._clock = clock
        self._posts_per_s = posts_per_s
        self._metrics = metrics
        self._wake = wake
        self._outdated = outdated
        self._before: dict[str, int | None] = {}
        """How far each space has been gone through, the newest first; None: not begun."""
        self.state = ReembedState()

    async def run(self, stop: asyncio.Event) -> None:
        """Outages of either store are waited out."""
        while not stop.is_set():
            try:
                moved = await self.step()
            except GroundswellError as error:
                self.state.phase = "waiting"
                log.debug("embedding anew waits: %s", error)
                moved = False
            await pause(self._clock, TICK_S if moved else LOOK_EVERY_S, stop)

    async def step(self) -> bool:
        """Queue a tick's worth of posts. Whether there is more to do soon.

        Raises:
            StoreUnavailable, VectorIndexUnavailable
        """
        state = self.state
        posts = state.posts = await self._spaces.posts_by_space()
        for space, count in posts.items():
            self._metrics.set("space_posts", count, label=space)
        active = self._chain.active
        if active is None or not self._posts_per_s:
            state.phase = "off"
            return False
        todo = to_embed_anew(posts, active.space.name, self._chain.spaces())
        state.remaining = sum(posts[space] for space in todo)
        limit = max(1, round(self._posts_per_s * TICK_S))
        # New posts go first: what is still on its way is let through before more is added.
        busy = await self._outbox.depth() > limit
        if self._outdated is not None and not busy and (queued := await self._outdated.queue(limit)):
            state.phase = "moving"
            self._count(queued)
            return True
        if not todo:
            state.phase = "idle"
            await self._drop_retired(posts)
            return False
        state.phase = "moving"
        if busy:
            return True
        space = todo[0]
        done = await self._spaces.queue_again(space, self._before.get(space), limit)
        # At its end the space is gone through again: something may have come into it meanwhile.
        self._before[space] = done.lowest_pk if done.posts == limit else None
        self._count(done.posts)
        return True

    def _count(self, queued: int) -> None:
        self.state.queued_total += queued
        self._metrics.inc("posts_reembedded_total", queued)
        self._wake()

    async def _drop_retired(self, posts: dict[str, int]) -> None:
        present = [space.name for space in await self._index.spaces()]
        for space in retired(present, posts, self._chain.spaces()):
            await self._index.drop(space)
            await self._spaces.forget(space)
            self._metrics.set("space_posts", 0, label=space)
            log.info("no post is left in the space %s: dropped", space)

    def detail(self) -> dict[str, object]:
        """For the status of the embeddings."""
        state = self.state
        total = sum(state.posts.values())
        active = self._chain.active
        covered = state.posts.get(active.space.name, 0) / total if active is not None and total else None
        return {
            "coverage": None if covered is None else round(covered, 4),
            "posts_by_space": state.posts,
            "reembedding": state.phase,
            "to_reembed": state.remaining,
        }
