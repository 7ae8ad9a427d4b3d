"""An index that an earlier release wrote: nothing is lost, everything is found, and it moves by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import psycopg

from groundswell.adapters.postgres_outbox import PostgresOutbox
from groundswell.adapters.postgres_pool import Pool, open_pool
from groundswell.adapters.postgres_sweeps import PostgresVectorLedger
from groundswell.adapters.qdrant import QdrantIndex
from groundswell.adapters.static_model import StaticModel
from groundswell.adapters.system_clock import SystemClock
from groundswell.core.near_duplicates import fingerprint
from groundswell.ports.vectors import SearchFilters, Within
from groundswell.services.indexer import Indexer
from groundswell.services.outdated_vectors import OutdatedVectors
from tests.vector_engine import URL, InProcess

TEXTS = (
    "my cat sleeps on the sofa",
    "bitcoin climbs to a new high",
    "rain over the country",
    "a goal at the end",
)
AUTHORS = ("ann", "bob", "ann", "cem")
MODEL = StaticModel()
SPACE = MODEL.space


async def as_an_earlier_release_did(http: httpx.AsyncClient) -> None:
    """One collection for all spaces: cosine, whole floats, long names in the payload."""
    vectors = {SPACE.name: {"size": SPACE.dimensions, "distance": "Cosine", "on_disk": True}}
    quantization = {"scalar": {"type": "int8", "quantile": 0.99, "always_ram": True}}
    body = {"vectors": vectors, "quantization_config": quantization, "on_disk_payload": True}
    (await http.put("/collections/posts", json=body)).raise_for_status()
    schemas: dict[str, Any] = dict.fromkeys(("entities", "author", "lang", "source"), "keyword")
    for field in ("event_time", "pk"):
        schemas[field] = {"type": "integer", "lookup": False, "range": True}
    schemas["fingerprint"] = {"type": "integer", "lookup": True, "range": False}
    for field, schema in schemas.items():
        index = {"field_name": field, "field_schema": schema}
        (await http.put("/collections/posts/index?wait=true", json=index)).raise_for_status()
    rows = MODEL.embed(TEXTS).rows.tolist()
    points = [
        {
            "id": pk,
            "vector": {SPACE.name: row},
            "payload": {
                "pk": pk,
                "entities": [],
                "author": author,
                "source": "test",
                "event_time": pk * 1_000_000,
                "fingerprint": fingerprint(text),
            },
        }
        for pk, (text, author, row) in enumerate(zip(TEXTS, AUTHORS, rows, strict=True), 1)
    ]
    points.append({**points[0], "id": 99})  # of a post that Postgres does not have any more
    (await http.put("/collections/posts/points?wait=true", json={"points": points})).raise_for_status()


def upgraded(
    url: str, scenario: Callable[[QdrantIndex, Pool, httpx.AsyncClient], Awaitable[None]], *, posts: int = len(TEXTS)
) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        for pk in range(1, posts + 1):
            conn.execute(
                "WITH p AS (INSERT INTO posts (id, source, author, text, event_time, rev)"
                " VALUES (%s, 'test', %s, %s, to_timestamp(%s), 'r') RETURNING pk)"
                " INSERT INTO post_vectors (post_pk, space) SELECT pk, %s FROM p",
                (f"at://{pk}", AUTHORS[pk - 1], TEXTS[pk - 1], pk, SPACE.name),
            )

    async def main() -> None:
        engine = InProcess()
        index = QdrantIndex(URL, transport=engine)
        pool = await open_pool(url, size=4, wait_s=5, statement_timeout_s=10, application_name="test")
        async with httpx.AsyncClient(base_url=URL, transport=engine) as http:
            try:
                await as_an_earlier_release_did(http)
                await scenario(index, pool, http)
            finally:
                await pool.close()

    asyncio.run(main())


async def found(index: QdrantIndex, filters: SearchFilters | None = None, within: Within | None = None) -> list[int]:
    hits = await index.search(MODEL.embed_query("a cat on a sofa"), filters or SearchFilters(), 10, within or Within())
    return [hit.pk for hit in hits]


async def index_all(index: QdrantIndex, pool: Pool) -> None:
    outbox, stop = PostgresOutbox(pool), asyncio.Event()
    indexer = Indexer(outbox, index, MODEL, SystemClock(), poll_s=0.05)
    running = asyncio.create_task(indexer.run(stop))
    while await outbox.depth():  # noqa: ASYNC110 -- a table tells nobody when it is empty
        await asyncio.sleep(0.01)
    stop.set()
    await running
    assert indexer.state.failures_total == 0


def test_an_earlier_index_is_searched_before_a_single_post_has_moved(database_url: str) -> None:
    async def scenario(index: QdrantIndex, pool: Pool, http: httpx.AsyncClient) -> None:
        assert await index.count() == 5
        assert set(await found(index)) == {1, 2, 3, 4, 99}
        assert (await found(index))[0] in {1, 99}
        assert set(await found(index, SearchFilters(author="ann"))) == {1, 3, 99}
        assert set(await found(index, SearchFilters(since=2_000_000, until=4_000_000))) == {2, 3}
        assert set(await found(index, within=Within(up_to_pk=2))) == {1, 2, 99}
        assert set(await found(index, within=Within(not_fingerprints=(fingerprint(TEXTS[1]),)))) == {1, 3, 4, 99}

    upgraded(database_url, scenario)


def test_points_move_a_few_at_a_time_and_are_found_at_every_step(database_url: str) -> None:
    async def scenario(index: QdrantIndex, pool: Pool, http: httpx.AsyncClient) -> None:
        moving = OutdatedVectors(index, PostgresVectorLedger(pool))
        steps = 0
        while await index.outdated(-1, 10):
            await moving.queue(2)
            await index_all(index, pool)
            assert {1, 2, 3, 4} <= set(await found(index))
            assert set(await found(index, SearchFilters(author="ann"))) - {99} == {1, 3}
            steps += 1
            moving = OutdatedVectors(index, PostgresVectorLedger(pool))  # as after a restart
        assert steps == 3
        assert await index.pks(-1, 10) == [1, 2, 3, 4], "the point without a post is gone"
        names = [one["name"] for one in (await http.get("/collections")).json()["result"]["collections"]]
        assert names == [index.collection_of(SPACE.name)], "the earlier collection is gone"
        assert await moving.queue(10) == 0

    upgraded(database_url, scenario)


def test_an_indexer_that_meets_an_earlier_index_does_not_queue_every_post_at_once(database_url: str) -> None:
    async def scenario(index: QdrantIndex, pool: Pool, http: httpx.AsyncClient) -> None:
        await index_all(index, pool)
        assert await index.outdated(-1, 10) == [1, 2, 3, 4, 99]

    upgraded(database_url, scenario)


def test_a_deletion_reaches_both_forms(database_url: str) -> None:
    async def scenario(index: QdrantIndex, pool: Pool, http: httpx.AsyncClient) -> None:
        moving = OutdatedVectors(index, PostgresVectorLedger(pool))
        await moving.queue(2)
        await index_all(index, pool)
        await index.delete([1, 3])
        assert set(await found(index)) == {2, 4, 99}
        await index.delete_before(4_000_000)
        assert set(await found(index)) == {4}

    upgraded(database_url, scenario)


def test_an_index_is_cleared_in_every_form(database_url: str) -> None:
    async def scenario(index: QdrantIndex, pool: Pool, http: httpx.AsyncClient) -> None:
        await index.ensure(SPACE)
        await index.clear()
        assert (await http.get("/collections")).json()["result"]["collections"] == []
        assert await index.outdated(-1, 10) == []

    upgraded(database_url, scenario, posts=0)
