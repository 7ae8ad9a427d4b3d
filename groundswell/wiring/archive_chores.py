"""The archive for the command line: a database, an archive and a folder for as long as one command runs."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path

import msgspec

from groundswell.adapters.migrations import migrate, wait_for_schema
from groundswell.adapters.own_folder import own_folder
from groundswell.adapters.parquet_query import Answer, query
from groundswell.adapters.postgres_pool import Pool
from groundswell.adapters.system_clock import SystemClock
from groundswell.core.retention import FILE_ROWS
from groundswell.errors import ConfigError, InvalidRequest
from groundswell.metrics import Metrics
from groundswell.ports.archive import ArchivedFile
from groundswell.services.archive_care import Checked, restore, strays, verify
from groundswell.services.mover import Moved
from groundswell.settings_model import MoverSettings
from groundswell.wiring.chores import database
from groundswell.wiring.maintenance import ArchiveParts, archive_parts, maintenance_pool, open_archive, scratch

log = logging.getLogger(__name__)

SCHEMA_WAIT_S = 5.0
QUERY_MAX_FETCH_BYTES = 10 * 2**30
"""Files that one query may bring to this machine. What lies here already costs nothing."""
DISK_SHARE = 0.9
"""Of the free disk that they may take."""

Each = Callable[[ArchivedFile], None]
"""Called after each file: for progress."""


class Selection(msgspec.Struct, frozen=True):
    """Which files: days are inclusive, as `2026-07-04`."""

    since: str | None = None
    until: str | None = None
    source: str | None = None


class Desk:
    """What the commands do, over one database and one archive."""

    def __init__(self, parts: ArchiveParts, pool: Pool, settings: MoverSettings, folder: Path) -> None:
        self._parts = parts
        self._pool = pool
        self._settings = settings
        self._folder = folder

    @property
    def where(self) -> str:
        return self._parts.archive.where

    async def files(self, selection: Selection) -> Sequence[ArchivedFile]:
        return await self._parts.index.files(since=selection.since, until=selection.until, source=selection.source)

    async def move(self, stop: asyncio.Event, within_s: float | None, file_rows: int = FILE_ROWS) -> Moved:
        mover = self._parts.mover(
            self._pool,
            hot_days=self._settings.hot_days,
            every_s=0.0,
            scratch=self._folder / "mover",
            metrics=Metrics(),
            clock=SystemClock(skew=self._settings.clock_skew),
            file_rows=file_rows,
        )
        return await mover.move(stop, within_s=within_s, settle=True)

    async def verify(
        self, files: Sequence[ArchivedFile], each: Each, stop: asyncio.Event
    ) -> tuple[list[Checked], ArchivedFile | None]:
        """Files with faults, and the first that was not looked at because `stop` came; None where all were."""
        found: list[Checked] = []
        looked = 0
        async with aclosing(verify(self._parts.archive, self._parts.files, self._folder, files)) as checking:
            async for checked in checking:
                looked += 1
                if checked.faults:
                    found.append(checked)
                each(checked.file)
                if stop.is_set():
                    break
        return found, files[looked] if looked < len(files) else None

    async def strays(self) -> list[str]:
        """Files that nobody knows of."""
        return await strays(self._parts.index, self._parts.archive)

    async def restore(self, files: Sequence[ArchivedFile], each: Each, stop: asyncio.Event) -> tuple[int, int]:
        """How many posts came back, and of how many files: of fewer than `files` where `stop` came."""
        parts, restored, done = self._parts, 0, 0
        for file in files:
            restored += await restore(parts.index, parts.cache, parts.files, file)
            done += 1
            each(file)
            if stop.is_set():
                break
        return restored, done

    async def query(
        self, sql: str, files: Sequence[ArchivedFile], each: Each, *, limit: int, timeout_s: float
    ) -> Answer:
        away = [file.manifest.bytes for file in files if self._parts.archive.local(file.manifest.file) is None]
        room = min(QUERY_MAX_FETCH_BYTES, int(shutil.disk_usage(self._folder).free * DISK_SHARE))
        if sum(away) > room:
            raise InvalidRequest(
                f"That is {sum(away) / 2**30:.1f} GiB to fetch, and there is room for {room / 2**30:.1f} GiB. "
                "Name fewer days with --since and --until."
            )
        async with AsyncExitStack() as stack:
            paths: dict[int, Path] = {}
            for file in files:
                paths[file.id] = await stack.enter_async_context(self._parts.cache.held(file.manifest))
                each(file)
            keys, authors = await self._parts.index.withdrawn(list(paths))
            shown = {path: keys.get(file_id, frozenset()) for file_id, path in paths.items()}
            return await asyncio.to_thread(query, sql, shown, authors, limit=limit, timeout_s=timeout_s)


@asynccontextmanager
async def archive_desk(settings: MoverSettings) -> AsyncGenerator[Desk]:
    """Raises:
    ConfigError: there is no archive.
    NoPlatform: there is no database of ours.
    DataDirectoryError: the data directory cannot be used.
    StoreUnavailable, SchemaMismatch: the database cannot be used.
    """
    embedded = settings.database_url is None
    archive = open_archive(settings.archive, settings.data_dir, embedded=embedded)
    if archive is None:
        state = (
            "is off" if settings.archive else "is not set, and GROUNDSWELL_DATABASE_URL names a database of your own"
        )
        raise ConfigError(
            [
                f"GROUNDSWELL_ARCHIVE: {state}, so there is no archive. "
                "Set it to where it is or should be, for example s3://groundswell-archive/production."
            ]
        )
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(database(settings.database_url, settings.data_dir))
        folder = stack.enter_context(own_folder(scratch(settings.data_dir) / "commands"))
        if embedded:
            await migrate(url)
        pool = await maintenance_pool(stack, url, wait_s=settings.database_pool_wait_s)
        await wait_for_schema(pool, SCHEMA_WAIT_S, log.info)
        yield Desk(archive_parts(archive, pool, folder / "files"), pool, settings, folder)
