"""The lexical leg of search: full text, entities and filters in Postgres. Fulfils `ports.LexicalSearch`.

Only the newest few hundred matches are ranked, so a word that half of all posts contain costs what a rare one does.
They are looked for twice at most: among the newest posts by walking the time index, and, where that finds too few (so
that the word is rare), through the word index.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from groundswell.adapters.postgres_pool import Connection, Pool, connection
from groundswell.adapters.postgres_rows import post_of
from groundswell.core.instants import to_datetime
from groundswell.core.posts import Post
from groundswell.core.queries import ParsedQuery, parse_query
from groundswell.ports import Hit, SearchFilters
from groundswell.sql import queries

SQL = queries("search")

CANDIDATES = 200
"""Newest matches that are ranked, at the least."""
WALK_POSTS = 5_000
"""Posts looked through by time first: 4 ms. A word that brings fewer than `CANDIDATES` of them has at most 4% of all
posts in the word index."""
WALK_POSTS_UNINDEXED = 20_000
"""For what has no index (emoji, scripts without spaces, exclusions alone): older posts are not found."""

_RANK_BY_LENGTH = 1
_TSQUERY = "(websearch_to_tsquery('simple', %(words)s) && to_tsquery('simple', %(prefix)s))"
_EXACT = "websearch_to_tsquery('simple', %(exact)s)"
_RANK = f"ts_rank_cd(search, {_TSQUERY}, {_RANK_BY_LENGTH})"
# With the last word as a beginning: whole words count for more.
_RANK_WITH_PREFIX = f"{_RANK} + 2 * ts_rank_cd(search, {_EXACT}, {_RANK_BY_LENGTH})"


class PostgresSearch:
    """Searches `posts`. Every method raises `StoreUnavailable`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def lexical(self, query: str, filters: SearchFilters, limit: int) -> list[Hit]:
        """Matches of every term and filter, best first: by how well the words fit, then newest first.

        Without terms: the newest posts that pass the filters. Never fails because of what the query says.
        """
        parsed = parse_query(query)
        if parsed.nothing or limit <= 0:
            return []
        statement = _Statement(parsed, filters)
        rows = await self._run(statement, max(limit, CANDIDATES))
        # Sorting is stable: posts that fit equally well stay newest first.
        ranked = sorted(rows, key=lambda row: -row[1])[:limit]
        return [Hit(pk, float(score)) for pk, score in ranked]

    async def posts_by_pk(self, pks: Sequence[int]) -> dict[int, Post]:
        """Those that still exist."""
        if not pks:
            return {}
        async with connection(self._pool) as conn:
            rows = await (await conn.execute(SQL["by_pk"], {"pks": list(pks)})).fetchall()
        return {row[0]: post_of(row[1:]) for row in rows}

    async def _run(self, statement: _Statement, depth: int) -> list[tuple[int, float]]:
        parameters = {**statement.parameters, "depth": depth}
        async with connection(self._pool) as conn:
            if statement.walks_first:
                parameters["window"] = WALK_POSTS if statement.is_indexed else WALK_POSTS_UNINDEXED
                rows = await _fetch(conn, statement.text("newest"), parameters)
                if len(rows) >= depth or not statement.is_indexed:
                    return rows
            name = "all" if statement.is_indexed else "recent"
            return await _fetch(conn, statement.text(name), parameters)


async def _fetch(conn: Connection, statement: Any, parameters: dict[str, Any]) -> list[tuple[int, float]]:
    """Unprepared: a prepared plan is made for values unknown, and would not know which words are rare."""
    return await (await conn.execute(statement, parameters, prepare=False)).fetchall()


class _Statement:
    """The conditions of a query and its filters, as fixed text and parameters."""

    def __init__(self, parsed: ParsedQuery, filters: SearchFilters) -> None:
        self.parameters: dict[str, Any] = {}
        self._window: list[str] = []
        self._matches: list[str] = []
        self._rank = "0"
        self.is_indexed = False
        """Whether the word index or the entity index narrows it down."""
        self._add_filters(filters)
        self._add_words(parsed)
        self._add_entities(parsed)
        self._add_literals(parsed)
        self.walks_first = filters.author is None and (
            self.is_indexed or bool(parsed.literals or parsed.not_words or parsed.not_entities or parsed.not_literals)
        )

    def text(self, name: str) -> Any:
        return (
            SQL[name]
            .replace("{rank}", self._rank)
            .replace("{window}", " AND ".join(self._window) or "true")
            .replace("{matches}", " AND ".join(self._matches) or "true")
        )

    def _add_filters(self, filters: SearchFilters) -> None:
        if filters.since is not None:
            self._window.append("event_time >= %(since)s")
            self.parameters["since"] = to_datetime(filters.since)
        if filters.until is not None:
            self._window.append("event_time < %(until)s")
            self.parameters["until"] = to_datetime(filters.until)
        for column in ("author", "lang", "source"):
            value = getattr(filters, column)
            if value is not None:
                self._matches.append(f"{column} = %({column})s")
                self.parameters[column] = value
        if filters.entity is not None:
            self._has_entity("filter", filters.entity)

    def _add_words(self, parsed: ParsedQuery) -> None:
        excluded = [f"-{_quoted(word)}" for word in parsed.not_words]
        whole = [*map(_quoted, (*parsed.words, *parsed.phrases)), *excluded]
        if not whole and parsed.prefix is None:
            return
        self._matches.append(f"search @@ {_TSQUERY}")
        self.parameters["words"] = " ".join(whole)
        self.parameters["prefix"] = f"'{parsed.prefix}':*" if parsed.prefix else ""
        if parsed.prefix is not None:
            self._rank = _RANK_WITH_PREFIX
            self.parameters["exact"] = " ".join([*whole, _quoted(parsed.prefix)])
            self.is_indexed = True
        elif parsed.words or parsed.phrases:
            self._rank = _RANK
            self.is_indexed = True

    def _add_entities(self, parsed: ParsedQuery) -> None:
        for position, term in enumerate(parsed.entities):
            self._has_entity(f"entity{position}", term.key, said=term.text)
        for position, key in enumerate(parsed.not_entities):
            self._matches.append(f"NOT entities @> %(not_entity{position})s::text[]")
            self.parameters[f"not_entity{position}"] = [key]

    def _has_entity(self, name: str, key: str, said: str | None = None) -> None:
        condition = f"entities @> %({name})s::text[]"
        self.parameters[name] = [key]
        if said is not None:
            condition = f"({condition} OR search @@ phraseto_tsquery('simple', %({name}_said)s))"
            self.parameters[f"{name}_said"] = said
        self._matches.append(condition)
        self.is_indexed = True

    def _add_literals(self, parsed: ParsedQuery) -> None:
        for position, literal in enumerate(parsed.literals):
            self._matches.append(f"text {_like(literal)} %(literal{position})s")
            self.parameters[f"literal{position}"] = _containing(literal)
        for position, literal in enumerate(parsed.not_literals):
            self._matches.append(f"text NOT {_like(literal)} %(not_literal{position})s")
            self.parameters[f"not_literal{position}"] = _containing(literal)


def _like(literal: str) -> str:
    """Ignoring case costs four times as much, and most of what is looked for this way has none."""
    return "LIKE" if literal.lower() == literal.upper() else "ILIKE"


def _quoted(words: str) -> str:
    """As a phrase for websearch_to_tsquery: nothing inside it is an operator, not even `or`."""
    return '"' + words.replace('"', " ") + '"'


def _containing(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"
