"""Brings the vector index up to date with Postgres: outbox → embedding → index, in order, whatever is down meanwhile.

Posts never wait for it. An item leaves the outbox only after the index has acknowledged it, so a crash, or an outage of
either store, repeats work and loses none: an upsert of the same point twice is one point.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from random import Random
from typing import Literal, TypeAlias, TypeVar

import msgspec

from groundswell.core.posts import Post
from groundswell.core.session import full_jitter_backoff
from groundswell.errors import EmbeddingUnavailable, GroundswellError
from groundswell.ports.outbox import Outbox, OutboxItem
from groundswell.ports.time import Clock
from groundswell.ports.vectors import Embedder, Space, VectorIndex, VectorPoint, Vectors
from groundswell.services.pausing import pause

T = TypeVar("T")
IndexerPhase: TypeAlias = Literal["disabled", "idle", "indexing", "waiting"]

FIRST_RETRY_S = 0.5
LONGEST_RETRY_S = 30.0
CHUNK_POSTS = 512
"""Large enough that a round trip to either store costs little for each post."""
CHUNKS_UNDER_WAY = 3
"""One waits for its turn in this process, one in the engine, one in Postgres: none of the three stands idle."""


class IndexerState(msgspec.Struct):
    """What the indexer is doing, for `/v1/status` and metrics. Counters start at zero with the process."""

    phase: IndexerPhase = "idle"
    depth: int | None = None
    """Items in the outbox when last looked at; None before the first look."""
    indexed_total: int = 0
    removed_total: int = 0
    failures_total: int = 0
    last_error: str | None = None
    """Why it waits; None while all is well."""
    seconds: dict[str, float] = msgspec.field(default_factory=dict[str, float])
    """Time spent by stage: claim, embed, upsert, done. Stages overlap."""


class _Chunk(msgspec.Struct, frozen=True):
    """Outbox items on their way into the index."""

    items: Sequence[OutboxItem]
    newest: Sequence[OutboxItem]
    """The last item of each post."""
    vectors: Vectors | None
    """One row for each of `newest` that has a post, in order. None where none has."""


class Indexer:
    """Drains the outbox into the index until told to stop.

    Args:
        embedder: None leaves the items in the outbox until a build or a machine with a model takes over.
        batch: posts embedded and upserted at a time.
        poll_s: how often to look into the outbox when nobody calls `wake`.
    """

    def __init__(
        self,
        outbox: Outbox,
        index: VectorIndex,
        embedder: Embedder | None,
        clock: Clock,
        *,
        batch: int = CHUNK_POSTS,
        poll_s: float = 2.0,
        random: Random | None = None,
    ) -> None:
        self._outbox = outbox
        self._index = index
        self._embedder = embedder
        self._clock = clock
        self._batch = batch
        self._poll_s = poll_s
        self._random = random or Random()  # noqa: S311 - spreads retries, guards nothing
        self._wake = asyncio.Event()
        self._checked = False
        self._ensured: set[Space] = set()
        self.state = IndexerState()

    def wake(self) -> None:
        """There may be something in the outbox. Cheap; call it after every commit."""
        self._wake.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Index until `stop` is set; the chunk in hand is finished first. Outages are waited out, never raised."""
        if self._embedder is None:
            self.state.phase = "disabled"
            await stop.wait()
            return
        backoff = full_jitter_backoff(self._random, FIRST_RETRY_S, LONGEST_RETRY_S)
        while not stop.is_set():
            try:
                await self._drain(self._embedder, stop)
            except GroundswellError as error:
                self.state.phase = "waiting"
                self.state.failures_total += 1
                self.state.last_error = error.detail
                self._checked = False
                self._ensured.clear()
                await pause(self._clock, next(backoff), stop)
                continue
            if self.state.last_error is not None:
                self.state.last_error = None
                backoff = full_jitter_backoff(self._random, FIRST_RETRY_S, LONGEST_RETRY_S)
            self.state.phase = "idle"
            self.state.depth = 0
            await pause(self._clock, self._poll_s, stop, self._wake)

    async def _drain(self, embedder: Embedder, stop: asyncio.Event) -> None:
        """Index until the outbox is empty or `stop` is set.

        Chunks are claimed and embedded ahead, and several are on their way into the index at once, but never two that
        hold the same post: what is said of a post reaches the index in order.
        """
        if not self._checked:
            await self._ensure(embedder.space)
            if await self._index.count() == 0:
                # An index that was lost, or moved away because it was damaged, is made again from Postgres.
                await self._outbox.start_anew()
            self.state.depth = await self._outbox.depth()
            self._checked = True
        self._wake.clear()
        ahead: asyncio.Queue[_Chunk | None] = asyncio.Queue(1)
        preparing = asyncio.create_task(self._prepare(embedder, ahead, stop))
        under_way: dict[asyncio.Task[None], frozenset[int]] = {}
        try:
            while (chunk := await _next(ahead, preparing)) is not None:
                self.state.phase = "indexing"
                pks = frozenset(item.pk for item in chunk.items)
                while len(under_way) >= CHUNKS_UNDER_WAY or not all(map(pks.isdisjoint, under_way.values())):
                    await _first_of(under_way)
                under_way[asyncio.create_task(self._index_chunk(chunk))] = pks
            while under_way:
                await _first_of(under_way)
        finally:
            for task in (preparing, *under_way):
                task.cancel()
            await asyncio.gather(preparing, *under_way, return_exceptions=True)

    async def _prepare(self, embedder: Embedder, ahead: asyncio.Queue[_Chunk | None], stop: asyncio.Event) -> None:
        """Claim and embed chunk after chunk; None ends the queue."""
        after = 0
        while not stop.is_set():
            items = await self._timed("claim", self._outbox.claim(self._batch, after))
            if items:
                newest = _newest(items)
                await ahead.put(_Chunk(items, newest, await self._timed("embed", _embed(embedder, newest))))
                after = items[-1].id
            if len(items) < self._batch:
                break
        await ahead.put(None)

    async def _ensure(self, space: Space) -> None:
        """A model may be replaced at any time: its space is there before its first vector."""
        if space not in self._ensured:
            await self._index.ensure(space)
            self._ensured.add(space)

    async def _index_chunk(self, chunk: _Chunk) -> None:
        await self._timed("upsert", self._store(chunk))
        await self._timed("done", self._finish(chunk))

    async def _store(self, chunk: _Chunk) -> None:
        kept = [item for item in chunk.newest if item.post is not None]
        gone = [item.pk for item in chunk.newest if item.post is None]
        if chunk.vectors is not None:
            await self._ensure(chunk.vectors.space)
            points = [
                VectorPoint(item.pk, vector, payload_of(item.pk, item.post, item.fingerprint))
                for item, vector in zip(kept, chunk.vectors, strict=True)
                if item.post is not None
            ]
            await self._index.upsert(points)
        if gone:
            await self._index.delete(gone)

    async def _finish(self, chunk: _Chunk) -> None:
        await self._outbox.done(chunk.items, space=None if chunk.vectors is None else chunk.vectors.space.name)
        kept = sum(item.post is not None for item in chunk.newest)
        self.state.indexed_total += kept
        self.state.removed_total += len(chunk.newest) - kept
        if self.state.depth is not None:
            self.state.depth = max(0, self.state.depth - len(chunk.items))

    async def _timed(self, stage: str, work: Awaitable[T]) -> T:
        started = self._clock.monotonic()
        try:
            return await work
        finally:
            spent = self.state.seconds
            spent[stage] = spent.get(stage, 0.0) + self._clock.monotonic() - started


async def _next(ahead: asyncio.Queue[_Chunk | None], preparing: asyncio.Task[None]) -> _Chunk | None:
    """The next chunk, or None at the end. Raises what ended the preparing before its time."""
    getting = asyncio.create_task(ahead.get())
    await asyncio.wait({getting, preparing}, return_when=asyncio.FIRST_COMPLETED)
    if not getting.done() and ahead.empty():
        getting.cancel()
        preparing.result()
    return await getting


async def _first_of(under_way: dict[asyncio.Task[None], frozenset[int]]) -> None:
    """Wait for one or more to be over, and forget them. Raises what one of them raised."""
    over, _ = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
    for task in over:
        del under_way[task]
    for task in over:
        task.result()


def payload_of(pk: int, post: Post, fingerprint: int | None) -> dict[str, object]:
    """What the index keeps beside a vector: exactly what searches filter by."""
    payload: dict[str, object] = {
        "pk": pk,
        "entities": list(post.entities),
        "author": post.author,
        "source": post.source,
        "event_time": post.event_time,
    }
    if post.lang is not None:
        payload["lang"] = post.lang
    if fingerprint is not None:
        payload["fingerprint"] = fingerprint
    return payload


def _newest(chunk: Sequence[OutboxItem]) -> list[OutboxItem]:
    """The last item of each post: it carries the post as it is now, or says that it is gone."""
    return list({item.pk: item for item in chunk}.values())


async def _embed(embedder: Embedder, items: Sequence[OutboxItem]) -> Vectors | None:
    """One vector for each item that has a post, in order; None where none has."""
    texts = [item.post.text for item in items if item.post is not None]
    if not texts:
        return None
    try:
        return await asyncio.to_thread(embedder.embed, texts)
    except EmbeddingUnavailable:
        raise
    except Exception as error:
        # Whatever a model's run time raises, posts go on being stored: they wait in the outbox meanwhile.
        raise EmbeddingUnavailable(
            f"The model {embedder.space.name} failed on {len(texts)} texts ({type(error).__name__}: {error}). "
            "Posts wait in the outbox and are tried again."
        ) from error
