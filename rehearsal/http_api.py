"""An HTTP API of API Gateway: its routes, its limits, and the events that it makes of requests.

https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from rehearsal.deployed import DeployedApi
from rehearsal.events import http_event
from rehearsal.local_lambda import FunctionFailed, LocalFunction, PayloadTooLarge
from rehearsal.throttle import Throttle

BODY_LIMIT_BYTES = 10 * 1024 * 1024
INTEGRATION_LIMIT_S = 30.0
_TEXT_TYPES = re.compile(r"text/.*|application/(json|javascript|xml|.*\+json|.*\+xml)")
"""Bodies of these types reach a function as text; every other type in base64."""


@dataclass(frozen=True)
class Request:
    """One request as it arrives at an origin."""

    method: str
    path: str
    """As it is on the wire, with its percent signs."""
    query: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    source_ip: str
    """The peer of the connection."""


async def read_body(request: web.Request) -> bytes | None:
    """Return the body, or None where it is larger than API Gateway takes."""
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        return None


class HttpApi:
    """Answers requests by the functions that the deployed routes lead to.

    Args:
        functions: the processes of deployed functions, by ARN.
        limit_s: how long an integration may take.
    """

    def __init__(
        self, api: DeployedApi, functions: Mapping[str, LocalFunction], *, limit_s: float = INTEGRATION_LIMIT_S
    ) -> None:
        self.host = api.host
        self._routes = api.routes
        self._functions = functions
        self._limit_s = limit_s
        self._throttle = Throttle(api.rate, api.burst)

    async def answer(self, request: Request | None) -> web.Response:
        """Answer one request; None stands for one whose body is too large."""
        if request is None:
            return _message(413, "Request Entity Too Large")
        # HTTP APIs hand on the decoded path, and cut it at a question mark that was encoded.
        path = unquote(request.path).partition("?")[0]
        route, parameters = self._route_of(request.method, path)
        if request.headers.get("host", "").partition(":")[0] != self.host:
            return _message(403, "Forbidden")
        if route is None:
            return _message(404, "Not Found")
        if not self._throttle.take():
            return _message(429, "Too Many Requests")
        return await self._integration(route, self._event(request, route, path, parameters))

    async def _integration(self, route: str, event: Mapping[str, Any]) -> web.Response:
        """Return what the function of a route answers, or API Gateway's own answer where it fails."""
        function = self._functions[self._routes[route]]
        try:
            return _response(await asyncio.wait_for(function.invoke(event), self._limit_s))
        except TimeoutError:
            return _message(503, "Service Unavailable")
        except PayloadTooLarge:
            return _message(413, "Request Entity Too Large")
        except FunctionFailed:
            return _message(500, "Internal Server Error")

    @staticmethod
    def _event(request: Request, route: str, path: str, parameters: Mapping[str, str]) -> dict[str, Any]:
        headers = dict(request.headers)
        passed = headers.get("x-forwarded-for")
        headers["x-forwarded-for"] = f"{passed}, {request.source_ip}" if passed else request.source_ip
        return http_event(
            request.method,
            path,
            query=request.query,
            headers=headers,
            body=request.body,
            text=bool(_TEXT_TYPES.match(headers.get("content-type", ""))),
            source_ip=request.source_ip,
            route=route,
            path_parameters=parameters,
        )

    def _route_of(self, method: str, path: str) -> tuple[str | None, dict[str, str]]:
        """Return the most specific route, with what its greedy parameter stands for."""
        for key in sorted(self._routes, key=lambda each: (each == "$default", "{" in each, each.startswith("ANY "))):
            if key == "$default":
                return key, {}
            verb, _, pattern = key.partition(" ")
            if verb not in ("ANY", method):
                continue
            found = re.fullmatch(_expression(pattern), path)
            if found is not None:
                return key, found.groupdict()
        return None, {}


def _expression(pattern: str) -> str:
    """Return the expression for a route's path. A greedy parameter takes one segment or more, and never none."""
    parts = re.split(r"(\{\w+\+?\})", pattern)
    return "".join(
        (f"(?P<{part[1:-2]}>.+)" if part.endswith("+}") else f"(?P<{part[1:-1]}>[^/]+)")
        if part.startswith("{")
        else re.escape(part)
        for part in parts
    )


def _response(result: Mapping[str, Any]) -> web.Response:
    """Return what a result of payload format 2.0 says."""
    body = result.get("body") or ""
    answer = web.Response(
        status=result["statusCode"],
        body=base64.b64decode(body) if result.get("isBase64Encoded") else body.encode(),
    )
    for name, value in result.get("headers", {}).items():
        if name.lower() != "content-length":
            answer.headers[name] = str(value)
    for cookie in result.get("cookies", ()):
        answer.headers.add("Set-Cookie", cookie)
    return answer


def _message(status: int, text: str) -> web.Response:
    return web.json_response({"message": text}, status=status)
