"""How fast posts become vectors, how fast the engine takes them in, how fast it answers, and what it finds.

    python -m bench.vectors [--posts 200000]

The engine is the embedded one, in its own process; the client shares the machine with it, and so does the process that
builds the index. CPU time is told beside wall time, since it does not depend on what else runs. What whole searches
take is measured by `bench.search`.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import math
import random
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import numpy.typing as npt
import psutil
from rich.console import Console
from rich.table import Table

from bench.report import RESULTS, machine, quantile
from groundswell.adapters.qdrant import QdrantIndex
from groundswell.adapters.qdrant_embedded import EmbeddedQdrant
from groundswell.adapters.qdrant_embedded.collection import SEAL_AT, UPSERT_SLICE
from groundswell.adapters.static_model import StaticModel
from groundswell.ports.vectors import SearchFilters, Vector, VectorPoint

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
        at_ten, at_hits = await self._recall()
        return [
            latency(f"query {when}", await timed(QUERIES, self.ask)),
            latency(f"query with filters {when}", await timed(QUERIES, lambda n: self.ask(n, narrow))),
            (f"of the true nearest {HITS}, found {when}", f"{at_hits:.1%}", ""),
            (f"of the true nearest 10, found {when}", f"{at_ten:.1%}", "goal: 97%"),
        ]

    async def _recall(self) -> tuple[float, float]:
        """The parts of the true nearest 10, and of the true nearest `HITS`, that are found among as many."""
        questions = range(0, QUERIES, 4)
        ten = all_ = 0
        for n in questions:
            vector = Vector(self.space, self.asked[n].astype(np.float32))
            hits = [hit.pk for hit in await self.index.search(vector, SearchFilters(), HITS)]
            nearest = np.argsort(-(self.vectors @ self.asked[n]))[:HITS].tolist()
            ten += len({*hits[:10]} & {*nearest[:10]})
            all_ += len({*hits} & {*nearest})
        return ten / len(questions) / 10, all_ / len(questions) / HITS

    async def indexing(self) -> list[Row]:
        """Ask while the index is built, until it is."""
        taken: list[float] = []
        started = time.perf_counter()
        shard = math.ceil(SEAL_AT / UPSERT_SLICE) * UPSERT_SLICE
        while not taken or await self._indexed() < len(self.vectors) // shard * shard:
            taken += await timed(5, self.ask)
            await asyncio.sleep(0.5)
        return [
            ("index built in the background", f"{time.perf_counter() - started:.0f}", "s"),
            latency("query while it is built", taken),
        ]

    async def _indexed(self) -> int:
        where = f"{self.engine.url}/collections/{self.index.collection_of(self.space.name)}"
        async with httpx.AsyncClient(timeout=60) as client:
            return (await client.get(where)).json()["result"]["indexed_vectors_count"]

    def memory(self, name: str) -> Row:
        assert self.engine.pid is not None
        full = psutil.Process(self.engine.pid).memory_full_info()
        million = full.rss / 2**20 / len(self.vectors) * 1_000_000
        each = f"MiB; {million:,.0f} for a million posts"
        return (name, f"{full.rss / 2**20:.0f} ({full.uss / 2**20:.0f} of its own)", each)


async def vectors_in_engine(folder: Path, model: StaticModel, vectors: Rows) -> list[Row]:
    async with EmbeddedQdrant(folder) as engine:
        index = QdrantIndex(engine.url, api_key=engine.api_key, timeout_s=60)
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--posts", type=int, default=200_000)
    count = parser.parse_args().posts
    texts = posts(count, words())
    model = StaticModel()
    vectors, rows = model_speed(model, texts)
    with tempfile.TemporaryDirectory() as folder:
        rows += asyncio.run(vectors_in_engine(Path(folder) / "vectors", model, vectors))
    table = Table("what", "value", "unit", title=f"Vectors at {count:,} posts")
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
