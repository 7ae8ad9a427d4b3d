"""The right to read a source, as a session's advisory lock: it ends when the process or its connection does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psycopg
from psycopg import AsyncConnection, AsyncCursor
from psycopg.rows import TupleRow

from groundswell.adapters.postgres_address import DatabaseAddress
from groundswell.errors import LeaseLost, StoreUnavailable
from groundswell.sql import queries

SQL = queries("lease")

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
        self._session: int | None = None
        """The server's process that has the lock."""
        self._turn = asyncio.Lock()

    async def take(self) -> bool:
        async with self._turn:
            return await self._take()

    async def require(self, cursor: AsyncCursor[Any]) -> None:
        """Fail the transaction of `cursor` unless this process holds the lease.

        Call it after the transaction has locked what the next holder locks as well. Then the next holder writes nothing
        before this transaction has ended, and a process that was frozen while its lease went to another writes nothing
        after that.

        Raises:
            LeaseLost: another relay has it.
            StoreUnavailable: it cannot be confirmed.
        """
        session = self._session
        if session is not None and await self._holds(cursor, session):
            return
        async with self._turn:
            if self._session == session:
                # It ended, perhaps with a server that is back by now.
                await self._end()
            if not await self._take():
                raise LeaseLost.of(self._source)
            session = self._session
        if session is None or not await self._holds(cursor, session):
            raise StoreUnavailable(f"The lease on {self._source} cannot be confirmed: its session has ended.")

    async def release(self) -> None:
        async with self._turn:
            await self._end()

    async def _holds(self, cursor: AsyncCursor[Any], session: int) -> bool:
        values = {"family": LOCK_FAMILY, "source": self._source, "session": session}
        await cursor.execute(SQL["session_holds"], values)
        return await cursor.fetchone() is not None

    async def _take(self) -> bool:
        try:
            async with asyncio.timeout(ANSWER_S):
                if self._connection is not None:
                    await self._connection.execute("SELECT 1")
                    return True
                return await self._lock()
        except (psycopg.OperationalError, psycopg.InterfaceError, TimeoutError) as error:
            await self._end()
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
            cursor = await opened.execute(SQL["try_lock"], {"family": LOCK_FAMILY, "source": self._source})
            row = await cursor.fetchone()
            if row is not None and row[0]:
                self._connection, self._session = opened, row[1]
                return True
            return False
        finally:
            if self._connection is not opened:
                await opened.close()

    async def _end(self) -> None:
        ending, self._connection, self._session = self._connection, None, None
        if ending is not None:
            with suppress(psycopg.Error):
                await ending.close()
