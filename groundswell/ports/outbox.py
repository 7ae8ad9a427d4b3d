"""Posts on their way from Postgres into the index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from groundswell.core.posts import Micros, Post


class OutboxItem(msgspec.Struct, frozen=True):
    """A post that the vector index has not caught up with. `post` is None when it has to be removed there."""

    id: int
    pk: int
    post: Post | None
    fingerprint: int | None = None
    """Of the post's text; None where it is not known yet."""


class Outbox(Protocol):
    async def claim(self, limit: int, after: int = 0) -> Sequence[OutboxItem]:
        """The oldest items with an id above `after`. Claiming changes nothing: an item stays until it is marked done.

        Ids are not given in the order of commits: start from 0 again now and then.
        """
        ...

    async def done(self, items: Sequence[OutboxItem], *, space: str | None) -> None:
        """They are in the index, and those that have a post are in `space`, which is None where none has."""
        ...

    async def depth(self) -> int: ...

    async def start_anew(self) -> int:
        """The index turned out to be empty: queue every post that it once held. Answers how many."""
        ...


class IndexedPosts(Protocol):
    """The posts, for what keeps search in step with them. Every method raises `StoreUnavailable`."""

    async def oldest(self) -> Micros | None:
        """The event time of the oldest post; None where there is none."""
        ...

    async def queue_before(self, instant: Micros) -> int:
        """Queue the posts whose event time is before `instant` for the vector index; answers how many."""
        ...

    async def cut(self, limit: int) -> int:
        """Bring the terms of up to `limit` posts up to date; answers how many."""
        ...
