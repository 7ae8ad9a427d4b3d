"""Search through the real API with a real model and a real index: whatever is typed, whatever is broken."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from groundswell.adapters.embedding_models import EmbeddingModels
from groundswell.adapters.postgres_pool import Pool
from groundswell.adapters.postgres_search import PostgresSearch
from groundswell.adapters.postgres_spaces import PostgresSpaces
from groundswell.adapters.qdrant import QdrantIndex
from groundswell.adapters.static_model import WORDLLAMA_256, StaticModel
from groundswell.adapters.system_clock import SystemClock
from groundswell.core.embedding_chain import parse_chain
from groundswell.ports.search import Searcher
from groundswell.ports.vectors import Embedder, VectorPoint
from groundswell.services.embeddings import EmbeddingChain
from groundswell.services.search import SearchService
from groundswell.services.spaces import ChainSpaces
from tests.api_world import World, fill, in_world
from tests.tiny_encoder import make_encoder
from tests.vector_engine import index_in_process

BROKEN = "tiny/encoder"


@pytest.fixture
def url(database_url: str) -> str:
    """The world of the API, with a few posts more that say something."""
    fill(database_url)
    with psycopg.connect(database_url, autocommit=True) as conn:
        for n, text in enumerate(("مرحبا بالعالم", "🎉🎉🎉", "the central bank lowers interest rates", "cats asleep")):
            conn.execute(
                "INSERT INTO posts (id, source, author, text, event_time, rev)"
                " VALUES (%s, 'jetstream', 'did:plc:dan', %s, now(), 'a')",
                (f"at://dan/{n}", text),
            )
        conn.execute("INSERT INTO spaces SELECT %s, count(*) FROM posts", (WORDLLAMA_256.name,))
    return database_url


async def indexed(url: str, model: Embedder) -> QdrantIndex:
    """Every post in the index."""
    with psycopg.connect(url) as conn:
        rows = conn.execute("SELECT pk, text, author FROM posts").fetchall()
    index = index_in_process()
    await index.ensure(model.space)
    vectors = model.embed([text for _, text, _ in rows])
    await index.upsert(
        [VectorPoint(pk, vector, {"author": author}) for (pk, _, author), vector in zip(rows, vectors, strict=True)]
    )
    return index


def by_meaning_too(url: str) -> Callable[[Pool], Awaitable[Searcher]]:
    async def search(pool: Pool) -> Searcher:
        model = StaticModel()
        return SearchService(PostgresSearch(pool), await indexed(url, model), model, SystemClock())

    return search


@pytest.mark.parametrize(
    ("q", "first"),
    [
        ("", None),
        ("   ", None),
        ("x" * 10_000, None),
        ("lower interest rates " * 470, "the central bank lowers interest rates"),
        ("🎉🎉", "🎉🎉🎉"),
        ("👩🏽‍🚀🏳️‍🌈", None),
        ("مرحبا بالعالم", "مرحبا بالعالم"),
        ("\u202eمرحبا\u202c", "مرحبا بالعالم"),
        ("interest\t\x07rates\x1b[31m\x7f", "the central bank lowers interest rates"),
        ("\u200b\u200d\ufeff", None),
        ("&|!'\\ <-> :*", None),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_any_query_is_answered_by_words_and_meaning(url: str, q: str, first: str | None) -> None:
    async def scenario(world: World) -> None:
        answer = await world.get("/v1/search", q=q, limit=5)
        assert answer["degraded"] == []
        if first is not None:
            assert answer["legs"] == ["lexical", "semantic"]
            assert answer["data"][0]["post"]["text"] == first

    in_world(url, scenario, search=by_meaning_too(url))


def test_what_nobody_wrote_in_these_words_is_found_by_its_meaning(url: str) -> None:
    async def scenario(world: World) -> None:
        answer = await world.get("/v1/search", q="monetary policy of bankers", limit=1, explain="true")
        (hit,) = answer["data"]
        assert hit["post"]["text"] == "the central bank lowers interest rates"
        assert hit["ranks"] == {"semantic": 1}
        assert hit["highlights"] == []

    in_world(url, scenario, search=by_meaning_too(url))


def test_what_is_excluded_is_left_out_whichever_leg_found_it(url: str) -> None:
    async def scenario(world: World) -> None:
        answer = await world.get("/v1/search", q="bank interest rates -lowers", explain="true")
        assert answer["legs"] == ["lexical", "semantic"]
        assert all("lowers" not in hit["post"]["text"] for hit in answer["data"])

    in_world(url, scenario, search=by_meaning_too(url))


@contextmanager
def damaged(models: Path, name: str) -> Generator[Path]:
    make_encoder(models / BROKEN)
    path = models / BROKEN / name
    path.write_bytes(b"\x08\x08 nonsense")
    yield path


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_a_damaged_model_is_named_and_skipped_and_search_goes_on_by_meaning(
    url: str, tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    loader = EmbeddingModels(models_dir=tmp_path, fetch=False, memory_bytes=2 * 2**30, load_timeout_s=120)
    chain = EmbeddingChain(parse_chain([f"fastembed:{BROKEN}@cpu", "static:wordllama-256"]), loader, SystemClock())

    async def search(pool: Pool) -> Searcher:
        await chain.load()
        await chain.load()  # as the retry does
        spaces = ChainSpaces(chain, PostgresSpaces(pool), SystemClock())
        index = await indexed(url, chain.current)
        return SearchService(PostgresSearch(pool), index, None, SystemClock(), spaces=spaces)

    async def scenario(world: World) -> None:
        answer = await world.get("/v1/search", q="central bank rates", limit=1)
        assert answer["legs"] == ["lexical", "semantic"]
        # The relay of this world reported once, before the models were loaded; it may count as silent by now.
        assert set(answer["degraded"]) <= {"relay"}
        await chain.close()

    with damaged(tmp_path, name) as path, caplog.at_level(logging.INFO):
        in_world(url, scenario, search=search)
    assert [attempt.outcome for attempt in chain.attempts] == ["failed", "chosen"]
    assert str(path) in (chain.attempts[0].why or "")
    assert sum(str(path) in record.message and record.levelno >= logging.WARNING for record in caplog.records) == 1
