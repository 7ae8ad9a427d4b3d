"""API Gateway and CloudFront on this machine: real clients connect, and deployed functions get the events of both."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from rehearsal.cloudfront import CloudFront, DeployedSite
from rehearsal.deployed import DeployedApi
from rehearsal.http_api import BODY_LIMIT_BYTES, INTEGRATION_LIMIT_S, HttpApi, Request, read_body
from rehearsal.local_lambda import LocalFunction
from rehearsal.network import HOST
from rehearsal.websocket_api import Authorize, Limits, WebSocketApi

VIEWER = "203.0.113.7"


class Gateway:
    """One HTTPS server for the names of the HTTP API, the WebSocket API and the distribution.

    Args:
        functions: the processes of deployed functions, by ARN.
        buckets: a client of S3, for the page.
        port: to listen at; 0 for any that is free.
        authorize: asked before a request of the @connections API is carried out.
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
        limits: Limits | None = None,
        integration_limit_s: float = INTEGRATION_LIMIT_S,
        authorize: Authorize | None = None,
    ) -> None:
        self.http_api = HttpApi(http, functions, limit_s=integration_limit_s)
        self.websocket_api = WebSocketApi(sockets, functions, limits or Limits(), authorize)
        self.cloudfront = CloudFront(site, self.http_api, buckets)
        self.port = port

    async def open(self, tls: ssl.SSLContext) -> None:
        app = web.Application(client_max_size=BODY_LIMIT_BYTES)
        app.router.add_route("*", "/{path:.*}", self._answer)
        tls.sni_callback = _note_name
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, self.port, ssl_context=tls).start()
        self.port = self._runner.addresses[0][1]

    async def close(self) -> None:
        await self.websocket_api.close()
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        # A client chooses the server by the name in TLS, and the Host may be another one: API Gateway compares both.
        tls: Any = request.transport and request.transport.get_extra_info("ssl_object")
        name = getattr(tls, "rehearsal_name", None) or request.host.partition(":")[0]
        if name == self.cloudfront.host:
            return await self.cloudfront.answer(request, viewer=VIEWER)
        if name == self.http_api.host:
            return await self.http_api.answer(await self._direct(request))
        if name == self.websocket_api.host:
            return await self.websocket_api.answer(request)
        return web.json_response({"message": f"no such host: {name}"}, status=404)

    @staticmethod
    async def _direct(request: web.Request) -> Request | None:
        """Return the request of a client that came without CloudFront, or None where its body is too large."""
        body = await read_body(request)
        if body is None:
            return None
        path, _, query = request.raw_path.partition("?")
        headers = {name.lower(): value for name, value in request.headers.items()}
        return Request(request.method, path, query, headers, body, VIEWER)


def _note_name(connection: Any, name: str | None, _: ssl.SSLContext) -> None:
    """Keep the name that a client asked for in TLS."""
    connection.rehearsal_name = name
