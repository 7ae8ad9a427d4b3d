"""The chores of `groundswell index`: the vector index looked at, and made anew, whether or not the platform runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Protocol

import msgspec

from groundswell.adapters.migrations import migrate
from groundswell.adapters.postgres_indexed import IndexState, PostgresIndexed, Rebuild
from groundswell.adapters.postgres_outbox import PostgresOutbox
from groundswell.adapters.postgres_pool import Pool
from groundswell.adapters.qdrant import QdrantIndex
from groundswell.adapters.qdrant_embedded import EmbeddedQdrant, running_engine
from groundswell.adapters.system_clock import SystemClock
from groundswell.errors import EmbeddingUnavailable, VectorIndexUnavailable
from groundswell.services.indexer import Indexer
from groundswell.settings_model import EmbeddedSettings
from groundswell.wiring.chores import database
from groundswell.wiring.parts import database_pool, search_models
from groundswell.wiring.vectors import vector_index

QUEUED_AHEAD = 10_000
"""Posts of a rebuild in the outbox at a time: what is posted meanwhile waits for no more than these."""
QUEUE_BITE = 5_000
LOOK_EVERY_S = 0.5
POOL_SIZE = 4


class RebuildProgress(Protocol):
    def say(self, text: str) -> None: ...

    def at(self, done: int, total: int) -> None: ...


class IndexReport(msgspec.Struct, frozen=True):
    state: IndexState
    platform_indexes: bool
    """Whether a running platform empties the outbox."""
    points: int | None
    """None where the index does not answer; `why` says why."""
    why: str | None = None
    engine_bytes: int | None = None
    """Resident memory of the embedded engine, where this system tells."""


async def inspect_index(settings: EmbeddedSettings) -> IndexReport:
    """Raises: as `wiring.chores.database`."""
    async with AsyncExitStack() as stack:
        posts, _ = await _posts(stack, settings)
        state, indexing = await posts.state(), await posts.is_indexing()
        running = running_engine(_engine_folder(settings))
        try:
            index = await stack.enter_async_context(open_index(settings))
            points = await index.count()
        except VectorIndexUnavailable as error:
            return IndexReport(state, indexing, None, error.detail)
    return IndexReport(state, indexing, points, engine_bytes=None if running is None else _resident_bytes(running.pid))


async def rebuild_index(
    settings: EmbeddedSettings, progress: RebuildProgress, stop: asyncio.Event, *, from_scratch: bool
) -> int | None:
    """Index every post again; answers how many, or None where `stop` came first: the next call goes on from there.

    A platform that runs does the work; otherwise it is done here. Searches go on meanwhile. `from_scratch` throws the
    old index away first, so that searches by meaning find only what has been indexed again.

    Raises:
        EmbeddingUnavailable: no platform runs, and there is no model here.
        VectorIndexUnavailable: the index does not answer.
    """
    async with AsyncExitStack() as stack:
        posts, pool = await _posts(stack, settings)
        if await posts.is_indexing():
            progress.say("The platform that runs does the work; it goes on if you stop watching")
            if from_scratch:
                async with open_index(settings) as index:
                    await index.clear()
        else:
            await _work_here(stack, settings, pool, from_scratch=from_scratch)
        rebuild = await posts.begin_rebuild()
        if rebuild.queued:
            progress.say("Going on where the last rebuild was interrupted")
        done = await _follow(posts, PostgresOutbox(pool), rebuild, progress, stop)
        if done is not None:
            await posts.finish_rebuild(rebuild)
        return done


async def _follow(
    posts: PostgresIndexed, outbox: PostgresOutbox, rebuild: Rebuild, progress: RebuildProgress, stop: asyncio.Event
) -> int | None:
    """Keep the outbox filled until all posts have gone through it."""
    while not stop.is_set():
        while await posts.cut(QUEUE_BITE // 10):
            pass
        waiting = await outbox.depth()
        now = await posts.rebuild() or rebuild
        progress.at(max(0, now.queued - waiting), now.posts)
        if now.all_queued and not waiting:
            return now.posts
        if not now.all_queued and waiting < QUEUED_AHEAD:
            await posts.queue_rebuild(rebuild, QUEUE_BITE)
            continue
        try:
            await asyncio.wait_for(stop.wait(), LOOK_EVERY_S)
        except TimeoutError:
            continue
    return None


async def _work_here(stack: AsyncExitStack, settings: EmbeddedSettings, pool: Pool, *, from_scratch: bool) -> None:
    """An indexer of our own, until the stack closes."""
    url, key = settings.qdrant_url, None
    if url is None:
        engine = await stack.enter_async_context(EmbeddedQdrant(_engine_folder(settings)))
        url, key = engine.url, engine.api_key
    models = await search_models(stack, settings, qdrant_url=url, qdrant_key=key)
    if models.chain.active is None or models.index is None:
        raise EmbeddingUnavailable(models.chain.why_none() or "There is no vector index.")
    if from_scratch:
        await models.index.clear()
    indexer = Indexer(PostgresOutbox(pool), models.index, models.chain.current, SystemClock(), poll_s=LOOK_EVERY_S)
    ended = asyncio.Event()
    running = asyncio.create_task(indexer.run(ended))

    async def end() -> None:
        ended.set()
        await running

    stack.push_async_callback(end)


async def _posts(stack: AsyncExitStack, settings: EmbeddedSettings) -> tuple[PostgresIndexed, Pool]:
    address = await stack.enter_async_context(database(settings.database_url, settings.data_dir))
    await migrate(address)
    pool = await database_pool(stack, settings, address, size=POOL_SIZE, name="index")
    return PostgresIndexed(pool), pool


@asynccontextmanager
async def open_index(settings: EmbeddedSettings) -> AsyncGenerator[QdrantIndex, None]:
    """The index of the settings, or the embedded one: that which runs, or one started for now."""
    async with AsyncExitStack() as stack:
        url, own_key = settings.qdrant_url, None
        if url is None:
            engine = running_engine(_engine_folder(settings))
            if engine is None:
                engine = await stack.enter_async_context(EmbeddedQdrant(_engine_folder(settings)))
            url, own_key = engine.url, engine.api_key
        index = vector_index(url, settings, own_key=own_key)
        stack.push_async_callback(index.close)
        yield index


def _engine_folder(settings: EmbeddedSettings) -> Path:
    return settings.data_dir.expanduser().resolve() / "qdrant"


def _resident_bytes(process: int) -> int | None:
    """On Linux; elsewhere None."""
    try:
        lines = Path(f"/proc/{process}/status").read_text("utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:")), None)
