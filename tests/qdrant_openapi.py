"""Holds what a `QdrantIndex` sends and receives against Qdrant's own description of its API.

`data/qdrant-openapi-1.19.json` is the file `docs/redoc/master/openapi.json` of https://github.com/qdrant/qdrant at its
release 1.19 (Apache-2.0), unchanged.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import httpx
from openapi_schema_validator import OAS30Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT4

from tests.vector_engine import InProcess

DESCRIPTION = Path(__file__).parent / "data" / "qdrant-openapi-1.19.json"
ROOT = "urn:qdrant"
Json = Any


class OutsideTheContract(AssertionError):
    """A request that Qdrant does not describe, or an answer that it would not give."""


class Contract:
    """Qdrant's description of its API."""

    def __init__(self) -> None:
        document = json.loads(DESCRIPTION.read_text("utf-8"))
        self.version: str = document["info"]["version"]
        self._paths = document["paths"]
        self._answers = _registry(document)
        self._requests = _registry(_closed(document))
        self._patterns = [
            (re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path)) + "$"), path)
            for path in sorted(self._paths, key=lambda path: path.count("{"))
        ]

    def check(self, request: httpx.Request, response: httpx.Response) -> str:
        """Return the operation that the exchange belongs to.

        Raises:
            OutsideTheContract: naming what is wrong.
        """
        path = next((path for pattern, path in self._patterns if pattern.match(request.url.path)), None)
        operation = None if path is None else self._paths[path].get(request.method.lower())
        name = f"{request.method} {path or request.url.path}"
        if operation is None:
            raise OutsideTheContract(f"{name} is not an operation of Qdrant {self.version}")
        self._check_parameters(name, operation, request)
        schema = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
        if request.content:
            if schema is None:
                raise OutsideTheContract(f"{name} takes no body")
            if request.headers.get("content-type") != "application/json":
                raise OutsideTheContract(f"{name} needs its content type")
            _validate(f"{name}, request", json.loads(request.content), schema, self._requests)
        responses = operation["responses"]
        known = responses.get(str(response.status_code)) or responses.get(f"{response.status_code // 100}XX")
        if known is None:
            raise OutsideTheContract(f"{name} is never answered with {response.status_code}")
        described = known["content"]["application/json"]["schema"]
        _validate(f"{name}, {response.status_code}", json.loads(response.content), described, self._answers)
        return name

    def _check_parameters(self, name: str, operation: Json, request: httpx.Request) -> None:
        described = {parameter["name"]: parameter for parameter in operation.get("parameters", [])}
        for key, text in request.url.params.multi_items():
            if key not in described:
                raise OutsideTheContract(f"{name} has no parameter {key}")
            value = json.loads(text) if text in {"true", "false"} or text.isdecimal() else text
            _validate(f"{name}, parameter {key}", value, described[key]["schema"], self._requests)


@cache
def contract() -> Contract:
    return Contract()


class Checked(InProcess):
    """An engine in strict mode, each exchange with which is held against the contract."""

    def __init__(self) -> None:
        super().__init__(strict=True)
        self.seen: set[tuple[str, int]] = set()
        """Operations and the statuses that they were answered with."""
        self.violations: list[str] = []
        """What the index makes of an error is that the engine is not available, so a test looks here."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        await response.aread()
        try:
            self.seen.add((contract().check(request, response), response.status_code))
        except OutsideTheContract as violation:
            self.violations.append(str(violation))
        return response


def _registry(document: Json) -> Registry:
    return Registry().with_resource(ROOT, Resource.from_contents(_rooted(document), default_specification=DRAFT4))


def _rooted(node: Json) -> Json:
    """References with the name of the document, so that a schema can be taken out of its place."""
    if isinstance(node, dict):
        return {
            key: ROOT + value if key == "$ref" and isinstance(value, str) else _rooted(value)
            for key, value in node.items()
        }
    return [_rooted(entry) for entry in node] if isinstance(node, list) else node


def _closed(node: Json) -> Json:
    """Objects with no other properties than those described: a real server ignores a misspelt one in silence."""
    if isinstance(node, dict):
        inner = {key: _closed(value) for key, value in node.items()}
        if inner.get("type") == "object" and "properties" in inner and "additionalProperties" not in inner:
            inner["additionalProperties"] = False
        return inner
    return [_closed(entry) for entry in node] if isinstance(node, list) else node


def _validate(what: str, value: Json, schema: Json, registry: Registry) -> None:
    errors = sorted(OAS30Validator(_rooted(schema), registry=registry).iter_errors(value), key=lambda e: list(e.path))
    if errors:
        raise OutsideTheContract(f"{what}: {errors[0].json_path}: {errors[0].message[:300]}")
