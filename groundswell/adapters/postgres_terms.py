"""Queries and filters as conditions of SQL: fixed text, and parameters for everything that people type."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, LiteralString

import msgspec

from groundswell.core.entities import entity_kind
from groundswell.core.instants import to_datetime
from groundswell.core.queries import EntityTerm, ParsedQuery
from groundswell.core.terms import chain, link_term, quoted
from groundswell.ports.vectors import SearchFilters, Within

MAX_CHAIN = 64
"""Terms of one phrase that are compared; what is typed beyond is not."""
SOME_CANDIDATES = 2_000
"""Newest posts with some rarer word of the query that are ranked by how much of it they say."""
SOME_WORDS = 3
"""A query of fewer words means all of them."""
ENOUGH = 0.4
"""The part of a query that a post must say, its words weighted by how rare they are."""
RARE_POSTS = 8_000
"""Posts that the words looked for may bring in all, going by their frequencies."""
_LEAST_POSTS = 1_000

# Divided by the logarithm of the length (1).
_RANK: LiteralString = "ts_rank_cd(search, %(query)s::tsquery, 1)"
# With the last word as a beginning: whole words count for more.
_RANK_WITH_PREFIX: LiteralString = _RANK + " + 2 * ts_rank_cd(search, %(exact)s::tsquery, 1)"


class CommonTerms(msgspec.Struct, frozen=True):
    """How often terms are said, as far as the database has counted."""

    parts: Mapping[str, float]
    """Term to the part of all posts that hold it. What is not there is rarer than all of these."""
    posts: int

    def part(self, term: str) -> float:
        known = self.parts.get(term)
        if known is not None:
            return known
        return min(self.parts.values(), default=0.0) / 2

    def weight(self, term: str) -> float:
        """Inverse document frequency: Robertson, Spärck Jones, "Relevance weighting of search terms", 1976."""
        number = max(self.posts, _LEAST_POSTS)
        return math.log(1 + number / (1 + self.part(term) * number))


class Word(msgspec.Struct, frozen=True):
    """A word of a query of which some may be missing."""

    text: str
    as_beginning: bool = False


def some_of(query: ParsedQuery) -> list[Word]:
    """The words of which some may be missing; none where there are too few to leave any out."""
    words = [Word(word) for word in dict.fromkeys(query.words)]
    if query.prefix is not None:
        words.append(Word(query.prefix, as_beginning=True))
    return words if len(words) >= SOME_WORDS else []


class Statement:
    """The conditions of a query, its filters and what it is narrowed down to.

    Args:
        without_words: words are left to `ask_for_some`; phrases, links, entities and exclusions stay.
    """

    def __init__(
        self, query: ParsedQuery, filters: SearchFilters, within: Within, *, without_words: bool = False
    ) -> None:
        self.parameters: dict[str, Any] = {}
        self._window: list[LiteralString] = []
        self._matches: list[LiteralString] = []
        self._rank: LiteralString = "0"
        self._said: LiteralString = "0"
        self.is_indexed = False
        """Whether the word index or the entity index narrows it down."""
        self._add_filters(filters)
        self._add_words(query, without_words=without_words)
        self._add_entities(query)
        self._add_within(within)
        self.walks_first = filters.author is None and (
            self.is_indexed or bool(query.not_words or query.not_entities or within.not_entities)
        )

    def text(self, template: LiteralString) -> LiteralString:
        return (
            template.replace("{rank}", self._rank)
            .replace("{said}", self._said)
            .replace("{window}", " AND ".join(self._window) or "true")
            .replace("{matches}", " AND ".join(self._matches) or "true")
        )

    def ask_for_some(self, words: Sequence[Word], common: CommonTerms) -> None:
        """Rank by the weight of the words that a post says; look for it by the rarer ones."""
        weighed = [(max(common.weight(term.text) for term in chain(word.text)), word) for word in words]
        budget = float(RARE_POSTS)
        rarer: list[str] = []
        for _, word in sorted(weighed, key=lambda entry: -entry[0]):
            budget -= min(common.part(term.text) for term in chain(word.text)) * common.posts
            if rarer and budget < 0:
                break
            rarer.append(_phrase(word.text, as_beginning=word.as_beginning))
        parts: list[LiteralString] = []
        for name, (weight, word) in zip(_NAMES, weighed, strict=False):
            parts.append("CASE WHEN search @@ %(word" + name + ")s::tsquery THEN %(weight" + name + ")s ELSE 0.0 END")
            self.parameters[f"word{name}"] = _phrase(word.text, as_beginning=word.as_beginning)
            self.parameters[f"weight{name}"] = weight
        self._said = " + ".join(parts)
        self.parameters["any"] = " | ".join(rarer)
        self.parameters["enough"] = ENOUGH * sum(weight for weight, _ in weighed)
        self.parameters["candidates"] = SOME_CANDIDATES

    def _add_filters(self, filters: SearchFilters) -> None:
        if not filters.signed_in:
            self._window.append("NOT restricted")
        if filters.since is not None:
            self._window.append("event_time >= %(since)s")
            self.parameters["since"] = to_datetime(filters.since)
        if filters.until is not None:
            self._window.append("event_time < %(until)s")
            self.parameters["until"] = to_datetime(filters.until)
        if filters.author is not None:
            self._matches.append("author = %(author)s")
            self.parameters["author"] = filters.author
        if filters.lang is not None:
            self._matches.append("lang = %(lang)s")
            self.parameters["lang"] = filters.lang
        if filters.source is not None:
            self._matches.append("source = %(source)s")
            self.parameters["source"] = filters.source
        if filters.entity is not None:
            self._has_entity("filter", filters.entity)

    def _add_within(self, within: Within) -> None:
        if within.up_to_pk is not None:
            self._window.append("pk <= %(up_to_pk)s")
            self.parameters["up_to_pk"] = within.up_to_pk
        if within.entities:
            self._matches.append("entities @> %(within)s::text[]")
            self.parameters["within"] = list(within.entities)
        if within.not_entities:
            self._matches.append("NOT entities && %(without)s::text[]")
            self.parameters["without"] = list(within.not_entities)
        if within.not_fingerprints:
            self._matches.append("(fingerprint IS NULL OR fingerprint <> ALL (%(seen)s::bigint[]))")
            self.parameters["seen"] = list(within.not_fingerprints)

    def _add_words(self, query: ParsedQuery, *, without_words: bool) -> None:
        asked = [*map(_phrase, query.phrases), *map(_phrase, query.links)]
        exact = None
        if not without_words:
            asked += map(_phrase, query.words)
            if query.prefix is not None:
                exact = " & ".join([*asked, _phrase(query.prefix)])
                asked.append(_phrase(query.prefix, as_beginning=True))
        excluded = [f"!({_phrase(word)})" for word in query.not_words]
        if not asked and not excluded:
            return
        self._matches.append("search @@ %(query)s::tsquery")
        self.parameters["query"] = " & ".join([*asked, *excluded])
        if asked:
            self._rank = _RANK
            self.is_indexed = True
        if exact is not None:
            self._rank = _RANK_WITH_PREFIX
            self.parameters["exact"] = exact

    def _add_entities(self, query: ParsedQuery) -> None:
        for name, term in zip(_NAMES, query.entities, strict=False):
            self._has_entity(name, term.key, term)
        if query.not_entities:
            self._matches.append("NOT entities && %(not_entities)s::text[]")
            self.parameters["not_entities"] = list(query.not_entities)

    def _has_entity(self, name: LiteralString, key: str, term: EntityTerm | None = None) -> None:
        condition: LiteralString = "entities @> %(entity_" + name + ")s::text[]"
        self.parameters[f"entity_{name}"] = [key]
        # A handle such as @_ holds no term: only posts that carry the entity say it.
        if term is not None and term.text is not None and chain(term.text):
            condition = "(" + condition + " OR search @@ %(said_" + name + ")s::tsquery)"
            self.parameters[f"said_{name}"] = _phrase(term.text, links=entity_kind(key) == "domain")
        self._matches.append(condition)
        self.is_indexed = True


# Each query term has one: names of parameters are ours, what people type is in the values.
_NAMES: tuple[LiteralString, ...] = (
    *("0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11"),
    *("12", "13", "14", "15", "16", "17", "18", "19", "20", "21", "22", "23"),
)


def _phrase(said: str, *, as_beginning: bool = False, links: bool = True) -> str:
    """A word, phrase or link in the language of `tsquery`. A link with a path stands for those below it too."""
    link = link_term(said) if links and not as_beginning else None
    if link is not None:
        return quoted(link) + (":*" if "/" in link else "")
    wanted = chain(said)[:MAX_CHAIN]
    parts = [quoted(wanted[0].text)]
    for before, term in pairwise(wanted):
        parts.append(f"<{term.position - before.position}> {quoted(term.text)}")
    return "(" + " ".join(parts) + (":*" if as_beginning else "") + ")"
