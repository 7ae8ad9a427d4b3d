"""The embedded vector engine inside the test's own process, over a folder that goes away with it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import httpx

from groundswell.adapters.qdrant import QdrantIndex
from groundswell.adapters.qdrant_embedded.access import Access
from groundswell.adapters.qdrant_embedded.engine import Engine
from groundswell.adapters.qdrant_embedded.server import App

URL = "http://engine.test"


class InProcess(httpx.ASGITransport):
    """Carries requests to an engine of its own. `received` has every one as (method, path)."""

    def __init__(self, *, api_key: str | None = None, strict: bool = False) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="groundswell-test-vectors-")
        self.engine = Engine(Path(self._folder.name))
        self.received: list[tuple[str, str]] = []
        super().__init__(App(self.engine, access=Access(api_key=api_key), strict=strict))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.received.append((request.method, request.url.path))
        return await super().handle_async_request(request)


def in_process(**options: Any) -> dict[str, Any]:
    """The arguments of a `QdrantIndex` over an empty engine of its own."""
    return {"url": URL, **options, "transport": options.get("transport") or InProcess()}


def index_in_process(**options: Any) -> QdrantIndex:
    return QdrantIndex(**in_process(**options))
