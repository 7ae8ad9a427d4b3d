"""The vector index on anything that speaks Qdrant's REST API: a cloud cluster, a server, the embedded engine.

Each space has a collection of its own, named after the index, the space and the form that its points have. A space is
then created, filled and removed without touching the others, and a release that stores points in another form creates
new collections beside the earlier one: `outdated` lists what is still to be moved, and searches cover both meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from groundswell.adapters.qdrant_points import (
    EARLIER_FIELDS,
    FIELDS,
    PayloadFields,
    bodies,
    cosine_of,
    encoded,
    filter_of,
    older_than,
    payload_indexes,
    plain,
)
from groundswell.adapters.qdrant_rest import CollectionMissing, QdrantRest, path
from groundswell.core.posts import Micros
from groundswell.errors import VectorIndexUnavailable
from groundswell.ports.vectors import EVERYTHING, Hit, SearchFilters, Space, Vector, VectorPoint, Within

if TYPE_CHECKING:
    import httpx

VECTOR = "text"
"""The name of the one vector that a point has."""
_FORM = "u8"
"""Of the points. Another form needs another collection: datatype and distance cannot be changed."""

MAX_POINTS_PER_REQUEST = 1_000
GRAPH_DEGREE = 32
GRAPH_EFFORT = 200
"""Of a server's graph index (m, ef_construct). Measured at 50,000 posts of 256 dimensions: 98% of the true nearest ten,
where Qdrant's defaults of 16 and 100 find 93% (see docs/decisions)."""
SEARCH_EF = 256
"""Candidates that a graph index keeps in view."""
SEGMENT_KB = 128_000
"""Largest segment, in KB of vectors: half a million posts of 256 dimensions. Rebuilding a segment needs its size once
more on disk."""
UNINDEXED_KB = 10_000
"""A smaller segment is searched through: 40,000 posts of 256 dimensions."""
EARLIER_OVERSAMPLING = 2.0

Json = dict[str, Any]


def collection_settings(space: Space) -> Json:
    """The body that creates the collection of a space.

    Vectors and payload stay on disk, and the system caches what is asked for. There is no quantised copy: the vectors
    are a byte a dimension already.
    """
    vector = {"size": space.dimensions, "distance": "Euclid", "datatype": "uint8", "memory": "cold"}
    return {
        "vectors": {VECTOR: vector},
        "payload": {"memory": "cold"},
        "hnsw_config": {"m": GRAPH_DEGREE, "ef_construct": GRAPH_EFFORT},
        "optimizers_config": {"max_segment_size": SEGMENT_KB, "indexing_threshold": UNINDEXED_KB},
    }


class _Named(msgspec.Struct):
    name: str


class _Listing(msgspec.Struct):
    collections: list[_Named]


class _VectorParams(msgspec.Struct):
    size: int


class _Params(msgspec.Struct):
    vectors: dict[str, msgspec.Raw]


class _Config(msgspec.Struct):
    params: _Params


class _Description(msgspec.Struct):
    """What is needed of a collection's description; a newer server may say more."""

    config: _Config
    payload_schema: dict[str, msgspec.Raw] = {}


class _Update(msgspec.Struct):
    status: str


class _Point(msgspec.Struct):
    id: int
    score: float = 0.0


class _Page(msgspec.Struct):
    points: list[_Point]


class _Count(msgspec.Struct):
    count: int


class QdrantIndex:
    """`ports.VectorIndex` over Qdrant's REST API.

    Every method raises `VectorIndexUnavailable`, whose message tells apart a refused key, a server that does not
    answer, one that is too old or full, and an address where something else answers.

    Args:
        url: `http://…` or `https://…`, with port 6333 where none is given.
        collection: how the names of its collections begin.
        timeout_s: for each request.
        renew: returns the key as it is now, from wherever it is kept; called in a thread when the server refuses the
            one that is known. It raises ValueError where the key cannot be read. None for a key that never changes.
        transport: carries the requests in place of httpx's own connections.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        collection: str = "posts",
        timeout_s: float = 10.0,
        renew: Callable[[], str] | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.url = url
        self.collection = collection
        self._rest = QdrantRest(url, api_key=api_key, timeout_s=timeout_s, renew=renew, transport=transport)
        self._earlier_spaces: frozenset[str] | None = None
        """Spaces in the collection of an earlier release; empty where there is none, None before the first look."""

    def collection_of(self, space: str) -> str:
        """Return the name of a space's collection. A name that users choose has no dot."""
        return f"{self.collection}.{space}.{_FORM}"

    async def check(self) -> str:
        """Return the server's version.

        Raises:
            VectorIndexUnavailable: it cannot be used, with the reason: address, age or key.
        """
        version = await self._rest.version()
        await self._collections()
        return version

    # ------------------------------------------------------------------ spaces
    async def ensure(self, space: Space) -> None:
        """Create the space's collection and its payload indexes where they are missing. Idempotent."""
        await self._rest.require_version()
        name = self.collection_of(space.name)
        try:
            existing = await self._describe(name)
        except CollectionMissing:
            existing = await self._create(name, space)
        size = _sizes(existing).get(VECTOR)
        if size != space.dimensions:
            raise VectorIndexUnavailable(
                f"The collection {name} holds vectors of {size} dimensions, and this model makes {space.dimensions}. "
                "Choose another collection name; the posts are indexed again from Postgres."
            )
        for field, schema in payload_indexes().items():
            if field not in existing.payload_schema:
                await self._write("PUT", path("collections", name, "index"), _index(field, schema))

    async def _create(self, name: str, space: Space) -> _Description:
        try:
            await self._rest.ask("PUT", path("collections", name), bool, body=collection_settings(space))
        except VectorIndexUnavailable as error:
            # Two processes may create it at once: the second is refused, and finds what the first has made.
            try:
                return await self._describe(name)
            except CollectionMissing:
                raise error from None
        return await self._describe(name)

    async def drop(self, space: str) -> None:
        """Remove a space and what is in it. Absent: no error."""
        await self._remove(self.collection_of(space))

    async def spaces(self) -> list[Space]:
        found: list[Space] = []
        for name, space in (await self._current()).items():
            with suppress(CollectionMissing):  # it was dropped since it was listed
                found.append(Space(space, _sizes(await self._describe(name)).get(VECTOR, 0)))
        return sorted(found, key=lambda space: space.name)

    async def clear(self) -> None:
        for name in await self._collections():
            await self._remove(name)
        self._earlier_spaces = frozenset()

    # ------------------------------------------------------------------ writes
    async def upsert(self, points: Sequence[VectorPoint]) -> None:
        """On return the server has applied every write. Its disk has it within five seconds."""
        for space, structs in bodies(points):
            name = self.collection_of(space.name)
            for start in range(0, len(structs), MAX_POINTS_PER_REQUEST):
                chunk = structs[start : start + MAX_POINTS_PER_REQUEST]
                for struct in chunk:
                    struct["vector"] = {VECTOR: struct["vector"]}
                await self._write("PUT", path("collections", name, "points"), {"points": chunk})
            # Now that they are here they leave where they were: a search in between finds them in one place at least.
            others = [other for other in await self._collections() if other != name]
            await self._delete([struct["id"] for struct in structs], others)

    async def delete(self, pks: Sequence[int]) -> None:
        """Absent points are no error."""
        if pks:
            await self._delete(pks, await self._collections())

    async def _delete(self, pks: Sequence[int], names: Sequence[str]) -> None:
        for name in names:
            with suppress(CollectionMissing):
                await self._write("POST", path("collections", name, "points", "delete"), {"points": list(pks)})
        if self.collection in names and await self._count(self.collection) == 0:
            await self._remove(self.collection)
            self._earlier_spaces = frozenset()

    async def delete_before(self, instant: Micros) -> None:
        for name in await self._collections():
            selector = {"filter": older_than(instant, self._fields_of(name))}
            with suppress(CollectionMissing):
                await self._write("POST", path("collections", name, "points", "delete"), selector)

    # ------------------------------------------------------------------ reads
    async def search(
        self, vector: Vector, filters: SearchFilters, limit: int, within: Within = EVERYTHING
    ) -> list[Hit]:
        """Nearest first; `score` is the cosine, -1 to 1."""
        if limit < 1:
            return []
        space = vector.space
        # The earlier form first: a post that moves meanwhile is found there, or in its new place afterwards.
        earlier = await self._search_earlier(vector, filters, limit, within)
        query: Json = {"query": encoded(space, vector.values.reshape(1, -1))[0], "using": VECTOR, "limit": limit}
        query |= {"params": {"hnsw_ef": SEARCH_EF}, "with_payload": False}
        try:
            points = await self._query(self.collection_of(space.name), query, filter_of(filters, within))
        except CollectionMissing:
            if earlier is None:
                raise
            points = []
        hits = [Hit(point.id, cosine_of(space, point.score)) for point in points]
        if not earlier:
            return hits
        best = {hit.pk: hit for hit in (*earlier, *hits)}
        return sorted(best.values(), key=lambda hit: -hit.score)[:limit]

    async def _search_earlier(
        self, vector: Vector, filters: SearchFilters, limit: int, within: Within
    ) -> list[Hit] | None:
        """What the collection of an earlier release has; None where there is none."""
        space = vector.space.name
        if space not in await self._known_earlier_spaces():
            return None
        rescoring = {"rescore": True, "oversampling": EARLIER_OVERSAMPLING}
        query: Json = {"query": plain(vector), "using": space, "limit": limit, "with_payload": False}
        query |= {"params": {"hnsw_ef": SEARCH_EF, "quantization": rescoring}}
        try:
            points = await self._query(self.collection, query, filter_of(filters, within, EARLIER_FIELDS))
        except CollectionMissing:
            self._earlier_spaces = frozenset()
            return None
        return [Hit(point.id, point.score) for point in points]

    async def _query(self, name: str, query: Json, narrowed: Json | None) -> list[_Point]:
        body = query if narrowed is None else {**query, "filter": narrowed}
        return (await self._rest.ask("POST", path("collections", name, "points", "query"), _Page, body=body)).points

    async def count(self) -> int:
        names = await self._collections()
        if not names:
            raise CollectionMissing(
                f"The vector index at {self.url} has no collection {self.collection} yet. "
                "It is made when the first post is indexed."
            )
        return sum([await self._count(name) for name in names])

    async def _count(self, name: str) -> int:
        try:
            counted = await self._rest.ask(
                "POST", path("collections", name, "points", "count"), _Count, body={"exact": True}
            )
        except CollectionMissing:
            return 0
        return counted.count

    async def pks(self, after: int, limit: int) -> list[int]:
        return await self._listed(await self._collections(), after, limit)

    async def outdated(self, after: int, limit: int) -> list[int]:
        if not await self._known_earlier_spaces():
            return []
        return await self._listed([self.collection], after, limit)

    async def _listed(self, names: Sequence[str], after: int, limit: int) -> list[int]:
        if limit < 1:
            return []
        page = {"limit": limit, "offset": after + 1, "with_payload": False, "with_vector": False}
        found: set[int] = set()
        for name in names:
            with suppress(CollectionMissing):
                scrolled = await self._rest.ask("POST", path("collections", name, "points", "scroll"), _Page, body=page)
                found.update(point.id for point in scrolled.points)
        return sorted(found)[:limit]

    # ------------------------------------------------------------------ life
    async def prepare(self) -> None:
        """Load the client now, so that the first request need not wait for that. Asks the server nothing."""
        await self._rest.prepare()

    async def close(self) -> None:
        await self._rest.close()

    # ------------------------------------------------------------------ collections
    async def _collections(self) -> list[str]:
        """Every collection of this index, that of an earlier release among them."""
        listing = await self._rest.ask("GET", "/collections", _Listing)
        names = [collection.name for collection in listing.collections]
        return [name for name in names if name == self.collection or self._space_of(name) is not None]

    async def _current(self) -> dict[str, str]:
        """Collections in today's form, with their spaces."""
        named = ((name, self._space_of(name)) for name in await self._collections())
        return {name: space for name, space in named if space is not None}

    def _space_of(self, name: str) -> str | None:
        before, after = f"{self.collection}.", f".{_FORM}"
        if name.startswith(before) and name.endswith(after) and len(name) > len(before) + len(after):
            return name[len(before) : -len(after)]
        return None

    def _fields_of(self, name: str) -> PayloadFields:
        return EARLIER_FIELDS if name == self.collection else FIELDS

    async def _known_earlier_spaces(self) -> frozenset[str]:
        if self._earlier_spaces is None:
            try:
                self._earlier_spaces = frozenset(_sizes(await self._describe(self.collection)))
            except CollectionMissing:
                self._earlier_spaces = frozenset()
        return self._earlier_spaces

    async def _describe(self, name: str) -> _Description:
        return await self._rest.ask("GET", path("collections", name), _Description)

    async def _remove(self, name: str) -> None:
        with suppress(CollectionMissing):
            await self._rest.ask("DELETE", path("collections", name), bool)

    async def _write(self, method: str, where: str, body: Json) -> None:
        done = await self._rest.ask(method, where, _Update, body=body, params={"wait": "true"})
        if done.status != "completed":
            raise VectorIndexUnavailable(
                f"The vector index at {self.url} took a write and has not applied it in time ({done.status}). "
                "It is sent again; if this lasts, the server is overloaded or its optimizer is behind."
            )


def _index(field: str, schema: Json) -> Json:
    return {"field_name": field, "field_schema": schema}


def _sizes(described: _Description) -> dict[str, int]:
    """Dimensions of each named vector."""
    sizes: dict[str, int] = {}
    for name, raw in described.config.params.vectors.items():
        with suppress(msgspec.ValidationError):  # a collection of somebody else, whose only vector has no name
            sizes[name] = msgspec.json.decode(raw, type=_VectorParams).size
    return sizes
