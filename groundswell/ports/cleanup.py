"""What is swept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Sweep(Protocol):
    """Something that is only kept for a while, or that has to be mended now and then."""

    name: str
    """A fixed word: it labels a metric."""

    async def sweep(self) -> int:
        """One bounded bite, in a transaction of its own; answers how much it dealt with, 0 when nothing is left.

        Raises:
            StoreUnavailable, VectorIndexUnavailable: it goes on another time.
        """
        ...


class VectorLedger(Protocol):
    """What Postgres knows of the points in the vector index. Every method raises `StoreUnavailable`."""

    async def indexed(self, after: int, until: int | None, limit: int) -> Sequence[int]:
        """Posts that have a point, with `after < pk <= until`, ascending."""
        ...

    async def ownerless(self, pks: Sequence[int]) -> Sequence[int]:
        """Those that belong to no post, and of which nothing waits in the outbox."""
        ...

    async def index_again(self, pks: Sequence[int]) -> int:
        """Queue these posts as if they had never been indexed."""
        ...
