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
    text: bool = False,
    source_ip: str = "203.0.113.7",
    request_id: str = "r1",
    route: str = "$default",
    path_parameters: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return an HTTP API event, payload format 2.0. `text` says that the body need not travel in base64."""
    passed = {"host": "api.example.com", "x-forwarded-for": source_ip, **(headers or {})}
    cookies = passed.pop("cookie", "")
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": route,
        "rawPath": path,
        "rawQueryString": query if isinstance(query, str) else urlencode(query),
        "headers": passed,
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
            "routeKey": route,
            "stage": "$default",
            "time": datetime.now(UTC).strftime("%d/%b/%Y:%H:%M:%S +0000"),
            "timeEpoch": int(datetime.now(UTC).timestamp() * 1000),
        },
        "isBase64Encoded": bool(body) and not text,
    }
    if body:
        event["body"] = body.decode() if text else base64.b64encode(body).decode()
    if cookies:
        event["cookies"] = cookies.split("; ")
    if path_parameters:
        event["pathParameters"] = dict(path_parameters)
    return event


def socket_event(
    route: str,
    connection_id: str,
    *,
    kind: str = "MESSAGE",
    body: str | None = None,
    query: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    request_id: str = "r1",
) -> dict[str, Any]:
    """Return a WebSocket API event; `kind` is CONNECT, MESSAGE or DISCONNECT. Messages have no headers."""
    event: dict[str, Any] = {
        "requestContext": {
            "routeKey": route,
            "eventType": kind,
            "connectionId": connection_id,
            "domainName": "ws.example.com",
            "stage": "live",
            "apiId": "local",
            "requestId": request_id,
            "connectedAt": int(datetime.now(UTC).timestamp() * 1000),
        },
        "isBase64Encoded": False,
    }
    if body is not None:
        event["body"] = body
    if query:
        event["queryStringParameters"] = dict(query)
    if headers:
        event["headers"] = dict(headers)
        event["multiValueHeaders"] = {name: [value] for name, value in headers.items()}
    return event
