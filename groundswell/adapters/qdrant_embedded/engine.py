"""The collections of a data directory, and the work that goes on behind the requests: flushing and indexing."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import sys
from pathlib import Path

from groundswell.adapters.data_directory import DirectoryLock
from groundswell.adapters.qdrant_embedded.collection import SEAL_AT, Collection, check_vectors
from groundswell.adapters.qdrant_embedded.limits import MAX_COLLECTIONS, at_most, check_payload
from groundswell.adapters.qdrant_embedded.refused import Refused
from groundswell.adapters.qdrant_embedded.shard import Schema, Shard
from groundswell.errors import DataDirectoryError

FLUSH_EVERY_S = 5.0
"""What a power cut can take from the index. Killing the process takes nothing."""
RETRY_INDEXING_S = 600.0

_DELETED = "~deleted"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")


class Engine:
    """Holds the directory from construction to `close`.

    Raises:
        DataDirectoryError: another process holds the directory, or what lies in it is damaged.
    """

    def __init__(self, path: Path, *, seal_at: int = SEAL_AT) -> None:
        self.path = path
        self.collections: dict[str, Collection] = {}
        self._seal_at = seal_at
        self._failed: set[Path] = set()
        self._lock = DirectoryLock(path)
        self._lock.acquire()
        try:
            self._open_all()
        except BaseException:
            self.close()
            raise

    def collection(self, name: str) -> Collection:
        try:
            return self.collections[name]
        except KeyError:
            raise Refused(404, f"Not found: Collection `{name[:300]}` doesn't exist!") from None

    def create(self, name: str, schema: Schema) -> None:
        if name in self.collections:
            raise Refused(409, f"Wrong input: Collection `{name}` already exists!")
        if not _NAME.fullmatch(name):
            raise Refused(
                422, f"Validation error: collection names have up to 200 of A-Z a-z 0-9 _ - . and not {name[:40]!r}"
            )
        at_most(len(self.collections) + 1, MAX_COLLECTIONS, "collections")
        check_vectors(schema.vectors)
        check_payload(schema.given)
        for vector in schema.vectors.values():
            check_payload(vector.given)
        path = self._folder / name
        self.collections[name] = Collection.create(path, name, schema, seal_at=self._seal_at)

    def delete(self, name: str) -> bool:
        collection = self.collections.pop(name, None)
        if collection is None:
            return False
        collection.close()
        # Renamed first: a crash half-way through removing must not leave half a collection to be opened.
        doomed = collection.path.with_name(collection.path.name + _DELETED)
        collection.path.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)
        return True

    async def work(self) -> None:
        """Flush every few seconds and index sealed shards, until cancelled."""
        indexing: asyncio.Task[None] | None = None
        try:
            while True:
                await asyncio.sleep(FLUSH_EVERY_S)
                for collection in list(self.collections.values()):
                    collection.flush()
                if indexing is None or indexing.done():
                    if indexing is not None:
                        indexing.result()
                    indexing = asyncio.create_task(self._tidy())
        finally:
            if indexing is not None:
                indexing.cancel()
                await asyncio.gather(indexing, return_exceptions=True)

    def close(self) -> None:
        for collection in self.collections.values():
            collection.close()
        self.collections.clear()
        self._lock.release()

    @property
    def _folder(self) -> Path:
        return self.path / "collections"

    def _open_all(self) -> None:
        self._folder.mkdir(exist_ok=True)
        for path in sorted(self._folder.iterdir()):
            if path.name.endswith(_DELETED) or Collection.is_unfinished(path):
                shutil.rmtree(path)
                continue
            try:
                collection = Collection.open(path, seal_at=self._seal_at)
            except Exception as error:
                raise DataDirectoryError(
                    f"The vector index in {path} is damaged and cannot be opened ({error}). No post is lost: Postgres "
                    "holds them all, and the index is made from it. Move this folder away, start again, and the "
                    "posts are indexed anew; searches by words work meanwhile."
                ) from error
            self.collections[collection.name] = collection

    async def _tidy(self) -> None:
        """Index and merge until nothing is left to do."""
        while await self._tidy_one():
            pass

    async def _tidy_one(self) -> bool:
        """Give the oldest sealed shard without an index its index; where all have one, merge the oldest that can be."""
        for collection in list(self.collections.values()):
            for shard, indexed in collection.sealed:
                if not indexed and shard.path not in self._failed:
                    if not await collection.index(shard, build_index):
                        self._set_aside(shard)
                    return True
        for collection in list(self.collections.values()):
            shards = collection.mergeable()
            if shards and shards[0].path not in self._failed:
                if not await collection.merge(shards, merge):
                    self._set_aside(shards[0])
                return True
        return False

    def _set_aside(self, shard: Shard) -> None:
        """It goes on answering without an index; try again later."""
        self._failed.add(shard.path)
        asyncio.get_running_loop().call_later(RETRY_INDEXING_S, self._failed.discard, shard.path)


async def build_index(path: Path) -> bool:
    """Run the engine's optimizer over a shard in a child process: it would stop this one for tens of seconds."""
    return await _runs("optimize", path)


async def merge(target: Path, parts: list[Path]) -> bool:
    """Make one shard of several, in a child process for the same reason."""
    return await _runs("merge", target, *parts)


async def _runs(module: str, *paths: Path) -> bool:
    command = [sys.executable, "-m", f"groundswell.adapters.qdrant_embedded.{module}", *map(str, paths)]
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        return await process.wait() == 0
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
