"""A change of model, with real models and real stores: search goes on, posts move, the old space goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from groundswell.adapters.embedding_models import EmbeddingModels
from groundswell.adapters.postgres_outbox import PostgresOutbox
from groundswell.adapters.postgres_pool import Pool, connection, open_pool
from groundswell.adapters.postgres_search import PostgresSearch
from groundswell.adapters.postgres_spaces import PostgresSpaces
from groundswell.adapters.qdrant import QdrantIndex
from groundswell.adapters.qdrant_embedded import EmbeddedQdrant
from groundswell.core.embedding_chain import parse_chain
from groundswell.metrics import Metrics
from groundswell.ports.vectors import SearchFilters, Space
from groundswell.services.embeddings import EmbeddingChain
from groundswell.services.indexer import Indexer
from groundswell.services.reembed import Reembedder
from groundswell.services.search import SearchService
from groundswell.services.spaces import ChainSpaces
from tests.tiny_encoder import make_encoder
from tests.vector_engine import index_in_process

STATIC, TINY = "wordllama-256", "tiny--encoder"
A, B = "static:wordllama-256", "fastembed:tiny/encoder"
CAT = "my cat sleeps on the sofa all day"
MANY = 400
LONG_S = 100.0


class QuickClock:
    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def now(self) -> int:
        return 0

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.02))


class Platform:
    """What a process with this chain runs of the way to the index and back."""

    def __init__(self, pool: Pool, index: QdrantIndex, models: Path, chain: Sequence[str], *, rate: float) -> None:
        clock = QuickClock()
        loader = EmbeddingModels(models_dir=models, fetch=False, memory_bytes=2**31, load_timeout_s=LONG_S)
        self.index = index
        self.outbox = PostgresOutbox(pool)
        self.spaces = PostgresSpaces(pool)
        self.chain = EmbeddingChain(parse_chain(chain), loader, clock)
        self.indexer = Indexer(self.outbox, index, self.chain.current, clock, batch=64)
        self.metrics = Metrics()
        self.reembedder = Reembedder(
            self.chain,
            self.spaces,
            self.outbox,
            index,
            clock,
            posts_per_s=rate,
            metrics=self.metrics,
            wake=self.indexer.wake,
        )
        self.search = SearchService(
            PostgresSearch(pool),
            index,
            None,
            clock,
            spaces=ChainSpaces(self.chain, self.spaces, clock),
            min_similarity=-1,
            semantic_limit_s=LONG_S,
        )

    async def found_by_meaning(self, query: str) -> tuple[int, list[str]]:
        """The post that the semantic leg puts first, and what was degraded."""
        answer = await self.search.search(query, SearchFilters(), 1_000)
        best = min(answer.hits, key=lambda hit: hit.ranks.get("semantic", 10**6))
        return best.pk, answer.degraded

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        stop = asyncio.Event()
        await self.chain.start(LONG_S)
        try:
            async with asyncio.TaskGroup() as tasks:  # a part that fails fails the test
                for run in (self.chain.run, self.indexer.run, self.reembedder.run):
                    tasks.create_task(run(stop))
                yield
                stop.set()
        finally:
            await self.chain.close()


async def add(pool: Pool, texts: Sequence[str]) -> None:
    async with connection(pool) as conn:
        await conn.execute(
            "WITH p AS (INSERT INTO posts (id, source, author, text, lang, event_time, rev)"
            " SELECT 'at://' || gen_random_uuid(), 'test', 'a', t, 'en', to_timestamp(n), 'r'"
            " FROM unnest(%s::text[]) WITH ORDINALITY AS u (t, n) ORDER BY n RETURNING pk)"
            " INSERT INTO outbox (post_pk, op) SELECT pk, 'upsert' FROM p",
            ([*texts],),
        )


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(LONG_S):
        while not await condition():  # noqa: ASYNC110 -- what is waited for tells nobody
            await asyncio.sleep(0.02)


def in_database(url: str, scenario: Callable[[Pool], Awaitable[None]]) -> None:
    async def main() -> None:
        pool = await open_pool(url, size=6, wait_s=20, statement_timeout_s=20, application_name="test-spaces")
        try:
            await scenario(pool)
        finally:
            await pool.close()

    asyncio.run(main())


@pytest.fixture
def models(tmp_path: Path) -> Path:
    make_encoder(tmp_path / "models/tiny/encoder")
    return tmp_path / "models"


def test_a_change_of_model_is_a_non_event(database_url: str, models: Path, tmp_path: Path) -> None:
    async def scenario(pool: Pool) -> None:
        async with EmbeddedQdrant(tmp_path / "vectors", seal_at=150) as engine:
            index = QdrantIndex(engine.url, api_key=engine.api_key, timeout_s=60)
            await add(pool, [CAT, *(f"bitcoin climbs after the rate cut {n}" for n in range(MANY - 1))])
            before = Platform(pool, index, models, [A], rate=0)

            async def all_indexed() -> bool:
                return await before.spaces.posts_by_space() == {STATIC: MANY}

            async with before.running():
                await until(all_indexed)
                assert await before.found_by_meaning("cat sleeps") == (1, [])

            # The next release names another model only. Before it may move posts, both spaces are asked.
            slow = Platform(pool, index, models, [B], rate=0)
            async with slow.running():
                assert await slow.found_by_meaning("cat sleeps") == (1, [])
                await add(pool, ["the cat sleeps and sleeps"])

                async def new_one_is_indexed() -> bool:
                    return await slow.spaces.posts_by_space() == {STATIC: MANY, TINY: 1}

                await until(new_one_is_indexed)
                assert {space.name for space in await index.spaces()} == {STATIC, TINY}

            after = Platform(pool, index, models, [B], rate=100)
            shares: list[float] = []

            async def moved() -> bool:
                posts = await after.spaces.posts_by_space()
                shares.append(posts.get(TINY, 0) / sum(posts.values()))
                found, degraded = await after.found_by_meaning("cat sleeps")
                assert found in (1, MANY + 1)
                assert degraded == []
                return [space.name for space in await index.spaces()] == [TINY]

            async with after.running():
                await until(moved)
                assert await after.spaces.posts_by_space() == {TINY: MANY + 1}
                assert await index.count() == MANY + 1
                assert after.reembedder.detail()["coverage"] == 1
                assert after.reembedder.state.remaining == 0
                assert after.metrics.value("posts_reembedded_total") >= MANY
                assert after.metrics.value("space_posts", label=TINY) == MANY + 1
            assert shares == sorted(shares), "coverage only ever rises"
            assert 0 < shares[0] < 1 or len(shares) > 1
            await index.close()

    in_database(database_url, scenario)


def test_what_a_fallback_embedded_moves_when_the_preferred_model_comes_back_and_not_the_other_way(
    database_url: str, models: Path
) -> None:
    async def scenario(pool: Pool) -> None:
        index = index_in_process()
        model = models / "tiny/encoder/model.onnx"
        kept = model.read_bytes()
        model.write_bytes(b"damaged")
        await add(pool, [CAT, "bitcoin climbs"])
        platform = Platform(pool, index, models, [B, A], rate=100)
        async with platform.running():

            async def in_fallback() -> bool:
                return await platform.spaces.posts_by_space() == {STATIC: 2}

            await until(in_fallback)
            assert platform.chain.status()[1]["fallback"] is True
            assert str(model) in str(platform.chain.status()[1]["why"])
            model.write_bytes(kept)  # the retry finds it: no restart

            async def moved() -> bool:
                return await platform.spaces.posts_by_space() == {TINY: 2}

            await until(moved)
            assert platform.chain.status()[1]["fallback"] is False
            model.write_bytes(b"damaged")
        downgraded = Platform(pool, index, models, [B, A], rate=100)
        async with downgraded.running():
            await add(pool, ["markets rally"])

            async def both() -> bool:
                return await downgraded.spaces.posts_by_space() == {STATIC: 1, TINY: 2}

            await until(both)
            assert await downgraded.reembedder.step() is False
            found, degraded = await downgraded.found_by_meaning("markets rally")
            assert found == 3
            assert degraded == ["embeddings"], "two of three posts are in a space that nothing here speaks"
            assert {space.name for space in await index.spaces()} == {STATIC, TINY}

    in_database(database_url, scenario)


def test_without_a_model_posts_wait_in_the_outbox_and_none_is_lost(database_url: str, models: Path) -> None:
    async def scenario(pool: Pool) -> None:
        index = index_in_process()
        await add(pool, [CAT, "bitcoin climbs"])
        hidden = models / "tiny/hidden"
        (models / "tiny/encoder").rename(hidden)
        platform = Platform(pool, index, models, [B], rate=100)
        async with platform.running():

            async def waits() -> bool:
                return platform.indexer.state.phase == "waiting"

            await until(waits)
            assert "no embedding model of the chain works" in (platform.indexer.state.last_error or "")
            assert await platform.outbox.depth() == 2
            answer = await platform.search.search("cat ", SearchFilters(), 10)
            assert ([hit.pk for hit in answer.hits], answer.legs, answer.degraded) == ([1], ["lexical"], ["embeddings"])
            hidden.rename(models / "tiny/encoder")

            async def indexed() -> bool:
                return await platform.spaces.posts_by_space() == {TINY: 2}

            await until(indexed)
            assert await platform.found_by_meaning("my cat sleeps") == (1, [])

    in_database(database_url, scenario)


def test_a_space_that_was_dropped_a_moment_ago_is_no_failure(database_url: str, models: Path, tmp_path: Path) -> None:
    async def scenario(pool: Pool) -> None:
        async with EmbeddedQdrant(tmp_path / "vectors") as engine:
            index = QdrantIndex(engine.url, api_key=engine.api_key, timeout_s=60)
            await add(pool, [CAT, "bitcoin climbs"])
            platform = Platform(pool, index, models, [A, B], rate=0)

            async def indexed() -> bool:
                return (await platform.spaces.posts_by_space()).get(STATIC) == 2

            async with platform.running():
                await until(indexed)
                await index.ensure(Space(TINY, 8))
                async with connection(pool) as conn:
                    await conn.execute(
                        "INSERT INTO post_vectors VALUES (1001, %(space)s), (1002, %(space)s)", {"space": TINY}
                    )

                async def can_be_read() -> bool:
                    return await platform.chain.reader(TINY) is not None

                await until(can_be_read)
                assert await platform.found_by_meaning("my cat sleeps") == (1, [])
                async with connection(pool) as conn:
                    await conn.execute("DELETE FROM post_vectors WHERE space = %s", (TINY,))
                await index.drop(TINY)
                assert await platform.found_by_meaning("the cat sleeps") == (1, [])
            await index.close()

    in_database(database_url, scenario)


def test_the_posts_of_each_space_are_counted_whatever_changes_them(database_url: str) -> None:
    async def scenario(pool: Pool) -> None:
        spaces = PostgresSpaces(pool)
        async with connection(pool) as conn:
            await conn.execute("INSERT INTO post_vectors SELECT n, 'a' FROM generate_series(1, 10) n")
            await conn.execute(
                "INSERT INTO post_vectors SELECT n, 'b' FROM generate_series(8, 12) n"
                " ON CONFLICT (post_pk) DO UPDATE SET space = excluded.space"
            )
            await conn.execute("DELETE FROM post_vectors WHERE post_pk IN (1, 12)")
        assert await spaces.posts_by_space() == {"a": 6, "b": 4}
        first = await spaces.queue_again("a", None, 4)
        assert (first.posts, first.lowest_pk) == (4, 4)
        rest = await spaces.queue_again("a", first.lowest_pk, 4)
        assert (rest.posts, rest.lowest_pk) == (2, 2)
        assert (await spaces.queue_again("a", 2, 4)).lowest_pk is None
        async with connection(pool) as conn:
            queued = await (await conn.execute("SELECT post_pk FROM outbox ORDER BY id")).fetchall()
            assert [pk for (pk,) in queued] == [7, 6, 5, 4, 3, 2]
            await conn.execute("DELETE FROM post_vectors WHERE space = 'b'")
        await spaces.forget("a")
        await spaces.forget("b")
        assert await spaces.posts_by_space() == {"a": 6}

    in_database(database_url, scenario)
