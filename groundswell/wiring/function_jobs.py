"""Mover and cleanup as Lambda functions: one bounded run over parts of its own, closed before the function is frozen.

Each run reads its settings anew, so that a secret that was rotated in between is the new one.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

import msgspec

from groundswell import crash_points, settings
from groundswell.adapters.migrations import require_schema
from groundswell.adapters.postgres_pool import Pool
from groundswell.adapters.postgres_store import PostgresStore
from groundswell.adapters.postgres_sweeps import PostgresVectorLedger
from groundswell.adapters.system_clock import SystemClock
from groundswell.errors import ConfigError
from groundswell.metrics import Metrics
from groundswell.observability import configure_logging
from groundswell.services.cleanup import Cleanup
from groundswell.services.mover import Moved
from groundswell.services.orphan_vectors import OrphanVectors
from groundswell.settings_model import CleanupSettings, MoverSettings
from groundswell.wiring.function_runtime import runtime
from groundswell.wiring.maintenance import archive_parts, maintenance_pool, open_archive, scratch, sweeps

RESERVE_S = 20.0
"""Left of a function's time when its work ends: for the step that is under way, and for closing."""
ORPHAN_PAGES = 200
"""Pages of the vector index that one run compares: a million points."""


def move_now(left_s: float, every_s: float) -> Mapping[str, Any]:
    """Move what is due, and stop cleanly before `left_s` seconds are over. Answers `Moved` as a mapping.

    `every_s`: seconds between two runs, so that whoever reads the report knows when the next is due.

    Raises:
        ConfigError: the environment cannot work, or names no archive.
        ArchiveUnavailable, StoreUnavailable, SchemaMismatch: nothing more can be moved now; every post is where it was.
    """
    return runtime().run(_move(settings.load(MoverSettings), max(0.0, left_s - RESERVE_S), every_s))


def sweep_now(left_s: float) -> Mapping[str, int]:
    """Every sweep once, or as many as fit into `left_s` seconds. Answers how much each dealt with.

    Raises:
        ConfigError: the environment cannot work.
        StoreUnavailable, SchemaMismatch: the database cannot be used.
    """
    return runtime().run(_sweep(settings.load(CleanupSettings), max(0.0, left_s - RESERVE_S)))


async def _move(chosen: MoverSettings, within_s: float, every_s: float) -> Mapping[str, Any]:
    archive = open_archive(chosen.archive, chosen.data_dir, embedded=False)
    if archive is None:
        raise ConfigError(
            [
                "GROUNDSWELL_ARCHIVE: is off or not set, so there is nowhere to move posts to. "
                "Set it to where the archive is, for example s3://groundswell-archive/production."
            ]
        )
    crash_points.arm(chosen.crash_point)
    async with AsyncExitStack() as stack:
        pool = await _pool(stack, chosen)
        folder = scratch(chosen.data_dir)
        # What a run that was killed left on the disk of this process.
        shutil.rmtree(folder / "mover", ignore_errors=True)
        mover = archive_parts(archive, pool, folder / "withdrawals").mover(
            pool,
            hot_days=chosen.hot_days,
            every_s=0.0,
            scratch=folder / "mover",
            metrics=Metrics(),
            clock=SystemClock(skew=chosen.clock_skew),
        )
        moved: Moved = await mover.move(within_s=within_s, settle=True)
        state, detail = mover.status()
        await PostgresStore(pool).report("archive", state, {**detail, "every_s": every_s})
        return msgspec.to_builtins(moved)


async def _sweep(chosen: CleanupSettings, within_s: float) -> Mapping[str, int]:
    async with AsyncExitStack() as stack:
        pool = await _pool(stack, chosen)
        index = orphans = None
        if chosen.qdrant_url is not None:
            from groundswell.wiring.vectors import vector_index

            index = vector_index(chosen.qdrant_url, chosen)
            stack.push_async_callback(index.close)
            ledger = PostgresVectorLedger(pool)
            orphans = OrphanVectors(index, ledger, pages=ORPHAN_PAGES, rest_bites=0, after=await ledger.anywhere())
        clock = SystemClock(skew=chosen.clock_skew)
        cleanup = Cleanup(sweeps(chosen, pool, index, orphans=orphans), clock)
        return await cleanup.round(within_s=within_s)


async def _pool(stack: AsyncExitStack, chosen: MoverSettings | CleanupSettings) -> Pool:
    """A pool for one run, over a database that has the schema of this version."""
    configure_logging(level=chosen.log_level, style="json")
    if chosen.database_url is None:
        raise ConfigError(["GROUNDSWELL_DATABASE_URL: is not set. Set it to the database to work on."])
    pool = await maintenance_pool(
        stack,
        chosen.database_url.reveal(),
        wait_s=chosen.database_pool_wait_s,
        size=chosen.database_pool_size,
    )
    await require_schema(pool)
    return pool
