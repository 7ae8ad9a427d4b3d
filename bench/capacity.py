"""What a post takes of a Qdrant server's disk and memory, with the settings that the index asks for.

    python -m bench.capacity [--posts 90000]

The segment code of a server (qdrant-edge) stores points as the index writes them, with the graph that a server builds,
which takes minutes, and is then opened in a process of its own and asked some questions. The figures are differences
between all posts and a third of them, so what does not grow with the posts is left out. The write-ahead log is not
counted, nor is what is deleted and still on disk: `deployment.capacity` adds both.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import qdrant_edge as edge

from bench.report import publish
from bench.vectors import posts as texts_of
from bench.vectors import words
from groundswell.adapters.embedded_postgres import EmbeddedPostgres
from groundswell.adapters.migrations import migrate
from groundswell.adapters.postgres_pool import connection, open_pool
from groundswell.adapters.postgres_store import PostgresStore
from groundswell.adapters.qdrant import GRAPH_DEGREE, GRAPH_EFFORT, VECTOR, collection_settings
from groundswell.adapters.qdrant_points import bodies, payload_indexes
from groundswell.adapters.static_model import StaticModel
from groundswell.core.near_duplicates import fingerprint
from groundswell.core.posts import MICROS_PER_SECOND, Post
from groundswell.ports.storing import Batch
from groundswell.ports.vectors import VectorPoint
from groundswell.services.indexer import payload_of

BATCH = 500
BEGAN = 1_760_000_000 * MICROS_PER_SECOND
QUESTIONS = 50
ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"


def posts(count: int) -> list[Post]:
    """Posts of a third as many authors, of whom a few write much; a fifth with a hashtag, a tenth with a mention."""
    chance = random.Random(5)
    authors = ["did:plc:" + "".join(chance.choices(ALPHABET, k=24)) for _ in range(max(1, count // 3))]
    made: list[Post] = []
    for n, text in enumerate(texts_of(count, words())):
        dice = chance.random()
        entities = [f"hashtag:tag{int(2_000 * chance.random() ** 3)}"] if dice < 0.2 else []
        entities += [f"mention:{chance.choice(authors)}"] if dice > 0.9 else []
        author = authors[int(len(authors) * chance.random() ** 2)]
        made.append(
            Post(
                id=f"at://{author}/app.bsky.feed.post/{n:013d}",
                source="jetstream",
                author=author,
                text=text,
                event_time=BEGAN + n * 86_400,
                rev="3l3qo2vutsw2b",
                cursor=n,
                lang=chance.choices(["en", "ja", "pt", "de", "es"], [60, 20, 10, 5, 5])[0],
                entities=tuple(entities),
            )
        )
    return made


def build(folder: Path, some: list[Post], model: StaticModel) -> None:
    """One optimised segment of `some`, as a server has it."""
    settings = collection_settings(model.space)
    vector = settings["vectors"][VECTOR]
    kinds = {"uint8": edge.VectorStorageDatatype.Uint8}
    params = edge.EdgeVectorParams(
        vector["size"],
        getattr(edge.Distance, vector["distance"]),
        datatype=kinds[vector["datatype"]],
        memory=edge.Memory.Cold,
    )
    config = edge.EdgeConfig(
        vectors={VECTOR: params},
        hnsw_config=edge.HnswIndexConfig(GRAPH_DEGREE, GRAPH_EFFORT, 10_000, max_indexing_threads=1),
        on_disk_payload=True,
        optimizers=edge.EdgeOptimizersConfig(indexing_threshold=1_000, default_segment_number=1),
    )
    folder.mkdir()
    shard = edge.EdgeShard.create(str(folder), config)
    for field, schema in payload_indexes().items():
        on_disk: dict[str, Any] = {"on_disk": schema["memory"] == "cold"}
        if schema["type"] == "integer":
            index: Any = edge.IntegerIndexParams(lookup=schema["lookup"], range=schema["range"], **on_disk)
        else:
            index = edge.KeywordIndexParams(**on_disk)
        shard.update(edge.UpdateOperation.create_field_index(field, index))
    for start in range(0, len(some), BATCH):
        chunk = some[start : start + BATCH]
        vectors = model.embed([post.text for post in chunk])
        points = [
            VectorPoint(start + n, vectors[n], payload_of(start + n, post, fingerprint(post.text)))
            for n, post in enumerate(chunk)
        ]
        ((_, structs),) = bodies(points)
        stored = [edge.Point(struct["id"], {VECTOR: struct["vector"]}, struct["payload"]) for struct in structs]
        shard.update(edge.UpdateOperation.upsert_points(stored))
    while shard.optimize():
        pass
    shard.flush()
    shard.close()


def disk_bytes(folder: Path) -> dict[str, int]:
    """Bytes on disk by part of the segment."""
    sizes: dict[str, int] = {}
    for segment in (folder / "segments").iterdir():
        for path in segment.rglob("*"):
            if path.is_file():
                part = path.relative_to(segment).parts[0].partition("-")[0].partition(".")[0]
                sizes[part] = sizes.get(part, 0) + path.stat().st_blocks * 512
    return sizes


def anonymous_bytes(folder: Path) -> int:
    """Memory of a process that has opened the segment and been asked, without what the system can drop."""
    asked = subprocess.run(
        [sys.executable, "-m", "bench.capacity", "--open", str(folder)], capture_output=True, text=True, check=True
    )
    return int(asked.stdout)


def open_and_ask(folder: str) -> int:
    shard = edge.EdgeShard.load(folder)
    chance = np.random.default_rng(2)
    for _ in range(QUESTIONS):
        question = chance.integers(60, 200, 256).tolist()
        shard.query(edge.QueryRequest(limit=50, query=edge.Query.Nearest(question, using=VECTOR)))
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) * 1_024 for line in lines if line.startswith("RssAnon:"))


def request_bytes(some: list[Post], model: StaticModel) -> float:
    """What is sent for a post."""
    chunk = some[:BATCH]
    vectors = model.embed([post.text for post in chunk])
    points = [
        VectorPoint(1_000_000 + n, vectors[n], payload_of(1_000_000 + n, post, fingerprint(post.text)))
        for n, post in enumerate(chunk)
    ]
    ((_, structs),) = bodies(points)
    sent = [{**struct, "vector": {VECTOR: struct["vector"]}} for struct in structs]
    return len(msgspec.json.encode({"points": sent})) / len(chunk)


def database_bytes(some: list[Post]) -> float:
    """What Postgres has on disk for a post: rows, indexes, mentions and counts, without its log."""
    with tempfile.TemporaryDirectory(prefix="groundswell-bench-") as folder:
        few = some[: len(some) // 3]
        before, after = asyncio.run(_database_sizes(EmbeddedPostgres(Path(folder), tuning={"fsync": "off"}), few, some))
    return (after - before) / (len(some) - len(few))


async def _database_sizes(server: EmbeddedPostgres, few: list[Post], all_: list[Post]) -> tuple[int, int]:
    """The size of the database with `few` posts in it, and with all of them."""
    url = await server.start()
    try:
        await migrate(url)
        pool = await open_pool(url, size=2, wait_s=30, statement_timeout_s=60, application_name="bench capacity")
        store, sizes = PostgresStore(pool), dict[int, int]()
        for start in range(0, len(all_), BATCH):
            chunk = all_[start : start + BATCH]
            last = chunk[-1].event_time
            await store.commit(Batch(chunk[0].source, chunk, [], last, chunk[0].event_time, last))
            async with connection(pool) as conn:
                row = await (await conn.execute("SELECT pg_database_size(current_database())")).fetchone()
            assert row is not None
            sizes[start + len(chunk)] = row[0]
        await pool.close()
    finally:
        await server.stop()
    return min(sizes[count] for count in sizes if count >= len(few)), sizes[len(all_)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--posts", type=int, default=90_000)
    parser.add_argument("--open", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.open:
        print(open_and_ask(asked.open))
        return
    made, model = posts(asked.posts), StaticModel()
    few = asked.posts // 3
    disk: list[dict[str, int]] = []
    memory: list[int] = []
    with tempfile.TemporaryDirectory(prefix="groundswell-bench-") as scratch:
        for count in (few, asked.posts):
            folder = Path(scratch) / str(count)
            build(folder, made[:count], model)
            disk.append(disk_bytes(folder))
            memory.append(anonymous_bytes(folder))
    grown = asked.posts - few
    parts = {part: (disk[1][part] - disk[0].get(part, 0)) / grown for part in sorted(disk[1])}
    found: dict[str, object] = {
        "vector_disk_bytes_per_post": round(sum(parts.values())),
        "vector_memory_bytes_per_post": round((memory[1] - memory[0]) / grown),
        "vector_bytes_per_post": round(request_bytes(made, model)),
        "database_bytes_per_post": round(database_bytes(made)),
    }
    rows = [(name, str(value), "as in deployment/usage.json") for name, value in found.items()]
    rows += [(f"  on disk: {part}", f"{size:.0f}", "") for part, size in parts.items() if size >= 1]
    publish("capacity", f"Bytes a post, at {asked.posts:,} posts", rows, {"posts": asked.posts, **found, "disk": parts})


if __name__ == "__main__":
    main()
