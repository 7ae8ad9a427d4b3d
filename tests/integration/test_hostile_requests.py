"""Requests that are made to exhaust the embedded engine: each is refused as a Qdrant server refuses it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from groundswell.adapters.qdrant_embedded import EmbeddedQdrant, limits

GROWTH_BYTES = 48 * 2**20
"""What the allocator may keep of the largest body that was decoded."""

POINTS = "/collections/c/points"
COUNT = f"{POINTS}/count"
VECTOR = {"size": 4, "distance": "Dot"}


def nested(depth: int, opening: str = '{"must": [', closing: str = "]}") -> str:
    return opening * depth + closing * depth


def deep_payload(depth: int) -> str:
    points = '{"points": [{"id": 1, "vector": {"v": [1, 2, 3, 4]}, "payload": {"a": %s}}]}'
    return points % ("[" * depth + "]" * depth)


def deep_settings(depth: int) -> str:
    return f'{{"vectors": {{}}, "hnsw_config": {{"a": {nested(depth, "[", "]")}}}}}'


def long_vector(size: int) -> str:
    return f'{{"points": [{{"id": 1, "vector": {{"v": [{"0," * size}0]}}}}]}}'


def conditions(number: int) -> dict[str, Any]:
    return {"filter": {"should": [{"key": "k", "match": {"value": each}} for each in range(number)]}}


def collection(**vectors: Any) -> dict[str, Any]:
    return {"vectors": vectors}


HOSTILE: dict[str, tuple[str, str, Any, int]] = {
    "a vector of a billion dimensions": ("PUT", "/collections/z", collection(v={**VECTOR, "size": 10**9}), 422),
    "a vector of one dimension too many": ("PUT", "/collections/z", collection(v={**VECTOR, "size": 65_537}), 422),
    "a vector without a dimension": ("PUT", "/collections/z", collection(v={**VECTOR, "size": 0}), 422),
    "a vector of negative size": ("PUT", "/collections/z", collection(v={**VECTOR, "size": -1}), 422),
    "a size beyond every integer": ("PUT", "/collections/z", collection(v={**VECTOR, "size": 10**40}), 422),
    "a size that is no whole number": ("PUT", "/collections/z", collection(v={**VECTOR, "size": 1.5}), 400),
    "many vectors": ("PUT", "/collections/z", collection(**{f"v{n}": VECTOR for n in range(10_000)}), 400),
    "some vectors of the largest size": (
        "PUT", "/collections/z", collection(**{f"v{n}": {**VECTOR, "size": 65_536} for n in range(16)}), 400,
    ),
    "a vector with a long name": ("PUT", "/collections/z", collection(**{"v" * 300: VECTOR}), 400),
    "a vector added with a billion dimensions": (
        "PUT", "/collections/c/vectors/w", {"dense": {**VECTOR, "size": 10**9}}, 422,
    ),
    "a vector added with a long name": ("PUT", f"/collections/c/vectors/{'w' * 300}", {"dense": VECTOR}, 400),
    "deep settings": ("PUT", "/collections/z", deep_settings(200), 400),
    "settings deeper than the interpreter's stack": (
        "PUT", "/collections/z", deep_settings(2_000_000), 400,
    ),
    "many settings": ("PATCH", "/collections/c", {"hnsw_config": {str(n): n for n in range(100_000)}}, 400),
    "a name that leaves the folder": ("PUT", "/collections/..%2F..%2Fx", collection(v=VECTOR), 501),
    "a long name": ("PUT", f"/collections/{'n' * 10_000}", collection(v=VECTOR), 422),
    "an index with a long name": (
        "PUT", "/collections/c/index", {"field_name": "f" * 300, "field_schema": "bool"}, 400,
    ),
    "a point with a negative id": ("PUT", POINTS, {"points": [{"id": -1, "vector": {}}]}, 400),
    "a point with an id beyond every integer": ("PUT", POINTS, {"points": [{"id": 10**30, "vector": {}}]}, 400),
    "many points": ("PUT", POINTS, {"points": [{"id": n, "vector": {}} for n in range(20_000)]}, 400),
    "a long vector": ("PUT", POINTS, long_vector(3_000_000), 400),
    "more values than are decoded": ("PUT", POINTS, long_vector(16_000_000), 400),
    "a number beyond every float": ("PUT", POINTS, '{"points": [{"id": 1, "vector": {"v": [1e999, 0, 0, 0]}}]}', 400),
    "a deep payload": ("PUT", POINTS, deep_payload(200), 400),
    "a payload deeper than the interpreter's stack": ("PUT", POINTS, deep_payload(2_000_000), 400),
    "a large payload": ("PUT", POINTS, {"points": [{"id": 1, "vector": {}, "payload": {"a": "x" * 10**6}}]}, 400),
    "a wide payload": ("PUT", POINTS, {"points": [{"id": 1, "vector": {}, "payload": {"a": [0] * 10**6}}]}, 400),
    "deletions of many points": ("POST", f"{POINTS}/delete", {"points": list(range(20_000))}, 400),
    "a deletion of a negative id": ("POST", f"{POINTS}/delete", {"points": [-1]}, 400),
    "a deep filter": ("POST", COUNT, f'{{"filter": {nested(60)}}}', 400),
    "a filter deeper than the interpreter's stack": ("POST", COUNT, f'{{"filter": {nested(500_000)}}}', 400),
    "a deep filter to delete by": ("POST", f"{POINTS}/delete", f'{{"filter": {nested(60)}}}', 400),
    "a deep filter of a query": (
        "POST", f"{POINTS}/query", f'{{"query": [1, 1, 1, 1], "using": "v", "filter": {nested(60)}}}', 400,
    ),
    "a filter of many conditions": ("POST", COUNT, conditions(20_000), 400),
    "a condition with many values": (
        "POST", COUNT, {"filter": {"must": {"key": "k", "match": {"any": list(range(200_000))}}}}, 400,
    ),
    "a condition with many ids": ("POST", COUNT, {"filter": {"must": {"has_id": list(range(200_000))}}}, 400),
    "a condition with an integer beyond every integer": (
        "POST", COUNT, {"filter": {"must": {"key": "k", "match": {"value": 10**30}}}}, 400,
    ),
    "a limit without end": ("POST", f"{POINTS}/scroll", {"limit": 10**12}, 400),
    "a limit of nothing": ("POST", f"{POINTS}/scroll", {"limit": 0}, 422),
    "a negative limit": ("POST", f"{POINTS}/scroll", {"limit": -1}, 422),
    "a negative page": ("POST", f"{POINTS}/scroll", {"limit": 1, "offset": -1}, 400),
    "an offset without end": (
        "POST", f"{POINTS}/query", {"query": [1, 1, 1, 1], "using": "v", "limit": 1, "offset": 10**12}, 400,
    ),
    "a search without end": (
        "POST", f"{POINTS}/query", {"query": [1, 1, 1, 1], "using": "v", "params": {"hnsw_ef": 10**12}}, 400,
    ),
    "many searches": (
        "POST", f"{POINTS}/query/batch", {"searches": [{"query": [1, 1, 1, 1], "using": "v"}] * 10_000}, 400,
    ),
    "some searches with large answers": (
        "POST", f"{POINTS}/query/batch",
        {"searches": [{"query": [1, 1, 1, 1], "using": "v", "limit": 90_000}] * 9}, 400,
    ),
    "ids without end": ("POST", POINTS, {"ids": list(range(1_000_000))}, 400),
    "a body beyond the bound": ("PUT", POINTS, b'{"points": [' + b" " * limits.MAX_BODY_BYTES + b"]}", 400),
    "a body that is no JSON": ("PUT", POINTS, b"\xff\xfe" * 1_000_000, 400),
    "brackets without end": ("PUT", POINTS, b"[" * 16_000_000, 400),
}  # fmt: skip


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def engine(runner: asyncio.Runner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedQdrant]:
    engine = EmbeddedQdrant(tmp_path_factory.mktemp("hostile"))
    runner.run(engine.start())
    runner.run(ask(engine, "PUT", "/collections/c", collection(v=VECTOR)))
    point = {"id": 1, "vector": {"v": [1, 0, 0, 0]}, "payload": {"k": 1}}
    assert runner.run(ask(engine, "PUT", POINTS, {"points": [point]})).status_code == 200
    yield engine
    runner.run(engine.stop())


async def ask(engine: EmbeddedQdrant, method: str, path: str, body: Any) -> httpx.Response:
    content = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else json.dumps(body).encode()
    headers = {"api-key": engine.api_key, "content-type": "application/json"}
    async with httpx.AsyncClient(base_url=engine.url, headers=headers, timeout=60, trust_env=False) as http:
        return await http.request(method, path, content=content)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_request_is_refused_and_leaves_nothing_behind(
    runner: asyncio.Runner, engine: EmbeddedQdrant, name: str
) -> None:
    method, path, body, status = HOSTILE[name]
    assert engine.pid is not None
    process = psutil.Process(engine.pid)
    before, threads, pid = process.memory_info().rss, process.num_threads(), engine.pid
    answer = runner.run(ask(engine, method, path, body))
    assert answer.status_code == status, answer.text[:500]
    assert len(answer.content) < 2_000
    assert answer.json()["status"]["error"]
    assert engine.pid == pid, "the engine was started again"
    assert process.memory_info().rss - before < GROWTH_BYTES
    assert process.num_threads() <= threads + 1
    counted = runner.run(ask(engine, "POST", COUNT, {}))
    assert counted.json()["result"] == {"count": 1}
    listed = runner.run(ask(engine, "GET", "/collections", b""))
    assert listed.json()["result"]["collections"] == [{"name": "c"}]


def test_the_largest_vector_that_a_server_takes_costs_little(runner: asyncio.Runner, tmp_path: Path) -> None:
    async def scenario() -> int:
        async with EmbeddedQdrant(tmp_path) as engine:
            assert engine.pid is not None
            process = psutil.Process(engine.pid)
            before = process.memory_info().rss
            answer = await ask(engine, "PUT", "/collections/z", collection(v={**VECTOR, "size": 65_536}))
            assert answer.status_code == 200
            return process.memory_info().rss - before

    assert runner.run(scenario()) < GROWTH_BYTES


def test_one_collection_more_than_the_engine_holds_is_refused(runner: asyncio.Runner, tmp_path: Path) -> None:
    async def scenario() -> list[int]:
        async with EmbeddedQdrant(tmp_path) as engine:
            names = (f"/collections/c{number}" for number in range(limits.MAX_COLLECTIONS + 1))
            return [(await ask(engine, "PUT", name, collection(v=VECTOR))).status_code for name in names]

    assert runner.run(scenario()) == [200] * limits.MAX_COLLECTIONS + [400]
