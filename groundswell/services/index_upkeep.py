"""Keeps what search reads in step with the posts: what is too old for Postgres leaves the index, terms are brought up
to date."""

from __future__ import annotations

import logging

from groundswell.core.posts import Micros
from groundswell.errors import VectorIndexUnavailable
from groundswell.ports.outbox import IndexedPosts
from groundswell.ports.vectors import VectorIndex

log = logging.getLogger(__name__)

CUT_POSTS = 500
"""Whose terms are brought up to date in one transaction: about 50 ms."""


class IndexRetention:
    """Removes vectors older than the oldest post, whoever removed the posts. One of cleanup's sweeps.

    The outbox removes post by post what the mover or a deletion took; this takes what nobody queued, such as posts of
    a table that was restored from a backup. It follows Postgres, so the two cannot disagree on how long posts are kept.
    """

    name = "index"

    def __init__(self, posts: IndexedPosts, index: VectorIndex) -> None:
        self._posts = posts
        self._index = index
        self._done: Micros | None = None

    async def sweep(self) -> int:
        """Answers 0: one call removes all there is. An index that is away is swept the next time."""
        oldest = await self._posts.oldest()
        if oldest is None or oldest == self._done:
            return 0
        try:
            await self._index.delete_before(oldest)
        except VectorIndexUnavailable as error:
            log.debug("what is too old stays in the vector index for now: %s", error)
            return 0
        # A post may have come with an older event time since the oldest was asked for.
        await self._posts.queue_before(oldest)
        self._done = oldest
        return 0


class TermUpkeep:
    """Cuts the posts anew that an earlier release stored. One of cleanup's sweeps."""

    name = "terms"

    def __init__(self, posts: IndexedPosts) -> None:
        self._posts = posts

    async def sweep(self) -> int:
        return await self._posts.cut(CUT_POSTS)
