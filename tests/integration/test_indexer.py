"""The indexer: what is stored is indexed, whatever is away meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from groundswell.adapters.postgres_pool import connection
from groundswell.adapters.qdrant import QdrantIndex
from groundswell.adapters.qdrant_embedded import EmbeddedQdrant
from groundswell.adapters.static_model import StaticModel
from groundswell.errors import StoreUnavailable, VectorIndexUnavailable
from groundswell.ports.outbox import OutboxItem
from groundswell.ports.vectors import Hit, SearchFilters, Space, Vector, VectorPoint
from groundswell.services.indexer import Indexer
from tests.search_world import (
    NO_FILTERS,
    TEXTS,
    SystemClock,
    World,
    empty,
    in_world,
    indexed,
    until,
)
from tests.vector_engine import index_in_process


def test_edits_replace_and_deletes_remove_what_was_indexed(database_url: str, model: StaticModel) -> None:
    async def scenario(world: World) -> None:
        index = index_in_process()
        await indexed(world, index, model)
        assert await index.count() == len(TEXTS)
        async with connection(world.pool) as conn:
            await conn.execute("UPDATE posts SET text = 'volcano erupts in iceland' WHERE pk = 3")
            await conn.execute("INSERT INTO outbox (post_pk, op) VALUES (3, 'upsert'), (3, 'upsert')")
        await world.remove(1)
        await indexed(world, index, model)
        assert await index.count() == len(TEXTS) - 1
        vector = model.embed_query("volcano in iceland")
        assert (await index.search(vector, NO_FILTERS, 1))[0].pk == 3
        async with connection(world.pool) as conn:
            spaces = await (await conn.execute("SELECT DISTINCT space FROM post_vectors")).fetchall()
        assert spaces == [("wordllama-256",)]

    in_world(database_url, scenario)


def test_an_index_that_was_lost_is_made_again_from_postgres(database_url: str, model: StaticModel) -> None:
    async def scenario(world: World) -> None:
        await indexed(world, index_in_process(), model)
        another = index_in_process()
        indexer, stop = Indexer(world.outbox, another, model, SystemClock()), asyncio.Event()
        task = asyncio.create_task(indexer.run(stop))
        await until(lambda: indexer.state.indexed_total == len(TEXTS))
        stop.set()
        await task
        assert await another.count() == len(TEXTS)

    in_world(database_url, scenario)


def test_the_outbox_waits_out_an_engine_that_is_away(database_url: str, model: StaticModel, tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        engine = EmbeddedQdrant(tmp_path)
        url = await engine.start()
        await engine.stop()
        index = QdrantIndex(url, api_key=engine.api_key, timeout_s=5)
        indexer = Indexer(world.outbox, index, model, SystemClock())
        stop = asyncio.Event()
        task = asyncio.create_task(indexer.run(stop))
        await until(lambda: indexer.state.failures_total >= 2)
        assert indexer.state.phase == "waiting"
        assert "does not answer" in (indexer.state.last_error or "")
        assert await world.outbox.depth() == len(TEXTS)
        async with EmbeddedQdrant(tmp_path, port=int(url.rpartition(":")[2]), api_key=engine.api_key):
            await until(lambda: empty(world.outbox))
            assert await index.count() == len(TEXTS)
            stop.set()
            await task
        assert indexer.state.last_error is None
        assert indexer.state.indexed_total == len(TEXTS)
        await index.close()

    in_world(database_url, scenario)


def test_a_store_that_fails_repeats_work_and_loses_none(model: StaticModel) -> None:
    class Flaky:
        """Is away for some calls; keeps its items until they are marked done."""

        def __init__(self) -> None:
            self.items = [OutboxItem(n, n, None) for n in range(1, 11)]
            self.calls = 0

        def _maybe_fail(self) -> None:
            self.calls += 1
            if self.calls in {1, 3, 4, 6, 9}:
                raise StoreUnavailable("away")

        async def claim(self, limit: int, after: int = 0) -> Sequence[OutboxItem]:
            self._maybe_fail()
            return [item for item in self.items if item.id > after][:limit]

        async def done(self, items: Sequence[OutboxItem], *, space: str) -> None:
            self._maybe_fail()
            gone = {item.id for item in items}
            self.items = [item for item in self.items if item.id not in gone]

        async def depth(self) -> int:
            return len(self.items)

        async def start_anew(self) -> int:
            return 0

    class Index:
        def __init__(self) -> None:
            self.deleted: list[int] = []

        async def ensure(self, space: Space) -> None: ...
        async def upsert(self, points: Sequence[VectorPoint]) -> None: ...
        async def drop(self, space: str) -> None: ...
        async def delete(self, pks: Sequence[int]) -> None:
            self.deleted.extend(pks)

        async def search(self, vector: Vector, filters: SearchFilters, limit: int) -> list[Hit]:
            raise VectorIndexUnavailable("unused")

        async def spaces(self) -> list[Space]:
            return []

        async def count(self) -> int:
            return 0

        async def close(self) -> None: ...

    async def main() -> None:
        outbox, index = Flaky(), Index()
        indexer = Indexer(outbox, index, model, SystemClock(), batch=4)
        stop = asyncio.Event()
        task = asyncio.create_task(indexer.run(stop))
        await until(lambda: not outbox.items)
        stop.set()
        await task
        assert set(index.deleted) == set(range(1, 11))
        assert indexer.state.removed_total == 10

    asyncio.run(main())


def test_without_a_model_the_items_wait(database_url: str) -> None:
    async def scenario(world: World) -> None:
        indexer = Indexer(world.outbox, index_in_process(), None, SystemClock())
        stop = asyncio.Event()
        task = asyncio.create_task(indexer.run(stop))
        await asyncio.sleep(0)
        assert indexer.state.phase == "disabled"
        stop.set()
        await task
        assert await world.outbox.depth() == len(TEXTS)

    in_world(database_url, scenario)


def test_waking_it_indexes_at_once(database_url: str, model: StaticModel) -> None:
    class PatientClock(SystemClock):
        async def sleep(self, seconds: float) -> None:
            await asyncio.Event().wait()

    async def scenario(world: World) -> None:
        index = index_in_process()
        indexer = Indexer(world.outbox, index, model, PatientClock())
        stop = asyncio.Event()
        task = asyncio.create_task(indexer.run(stop))
        await until(lambda: indexer.state.indexed_total == len(TEXTS))
        await world.add(50, "one more")
        indexer.wake()
        await until(lambda: indexer.state.indexed_total == len(TEXTS) + 1)
        stop.set()
        await task
        assert np.isclose(await index.count(), len(TEXTS) + 1)

    in_world(database_url, scenario)
