"""Alert rules, which people change through the API."""

from __future__ import annotations

from groundswell.adapters.postgres_pool import Pool, connection
from groundswell.errors import InvalidRequest
from groundswell.ports.reading import AlertRule
from groundswell.sql import queries

SQL = queries("reads")

MAX_RULES = 500


class PostgresRules:
    """`ports.AlertRules` over a connection pool."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def add_rule(self, entity: str | None, kind: str | None, stage: str, min_score: float) -> AlertRule:
        async with connection(self._pool) as conn:
            counted = await (await conn.execute(SQL["count_rules"])).fetchone()
            if counted is not None and counted[0] >= MAX_RULES:
                raise InvalidRequest(f"There are {MAX_RULES} alert rules already: delete some that are not needed.")
            cur = await conn.execute(
                SQL["add_rule"], {"entity": entity, "kind": kind, "stage": stage, "min_score": min_score}
            )
            row = await cur.fetchone()
        assert row is not None, "add_rule returns the row it made"
        return AlertRule(*row)

    async def remove_rule(self, rule_id: int) -> bool:
        async with connection(self._pool) as conn:
            return (await conn.execute(SQL["remove_rule"], {"id": rule_id})).rowcount > 0
