"""A local @connections endpoint, as API Gateway has it: it takes messages for clients, and fails on demand."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from typing import Any

from aiohttp import web


class ConnectionsEndpoint:
    """Use as an async context manager; `url` is what a broadcaster posts to."""

    def __init__(self) -> None:
        self.heard: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.gone: set[str] = set()
        self.disconnected: list[str] = []
        self.throttle_next = 0
        self.fail_next = 0
        self.refuse = False
        self.signatures: set[str] = set()
        self.busy: Counter[str] = Counter()
        self.most_at_once = 0
        self.overlapped = False
        """Whether two messages for one client were ever on their way at the same time."""
        self.url = ""
        self._changed = asyncio.Condition()

    async def __aenter__(self) -> ConnectionsEndpoint:
        app = web.Application()
        app.router.add_post("/stage/@connections/{id}", self._post)
        app.router.add_delete("/stage/@connections/{id}", self._delete)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{port}/stage"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def types(self, connection_id: str) -> list[str]:
        return [frame["type"] for frame in self.heard[connection_id]]

    async def until(self, condition: Any, seconds: float = 20) -> None:
        """Wait until `condition()` holds, looking again at every message."""
        async with asyncio.timeout(seconds), self._changed:
            await self._changed.wait_for(condition)

    async def _post(self, request: web.Request) -> web.Response:
        connection_id = request.match_info["id"]
        self.signatures.add(request.headers.get("Authorization", ""))
        if self.refuse:
            return web.json_response({"message": "Forbidden"}, status=403)
        if self.throttle_next:
            self.throttle_next -= 1
            return web.json_response({"message": "Limit exceeded"}, status=429, headers={"Retry-After": "0"})
        if self.fail_next:
            self.fail_next -= 1
            return web.json_response({"message": "Internal server error"}, status=500)
        if connection_id in self.gone:
            await self._tell()
            return web.json_response({"message": "Gone"}, status=410)
        self.busy[connection_id] += 1
        self.overlapped |= self.busy[connection_id] > 1
        self.most_at_once = max(self.most_at_once, self.busy.total())
        text = await request.text()
        # Another may come in here, as over a network.
        await asyncio.sleep(0)
        self.heard[connection_id].append(json.loads(text))
        self.busy[connection_id] -= 1
        await self._tell()
        return web.Response()

    async def _delete(self, request: web.Request) -> web.Response:
        self.disconnected.append(request.match_info["id"])
        await self._tell()
        return web.Response(status=204)

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()
