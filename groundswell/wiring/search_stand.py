"""A search engine of its own for measurements: real stores in a folder that goes away, filled with given posts."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec

from groundswell.adapters.embedded_postgres import EmbeddedPostgres
from groundswell.adapters.migrations import migrate
from groundswell.adapters.postgres_outbox import PostgresOutbox
from groundswell.adapters.postgres_pool import Pool, connection, open_pool
from groundswell.adapters.postgres_search import PostgresSearch
from groundswell.adapters.postgres_store import PostgresStore
from groundswell.adapters.qdrant import QdrantIndex
from groundswell.adapters.qdrant_embedded import EmbeddedQdrant
from groundswell.adapters.simulator import WATCH_NAMES, Surge, World, WorldConfig
from groundswell.adapters.system_clock import SystemClock
from groundswell.core.entities import EntityExtractor
from groundswell.core.jetstream import decode
from groundswell.core.posts import MICROS_PER_SECOND, Post
from groundswell.core.queries import ParsedQuery
from groundswell.errors import EmbeddingUnavailable
from groundswell.ports.search import Searcher
from groundswell.ports.storing import Batch
from groundswell.ports.vectors import EVERYTHING, Hit, LoadedModel, SearchFilters, Within
from groundswell.services.indexer import Indexer
from groundswell.services.search import SearchService
from groundswell.settings_model import EmbeddedSettings
from groundswell.wiring.parts import embedding_chain

BATCH = 500
SECONDS_OF_EACH_STORY = 120


class Stand(msgspec.Struct, frozen=True):
    """A filled search engine."""

    legs: dict[str, Searcher]
    """`lexical` and `semantic` alone, and `fused`."""
    space: str
    embedded_per_s: float
    """Posts that the model alone embeds in a second."""
    indexed_per_s: float | None
    """Posts that went from the outbox through the model into the engine in a second; None where none had to."""
    model_bytes: int | None
    """By how much the memory of this process grew with the model, where this system tells."""
    engine_bytes: int | None
    database_url: str
    qdrant_url: str
    qdrant_key: str
    store_pids: tuple[int, ...]
    """The processes of both stores; Postgres has one more for each connection below its own."""


class _NoWords(PostgresSearch):
    """Posts, but no lexical leg."""

    async def lexical(
        self, query: ParsedQuery, filters: SearchFilters, limit: int, within: Within = EVERYTHING
    ) -> list[Hit]:
        del query, filters, limit, within
        return []


@asynccontextmanager
async def search_stand(
    settings: EmbeddedSettings, model: str, posts: Sequence[Post], *, folder: Path | None = None
) -> AsyncGenerator[Stand, None]:
    """Raises `EmbeddingUnavailable` where the model does not work here.

    Args:
        folder: keeps the filled stores; those that were filled there before are taken as they are.
    """
    async with AsyncExitStack() as stack:
        before = _resident_bytes("self")
        chain = embedding_chain(msgspec.structs.replace(settings, embedding_chain=(model,)))
        stack.push_async_callback(chain.close)
        await chain.load()
        if chain.active is None:
            raise EmbeddingUnavailable(chain.why_none() or f"{model} is not there.")
        speed = await asyncio.to_thread(_speed, chain.active, [post.text for post in posts])
        after = _resident_bytes("self")
        folder = folder or _folder(stack)
        pool, url, server_pid = await _database(stack, folder, posts)
        engine = await stack.enter_async_context(EmbeddedQdrant(folder / "qdrant"))
        index = QdrantIndex(engine.url, api_key=engine.api_key)
        stack.push_async_callback(index.close)
        outbox = PostgresOutbox(pool)
        waiting, started = await outbox.depth(), SystemClock().monotonic()
        await _index(outbox, Indexer(outbox, index, chain.current, SystemClock(), poll_s=0.1))
        seconds = SystemClock().monotonic() - started
        lexical, clock = PostgresSearch(pool), SystemClock()
        yield Stand(
            legs={
                "lexical": SearchService(lexical, None, None, clock),
                "semantic": SearchService(_NoWords(pool), index, chain.current, clock),
                "fused": SearchService(lexical, index, chain.current, clock),
            },
            space=chain.active.space.name,
            embedded_per_s=speed,
            indexed_per_s=waiting / seconds if waiting else None,
            model_bytes=None if before is None or after is None else after - before,
            engine_bytes=_resident_bytes(str(engine.pid)),
            database_url=url,
            qdrant_url=engine.url,
            qdrant_key=engine.api_key,
            store_pids=tuple(pid for pid in (server_pid, engine.pid) if pid is not None),
        )


def simulated_posts(stories: Sequence[str], *, seed: int = 7) -> list[Post]:
    """What the simulated network says while it talks about each of `stories` (entity keys) in turn. Same for ever."""
    began = 1_760_000_000 * MICROS_PER_SECOND
    step = SECONDS_OF_EACH_STORY * MICROS_PER_SECOND
    surges = tuple(
        Surge(story, began + n * step, ramp_s=10, peak=40, duration_s=SECONDS_OF_EACH_STORY)
        for n, story in enumerate(stories)
    )
    config = WorldConfig(seed=seed, posts_per_second=10, began_at=began, surges=surges, surge_every_s=0)
    extractor = EntityExtractor(WATCH_NAMES)
    found: dict[str, Post] = {}
    for second in World(config).seconds(began, began + len(stories) * step):
        for frame in second.frames:
            decoded = decode(frame, source="bench", extractor=extractor)
            if isinstance(decoded, Post) and decoded.operation == "create":
                found.setdefault(decoded.id, decoded)
    return list(found.values())


def _folder(stack: AsyncExitStack) -> Path:
    return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="groundswell-bench-")))


async def _database(stack: AsyncExitStack, folder: Path, posts: Sequence[Post]) -> tuple[Pool, str, int | None]:
    server = EmbeddedPostgres(folder)
    url = await server.start()
    stack.push_async_callback(server.stop)
    await migrate(url)
    pool = await open_pool(url, size=4, wait_s=30, statement_timeout_s=60, application_name="groundswell bench")
    stack.push_async_callback(pool.close)
    if not (await PostgresSearch(pool).horizon())[0]:
        store = PostgresStore(pool)
        for start in range(0, len(posts), BATCH):
            some = posts[start : start + BATCH]
            last = max(post.event_time for post in some)
            await store.commit(Batch(some[0].source, some, [], last, last, last))
        async with connection(pool) as conn:
            await conn.execute("ANALYZE posts")
    return pool, url, server.running_pid()


async def _index(outbox: PostgresOutbox, indexer: Indexer) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(indexer.run(stop))
    while await outbox.depth():  # noqa: ASYNC110 -- a table tells nobody when it is empty
        await asyncio.sleep(0.05)
    stop.set()
    await running


def _speed(model: LoadedModel, texts: Sequence[str]) -> float:
    """Texts a second, in the indexer's batches, after a first one that warms up."""
    model.embed(texts[:64])
    started = SystemClock().monotonic()
    for start in range(0, len(texts), 512):
        model.embed(texts[start : start + 512])
    return len(texts) / (SystemClock().monotonic() - started)


def _resident_bytes(process: str) -> int | None:
    """On Linux; elsewhere None."""
    try:
        lines = Path(f"/proc/{process}/status").read_text("utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:")), None)
