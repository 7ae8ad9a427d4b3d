"""The registry of clients whose sockets API Gateway holds, in Postgres: the API's functions write it, the relay reads.

Changes travel by LISTEN/NOTIFY on a connection of its own, which is not one of the pool's: it stays open.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import psycopg

from groundswell.adapters.postgres.session import CLIENT_ENCODING
from groundswell.adapters.postgres_pool import Pool, connection
from groundswell.core.message_budget import Allowance
from groundswell.ports.live import RemoteClient
from groundswell.sql import queries

log = logging.getLogger(__name__)

SQL = queries("connections")

CHANNEL = "ws_connections"
LOOK_UP_S = 5.0
"""How often a listener that hears nothing looks whether it is to stop, and whether its connection still stands."""
RELISTEN_S = 2.0
KEEP_S = 2.5 * 3600
"""API Gateway ends every connection after two hours."""
MOST_HEARD_AT_ONCE = 200
"""Changes gathered before they are handed on."""


class PostgresConnections:
    """`ports.ConnectionRegistry`. `changes` listens on a connection beside the pool's."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def add(self, connection_id: str, *, signed_in: bool = False) -> None:
        async with connection(self._pool) as conn:
            await conn.execute(SQL["add"], {"connection_id": connection_id, "signed_in": signed_in})

    async def remove(self, connection_ids: Sequence[str]) -> None:
        async with connection(self._pool) as conn:
            await conn.execute(SQL["remove"], {"connection_id": list(connection_ids)})

    async def update(self, connection_id: str, change: Callable[[RemoteClient, int], RemoteClient]) -> None:
        async with connection(self._pool) as conn:
            await conn.execute(SQL["add"], {"connection_id": connection_id, "signed_in": False})
            row = await (await conn.execute(SQL["lock_one"], {"connection_id": connection_id})).fetchone()
            assert row is not None, "it was added a line above"
            changed = change(_client(row[1:]), row[0])
            await conn.execute(
                SQL["update_one"],
                {
                    "connection_id": connection_id,
                    "topics": list(changed.topics),
                    "paused_at": changed.paused_at,
                    "greeted_at": changed.greeted_at,
                },
            )

    async def greeted(self, limit: int) -> Sequence[RemoteClient]:
        async with connection(self._pool) as conn:
            rows = await (await conn.execute(SQL["all"], {"limit": limit})).fetchall()
        return [_client(row) for row in rows]

    async def look_up(self, connection_ids: Sequence[str]) -> Sequence[RemoteClient]:
        async with connection(self._pool) as conn:
            rows = await (await conn.execute(SQL["some"], {"connection_id": list(connection_ids)})).fetchall()
        return [_client(row) for row in rows]

    async def changes(self, stop: asyncio.Event) -> AsyncIterator[frozenset[str]]:
        while not stop.is_set():
            try:
                async with await self._pool.address.connect(_listener) as conn:
                    await conn.execute(f"LISTEN {CHANNEL}")
                    yield frozenset()
                    while not stop.is_set():
                        heard = await _heard(conn)
                        if heard:
                            yield heard
            except psycopg.OperationalError as error:
                log.warning("the registry of clients is not heard for the moment: %s", str(error).strip())
                await asyncio.wait({asyncio.ensure_future(stop.wait())}, timeout=RELISTEN_S)

    async def spend(self, messages: int) -> Allowance:
        async with connection(self._pool) as conn:
            row = await (await conn.execute(SQL["spend"], {"messages": messages})).fetchone()
        assert row is not None, "an upsert returns its row"
        return Allowance(spent=row[0], left_s=row[1])

    async def forget_stale(self, limit: int) -> int:
        """Remove up to `limit` clients that API Gateway must have ended long ago; answers how many."""
        async with connection(self._pool) as conn:
            done = await conn.execute(SQL["forget_stale"], {"keep_s": KEEP_S, "limit": limit})
            return done.rowcount


async def _listener(url: str) -> psycopg.AsyncConnection[Any]:
    return await psycopg.AsyncConnection.connect(
        url,
        autocommit=True,
        connect_timeout=10,
        application_name="groundswell listen",
        client_encoding=CLIENT_ENCODING,
    )


async def _heard(conn: psycopg.AsyncConnection[Any]) -> frozenset[str]:
    """What was notified of by the time that the first notification has come, or `LOOK_UP_S` have passed."""
    heard: set[str] = set()
    async for notice in conn.notifies(timeout=LOOK_UP_S, stop_after=1):
        heard.add(notice.payload)
    if len(heard) < MOST_HEARD_AT_ONCE:
        async for notice in conn.notifies(timeout=0, stop_after=MOST_HEARD_AT_ONCE):
            heard.add(notice.payload)
    if not heard:
        await conn.execute("SELECT 1")
    return frozenset(heard)


def _client(row: Sequence[Any]) -> RemoteClient:
    connection_id, topics, paused_at, greeted_at, signed_in = row
    return RemoteClient(connection_id, tuple(topics), paused_at, greeted_at, signed_in)
