"""Qdrant's REST routes over the engine, as an ASGI application. Every answer has Qdrant's envelope."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from importlib import metadata
from typing import Any, TypeAlias, TypeVar
from urllib.parse import parse_qsl

import msgspec

from groundswell.adapters.qdrant_embedded import wire
from groundswell.adapters.qdrant_embedded.access import Access
from groundswell.adapters.qdrant_embedded.engine import Engine
from groundswell.adapters.qdrant_embedded.limits import (
    MAX_BODIES_BYTES,
    MAX_BODY_BYTES,
    MAX_JSON_VALUES,
    MAX_LIMIT,
    MAX_SEARCHES,
    at_most,
    check_payload,
)
from groundswell.adapters.qdrant_embedded.refused import Refused
from groundswell.adapters.qdrant_embedded.shard import Schema, VectorSchema

log = logging.getLogger(__name__)

API_VERSION = "1.19.0"
"""The release of Qdrant whose API this is a part of."""
_OUT_OF_BOUNDS = re.compile(r"Expected `\w+` (>=|<=)")
_ACKNOWLEDGED = {"operation_id": 0, "status": "completed"}

Message: TypeAlias = dict[str, Any]
Handler: TypeAlias = Callable[..., Awaitable[Any]]
T = TypeVar("T")


class Routes:
    """One method for each thing that the engine speaks; what is missing here is answered with 501."""

    def __init__(self, engine: Engine, *, strict: bool) -> None:
        self._engine = engine
        self._strict = strict
        self._decoders: dict[type[Any], msgspec.json.Decoder[Any]] = {
            kind: msgspec.json.Decoder(kind) for kind in wire.REQUESTS
        }

    def find(self, method: str, path: str) -> tuple[Handler, list[str]]:
        """The handler of a request and the names in its path.

        Raises:
            Refused: 501 for what is not spoken.
        """
        parts = path.strip("/").split("/")
        match method, parts:
            case "GET", [""]:
                return self.about, []
            case "GET", ["healthz" | "readyz" | "livez"]:
                return self.healthy, []
            case "GET", ["collections"]:
                return self.list_collections, []
            case _, ["collections", name, *rest]:
                handler = self._of_collection(method, rest)
                if handler is not None:
                    return handler, [name, *rest[1:]]
            case _:
                pass
        raise Refused(501, f"the embedded engine does not speak {method} {path[:300]}: use a Qdrant server for it")

    def _of_collection(self, method: str, rest: list[str]) -> Handler | None:
        handlers: dict[tuple[str, ...], Handler] = {
            ("GET",): self.describe,
            ("PUT",): self.create,
            ("PATCH",): self.update,
            ("DELETE",): self.drop,
            ("GET", "exists"): self.exists,
            ("PUT", "index"): self.create_index,
            ("PUT", "points"): self.upsert,
            ("POST", "points"): self.retrieve,
            ("POST", "points", "delete"): self.delete_points,
            ("POST", "points", "query"): self.query,
            ("POST", "points", "query", "batch"): self.query_batch,
            ("POST", "points", "scroll"): self.scroll,
            ("POST", "points", "count"): self.count,
        }
        if len(rest) == 2 and rest[0] == "vectors" and method in {"PUT", "DELETE"}:
            return self.create_vector if method == "PUT" else self.drop_vector
        return handlers.get((method, *rest))

    # ------------------------------------------------------------------ service
    async def about(self, _body: bytes) -> Any:
        return {
            "title": f"Groundswell's embedded engine (qdrant-edge-py {metadata.version('qdrant-edge-py')})",
            "version": API_VERSION,
        }

    async def healthy(self, _body: bytes) -> Any:
        return {"title": "ok"}

    # ------------------------------------------------------------------ collections
    async def list_collections(self, _body: bytes) -> Any:
        return {"collections": [{"name": name} for name in sorted(self._engine.collections)]}

    async def exists(self, _body: bytes, name: str) -> Any:
        return {"exists": name in self._engine.collections}

    async def create(self, body: bytes, name: str) -> Any:
        request = self._decode(body, wire.CreateCollection)
        vectors: dict[str, VectorSchema] = {}
        for key, params in request.vectors.items():
            given = msgspec.to_builtins(params)
            del given["size"], given["distance"]
            vectors[key] = VectorSchema(params.size, params.distance, params.datatype, given)
        settings = ("on_disk_payload", "payload", "quantization_config", "hnsw_config", "optimizers_config")
        asked = {key: msgspec.to_builtins(getattr(request, key)) for key in settings}
        given = {key: value for key, value in asked.items() if value is not None}
        self._engine.create(name, Schema(vectors, {}, given))
        return True

    async def update(self, body: bytes, name: str) -> Any:
        request = self._decode(body, wire.UpdateCollection)
        vectors = {key: msgspec.to_builtins(diff) for key, diff in (request.vectors or {}).items()}
        settings = ("quantization_config", "hnsw_config", "optimizers_config")
        asked = {key: msgspec.to_builtins(getattr(request, key)) for key in settings}
        check_payload([vectors, asked])
        self._engine.collection(name).update(vectors, {key: value for key, value in asked.items() if value})
        return True

    async def drop(self, _body: bytes, name: str) -> Any:
        return self._engine.delete(name)

    async def describe(self, _body: bytes, name: str) -> Any:
        collection = self._engine.collection(name)
        points = collection.count()
        given = collection.schema.given
        params = {key: given[key] for key in ("on_disk_payload", "payload") if key in given}
        return {
            "status": "green",
            "optimizer_status": "ok",
            "points_count": points,
            "indexed_vectors_count": collection.indexed_count(),
            "segments_count": 1 + len(collection.sealed),
            "config": {
                "params": {
                    "vectors": {
                        key: {"size": vector.size, "distance": vector.distance, **vector.given}
                        for key, vector in collection.schema.vectors.items()
                    },
                    **params,
                },
                "hnsw_config": {
                    "m": 16,
                    "ef_construct": 100,
                    "full_scan_threshold": 10_000,
                    **given.get("hnsw_config", {}),
                },
                "optimizer_config": {
                    "deleted_threshold": 0.2,
                    "vacuum_min_vector_number": 1_000,
                    "default_segment_number": 0,
                    "flush_interval_sec": 5,
                    **given.get("optimizers_config", {}),
                },
                "quantization_config": given.get("quantization_config"),
            },
            "payload_schema": {
                field: {"data_type": index.type, "params": index, "points": points}
                for field, index in collection.schema.indexes.items()
            },
        }

    async def create_vector(self, body: bytes, name: str, vector: str) -> Any:
        dense = self._decode(body, wire.CreateVectorName).dense
        given = {} if dense.datatype is None else {"datatype": dense.datatype}
        await self._engine.collection(name).add_vector(
            vector, VectorSchema(dense.size, dense.distance, dense.datatype, given)
        )
        return _ACKNOWLEDGED

    async def drop_vector(self, _body: bytes, name: str, vector: str) -> Any:
        await self._engine.collection(name).drop_vector(vector)
        return _ACKNOWLEDGED

    async def create_index(self, body: bytes, name: str) -> Any:
        request = self._decode(body, wire.CreateIndex)
        await self._engine.collection(name).add_index(request.field_name, request.params())
        return _ACKNOWLEDGED

    # ------------------------------------------------------------------ points
    async def upsert(self, body: bytes, name: str) -> Any:
        collection = self._engine.collection(name)
        await collection.upsert(self._decode(body, wire.Upsert).points)
        return _ACKNOWLEDGED

    async def delete_points(self, body: bytes, name: str, *_: str) -> Any:
        collection = self._engine.collection(name)
        request = self._decode(body, wire.DeletePoints)
        if (request.points is None) == (request.filter is None):
            raise Refused(400, "a deletion names either points or a filter")
        self._check_strict(name, request.filter)
        if request.points is not None:
            await collection.delete(request.points)
        elif request.filter is not None:
            await collection.delete_matching(request.filter)
        return _ACKNOWLEDGED

    async def query(self, body: bytes, name: str, *_: str) -> Any:
        query = self._decode(body, wire.Query)
        self._check_strict(name, query.filter)
        return {"points": self._engine.collection(name).query(query)}

    async def query_batch(self, body: bytes, name: str, *_: str) -> Any:
        collection = self._engine.collection(name)
        batch = self._decode(body, wire.QueryBatch).searches
        at_most(len(batch), MAX_SEARCHES, "search batch size")
        at_most(sum(query.limit + query.offset for query in batch), MAX_LIMIT, "limit of a batch")
        for query in batch:
            self._check_strict(name, query.filter)
        return [{"points": collection.query(query)} for query in batch]

    async def scroll(self, body: bytes, name: str, *_: str) -> Any:
        scroll = self._decode(body, wire.Scroll)
        self._check_strict(name, scroll.filter)
        return self._engine.collection(name).scroll(scroll)

    async def count(self, body: bytes, name: str, *_: str) -> Any:
        count = self._decode(body, wire.Count)
        self._check_strict(name, count.filter)
        return {"count": self._engine.collection(name).count(count.filter)}

    async def retrieve(self, body: bytes, name: str) -> Any:
        return self._engine.collection(name).retrieve(self._decode(body, wire.Retrieve))

    def _check_strict(self, name: str, narrowed: wire.Filter | None) -> None:
        if not self._strict:
            return
        wire.check_filter(narrowed)
        field = wire.unindexed(narrowed, self._engine.collection(name).schema.indexes)
        if field is not None:
            raise Refused(400, f'Bad request: Index required but not found for "{field}". Create an index for this key')

    def _decode(self, body: bytes, kind: type[T]) -> T:
        at_most(body.count(b","), MAX_JSON_VALUES, "values in a body")
        try:
            return self._decoders[kind].decode(body)
        except RecursionError:
            raise Refused(400, "Format error in JSON body: recursion limit exceeded") from None
        except msgspec.ValidationError as error:
            if _OUT_OF_BOUNDS.search(str(error)):
                raise Refused(422, f"Validation error in JSON body: [{error}]") from error
            unknown = "unknown field" in str(error)
            raise Refused(501 if unknown else 400, f"Format error in JSON body: {error}") from error
        except msgspec.DecodeError as error:
            raise Refused(400, f"Format error in JSON body: {error}") from error


class App:
    """The ASGI application.

    Args:
        access: who may ask; None for everybody.
        strict: refuse filters on fields without an index that serves them, as Qdrant Cloud does.
    """

    def __init__(self, engine: Engine, *, access: Access | None = None, strict: bool = False) -> None:
        self._routes = Routes(engine, strict=strict)
        self._access = access or Access()
        self._encoder = msgspec.json.Encoder()
        self._bodies = Bodies()

    async def __call__(self, scope: Message, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"the embedded engine speaks HTTP only, not {scope['type']}")
        started = asyncio.get_running_loop().time()
        status, body = 200, b""
        headers = {name.lower(): value for name, value in scope["headers"]}
        refusal = self._access.refusal(scope["path"], headers)
        if refusal is not None:
            await _answer(send, refusal[0], b"text/plain; charset=utf-8", refusal[1].encode())
            return
        try:
            body = await self._bodies.read(receive)
            _check_parameters(scope.get("query_string", b""))
            _check_content_type(body, headers)
            handler, names = self._routes.find(scope["method"], scope["path"])
            result = await handler(body, *names)
            answer: Message = {"result": result, "status": "ok"}
            if scope["path"] == "/":
                answer = result
        except Refused as refused:
            status, answer = refused.status, {"status": {"error": str(refused)}}
        except Exception as error:  # the engine raises nothing narrower
            log.exception("%s %s failed", scope["method"], scope["path"])
            status, answer = 500, {"status": {"error": f"Service internal error: {error}"}}
        finally:
            self._bodies.let_go(len(body))
        answer["time"] = asyncio.get_running_loop().time() - started
        await _answer(send, status, b"application/json", self._encoder.encode(answer))


async def _answer(send: Any, status: int, kind: bytes, content: bytes) -> None:
    headers = [(b"content-type", kind), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


def _check_parameters(query: bytes) -> None:
    """Of `wait` and `timeout`, which are otherwise without effect: a write is applied when it is answered."""
    for name, value in parse_qsl(query.decode(errors="replace"), keep_blank_values=True):
        if name == "wait" and value not in {"true", "false"}:
            raise Refused(400, f"Format error in query parameters: invalid value for wait: {value!r}")
        if name == "timeout":
            if not value.isascii() or not value.isdecimal():
                raise Refused(400, f"Format error in query parameters: invalid value for timeout: {value!r}")
            if int(value) < 1:
                raise Refused(422, "Validation error in query parameters: [timeout: must be 1 or larger]")


def _check_content_type(body: bytes, headers: dict[bytes, bytes]) -> None:
    kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if body and kind != b"application/json":
        raise Refused(400, "Format error in JSON body: Content type error")


class Bodies:
    """Reads the bodies of requests, and bounds what they hold together."""

    def __init__(self) -> None:
        self.held = 0

    async def read(self, receive: Any) -> bytes:
        """Return the whole body; `let_go` ends its being counted.

        Raises:
            Refused: it is too large, or others are too large for one more.
        """
        chunks: list[bytes] = []
        size = 0
        try:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Refused(400, "the client went away before its request was complete")
                chunk = message.get("body", b"")
                size += len(chunk)
                self.held += len(chunk)
                if size > MAX_BODY_BYTES:
                    raise Refused(
                        400, f"Payload error: JSON payload is larger than allowed (limit: {MAX_BODY_BYTES} bytes)"
                    )
                if self.held > MAX_BODIES_BYTES:
                    raise Refused(503, "Service unavailable: other requests hold too many bytes. Ask again in a moment")
                chunks.append(chunk)
                if not message.get("more_body"):
                    return b"".join(chunks)
        except BaseException:
            self.let_go(size)
            raise

    def let_go(self, size: int) -> None:
        self.held -= size
