"""Which post is in which file of the archive, and what has been withdrawn of it since."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from groundswell.adapters.postgres_pool import Connection, Pool, connection
from groundswell.adapters.postgres_store import (
    LIST_SEPARATOR,
    Cursor,
    append,
    apply_counts,
    correct_alerts,
    searchable,
)
from groundswell.core.deltas import Counted, count_deltas
from groundswell.core.retention import ALWAYS, ArchiveRow, Authors, Manifest, archive_key, withdrawn_rows
from groundswell.ports.archive import ArchivedFile, Withdrawal
from groundswell.sql import queries

SQL = queries("archive")


class PostgresArchiveIndex:
    """`ports.ArchiveIndex` over a connection pool."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def files(
        self, *, since: str | None = None, until: str | None = None, source: str | None = None
    ) -> Sequence[ArchivedFile]:
        values = {"since": since, "until": until, "source": source}
        async with connection(self._pool) as conn:
            rows = await (await conn.execute(SQL["files"], values)).fetchall()
        return [archived_file(row) for row in rows]

    async def file_of(self, post_id: str) -> ArchivedFile | None:
        async with connection(self._pool) as conn:
            row = await (await conn.execute(SQL["file_of"], {"key": archive_key(post_id)})).fetchone()
        return None if row is None else archived_file(row)

    async def labels_of(self, post_id: str) -> tuple[tuple[str, ...], bool]:
        async with connection(self._pool) as conn:
            row = await (await conn.execute(SQL["labels_of"], {"key": archive_key(post_id)})).fetchone()
        return ((), False) if row is None else (tuple(row[0]), row[1])

    async def withdrawn(self, file_ids: Sequence[int]) -> tuple[Mapping[int, frozenset[bytes]], Authors]:
        values = {"file_ids": list(file_ids)}
        keys: dict[int, set[bytes]] = {}
        async with connection(self._pool) as conn:
            for file_id, key in await (await conn.execute(SQL["withdrawn_keys"], values)).fetchall():
                keys.setdefault(file_id, set()).add(bytes(key))
            authors, _ = await _authors(conn, values)
        return {file_id: frozenset(found) for file_id, found in keys.items()}, authors

    async def names(self) -> frozenset[str]:
        async with connection(self._pool) as conn:
            return frozenset(row[0] for row in await (await conn.execute(SQL["names"])).fetchall())

    async def pending(self, after: int = 0) -> Withdrawal | None:
        async with connection(self._pool) as conn:
            row = await (await conn.execute(SQL["pending_file"], {"after": after})).fetchone()
            if row is None:
                return None
            return await _pending_of(conn, archived_file(row))

    async def settle(self, withdrawal: Withdrawal, gone: Sequence[ArchiveRow], kept: Sequence[bytes]) -> int:
        async with connection(self._pool) as conn, conn.cursor() as cur:
            await cur.execute(SQL["lock_places"])
            return await _settle(conn, cur, withdrawal, gone, kept)

    async def restore(self, file: ArchivedFile, rows: Sequence[ArchiveRow]) -> int:
        async with connection(self._pool) as conn, conn.cursor() as cur:
            await cur.execute(SQL["lock_places"])
            await cur.execute(SQL["lock_archived"], {"file_id": file.id})
            if await cur.fetchone() is None:
                return 0
            # No deletion is stored while the lock is held: what is settled now is all that there is.
            withdrawal = await _pending_of(conn, file)
            if withdrawal.revs or withdrawal.authors:
                await _settle(conn, cur, withdrawal, *withdrawn_rows(rows, withdrawal.revs, withdrawal.authors))
            back = await (await conn.execute(SQL["restore"], {"file_id": file.id, **_columns(rows)})).fetchone()
            assert back is not None, "restore always answers a count"
            await conn.execute(SQL["discard"], {"file_id": file.id})
            return back[0]


async def _pending_of(conn: Connection, file: ArchivedFile) -> Withdrawal:
    revs = await (await conn.execute(SQL["pending_revs"], {"file_id": file.id})).fetchall()
    authors, deleted = await _authors(conn, {"file_ids": [file.id]})
    return Withdrawal(file=file, revs={bytes(key): rev for key, rev in revs}, authors=authors, deleted=deleted)


async def _settle(
    conn: Connection, cur: Cursor, withdrawal: Withdrawal, gone: Sequence[ArchiveRow], kept: Sequence[bytes]
) -> int:
    """Subtract what is withdrawn from the counts; answers how many posts. The caller holds the lock on places."""
    file_id, source = withdrawal.file.id, withdrawal.file.manifest.source
    # An account may have come back, or be withdrawn further, since the file was read.
    now, deleted = await _authors(conn, {"file_ids": [file_id]})
    authors = {author: min(until, now[author]) for author, until in withdrawal.authors.items() if author in now}
    gone, _ = withdrawn_rows(gone, withdrawal.revs, authors)
    by_key = {archive_key(row.id): row for row in gone}
    done = [author for author, until in authors.items() if until >= now[author]]
    if kept:
        await cur.execute(SQL["reinstate"], {"file_id": file_id, "key": list(kept)})
    await cur.execute(SQL["settle"], {"file_id": file_id, "key": list(by_key)})
    found = {bytes(key): (tuple(labels), restricted) for key, labels, restricted in await cur.fetchall()}
    settled = [by_key[key] for key in found]
    counted = [Counted(row.author, row.entities, row.event_time) for row in settled]
    await apply_counts(cur, source, count_deltas((), counted))
    corrections = await correct_alerts(cur, counted, live=False)
    final = {archive_key(row.id) for row in withdrawn_rows(settled, withdrawal.revs, deleted)[0]}
    if hidden := [row for row in settled if archive_key(row.id) not in final]:
        said = [found[archive_key(row.id)] for row in hidden]
        columns = {
            **_columns(hidden),
            "ingested_at": [row.ingested_at for row in hidden],
            "labels": [LIST_SEPARATOR.join(labels) for labels, _ in said],
            "restricted": [restricted for _, restricted in said],
        }
        await cur.execute(SQL["hide_archived"], columns)
    await cur.execute(
        SQL["settle_takedowns"],
        {"file_id": file_id, "source": [source for source, _ in done], "author": [author for _, author in done]},
    )
    if corrections:
        await append(cur, corrections)
    return len(settled)


async def _authors(conn: Connection, values: Mapping[str, Any]) -> tuple[Authors, Authors]:
    """Up to when posts of accounts are withdrawn from these files, and up to when those that were deleted are gone."""
    rows = await (await conn.execute(SQL["withdrawn_authors"], values)).fetchall()
    withdrawn = {(source, author): ALWAYS if hidden else until or 0 for source, author, until, hidden in rows}
    deleted = {(source, author): until for source, author, until, _ in rows if until is not None}
    return withdrawn, deleted


def archived_file(row: Sequence[Any]) -> ArchivedFile:
    """Return the file in columns that are selected as id, manifest, withdrawn posts."""
    return ArchivedFile(id=row[0], manifest=msgspec.json.decode(row[1], type=Manifest), withdrawn=row[2])


def _columns(rows: Sequence[ArchiveRow]) -> dict[str, Any]:
    return {
        "key": [archive_key(row.id) for row in rows],
        "pk": [row.pk for row in rows],
        "id": [row.id for row in rows],
        "source": [row.source for row in rows],
        "author": [row.author for row in rows],
        "text": [row.text for row in rows],
        "lang": [row.lang for row in rows],
        "created_at": [row.created_at for row in rows],
        "event_time": [row.event_time for row in rows],
        "rev": [row.rev for row in rows],
        "entities": [LIST_SEPARATOR.join(row.entities) for row in rows],
        "reply_to": [row.reply_to for row in rows],
        "quote_of": [row.quote_of for row in rows],
        **searchable([row.text for row in rows]),
    }
