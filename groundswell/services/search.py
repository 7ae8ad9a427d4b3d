"""Search by words and by meaning at once: a lexical leg and a semantic leg, fused by reciprocal rank.

Either leg may be missing or fail, and the answer says which ran. What cannot be missing is Postgres, which holds the
posts themselves.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable

import msgspec

from groundswell.core.fusion import Fused, fuse
from groundswell.core.queries import ParsedQuery, parse_query
from groundswell.errors import EmbeddingUnavailable, StoreUnavailable, VectorIndexUnavailable
from groundswell.metrics import Metrics
from groundswell.ports import (
    Clock,
    Embedder,
    Hit,
    LexicalSearch,
    SearchAnswer,
    SearchFilters,
    SearchHit,
    Vector,
    VectorIndex,
)

LEG_DEPTH = 200
"""Candidates asked of each leg, at the least."""
MAX_DEPTH = 1_000
"""Nothing deeper is fused: listings by time are the way to read everything."""
MIN_SIMILARITY = 0.25
"""Cosine below which a post has nothing to do with the query; the nearest of an index are always found, however far."""
RECENCY_WEIGHT = 0.25
"""What being the newest adds, where a first place of a leg adds 1."""
QUERY_VECTORS_KEPT = 256


class SearchService:
    """`ports.Searcher` over the two legs. Pass None for what is not there."""

    def __init__(
        self,
        lexical: LexicalSearch,
        index: VectorIndex | None,
        embedder: Embedder | None,
        clock: Clock,
        *,
        metrics: Metrics | None = None,
        min_similarity: float = MIN_SIMILARITY,
        recency_weight: float = RECENCY_WEIGHT,
    ) -> None:
        self._lexical = lexical
        self._clock = clock
        self._metrics = metrics or Metrics()
        self._index = index
        self._embedder = embedder
        self._min_similarity = min_similarity
        self._recency_weight = recency_weight
        self._vectors: OrderedDict[str, Vector] = OrderedDict()

    async def search(self, query: str, filters: SearchFilters, limit: int, offset: int = 0) -> SearchAnswer:
        """At most `limit` fused hits from rank `offset` on. A query without terms lists the newest posts.

        `degraded` names `embeddings` (no model), `vector-index` (not there, or not answering) or `lexical`.

        Raises:
            StoreUnavailable: Postgres, which holds the posts themselves, cannot be reached.
        """
        parsed = parse_query(query)
        depth = min(MAX_DEPTH, max(LEG_DEPTH, offset + limit))
        if offset >= MAX_DEPTH or limit <= 0 or parsed.nothing:
            return SearchAnswer(hits=[], legs=[], degraded=[])
        lexical, semantic = await asyncio.gather(
            self._timed("lexical", self._lexical_leg(query, filters, depth)),
            self._timed("semantic", self._semantic_leg(parsed, filters, depth)),
        )
        legs = {name: leg.hits for name, leg in (("lexical", lexical), ("semantic", semantic)) if leg.ran}
        if lexical.failure is not None and not semantic.ran:
            raise lexical.failure
        rankings = {name: [hit.pk for hit in hits] for name, hits in legs.items()}
        by_age = sorted({pk for ranking in rankings.values() for pk in ranking}, reverse=True)
        # Without terms the lexical order is the order of time already.
        weight = self._recency_weight if parsed.has_terms else 0.0
        fused = fuse(rankings, newest_first=by_age, recency_weight=weight)
        return SearchAnswer(
            hits=await self._page(fused, parsed, limit, offset),
            legs=list(legs),
            degraded=[*lexical.degraded, *semantic.degraded],
        )

    async def _timed(self, name: str, leg: Awaitable[_Leg]) -> _Leg:
        started = self._clock.monotonic()
        result = await leg
        if result.ran:
            self._metrics.observe("search_seconds", self._clock.monotonic() - started, label=name)
        return result

    async def _lexical_leg(self, query: str, filters: SearchFilters, depth: int) -> _Leg:
        try:
            return _Leg(await self._lexical.lexical(query, filters, depth), ran=True)
        except StoreUnavailable as error:
            return _Leg(degraded=["lexical"], failure=error)

    async def _semantic_leg(self, parsed: ParsedQuery, filters: SearchFilters, depth: int) -> _Leg:
        if not parsed.has_terms:
            return _Leg()
        if self._embedder is None:
            return _Leg(degraded=["embeddings"])
        if self._index is None:
            return _Leg(degraded=["vector-index"])
        if filters.entity is None and parsed.required_entity is not None:
            filters = msgspec.structs.replace(filters, entity=parsed.required_entity)
        try:
            vector = await self._query_vector(self._embedder, parsed.meaning)
            hits = await self._index.search(vector, filters, depth)
        except EmbeddingUnavailable:
            return _Leg(degraded=["embeddings"])
        except VectorIndexUnavailable:
            return _Leg(degraded=["vector-index"])
        return _Leg([hit for hit in hits if hit.score >= self._min_similarity], ran=True)

    async def _query_vector(self, embedder: Embedder, text: str) -> Vector:
        """Embedded in a thread, and remembered: people page through one query, and many ask the same."""
        known = self._vectors.get(text)
        if known is None:
            known = await asyncio.to_thread(embedder.embed_query, text)
            while len(self._vectors) >= QUERY_VECTORS_KEPT:
                self._vectors.popitem(last=False)
        self._vectors[text] = known
        self._vectors.move_to_end(text)
        return known

    async def _page(self, fused: list[Fused], parsed: ParsedQuery, limit: int, offset: int) -> list[SearchHit]:
        """Skips posts that are gone since, or that the query excludes, so that pages are full and never overlap."""
        hits: list[SearchHit] = []
        wanted = min(offset + limit, MAX_DEPTH)
        position = 0
        while len(hits) < wanted and position < len(fused):
            some = fused[position : position + wanted - len(hits)]
            position += len(some)
            posts = await self._lexical.posts_by_pk([entry.key for entry in some])
            for entry in some:
                post = posts.get(entry.key)
                if post is not None and not parsed.excludes(post):
                    hits.append(SearchHit(entry.key, post, entry.score, entry.ranks))
        return hits[offset:]


class _Leg(msgspec.Struct):
    hits: list[Hit] = []
    ran: bool = False
    degraded: list[str] = []
    failure: StoreUnavailable | None = None
