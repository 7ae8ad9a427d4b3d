"""The outbox in Postgres: what the vector index still has to be told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from groundswell.adapters.postgres_pool import Pool, connection
from groundswell.adapters.postgres_rows import post_of
from groundswell.ports.outbox import OutboxItem
from groundswell.sql import queries

SQL = queries("outbox")


class PostgresOutbox:
    """`ports.Outbox` over a connection pool."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def claim(self, limit: int, after: int = 0) -> Sequence[OutboxItem]:
        async with connection(self._pool) as conn:
            rows = await (await conn.execute(SQL["due"], {"limit": limit, "after": after})).fetchall()
        return [_item(row) for row in rows]

    async def done(self, items: Sequence[OutboxItem], *, space: str | None) -> None:
        values = {
            "id": [item.id for item in items],
            "pk": sorted({item.pk for item in items if item.post is not None}),
            "space": space,
        }
        async with connection(self._pool) as conn:
            await conn.execute(SQL["finish"], values)

    async def depth(self) -> int:
        async with connection(self._pool) as conn:
            row = await (await conn.execute(SQL["depth"])).fetchone()
        assert row is not None
        return row[0]

    async def start_anew(self) -> int:
        async with connection(self._pool) as conn:
            return (await conn.execute(SQL["start_anew"])).rowcount


def _item(row: tuple[Any, ...]) -> OutboxItem:
    item_id, pk, op, *columns, fingerprint = row
    gone = op == "delete" or columns[0] is None
    return OutboxItem(item_id, pk, None if gone else post_of(columns), fingerprint)
