"""A vector index whose key is rotated while the platform runs."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from groundswell.adapters import qdrant_rest
from groundswell.adapters.qdrant import QdrantIndex
from groundswell.errors import VectorIndexUnavailable


class Server:
    """As much of a Qdrant as is needed to refuse a key: it holds no collection."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.url = ""

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        app = web.Application()
        app.router.add_get("/collections", self._listed)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield
        finally:
            await runner.cleanup()

    async def _listed(self, request: web.Request) -> web.Response:
        if request.headers.get("api-key") != self.key:
            return web.json_response({"status": {"error": "forbidden"}}, status=403)
        return web.json_response({"result": {"collections": []}, "status": "ok", "time": 0.0})


class Vault:
    """Where the key is kept."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.broken = False
        self.asked = 0

    def reveal_anew(self) -> str:
        self.asked += 1
        if self.broken:
            raise ValueError("the vault is closed")
        return self.key


def test_a_rotated_key_is_learned_at_the_first_refusal() -> None:
    async def scenario() -> None:
        server, vault = Server("first"), Vault("first")
        async with server.open():
            index = QdrantIndex(server.url, api_key="first", renew=vault.reveal_anew)
            assert await index.spaces() == []
            server.key = vault.key = "second"
            with pytest.raises(VectorIndexUnavailable, match="refuses the API key"):
                await index.spaces()
            assert await index.spaces() == []
            assert vault.asked == 1
            await index.close()

    asyncio.run(scenario())


def test_a_key_that_is_wrong_for_good_or_cannot_be_read_is_asked_for_now_and_then_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(qdrant_rest, "RENEW_EVERY_S", math.inf)

    async def scenario(*, broken: bool) -> None:
        server, vault = Server("another"), Vault("first")
        vault.broken = broken
        async with server.open():
            index = QdrantIndex(server.url, api_key="first", renew=vault.reveal_anew)
            for _ in range(3):
                with pytest.raises(VectorIndexUnavailable, match="refuses the API key"):
                    await index.spaces()
            assert vault.asked == 1
            await index.close()

    asyncio.run(scenario(broken=False))
    asyncio.run(scenario(broken=True))
