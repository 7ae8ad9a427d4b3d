"""Clients that send what no browser of a reader sends: the platform stays with everybody else."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any

import h11
import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from functions.api.app import create_app
from groundswell.adapters import bounded_http
from groundswell.adapters.intake import PIECE_BYTES
from groundswell.adapters.postgres_pool import open_pool
from tests.api_world import VERSION, parts
from tests.integration.test_websocket_live import serving

LONGEST_TURN_S = 0.1
"""Processor time that one turn of the event loop may take, whatever a client does."""


class LoopTurns:
    """The processor time of the loop's longest turn. Time that other processes take does not count."""

    def __init__(self) -> None:
        self.longest_s = 0.0

    async def watch(self) -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0)
            self.longest_s = max(self.longest_s, time.thread_time() - before)


class Client:
    """A bare socket."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def open(self) -> Client:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def send(self, data: bytes) -> None:
        try:
            self.writer.write(data)
            await self.writer.drain()
        except ConnectionError:
            pass  # the server closed first, which is what several tests are about

    async def rest(self) -> bytes:
        """All that comes until the server closes."""
        try:
            async with asyncio.timeout(20):
                return await self.reader.read()
        except ConnectionError:
            return b""

    async def shake_hands(self, *headers: str) -> bytes:
        key = base64.b64encode(os.urandom(16)).decode()
        lines = ["GET /v1/ws HTTP/1.1", "Host: localhost", "Upgrade: websocket", "Connection: Upgrade"]
        lines += [f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", *headers, "", ""]
        await self.send("\r\n".join(lines).encode())
        async with asyncio.timeout(10):
            return await self.reader.readuntil(b"\r\n\r\n")


def attacked(url: str, scenario: Callable[[int, LoopTurns], Awaitable[None]], **options: Any) -> None:
    """Run `scenario` against a served API; it gets the port and the loop's turns."""

    async def run() -> None:
        pool = await open_pool(url, size=2, wait_s=5, statement_timeout_s=5, application_name="test")
        services, hub = parts(pool)
        stop, turns = asyncio.Event(), LoopTurns()
        running = asyncio.create_task(hub.run(stop))
        app = create_app(services, **{"version": VERSION, "rate_limit_per_minute": 0, **options})
        try:
            async with (
                serving(app) as port,
                httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as bystander,
            ):
                assert (await bystander.get("/healthz")).status_code == 200
                watching = asyncio.create_task(turns.watch())
                await scenario(port, turns)
                watching.cancel()
                assert (await bystander.get("/healthz")).status_code == 200
        finally:
            stop.set()
            await running
            await pool.close()

    asyncio.run(run())


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True) -> bytes:
    """A masked client frame of fewer than 126 bytes (RFC 6455, section 5.2)."""
    mask = b"\x00\x00\x00\x00"
    return bytes([(0x80 if fin else 0) | opcode, 0x80 | len(payload)]) + mask + payload


FLOODS = {
    "empty fragments": frame(1, b"", fin=False) + frame(0, b"", fin=False) * 100_000,
    "fragments of one byte": frame(1, b"{", fin=False) + frame(0, b" ", fin=False) * 30_000,
    "empty messages": frame(1) * 100_000,
    "pings": frame(9) * 100_000,
    "pongs": frame(10) * 100_000,
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
def test_a_flood_of_frames_ends_its_own_socket_and_holds_nobody_up(database_url: str, flood: bytes) -> None:
    async def scenario(port: int, turns: LoopTurns) -> None:
        client = await Client(port).open()
        assert b" 101 " in await client.shake_hands()
        await client.send(flood)
        said = await client.rest()
        assert bounded_http.TOO_MANY_FRAMES.to_bytes(2, "big") in said or not said
        assert turns.longest_s < LONGEST_TURN_S

    attacked(database_url, scenario)


def test_json_of_any_depth_is_a_bad_frame_and_the_socket_stays(database_url: str) -> None:
    async def scenario(port: int, turns: LoopTurns) -> None:
        async with connect(f"ws://127.0.0.1:{port}/v1/ws") as socket:
            for text in ('{"action":"ping","x":' + "[" * 15_000 + "]" * 15_000 + "}", "[" * 16_000):
                await socket.send(text)
                while (said := json.loads(await socket.recv()))["type"] != "error":
                    pass
                assert said["data"]["code"] == "bad-frame"
            await socket.send('{"action":"ping"}')
            while json.loads(await socket.recv())["type"] != "pong":
                pass
        assert turns.longest_s < LONGEST_TURN_S

    attacked(database_url, scenario)


def test_a_request_that_never_ends_is_closed(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_http, "HEAD_LIMIT_S", 0.2)
    monkeypatch.setattr(bounded_http, "BODY_LIMIT_S", 0.2)

    async def scenario(port: int, turns: LoopTurns) -> None:
        halves = [
            b"",
            b"GET /v1/po",
            b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: y",
            b"POST /v1/alerts/rules HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 100\r\n\r\n{",
            b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /heal",
        ]
        clients = [await Client(port).open() for _ in halves]
        for client, half in zip(clients, halves, strict=True):
            await client.send(half)
        for client in clients:
            await client.rest()  # ends only when the server has closed

    attacked(database_url, scenario)


def test_a_body_that_nobody_reads_is_not_taken(database_url: str) -> None:
    async def scenario(port: int, turns: LoopTurns) -> None:
        for head, status in (
            (b"GET /v1/posts HTTP/1.1\r\nContent-Length: 9\r\n", b"400"),
            (b"DELETE /v1/posts HTTP/1.1\r\nTransfer-Encoding: chunked\r\n", b"405"),
            (b"POST /v1/posts HTTP/1.1\r\nContent-Length: 100000000\r\n", b"413"),
            (b"POST /v1/posts HTTP/1.1\r\nTransfer-Encoding: chunked\r\n", b"405"),
        ):
            client = await Client(port).open()
            await client.send(head + b"Host: localhost\r\n\r\n")
            said = await client.rest()
            assert said.startswith(b"HTTP/1.1 " + status), said

    attacked(database_url, scenario)


@pytest.mark.parametrize("at_once", [True, False])
def test_a_head_beyond_its_limit_is_refused_however_it_arrives(database_url: str, at_once: bool) -> None:
    async def scenario(port: int, turns: LoopTurns) -> None:
        client = await Client(port).open()
        head = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 20_000 + b"\r\n\r\n"
        for start in range(0, len(head), len(head) if at_once else 5_000):
            await client.send(head[start : start + (len(head) if at_once else 5_000)])
        assert (await client.rest()).startswith(b"HTTP/1.1 400 ")

    attacked(database_url, scenario)


@pytest.mark.parametrize("target", ["/v1/posts", "/healthz", "/nothing", "/v1/alerts/rules"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_body_that_is_none_is_refused_once_and_is_no_failure(
    database_url: str, caplog: pytest.LogCaptureFixture, method: str, target: str
) -> None:
    async def scenario(port: int, turns: LoopTurns) -> None:
        client = await Client(port).open()
        start = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nX-Fill: ".encode()
        # The head is one piece: the request has begun, and has not been answered, when its body is parsed.
        await client.send(start.ljust(PIECE_BYTES - 4, b"x") + b"\r\n\r\n" + b"no size\r\n")
        said = await client.rest()
        assert said.startswith(b"HTTP/1.1 400 ")
        assert said.count(b"HTTP/1.1 ") == 1

    attacked(database_url, scenario)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_a_body_in_tiny_chunks_is_refused() -> None:
    head = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"

    def parse(chunks: int) -> Any:
        server = bounded_http.BoundedConnection(h11.SERVER)
        server.receive_data(head + b"1\r\n \r\n" * chunks + b"0\r\n\r\n")
        while not isinstance(event := server.next_event(), h11.EndOfMessage):
            assert event is not h11.NEED_DATA
        return event

    assert parse(bounded_http.CHUNKS_OF_A_BODY)
    with pytest.raises(h11.RemoteProtocolError, match="too many chunks"):
        parse(bounded_http.CHUNKS_OF_A_BODY + 1)


def test_both_lengths_of_a_body_end_the_connection_and_nothing_behind_is_run(database_url: str) -> None:
    async def scenario(port: int, turns: LoopTurns) -> None:
        client = await Client(port).open()
        await client.send(
            b"POST /v1/alerts/rules HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
        )
        said = await client.rest()
        assert said.startswith(b"HTTP/1.1 400 ")
        assert said.count(b"HTTP/1.1 ") == 1

    attacked(database_url, scenario)


NAMES = {
    "localhost:8000": True,
    "app.localhost": True,
    "127.0.0.1:8000": True,
    "[::1]:8000": True,
    "192.168.0.10": True,
    "named.example:8000": True,
    "public.example": True,
    "evil.test:9777": False,
    "localhost.evil.test": False,
    "127.0.0.1.nip.io": False,
    "": False,
}


@pytest.mark.parametrize(("host", "allowed"), NAMES.items())
def test_a_foreign_name_for_this_machine_reads_nothing(database_url: str, host: str, allowed: bool) -> None:
    async def scenario(port: int, turns: LoopTurns) -> None:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            answer = await client.get("/v1/gaps", headers={"Host": host})
            assert answer.status_code == (200 if allowed else 421)
            assert ("data" in answer.json()) is allowed
        wanted = "101" if allowed else "421"
        raw = await Client(port).open()
        await raw.send(
            f"GET /v1/ws HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        assert f"HTTP/1.1 {wanted} ".encode() in await raw.reader.readuntil(b"\r\n")
        raw.writer.close()

    attacked(database_url, scenario, allowed_hosts=["named.example"], public_api_url="https://public.example")


ORIGINS = {
    None: True,
    "http://localhost": True,
    "https://friend.example": True,
    "https://public.example": True,
    "https://evil.example": False,
    "http://localhost:9999": False,
    "null": False,
}


@pytest.mark.parametrize(("origin", "allowed"), ORIGINS.items())
def test_pages_of_other_sites_open_no_socket_unless_they_are_named(
    database_url: str, origin: str | None, allowed: bool
) -> None:
    async def scenario(port: int, turns: LoopTurns) -> None:
        client = await Client(port).open()
        said = await client.shake_hands(*([f"Origin: {origin}"] if origin is not None else []))
        assert (b" 101 " in said) is allowed
        assert (b" 403 " in said) is not allowed
        client.writer.close()

    attacked(
        database_url, scenario, cors_origins=["https://friend.example"], public_ws_url="wss://public.example/v1/ws"
    )


def test_one_address_cannot_take_every_place(database_url: str) -> None:
    async def scenario(port: int, turns: LoopTurns) -> None:
        url = f"ws://127.0.0.1:{port}/v1/ws"
        async with connect(url), connect(url) as second:
            with pytest.raises(InvalidStatus) as refused:
                await connect(url)
            assert refused.value.response.status_code == 429
            await second.close()
            async with connect(url):
                pass

    attacked(database_url, scenario, sockets_per_address=2)


def test_handshakes_are_limited_by_address_as_requests_are(database_url: str) -> None:
    async def scenario(port: int, turns: LoopTurns) -> None:
        url = f"ws://127.0.0.1:{port}/v1/ws"
        for _ in range(3):
            async with connect(url):
                pass
        with pytest.raises(InvalidStatus) as refused:
            await connect(url)
        assert refused.value.response.status_code == 429

    attacked(database_url, scenario, rate_limit_per_minute=3)
