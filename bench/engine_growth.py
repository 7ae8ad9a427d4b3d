"""What the embedded engine takes for each post that it keeps: threads, descriptors, mappings, memory, disk.

`python -m bench.engine_growth [--posts N]` fills an engine with posts of 256 dimensions, looks at its process as it
goes, and extrapolates the slopes to a hot window of fourteen days. Linux only.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path

import httpx
import msgspec
import numpy as np
import psutil

from groundswell.adapters.qdrant import QdrantIndex
from groundswell.adapters.qdrant_embedded import EmbeddedQdrant
from groundswell.adapters.qdrant_embedded.collection import LARGEST_TIER, MERGED, SEAL_AT
from groundswell.ports.vectors import Space, Vector, VectorPoint

SPACE = Space("bench-256", 256)
CHUNK = 1_000
LOOKS = 10
MANY = 60_000_000
"""Fourteen days of fifty posts a second."""
MAPPINGS_LIMIT = 65_530
"""Linux's default of vm.max_map_count, for a process."""


class Look(msgspec.Struct, frozen=True):
    posts: int
    shards: int
    threads: int
    descriptors: int
    mappings: int
    anonymous_mb: float
    file_mb: float
    disk_mb: float


def look(process: psutil.Process, folder: Path, posts: int, shards: int) -> Look:
    memory = process.memory_info()
    maps = Path(f"/proc/{process.pid}/maps").read_text("utf-8").count("\n")
    disk = sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())
    shared = memory.shared
    return Look(
        posts, shards, process.num_threads(), process.num_fds(), maps,
        (memory.rss - shared) / 1e6, shared / 1e6, disk / 1e6,
    )  # fmt: skip


def most_shards(posts: int) -> int:
    """Return how many shards are open at the most: the largest ones, and too few of each smaller tier to be merged."""
    return posts // (SEAL_AT * MERGED**LARGEST_TIER) + LARGEST_TIER * (MERGED - 1) + 1


async def measure(posts: int) -> list[Look]:
    looks: list[Look] = []
    random = np.random.default_rng(7)
    with tempfile.TemporaryDirectory(prefix="groundswell-bench-") as folder:
        async with EmbeddedQdrant(Path(folder)) as engine:
            index = QdrantIndex(engine.url, api_key=engine.api_key, timeout_s=60)
            await index.ensure(SPACE)
            assert engine.pid is not None
            process = psutil.Process(engine.pid)
            where = f"/collections/{index.collection_of(SPACE.name)}"
            headers = {"api-key": engine.api_key}
            async with httpx.AsyncClient(base_url=engine.url, headers=headers, timeout=60) as http:
                for start in range(0, posts, CHUNK):
                    if start % max(CHUNK, posts // LOOKS // CHUNK * CHUNK) == 0:
                        about = (await http.get(where)).json()["result"]
                        looks.append(look(process, Path(folder), start, about["segments_count"]))
                        print(looks[-1], flush=True)
                    await index.upsert([point(random, pk) for pk in range(start, start + CHUNK)])
            await index.close()
    return looks


def point(random: np.random.Generator, pk: int) -> VectorPoint:
    values = random.standard_normal(SPACE.dimensions).astype(np.float32)
    payload = {
        "pk": pk, "entities": [f"ticker:T{pk % 5_000}"], "author": f"did:plc:{pk % 100_000:024}", "source": "bench",
        "event_time": 1_760_000_000_000_000 + pk, "lang": "en", "fingerprint": pk * 2_654_435_761 % 2**63,
    }  # fmt: skip
    return VectorPoint(pk, Vector(SPACE, (values / np.linalg.norm(values)).astype(np.float32)), payload)


def report(looks: list[Look]) -> None:
    posts = np.array([each.posts for each in looks[1:]], float)
    print(f"\n{'':24}{'now':>12}{'a million posts':>18}{f'at {MANY:,}':>18}")
    for name in ("anonymous_mb", "file_mb", "disk_mb"):
        values = np.array([getattr(each, name) for each in looks[1:]], float)
        slope, base = np.polyfit(posts, values, 1)
        print(f"{name:24}{values[-1]:12.0f}{slope * 1e6:18.0f}{base + slope * MANY:18.0f}")
    last, shards = looks[-1], most_shards(MANY)
    for name in ("threads", "descriptors", "mappings"):
        values = np.array([getattr(each, name) for each in looks], float)
        counts = np.array([each.shards for each in looks], float)
        slope, base = np.polyfit(counts, values, 1)
        print(f"{name:24}{getattr(last, name):12}{'by shards':>18}{base + slope * shards:18.0f}")
    print(f"shards{'':18}{last.shards:12}{'':18}{shards:18}")
    print(f"\nMappings end at {MAPPINGS_LIMIT:,}. A search looks through every shard, one after the other.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--posts", type=int, default=1_000_000)
    report(asyncio.run(measure(parser.parse_args().posts)))


if __name__ == "__main__":
    main()
