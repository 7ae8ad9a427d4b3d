"""The write side of Postgres: one transaction for each batch, and the gaps, events and reports around it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec
from psycopg import AsyncCursor

from groundswell.adapters.postgres_pool import Pool, connection
from groundswell.core.accounts import HIDING, UNKNOWN
from groundswell.core.coverage import MinutePart, advance, minute_parts
from groundswell.core.deltas import CountDeltas, Counted, count_deltas
from groundswell.core.frames import alert_json
from groundswell.core.host_positions import HostPosition, with_position
from groundswell.core.instants import rfc3339
from groundswell.core.near_duplicates import fingerprints
from groundswell.core.posts import AccountChange, Deleted, Micros, Post
from groundswell.core.retention import archive_key, author_key, forgotten_key
from groundswell.core.self_labels import NO_UNAUTHENTICATED, is_restricted
from groundswell.core.terms import search_vector
from groundswell.ports.reading import Alert
from groundswell.ports.storing import Batch, Committed, Event, EventDraft, GapCause, ResumePoint, StoredPost
from groundswell.sql import queries

SQL = queries("store")

POSTS_PER_EVENT = 40
"""Keeps a `posts.new` frame of ordinary posts under the 32 KB that API Gateway carries."""

DELETES_PER_EVENT = 200
LIST_SEPARATOR = "\x1f"
_NO_DATA = msgspec.Raw(b"{}")
_POSITIONS = msgspec.json.Decoder(dict[str, HostPosition])

Cursor: TypeAlias = AsyncCursor[tuple[Any, ...]]
Gone: TypeAlias = tuple[str, Counted]
"""The id of a post that nobody may read any more, and what it counted."""
Fence: TypeAlias = Callable[[Cursor], Awaitable[None]]
"""Fails a transaction whose process may no longer write; see `PostgresLease.require`."""


class PostgresStore:
    """`ports.PostStore` over a connection pool. Every method raises `StoreUnavailable` when Postgres is away.

    Args:
        fence: lets nothing be stored by a relay whose lease went to another.
    """

    def __init__(self, pool: Pool, fence: Fence | None = None) -> None:
        self._pool = pool
        self._fence = fence

    async def now(self) -> Micros:
        async with connection(self._pool) as conn:
            return await _scalar(await conn.execute(SQL["now"]))

    async def resume_point(self, source: str) -> ResumePoint:
        async with connection(self._pool) as conn:
            row = await (await conn.execute(SQL["resume_point"], {"source": source})).fetchone()
        if row is None:
            return ResumePoint(cursor=None, covered_until=None)
        cursor, covered_until, positions = row
        return ResumePoint(cursor, covered_until, with_position(_POSITIONS.decode(positions).values(), None))

    async def restricted_authors(self, source: str, limit: int) -> Sequence[str]:
        async with connection(self._pool) as conn:
            cur = await conn.execute(SQL["restricted_authors"], {"source": source, "limit": limit})
            return [author for (author,) in await cur.fetchall()]

    async def commit(self, batch: Batch) -> Committed:
        async with connection(self._pool) as conn, conn.cursor() as cur:
            await cur.execute(SQL["lock_source"], {"source": batch.source})
            locked = await cur.fetchone()
            assert locked is not None, "lock_source always returns its row"
            if self._fence is not None:
                await self._fence(cur)
            covered_until: Micros | None = locked[1]

            # Accounts first: posts of the batch then go at once to where they belong.
            withdrawn, hidden, restored = await _change_accounts(cur, batch)
            restricted = await _label_authors(cur, batch)
            created, kept = await _insert(cur, batch)
            added = [*restored, *(_counted(stored.post) for stored in created)]
            removed: list[Counted] = []
            edits = await _edit(cur, batch, kept | {stored.post.id for stored in created})
            for before, after in edits:
                removed.append(before)
                added.append(after)
            deleted = await _delete(cur, batch)
            gone = [*withdrawn, *hidden, *deleted]
            removed.extend(counted for _, counted in gone)

            await apply_counts(cur, batch.source, count_deltas(added, removed), batch.covered_until)
            await _cover(cur, batch, covered_until)
            await cur.execute(
                SQL["advance_cursor"],
                {
                    "source": batch.source,
                    "cursor": batch.cursor,
                    "covered_until": batch.covered_until,
                    "positions": _positions(batch.position),
                },
            )
            corrections = await correct_alerts(cur, [counted for _, counted in gone], restored, live=batch.live)
            outdated = await _outdate_labels(cur, [*withdrawn, *hidden], deleted)
            ids = [*(post_id for post_id, _ in gone), *restricted]
            events = await _announce(cur, batch, created, ids, corrections)
        return Committed(
            created=created,
            updated=len(edits),
            deleted=len(withdrawn) + len(deleted),
            hidden=len(hidden) + len(kept),
            restored=len(restored),
            duplicates=len(batch.posts) - len(created) - len(kept) - len(edits),
            events=events,
            outdates_labels=outdated or bool(restored) or bool(restricted),
        )

    async def open_gap(self, source: str, cause: GapCause, started_at: Micros, detail: str) -> Event | None:
        values = {"source": source, "cause": cause, "started_at": started_at, "detail": detail}
        async with connection(self._pool) as conn, conn.cursor() as cur:
            await cur.execute(SQL["open_gap"], values)
            row = await cur.fetchone()
            if row is None:
                return None
            gap = {
                "id": row[0],
                "source": source,
                "cause": cause,
                "detail": detail,
                "started_at": rfc3339(row[1]),
            }
            gap |= {"ended_at": None, "backfilled": False}
            return (await append(cur, [EventDraft("gap", _json(gap))], fence=self._fence))[0]

    async def close_gap(self, source: str, resumed_at: Micros, *, backfilled: bool) -> Event | None:
        values = {"source": source, "ended_at": resumed_at, "backfilled": backfilled}
        async with connection(self._pool) as conn, conn.cursor() as cur:
            await cur.execute(SQL["close_gap"], values)
            row = await cur.fetchone()
            if row is None:
                return None
            return (await append(cur, [_closed_gap(source, row, backfilled=backfilled)], fence=self._fence))[0]

    async def fill_gaps(self, source: str, since: Micros, until: Micros) -> Sequence[Event]:
        async with connection(self._pool) as conn, conn.cursor() as cur:
            await cur.execute(SQL["fill_gaps"], {"source": source, "since": since, "until": until})
            drafts = [_closed_gap(source, row, backfilled=True) for row in await cur.fetchall()]
            return await append(cur, drafts, fence=self._fence) if drafts else []

    async def append_events(self, drafts: Sequence[EventDraft]) -> Sequence[Event]:
        if not drafts:
            return []
        async with connection(self._pool) as conn, conn.cursor() as cur:
            return await append(cur, drafts, fence=self._fence)

    async def report(self, component: str, state: str, detail: Mapping[str, object]) -> None:
        values = {"component": component, "state": state, "detail": msgspec.json.encode(detail).decode()}
        async with connection(self._pool) as conn:
            await conn.execute(SQL["report_component"], values)


async def _insert(cur: Cursor, batch: Batch) -> tuple[list[StoredPost], set[str]]:
    """Store the new posts; answers those that are visible, and the ids of those whose account is hidden."""
    posts = batch.posts
    if not posts:
        return [], set()
    columns = {
        "source": batch.source,
        "id": [p.id for p in posts],
        "key": [archive_key(p.id) for p in posts],
        "author": [p.author for p in posts],
        "author_hash": [forgotten_key(p.author) for p in posts],
        "created_at": [p.created_at for p in posts],
        "event_time": [p.event_time for p in posts],
        **_contents(posts),
    }
    await cur.execute(SQL["insert_posts"], columns)
    by_id = {p.id: p for p in posts}
    rows = await cur.fetchall()
    created = [
        StoredPost(pk, _as_stored(by_id[post_id], restricted=restricted))
        for pk, post_id, restricted in rows
        if pk is not None
    ]
    return created, {post_id for pk, post_id, _ in rows if pk is None}


def _as_stored(post: Post, *, restricted: bool) -> Post:
    return post if post.restricted == restricted else msgspec.structs.replace(post, restricted=restricted)


async def _edit(cur: Cursor, batch: Batch, created: set[str]) -> list[tuple[Counted, Counted]]:
    """Apply what is newer than the stored revision; answers what each edit counted before and counts now."""
    known = {p.id: p for p in batch.posts if p.id not in created}
    if not known:
        return []
    revisions = {"id": list(known), "rev": [p.rev for p in known.values()]}
    await cur.execute(SQL["lock_older_hidden_revisions"], revisions)
    # Most of what is known is sent again as it is: only an edit is worth finding its terms and its fingerprint.
    if hidden := [known[post_id] for (post_id,) in await cur.fetchall()]:
        await cur.execute(SQL["update_hidden_posts"], {"id": [p.id for p in hidden], **_contents(hidden)})
    await cur.execute(SQL["lock_older_revisions"], revisions)
    rows = await cur.fetchall()
    if not rows:
        return []
    newer = [known[row[1]] for row in rows]
    await cur.execute(SQL["update_posts"], {"pk": [row[0] for row in rows], **_contents(newer)})
    return [
        (Counted(author, tuple(entities), event_time), Counted(author, post.entities, event_time))
        for (_, _, author, entities, event_time), post in zip(rows, newer, strict=True)
    ]


def _contents(posts: Sequence[Post]) -> dict[str, Any]:
    """The columns that an edit replaces. `restricted` is what the post itself asks for; its author may ask too."""
    return {
        "text": [p.text for p in posts],
        "lang": [p.lang for p in posts],
        "rev": [p.rev for p in posts],
        "entities": [LIST_SEPARATOR.join(p.entities) for p in posts],
        "reply_to": [p.reply_to for p in posts],
        "quote_of": [p.quote_of for p in posts],
        "labels": [LIST_SEPARATOR.join(p.labels) for p in posts],
        "restricted": [is_restricted(p.labels) for p in posts],
        **searchable([p.text for p in posts]),
    }


async def _delete(cur: Cursor, batch: Batch) -> list[Gone]:
    single = {d.id: d for d in batch.deletes if d.id is not None}
    if single:
        await cur.execute(
            SQL["delete_posts"],
            {
                "id": list(single),
                "rev": [d.rev for d in single.values()],
                "key": [archive_key(post_id) for post_id in single],
            },
        )
        return await _gone(cur)
    return []


async def _change_accounts(cur: Cursor, batch: Batch) -> tuple[list[Gone], list[Gone], list[Counted]]:
    """Bring accounts into their new states; answers which posts were deleted, were hidden, and came back."""
    changes = [*(_of_earlier_release(d) for d in batch.deletes if d.id is None), *batch.accounts]
    withdrawn: list[Gone] = []
    hidden: list[Gone] = []
    restored: list[Counted] = []
    if not changes:
        return withdrawn, hidden, restored
    if ends := _latest(change for change in changes if change.is_final):
        await cur.execute(
            SQL["delete_authors"],
            {
                "source": batch.source,
                "author": list(ends),
                "author_key": [author_key(author) for author in ends],
                "cause": [end.status for end in ends.values()],
                "until": [end.event_time for end in ends.values()],
            },
        )
        withdrawn = await _gone(cur)
    states = _latest(changes)
    await cur.execute(
        SQL["set_states"],
        {
            "source": batch.source,
            "author": list(states),
            "status": [state.status for state in states.values()],
            "hidden": [state.hides for state in states.values()],
            "at": [state.event_time for state in states.values()],
        },
    )
    now = await cur.fetchall()
    if hiding := [author for author, hides in now if hides]:
        keys = [author_key(author) for author in hiding]
        await cur.execute(SQL["hide_posts"], {"source": batch.source, "author": hiding, "author_key": keys})
        hidden = await _gone(cur)
    if showing := [author for author, hides in now if not hides]:
        await cur.execute(SQL["show_posts"], {"source": batch.source, "author": showing})
        restored = [
            Counted(author, tuple(entities), event_time) for author, entities, event_time in await cur.fetchall()
        ]
    return withdrawn, hidden, restored


async def _label_authors(cur: Cursor, batch: Batch) -> list[str]:
    """Store what profiles say; answers the posts that fewer readers see from now on."""
    if not batch.profiles:
        return []
    profiles = sorted(batch.profiles, key=lambda profile: profile.author)
    await cur.execute(
        SQL["set_author_labels"],
        {
            "source": batch.source,
            "author": [profile.author for profile in profiles],
            "author_hash": [forgotten_key(profile.author) for profile in profiles],
            "labels": [LIST_SEPARATOR.join(profile.labels) for profile in profiles],
            "restricted": [is_restricted(profile.labels) for profile in profiles],
            "rev": [profile.rev for profile in profiles],
        },
    )
    authors = [author for (author,) in await cur.fetchall()]
    if not authors:
        return []
    keys = [author_key(author) for author in authors]
    values = {"source": batch.source, "author": authors, "author_key": keys, "asks": NO_UNAUTHENTICATED}
    await cur.execute(SQL["restrict_posts"], values)
    return [post_id for (post_id,) in await cur.fetchall()]


def _of_earlier_release(deleted: Deleted) -> AccountChange:
    """Return the state of an account as it was spooled before accounts had states."""
    status = deleted.cause if deleted.cause in HIDING else UNKNOWN
    return AccountChange(deleted.source, deleted.author, deleted.event_time, deleted.cursor, status)


def _latest(changes: Iterable[AccountChange]) -> dict[str, AccountChange]:
    """The latest change of each account, sorted, so that two writers lock rows in the same order."""
    found: dict[str, AccountChange] = {}
    for change in sorted(changes, key=lambda each: (each.author, each.event_time, each.hides)):
        found[change.author] = change
    return found


async def _gone(cur: Cursor) -> list[Gone]:
    return [
        (post_id, Counted(author, tuple(entities), event_time))
        for _, post_id, author, entities, event_time in await cur.fetchall()
    ]


async def apply_counts(cur: Cursor, source: str, deltas: CountDeltas, known_at: Micros | None = None) -> None:
    """Add to and subtract from the counts of one source, within the caller's transaction.

    `known_at`: how far in its source's own time the change comes; None: as far as the source is stored.
    """
    # Sorted, so that two writers always take row locks in the same order.
    more = sorted((key, n) for key, n in deltas.mentions.items() if n > 0)
    less = sorted((key, -n) for key, n in deltas.mentions.items() if n < 0)
    if more:
        await cur.execute(SQL["add_mentions"], {**_mention_columns(source, more), "known_at": known_at})
    if less:
        columns = {**_mention_columns(source, less), "known_at": known_at}
        for name in ("subtract_from_authors", "drop_spent_authors", "drop_spent_counts"):
            await cur.execute(SQL[name], columns)
    if deltas.posts:
        totals = sorted(deltas.posts.items())
        await cur.execute(
            SQL["add_totals"],
            {"source": source, "minute": [m for m, _ in totals], "n": [n for _, n in totals]},
        )


def _mention_columns(source: str, rows: list[tuple[tuple[str, Micros, str], int]]) -> dict[str, Any]:
    return {
        "source": source,
        "entity": [entity for (entity, _, _), _ in rows],
        "minute": [minute for (_, minute, _), _ in rows],
        "author": [author for (_, _, author), _ in rows],
        "n": [n for _, n in rows],
    }


async def _cover(cur: Cursor, batch: Batch, covered_until: Micros | None) -> None:
    parts = advance(covered_until, batch.covered_from, batch.covered_until)
    if parts:
        await cur.execute(SQL["add_coverage"], {"source": batch.source, **_columns_of_parts(parts)})
    resent = [part for since, until in batch.resent for part in minute_parts(since, until)]
    if resent:
        values = {"source": batch.source, "known_at": batch.covered_until, **_columns_of_parts(resent)}
        await cur.execute(SQL["add_resent_coverage"], values)


def _columns_of_parts(parts: Sequence[MinutePart]) -> dict[str, list[int]]:
    return {
        "minute": [part.minute for part in parts],
        "since": [part.since for part in parts],
        "until": [part.until for part in parts],
    }


async def correct_alerts(
    cur: Cursor, gone: Sequence[Counted], restored: Sequence[Counted] = (), *, live: bool
) -> list[EventDraft]:
    """Note on alerts how many of their mentions were withdrawn, or came back; returns the frames that say so."""
    deltas = Counter[tuple[str, Micros]]()
    for sign, posts in ((1, gone), (-1, restored)):
        for post in posts:
            for entity in post.entities:
                deltas[entity, post.event_time] += sign
    changed = sorted((entity, at, n) for (entity, at), n in deltas.items() if n)
    if not changed:
        return []
    await cur.execute(
        SQL["correct_alerts"],
        {
            "entity": [entity for entity, _, _ in changed],
            "at": [at for _, at, _ in changed],
            "n": [n for _, _, n in changed],
        },
    )
    alerts = [Alert(*row[:-1], evidence=msgspec.Raw(row[-1].encode())) for row in await cur.fetchall()]
    return [EventDraft("alert.corrected", _json(alert_json(alert)), live) for alert in sorted(alerts, key=_id)]


def _id(alert: Alert) -> int:
    return alert.id


async def outdate_labels(cur: Cursor, gone: Iterable[Counted]) -> bool:
    """Remove labels and links that were made of posts of whole accounts that are gone; whether there were any."""
    entities = sorted({entity for counted in gone for entity in counted.entities})
    if not entities:
        return False
    removed = 0
    for name in ("forget_labels", "forget_links"):
        await cur.execute(SQL[name], {"entity": entities})
        removed += cur.rowcount
    return removed > 0


async def _outdate_labels(cur: Cursor, accounts: Sequence[Gone], single: Sequence[Gone]) -> bool:
    """Whether labels have to be made anew: a phrase is of several authors, so that a single post alone removes none."""
    outdated = await outdate_labels(cur, (counted for _, counted in accounts))
    entities = sorted({entity for _, counted in single for entity in counted.entities})
    if outdated or not entities:
        return outdated
    await cur.execute(SQL["labelled"], {"entity": entities})
    return bool(await _scalar(cur))


async def _announce(
    cur: Cursor,
    batch: Batch,
    created: Sequence[StoredPost],
    deleted: Sequence[str],
    corrections: Sequence[EventDraft],
) -> list[Event]:
    """Store the broadcast frames of a batch as the last thing in its transaction: the lock on them is short."""
    chunks = [created[i : i + POSTS_PER_EVENT] for i in range(0, len(created), POSTS_PER_EVENT)]
    drafts = [EventDraft("posts.new", _NO_DATA, batch.live) for _ in chunks]
    pks = [",".join(str(stored.pk) for stored in chunk) for chunk in chunks]
    posts = [tuple(stored.post for stored in chunk) for chunk in chunks]
    gone = [*deleted_drafts(deleted, live=batch.live), *corrections]
    drafts += gone
    pks += [""] * len(gone)
    posts += [()] * len(gone)
    return await append(cur, drafts, pks, posts) if drafts else []


def deleted_drafts(ids: Sequence[str], *, live: bool) -> list[EventDraft]:
    """Return what makes open pages drop these posts."""
    return [
        EventDraft("posts.deleted", _json({"ids": ids[i : i + DELETES_PER_EVENT]}), live)
        for i in range(0, len(ids), DELETES_PER_EVENT)
    ]


async def append(
    cur: Cursor,
    drafts: Sequence[EventDraft],
    pks: Sequence[str] | None = None,
    posts: Sequence[tuple[Post, ...]] | None = None,
    *,
    fence: Fence | None = None,
) -> list[Event]:
    """Store frames for broadcast and catch-up. Call it last in a transaction: it takes the lock on `seq`.

    `pks` holds, for each frame, the posts it carries as comma-separated keys; `posts` the same as values.
    """
    await cur.execute(SQL["lock_events"])
    if fence is not None:
        await fence(cur)
    await cur.execute(
        SQL["append_events"],
        {
            "type": [d.type for d in drafts],
            "live": [d.live for d in drafts],
            "data": [bytes(d.data).decode() for d in drafts],
            "pks": list(pks or [""] * len(drafts)),
        },
    )
    rows = await cur.fetchall()
    return [
        Event(seq=seq, ts=ts, type=d.type, live=d.live, data=d.data, posts=carried)
        for (seq, ts), d, carried in zip(rows, drafts, posts or [()] * len(drafts), strict=True)
    ]


def searchable(texts: Sequence[str]) -> dict[str, Any]:
    """The columns that search reads a text by."""
    return {"search": [search_vector(text) for text in texts], "fingerprint": fingerprints(texts)}


def _counted(post: Post) -> Counted:
    return Counted(post.author, post.entities, post.event_time)


def _closed_gap(source: str, row: tuple[Any, ...], *, backfilled: bool) -> EventDraft:
    gap_id, cause, detail, started_at, ended_at = row
    gap = {"id": gap_id, "source": source, "cause": cause, "detail": detail}
    gap |= {"started_at": rfc3339(started_at), "ended_at": rfc3339(ended_at), "backfilled": backfilled}
    return EventDraft("gap", _json(gap))


def _positions(position: HostPosition | None) -> str:
    return msgspec.json.encode({} if position is None else {position.host: position}).decode()


def _json(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


async def _scalar(cur: Cursor) -> Any:
    row = await cur.fetchone()
    assert row is not None
    return row[0]
