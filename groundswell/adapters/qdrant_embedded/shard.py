"""One shard of the engine on disk, and what a collection needs to know about it."""

from __future__ import annotations

import asyncio
from array import array
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import numpy.typing as npt
import qdrant_edge as edge

from groundswell.adapters.qdrant_embedded.files import write_atomically
from groundswell.adapters.qdrant_embedded.wire import IndexParams, edge_distance, edge_index

if TYPE_CHECKING:
    from collections.abc import Iterator

Ids = npt.NDArray[np.int64]

NO_GRAPH = edge.HnswIndexConfig(m=0, ef_construct=100, full_scan_threshold=1_000_000, max_indexing_threads=1)
"""A sealed shard is looked through, not walked: at 50,000 one-byte vectors of 256 dimensions that finds 99.5% of the
true nearest ten in 0.6 ms; Qdrant's default graph finds 93% in 0.5 ms and takes 8 s to build (see docs/decisions)."""

SEARCH_THREADS = 1
"""Of each shard. The engine starts as many as the machine has processors, eight at least, and keeps them: a shard has
one segment to search, and one request is answered at a time."""

_INDEXING_THRESHOLD_KB = 16
"""`optimize` leaves smaller shards as they are; the engine's default would leave 40,000 one-byte vectors."""

BYTE_ZERO = 128
"""The middle of what the datatype `uint8` holds."""

_THREADS = "max_search_threads"
_CONFIG_FILE = "edge_config.json"
_IDS_FILE = "ids.npy"
_SCROLL_PAGE = 10_000


class VectorSchema(msgspec.Struct, frozen=True):
    size: int
    distance: str
    datatype: str | None = None
    given: dict[str, Any] = {}
    """What else its creation asked for: described as it was, without effect here."""

    def same_kind(self, other: VectorSchema) -> bool:
        return (self.size, self.distance, self.datatype) == (other.size, other.distance, other.datatype)

    def stored(self, vector: list[float]) -> list[float]:
        """The engine keeps one byte a dimension around zero; moving all vectors alike changes no distance of theirs."""
        return [value - BYTE_ZERO for value in vector] if self.datatype == "uint8" else vector

    def answered(self, vector: list[float]) -> list[float]:
        return [round(value + BYTE_ZERO) for value in vector] if self.datatype == "uint8" else vector


class Schema(msgspec.Struct):
    """What every shard of a collection has in common."""

    vectors: dict[str, VectorSchema]
    indexes: dict[str, IndexParams]
    given: dict[str, Any] = {}
    """As `VectorSchema.given`, of the collection."""


class Shard:
    """An open shard. One process, and one thread of it, may use it.

    `frozen` is set while its files are copied: whoever wants to delete here waits for it. `journal` then collects the
    ids deleted since, for the copy's sake.
    """

    def __init__(self, path: Path, handle: edge.EdgeShard) -> None:
        self.path = path
        self.handle = handle
        self.writes = handle.info().points_count
        """Points written here, repeats included: what the files grow by."""
        self.unflushed = 0
        self.journal: set[int] | None = None
        self.thawed = asyncio.Event()
        self.thawed.set()
        self._ids: Ids | None = None
        self._written: array[int] | None = None
        """Every id written since it was empty; None where it was not opened empty."""
        if self.writes == 0:
            self._written = array("q")

    @classmethod
    def create(cls, path: Path, schema: Schema) -> Shard:
        """Raises: OSError, or the engine's own Exception."""
        path.mkdir()
        vectors = {
            name: edge.EdgeVectorParams(
                vector.size,
                edge_distance(vector.distance),
                # One byte a dimension: a quarter of the memory, and half a percent of the nearest ten differ.
                datatype=edge.VectorStorageDatatype.Turbo8,
            )
            for name, vector in schema.vectors.items()
        }
        config = edge.EdgeConfig(
            vectors=vectors,
            hnsw_config=NO_GRAPH,
            optimizers=edge.EdgeOptimizersConfig(indexing_threshold=_INDEXING_THRESHOLD_KB),
            max_search_threads=SEARCH_THREADS,
        )
        shard = cls(path, edge.EdgeShard.create(str(path), config))
        shard.conform(schema)
        shard.flush()
        return shard

    @classmethod
    def load(cls, path: Path, schema: Schema) -> Shard:
        """Replays the write-ahead log. Raises: OSError, ValueError, or the engine's own Exception."""
        _limit_threads(path / _CONFIG_FILE)
        shard = cls(path, edge.EdgeShard.load(str(path)))
        shard.conform(schema)
        return shard

    def conform(self, schema: Schema) -> None:
        """Give it the vectors and payload indexes that it lacks, and take the vectors that it should not have."""
        config = msgspec.json.decode((self.path / _CONFIG_FILE).read_bytes())
        for name, vector in schema.vectors.items():
            if name not in config["vectors"]:
                self.handle.update(
                    edge.UpdateOperation.create_dense_vector(
                        name,
                        vector.size,
                        edge_distance(vector.distance),
                        datatype=edge.VectorStorageDatatype.Turbo8,
                    )
                )
                self.unflushed += 1
        for name in config["vectors"]:
            if name not in schema.vectors:
                self.handle.update(edge.UpdateOperation.delete_vector_name(name))
                self.unflushed += 1
        present = self.handle.info().payload_schema
        for field, params in schema.indexes.items():
            if field not in present:
                self.handle.update(edge.UpdateOperation.create_field_index(field, edge_index(params)))
                self.unflushed += 1

    def drop_index(self, field: str) -> None:
        if field in self.handle.info().payload_schema:
            self.handle.update(edge.UpdateOperation.delete_field_index(field))
            self.unflushed += 1

    def upsert(self, ids: list[int], points: list[edge.Point]) -> None:
        self.handle.update(edge.UpdateOperation.upsert_points(points))
        if self._written is not None:
            self._written.extend(ids)
        self.writes += len(points)
        self.unflushed += len(points)

    def delete(self, ids: list[int]) -> None:
        self.handle.update(edge.UpdateOperation.delete_points([*ids]))
        self.unflushed += len(ids)
        if self.journal is not None:
            self.journal.update(ids)

    def flush(self) -> None:
        self.handle.flush()
        self.unflushed = 0

    def close(self) -> None:
        self.handle.close()

    def count(self, filter_: edge.Filter | None = None) -> int:
        return self.handle.count(edge.CountRequest(exact=True, filter=filter_))

    def ids(self, filter_: edge.Filter | None = None) -> Iterator[int]:
        """Every id that matches, ascending."""
        offset: Any = None
        while True:
            request = edge.ScrollRequest(
                offset=offset, limit=_SCROLL_PAGE, filter=filter_, with_payload=False, with_vector=False
            )
            records, offset = self.handle.scroll(request)
            for record in records:
                assert isinstance(record.id, int)
                yield record.id
            if offset is None:
                return

    # ------------------------------------------------------------------ once it takes no more points
    def remember_ids(self) -> None:
        """Write down which points it was sealed with, so that later writes know what to delete here."""
        if self._written is None:
            self._ids = np.fromiter(self.ids(), np.int64)
        else:
            self._ids = np.unique(np.array(self._written, np.int64))
            self._written = None
        np.save(self.path / _IDS_FILE, self._ids)

    def held(self, ids: Ids) -> list[int]:
        """Those of `ids` that it was sealed with. A point deleted since may still be named."""
        if self._ids is None:
            try:
                self._ids = np.load(self.path / _IDS_FILE)
            except (OSError, ValueError):
                self.remember_ids()
        known = self._ids
        assert known is not None
        if not len(known) or ids.max() < known[0] or ids.min() > known[-1]:
            return []
        found = known[np.minimum(np.searchsorted(known, ids), len(known) - 1)] == ids
        return ids[found].tolist()


def _limit_threads(config_file: Path) -> None:
    """Give a shard of an earlier release the number of threads that a new one has: it is kept with the shard."""
    config = msgspec.json.decode(config_file.read_bytes(), type=dict[str, Any])
    if config.get(_THREADS) != SEARCH_THREADS:
        write_atomically(config_file, msgspec.json.encode({**config, _THREADS: SEARCH_THREADS}))
