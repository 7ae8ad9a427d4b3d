"""Events as API Gateway shapes them."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

ACCOUNT = "123456789012"


def http_event(
    method: str,
    path: str,
    *,
    query: Mapping[str, str] | str = "",
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    source_ip: str = "203.0.113.7",
    request_id: str = "r1",
) -> dict[str, Any]:
    """An HTTP API event, payload format 2.0."""
    text = query if isinstance(query, str) else urlencode(query)
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": text,
        "headers": {"host": "api.example.com", "x-forwarded-for": source_ip, **(headers or {})},
        "requestContext": {
            "accountId": ACCOUNT,
            "apiId": "local",
            "domainName": "api.example.com",
            "http": {
                "method": method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": source_ip,
                "userAgent": (headers or {}).get("user-agent", "rehearsal"),
            },
            "requestId": request_id,
            "routeKey": "$default",
            "stage": "$default",
            "time": datetime.now(UTC).strftime("%d/%b/%Y:%H:%M:%S +0000"),
            "timeEpoch": int(datetime.now(UTC).timestamp() * 1000),
        },
        "isBase64Encoded": bool(body),
    }
    if body:
        event["body"] = base64.b64encode(body).decode()
    return event


def socket_event(
    route: str,
    connection_id: str,
    *,
    kind: str = "MESSAGE",
    body: str | None = None,
    query: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """A WebSocket API event; `kind` is CONNECT, MESSAGE or DISCONNECT."""
    event: dict[str, Any] = {
        "requestContext": {
            "routeKey": route,
            "eventType": kind,
            "connectionId": connection_id,
            "domainName": "ws.example.com",
            "stage": "live",
            "apiId": "local",
            "requestId": "r1",
            "connectedAt": int(datetime.now(UTC).timestamp() * 1000),
        },
        "isBase64Encoded": False,
    }
    if body is not None:
        event["body"] = body
    if query:
        event["queryStringParameters"] = dict(query)
    return event
