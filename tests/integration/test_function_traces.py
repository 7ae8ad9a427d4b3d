"""What X-Ray is told of a function's events, by the real SDK over the socket of a daemon that listens here."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from rehearsal.events import http_event
from rehearsal.local_lambda import FunctionFailed, LocalFunction

NOWHERE = "postgresql://nobody:nothing@127.0.0.1:9/none"


class Daemon(asyncio.DatagramProtocol):
    """X-Ray's daemon, as far as an SDK sees it."""

    def __init__(self) -> None:
        self._heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    def datagram_received(self, data: bytes, addr: object) -> None:
        header, _, segment = data.partition(b"\n")
        assert json.loads(header) == {"format": "json", "version": 1}
        self._heard.put_nowait(json.loads(segment))

    async def segment(self) -> dict[str, Any]:
        return await asyncio.wait_for(self._heard.get(), 60)


@asynccontextmanager
async def traced(service: str, **environment: str) -> AsyncGenerator[tuple[LocalFunction, Daemon]]:
    """A function that traces, and who it tells."""
    transport, daemon = await asyncio.get_running_loop().create_datagram_endpoint(Daemon, ("127.0.0.1", 0))
    host, port = transport.get_extra_info("sockname")
    given = {
        "GROUNDSWELL_DATABASE_URL": NOWHERE,
        "GROUNDSWELL_TRACING": "xray",
        "AWS_XRAY_DAEMON_ADDRESS": f"{host}:{port}",
        **environment,
    }
    try:
        async with LocalFunction(service, f"functions.{service}.handler.handler", given) as function:
            yield function, daemon
    finally:
        transport.close()


def test_with_tracing_each_event_of_the_api_is_a_segment_with_its_status() -> None:
    async def scenario() -> None:
        async with traced("api") as (function, daemon):
            assert (await function.invoke(http_event("GET", "/healthz")))["statusCode"] == 200
            first = await daemon.segment()
            assert (await function.invoke(http_event("GET", "/v1/nothing")))["statusCode"] == 404
            second = await daemon.segment()
        assert first["annotations"] == {"Status": 200, "ColdStart": True, "Service": "api"}
        assert second["annotations"] == {"Status": 404, "ColdStart": False, "Service": "api"}
        assert first["trace_id"] != second["trace_id"]
        assert first["end_time"] >= first["start_time"]

    asyncio.run(scenario())


def test_what_a_traced_function_raises_is_in_its_segment() -> None:
    async def scenario() -> None:
        async with traced("mover") as (function, daemon):
            with pytest.raises(FunctionFailed, match="GROUNDSWELL_ARCHIVE"):
                await function.invoke({})
            segment = await daemon.segment()
        assert segment["fault"] is True
        assert "GROUNDSWELL_ARCHIVE" in segment["cause"]["exceptions"][0]["message"]

    asyncio.run(scenario())


def test_a_wrong_word_for_tracing_is_named_like_every_other_wrong_variable() -> None:
    async def scenario() -> None:
        async with traced("api", GROUNDSWELL_TRACING="x-ray") as (function, _):
            assert (await function.invoke(http_event("GET", "/healthz")))["statusCode"] == 500
            assert any("GROUNDSWELL_TRACING" in line for line in function.log)

    asyncio.run(scenario())
