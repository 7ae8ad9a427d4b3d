"""Files of the archive on this machine: fetched once, compared with their manifest, and bounded in number of bytes."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from groundswell.core.retention import Manifest
from groundswell.errors import ArchiveDamaged, ArchiveUnavailable
from groundswell.ports.archive import Archive

CACHE_BYTES = 512 * 2**20
"""Of fetched files: about a hundred of them."""
CHECKED_FILES = 4096
"""Files on a disk of this machine that need not be compared with their manifest again."""


class ArchivedFiles:
    """Gives out files while they are needed, and keeps the most recently used of those that had to be fetched.

    Args:
        folder: for fetched files. Only this object may use it; what lies in it is taken to be its own.
    """

    def __init__(self, archive: Archive, folder: Path, *, max_bytes: int = CACHE_BYTES) -> None:
        self._archive = archive
        self._folder = folder
        self._max_bytes = max_bytes
        self._fetched: OrderedDict[str, int] = OrderedDict()
        self._checked: OrderedDict[str, None] = OrderedDict()
        self._in_use: dict[str, int] = {}
        self._fetching: dict[str, asyncio.Lock] = {}

    @asynccontextmanager
    async def held(self, manifest: Manifest) -> AsyncGenerator[Path]:
        """The file, unchanged since it was archived, until the end of the block.

        Raises:
            ArchiveUnavailable: it cannot be fetched.
            ArchiveDamaged: it is missing, or its bytes have changed.
        """
        name = manifest.file
        self._in_use[name] = self._in_use.get(name, 0) + 1
        try:
            lock = self._fetching.setdefault(name, asyncio.Lock())
            async with lock:
                path = await self._path_of(manifest)
            yield path
        finally:
            self._in_use[name] -= 1
            if not self._in_use[name]:
                del self._in_use[name]
                self._fetching.pop(name, None)

    async def _path_of(self, manifest: Manifest) -> Path:
        name = manifest.file
        local = self._archive.local(name)
        if local is not None:
            if name not in self._checked:
                await _compare(local, manifest)
                while len(self._checked) >= CHECKED_FILES:
                    self._checked.popitem(last=False)
            self._checked[name] = None
            self._checked.move_to_end(name)
            return local
        path = self._folder / hashlib.sha256(name.encode()).hexdigest()
        if name in self._fetched:
            self._fetched.move_to_end(name)
            return path
        self._make_room(manifest.bytes)
        try:
            await asyncio.to_thread(self._folder.mkdir, parents=True, exist_ok=True)
            await self._archive.get(name, path)
            await _compare(path, manifest)
        except OSError as error:
            raise ArchiveUnavailable(
                f"{name} cannot be fetched to {self._folder}: {error.strerror or error}. Free some space there."
            ) from error
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        self._fetched[name] = manifest.bytes
        return path

    def _make_room(self, wanted: int) -> None:
        for name in list(self._fetched):
            if sum(self._fetched.values()) + wanted <= self._max_bytes:
                return
            if name not in self._in_use:
                del self._fetched[name]
                (self._folder / hashlib.sha256(name.encode()).hexdigest()).unlink(missing_ok=True)


async def checksum(path: Path) -> tuple[int, str]:
    """Size and SHA-256 of a file. Raises OSError."""

    def read() -> tuple[int, str]:
        with path.open("rb") as file:
            return path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()

    return await asyncio.to_thread(read)


async def _compare(path: Path, manifest: Manifest) -> None:
    size, sha256 = await checksum(path)
    if size != manifest.bytes or sha256 != manifest.sha256:
        raise ArchiveDamaged(
            f"{manifest.file} is not what was archived: its bytes have changed. Put it back from a copy; "
            "`groundswell archive verify` says which files are damaged."
        )
