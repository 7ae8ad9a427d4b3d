"""What search reads, beside the posts that it is made from: kept in step, and made anew."""

from __future__ import annotations

from typing import Any

import msgspec

from groundswell.adapters.postgres_pool import Pool, connection
from groundswell.core.near_duplicates import fingerprints
from groundswell.core.posts import Micros
from groundswell.core.terms import search_vector
from groundswell.sql import queries

SQL = queries("indexed")


class Rebuild(msgspec.Struct, frozen=True):
    """A rebuild under way."""

    id: int
    posts: int
    """To be indexed anew, those that are done included."""
    queued: int
    """Of these, handed to the outbox."""
    all_queued: bool


class IndexState(msgspec.Struct, frozen=True):
    posts: int
    waiting: int
    """Items in the outbox."""
    not_cut: int
    """Posts whose terms an earlier release cut."""
    rebuilt_at: Micros | None
    """When the last rebuild ended."""
    rebuilding: bool
    spaces: list[tuple[str, int]]
    """Each space with the number of posts that are in it."""


class PostgresIndexed:
    """`ports.IndexedPosts`, and the progress of a rebuild. Every method raises `StoreUnavailable`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def oldest(self) -> Micros | None:
        return (await self._row("oldest"))[0]

    async def queue_before(self, instant: Micros) -> int:
        async with connection(self._pool) as conn:
            return (await conn.execute(SQL["queue_before"], {"instant": instant})).rowcount

    async def cut(self, limit: int) -> int:
        async with connection(self._pool) as conn:
            rows = await (await conn.execute(SQL["not_cut"], {"limit": limit})).fetchall()
            if not rows:
                return 0
            texts = [text for _, text in rows]
            columns = {"search": [search_vector(text) for text in texts], "fingerprint": fingerprints(texts)}
            await conn.execute(SQL["cut"], {"pk": [pk for pk, _ in rows], **columns})
        return len(rows)

    async def begin_rebuild(self) -> Rebuild:
        """A new one, or the one that was interrupted."""
        async with connection(self._pool) as conn:
            await conn.execute(SQL["begin_rebuild"])
        found = await self.rebuild()
        assert found is not None, "only this process ends what it has begun"
        return found

    async def rebuild(self) -> Rebuild | None:
        async with connection(self._pool) as conn:
            row = await (await conn.execute(SQL["rebuild"])).fetchone()
        return None if row is None else Rebuild(*row)

    async def queue_rebuild(self, rebuild: Rebuild, limit: int) -> int:
        """Hand the next posts to the outbox; answers how many."""
        return (await self._row("queue_rebuild", id=rebuild.id, limit=limit))[0]

    async def finish_rebuild(self, rebuild: Rebuild) -> None:
        async with connection(self._pool) as conn:
            await conn.execute(SQL["finish_rebuild"], {"id": rebuild.id})

    async def state(self) -> IndexState:
        counts = await self._row("state")
        async with connection(self._pool) as conn:
            spaces = await (await conn.execute(SQL["spaces"])).fetchall()
        posts, waiting, not_cut, rebuilt_at, rebuilding = counts
        return IndexState(posts, waiting, not_cut, rebuilt_at, rebuilding, [(name, number) for name, number in spaces])

    async def is_indexing(self) -> bool:
        """Whether a running platform empties the outbox."""
        return (await self._row("is_indexing"))[0]

    async def _row(self, name: str, **values: Any) -> tuple[Any, ...]:
        async with connection(self._pool) as conn:
            row = await (await conn.execute(SQL[name], values)).fetchone()
        assert row is not None, f"{name} always answers"
        return row
