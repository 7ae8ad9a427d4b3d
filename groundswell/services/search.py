"""Search by words and by meaning at once: a lexical leg and a semantic leg, fused by reciprocal rank.

Either leg may be missing or fail, and the answer says which ran. What cannot be missing is Postgres, which holds the
posts themselves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence

import msgspec

from groundswell.core.highlights import highlights
from groundswell.core.near_duplicates import fingerprint
from groundswell.core.queries import ParsedQuery, parse_query
from groundswell.errors import (
    EmbeddingUnavailable,
    NotFound,
    StoreUnavailable,
    VectorIndexUnavailable,
)
from groundswell.metrics import Metrics
from groundswell.ports.search import LexicalSearch, SearchAnswer, SearchHit, SearchPlace
from groundswell.ports.storing import StoredPost
from groundswell.ports.time import Clock
from groundswell.ports.vectors import Embedder, Hit, SearchFilters, Traits, Vector, VectorIndex, Within
from groundswell.services.ranking import Entry, Question, Ranking, Rankings, rank
from groundswell.services.spaces import OneSpace, Spaces
from groundswell.services.upkeep.optional_part import failing_as

LEG_DEPTH = 200
"""Candidates asked of each leg for the first pages."""
MAX_DEPTH = 1_000
"""And for those that go on. Nothing deeper is fused: listings by time are the way to read everything."""
ENOUGH_TEXTS = 50
"""Different texts that make a ranking worth its name."""
ROUNDS = 4
"""How often the legs are asked, at most, to get behind the copies of a few texts."""
MAX_CROWD = 64
"""Texts that are left out of the next round."""
RECENCY_WEIGHT = 0.25
"""What being new adds, where a first place of a leg adds 1."""
SEMANTIC_LIMIT_S = 2.0
"""A vector index that takes longer is left out: people wait for search, and words alone are an answer."""


class SearchService:
    """`ports.Searcher` over the two legs. Pass None for what is not there.

    Args:
        spaces: where posts may be in several spaces; takes the place of `embedder`.
        min_similarity: cosine below which a post has nothing to do with the query, in place of what each model says:
            the nearest of an index are always found, however far.
    """

    def __init__(
        self,
        lexical: LexicalSearch,
        index: VectorIndex | None,
        embedder: Embedder | None,
        clock: Clock,
        *,
        metrics: Metrics | None = None,
        spaces: Spaces | None = None,
        min_similarity: float | None = None,
        recency_weight: float = RECENCY_WEIGHT,
        semantic_limit_s: float = SEMANTIC_LIMIT_S,
    ) -> None:
        self._lexical = lexical
        self._clock = clock
        self._metrics = metrics or Metrics()
        self._index = index
        self._spaces = spaces or (None if embedder is None else OneSpace(embedder))
        self._min_similarity = min_similarity
        self._recency_weight = recency_weight
        self._semantic_limit_s = semantic_limit_s
        self._rankings = Rankings()

    async def search(
        self,
        query: str,
        filters: SearchFilters,
        limit: int,
        *,
        like: str | None = None,
        after: SearchPlace | None = None,
    ) -> SearchAnswer:
        """At most `limit` fused hits. A query without terms lists the newest posts; one post stands for its copies.

        `degraded` names `embeddings` (no model), `vector-index` (not there, or not answering) or `lexical`.

        Pages are parts of one ranking, made for the first of them and remembered. Where it is not (another process
        answers, or many have searched since), it is made again of the posts that were stored then.

        Raises:
            StoreUnavailable: Postgres, which holds the posts themselves, cannot be reached.
            NotFound: there is no post `like`.
        """
        question = Question("" if like is not None else query, like, filters)
        asked = await self._ask(question)
        if limit <= 0 or asked.parsed.nothing:
            return SearchAnswer(hits=[], legs=[], degraded=[])
        place = after or SearchPlace(*await self._lexical.horizon(), 0)
        ranking = self._rankings.get(question, place.up_to_pk, place.as_of)
        if ranking is None:
            ranking = await self._rank(asked, filters, place, LEG_DEPTH, [])
            self._rankings.keep(question, place.up_to_pk, place.as_of, ranking)
        hits: list[SearchHit] = []
        position = place.position
        while len(hits) < limit:
            if position >= len(ranking.entries):
                if ranking.complete:
                    break
                deeper = await self._rank(asked, filters, place, MAX_DEPTH, ranking.entries)
                if not ranking.complete:  # another page of it may have come here first
                    ranking.entries += deeper.entries
                    ranking.complete = True
                continue
            some = ranking.entries[position : position + limit - len(hits)]
            position += len(some)
            hits += await self._shown(some, asked, filters, place)
        more = position < len(ranking.entries) or not ranking.complete
        return SearchAnswer(
            hits=hits,
            legs=ranking.legs,
            degraded=ranking.degraded,
            next=msgspec.structs.replace(place, position=position) if more and len(hits) == limit else None,
        )

    async def _ask(self, question: Question) -> _Asked:
        """Raises `NotFound`."""
        if question.like is None:
            return _Asked(parse_query(question.query))
        found = await self._lexical.post_by_id(question.like, signed_in=question.filters.signed_in)
        if found is None:
            raise NotFound(
                "There is no such post to find similar ones to: it was never seen, was deleted, or is archived."
            )
        return _Asked(ParsedQuery(), found)

    async def _rank(
        self, asked: _Asked, filters: SearchFilters, place: SearchPlace, depth: int, before: list[Entry]
    ) -> Ranking:
        """The fused ranking of both legs, without what `before` holds.

        Where copies of a few texts fill a leg, it is asked again without them.
        """
        within = Within(
            # The first page needs no such condition: what is stored while it is made is left out below.
            up_to_pk=place.up_to_pk if place.position else None,
            entities=asked.parsed.required_entities,
            not_entities=asked.parsed.not_entities,
        )
        legs: dict[str, _Leg] = {}
        traits: dict[int, Traits] = {}
        entries: list[Entry] = []
        for _ in range(ROUNDS):
            found = await self._both_legs(asked, filters, depth, within, [n for n, leg in legs.items() if not leg.full])
            for name, leg in found.items():
                leg.hits = [hit for hit in leg.hits if hit.pk <= place.up_to_pk and hit.pk != asked.pk]
                known = legs.setdefault(name, leg)
                if known is not leg:
                    seen = {hit.pk for hit in known.hits}
                    known.hits += [hit for hit in leg.hits if hit.pk not in seen]
                    known.full = leg.full
            new = {hit.pk for leg in legs.values() for hit in leg.hits} - traits.keys()
            found_traits = await self._lexical.traits(sorted(new), asked.parsed, signed_in=filters.signed_in)
            traits.update(found_traits)
            entries = rank(
                {name: leg.hits for name, leg in legs.items() if leg.ran},
                traits,
                place.as_of,
                # Without terms the lexical order is the order of time already.
                recency_weight=self._recency_weight if asked.ranks else 0.0,
                before=before,
                not_like=asked.fingerprint,
            )
            crowd = [entry.fingerprint for entry in entries if entry.copies]
            if not crowd or len(entries) >= ENOUGH_TEXTS or not any(leg.full for leg in legs.values()):
                break
            within = msgspec.structs.replace(within, not_fingerprints=(*within.not_fingerprints, *crowd)[:MAX_CROWD])
        return Ranking(
            entries,
            legs=[name for name, leg in legs.items() if leg.ran],
            degraded=[word for leg in legs.values() for word in leg.degraded],
            complete=depth >= MAX_DEPTH or not any(leg.full for leg in legs.values()),
        )

    async def _both_legs(
        self, asked: _Asked, filters: SearchFilters, depth: int, within: Within, without: list[str]
    ) -> dict[str, _Leg]:
        """Raises `StoreUnavailable` where neither runs and Postgres is why."""
        legs: dict[str, Awaitable[_Leg]] = {}
        if "lexical" not in without:
            legs["lexical"] = self._timed("lexical", self._lexical_leg(asked, filters, depth, within))
        if "semantic" not in without:
            legs["semantic"] = self._timed("semantic", self._semantic_leg(asked, filters, depth, within))
        found = dict(zip(legs, await asyncio.gather(*legs.values()), strict=True))
        failure = found["lexical"].failure if "lexical" in found else None
        if failure is not None and not ("semantic" in found and found["semantic"].ran):
            raise failure
        return found

    async def _timed(self, name: str, leg: Awaitable[_Leg]) -> _Leg:
        started = self._clock.monotonic()
        result = await leg
        if result.ran:
            self._metrics.observe("search_seconds", self._clock.monotonic() - started, label=name)
        return result

    async def _lexical_leg(self, asked: _Asked, filters: SearchFilters, depth: int, within: Within) -> _Leg:
        try:
            if asked.post is not None:
                hits = await self._lexical.related(asked.post.post, filters, depth, within)
            else:
                hits = await self._lexical.lexical(asked.parsed, filters, depth, within)
        except StoreUnavailable as error:
            return _Leg(degraded=["lexical"], failure=error)
        return _Leg(hits, ran=True, full=len(hits) >= depth)

    async def _semantic_leg(self, asked: _Asked, filters: SearchFilters, depth: int, within: Within) -> _Leg:
        if not asked.ranks:
            return _Leg()
        if self._spaces is None:
            return _Leg(degraded=["embeddings"])
        if self._index is None:
            return _Leg(degraded=["vector-index"])
        index = self._index

        async def ask(vector: Vector, min_similarity: float) -> list[Hit]:
            least = min_similarity if self._min_similarity is None else self._min_similarity
            with failing_as(VectorIndexUnavailable, "The vector index"):
                async with asyncio.timeout(self._semantic_limit_s):
                    hits = await index.search(vector, filters, depth, within)
                return [hit for hit in hits if hit.score >= least]

        try:
            with failing_as(EmbeddingUnavailable, "Search by meaning"):
                found = await self._spaces.nearest(asked.meaning, ask)
        except EmbeddingUnavailable:
            return _Leg(degraded=["embeddings"])
        except (VectorIndexUnavailable, TimeoutError):
            return _Leg(degraded=["vector-index"])
        return _Leg(found.hits, ran=True, full=len(found.hits) >= depth, degraded=found.degraded)

    async def _shown(
        self, entries: Sequence[Entry], asked: _Asked, filters: SearchFilters, place: SearchPlace
    ) -> list[SearchHit]:
        """Without posts that are gone since, or that the query excludes."""
        posts, copies = await asyncio.gather(
            self._lexical.posts_by_pk([entry.fused.key for entry in entries], signed_in=filters.signed_in),
            self._lexical.copies([entry.fingerprint for entry in entries], filters, Within(up_to_pk=place.up_to_pk)),
        )
        return [
            SearchHit(
                pk=entry.fused.key,
                post=post,
                score=entry.fused.score,
                ranks=entry.fused.ranks,
                parts=entry.fused.parts,
                highlights=tuple(highlights(post, asked.parsed)),
                similar=max(copies.get(entry.fingerprint, 1) - 1, entry.copies) + entry.near,
            )
            for entry in entries
            if (post := posts.get(entry.fused.key)) is not None and not asked.parsed.excludes(post)
        ]


class _Asked(msgspec.Struct, frozen=True):
    """The question, taken apart: a query, or the post that others are to be like."""

    parsed: ParsedQuery
    post: StoredPost | None = None

    @property
    def ranks(self) -> bool:
        """Whether there is anything to rank by but time."""
        return self.post is not None or self.parsed.has_terms

    @property
    def meaning(self) -> str:
        return self.parsed.meaning if self.post is None else self.post.post.text

    @property
    def fingerprint(self) -> int | None:
        return None if self.post is None else fingerprint(self.post.post.text)

    @property
    def pk(self) -> int | None:
        return None if self.post is None else self.post.pk


class _Leg(msgspec.Struct):
    hits: list[Hit] = []
    ran: bool = False
    full: bool = False
    """Whether it gave as many as it was asked for, so that there may be more."""
    degraded: list[str] = []
    failure: StoreUnavailable | None = None
