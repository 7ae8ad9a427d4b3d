"""Asks the index in every space that it takes to cover the posts, each in the words of its own model."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeAlias

import msgspec

from groundswell.core.spaces import ENOUGH, choose_spaces, merge_by_share
from groundswell.errors import EmbeddingUnavailable, StoreUnavailable, VectorIndexUnavailable
from groundswell.ports.time import Clock
from groundswell.ports.vectors import Embedder, Hit, LoadedModel, Space, SpaceStore, Vector
from groundswell.services.embeddings import EmbeddingChain
from groundswell.services.upkeep.optional_part import failing_as

log = logging.getLogger(__name__)

QUERY_VECTORS_KEPT = 256
SHARES_KEPT_S = 1.0
"""How long the posts of each space are taken to be as they were when last counted."""
FEW_POSTS = 10_000
"""As few are counted for every question: a second of embedding anew could move more than a hundredth of them."""

Ask: TypeAlias = Callable[[Vector, float], Awaitable[list[Hit]]]
"""Given a vector and the least cosine that counts in its space."""


class Found(msgspec.Struct, frozen=True):
    hits: list[Hit]
    """Best first. Scores of different spaces cannot be compared; the order can be trusted."""
    degraded: list[str]
    """`embeddings` where a part of the posts is in spaces that no model here speaks."""


class Spaces(Protocol):
    """What the semantic leg needs of the embedding models."""

    async def nearest(self, text: str, ask: Ask) -> Found:
        """Embed `text` where it takes, `ask` the index about each vector, and merge.

        Raises:
            EmbeddingUnavailable: no model works here.
        """
        ...


class OneSpace:
    """`Spaces` of a single model."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._vectors = QueryVectors()

    async def nearest(self, text: str, ask: Ask) -> Found:
        vector = await self._vectors.of(self._embedder, text)
        return Found(await ask(vector, self._embedder.min_similarity), [])


class ChainSpaces:
    """`Spaces` of the chain: the preferred space, and others while they hold posts that it does not."""

    def __init__(self, chain: EmbeddingChain, store: SpaceStore, clock: Clock) -> None:
        self._chain = chain
        self._store = store
        self._clock = clock
        self._vectors = QueryVectors()
        self._posts: dict[str, int] = {}
        self._counted_at: float | None = None

    async def nearest(self, text: str, ask: Ask) -> Found:
        try:
            return await self._nearest(text, ask)
        except VectorIndexUnavailable:
            # A space may have been emptied and dropped since the posts were counted.
            before, self._counted_at = self._posts, None
            if await self._count() == before:
                raise
            return await self._nearest(text, ask)

    async def _nearest(self, text: str, ask: Ask) -> Found:
        models, covered = await self._models()
        if not models:
            raise EmbeddingUnavailable(
                self._chain.why_none() or "the posts are in spaces that no embedding model here speaks"
            )
        answers: list[tuple[Space, list[Hit]]] = []
        failures: list[EmbeddingUnavailable] = []
        # Posts move into the preferred space. It is asked last, so that one on its way is seen where it was or
        # where it is.
        for model in reversed(models):
            try:
                answers.append((model.space, await self._ask(model, text, ask)))
            except EmbeddingUnavailable as error:
                failures.append(error)
        if not answers:
            raise failures[-1]
        complete = covered >= ENOUGH and not failures
        return Found(await self._merged(answers), [] if complete else ["embeddings"])

    async def _merged(self, answers: Sequence[tuple[Space, list[Hit]]]) -> list[Hit]:
        if len(answers) == 1:
            return answers[0][1]
        # Counted again: a few posts may have moved a good part of all since.
        self._counted_at = None
        posts = await self._count()
        total = max(sum(posts.values()), 1)
        return merge_hits([(hits, posts.get(space.name, 0) / total) for space, hits in answers])

    async def _ask(self, model: LoadedModel, text: str, ask: Ask) -> list[Hit]:
        try:
            vector = await self._vectors.of(model, text)
        except EmbeddingUnavailable as error:
            self._chain.broke(model, error.detail)
            raise
        return await ask(vector, model.min_similarity)

    async def _models(self) -> tuple[list[LoadedModel], float]:
        """The models to ask with, the preferred one first, and the share of all posts that their spaces hold."""
        await self._chain.begin()
        posts = await self._count()
        readers: dict[str, LoadedModel] = {}
        for space in dict.fromkeys([*self._chain.spaces(), *sorted(posts, key=lambda space: -posts[space])]):
            active = self._chain.active
            if posts.get(space, 0) > 0 or (active is not None and active.space.name == space):
                reader = await self._chain.reader(space)
                if reader is not None:
                    readers[space] = reader
        choice = choose_spaces(posts, list(readers))
        self._chain.keep_readers(set(choice.spaces))
        return [readers[space] for space in choice.spaces], choice.covered

    async def _count(self) -> dict[str, int]:
        now = self._clock.monotonic()
        old = self._counted_at is None or now - self._counted_at >= SHARES_KEPT_S
        if old or sum(self._posts.values()) <= FEW_POSTS:
            try:
                self._posts = await self._store.posts_by_space()
                self._counted_at = now
            except StoreUnavailable as error:  # what was counted before is nearly right, and the leg goes on
                log.debug("the spaces were not counted: %s", error)
        return self._posts


class QueryVectors:
    """Embeds queries in a thread, and remembers them: people page through one query, and many ask the same."""

    def __init__(self, kept: int = QUERY_VECTORS_KEPT) -> None:
        self._kept = kept
        self._vectors: OrderedDict[tuple[str, str], Vector] = OrderedDict()

    async def of(self, embedder: Embedder, text: str) -> Vector:
        """Raises `EmbeddingUnavailable`."""
        key = (embedder.space.name, text)
        known = self._vectors.get(key)
        if known is None:
            with failing_as(EmbeddingUnavailable, f"The model {embedder.space.name}"):
                known = await asyncio.to_thread(embedder.embed_query, text)
                if known.space != embedder.space:
                    raise EmbeddingUnavailable(f"The model {embedder.space.name} made a vector of another space.")
            while len(self._vectors) >= self._kept:
                self._vectors.popitem(last=False)
        self._vectors[key] = known
        self._vectors.move_to_end(key)
        return known


def merge_hits(found: Sequence[tuple[list[Hit], float]]) -> list[Hit]:
    """The hits of several spaces in one order, each post once. See `core.spaces.merge_by_share`."""
    hits = {hit.pk: hit for some, _ in reversed(found) for hit in some}
    order = merge_by_share([([hit.pk for hit in some], share) for some, share in found])
    return [hits[pk] for pk in dict.fromkeys(order)]
