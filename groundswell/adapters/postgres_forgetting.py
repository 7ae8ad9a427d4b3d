"""Everything of one author, found in Postgres and removed from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import msgspec

from groundswell.adapters.postgres_archive_index import archived_file
from groundswell.adapters.postgres_pool import Pool, connection
from groundswell.adapters.postgres_store import (
    append,
    apply_counts,
    correct_alerts,
    deleted_drafts,
    outdate_labels,
)
from groundswell.core.deltas import Counted, count_deltas
from groundswell.core.retention import ArchiveRow, Manifest, archive_key, author_key, file_name, forgotten_key
from groundswell.ports.archive import ArchivedFile
from groundswell.ports.forgetting import Copy, Holdings
from groundswell.sql import queries

SQL = queries("forget")
PLACES = queries("archive")


class PostgresForgetting:
    """`ports.AuthorStore` over a connection pool."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def remember(self, author: str) -> None:
        async with connection(self._pool) as conn:
            await conn.execute(SQL["remember"], {"key": forgotten_key(author)})

    async def holdings(self, author: str) -> Holdings:
        values = {"author": author, "author_key": author_key(author)}
        async with connection(self._pool) as conn:
            row = await (await conn.execute(SQL["holdings"], values)).fetchone()
        assert row is not None, "counts always answer a row"
        return Holdings(*row)

    async def take_posts(self, author: str, limit: int) -> int:
        async with connection(self._pool) as conn, conn.cursor() as cur:
            # Batches wait meanwhile, so that no post of theirs is on its way in.
            await cur.execute(PLACES["lock_places"])
            await cur.execute(SQL["give_up_claims"], {"author": author})
            await cur.execute(SQL["take_posts"], {"author": author, "limit": limit})
            rows = await cur.fetchall()
            counted_by: dict[str, list[Counted]] = {}
            for source, _, name, entities, event_time in rows:
                counted_by.setdefault(source, []).append(Counted(name, tuple(entities), event_time))
            for source, gone in sorted(counted_by.items()):
                await apply_counts(cur, source, count_deltas((), gone))
            everything = [counted for of_source in counted_by.values() for counted in of_source]
            await outdate_labels(cur, everything)
            corrections = await correct_alerts(cur, everything, live=True)
            if rows:
                await append(cur, [*deleted_drafts([row[1] for row in rows], live=True), *corrections])
        return len(rows)

    async def take_traces(self, author: str) -> int:
        async with connection(self._pool) as conn:
            # Deletions are looked through one by one: no index leads from an author to them.
            await conn.execute("SET LOCAL statement_timeout = 0")
            hidden = (await conn.execute(SQL["take_hidden_posts"], {"author": author})).rowcount
            await conn.execute(SQL["take_traces"], {"author": author})
        return hidden

    async def files(self, author: str) -> Sequence[ArchivedFile]:
        async with connection(self._pool) as conn:
            rows = await (await conn.execute(SQL["files"], {"author_key": author_key(author)})).fetchall()
        return [archived_file(row) for row in rows]

    async def open_copy(self, file: ArchivedFile, lease_s: float) -> Copy | None:
        name = file_name(file.manifest.day, file.manifest.source, uuid4().hex)
        values = {"name": name, "file_id": file.id, "lease_s": lease_s}
        async with connection(self._pool) as conn:
            row = await (await conn.execute(SQL["open_copy"], values)).fetchone()
        return None if row is None else Copy(row[0], name)

    async def replace(
        self, file: ArchivedFile, copy: Copy | None, manifest: Manifest | None, gone: Sequence[ArchiveRow]
    ) -> bool:
        by_key = {archive_key(row.id): row for row in gone}
        values: dict[str, Any] = {"file_id": file.id, "key": list(by_key)}
        async with connection(self._pool) as conn, conn.cursor() as cur:
            await cur.execute(PLACES["lock_places"])
            await cur.execute(PLACES["lock_archived"], values)
            if await cur.fetchone() is None:
                return False
            if copy is not None:
                await cur.execute(SQL["lock_copy"], {"copy_id": copy.id})
                state = await cur.fetchone()
                if state is None or state[0] != "claimed":
                    return False
            await cur.execute(SQL["take_archived"], values)
            rows = [by_key[bytes(key)] for (key,) in await cur.fetchall()]
            counted = [Counted(row.author, row.entities, row.event_time) for row in rows]
            await apply_counts(cur, file.manifest.source, count_deltas((), counted))
            if copy is not None:
                encoded = msgspec.json.encode(manifest).decode()
                await cur.execute(SQL["move_to_copy"], {**values, "copy_id": copy.id, "manifest": encoded})
            await cur.execute(SQL["discard"], values)
        return True

    async def newest_entry(self) -> int:
        async with connection(self._pool) as conn:
            row = await (await conn.execute(SQL["newest_entry"])).fetchone()
        assert row is not None, "an aggregate has a row"
        return row[0]

    async def waiting_vectors(self, until: int, limit: int) -> Sequence[tuple[int, int]]:
        async with connection(self._pool) as conn:
            rows = await (await conn.execute(SQL["waiting_vectors"], {"until": until, "limit": limit})).fetchall()
        return [(entry, pk) for entry, pk in rows]

    async def finish_vectors(self, entries: Sequence[int]) -> None:
        async with connection(self._pool) as conn:
            await conn.execute(SQL["finish_vectors"], {"id": list(entries)})
