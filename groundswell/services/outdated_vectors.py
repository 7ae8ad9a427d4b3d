"""Moves the points that an earlier release stored in another form into today's, from the posts in Postgres."""

from __future__ import annotations

from groundswell.ports.cleanup import VectorLedger
from groundswell.ports.vectors import VectorIndex


class OutdatedVectors:
    """Queues outdated points to be indexed again, a few at a time. Progress is in the index itself: a point leaves
    its old place when it is stored anew, so an interrupted move continues where it was."""

    def __init__(self, index: VectorIndex, ledger: VectorLedger) -> None:
        self._index = index
        self._ledger = ledger
        self._after = -1

    async def queue(self, limit: int) -> int:
        """Queue up to `limit` points; answers how many, 0 where none is outdated or all are on their way.

        Raises:
            StoreUnavailable, VectorIndexUnavailable
        """
        pks = await self._index.outdated(self._after, limit)
        # From the beginning again at the end: a point may have been stored in the old form meanwhile.
        self._after = pks[-1] if len(pks) == limit else -1
        if not pks:
            return 0
        ownerless = await self._ledger.ownerless(pks)
        if ownerless:
            await self._index.delete(ownerless)
        return await self._ledger.index_again(pks)
