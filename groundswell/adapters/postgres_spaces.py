"""Which space each post is embedded in, in Postgres."""

from __future__ import annotations

from groundswell.adapters.postgres_pool import Pool, connection, reading
from groundswell.ports.vectors import Requeued
from groundswell.sql import queries

SQL = queries("spaces")

_ABOVE_ALL = 2**63 - 1


class PostgresSpaces:
    """`ports.SpaceStore` over a connection pool."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def posts_by_space(self) -> dict[str, int]:
        async with reading(self._pool) as conn:
            return dict(await (await conn.execute(SQL["posts_by_space"])).fetchall())

    async def queue_again(self, space: str, before: int | None, limit: int) -> Requeued:
        values = {"space": space, "before": _ABOVE_ALL if before is None else before, "limit": limit}
        async with connection(self._pool) as conn:
            row = await (await conn.execute(SQL["queue_again"], values)).fetchone()
        assert row is not None
        return Requeued(*row)

    async def forget(self, space: str) -> None:
        async with connection(self._pool) as conn:
            await conn.execute(SQL["forget"], {"space": space})
