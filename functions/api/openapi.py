"""The OpenAPI document: what FastAPI derives from the routes, made exact about errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI

from functions.api.problems import PROBLEM_JSON
from functions.api.routing import AnswerRoute

DESCRIPTION: Final = """\
Live social streams: what is gathering momentum, searchable by meaning.

Reading is open; writing needs an API key as `Authorization: Bearer …`. Times are RFC 3339 in UTC. Listings answer
`{"data", "next_cursor", "as_of", "degraded"}`: give `next_cursor` back as `cursor` for the next page. Errors are
problem documents (RFC 9457). Answers carry an `ETag`: send it back as `If-None-Match` to be told that nothing changed.

Live frames come over a WebSocket at `/v1/ws`: send `{"action": "subscribe", "topics": ["momentum",
"posts?entity=$BTC"]}`. After a break, `/v1/events?cursor=` gives again what was missed.
"""

PROBLEMS: Final[Mapping[int, str]] = {
    400: "The request cannot work as sent; `field` names the part at fault.",
    401: "An API key is needed, or this one is not known.",
    404: "There is no such thing.",
    406: "Not available in a form that the Accept header allows.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    429: "Too many requests from this address: wait for as long as `Retry-After` says.",
    500: "Something went wrong on our side.",
    503: "The store is not available: retry after as long as `Retry-After` says.",
}
RATE_HEADERS: Final[Mapping[str, Any]] = {
    "RateLimit": {"description": "Requests that remain, and seconds until all are back.", "schema": {"type": "string"}},
    "RateLimit-Policy": {"description": "Requests allowed a window.", "schema": {"type": "string"}},
}


def build(app: FastAPI, *, version: str, public_url: str) -> dict[str, Any]:
    """The document for the routes of `app`."""
    # A process that answers requests for data never needs these.
    from fastapi.openapi.utils import get_openapi

    from functions.api.models import Problem

    for route in app.routes:
        if isinstance(route, AnswerRoute):
            route.describe()
    document = get_openapi(
        title="Groundswell",
        version=version,
        summary="Real-time intelligence on live social streams",
        description=DESCRIPTION,
        routes=app.routes,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        servers=[{"url": public_url}] if public_url else None,
    )
    schemas: dict[str, Any] = document.setdefault("components", {}).setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas["Problem"] = Problem.model_json_schema()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            _finish(path, method, operation)
    return document


def _finish(path: str, method: str, operation: dict[str, Any]) -> None:
    responses: dict[str, Any] = operation["responses"]
    responses.pop("422", None)
    limited = path.startswith("/v1/")
    if limited:
        for response in responses.values():
            response["headers"] = {**RATE_HEADERS}
    if method == "get" and "security" in operation:
        # Everybody may read; a key shows more.
        operation["security"] = [{}, *operation["security"]]
    cached = method == "get" and path not in ("/healthz", "/readyz", "/v1/export")
    if cached:
        responses["200"].setdefault("headers", {})["ETag"] = {"schema": {"type": "string"}}
        responses["304"] = {
            "description": "You have this answer already.",
            "headers": {**RATE_HEADERS} if limited else {},
        }
    for status in _problems_of(path, method, operation):
        responses[str(status)] = {
            "description": PROBLEMS[status],
            "content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }


def _problems_of(path: str, method: str, operation: dict[str, Any]) -> list[int]:
    statuses = {400, 406, 500}
    if "{" in path:
        statuses.add(404)
    if "security" in operation:
        statuses.add(401)
    if method == "post":
        statuses |= {413, 415}
    if path.startswith("/v1/"):
        statuses.add(429)
    if path not in ("/healthz", "/config.json"):
        statuses.add(503)
    return sorted(statuses)
