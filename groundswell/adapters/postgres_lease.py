"""The right to read a source, as a session's advisory lock: it ends when the process or its connection does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from groundswell.adapters.postgres_address import DatabaseAddress
from groundswell.errors import StoreUnavailable

LOCK_FAMILY = 7302003
"""The first of the lock's two keys; the second is a hash of the source's name."""
ANSWER_S = 3.0
"""How long the server has to confirm the lock. A connection that takes longer is given up."""
KEEPALIVE = "-c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3"
"""The server ends the session of a machine that vanished after about ten seconds, and its lock with it."""


class PostgresLease:
    """`ports.SourceLease`. It needs a connection of its own that no pooler shares among sessions.

    Args:
        renew: answers the database's URL as it is now, called in a thread; see `DatabaseAddress`.
    """

    def __init__(self, url: str, source: str, *, renew: Callable[[], str] | None = None) -> None:
        self._address = DatabaseAddress(url, renew)
        self._source = source
        self._connection: AsyncConnection[TupleRow] | None = None

    async def take(self) -> bool:
        try:
            async with asyncio.timeout(ANSWER_S):
                if self._connection is not None:
                    await self._connection.execute("SELECT 1")
                    return True
                return await self._lock()
        except (psycopg.OperationalError, psycopg.InterfaceError, TimeoutError) as error:
            await self.release()
            raise StoreUnavailable(
                f"The lease on {self._source} cannot be confirmed: {error or 'no answer'}"
            ) from error

    async def _lock(self) -> bool:
        async def connect(url: str) -> AsyncConnection[TupleRow]:
            return await AsyncConnection[TupleRow].connect(
                url, autocommit=True, application_name="groundswell relay lease", options=KEEPALIVE, connect_timeout=3
            )

        opened = await self._address.connect(connect)
        try:
            cursor = await opened.execute("SELECT pg_try_advisory_lock(%s, hashtext(%s))", (LOCK_FAMILY, self._source))
            row = await cursor.fetchone()
            if row is not None and row[0]:
                self._connection = opened
                return True
            return False
        finally:
            if self._connection is not opened:
                await opened.close()

    async def release(self) -> None:
        ending, self._connection = self._connection, None
        if ending is not None:
            with suppress(psycopg.Error):
                await ending.close()
