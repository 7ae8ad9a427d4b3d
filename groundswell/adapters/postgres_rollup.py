"""Rolling up old minutes in Postgres, one short transaction at a time."""

from __future__ import annotations

from collections.abc import Mapping

from groundswell.adapters.postgres_pool import Connection, Pool, connection
from groundswell.sql import queries

SQL = queries("rollup")


class PostgresRollup:
    """`ports.RollupStore` over a connection pool."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def bite(self, keep_s: Mapping[int, float], limit: int) -> int:
        async with connection(self._pool) as conn:
            locked = await (await conn.execute(SQL["try_lock"])).fetchone()
            if locked is None or not locked[0]:
                return 0
            await conn.execute(
                SQL["advance"], {"resolution": list(keep_s), "keep_s": [float(s) for s in keep_s.values()]}
            )
            done = await _fold(conn, limit)
            done += await _count(conn, "fold_sources", limit)
            done += await _count(conn, "expire", limit)
            return done


async def _fold(conn: Connection, limit: int) -> int:
    """Answers how many minutes of entities are rolled up for good; what a commit holds just now is left for later."""
    due = await (await conn.execute(SQL["fold"], {"limit": limit})).fetchone()
    if due is None or due[0] is None:
        return 0
    entity, minute, source = due
    folded = await conn.execute(SQL["drop_folded_counts"], {"entity": entity, "minute": minute, "source": source})
    await conn.execute(SQL["drop_spent_rollups"])
    return folded.rowcount


async def _count(conn: Connection, name: str, limit: int) -> int:
    row = await (await conn.execute(SQL[name], {"limit": limit})).fetchone()
    assert row is not None, f"{name} always answers a count"
    return row[0]
