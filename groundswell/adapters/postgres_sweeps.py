"""Cleanup in Postgres: what is only kept for a while goes, a bite at a time."""

from __future__ import annotations

from collections.abc import Sequence

from groundswell.adapters.postgres_connections import PostgresConnections
from groundswell.adapters.postgres_pool import Pool, connection
from groundswell.sql import queries

SQL = queries("cleanup")

BITE_ROWS = 5_000
"""Rows of one transaction."""


class AgeSweep:
    """`ports.Sweep` over one statement of cleanup.sql, which has the same name."""

    def __init__(self, pool: Pool, name: str, *, keep_s: float = 0.0, limit: int = BITE_ROWS) -> None:
        self.name = name
        self._pool = pool
        self._keep_s = keep_s
        self._limit = limit

    async def sweep(self) -> int:
        async with connection(self._pool) as conn:
            return (await conn.execute(SQL[self.name], {"keep_s": self._keep_s, "limit": self._limit})).rowcount


class ConnectionSweep:
    """`ports.Sweep` over the registry of clients whose sockets API Gateway holds."""

    name = "connections"

    def __init__(self, registry: PostgresConnections, *, limit: int = BITE_ROWS) -> None:
        self._registry = registry
        self._limit = limit

    async def sweep(self) -> int:
        return await self._registry.forget_stale(self._limit)


class PostgresVectorLedger:
    """`ports.VectorLedger` over a connection pool."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def indexed(self, after: int, until: int | None, limit: int) -> Sequence[int]:
        values = {"after": after, "until": until, "limit": limit}
        async with connection(self._pool) as conn:
            return [row[0] for row in await (await conn.execute(SQL["indexed_pks"], values)).fetchall()]

    async def anywhere(self) -> int:
        """A place by chance among the posts that were put into the vector index, for a walk to begin at."""
        async with connection(self._pool) as conn:
            row = await (await conn.execute(SQL["anywhere"])).fetchone()
        assert row is not None, "an aggregate has a row"
        return int(row[0])

    async def ownerless(self, pks: Sequence[int]) -> Sequence[int]:
        async with connection(self._pool) as conn:
            return [row[0] for row in await (await conn.execute(SQL["ownerless"], {"pk": list(pks)})).fetchall()]

    async def index_again(self, pks: Sequence[int]) -> int:
        async with connection(self._pool) as conn:
            return (await conn.execute(SQL["index_again"], {"pk": list(pks)})).rowcount
