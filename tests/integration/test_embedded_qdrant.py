"""The embedded engine: its process, its shards, and what survives."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

import httpx
import numpy as np
import psutil
import pytest

from groundswell.adapters.qdrant import QdrantIndex
from groundswell.adapters.qdrant_embedded import EmbeddedQdrant, wire
from groundswell.adapters.qdrant_embedded.collection import MERGED, Collection
from groundswell.adapters.qdrant_embedded.engine import Engine, build_index, merge
from groundswell.adapters.qdrant_embedded.refused import Refused
from groundswell.adapters.qdrant_embedded.shard import Schema, VectorSchema
from groundswell.errors import DataDirectoryError, VectorIndexUnavailable
from groundswell.ports.vectors import SearchFilters, Space, Vector, VectorPoint

SPACE = Space("toy", 32)
SCHEMA = Schema({"toy": VectorSchema(32, "Cosine")}, {})
T = TypeVar("T")
SLACK = 8
"""Threads and descriptors that do not depend on the points: those that copy files, and a child process's."""


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(coroutine)


def vector(pk: int) -> list[float]:
    """A direction of its own: no other point comes near it."""
    return np.random.default_rng(pk).standard_normal(32).tolist()


def toward(pk: int) -> Vector:
    return Vector(SPACE, np.array(vector(pk), np.float32))


def points(pks: Sequence[int]) -> list[VectorPoint]:
    return [VectorPoint(pk, toward(pk), {"entities": [f"ticker:T{pk % 7}"], "event_time": pk}) for pk in pks]


def structs(pks: Sequence[int]) -> list[wire.PointStruct]:
    return [wire.PointStruct(p.pk, {"toy": vector(p.pk)}, dict(p.payload)) for p in points(pks)]


def ids(collection: Collection) -> list[int]:
    return [record["id"] for record in collection.scroll(wire.Scroll(limit=10_000))["points"]]


def nearest(collection: Collection, pk: int, limit: int = 1) -> list[int]:
    return [hit["id"] for hit in collection.query(wire.Query(vector(pk), using="toy", limit=limit))]


# ------------------------------------------------------------------ the process
def test_acknowledged_writes_survive_kill_9_and_the_engine_comes_back_at_the_same_address(tmp_path: Path) -> None:
    async def scenario() -> tuple[str, str, int, int]:
        async with EmbeddedQdrant(tmp_path) as engine:
            index = QdrantIndex(engine.url, api_key=engine.api_key)
            await index.ensure(SPACE)
            await index.upsert(points(range(1_500)))
            await index.delete([7])
            before, pid = engine.url, engine.pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            while engine.supervisor.restarts == 0:
                try:
                    await index.count()
                except VectorIndexUnavailable:
                    await asyncio.sleep(0.02)
            found = await index.search(toward(1_499), SearchFilters(), 1)
            count = await index.count()
            await index.close()
            return before, engine.url, count, found[0].pk

    before, after, count, best = run(scenario())
    assert after == before
    assert count == 1_499
    assert best == 1_499


def test_a_second_owner_is_refused_by_name(tmp_path: Path) -> None:
    Engine(tmp_path).close()
    holder = Engine(tmp_path)
    try:
        with pytest.raises(DataDirectoryError, match=r"Another Groundswell .* is using"):
            Engine(tmp_path)
    finally:
        holder.close()


def test_a_corrupt_directory_is_named_with_what_to_do(tmp_path: Path) -> None:
    engine = Engine(tmp_path)
    engine.create("posts", SCHEMA)
    engine.close()
    (tmp_path / "collections" / "posts" / "manifest.json").write_bytes(b"\0\0\0")
    with pytest.raises(DataDirectoryError, match=r"collections/posts is damaged.*Move this folder away"):
        run(EmbeddedQdrant(tmp_path).start())


def test_a_shard_that_lost_a_file_is_named_too(tmp_path: Path) -> None:
    engine = Engine(tmp_path)
    engine.create("posts", SCHEMA)
    engine.close()
    (tmp_path / "collections" / "posts" / "shard-000001" / "edge_config.json").write_bytes(b"nonsense")
    with pytest.raises(DataDirectoryError, match="No post is lost"):
        Engine(tmp_path)


def test_the_engine_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    script = f"""
import asyncio
from pathlib import Path
from groundswell.adapters.qdrant_embedded import EmbeddedQdrant
async def main():
    engine = EmbeddedQdrant(Path({str(tmp_path)!r}))
    await engine.start()
    print(engine.pid, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        engine = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    engine.wait(timeout=20)
    Engine(tmp_path).close()


def test_what_the_engine_does_not_speak_is_refused_by_name(tmp_path: Path) -> None:
    async def scenario() -> list[tuple[int, str]]:
        async with (
            EmbeddedQdrant(tmp_path) as engine,
            httpx.AsyncClient(base_url=engine.url, headers={"api-key": engine.api_key}) as http,
        ):
            vectors = {"toy": {"size": 32, "distance": "Cosine"}}
            assert (await http.put("/collections/posts", json={"vectors": vectors})).json()["result"] is True
            answers = [
                await http.put("/collections/posts/points/payload", json={}),
                await http.post("/collections/posts/points/query", json={"query": [1], "lookup_from": {}}),
                await http.post("/collections/posts/points/query", content=b"{"),
                await http.post("/collections/posts/points/query", json={"query": [1], "using": "toy"}),
                await http.post("/collections/posts/points/query", json={"query": [1], "using": "nope"}),
                await http.put(
                    "/collections/posts/points",
                    json={"points": [{"id": 1, "vector": {"toy": [1, 2]}}]},
                ),
                await http.put("/collections/posts", json={"vectors": vectors}),
                await http.get("/collections/absent"),
                await http.put("/collections/a%20b", json={"vectors": vectors}),
            ]
            return [(answer.status_code, answer.json()["status"]["error"]) for answer in answers]

    refusals = run(scenario())
    assert [status for status, _ in refusals] == [501, 501, 400, 400, 400, 400, 409, 404, 422]
    assert "PUT /collections/posts/points/payload" in refusals[0][1]
    assert "lookup_from" in refusals[1][1]
    assert "expected dim: 32, got 2" in refusals[5][1]


def test_points_are_scrolled_retrieved_counted_and_deleted_by_filter(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with (
            EmbeddedQdrant(tmp_path, seal_at=600) as engine,
            httpx.AsyncClient(base_url=engine.url, headers={"api-key": engine.api_key}) as http,
        ):
            index = QdrantIndex(engine.url, api_key=engine.api_key)
            await index.ensure(SPACE)
            await index.upsert(points(range(1_000)))

            async def ask(path: str, body: dict[str, Any]) -> Any:
                where = f"/collections/{index.collection_of(SPACE.name)}/points"
                return (await http.post(where + path, json=body)).json()["result"]

            page = await ask("/scroll", {"limit": 600, "with_payload": False})
            rest = await ask("/scroll", {"limit": 600, "offset": page["next_page_offset"]})
            seen = [record["id"] for record in page["points"] + rest["points"]]
            assert seen == list(range(1_000))
            assert rest["next_page_offset"] is None
            assert (await ask("", {"ids": [5, 4_000, 3]}))[0]["payload"]["t"] == 5
            sevenths = {"must": [{"key": "e", "match": {"any": ["ticker:T3", "ticker:T4"]}}]}
            assert (await ask("/count", {"filter": sevenths}))["count"] == 286
            search = {"query": {"nearest": vector(10)}, "using": "text", "limit": 2, "offset": 1}
            batch = await ask("/query/batch", {"searches": [search, search]})
            assert [len(answer["points"]) for answer in batch] == [2, 2]
            await ask("/delete", {"filter": {"must_not": [{"key": "t", "range": {"gte": 100}}]}})
            assert await index.count() == 900
            await index.close()

    run(scenario())


# ------------------------------------------------------------------ the shards
def test_every_shard_answers_and_a_point_written_again_moves_to_the_active_one(tmp_path: Path) -> None:
    async def scenario() -> None:
        collection = Collection.create(tmp_path / "c", "c", SCHEMA, seal_at=100)
        await collection.upsert(structs(range(450)))
        assert len(collection.sealed) >= 3
        assert [nearest(collection, pk)[0] for pk in (0, 150, 250, 449)] == [0, 150, 250, 449]
        assert len(set(nearest(collection, 3, limit=450))) == 450
        moved = wire.PointStruct(3, {"toy": vector(1_003)}, {"moved": True})
        await collection.upsert([moved])
        assert nearest(collection, 1_003) == [3]
        assert nearest(collection, 3) != [3]
        assert collection.count() == 450
        collection.close()
        reopened = Collection.open(tmp_path / "c", seal_at=100)
        assert reopened.retrieve(wire.Retrieve([3]))[0]["payload"] == {"moved": True}
        assert ids(reopened) == list(range(450))
        reopened.close()

    run(scenario())


def test_a_sealed_shard_that_loses_its_last_point_is_dropped_from_disk(tmp_path: Path) -> None:
    async def scenario() -> None:
        collection = Collection.create(tmp_path / "c", "c", SCHEMA, seal_at=64)
        await collection.upsert(structs(range(64)))
        assert len(collection.sealed) == 1
        gone = collection.sealed[0][0].path
        await collection.delete(list(range(64)))
        assert collection.sealed == []
        assert not gone.exists()
        collection.close()

    run(scenario())


def test_what_is_written_deleted_and_asked_while_an_index_is_built_is_right_afterwards(tmp_path: Path) -> None:
    async def scenario() -> None:
        collection = Collection.create(tmp_path / "c", "c", SCHEMA, seal_at=2_000)
        await collection.upsert(structs(range(2_500)))
        shard, indexed = collection.sealed[0]
        assert not indexed
        building, go_on = asyncio.Event(), asyncio.Event()

        async def build(path: Path) -> bool:
            building.set()
            await go_on.wait()
            return await build_index(path)

        task = asyncio.create_task(collection.index(shard, build))
        await building.wait()
        await collection.delete([10, 11])
        await collection.upsert([wire.PointStruct(12, {"toy": vector(5_012)}, None)])
        assert nearest(collection, 9) == [9]
        assert nearest(collection, 10) != [10]
        go_on.set()
        assert await task
        assert [indexed for _, indexed in collection.sealed] == [True]
        assert collection.indexed_count() > 0
        expected = [pk for pk in range(2_500) if pk not in {10, 11}]
        assert ids(collection) == expected
        assert nearest(collection, 5_012) == [12]
        assert nearest(collection, 12) != [12]
        assert sum(nearest(collection, pk) == [pk] for pk in range(100, 200)) > 95
        collection.close()
        reopened = Collection.open(tmp_path / "c")
        assert ids(reopened) == expected
        assert collection.path.joinpath("shard-000001").exists() is False
        reopened.close()

    run(scenario())


def test_a_build_that_fails_leaves_the_shard_answering_and_no_copy_behind(tmp_path: Path) -> None:
    async def scenario() -> None:
        collection = Collection.create(tmp_path / "c", "c", SCHEMA, seal_at=100)
        await collection.upsert(structs(range(150)))
        folders = sorted(entry.name for entry in collection.path.iterdir())

        async def fail(_: Path) -> bool:
            return False

        assert not await collection.index(collection.sealed[0][0], fail)
        assert sorted(entry.name for entry in collection.path.iterdir()) == folders
        assert ids(collection) == list(range(150))
        collection.close()

    run(scenario())


def test_what_a_crash_left_half_made_is_discarded(tmp_path: Path) -> None:
    engine = Engine(tmp_path)
    engine.create("posts", SCHEMA)
    run(engine.collection("posts").upsert(structs(range(10))))
    engine.close()
    copy = tmp_path / "collections" / "posts" / "shard-000099"
    copy.mkdir()
    never_acknowledged = tmp_path / "collections" / "half"
    never_acknowledged.mkdir()
    (never_acknowledged / "unfinished").touch()
    engine = Engine(tmp_path)
    assert ids(engine.collection("posts")) == list(range(10))
    assert not copy.exists()
    assert not never_acknowledged.exists()
    engine.close()


def test_a_new_vector_and_a_new_index_reach_every_shard(tmp_path: Path) -> None:
    async def scenario() -> None:
        collection = Collection.create(tmp_path / "c", "c", SCHEMA, seal_at=64)
        await collection.upsert(structs(range(100)))
        await collection.add_vector("other", VectorSchema(2, "Cosine"))
        await collection.add_index("event_time", wire.IndexParams("integer", lookup=False, range=True))
        await collection.upsert([wire.PointStruct(500, {"other": [1.0, 0.0]}, None)])
        assert [hit["id"] for hit in collection.query(wire.Query([1.0, 0.0], using="other"))] == [500]
        late = wire.Filter(must=wire.Condition(key="event_time", range=wire.Range(gte=60)))
        assert collection.count(late) == 40
        with pytest.raises(Refused, match="exists with size 2"):
            await collection.add_vector("other", VectorSchema(3, "Cosine"))
        collection.close()

    run(scenario())


def test_searches_go_on_while_the_engine_optimises(tmp_path: Path) -> None:
    async def scenario() -> int:
        async with (
            EmbeddedQdrant(tmp_path, seal_at=3_000) as engine,
            httpx.AsyncClient(base_url=engine.url, headers={"api-key": engine.api_key}) as http,
        ):
            index = QdrantIndex(engine.url, api_key=engine.api_key)
            await index.ensure(SPACE)
            await index.upsert(points(range(3_500)))
            answered = 0
            indexed = 0
            while not indexed:
                hits = await index.search(Vector(SPACE, np.asarray(vector(answered), np.float32)), SearchFilters(), 1)
                assert [hit.pk for hit in hits] == [answered]
                await index.upsert(points([4_000 + answered]))
                answered += 1
                about = (await http.get(f"/collections/{index.collection_of(SPACE.name)}")).json()["result"]
                indexed = about["indexed_vectors_count"]
            await index.close()
            return answered

    assert run(scenario()) > 1


def test_every_field_that_is_filtered_by_has_an_index(tmp_path: Path) -> None:
    async def scenario() -> set[str]:
        async with (
            EmbeddedQdrant(tmp_path) as engine,
            httpx.AsyncClient(base_url=engine.url, headers={"api-key": engine.api_key}) as http,
        ):
            index = QdrantIndex(engine.url, api_key=engine.api_key)
            await index.ensure(SPACE)
            await index.close()
            return set(
                (await http.get(f"/collections/{index.collection_of(SPACE.name)}")).json()["result"]["payload_schema"]
            )

    assert run(scenario()) == {"e", "a", "l", "s", "t", "k", "f"}


def test_a_quantisation_that_the_engine_does_not_have_is_refused(tmp_path: Path) -> None:
    async def scenario() -> int:
        async with (
            EmbeddedQdrant(tmp_path) as engine,
            httpx.AsyncClient(base_url=engine.url, headers={"api-key": engine.api_key}) as http,
        ):
            body = {"vectors": {"toy": {"size": 2, "distance": "Cosine"}}, "quantization_config": {"binary": {}}}
            return (await http.put("/collections/posts", json=body)).status_code

    assert run(scenario()) in {400, 501}


# ------------------------------------------------------------------ bounded, however many points there are
def test_neighbours_are_merged_into_one_shard_with_what_changed_meanwhile(tmp_path: Path) -> None:
    async def scenario() -> None:
        collection = Collection.create(tmp_path / "c", "c", SCHEMA, seal_at=64)
        await collection.upsert(structs(range(MERGED * 64 + 50)))
        await collection.delete([1, 101])
        for shard, _ in collection.sealed:
            assert await collection.index(shard, build_index)
        before = [nearest(collection, pk, limit=5) for pk in range(0, 500, 20)]

        async def disturbed(target: Path, parts: list[Path]) -> bool:
            await collection.delete([2, 202])
            await collection.upsert([wire.PointStruct(303, {"toy": vector(9_303)}, {"moved": True})])
            return await merge(target, parts)

        shards = collection.mergeable()
        assert len(shards) == MERGED
        assert await collection.merge(shards, disturbed)
        assert [indexed for _, indexed in collection.sealed] == [True]
        expected = [pk for pk in range(MERGED * 64 + 50) if pk not in {1, 101, 2, 202}]
        assert ids(collection) == expected
        assert [nearest(collection, pk, limit=5) for pk in range(0, 500, 20)] == before
        assert nearest(collection, 9_303) == [303]
        assert collection.retrieve(wire.Retrieve([303]))[0]["payload"] == {"moved": True}
        collection.close()
        reopened = Collection.open(tmp_path / "c", seal_at=64)
        assert ids(reopened) == expected
        await reopened.delete([5])
        assert 5 not in ids(reopened)
        folders = {entry.name for entry in reopened.path.iterdir() if entry.is_dir()}
        assert len(folders) == len(reopened.sealed) + 1
        reopened.close()

    run(scenario())


def test_a_merge_that_fails_leaves_every_shard_answering_and_nothing_behind(tmp_path: Path) -> None:
    async def scenario() -> None:
        collection = Collection.create(tmp_path / "c", "c", SCHEMA, seal_at=64)
        await collection.upsert(structs(range(MERGED * 64)))
        for shard, _ in collection.sealed:
            assert await collection.index(shard, build_index)
        folders = sorted(entry.name for entry in collection.path.iterdir())

        async def fail(_: Path, __: list[Path]) -> bool:
            return False

        assert not await collection.merge(collection.mergeable(), fail)
        assert sorted(entry.name for entry in collection.path.iterdir()) == folders
        assert ids(collection) == list(range(MERGED * 64))
        await collection.delete([3])
        assert 3 not in ids(collection)
        collection.close()

    run(scenario())


def test_threads_and_descriptors_do_not_grow_with_the_points_that_are_stored(tmp_path: Path) -> None:
    async def usage(engine: EmbeddedQdrant, index: QdrantIndex, count: int, shards: int) -> tuple[int, int]:
        assert engine.pid is not None
        process = psutil.Process(engine.pid)
        headers = {"api-key": engine.api_key}
        async with httpx.AsyncClient(base_url=engine.url, headers=headers) as http:
            segments = shards + 1
            async with asyncio.timeout(100):
                while segments > shards:
                    where = f"/collections/{index.collection_of(SPACE.name)}"
                    segments = (await http.get(where)).json()["result"]["segments_count"]
                    await asyncio.sleep(0.2)
        assert await index.count() == count
        return process.num_threads(), process.num_fds()

    async def scenario() -> None:
        async with EmbeddedQdrant(tmp_path, seal_at=640) as engine:
            index = QdrantIndex(engine.url, api_key=engine.api_key)
            await index.ensure(SPACE)
            await index.upsert(points(range(2 * 640)))
            threads, descriptors = await usage(engine, index, 2 * 640, shards=3)
            await index.upsert(points(range(2 * 640, (MERGED + 1) * 640)))
            after = await usage(engine, index, (MERGED + 1) * 640, shards=3)
            await index.close()
            assert after[0] <= threads + SLACK
            assert after[1] <= descriptors + SLACK

    run(scenario())
