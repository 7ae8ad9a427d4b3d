"""The lexical leg of search: words, entities and filters in Postgres. Fulfils `ports.LexicalSearch`.

Only the newest few hundred matches are ranked, so a word that half of all posts contain costs what a rare one does.
They are looked for twice at most: among the newest posts by walking the time index, and, where that finds too few (so
that the word is rare), through the word index. A question of several words that hardly any post says as a whole is
answered by the posts that say most of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from groundswell.adapters.postgres_pool import Connection, Pool, reading
from groundswell.adapters.postgres_rows import post_of
from groundswell.adapters.postgres_terms import CommonTerms, Statement, some_of
from groundswell.core.near_duplicates import fingerprint
from groundswell.core.posts import Micros, Post
from groundswell.core.queries import ParsedQuery
from groundswell.ports.search import NO_QUERY
from groundswell.ports.storing import StoredPost
from groundswell.ports.vectors import EVERYTHING, Hit, SearchFilters, Traits, Within
from groundswell.sql import queries

SQL = queries("search")

CANDIDATES = 200
"""Newest matches that are ranked, at the least."""
WALK_POSTS = 5_000
"""Posts looked through by time first: 4 ms. A word that brings fewer than `CANDIDATES` of them has at most 4% of all
posts in the word index."""
WALK_FURTHER = 4
"""Times as many are looked through where that promises enough: cheaper than checking every match of a common phrase."""
WALK_MARGIN = 1.25
"""What the newest posts promise, older ones may not hold in full."""
WALK_POSTS_UNINDEXED = 20_000
"""For exclusions alone, which no index answers: older posts are not found."""
FEW_MATCHES = 10
"""Where fewer posts say everything that is asked for, those that say most of it follow."""
COMMON_TERMS_KEPT_S = 300.0
MAX_COPIES = 1_000
"""Copies of one text that are counted."""


class PostgresSearch:
    """Searches `posts`. Every method raises `StoreUnavailable`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._common: CommonTerms | None = None
        self._common_until = 0.0

    async def lexical(
        self, query: ParsedQuery, filters: SearchFilters, limit: int, within: Within = EVERYTHING
    ) -> list[Hit]:
        """Matches of every term and filter, best first: by how well the words fit, then newest first.

        Without terms: the newest posts that pass the filters. Never fails because of what the query says.
        """
        if query.nothing or limit <= 0:
            return []
        depth = max(limit, CANDIDATES)
        async with reading(self._pool) as conn:
            rows = await self._matches(conn, Statement(query, filters, within), depth)
            # Sorting is stable: posts that fit equally well stay newest first.
            ranked = sorted(rows, key=lambda row: -row[1])[:limit]
            if len(ranked) < min(limit, FEW_MATCHES) and (said := some_of(query)):
                known = {pk for pk, _ in ranked}
                statement = Statement(query, filters, within, without_words=True)
                statement.ask_for_some(said, await self._common_terms(conn))
                parameters = {**statement.parameters, "depth": depth}
                some = await _fetch(conn, statement.text(SQL["some"]), parameters)
                ranked += [row for row in some if row[0] not in known][: limit - len(ranked)]
        return [Hit(pk, float(score)) for pk, score in ranked]

    async def related(self, post: Post, filters: SearchFilters, limit: int, within: Within = EVERYTHING) -> list[Hit]:
        if not post.entities or limit <= 0:
            return []
        statement = Statement(ParsedQuery(), filters, within)
        more = {"shared": list(post.entities), "depth": limit, "candidates": WALK_POSTS}
        async with reading(self._pool) as conn:
            rows = await _fetch(conn, statement.text(SQL["related"]), {**statement.parameters, **more})
        return [Hit(pk, float(shared)) for pk, shared in rows]

    async def horizon(self) -> tuple[int, Micros]:
        async with reading(self._pool) as conn:
            row = await (await conn.execute(SQL["horizon"])).fetchone()
        assert row is not None
        return row[0], row[1]

    async def traits(
        self, pks: Sequence[int], query: ParsedQuery = NO_QUERY, *, signed_in: bool = False
    ) -> dict[int, Traits]:
        if not pks:
            return {}
        excluded = ParsedQuery(not_words=query.not_words, not_entities=query.not_entities)
        statement = Statement(excluded, SearchFilters(signed_in=signed_in), EVERYTHING)
        async with reading(self._pool) as conn:
            parameters = {**statement.parameters, "pks": list(pks)}
            rows = await (await conn.execute(statement.text(SQL["traits"]), parameters)).fetchall()
        return {pk: Traits(time, fingerprint(text) if known is None else known) for pk, time, known, text in rows}

    async def copies(
        self, prints: Sequence[int], filters: SearchFilters, within: Within = EVERYTHING
    ) -> dict[int, int]:
        """Counted up to `MAX_COPIES` each."""
        if not prints:
            return {}
        statement = Statement(ParsedQuery(), filters, within)
        more = {"prints": list(prints), "most": MAX_COPIES}
        async with reading(self._pool) as conn:
            rows = await _fetch(conn, statement.text(SQL["copies"]), {**statement.parameters, **more})
        return {print_: int(number) for print_, number in rows}

    async def posts_by_pk(self, pks: Sequence[int], *, signed_in: bool = False) -> dict[int, Post]:
        """Those that still exist."""
        if not pks:
            return {}
        async with reading(self._pool) as conn:
            rows = await (await conn.execute(SQL["by_pk"], {"pks": list(pks), "signed_in": signed_in})).fetchall()
        return {row[0]: post_of(row[1:]) for row in rows}

    async def post_by_id(self, post_id: str, *, signed_in: bool = False) -> StoredPost | None:
        async with reading(self._pool) as conn:
            row = await (await conn.execute(SQL["by_id"], {"id": post_id, "signed_in": signed_in})).fetchone()
        return None if row is None else StoredPost(row[0], post_of(row[1:]))

    async def _matches(self, conn: Connection, statement: Statement, depth: int) -> list[tuple[int, float]]:
        parameters = {**statement.parameters, "depth": depth}
        if statement.walks_first:
            parameters["window"] = WALK_POSTS if statement.is_indexed else WALK_POSTS_UNINDEXED
            rows = await _fetch(conn, statement.text(SQL["newest"]), parameters)
            if len(rows) >= depth or not statement.is_indexed:
                return rows
            if len(rows) * WALK_FURTHER >= depth * WALK_MARGIN:
                parameters["window"] = WALK_POSTS * WALK_FURTHER
                rows = await _fetch(conn, statement.text(SQL["newest"]), parameters)
                if len(rows) >= depth:
                    return rows
        name = "all" if statement.is_indexed else "recent"
        return await _fetch(conn, statement.text(SQL[name]), parameters)

    async def _common_terms(self, conn: Connection) -> CommonTerms:
        now = asyncio.get_running_loop().time()
        if self._common is None or now >= self._common_until:
            rows = await (await conn.execute(SQL["common_terms"])).fetchall()
            parts = {term: part for term, part, _ in rows if term is not None}
            self._common = CommonTerms(parts, posts=rows[0][2] if rows else 0)
            self._common_until = now + COMMON_TERMS_KEPT_S
        return self._common


async def _fetch(conn: Connection, statement: Any, parameters: dict[str, Any]) -> list[tuple[int, float]]:
    """Unprepared: a prepared plan is made for values unknown, and would not know which words are rare."""
    return await (await conn.execute(statement, parameters, prepare=False)).fetchall()
