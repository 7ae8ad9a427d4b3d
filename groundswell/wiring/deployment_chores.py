"""A look at a deployment from inside its network: what `groundswell doctor deployment` asks."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import msgspec

from groundswell.adapters.postgres_archive_index import PostgresArchiveIndex
from groundswell.adapters.postgres_outbox import PostgresOutbox
from groundswell.adapters.postgres_pool import Pool, connection, open_pool
from groundswell.adapters.postgres_reads import PostgresReads
from groundswell.core.retention import PREFIX
from groundswell.ports.reading import Status
from groundswell.settings_model import AdminSettings
from groundswell.wiring.maintenance import open_archive
from groundswell.wiring.vectors import vector_index

POOL_SIZE = 2
STATEMENT_S = 30.0


class Connected(msgspec.Struct, frozen=True):
    """How this process is connected to the database."""

    user: str
    encrypted: bool


class Deployment:
    """The stores of one deployment. The methods of the database raise `StoreUnavailable`."""

    def __init__(self, settings: AdminSettings, pool: Pool) -> None:
        self._settings = settings
        self._pool = pool

    async def connected(self) -> Connected:
        async with connection(self._pool) as borrowed:
            row = await (
                await borrowed.execute(
                    "SELECT current_user::text,"
                    " coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false)"
                )
            ).fetchone()
        assert row is not None
        return Connected(*row)

    async def status(self) -> Status:
        return await PostgresReads(self._pool).status()

    async def waiting(self) -> int:
        """Posts that wait to be indexed."""
        return await PostgresOutbox(self._pool).depth()

    async def points(self) -> int | None:
        """Points in the vector index; None where there is none. Raises VectorIndexUnavailable."""
        if self._settings.qdrant_url is None:
            return None
        index = vector_index(self._settings.qdrant_url, self._settings)
        try:
            return await index.count()
        finally:
            await index.close()

    async def archive(self) -> tuple[str, int, int] | None:
        """Where the archive is, how many files the database knows, and how many of them are missing there.

        None where there is no archive. Raises ArchiveUnavailable.
        """
        archive = open_archive(self._settings.archive, self._settings.data_dir, embedded=False)
        if archive is None:
            return None
        known = await PostgresArchiveIndex(self._pool).names()
        there = {found.name async for found in archive.objects(PREFIX)}
        return archive.where, len(known), len(known - there)


@asynccontextmanager
async def deployment(settings: AdminSettings) -> AsyncGenerator[Deployment]:
    """Raises StoreUnavailable."""
    pool = await open_pool(
        settings.database_url.reveal(),
        size=POOL_SIZE,
        wait_s=settings.database_pool_wait_s,
        statement_timeout_s=STATEMENT_S,
        application_name="groundswell doctor",
    )
    try:
        yield Deployment(settings, pool)
    finally:
        await pool.close()
