"""API Gateway and CloudFront on this machine: real clients connect, and deployed functions get the events of both."""

from __future__ import annotations

import asyncio
import base64
import fnmatch
import json
import secrets
import ssl
from collections.abc import Mapping
from typing import Any

from aiohttp import WSMsgType, web

from rehearsal.deployed import DeployedApi, DeployedSite
from rehearsal.events import http_event, socket_event
from rehearsal.local_lambda import FunctionFailed, LocalFunction
from rehearsal.network import HOST

EDGE = "130.176.0.7"
"""Address of the CloudFront server that passes requests on."""
VIEWER = "203.0.113.7"
MESSAGE_LIMIT_BYTES = 128 * 1024
"""Of API Gateway's WebSocket APIs."""


class Gateway:
    """One HTTPS server for the names of the HTTP API, the WebSocket API and the distribution.

    Args:
        functions: the processes of deployed functions, by ARN.
        buckets: a client of S3, for the page.
        port: to listen at; 0 for any that is free.
    """

    def __init__(
        self,
        *,
        http: DeployedApi,
        sockets: DeployedApi,
        site: DeployedSite,
        functions: Mapping[str, LocalFunction],
        buckets: Any,
        port: int,
    ) -> None:
        self._http, self._sockets, self._site = http, sockets, site
        self._functions = functions
        self._buckets = buckets
        self.port = port
        self.clients: dict[str, web.WebSocketResponse] = {}
        """Open WebSockets by connection id."""
        self.unsigned_posts = 0

    async def open(self, tls: ssl.SSLContext) -> None:
        app = web.Application(client_max_size=10 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, self.port, ssl_context=tls).start()
        self.port = self._runner.addresses[0][1]

    async def close(self) -> None:
        for client in tuple(self.clients.values()):
            await client.close()
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        host = request.host.partition(":")[0]
        if host == self._site.host:
            return await self._distribution(request)
        if host == self._http.host:
            return await self._request(request, source_ip=VIEWER)
        if host == self._sockets.host:
            return await self._socket(request)
        return web.json_response({"message": f"no such host: {host}"}, status=404)

    # ------------------------------------------------------------------ CloudFront
    async def _distribution(self, request: web.Request) -> web.StreamResponse:
        if any(fnmatch.fnmatch(request.path, pattern) for pattern in self._site.api_paths):
            assert self._site.api_host == self._http.host, "the distribution leads to another API"
            return await self._request(request, source_ip=EDGE, by_way_of=VIEWER)
        key = request.path.lstrip("/") or self._site.root
        try:
            found = await asyncio.to_thread(self._buckets.get_object, Bucket=self._site.bucket, Key=key)
        except self._buckets.exceptions.NoSuchKey:
            return web.Response(status=403, text="AccessDenied")
        return web.Response(body=found["Body"].read(), content_type=found["ContentType"].partition(";")[0])

    # ------------------------------------------------------------------ the HTTP API
    async def _request(self, request: web.Request, *, source_ip: str, by_way_of: str = "") -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        passed = [each for each in (headers.get("x-forwarded-for"), by_way_of, source_ip) if each]
        headers["x-forwarded-for"] = ", ".join(passed)
        headers["host"] = self._http.host
        event = http_event(
            request.method,
            request.path,
            query=request.query_string,
            headers=headers,
            body=await request.read(),
            source_ip=source_ip,
        )
        function = self._functions[self._http.routes["ANY /{proxy+}"]]
        try:
            result = await function.invoke(event)
        except FunctionFailed:
            return web.json_response({"message": "Internal Server Error"}, status=500)
        body = result.get("body") or ""
        answer = web.Response(
            status=result["statusCode"],
            body=base64.b64decode(body) if result.get("isBase64Encoded") else body.encode(),
        )
        for name, value in result.get("headers", {}).items():
            if name.lower() != "content-length":
                answer.headers[name] = str(value)
        return answer

    # ------------------------------------------------------------------ the WebSocket API
    async def _socket(self, request: web.Request) -> web.StreamResponse:
        connections = f"/{self._sockets.stage}/@connections/"
        if request.path.startswith(connections):
            return await self._connection(request, request.path.removeprefix(connections))
        if request.path.rstrip("/") != f"/{self._sockets.stage}":
            return web.json_response({"message": "Forbidden"}, status=403)
        connection_id = secrets.token_urlsafe(10) + "="
        admitted = await self._event("$connect", connection_id, kind="CONNECT", query=dict(request.query))
        if admitted["statusCode"] >= 300:
            return web.Response(status=admitted["statusCode"])
        client = web.WebSocketResponse(max_msg_size=MESSAGE_LIMIT_BYTES)
        await client.prepare(request)
        self.clients[connection_id] = client
        try:
            async for message in client:
                if message.type == WSMsgType.TEXT:
                    await self._event(self._route_of(message.data), connection_id, body=message.data)
        finally:
            self.clients.pop(connection_id, None)
            await self._event("$disconnect", connection_id, kind="DISCONNECT")
        return client

    def _route_of(self, text: str) -> str:
        """The deployed route that the selection expression chooses, or `$default`."""
        assert self._sockets.selection == "$request.body.action", self._sockets.selection
        try:
            action = json.loads(text)["action"]
        except (ValueError, TypeError, KeyError):
            return "$default"
        return action if isinstance(action, str) and action in self._sockets.routes else "$default"

    async def _event(self, route: str, connection_id: str, **more: Any) -> dict[str, Any]:
        function = self._functions[self._sockets.routes[route]]
        try:
            return await function.invoke(socket_event(route, connection_id, **more))
        except FunctionFailed:
            return {"statusCode": 502}

    async def _connection(self, request: web.Request, connection_id: str) -> web.Response:
        """The @connections API. It takes signed requests alone."""
        if not request.headers.get("Authorization", "").startswith("AWS4-HMAC-SHA256 "):
            self.unsigned_posts += 1
            return web.json_response({"message": "Missing Authentication Token"}, status=403)
        client = self.clients.get(connection_id)
        if client is None or client.closed:
            return web.json_response({"message": "Gone"}, status=410)
        if request.method == "DELETE":
            await client.close()
            return web.Response(status=204)
        await client.send_str(await request.text())
        return web.Response()
