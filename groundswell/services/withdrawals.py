"""Takes archived posts that were withdrawn out of the counts.

Hiding them is the business of the transaction that stores the deletion. What they mentioned is known only to their
file, so subtracting it waits for whoever can read the archive: each file's in one transaction, each post once.
"""

from __future__ import annotations

import asyncio
import logging

from groundswell.core.retention import ArchiveRow, withdrawn_rows
from groundswell.crash_points import CrashPoint, reach
from groundswell.errors import ArchiveUnavailable
from groundswell.ports.archive import ArchiveIndex, PostFiles, Withdrawal
from groundswell.services.archived_files import ArchivedFiles

log = logging.getLogger(__name__)


class Withdrawals:
    """Settles what is pending."""

    def __init__(self, index: ArchiveIndex, cache: ArchivedFiles, files: PostFiles) -> None:
        self._index = index
        self._cache = cache
        self._files = files

    async def settle(self, stop: asyncio.Event | None = None) -> int:
        """Settle every file with withdrawals; answers how many posts were subtracted. One bad file holds up no other.

        Raises:
            ArchiveUnavailable: after the others were settled, where a file could not be read.
            StoreUnavailable: at once.
        """
        done, after = 0, 0
        failure: ArchiveUnavailable | None = None
        while not (stop and stop.is_set()):
            withdrawal = await self._index.pending(after)
            if withdrawal is None:
                break
            after = withdrawal.file.id
            try:
                done += await self._settle(withdrawal)
            except ArchiveUnavailable as error:
                failure = failure or error
        if failure is not None:
            raise failure
        return done

    async def _settle(self, withdrawal: Withdrawal) -> int:
        gone: list[ArchiveRow] = []
        kept: list[bytes] = []
        async with self._cache.held(withdrawal.file.manifest) as path:
            async for page in self._files.read(path):
                more_gone, more_kept = withdrawn_rows(page, withdrawal.revs, withdrawal.authors)
                gone += more_gone
                kept += more_kept
        reach(CrashPoint.MOVER_BEFORE_SETTLE)
        done = await self._index.settle(withdrawal, gone, kept)
        reach(CrashPoint.MOVER_AFTER_SETTLE)
        log.info("%d withdrawn posts of %s are out of the counts", done, withdrawal.file.manifest.file)
        return done
