"""The vector index on anything that speaks Qdrant's REST API: a cloud cluster, a server, the embedded engine."""

from __future__ import annotations

import asyncio
import importlib
import logging
import sys
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from itertools import groupby
from typing import TYPE_CHECKING, Any

import msgspec

from groundswell.core.posts import Micros
from groundswell.errors import VectorIndexUnavailable
from groundswell.ports.vectors import EVERYTHING, Hit, SearchFilters, Space, Vector, VectorPoint, Within

if TYPE_CHECKING:
    from qdrant_client import AsyncQdrantClient, models

log = logging.getLogger(__name__)

IN_MEMORY = ":memory:"
"""As `url`: qdrant-client's own in-process imitation, for tests and experiments."""

KEYWORD_FIELDS = ("entities", "author", "lang", "source")
TIME_FIELD = "event_time"
"""Whole microseconds: exact as the 64-bit floats that range filters are written in, until the year 2255."""
PK_FIELD = "pk"
"""The point's own id once more: ids cannot be filtered by range."""
FINGERPRINT_FIELD = "fingerprint"

MAX_POINTS_PER_REQUEST = 1_000
GRAPH_DEGREE = 32
GRAPH_EFFORT = 200
"""Of a server's graph index (m, ef_construct). Measured at 50,000 posts of 256 dimensions: 98% of the true nearest ten,
where Qdrant's defaults of 16 and 100 find 93% (see docs/decisions)."""
SEARCH_EF = 256
"""Candidates that a graph index keeps in view."""
OVERSAMPLING = 2.0
"""Candidates rescored with whole vectors, for each one wanted: with one byte a dimension, that loses nothing."""
MAX_CONNECTIONS = 16
KEEP_ALIVE_S = 30.0
"""Shorter than servers keep an idle connection, so that no request meets one that is just being closed."""
REFUSED = frozenset({401, 403})
"""What a server answers where the key is not, or no longer, the right one."""
RENEW_EVERY_S = 10.0
"""A key that is refused for good is not asked for more often than this."""
_VECTOR_DIGITS = 5
"""Decimals sent for each number of a unit vector: cosines move by less than 0.0001, and the body shrinks by half."""


class QdrantIndex:
    """`ports.VectorIndex` over qdrant-client's asynchronous REST client.

    The client is imported at first use, in a thread: it takes a second. Every method raises
    `VectorIndexUnavailable`, whose message tells a refused key from a server that does not answer.

    Args:
        url: `http://…` or `https://…` (port 6333 where none is given), or `:memory:`.
        timeout_s: for each request.
        renew: answers the key as it is now, from wherever it is kept; called in a thread when the server refuses the
            one that is known. It raises ValueError where it cannot be read. None for a key that never changes.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        collection: str = "posts",
        timeout_s: float = 10.0,
        renew: Callable[[], str] | None = None,
    ) -> None:
        self.url = url
        self.collection = collection
        self._api_key = api_key
        self._timeout_s = timeout_s
        self._renew = renew
        self._renewed_at = float("-inf")
        self._client: AsyncQdrantClient | None = None
        self._retired: AsyncQdrantClient | None = None
        self._opening = asyncio.Lock()
        self._encoder = msgspec.json.Encoder()

    async def ensure(self, space: Space) -> None:
        """Create the collection, the space and the payload indexes where they are missing. Idempotent."""
        async with self._connected() as (client, models):
            cosine = models.Distance.COSINE
            vectors = {space.name: models.VectorParams(size=space.dimensions, distance=cosine, on_disk=True)}
            if not await client.collection_exists(self.collection):
                # One byte a dimension in memory, whole vectors on disk to rescore with.
                scalar = models.ScalarQuantizationConfig(type=models.ScalarType.INT8, quantile=0.99, always_ram=True)
                await client.create_collection(
                    self.collection,
                    vectors_config=vectors,
                    quantization_config=models.ScalarQuantization(scalar=scalar),
                    hnsw_config=models.HnswConfigDiff(m=GRAPH_DEGREE, ef_construct=GRAPH_EFFORT),
                    on_disk_payload=True,
                )
            existing = await client.get_collection(self.collection)
            await self._ensure_space(client, space, existing)
            await self._ensure_payload_indexes(client, existing)

    async def _ensure_space(self, client: AsyncQdrantClient, space: Space, existing: models.CollectionInfo) -> None:
        from qdrant_client import models

        known = _vectors_of(existing).get(space.name)
        if known is None:
            dense = models.DenseVectorConfig(size=space.dimensions, distance=models.Distance.COSINE)
            await client.create_vector_name(self.collection, space.name, models.DenseVectorNameConfig(dense=dense))
        elif known.size != space.dimensions:
            raise VectorIndexUnavailable(
                f"The collection {self.collection} holds {space.name} with {known.size} dimensions, and this model "
                f"makes {space.dimensions}. Choose another collection name; the posts are indexed again from Postgres."
            )

    async def _ensure_payload_indexes(self, client: AsyncQdrantClient, existing: models.CollectionInfo) -> None:
        from qdrant_client import models

        if self.url == IN_MEMORY:  # it filters without indexes, and warns when it is asked for one
            return
        schemas: dict[str, models.PayloadSchemaType | models.IntegerIndexParams] = {}
        for field in KEYWORD_FIELDS:
            schemas[field] = models.PayloadSchemaType.KEYWORD
        integer = models.IntegerIndexType.INTEGER
        for field in (TIME_FIELD, PK_FIELD):
            schemas[field] = models.IntegerIndexParams(type=integer, lookup=False, range=True)
        schemas[FINGERPRINT_FIELD] = models.IntegerIndexParams(type=integer, lookup=True, range=False)
        for field, schema in schemas.items():
            if field not in existing.payload_schema:
                await client.create_payload_index(self.collection, field, field_schema=schema, wait=True)

    async def upsert(self, points: Sequence[VectorPoint]) -> None:
        """Stored durably on return: every write waits for the engine to have applied it."""
        async with self._connected() as (client, models):
            for start in range(0, len(points), MAX_POINTS_PER_REQUEST):
                chunk = points[start : start + MAX_POINTS_PER_REQUEST]
                bodies = _bodies(chunk)
                if self.url == IN_MEMORY:
                    structs = [models.PointStruct.model_construct(**body) for body in bodies]
                    await client.upsert(self.collection, structs, wait=True)
                else:
                    # The generated client sends what is no model as it is: bytes encoded here cost a fifth of
                    # building and dumping a model for each point.
                    body: Any = self._encoder.encode({"points": bodies})
                    await client.http.points_api.upsert_points(self.collection, wait=True, point_insert_operations=body)

    async def delete(self, pks: Sequence[int]) -> None:
        """Absent points are no error."""
        if not pks:
            return
        async with self._connected() as (client, models):
            await client.delete(self.collection, models.PointIdsList(points=list(pks)), wait=True)

    async def clear(self) -> None:
        async with self._connected() as (client, _):
            if await client.collection_exists(self.collection):
                await client.delete_collection(self.collection)

    async def delete_before(self, instant: Micros) -> None:
        async with self._connected() as (client, models):
            older = models.FieldCondition(key=TIME_FIELD, range=models.Range(lt=instant))
            selector = models.FilterSelector(filter=models.Filter(must=[older]))
            await client.delete(self.collection, selector, wait=True)

    async def search(
        self, vector: Vector, filters: SearchFilters, limit: int, within: Within = EVERYTHING
    ) -> list[Hit]:
        """Nearest first; `score` is the cosine, -1 to 1."""
        async with self._connected() as (client, _):
            answer = await client.query_points(
                self.collection,
                query=vector.values.tolist(),
                using=vector.space.name,
                query_filter=_filter(filters, within),
                limit=limit,
                search_params=None if self.url == IN_MEMORY else _search_params(),
                with_payload=False,
            )
        return [Hit(int(point.id), point.score) for point in answer.points]

    async def drop(self, space: str) -> None:
        """Remove a space and what is left in it. Absent: no error."""
        async with self._connected() as (client, _):
            existing = await client.get_collection(self.collection)
            if space in _vectors_of(existing):
                await client.delete_vector_name(self.collection, space)

    async def spaces(self) -> list[Space]:
        async with self._connected() as (client, _):
            if not await client.collection_exists(self.collection):
                return []
            existing = await client.get_collection(self.collection)
        return [Space(name, params.size) for name, params in sorted(_vectors_of(existing).items())]

    async def count(self) -> int:
        async with self._connected() as (client, _):
            return (await client.count(self.collection, exact=True)).count

    async def pks(self, after: int, limit: int) -> list[int]:
        async with self._connected() as (client, _):
            if not await client.collection_exists(self.collection):
                return []
            records, _ = await client.scroll(
                self.collection, limit=limit, offset=after + 1, with_payload=False, with_vectors=False
            )
        return [int(record.id) for record in records]

    async def close(self) -> None:
        clients = (self._client, self._retired)
        self._client = self._retired = None
        for client in clients:
            if client is not None:
                await client.close()

    @asynccontextmanager
    async def _connected(self) -> AsyncGenerator[tuple[AsyncQdrantClient, Any]]:
        """The client and its `models` module, with every failure of the block given its name."""
        client, package = await self._opened()
        from qdrant_client.common.client_exceptions import QdrantException
        from qdrant_client.http.exceptions import ApiException, UnexpectedResponse

        try:
            yield client, package.models
        except UnexpectedResponse as error:
            if error.status_code in REFUSED:
                await self._learn_key()
            raise VectorIndexUnavailable(self._refusal(error.status_code, error.content)) from error
        except ValueError as error:
            if self.url != IN_MEMORY:
                raise
            # What a server answers with a status, the imitation says with this.
            status = 404 if str(error) == f"Collection {self.collection} not found" else 400
            raise VectorIndexUnavailable(self._refusal(status, str(error).encode())) from error
        except (ApiException, QdrantException, OSError) as error:
            cause = getattr(error, "source", error)
            raise VectorIndexUnavailable(
                f"The vector index at {self.url} does not answer ({type(cause).__name__}: {cause}). "
                "Search by meaning pauses and vectors wait; check that Qdrant runs and can be reached."
            ) from error

    async def prepare(self) -> None:
        """Load the client now, so that the first request need not wait for that. Asks the server nothing."""
        await self._opened()

    async def _opened(self) -> tuple[AsyncQdrantClient, Any]:
        if self._client is not None:
            return self._client, sys.modules["qdrant_client"]
        package = await asyncio.to_thread(_qdrant_client)
        async with self._opening:
            with _without_fastembed():
                self._client = self._client or self._new_client(package)
            return self._client, package

    async def _learn_key(self) -> None:
        """After a refusal: where the key is another by now, the next request has a client with that."""
        now = asyncio.get_running_loop().time()
        if self._renew is None or now - self._renewed_at < RENEW_EVERY_S:
            return
        self._renewed_at = now
        try:
            key = await asyncio.to_thread(self._renew)
        except ValueError as error:
            log.warning("the vector index's key cannot be read anew: %s", error)
            return
        if key != self._api_key:
            log.info("the vector index has another key by now, and is asked with that")
            self._api_key = key
            # Requests may be under way with this one: it is closed when the next one takes its place.
            before, self._retired, self._client = self._retired, self._client, None
            if before is not None:
                await before.close()

    def _new_client(self, package: Any) -> AsyncQdrantClient:
        if self.url == IN_MEMORY:
            return package.AsyncQdrantClient(location=IN_MEMORY)
        import httpx

        # The compatibility check is a blocking request at construction, and warns about the embedded engine. Without
        # limits of its own the client opens a new connection for every request to a loopback address.
        return package.AsyncQdrantClient(
            url=self.url,
            api_key=self._api_key,
            timeout=max(1, round(self._timeout_s)),
            check_compatibility=False,
            limits=httpx.Limits(max_connections=MAX_CONNECTIONS, keepalive_expiry=KEEP_ALIVE_S),
        )

    def _refusal(self, status: int | None, content: bytes) -> str:
        if status in REFUSED:
            return (
                f"The vector index at {self.url} refuses the API key (HTTP {status}). "
                "Set the key of this cluster; nothing is lost meanwhile."
            )
        if status == 404:
            return (
                f"The vector index at {self.url} has no collection {self.collection} yet. "
                "It is made when the first post is indexed."
            )
        detail = content[:300].decode(errors="replace")
        return f"The vector index at {self.url} refused a request (HTTP {status}): {detail}"


@contextmanager
def _without_fastembed() -> Generator[None, None, None]:
    """Keep qdrant-client from loading fastembed, which it does at import and once more at construction.

    It would embed texts itself, which is done elsewhere: 40 MB and half a second for nothing. A module that stands as
    None in `sys.modules` cannot be imported.
    """
    if "fastembed" in sys.modules:
        yield
        return
    sys.modules["fastembed"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["fastembed"]


def _qdrant_client() -> Any:
    with _without_fastembed():
        return importlib.import_module("qdrant_client")


def _vectors_of(collection: models.CollectionInfo) -> dict[str, models.VectorParams]:
    present = collection.config.params.vectors
    return present if isinstance(present, dict) else {}


def _bodies(points: Sequence[VectorPoint]) -> list[dict[str, Any]]:
    """The points as Qdrant takes them, each with the one vector of its own space."""
    import numpy as np

    bodies: list[dict[str, Any]] = []
    for space, group in groupby(points, key=lambda point: point.vector.space):
        some = list(group)
        rows = np.round(np.asarray([point.vector.values for point in some], np.float64), _VECTOR_DIGITS)
        bodies += [
            {"id": point.pk, "vector": {space.name: row}, "payload": point.payload}
            for point, row in zip(some, rows.tolist(), strict=True)
        ]
    return bodies


def _search_params() -> models.SearchParams:
    from qdrant_client import models

    rescoring = models.QuantizationSearchParams(rescore=True, oversampling=OVERSAMPLING)
    return models.SearchParams(hnsw_ef=SEARCH_EF, quantization=rescoring)


def _filter(filters: SearchFilters, within: Within) -> models.Filter | None:
    from qdrant_client import models

    def is_any(field: str, values: Sequence[str] | Sequence[int]) -> models.FieldCondition:
        return models.FieldCondition(key=field, match=models.MatchAny(any=list(values)))  # type: ignore[arg-type]

    wanted = [("author", filters.author), ("lang", filters.lang), ("source", filters.source)]
    wanted += [("entities", entity) for entity in (filters.entity, *within.entities)]
    must: list[models.Condition] = [
        models.FieldCondition(key=key, match=models.MatchValue(value=value))
        for key, value in wanted
        if value is not None
    ]
    if filters.since is not None or filters.until is not None:
        must.append(models.FieldCondition(key=TIME_FIELD, range=models.Range(gte=filters.since, lt=filters.until)))
    # As exclusions, so that points which an earlier release wrote without these fields pass.
    must_not: list[models.Condition] = []
    if within.not_entities:
        must_not.append(is_any("entities", within.not_entities))
    if within.not_fingerprints:
        must_not.append(is_any(FINGERPRINT_FIELD, within.not_fingerprints))
    if within.up_to_pk is not None:
        must_not.append(models.FieldCondition(key=PK_FIELD, range=models.Range(gt=within.up_to_pk)))
    return models.Filter(must=must or None, must_not=must_not or None) if must or must_not else None
