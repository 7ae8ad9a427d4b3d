"""What every request and handshake passes on its way in and out: host names, origins, limits, HEAD, safety headers.

One plain ASGI middleware, so that streams stay streams.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from functions.api.host_rules import HostRules
from functions.api.limits import Places, RateLimiter, TrustedProxies
from functions.api.problems import MAX_ECHO_CHARS, problem_response, unexpected
from functions.api.surface import Surface
from groundswell.errors import GroundswellError, InvalidRequest, PayloadTooLarge, TooManyRequests
from groundswell.metrics import Metrics
from groundswell.ports.time import Clock
from groundswell.ports.time_budget import one_request

log = logging.getLogger(__name__)

HEAD_SCOPE_KEY: Final = "groundswell.head"
"""Set in the scope of a GET whose body nobody will see."""

UNCOUNTED: Final = frozenset({"/healthz", "/readyz"})
"""Paths that a health check asks every few seconds. Requests for all others are limited by address."""
API_POLICY: Final = "default-src 'none'; frame-ancestors 'none'"
EXPOSED: Final = "ETag, Allow, Link, RateLimit, RateLimit-Policy, Retry-After, Content-Disposition"
ALLOWED_HEADERS: Final = "Authorization, Content-Type, If-None-Match"
ALLOWED_METHODS: Final = "GET, HEAD, POST, DELETE"
PREFLIGHT_MAX_AGE_S: Final = 600
MAX_BODY_BYTES: Final = 64 * 1024
"""No route takes more; a route may take less."""
WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})


class Edge:
    """Wraps the application. `limiter` is None where requests are not counted."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        clock: Clock,
        metrics: Metrics,
        limiter: RateLimiter | None,
        places: Places,
        proxies: TrustedProxies,
        hosts: HostRules,
        cors_origins: Sequence[str],
        surface: Surface,
    ) -> None:
        self._app = app
        self._surface = surface
        self._clock = clock
        self._metrics = metrics
        self._limiter = limiter
        self._places = places
        self._proxies = proxies
        self._hosts = hosts
        self._any_origin = "*" in cors_origins
        self._origins = frozenset(cors_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._shake_hands(scope, receive, send)
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = self._clock.monotonic()
        try:
            with one_request():
                await self._answer(scope, receive, send)
        finally:
            self._metrics.observe("http_request_seconds", self._clock.monotonic() - started)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        extra = self._cors(headers.get("origin"))
        is_head = scope["method"] == "HEAD"
        reply = _Reply(send, extra, self._metrics, is_head=is_head)
        error = self._hosts.refuse_host(headers.get("host")) or self._count(scope, headers, extra)
        if error is None and (error := self._refuse_body(scope, headers)):
            # What is left of the body is not read, so the connection cannot carry another request.
            extra["Connection"] = "close"
        refusal = None if error is None else problem_response(error, scope["path"])
        if refusal is None and scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            refusal = self._preflight(extra)
        if refusal is not None:
            await refusal(scope, receive, reply)
            return
        if is_head:
            scope = {**scope, "method": "GET", HEAD_SCOPE_KEY: True}
        try:
            await self._app(scope, receive, reply)
        except ClientDisconnect:
            # The client left in the middle of its body. Nobody waits for an answer, and nothing is wrong here.
            self._metrics.inc("http_requests_total", label="client_closed")
        except Exception:
            log.exception("%s %s failed", scope["method"], scope["path"][:MAX_ECHO_CHARS])
            if reply.started:
                # The status is out already; an aborted connection is the only honest end.
                raise
            await unexpected(scope["path"])(scope, receive, reply)

    def _refuse_body(self, scope: Scope, headers: Headers) -> GroundswellError | None:
        """Return why a request with these headers is not read further, or None."""
        method, chunked, length = scope["method"], "transfer-encoding" in headers, headers.get("content-length")
        if chunked and length is not None:
            return InvalidRequest(
                "A request has Content-Length or Transfer-Encoding, never both (RFC 9112, section 6.1)."
            )
        if method not in WITH_BODY and (chunked or length not in (None, "0")):
            served = self._surface.methods_at(scope["path"])
            # A method that the path does not have is 405, whatever comes with it.
            return None if served and method not in served else InvalidRequest(f"{method} takes no body.")
        if length is not None and length.isdigit() and int(length) > MAX_BODY_BYTES:
            return PayloadTooLarge(f"The body has more than {MAX_BODY_BYTES} bytes, which no valid request needs.")
        return None

    async def _shake_hands(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a WebSocket in by its host, its origin, and what its address has left."""
        headers = Headers(scope=scope)
        host = headers.get("host")
        error = (
            self._hosts.refuse_host(host)
            or self._hosts.refuse_origin(host, headers.get("origin"))
            or self._count(scope, headers, {})
        )
        client = self._client(scope, headers)
        if error is None and not self._places.take(client):
            error = TooManyRequests(
                f"This address has {self._places.of_each} live connections open, and may have no more.",
                retry_after_s=60,
            )
        if error is not None:
            # The handshake has to be read before it can be refused.
            await receive()
            await WebSocket(scope, receive, send).send_denial_response(problem_response(error, scope["path"]))
            return
        try:
            await self._app(scope, receive, send)
        finally:
            self._places.give_back(client)

    def _client(self, scope: Scope, headers: Headers) -> str:
        peer = scope["client"][0] if scope.get("client") else None
        return self._proxies.client_of(peer, headers.getlist(self._proxies.header))

    def _count(self, scope: Scope, headers: Headers, extra: dict[str, str]) -> GroundswellError | None:
        if self._limiter is None or scope["path"] in UNCOUNTED:
            return None
        allowance = self._limiter.take(self._client(scope, headers), self._clock.monotonic())
        extra["RateLimit-Policy"] = self._limiter.policy
        extra["RateLimit"] = f'"default";r={allowance.remaining};t={allowance.reset_s}'
        if allowance.allowed:
            return None
        return TooManyRequests(
            "This address has made too many requests: slow down, or read the WebSocket instead of polling.",
            retry_after_s=allowance.retry_after_s,
        )

    def _cors(self, origin: str | None) -> dict[str, str]:
        if self._any_origin:
            return {"Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": EXPOSED}
        if not self._origins:
            return {}
        if origin in self._origins:
            return {
                "Access-Control-Allow-Origin": str(origin),
                "Access-Control-Expose-Headers": EXPOSED,
                "Vary": "Origin",
            }
        return {"Vary": "Origin"}

    @staticmethod
    def _preflight(cors: dict[str, str]) -> Response:
        # Without Access-Control-Allow-Origin among `cors` this answer is a refusal, and browsers say so.
        response = Response(status_code=204)
        if "Access-Control-Allow-Origin" in cors:
            response.headers["Access-Control-Allow-Methods"] = ALLOWED_METHODS
            response.headers["Access-Control-Allow-Headers"] = ALLOWED_HEADERS
            response.headers["Access-Control-Max-Age"] = str(PREFLIGHT_MAX_AGE_S)
        return response


class _Reply:
    """Counts the answer, adds the headers that every answer has, and keeps back the body of an answer to HEAD."""

    def __init__(self, send: Send, extra: dict[str, str], metrics: Metrics, *, is_head: bool) -> None:
        self._send = send
        self._metrics = metrics
        self._extra = extra
        self._is_head = is_head
        self._done = False
        self.started = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            self._metrics.inc("http_requests_total", label=f"{message['status'] // 100}xx")
            headers = MutableHeaders(scope=message)
            headers["X-Content-Type-Options"] = "nosniff"
            headers.setdefault("Content-Security-Policy", API_POLICY)
            headers.setdefault("Referrer-Policy", "no-referrer")
            headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
            for name, value in self._extra.items():
                if name == "Vary":
                    headers.add_vary_header(value)
                else:
                    headers[name] = value
            await self._send(message)
        elif message["type"] != "http.response.body" or not self._is_head:
            await self._send(message)
        elif not self._done:
            self._done = True
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
