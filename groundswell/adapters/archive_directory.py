"""An archive in a directory: a disk of this machine, or one that is mounted."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import shutil
from collections.abc import AsyncGenerator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from groundswell.errors import ArchiveDamaged, ArchiveUnavailable
from groundswell.ports.archive import StoredObject

INCOMING = ".incoming"
"""Files on their way in: complete, and under their own name, before anybody sees them."""
_CHUNK = 1 << 20


class DirectoryArchive:
    """`ports.Archive` below `root`, which is made when the first file comes."""

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().absolute()
        self.where = str(self.root)

    async def put(self, name: str, file: Path, *, sha256: str) -> None:
        await asyncio.to_thread(self._put, name, file, sha256)

    async def get(self, name: str, into: Path) -> None:
        await asyncio.to_thread(self._get, name, into)

    async def delete(self, name: str) -> None:
        await asyncio.to_thread(self._delete, name)

    async def objects(self, prefix: str) -> AsyncGenerator[StoredObject]:
        for found in await asyncio.to_thread(lambda: list(self._objects(prefix))):
            yield found

    def local(self, name: str) -> Path | None:
        path = self._path(name)
        return path if path.is_file() else None

    def _put(self, name: str, file: Path, sha256: str) -> None:
        target, arriving = self._path(name), self._arriving(name)
        try:
            arriving.parent.mkdir(parents=True, exist_ok=True)
            target.parent.mkdir(parents=True, exist_ok=True)
            digest = hashlib.sha256()
            with file.open("rb") as source, arriving.open("wb") as sink:
                while chunk := source.read(_CHUNK):
                    digest.update(chunk)
                    sink.write(chunk)
                sink.flush()
                os.fsync(sink.fileno())
            if digest.hexdigest() != sha256:
                raise ArchiveUnavailable(
                    f"{file} changed while it was being archived as {name}: nothing was stored. It is tried again."
                )
            arriving.replace(target)
            _sync_folders(target.parent, self.root)
        except OSError as error:
            self._cannot("write", name, error)
        finally:
            with suppress(OSError):  # there is nothing to remove then, or discarding the claim removes it
                arriving.unlink(missing_ok=True)

    def _get(self, name: str, into: Path) -> None:
        try:
            shutil.copyfile(self._path(name), into)
        except FileNotFoundError as error:
            if not self.root.is_dir():
                self._cannot("read", name, error)
            raise ArchiveDamaged(
                f"{name} is missing from the archive at {self.where}. "
                "Put it back from a copy; `groundswell archive verify` lists all that is missing."
            ) from error
        except OSError as error:
            self._cannot("read", name, error)

    def _delete(self, name: str) -> None:
        try:
            self._path(name).unlink(missing_ok=True)
            self._arriving(name).unlink(missing_ok=True)
        except NotADirectoryError:
            return
        except OSError as error:
            self._cannot("delete", name, error)

    def _objects(self, prefix: str) -> Iterator[StoredObject]:
        try:
            for path in sorted(self.root.rglob("*")) if self.root.is_dir() else ():
                name = path.relative_to(self.root).as_posix()
                if name.startswith(prefix) and not name.startswith(INCOMING) and path.is_file():
                    yield StoredObject(name, path.stat().st_size)
        except OSError as error:
            self._cannot("list", prefix, error)

    def _path(self, name: str) -> Path:
        return self.root / name

    def _arriving(self, name: str) -> Path:
        return self.root / INCOMING / hashlib.sha256(name.encode()).hexdigest()[:32]

    def _cannot(self, act: str, name: str, error: OSError) -> NoReturn:
        remedy = "Free some space there" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "Check that directory"
        raise ArchiveUnavailable(
            f"Cannot {act} {name} in the archive at {self.where}: {error.strerror or error}. "
            f"{remedy}; posts stay in Postgres until it works."
        ) from error


def _sync_folders(folder: Path, root: Path) -> None:
    """Make the names durable, not only the bytes. Not every system can do that to a folder; Windows does by itself."""
    if os.name == "nt":
        return
    while True:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if folder == root:
            return
        folder = folder.parent
