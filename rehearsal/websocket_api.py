"""A WebSocket API of API Gateway: its routes and limits, and the @connections API that reaches its clients.

https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

from rehearsal.deployed import DeployedApi
from rehearsal.events import socket_event
from rehearsal.frame_limit import limit_frames
from rehearsal.local_lambda import FunctionFailed, LocalFunction
from rehearsal.throttle import Throttle

Authorize = Callable[[web.Request, bytes, str, str], str | None]
"""Returns why a signed request may not do an action to a resource, or None where it may."""


@dataclass(frozen=True)
class Limits:
    """What API Gateway grants a WebSocket API. A test makes times short."""

    frame_bytes: int = 32 * 1024
    message_bytes: int = 128 * 1024
    idle_s: float = 600.0
    life_s: float = 7200.0
    throttled_post: int = 50
    """Every post of this number to a client is refused with 429, as happens under load. Zero refuses none."""


@dataclass
class _Client:
    socket: web.WebSocketResponse
    heard_at: float
    """When a message last came or went."""


class WebSocketApi:
    """Leads messages of clients to the functions of the deployed routes.

    Args:
        functions: the processes of deployed functions, by ARN.
        authorize: asked before a request of the @connections API is carried out.
    """

    def __init__(
        self,
        api: DeployedApi,
        functions: Mapping[str, LocalFunction],
        limits: Limits,
        authorize: Authorize | None = None,
    ) -> None:
        self.host = api.host
        self._api = api
        self._functions = functions
        self._limits = limits
        self._authorize = authorize
        self._throttle = Throttle(api.rate, api.burst)
        self._posts = itertools.count(1)
        self._requests = itertools.count(1)
        self.clients: dict[str, _Client] = {}
        """By connection id."""
        self.refused_posts: list[str] = []
        """Why requests of the @connections API were refused."""

    async def close(self) -> None:
        """Close every socket."""
        for client in tuple(self.clients.values()):
            await client.socket.close()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer a request for a socket, or one of the @connections API."""
        connections = f"/{self._api.stage}/@connections/"
        if request.path.startswith(connections):
            return await self._connection(request, request.path.removeprefix(connections))
        if request.path.rstrip("/") != f"/{self._api.stage}":
            return _message(403, "Forbidden")
        if not self._throttle.take():
            return _message(429, "Too Many Requests")
        connection_id = secrets.token_urlsafe(10) + "="
        try:
            admitted = await self._event(
                "$connect", connection_id, kind="CONNECT", query=dict(request.query), headers=dict(request.headers)
            )
        except FunctionFailed:
            return _message(502, "Internal server error")
        if admitted["statusCode"] >= 300:
            return web.Response(status=admitted["statusCode"])
        # aiohttp refuses a message of its limit as well.
        socket = web.WebSocketResponse(max_msg_size=self._limits.message_bytes + 1, compress=False)
        await socket.prepare(request)
        limit_frames(request, socket, self._limits.frame_bytes)
        client = self.clients[connection_id] = _Client(socket, asyncio.get_running_loop().time())
        keeper = asyncio.create_task(self._end_in_time(client))
        try:
            async for message in socket:
                client.heard_at = asyncio.get_running_loop().time()
                if message.type == WSMsgType.TEXT:
                    await self._message(socket, connection_id, message.data)
                elif message.type == WSMsgType.BINARY:
                    await socket.close(code=WSCloseCode.UNSUPPORTED_DATA)
        finally:
            keeper.cancel()
            self.clients.pop(connection_id, None)
            # Nobody is there who could receive an error.
            with contextlib.suppress(FunctionFailed):
                await self._event("$disconnect", connection_id, kind="DISCONNECT")
        return socket

    async def _end_in_time(self, client: _Client) -> None:
        """Close a socket that is idle, or as old as one may become."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + self._limits.life_s
        while True:
            due = min(ends, client.heard_at + self._limits.idle_s)
            if due <= loop.time():
                await client.socket.close(code=WSCloseCode.GOING_AWAY, message=b"Going away")
                return
            await asyncio.sleep(due - loop.time())

    async def _message(self, socket: web.WebSocketResponse, connection_id: str, text: str) -> None:
        request_id = f"rehearsal-{next(self._requests)}="
        if not self._throttle.take():
            said = "Too Many Requests"
        else:
            try:
                await self._event(self._route_of(text), connection_id, body=text, request_id=request_id)
            except FunctionFailed:
                said = "Internal server error"
            else:
                return
        frame = {"message": said, "connectionId": connection_id, "requestId": request_id}
        # The client may have left while the function ran.
        with contextlib.suppress(ConnectionError):
            await socket.send_str(json.dumps(frame))

    def _route_of(self, text: str) -> str:
        """Return the deployed route that the selection expression chooses, or `$default`."""
        assert self._api.selection == "$request.body.action", self._api.selection
        try:
            action = json.loads(text)["action"]
        except (ValueError, TypeError, KeyError):
            return "$default"
        return action if isinstance(action, str) and action in self._api.routes else "$default"

    async def _event(self, route: str, connection_id: str, **more: Any) -> dict[str, Any]:
        function = self._functions[self._api.routes[route]]
        return await function.invoke(socket_event(route, connection_id, **more))

    # ------------------------------------------------------------------ @connections
    async def _connection(self, request: web.Request, connection_id: str) -> web.Response:
        """Carry out a request of the @connections API. It has to be signed by one who may do it."""
        body = await request.read()
        refused = self._forbidden(request, body, connection_id)
        if refused is not None:
            return refused
        client = self.clients.get(connection_id)
        if client is None or client.socket.closed:
            return _message(410, "Gone", "GoneException")
        if request.method == "DELETE":
            await client.socket.close()
            return web.Response(status=204)
        return await self._post(client, body)

    async def _post(self, client: _Client, body: bytes) -> web.Response:
        if len(body) > self._limits.message_bytes:
            return self._refused(413, "Request Too Long", "PayloadTooLargeException")
        if self._limits.throttled_post and next(self._posts) % self._limits.throttled_post == 0:
            return _message(429, "Too Many Requests", "LimitExceededException")
        client.heard_at = asyncio.get_running_loop().time()
        await client.socket.send_str(body.decode())
        return web.Response()

    def _forbidden(self, request: web.Request, body: bytes, connection_id: str) -> web.Response | None:
        if not request.headers.get("Authorization", "").startswith("AWS4-HMAC-SHA256 "):
            return self._refused(403, "Missing Authentication Token", "MissingAuthenticationTokenException")
        if self._authorize is not None:
            resource = f"{self._api.arn}/{self._api.stage}/{request.method}/@connections/{connection_id}"
            reason = self._authorize(request, body, "execute-api:ManageConnections", resource)
            if reason is not None:
                return self._refused(403, reason, "ForbiddenException")
        return None

    def _refused(self, status: int, text: str, kind: str) -> web.Response:
        self.refused_posts.append(text)
        return _message(status, text, kind)


def _message(status: int, text: str, kind: str = "") -> web.Response:
    return web.json_response({"message": text}, status=status, headers={"x-amzn-ErrorType": kind} if kind else None)
