"""A vector index that loses points while the platform runs: it is noticed, said, and mended."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import psycopg
import pytest

from groundswell.adapters.postgres_outbox import PostgresOutbox
from groundswell.adapters.postgres_pool import Pool, open_pool
from groundswell.adapters.postgres_spaces import PostgresSpaces
from groundswell.adapters.postgres_sweeps import PostgresVectorLedger
from groundswell.adapters.qdrant import QdrantIndex
from groundswell.adapters.static_model import StaticModel
from groundswell.adapters.system_clock import SystemClock
from groundswell.core.status import degraded_parts
from groundswell.errors import VectorIndexUnavailable
from groundswell.ports.vectors import VectorIndex
from groundswell.services import vector_census
from groundswell.services.indexer import Indexer
from groundswell.services.orphan_vectors import OrphanVectors
from groundswell.services.vector_census import VectorCensus
from tests.vector_engine import index_in_process

POSTS = 40
PAGE = 7


class World:
    """Posts in Postgres, all of them indexed, and a census over both."""

    def __init__(self, pool: Pool, index: VectorIndex, model: StaticModel) -> None:
        self.index = index
        self.outbox = PostgresOutbox(pool)
        self.indexer = Indexer(self.outbox, index, model, SystemClock(), poll_s=0.05)
        self.census = self.over(index, pool)

    def over(self, index: VectorIndex, pool: Pool) -> VectorCensus:
        return VectorCensus(
            PostgresSpaces(pool).posts_by_space,
            index,
            OrphanVectors(index, PostgresVectorLedger(pool), page=PAGE),
            self.outbox,
            SystemClock(),
            wake=self.indexer.wake,
        )


def in_world(url: str, model: StaticModel, scenario: Callable[[World], Awaitable[None]]) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(
            "WITH p AS (INSERT INTO posts (id, source, author, text, event_time, rev)"
            " SELECT 'at://' || n, 'test', 'did:plc:' || n, 'Post ' || n, now(), 'r' FROM generate_series(1, %s) n"
            " RETURNING pk) INSERT INTO outbox (post_pk, op) SELECT pk, 'upsert' FROM p",
            (POSTS,),
        )

    async def main() -> None:
        pool = await open_pool(url, size=6, wait_s=5, statement_timeout_s=10, application_name="test")
        index = index_in_process()
        world = World(pool, index, model)
        stop = asyncio.Event()
        indexing = asyncio.create_task(world.indexer.run(stop))
        try:
            await whole(world)
            await scenario(world)
        finally:
            stop.set()
            await indexing
            await index.close()
            await pool.close()

    asyncio.run(main())


async def whole(world: World) -> None:
    async with asyncio.timeout(30):
        while world.indexer.state.indexed_total < POSTS or await world.outbox.depth():  # noqa: ASYNC110 -- a table tells nobody
            await asyncio.sleep(0.02)


async def mended(world: World) -> int:
    """Let the census go on until it is content; answers how many steps that took."""
    steps = 0
    async with asyncio.timeout(30):
        while await world.census.step():
            steps += 1
            await asyncio.sleep(0.01)
    return steps


def test_an_index_that_has_everything_is_looked_at_and_left_alone(database_url: str, model: StaticModel) -> None:
    async def scenario(world: World) -> None:
        assert not await world.census.step()
        assert (world.census.state.phase, world.census.state.queued_total) == ("full", 0)
        assert await world.outbox.depth() == 0

    in_world(database_url, model, scenario)


@pytest.mark.parametrize("lost", [range(1, 4), range(10, 31), range(1, POSTS + 1)], ids=["few", "half", "all"])
def test_points_that_were_removed_behind_the_platforms_back_come_back(
    database_url: str, model: StaticModel, lost: range
) -> None:
    async def scenario(world: World) -> None:
        before = await world.index.pks(-1, 1_000)
        gone = [before[n - 1] for n in lost]
        await world.index.delete(gone)
        assert await world.census.step(), "a first look may have been too early"
        assert world.census.state.phase == "full"
        assert await world.census.step()
        assert (world.census.state.phase, world.census.state.missing) == ("rebuilding", len(gone))
        await mended(world)
        assert world.census.state.phase == "full"
        assert world.census.state.missing == 0
        assert await world.index.pks(-1, 1_000) == before
        assert world.census.state.queued_total == len(gone), "no other post was embedded again"

    in_world(database_url, model, scenario)


def test_posts_are_queued_no_further_ahead_than_new_posts_may_wait(
    database_url: str, model: StaticModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(world: World) -> None:
        monkeypatch.setattr(vector_census, "QUEUED_AHEAD", 10)
        depths: list[int] = []

        async def watched() -> int:
            depths.append(await depth())
            return depths[-1]

        depth = world.outbox.depth
        monkeypatch.setattr(world.outbox, "depth", watched)
        await world.index.delete(await world.index.pks(-1, 1_000))
        await mended(world)
        assert max(depths) <= 10 + PAGE
        assert world.census.state.queued_total == POSTS

    in_world(database_url, model, scenario)


def test_an_index_that_is_away_is_not_taken_for_an_empty_one(database_url: str, model: StaticModel) -> None:
    async def scenario(world: World) -> None:
        async def away() -> int:
            raise VectorIndexUnavailable("It does not answer.")

        index = world.index
        assert isinstance(index, QdrantIndex)
        count = index.count
        index.count = away  # type: ignore[method-assign]
        stop = asyncio.Event()
        looking = asyncio.create_task(world.census.run(stop))
        await asyncio.sleep(0)
        stop.set()
        await looking
        index.count = count  # type: ignore[method-assign]
        assert world.census.state.phase == "full"
        assert await world.outbox.depth() == 0

    in_world(database_url, model, scenario)


def test_an_index_that_lacks_posts_counts_as_degraded() -> None:
    assert degraded_parts([("s", "live", 1.0)], [("vectors", "rebuilding", 1.0)]) == ("vectors",)
    assert degraded_parts([("s", "live", 1.0)], [("vectors", "running", 1.0)]) == ()
