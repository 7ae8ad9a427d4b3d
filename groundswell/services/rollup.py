"""Rolls the counts of old minutes up into longer buckets, and forgets buckets that are older than they are kept."""

from __future__ import annotations

from collections.abc import Mapping

from groundswell.ports.momentum import RollupStore

ROWS_PER_BITE = 10_000
"""Author rows that one transaction rolls up: two seconds on a busy two-core machine, and nobody waits."""


class Rollup:
    """A sweep of cleanup: call `sweep` until it answers 0, every minute or every hour, from any process.

    Every bite is one transaction, so a crash leaves the counts as they were before it or after it, and nothing has to
    be remembered in between.
    """

    name = "rollup"

    def __init__(self, store: RollupStore, *, keep_s: Mapping[int, float], bite: int = ROWS_PER_BITE) -> None:
        """`keep_s`: by resolution in seconds (60 for the minutes themselves), how long its buckets are kept."""
        self._store = store
        self._keep_s = keep_s
        self._bite = bite

    async def sweep(self) -> int:
        """One bounded bite; answers how many rows it dealt with: 0 when nothing is left. Raises `StoreUnavailable`."""
        return await self._store.bite(self._keep_s, self._bite)
