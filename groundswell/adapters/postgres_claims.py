"""The mover's side of Postgres: posts are claimed, written elsewhere, and leave in one transaction."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from uuid import uuid4

import msgspec

from groundswell.adapters.postgres_pool import Pool, connection
from groundswell.core.retention import ArchiveRow, Manifest, file_name, row_of
from groundswell.crash_points import CrashPoint, reach
from groundswell.ports.archive import Claim, Released
from groundswell.sql import queries

SQL = queries("archive")

PAGE_ROWS = 2_000
"""Posts that are read at a time."""
CLAIM_TRIES = 5
"""How often to look again when another mover was quicker."""


class _ChangedMeanwhile(Exception):
    """Undoes the transaction: not every post is what was written."""


class PostgresClaims:
    """`ports.ClaimStore` over a connection pool."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def claim(self, *, hot_s: float, limit: int, lease_s: float) -> Claim | None:
        for _ in range(CLAIM_TRIES):
            async with connection(self._pool) as conn:
                due = await (await conn.execute(SQL["oldest_due"], {"hot_s": hot_s})).fetchone()
                if due is None:
                    return None
                source, day, cutoff = due[0], due[1].isoformat(), due[2]
                name = file_name(day, source, uuid4().hex)
                values = {"name": name, "source": source, "day": day, "lease_s": lease_s}
                opened = await (await conn.execute(SQL["open_file"], values)).fetchone()
                assert opened is not None, "open_file always returns its row"
                values = {"source": source, "day": day, "cutoff": cutoff, "limit": limit, "file_id": opened[0]}
                rows = (await conn.execute(SQL["claim"], values)).rowcount
                if rows:
                    return Claim(file_id=opened[0], name=name, source=source, day=day, rows=rows)
                await conn.rollback()
        return None

    async def claimed(self, claim: Claim) -> AsyncGenerator[Sequence[ArchiveRow]]:
        after = -1
        while True:
            values = {"file_id": claim.file_id, "after": after, "limit": PAGE_ROWS}
            async with connection(self._pool) as conn:
                rows = await (await conn.execute(SQL["claimed"], values)).fetchall()
            if rows:
                page = [row_of(row) for row in rows]
                after = page[-1].pk
                yield page
            if len(rows) < PAGE_ROWS:
                return

    async def release(self, claim: Claim, manifest: Manifest, posts: Sequence[Released]) -> int:
        values = {
            "file_id": claim.file_id,
            "pk": [post.pk for post in posts],
            "rev": [post.rev for post in posts],
            "key": [post.key for post in posts],
            "author_key": [post.author_key for post in posts],
            "manifest": msgspec.json.encode(manifest).decode(),
        }
        try:
            async with connection(self._pool) as conn:
                await conn.execute(SQL["lock_places"])
                state = await (await conn.execute(SQL["lock_claim"], values)).fetchone()
                if state is None or state[0] != "claimed":
                    return 0
                gone = await (await conn.execute(SQL["take_out"], values)).fetchone()
                if gone is None or not gone[0]:
                    raise _ChangedMeanwhile
                await conn.execute(SQL["close_claim"], values)
                reach(CrashPoint.MOVER_BEFORE_RELEASE)
        except _ChangedMeanwhile:
            await self.give_up(claim)
            return 0
        return gone[0]

    async def give_up(self, claim: Claim) -> bool:
        async with connection(self._pool) as conn:
            row = await (await conn.execute(SQL["give_up"], {"file_id": claim.file_id})).fetchone()
        return row is not None and row[0] == 1

    async def expire(self) -> int:
        async with connection(self._pool) as conn:
            row = await (await conn.execute(SQL["expire"])).fetchone()
        assert row is not None, "expire always answers a count"
        return row[0]

    async def discarded(self) -> Sequence[tuple[int, str]]:
        async with connection(self._pool) as conn:
            rows = await (await conn.execute(SQL["discarded"])).fetchall()
        return [(row[0], row[1]) for row in rows]

    async def forget(self, file_id: int) -> None:
        async with connection(self._pool) as conn:
            await conn.execute(SQL["forget"], {"file_id": file_id})
