"""Qdrant's REST routes over the engine, as an ASGI application. Every answer has Qdrant's envelope."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from importlib import metadata
from typing import Any, TypeAlias, TypeVar

import msgspec

from groundswell.adapters.qdrant_embedded import wire
from groundswell.adapters.qdrant_embedded.engine import Engine
from groundswell.adapters.qdrant_embedded.shard import Schema, VectorSchema
from groundswell.adapters.qdrant_embedded.wire import Refused

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 64 * 2**20
_ACKNOWLEDGED = {"operation_id": 0, "status": "completed"}

Message: TypeAlias = dict[str, Any]
Handler: TypeAlias = Callable[..., Awaitable[Any]]
T = TypeVar("T")


class Routes:
    """One method for each thing that the engine speaks; what is missing here is answered with 501."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
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
        raise Refused(501, f"the embedded engine does not speak {method} {path}: use a Qdrant server for it")

    def _of_collection(self, method: str, rest: list[str]) -> Handler | None:
        handlers: dict[tuple[str, ...], Handler] = {
            ("GET",): self.describe,
            ("PUT",): self.create,
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
            "title": "Groundswell's embedded engine, speaking a part of Qdrant's REST API",
            "version": metadata.version("qdrant-edge-py"),
        }

    async def healthy(self, _body: bytes) -> Any:
        return {"title": "ok", "collections": len(self._engine.collections)}

    # ------------------------------------------------------------------ collections
    async def list_collections(self, _body: bytes) -> Any:
        return {"collections": [{"name": name} for name in sorted(self._engine.collections)]}

    async def exists(self, _body: bytes, name: str) -> Any:
        return {"exists": name in self._engine.collections}

    async def create(self, body: bytes, name: str) -> Any:
        request = self._decode(body, wire.CreateCollection)
        vectors = {key: VectorSchema(params.size, params.distance) for key, params in request.vectors.items()}
        self._engine.create(name, Schema(vectors, {}))
        return True

    async def drop(self, _body: bytes, name: str) -> Any:
        return self._engine.delete(name)

    async def describe(self, _body: bytes, name: str) -> Any:
        collection = self._engine.collection(name)
        points = collection.count()
        return {
            "status": "green",
            "optimizer_status": "ok",
            "points_count": points,
            "indexed_vectors_count": collection.indexed_count(),
            "segments_count": 1 + len(collection.sealed),
            "config": {
                "params": {
                    "vectors": {
                        key: {"size": vector.size, "distance": vector.distance}
                        for key, vector in collection.schema.vectors.items()
                    }
                },
                "hnsw_config": {"m": 0, "ef_construct": 100, "full_scan_threshold": 1_000_000},
                "optimizer_config": {
                    "deleted_threshold": 0.2,
                    "vacuum_min_vector_number": 1_000,
                    "default_segment_number": 0,
                    "flush_interval_sec": 5,
                },
            },
            "payload_schema": {
                field: {"data_type": params.type, "points": points}
                for field, params in collection.schema.indexes.items()
            },
        }

    async def create_vector(self, body: bytes, name: str, vector: str) -> Any:
        dense = self._decode(body, wire.CreateVectorName).dense
        await self._engine.collection(name).add_vector(vector, VectorSchema(dense.size, dense.distance))
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
        if request.points is not None:
            await collection.delete(request.points)
        elif request.filter is not None:
            await collection.delete_matching(request.filter)
        return _ACKNOWLEDGED

    async def query(self, body: bytes, name: str, *_: str) -> Any:
        return {"points": self._engine.collection(name).query(self._decode(body, wire.Query))}

    async def query_batch(self, body: bytes, name: str, *_: str) -> Any:
        collection = self._engine.collection(name)
        return [{"points": collection.query(query)} for query in self._decode(body, wire.QueryBatch).searches]

    async def scroll(self, body: bytes, name: str, *_: str) -> Any:
        return self._engine.collection(name).scroll(self._decode(body, wire.Scroll))

    async def count(self, body: bytes, name: str, *_: str) -> Any:
        return {"count": self._engine.collection(name).count(self._decode(body, wire.Count).filter)}

    async def retrieve(self, body: bytes, name: str) -> Any:
        return self._engine.collection(name).retrieve(self._decode(body, wire.Retrieve))

    def _decode(self, body: bytes, kind: type[T]) -> T:
        try:
            return self._decoders[kind].decode(body)
        except msgspec.ValidationError as error:
            unknown = "unknown field" in str(error)
            raise Refused(501 if unknown else 400, f"Format error in JSON body: {error}") from error
        except msgspec.DecodeError as error:
            raise Refused(400, f"Format error in JSON body: {error}") from error


class App:
    """The ASGI application."""

    def __init__(self, engine: Engine) -> None:
        self._routes = Routes(engine)
        self._encoder = msgspec.json.Encoder()

    async def __call__(self, scope: Message, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"the embedded engine speaks HTTP only, not {scope['type']}")
        started = asyncio.get_running_loop().time()
        status = 200
        try:
            body = await _read(receive)
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
        answer["time"] = asyncio.get_running_loop().time() - started
        content = self._encoder.encode(answer)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})


async def _read(receive: Any) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(400, "the client went away before its request was complete")
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise Refused(413, f"a request body is at most {MAX_BODY_BYTES} bytes: send fewer points at once")
        chunks.append(chunk)
        if not message.get("more_body"):
            return b"".join(chunks)
