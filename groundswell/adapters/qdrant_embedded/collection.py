"""A collection: one active shard that takes the writes, and sealed shards that only lose points.

A search through every point of a shard costs 35 µs for 1,000 points, so a growing shard needs no index. Once it has
taken `seal_at` points it is sealed and a new one takes over. A child process builds the graph index on a *copy* of a
sealed shard, and the collection swaps the copy in: searching never stops and writing never waits, although the engine
itself does neither while it builds. Points are never changed in a sealed shard: writing one again deletes it there and
puts it into the active shard. Since posts leave by age, sealed shards empty as a whole, and an empty one is dropped.

Crashes: the manifest is replaced atomically and names only complete shards; anything else in the folder is discarded
when the collection opens. The write-ahead log of a shard is in the page cache when a write is acknowledged, so it
survives the process; `flush` makes it survive the machine.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import qdrant_edge as edge

from groundswell.adapters.qdrant_embedded import wire
from groundswell.adapters.qdrant_embedded.files import write_atomically
from groundswell.adapters.qdrant_embedded.limits import (
    MAX_ANSWERED_VALUES,
    MAX_COLLECTION_DIMENSIONS,
    MAX_INDEXES,
    MAX_NAME,
    MAX_POINTS,
    MAX_VECTORS,
    at_most,
    check_payload,
)
from groundswell.adapters.qdrant_embedded.refused import Refused
from groundswell.adapters.qdrant_embedded.shard import Schema, Shard, VectorSchema

SEAL_AT = 50_000
"""A search through all of them takes 2 ms, through their index 0.4 ms. Sealing and swapping stop the engine for a
moment that grows with it: a quarter of a second at this size."""
UPSERT_SLICE = 64
"""Points written between two looks at other requests: about 5 ms."""
FLUSH_AFTER_WRITES = 10_000

MANIFEST = "manifest.json"
_UNFINISHED = "unfinished"

MERGED = 8
"""Sealed shards of one size that become one of the next size. Each takes a thread, a descriptor and 130 mappings."""
LARGEST_TIER = 2
"""A shard of this tier, 3.2 million points, is merged no further: it would be written too often and for too long."""

BuildIndex = Callable[[Path], Awaitable[bool]]
"""Builds the index of the shard at a path, in another process. False where that failed."""
Merge = Callable[[Path, list[Path]], Awaitable[bool]]
"""Makes a new shard at a path of the shards at others, oldest first, in another process. False where that failed."""


class SealedEntry(msgspec.Struct):
    folder: str
    indexed: bool
    tier: int = 0
    """How often its points have been merged."""


class Manifest(msgspec.Struct):
    version: int
    name: str
    schema: Schema
    active: str
    sealed: list[SealedEntry]
    next_number: int


class Collection:
    """All methods belong to one event loop."""

    def __init__(self, path: Path, manifest: Manifest, active: Shard, sealed: list[Shard], seal_at: int) -> None:
        self.path = path
        self._manifest = manifest
        self._active = active
        self._sealed = sealed
        self._seal_at = seal_at

    # ------------------------------------------------------------------ life
    @classmethod
    def create(cls, path: Path, name: str, schema: Schema, *, seal_at: int = SEAL_AT) -> Collection:
        path.mkdir(parents=True)
        (path / _UNFINISHED).touch()
        active = Shard.create(path / _folder(1), schema)
        collection = cls(path, Manifest(1, name, schema, _folder(1), [], 2), active, [], seal_at)
        collection._save()
        (path / _UNFINISHED).unlink()
        return collection

    @staticmethod
    def is_unfinished(path: Path) -> bool:
        """Whether a crash interrupted its creation, which nobody was told had succeeded."""
        return (path / _UNFINISHED).exists() and not (path / MANIFEST).exists()

    @classmethod
    def open(cls, path: Path, *, seal_at: int = SEAL_AT) -> Collection:
        """Open what the manifest names and discard the rest: half-made copies, shards already replaced.

        Raises:
            OSError, ValueError: the manifest or a file is damaged.
            Exception: the engine's own, for a damaged shard.
        """
        manifest = msgspec.json.decode((path / MANIFEST).read_bytes(), type=Manifest)
        named = {manifest.active, *(entry.folder for entry in manifest.sealed)}
        for entry in path.iterdir():
            if entry.is_dir() and entry.name not in named:
                shutil.rmtree(entry)
        sealed = [Shard.load(path / entry.folder, manifest.schema) for entry in manifest.sealed]
        active = Shard.load(path / manifest.active, manifest.schema)
        return cls(path, manifest, active, sealed, seal_at)

    @property
    def name(self) -> str:
        return self._manifest.name

    @property
    def schema(self) -> Schema:
        return self._manifest.schema

    @property
    def sealed(self) -> list[tuple[Shard, bool]]:
        """The sealed shards, oldest first, each with whether it has its index."""
        return [(s, e.indexed) for s, e in zip(self._sealed, self._manifest.sealed, strict=True)]

    def flush(self) -> None:
        for shard in self._shards():
            if shard.unflushed:
                shard.flush()

    def close(self) -> None:
        for shard in self._shards():
            shard.flush()
            shard.close()

    # ------------------------------------------------------------------ schema
    async def add_vector(self, name: str, vector: VectorSchema) -> None:
        """Raises: Refused where the name is taken by a vector of another shape."""
        known = self.schema.vectors.get(name)
        if known is not None and known.same_kind(vector):
            return
        if known is not None:
            raise Refused(400, f"Wrong input: the vector {name!r} exists with size {known.size} and {known.distance}")
        check_vectors({**self.schema.vectors, name: vector})
        self.schema.vectors[name] = vector
        await self._apply_schema()

    async def drop_vector(self, name: str) -> None:
        """Absent: no error."""
        if self.schema.vectors.pop(name, None) is not None:
            await self._apply_schema()

    async def add_index(self, field: str, params: wire.IndexParams) -> None:
        """In place of another index on that field."""
        at_most(len(field), MAX_NAME, "field name")
        at_most(len({*self.schema.indexes, field}), MAX_INDEXES, "payload indexes")
        known = self.schema.indexes.get(field)
        if known == params:
            return
        if known is not None:
            del self.schema.indexes[field]
            await self._thawed()
            for shard in self._shards():
                shard.drop_index(field)
        self.schema.indexes[field] = params
        await self._apply_schema()

    def update(self, vectors: dict[str, dict[str, Any]], given: dict[str, Any]) -> None:
        """Note what was asked for.

        Raises:
            Refused: there is no such vector.
        """
        for name, changes in vectors.items():
            known = self.schema.vectors.get(name)
            if known is None:
                raise Refused(400, f"Wrong input: Not existing vector name error: {name}")
            self.schema.vectors[name] = msgspec.structs.replace(known, given={**known.given, **changes})
        for name, changes in given.items():
            self.schema.given[name] = {**(self.schema.given.get(name) or {}), **changes}
        self._save()

    async def _apply_schema(self) -> None:
        self._save()
        await self._thawed()
        for shard in self._shards():
            shard.conform(self.schema)

    async def _thawed(self) -> None:
        while frozen := next((shard for shard in self._sealed if not shard.thawed.is_set()), None):
            await frozen.thawed.wait()

    # ------------------------------------------------------------------ writes
    async def upsert(self, points: list[wire.PointStruct]) -> None:
        """Raises: Refused for a vector that the collection does not have, before anything is written."""
        if not points:
            raise Refused(400, "Bad request: Empty update request")
        at_most(len(points), MAX_POINTS, "upsert batch size")
        for point in points:
            self._check_vectors(point)
        for start in range(0, len(points), UPSERT_SLICE):
            chunk = points[start : start + UPSERT_SLICE]
            # Deleted before it is written again: a crash in between loses what nobody was told is stored.
            ids = [point.id for point in chunk]
            await self._delete_from_sealed(ids)
            self._active.upsert(ids, [edge.Point(p.id, self._stored(p.vector), p.payload) for p in chunk])
            if self._active.writes >= self._seal_at:
                self._seal()
            if self._active.unflushed >= FLUSH_AFTER_WRITES:
                self._active.flush()
            await asyncio.sleep(0)

    async def delete(self, ids: list[int]) -> None:
        if not ids:
            return
        at_most(len(ids), MAX_POINTS, "delete batch size")
        wire.check_ids(ids)
        await self._delete_from_sealed(ids)
        self._active.delete(ids)

    async def delete_matching(self, filter_: wire.Filter) -> None:
        wire.check_filter(filter_)
        translated = wire.edge_filter(filter_)
        matching = [id_ for shard in self._shards() for id_ in shard.ids(translated)]
        for start in range(0, len(matching), 1_000):
            await self.delete(matching[start : start + 1_000])

    async def _delete_from_sealed(self, ids: list[int]) -> None:
        wanted = np.array(ids, np.int64)
        while True:
            holding = [(shard, held) for shard in self._sealed if (held := shard.held(wanted))]
            frozen = next((shard for shard, _ in holding if not shard.thawed.is_set()), None)
            if frozen is None:
                break
            await frozen.thawed.wait()
        for shard, held in holding:
            shard.delete(held)
            if shard.journal is None and shard.count() == 0:
                self._drop(shard)

    def _stored(self, vectors: dict[str, list[float]]) -> dict[str, Any]:
        return {name: self.schema.vectors[name].stored(vector) for name, vector in vectors.items()}

    def _check_vectors(self, point: wire.PointStruct) -> None:
        wire.check_ids([point.id])
        check_payload(point.payload)
        for name, vector in point.vector.items():
            known = self.schema.vectors.get(name)
            if known is None:
                raise Refused(400, f"Not existing vector name error: {name}")
            if len(vector) != known.size:
                raise Refused(400, f"Vector dimension error: {name} expected dim: {known.size}, got {len(vector)}")

    # ------------------------------------------------------------------ reads
    def query(self, query: wire.Query) -> list[dict[str, Any]]:
        """The nearest of all shards, best first."""
        wire.check_limit(query.limit, query.offset)
        wire.check_params(query.params)
        wire.check_filter(query.filter)
        self._check_answer(query.limit + query.offset, query.with_vector)
        vector = query.vector()
        known = self.schema.vectors.get(query.using)
        if known is None:
            raise Refused(400, f"Not existing vector name error: {query.using}")
        if len(vector) != known.size:
            raise Refused(400, f"Vector dimension error: expected dim: {known.size}, got {len(vector)}")
        params = query.params and edge.SearchParams(hnsw_ef=query.params.hnsw_ef, exact=query.params.exact)
        request = edge.QueryRequest(
            limit=query.limit + query.offset,
            query=edge.Query.Nearest(known.stored(vector), using=query.using),
            filter=wire.edge_filter(query.filter),
            score_threshold=query.score_threshold,
            params=params,
            with_payload=query.with_payload,
            with_vector=query.with_vector,
        )
        best: dict[Any, edge.ScoredPoint] = {}
        for shard in self._shards():
            for point in shard.handle.query(request):
                best.setdefault(point.id, point)
        # A distance is best where it is small, a similarity where it is large.
        ranked = sorted(best.values(), key=lambda point: point.score, reverse=known.distance != "Euclid")
        return [
            {"id": p.id, "version": p.version, "score": p.score, **self._with(p, query.with_payload, query.with_vector)}
            for p in ranked[query.offset :][: query.limit]
        ]

    def scroll(self, scroll: wire.Scroll) -> dict[str, Any]:
        """Points by ascending id, and the id that the next page begins with."""
        wire.check_limit(scroll.limit)
        wire.check_filter(scroll.filter)
        self._check_answer(scroll.limit, scroll.with_vector)
        wire.check_ids([] if scroll.offset is None else [scroll.offset])
        request = edge.ScrollRequest(
            offset=scroll.offset,
            limit=scroll.limit + 1,
            filter=wire.edge_filter(scroll.filter),
            with_payload=scroll.with_payload,
            with_vector=scroll.with_vector,
        )
        found: dict[Any, edge.Record] = {}
        for shard in self._shards():
            for record in shard.handle.scroll(request)[0]:
                found.setdefault(record.id, record)
        ids = sorted(found)
        page = [
            {"id": id_, **self._with(found[id_], scroll.with_payload, scroll.with_vector)}
            for id_ in ids[: scroll.limit]
        ]
        return {"points": page, "next_page_offset": ids[scroll.limit] if len(ids) > scroll.limit else None}

    def retrieve(self, wanted: wire.Retrieve) -> list[dict[str, Any]]:
        at_most(len(wanted.ids), MAX_POINTS, "ids")
        wire.check_ids(wanted.ids)
        self._check_answer(len(wanted.ids), wanted.with_vector)
        found: dict[Any, edge.Record] = {}
        for shard in self._shards():
            for record in shard.handle.retrieve([*wanted.ids], wanted.with_payload, wanted.with_vector):
                found.setdefault(record.id, record)
        return [
            {"id": id_, **self._with(found[id_], wanted.with_payload, wanted.with_vector)}
            for id_ in dict.fromkeys(wanted.ids)
            if id_ in found
        ]

    def count(self, filter_: wire.Filter | None = None) -> int:
        wire.check_filter(filter_)
        translated = wire.edge_filter(filter_)
        return sum(shard.count(translated) for shard in self._shards())

    def indexed_count(self) -> int:
        return sum(shard.handle.info().indexed_vectors_count for shard in self._shards())

    def _check_answer(self, points: int, vectors: wire.WithVector) -> None:
        """Raises: Refused where the answer would hold too many components of vectors."""
        if vectors is False:
            return
        names = self.schema.vectors if vectors is True else self.schema.vectors.keys() & set(vectors)
        components = points * sum(self.schema.vectors[name].size for name in names)
        at_most(components, MAX_ANSWERED_VALUES, "vector components in an answer")

    def _with(
        self, point: edge.ScoredPoint | edge.Record, payload: wire.WithPayload, vector: wire.WithVector
    ) -> dict[str, Any]:
        extra: dict[str, Any] = {}
        if payload is not False:
            extra["payload"] = point.payload
        if vector is not False:
            vectors: Any = point.vector or {}
            extra["vector"] = {name: self.schema.vectors[name].answered(values) for name, values in vectors.items()}
        return extra

    def _shards(self) -> list[Shard]:
        """Newest first: where a crash left a point in two of them, the newest has it right."""
        return [self._active, *reversed(self._sealed)]

    # ------------------------------------------------------------------ shards
    def _seal(self) -> None:
        sealed = self._active
        sealed.remember_ids()
        sealed.flush()
        folder = self._next_folder()
        fresh = Shard.create(self.path / folder, self.schema)
        self._manifest.sealed.append(SealedEntry(sealed.path.name, indexed=False))
        self._manifest.active = folder
        self._save()
        self._sealed.append(sealed)
        self._active = fresh

    async def index(self, shard: Shard, build: BuildIndex) -> bool:
        """Replace a sealed shard by an indexed copy of itself. False where building failed, or it was dropped."""
        folder = self._next_folder()
        copy = self.path / folder
        try:
            await self._copy(shard, copy)
            await asyncio.to_thread(_settle, copy)
            if not await build(copy):
                return False
            await asyncio.to_thread(_settle, copy)
            indexed = Shard.load(copy, self.schema)
            if shard.journal:
                indexed.delete(list(shard.journal))
            indexed.flush()
            self._replace(shard, indexed)
        finally:
            shard.journal = None
            if not self._names(folder):
                await asyncio.to_thread(shutil.rmtree, copy, ignore_errors=True)
        if indexed.count() == 0:
            self._drop(indexed)
        await asyncio.to_thread(shutil.rmtree, shard.path, ignore_errors=True)
        return True

    def _replace(self, old: Shard, new: Shard) -> None:
        position = self._sealed.index(old)
        tier = self._manifest.sealed[position].tier
        self._manifest.sealed[position] = SealedEntry(new.path.name, indexed=True, tier=tier)
        self._save()
        self._sealed[position] = new
        old.close()

    def mergeable(self) -> list[Shard]:
        """Return the oldest neighbours that can become one shard; none where there are too few of one tier."""
        run: list[Shard] = []
        tier = -1
        for shard, entry in zip(self._sealed, self._manifest.sealed, strict=True):
            if not entry.indexed or entry.tier >= LARGEST_TIER:
                run, tier = [], -1
                continue
            if entry.tier != tier:
                run, tier = [], entry.tier
            run.append(shard)
            if len(run) == MERGED:
                return run
        return []

    async def merge(self, shards: list[Shard], merge: Merge) -> bool:
        """Put one shard in the place of neighbours. False where that failed; they answer as before then."""
        folder = self._next_folder()
        target = self.path / folder
        parts = self.path / f"{folder}-parts"
        try:
            parts.mkdir()
            for shard in shards:
                await self._copy(shard, parts / shard.path.name)
            if not await merge(target, [parts / shard.path.name for shard in shards]):
                return False
            await asyncio.to_thread(_settle, target)
            merged = Shard.load(target, self.schema)
            if gone := set[int]().union(*(shard.journal or () for shard in shards)):
                merged.delete(list(gone))
            merged.flush()
            self._replace_all(shards, merged)
        finally:
            for shard in shards:
                shard.journal = None
            await asyncio.to_thread(shutil.rmtree, parts, ignore_errors=True)
            if not self._names(folder):
                await asyncio.to_thread(shutil.rmtree, target, ignore_errors=True)
        if merged.count() == 0:
            self._drop(merged)
        for shard in shards:
            await asyncio.to_thread(shutil.rmtree, shard.path, ignore_errors=True)
        return True

    def _replace_all(self, old: list[Shard], new: Shard) -> None:
        first = self._sealed.index(old[0])
        last = first + len(old)
        tier = self._manifest.sealed[first].tier + 1
        self._manifest.sealed[first:last] = [SealedEntry(new.path.name, indexed=True, tier=tier)]
        self._save()
        self._sealed[first:last] = [new]
        for shard in old:
            shard.close()

    async def _copy(self, shard: Shard, copy: Path) -> None:
        """Copy its files; from here on its `journal` has what is deleted there."""
        shard.flush()
        shard.journal = set()
        shard.thawed.clear()
        try:
            await asyncio.to_thread(shutil.copytree, shard.path, copy)
        finally:
            shard.thawed.set()

    def _drop(self, shard: Shard) -> None:
        position = self._sealed.index(shard)
        del self._manifest.sealed[position]
        self._save()
        del self._sealed[position]
        shard.close()
        shutil.rmtree(shard.path, ignore_errors=True)

    def _names(self, folder: str) -> bool:
        return any(entry.folder == folder for entry in self._manifest.sealed)

    def _next_folder(self) -> str:
        folder = _folder(self._manifest.next_number)
        self._manifest.next_number += 1
        return folder

    def _save(self) -> None:
        write_atomically(self.path / MANIFEST, msgspec.json.encode(self._manifest))


def check_vectors(vectors: Mapping[str, VectorSchema]) -> None:
    """Raises: Refused for more vectors than a collection may have."""
    at_most(len(vectors), MAX_VECTORS, "vectors of a collection")
    at_most(max(map(len, vectors), default=0), MAX_NAME, "vector name")
    at_most(sum(vector.size for vector in vectors.values()), MAX_COLLECTION_DIMENSIONS, "vector components of a point")


def _settle(folder: Path) -> None:
    """Bring the files to disk from a thread: otherwise the next small flush of the engine waits for all of them."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb+") as file:
                os.fsync(file.fileno())


def _folder(number: int) -> str:
    return f"shard-{number:06d}"
