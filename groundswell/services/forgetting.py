"""Removes everything of one author, from every place that keeps it. Repeating it is harmless.

First the author is put on a list, so that nothing of theirs comes in any more; then what is there goes, a piece at a
time, each in one transaction with its counts. A run that dies anywhere leaves the list, and the next run finds what is
left.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path

import msgspec

from groundswell.core.retention import ArchiveRow, manifest_name
from groundswell.crash_points import CrashPoint, reach
from groundswell.errors import ArchiveUnavailable
from groundswell.ports.archive import Archive, ArchivedFile, ClaimStore, PostFiles
from groundswell.ports.forgetting import AuthorStore
from groundswell.ports.vectors import VectorIndex
from groundswell.services.archive_writing import write_file
from groundswell.services.archived_files import ArchivedFiles

log = logging.getLogger(__name__)

POSTS_EACH = 2_000
"""Posts of one transaction, for which batches wait."""
VECTORS_EACH = 1_000
LEASE_S = 900.0

Say = Callable[[str], None]


class Forgotten(msgspec.Struct):
    """What one run removed."""

    posts: int = 0
    hidden: int = 0
    archived: int = 0
    files: int = 0
    """Files of the archive that were rewritten, or deleted because they held nothing else."""
    vectors: int = 0
    finished: bool = True
    """Whether all of it is gone. Not where a stop came first."""


class ArchiveAccess(msgspec.Struct, frozen=True):
    """What it takes to rewrite files of the archive."""

    archive: Archive
    files: PostFiles
    cache: ArchivedFiles
    claims: ClaimStore
    scratch: Path


class Forgetting:
    """Forgets one author after another.

    Args:
        archive: None where nothing is archived.
        index: None where a running platform empties the outbox; then nothing is removed from the vector index here.
    """

    def __init__(self, store: AuthorStore, archive: ArchiveAccess | None, index: VectorIndex | None) -> None:
        self._store = store
        self._archive = archive
        self._index = index

    async def forget(self, author: str, say: Say, stop: asyncio.Event) -> Forgotten:
        """Remove everything of `author`; answers what this run removed.

        Raises:
            ArchiveUnavailable: the archive cannot be reached, or holds a damaged file of theirs; all else is gone.
            StoreUnavailable, VectorIndexUnavailable: repeat it; what is done stays done.
        """
        done = Forgotten()
        await self._store.remember(author)
        reach(CrashPoint.FORGET_REMEMBERED)
        held = await self._store.holdings(author)
        say(f"Found {held.posts:,} posts, {held.hidden:,} hidden posts and {held.archived:,} rows in the archive")
        while taken := await self._store.take_posts(author, POSTS_EACH):
            done.posts += taken
            reach(CrashPoint.FORGET_SOME_POSTS)
            say(f"{done.posts:,} of {max(held.posts, done.posts):,} posts are out of the database and the counts")
            if stop.is_set():
                done.finished = False
                return done
        done.hidden = await self._store.take_traces(author)
        until = await self._store.newest_entry()
        if self._archive is not None:
            await self._rewrite_files(self._archive, author, done, say, stop)
        if self._index is not None and not stop.is_set():
            done.vectors = await self._remove_vectors(self._index, until)
        done.finished = done.finished and not stop.is_set()
        return done

    async def _rewrite_files(
        self, access: ArchiveAccess, author: str, done: Forgotten, say: Say, stop: asyncio.Event
    ) -> None:
        files = await self._store.files(author)
        failure: ArchiveUnavailable | None = None
        for number, file in enumerate(files, 1):
            if stop.is_set():
                done.finished = False
                return
            try:
                rows = await self._rewrite(access, file, author)
            except ArchiveUnavailable as error:
                failure = failure or error
                continue
            done.archived += rows
            done.files += 1
            say(f"{number:,} of {len(files):,} files of the archive are without their posts")
        for file_id, name in await access.claims.discarded():
            await access.archive.delete(manifest_name(name))
            await access.archive.delete(name)
            await access.claims.forget(file_id)
        if failure is not None:
            raise failure

    async def _rewrite(self, access: ArchiveAccess, file: ArchivedFile, author: str) -> int:
        """Put a file without the author's rows in the place of one that has them; answers how many rows those were."""
        gone: list[ArchiveRow] = []
        copy = await self._store.open_copy(file, LEASE_S)
        if copy is None:
            return 0
        access.scratch.mkdir(parents=True, exist_ok=True)
        async with access.cache.held(file.manifest) as path:
            with tempfile.TemporaryDirectory(prefix="groundswell-forget-", dir=access.scratch) as folder:
                manifest = await write_file(
                    access.archive,
                    access.files,
                    Path(folder),
                    _others(access.files, path, author, gone),
                    name=copy.name,
                    day=file.manifest.day,
                    source=file.manifest.source,
                )
        reach(CrashPoint.FORGET_FILE_WRITTEN)
        replaced = await self._store.replace(file, None if manifest is None else copy, manifest, gone)
        reach(CrashPoint.FORGET_FILE_REPLACED)
        return len(gone) if replaced else 0

    async def _remove_vectors(self, index: VectorIndex, until: int) -> int:
        """Remove from the index what the outbox says is gone; answers how many points that were."""
        removed = 0
        while waiting := await self._store.waiting_vectors(until, VECTORS_EACH):
            await index.delete([pk for _, pk in waiting])
            reach(CrashPoint.FORGET_VECTORS_REMOVED)
            await self._store.finish_vectors([entry for entry, _ in waiting])
            removed += len(waiting)
        return removed


async def _others(
    files: PostFiles, path: Path, author: str, gone: list[ArchiveRow]
) -> AsyncGenerator[Sequence[ArchiveRow]]:
    """The rows of everybody else; those of the author are added to `gone`."""
    async for page in files.read(path):
        gone += [row for row in page if row.author == author]
        if kept := [row for row in page if row.author != author]:
            yield kept
