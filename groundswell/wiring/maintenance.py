"""Mover, archive and cleanup: built for whoever runs them, a relay, a function, or the command line."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec

from groundswell.adapters.archive_directory import DirectoryArchive
from groundswell.adapters.archive_s3 import S3Archive
from groundswell.adapters.parquet_files import ParquetFiles
from groundswell.adapters.postgres_archive_index import PostgresArchiveIndex
from groundswell.adapters.postgres_claims import PostgresClaims
from groundswell.adapters.postgres_connections import PostgresConnections
from groundswell.adapters.postgres_indexed import PostgresIndexed
from groundswell.adapters.postgres_pool import Pool, open_pool
from groundswell.adapters.postgres_rollup import PostgresRollup
from groundswell.adapters.postgres_sweeps import AgeSweep, ConnectionSweep, PostgresVectorLedger
from groundswell.adapters.system_clock import SystemClock
from groundswell.configuration.secret import Secret
from groundswell.core.retention import FILE_ROWS
from groundswell.errors import ArchiveUnavailable
from groundswell.metrics import Metrics
from groundswell.ports.archive import Archive, ArchivedPost, ArchiveIndex, ArchiveReader
from groundswell.ports.cleanup import Sweep
from groundswell.ports.time import Clock
from groundswell.ports.vectors import VectorIndex
from groundswell.services.archive_reader import ArchivedPosts
from groundswell.services.archived_files import ArchivedFiles
from groundswell.services.cleanup import Cleanup
from groundswell.services.index_upkeep import IndexRetention, TermUpkeep
from groundswell.services.mover import Mover
from groundswell.services.orphan_vectors import OrphanVectors
from groundswell.services.reporting import Report
from groundswell.services.rollup import Rollup
from groundswell.services.withdrawals import Withdrawals
from groundswell.settings_model import CleanupSettings, EmbeddedSettings, RelaySettings

OFF = "off"
DAY_S = 86_400.0
MAINTENANCE_POOL_SIZE = 2
"""The mover and the cleanup need one connection at a time each."""
STATEMENT_S = 60.0
"""The transaction that takes a file's posts out of Postgres is longer than any that a request waits for."""
MOMENTUM_KEEP_S = 7 * DAY_S
COMPONENTS_KEEP_S = 30 * DAY_S
ACTIVE_ACCOUNTS_KEEP_S = 7 * DAY_S
"""How long an account's return is remembered, so that no older state of it counts: no source re-sends what is older."""


class Maintenance(msgspec.Struct, frozen=True):
    """What keeps the stores in shape, ready to run."""

    mover: Mover | None
    """None where nothing is archived, or where scheduled jobs do the work."""
    cleanup: Cleanup | None
    """None where scheduled jobs do the work."""
    reports: Mapping[str, Report]


class ArchiveParts(msgspec.Struct, frozen=True):
    """An archive, and what is needed to work on it."""

    archive: Archive
    index: ArchiveIndex
    files: ParquetFiles
    cache: ArchivedFiles
    withdrawals: Withdrawals

    def mover(
        self,
        pool: Pool,
        *,
        hot_days: float,
        every_s: float,
        scratch: Path,
        metrics: Metrics,
        clock: Clock,
        file_rows: int = FILE_ROWS,
    ) -> Mover:
        return Mover(
            PostgresClaims(pool),
            self.archive,
            self.files,
            self.withdrawals,
            clock,
            scratch=scratch,
            hot_s=hot_days * DAY_S,
            every_s=every_s,
            file_rows=file_rows,
            metrics=metrics,
        )


def open_archive(location: str | None, data_dir: Path, *, embedded: bool) -> Archive | None:
    """The archive at a location as GROUNDSWELL_ARCHIVE names it; None where there is none.

    Without a location it lies beside the embedded database. A database of somebody's own may outlive this machine's
    disk, so its posts go nowhere that nobody named.
    """
    if location == OFF or (location is None and not embedded):
        return None
    if location is None:
        return DirectoryArchive(data_dir.expanduser().resolve() / "archive")
    if location.startswith("s3://"):
        bucket, _, prefix = location.removeprefix("s3://").partition("/")
        return S3Archive(bucket, prefix)
    return DirectoryArchive(Path(location))


def archive_parts(archive: Archive, pool: Pool, folder: Path) -> ArchiveParts:
    """`folder`: for files that are fetched; what an earlier run left in it goes."""
    shutil.rmtree(folder, ignore_errors=True)
    files, index = ParquetFiles(), PostgresArchiveIndex(pool)
    cache = ArchivedFiles(archive, folder)
    return ArchiveParts(
        archive=archive, index=index, files=files, cache=cache, withdrawals=Withdrawals(index, cache, files)
    )


def archive_reader(archive: Archive | None, pool: Pool, data_dir: Path) -> ArchiveReader:
    """Archived posts for the API."""
    if archive is None:
        return _Nowhere(PostgresArchiveIndex(pool))
    parts = archive_parts(archive, pool, scratch(data_dir) / "api")
    return ArchivedPosts(parts.index, parts.cache, parts.files)


def scratch(data_dir: Path) -> Path:
    """Where files lie while they are on their way. Everything below it may be deleted while nothing runs."""
    return data_dir.expanduser().resolve() / "scratch"


async def open_maintenance(
    stack: AsyncExitStack,
    settings: RelaySettings | EmbeddedSettings,
    url: str,
    *,
    embedded: bool,
    index: VectorIndex | None,
    metrics: Metrics,
) -> Maintenance:
    """Mover and cleanup on a pool of their own; neither of them where scheduled jobs do their work."""
    if settings.maintenance == "scheduled":
        return Maintenance(mover=None, cleanup=None, reports={})
    clock = SystemClock(skew=settings.clock_skew)
    renew = renewal(settings.database_url)
    pool = await maintenance_pool(stack, url, wait_s=settings.database_pool_wait_s, renew=renew)
    archive = open_archive(settings.archive, settings.data_dir, embedded=embedded)
    mover = None
    if archive is not None:
        folder = scratch(settings.data_dir)
        shutil.rmtree(folder / "mover", ignore_errors=True)
        mover = archive_parts(archive, pool, folder / "withdrawals").mover(
            pool,
            hot_days=settings.hot_days,
            every_s=settings.archive_every_minutes * 60.0,
            scratch=folder / "mover",
            metrics=metrics,
            clock=clock,
        )
    return Maintenance(
        mover=mover,
        cleanup=Cleanup(sweeps(settings, pool, index), clock, metrics=metrics),
        reports={"archive": mover.status if mover is not None else lambda: _off(settings.archive)},
    )


def renewal(database_url: Secret | None) -> Callable[[], str] | None:
    """How a pool learns the database's URL anew. None where the database is the embedded one."""
    return None if database_url is None else database_url.reveal_anew


async def maintenance_pool(
    stack: AsyncExitStack,
    url: str,
    *,
    wait_s: float,
    size: int = MAINTENANCE_POOL_SIZE,
    renew: Callable[[], str] | None = None,
) -> Pool:
    pool = await open_pool(
        url,
        size=size,
        wait_s=wait_s,
        statement_timeout_s=STATEMENT_S,
        application_name="groundswell maintenance",
        renew=renew,
    )
    stack.push_async_callback(pool.close)
    return pool


def sweeps(
    settings: RelaySettings | EmbeddedSettings | CleanupSettings,
    pool: Pool,
    index: VectorIndex | None,
    *,
    orphans: OrphanVectors | None = None,
) -> Sequence[Sweep]:
    """Everything that cleanup does, in this order. What is to be swept from now on is added here.

    `orphans` takes the place of the walk that compares a page in each round.
    """
    tombstones_s = settings.tombstones_keep_days * DAY_S
    from groundswell.services.recent_counts import NOTES_KEPT_S  # computes: an API starts without it

    found: list[Sweep] = [
        AgeSweep(pool, "events", keep_s=settings.events_keep_hours * 3600.0),
        AgeSweep(pool, "momentum", keep_s=MOMENTUM_KEEP_S),
        AgeSweep(pool, "late_counts", keep_s=NOTES_KEPT_S),
        AgeSweep(pool, "alerts", keep_s=settings.alerts_keep_days * DAY_S),
        AgeSweep(pool, "tombstones", keep_s=tombstones_s),
        AgeSweep(pool, "author_tombstones", keep_s=tombstones_s),
        AgeSweep(pool, "hidden_posts", keep_s=settings.hidden_keep_days * DAY_S),
        AgeSweep(pool, "active_accounts", keep_s=ACTIVE_ACCOUNTS_KEEP_S),
        AgeSweep(pool, "author_labels", keep_s=ACTIVE_ACCOUNTS_KEEP_S),
        AgeSweep(pool, "hidden_accounts", keep_s=tombstones_s),
        AgeSweep(pool, "components", keep_s=COMPONENTS_KEEP_S),
        AgeSweep(pool, "outbox"),
        ConnectionSweep(PostgresConnections(pool)),
        Rollup(
            PostgresRollup(pool),
            keep_s={
                60: settings.counts_minutes_keep_hours * 3600,
                300: settings.counts_five_minutes_keep_days * DAY_S,
                3600: settings.counts_hours_keep_days * DAY_S,
                86_400: settings.counts_days_keep_days * DAY_S,
            },
        ),
    ]
    if settings.archive_keep_days:
        archived_s = settings.archive_keep_days * DAY_S
        found += [
            AgeSweep(pool, "archived_posts", keep_s=archived_s),
            AgeSweep(pool, "archive_files", keep_s=archived_s),
        ]
    posts = PostgresIndexed(pool)
    found.append(TermUpkeep(posts))
    if index is not None:
        found.append(IndexRetention(posts, index))
        found.append(orphans or OrphanVectors(index, PostgresVectorLedger(pool)))
    return found


def _off(location: str | None) -> tuple[str, Mapping[str, object]]:
    named = "GROUNDSWELL_ARCHIVE is off" if location == OFF else "GROUNDSWELL_ARCHIVE is not set"
    return OFF, {"why": f"{named}: posts stay in Postgres."}


class _Nowhere:
    """The reader of an API that was not told where the archive is."""

    def __init__(self, index: ArchiveIndex) -> None:
        self._index = index

    async def post(self, post_id: str, *, signed_in: bool = False) -> ArchivedPost | None:  # noqa: ARG002 -- the port's
        if await self._index.file_of(post_id) is None:
            return None
        raise ArchiveUnavailable(
            "This post is in the archive, and this API does not know where that is. "
            "Set GROUNDSWELL_ARCHIVE to what it is for the relay."
        )
