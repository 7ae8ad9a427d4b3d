"""Brings Postgres and the vector index back into step where something else than Groundswell had a hand in it.

In ordinary work the outbox keeps the two together. A vector engine that was restored from an old snapshot, or a
collection that two platforms wrote to, needs more: points without a post go, and posts without their point are indexed
again.
"""

from __future__ import annotations

from groundswell.ports.cleanup import VectorLedger
from groundswell.ports.vectors import VectorIndex

PAGE_POINTS = 5_000
"""Points that are compared in one bite."""


class OrphanVectors:
    """`ports.Sweep` that walks both stores side by side, and begins anew some time after it has seen all of them.

    Args:
        pages: how many are compared in one bite, unless something is found to be mended before.
        rest_bites: bites that pass between the end of a walk and the next.
        after: where the walk begins. Whoever lives for one bite begins somewhere by chance, or would see no more than
            the first pages.
    """

    name = "vectors"

    def __init__(
        self,
        index: VectorIndex,
        ledger: VectorLedger,
        *,
        page: int = PAGE_POINTS,
        pages: int = 1,
        rest_bites: int = 60,
        after: int = -1,
    ) -> None:
        self._index = index
        self._ledger = ledger
        self._page = page
        self._rest_bites = rest_bites
        self._resting = 0
        self._pages = pages
        self._after = after

    async def sweep(self) -> int:
        """Compare a few pages. Answers how many points or posts were mended; 0 where all was in order."""
        ends = 0
        for _ in range(self._pages):
            if self._resting:
                self._resting -= 1
                return 0
            if mended := await self.compare():
                return mended
            ends += self._after == -1
            if ends == 2:
                # From wherever it began to the end, and all of it once more: there is nothing else to see.
                return 0
        return 0

    @property
    def at_start(self) -> bool:
        """Whether the next page is the first one: a walk is over, or has not begun."""
        return self._after == -1

    def restart(self) -> None:
        """Begin again with the first page."""
        self._after, self._resting = -1, 0

    async def compare(self) -> int:
        """Compare one page. Answers how many points or posts were mended."""
        # Postgres first: what is indexed in between is in the index by then, whether or not Postgres has it.
        listed = await self._ledger.indexed(self._after, None, self._page)
        points = await self._index.pks(self._after, self._page)
        ends = [pks[-1] for pks in (listed, points) if len(pks) == self._page]
        until = min(ends) if ends else None
        if until is not None:
            listed = [pk for pk in listed if pk <= until]
            points = [pk for pk in points if pk <= until]
        ownerless = await self._ledger.ownerless(sorted(set(points) - set(listed)))
        if ownerless:
            await self._index.delete(ownerless)
        missing = sorted(set(listed) - set(points))
        mended = await self._ledger.index_again(missing) if missing else 0
        self._after = -1 if until is None else until
        if until is None:
            self._resting = self._rest_bites
        return len(ownerless) + mended
