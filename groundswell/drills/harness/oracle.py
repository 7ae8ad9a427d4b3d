"""Holds what is stored against the simulator's own account of what it delivered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, TypeAlias

import psycopg

from groundswell.adapters.simulator import Truth
from groundswell.core.instants import from_datetime
from groundswell.core.posts import Micros
from groundswell.drills.harness.feed import Feed
from groundswell.drills.harness.verdict import Reconciliation

_EXAMPLES = 5
_FOREVER: Micros = 2**62


StoredPost: TypeAlias = tuple[str, str, str, Micros, tuple[str, ...]]
"""Id, author, revision, event time, entities."""


async def reconcile(url: str, feed: Feed, archived: Sequence[StoredPost] = ()) -> Reconciliation:
    """Compare everything. The platform must be at rest, and the world ended.

    Args:
        archived: the posts of the archive that may be shown.

    A gap that was not backfilled excuses the absence of what happened inside it, and of nothing else.
    """
    async with await psycopg.AsyncConnection.connect(url, connect_timeout=10) as conn:
        gaps = await _rows(conn, "SELECT started_at, ended_at, backfilled, closed_at FROM gaps ORDER BY id")
        posts = await _rows(conn, "SELECT id, author, rev, event_time, entities FROM posts")
        counts = await _rows(conn, "SELECT entity, minute, mentions, authors FROM minute_counts")
        totals = await _rows(conn, "SELECT minute, posts FROM minute_totals WHERE posts <> 0")
    unseen = [
        (from_datetime(started_at), _FOREVER if ended_at is None else from_datetime(ended_at))
        for started_at, ended_at, backfilled, _ in gaps
        if not backfilled
    ]
    whole = await feed.truth()
    expected = await feed.truth(unseen) if unseen else whole
    everywhere: list[StoredPost] = [(*row[:3], from_datetime(row[3]), tuple(row[4])) for row in posts]
    everywhere += archived
    stored = {row[0]: row[1:] for row in everywhere}
    twice = sorted(key for key, n in Counter(row[0] for row in everywhere).items() if n > 1)
    stands = {key: (p.author, p.rev, p.event_time, p.entities) for key, p in expected.posts.items()}
    missing = sorted(stands.keys() - stored.keys())
    unexpected = sorted(stored.keys() - stands.keys())
    differing = sorted(key for key in stands.keys() & stored.keys() if stands[key] != stored[key])
    wrong = _wrong_counts(expected, counts, totals)
    examples = [
        *(f"missing: {key}" for key in missing),
        *(f"twice: {key}" for key in twice),
        *(f"unexpected: {key}" for key in unexpected),
        *(f"differs: {key} is {stored[key]}, should be {stands[key]}" for key in differing),
        *wrong,
    ]
    return Reconciliation(
        delivered=len(whole.posts),
        stored=len(stored),
        absent_in_gaps=len(whole.posts.keys() - stands.keys()),
        missing=len(missing),
        twice=len(twice),
        archived=len(archived),
        unexpected=len(unexpected),
        differing=len(differing),
        wrong_counts=len(wrong),
        gaps=len(gaps),
        gaps_open=sum(row[3] is None for row in gaps),
        examples=tuple(islice(examples, _EXAMPLES)),
    )


def _wrong_counts(expected: Truth, counts: Sequence[tuple[Any, ...]], totals: Sequence[tuple[Any, ...]]) -> list[str]:
    mentions = {(entity, from_datetime(minute)): n for entity, minute, n, _ in counts}
    authors = {(entity, from_datetime(minute)): n for entity, minute, _, n in counts}
    posts = {from_datetime(minute): n for minute, n in totals}
    return [
        *_differences("mentions", mentions, expected.mentions()),
        *_differences("authors", authors, expected.authors()),
        *_differences("posts", posts, expected.totals()),
    ]


def _differences(what: str, stored: Mapping[Any, int], true: Mapping[Any, int]) -> list[str]:
    return [
        f"{what} of {key}: {stored.get(key, 0)}, should be {true.get(key, 0)}"
        for key in sorted(true.keys() | stored.keys(), key=str)
        if true.get(key, 0) != stored.get(key, 0)
    ]


async def _rows(conn: psycopg.AsyncConnection[tuple[Any, ...]], query: Any) -> list[tuple[Any, ...]]:
    return await (await conn.execute(query)).fetchall()
