"""What AWS Lambda refuses: events of a kind that a function was not made for, and results that are too large."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Literal, cast

from groundswell.errors import InternalError, InvalidRequest

MAX_RESULT_BYTES = 6_291_556
"""Lambda refuses a larger result (`Function.ResponseSizeTooLarge`), and API Gateway answers the client 502."""
BASE64_ABOVE_BYTES = 1_000_000
"""A body of more bytes travels in base64. Its size is then known: as text, each quote of it would be escaped."""
HEADER_ROOM_BYTES = 32_768

_REQUIRED = {"http": ("http", "requestId"), "websocket": ("routeKey", "connectionId")}
_EXPECTED = {
    "http": "HTTP API events of payload format 2.0",
    "websocket": "events of a WebSocket API",
}


def require_event(event: Mapping[str, Any], kind: Literal["http", "websocket"]) -> Mapping[str, Any]:
    """The request context of an event.

    Raises:
        InvalidRequest: the event is of another kind, such as one of EventBridge or of a REST API.
    """
    context = event.get("requestContext")
    if not isinstance(context, Mapping) or not all(name in context for name in _REQUIRED[kind]):
        shape = ", ".join(sorted(str(name)[:40] for name in event)[:8]) or "nothing"
        raise InvalidRequest(
            f"This function answers {_EXPECTED[kind]}. The event has {shape}: invoke it through its API.", field="event"
        )
    return cast("Mapping[str, Any]", context)


def sendable(result: dict[str, Any]) -> dict[str, Any]:
    """The result in a form that Lambda takes.

    Raises:
        InternalError: it is too large in any form. Routes end their answers before that.
    """
    body = result.get("body")
    if not isinstance(body, str) or len(body) * 4 <= BASE64_ABOVE_BYTES:
        return result
    if not result.get("isBase64Encoded"):
        raw = body.encode()
        if len(raw) <= BASE64_ABOVE_BYTES:
            return result
        body = base64.b64encode(raw).decode()
        result = {**result, "body": body, "isBase64Encoded": True}
    if len(body) + HEADER_ROOM_BYTES > MAX_RESULT_BYTES:
        raise InternalError(f"The result has {len(body)} bytes; AWS Lambda takes {MAX_RESULT_BYTES}, headers included.")
    return result
