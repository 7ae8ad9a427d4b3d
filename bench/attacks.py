"""What hostile clients of the API do: each attack is a coroutine over bare sockets, and ends by itself.

An attack checks nothing. Whoever runs it watches the event loop and somebody else's requests meanwhile.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TypeAlias
from urllib.parse import quote

Attack: TypeAlias = Callable[[int], Awaitable[None]]
"""Takes the port of the API on this machine."""

PATIENCE_S = 20.0
"""How long a client waits for the server to answer or to close."""
TEXT, PING, PONG, CONTINUATION = 1, 9, 10, 0

ATTACKS: dict[str, Attack] = {}


def attack(name: str) -> Callable[[Attack], Attack]:
    """Enter an attack into `ATTACKS`."""

    def enter(run: Attack) -> Attack:
        ATTACKS[name] = run
        return run

    return enter


# ------------------------------------------------------------------ bare clients
class Client:
    """A bare connection. Whatever the server does to it is an end, not an error."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        with contextlib.suppress(ConnectionError, TimeoutError):
            self.writer.write(data)
            async with asyncio.timeout(PATIENCE_S):
                await self.writer.drain()

    async def read_head(self) -> bytes:
        """The head of the next answer; empty where the server closed."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await self.reader.readuntil(b"\r\n\r\n")
        except (ConnectionError, asyncio.IncompleteReadError, TimeoutError):
            return b""

    async def read_to_end(self) -> bytes:
        """All that comes until the server closes, or as long as anybody waits."""
        said = bytearray()
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                while piece := await self.reader.read(65_536):
                    said += piece
        return bytes(said)


@asynccontextmanager
async def connected(port: int) -> AsyncGenerator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()


@asynccontextmanager
async def many_connected(port: int, number: int) -> AsyncGenerator[Sequence[Client]]:
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(connected(port)) for _ in range(number)]


@asynccontextmanager
async def subscribed(port: int) -> AsyncGenerator[Client]:
    """A WebSocket whose handshake is done."""
    async with connected(port) as client:
        await client.send(handshake())
        await client.read_head()
        yield client


def get(path: str, *headers: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: localhost", *headers, "", ""]).encode()


def post(path: str, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json", *headers, "", ""]
    return "\r\n".join(lines).encode()


def handshake(path: str = "/v1/ws") -> bytes:
    key = base64.b64encode(os.urandom(16)).decode()
    return get(
        path, "Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13"
    )


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True) -> bytes:
    """A masked client frame (RFC 6455, section 5.2)."""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return bytes([(0x80 if fin else 0) | opcode]) + length + bytes(4) + payload


async def send_flood(port: int, data: bytes) -> None:
    async with subscribed(port) as client:
        await client.send(data)
        await client.read_to_end()


async def ask(port: int, request: bytes) -> None:
    async with connected(port) as client:
        await client.send(request)
        await client.read_head()


# ------------------------------------------------------------------ WebSocket
@attack("800,000 empty fragments")
async def empty_fragments(port: int) -> None:
    await send_flood(port, frame(TEXT, fin=False) + frame(CONTINUATION, fin=False) * 800_000)


@attack("20,000 fragments of one byte")
async def fragments_of_one_byte(port: int) -> None:
    await send_flood(port, frame(TEXT, b"{", fin=False) + frame(CONTINUATION, b" ", fin=False) * 20_000)


@attack("100,000 empty messages")
async def empty_messages(port: int) -> None:
    await send_flood(port, frame(TEXT) * 100_000)


@attack("100,000 pings")
async def pings(port: int) -> None:
    await send_flood(port, frame(PING) * 100_000)


@attack("100,000 pongs")
async def pongs(port: int) -> None:
    await send_flood(port, frame(PONG) * 100_000)


@attack("200 sockets that send 300 empty fragments each")
async def many_floods(port: int) -> None:
    flood = frame(TEXT, fin=False) + frame(CONTINUATION, fin=False) * 300
    await asyncio.gather(*(send_flood(port, flood) for _ in range(200)))


@attack("JSON 15,000 deep in frames")
async def deep_frames(port: int) -> None:
    deep = b'{"action":"ping","x":' + b"[" * 15_000 + b"]" * 15_000 + b"}"
    async with subscribed(port) as client:
        for text in (deep, b"[" * 16_000, b'{"a":' * 6_000, deep):
            await client.send(frame(TEXT, text))
        await client.send(frame(8, b"\x03\xe8"))
        await client.read_to_end()


@attack("200 subscriptions of 32 topics, changed as often as is let through")
async def changing_subscriptions(port: int) -> None:
    topics = [f"posts?entity=%23{'x' * 40}{n}" for n in range(32)]
    change = frame(TEXT, json.dumps({"action": "subscribe", "topics": topics}).encode())

    async def one() -> None:
        async with subscribed(port) as client:
            await client.send(change * 100)
            await client.read_to_end()

    await asyncio.gather(*(one() for _ in range(200)))


@attack("frames of topics that do not exist")
async def bad_topics(port: int) -> None:
    for topics in (["x" * 512] * 60, ["posts?" + "&" * 500] * 60, ["posts?entity=" + "%" * 490] * 60, ["p"] * 8_000):
        async with subscribed(port) as client:
            await client.send(frame(TEXT, json.dumps({"action": "subscribe", "topics": topics}).encode()) * 20)
            await client.send(frame(8, b"\x03\xe8"))
            await client.read_to_end()


@attack("messages of 32 KiB in 16,000 fragments")
async def fragmented_messages(port: int) -> None:
    pieces = frame(TEXT, b"  ", fin=False) + frame(CONTINUATION, b"  ", fin=False) * 16_000
    await asyncio.gather(*(send_flood(port, pieces) for _ in range(20)))


@attack("200 sockets, as many as one address may have, that are idle, then subscribe at once")
async def idle_then_subscribed(port: int) -> None:
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(subscribed(port)) for _ in range(200)]
        wanted = frame(TEXT, json.dumps({"action": "subscribe", "topics": ["posts", "status", "momentum"]}).encode())
        await asyncio.gather(*(client.send(wanted) for client in clients))
        await asyncio.gather(*(client.reader.read(65_536) for client in clients[:50]))


@attack("2,000 handshakes")
async def handshakes(port: int) -> None:
    async def some() -> None:
        for _ in range(40):
            async with subscribed(port):
                pass

    await asyncio.gather(*(some() for _ in range(50)))


@attack("100 sockets that never read")
async def never_read(port: int) -> None:
    wanted = frame(TEXT, json.dumps({"action": "subscribe", "topics": ["posts", "status", "momentum"]}).encode())
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(100):
            client = await stack.enter_async_context(subscribed(port))
            client.writer.transport.pause_reading()  # pyright: ignore[reportAttributeAccessIssue]
            await client.send(wanted)
        await asyncio.sleep(1)  # the attack is that nothing happens


@attack("unmasked, reserved, oversized and torn frames")
async def broken_frames(port: int) -> None:
    for broken in (
        b"\x81\x02hi",
        b"\xf1\x80\x00\x00\x00\x00",
        b"\x83\x80\x00\x00\x00\x00",
        b"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00",
        frame(TEXT, b"\xc3\x28"),
        frame(PING, b"x" * 126),
        frame(CONTINUATION, b"x"),
        b"\x81\xfe\x80",
    ):
        async with subscribed(port) as client:
            await client.send(broken)
            client.writer.write_eof()
            await client.read_to_end()


# ------------------------------------------------------------------ HTTP
@attack("1,000 half requests")
async def half_requests(port: int) -> None:
    async with many_connected(port, 1_000) as clients:
        for number, client in enumerate(clients):
            await client.send((b"", b"GET /v1/po", b"GET / HTTP/1.1\r\nHost: localhost\r\nX:")[number % 3])
        await asyncio.sleep(1)  # the attack is that nothing more comes


@attack("a body of 100 MB where none is taken")
async def endless_body(port: int) -> None:
    async with connected(port) as client:
        await client.send(post("/v1/posts", "Content-Length: 100000000"))
        for _ in range(1_600):
            await client.send(b"x" * 65_536)
            if client.writer.is_closing():
                break
        await client.read_to_end()


@attack("bodies in chunks of one byte")
async def tiny_chunks(port: int) -> None:
    async def one(path: str) -> None:
        async with connected(port) as client:
            await client.send(post(path, "Transfer-Encoding: chunked") + b"1\r\n \r\n" * 60_000 + b"0\r\n\r\n")
            await client.read_head()

    await asyncio.gather(*(one(path) for path in ("/v1/alerts/rules", "/v1/posts", "/healthz", "/") * 3))


@attack("bodies with both lengths, and a request inside")
async def smuggled_requests(port: int) -> None:
    inner = get("/v1/status")
    for headers in (
        ("Content-Length: 3", "Transfer-Encoding: chunked"),
        ("Content-Length: 3", "Content-Length: 4"),
        ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
        ("Content-Length: -1",),
        ("Content-Length: +5",),
        ("Transfer-Encoding: xchunked",),
    ):
        await ask(port, post("/v1/alerts/rules", *headers) + b"0\r\n\r\n" + inner)


@attack("a head of 200 MB")
async def endless_head(port: int) -> None:
    async with connected(port) as client:
        await client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ")
        for _ in range(3_200):
            await client.send(b"x" * 65_536)
            if client.writer.is_closing():
                break


@attack("heads of 60 KB, of one header and of thousands")
async def large_heads(port: int) -> None:
    many = b"".join(b"a:%d\r\n" % n for n in range(7_000))
    same = b"a:\r\n" * 15_000
    large = b"X-Large: " + b"x" * 60_000 + b"\r\n"
    folded = b"X: y\r\n" + b" z\r\n" * 14_000
    commas = b"Connection: " + b"," * 60_000 + b"\r\n"
    for headers in (many, same, large, folded, commas):
        for _ in range(3):
            await ask(port, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + headers + b"\r\n")


@attack("addresses of 60 KB and 8,000 parameters")
async def long_addresses(port: int) -> None:
    for path in (
        "/" + "a" * 60_000,
        "/" + "a/" * 30_000,
        "/" + "../" * 20_000,
        "/%00" * 15_000,
        "/v1/posts?" + "&".join(f"a{n}=1" for n in range(8_000)),
        "/v1/posts?" + "limit=1&" * 7_000,
        "/v1/posts?" + "&" * 60_000,
        "/v1/search?q=" + "%F0%9F%98%80" * 5_000,
        "/v1/posts?entity=" + "%" * 60_000,
    ):
        for _ in range(3):
            await ask(port, get(path))


@attack("paths that no file can have")
async def impossible_paths(port: int) -> None:
    for path in ("/%00", "/assets/%00", "/" + "a" * 256, "/%0a18:00:00%20INFO%20FAKE%1b%5b2J", "/%ff%fe", "/%c0%ae/"):
        for _ in range(20):
            await ask(port, get(path))


@attack("10,000 requests on one connection, sent at once")
async def pipelined(port: int) -> None:
    async with connected(port) as client:
        reading = asyncio.create_task(client.read_to_end())
        await client.send(get("/healthz") * 10_000 + get("/healthz", "Connection: close"))
        await reading


@attack("500 clients that leave in the middle of their body")
async def leaving_clients(port: int) -> None:
    async def one() -> None:
        async with connected(port) as client:
            await client.send(post("/v1/alerts/rules", "Content-Length: 1000") + b"{")

    for _ in range(10):
        await asyncio.gather(*(one() for _ in range(50)))


@attack("JSON 30,000 deep, and of 30,000 members, in bodies")
async def deep_bodies(port: int) -> None:
    for body in (
        b"[" * 30_000 + b"]" * 30_000,
        b'{"a":' * 12_000,
        b'{"name":"x","when":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        b"[" + b"1," * 30_000 + b"1]",
        b'{"entities":[' + b'"$A",' * 12_000 + b'"$A"]}',
        b"{" + b",".join(b'"%d":1' % n for n in range(7_000)) + b"}",
        b"1" * 60_000,
    ):
        for _ in range(3):
            await ask(port, post("/v1/alerts/rules", f"Content-Length: {len(body)}") + body)


# ------------------------------------------------------------------ questions
@attack("the past of 8 instants, and 8 exports, at once")
async def costly_questions(port: int) -> None:
    def past(minutes: int) -> str:
        return quote((datetime.now(UTC) - timedelta(minutes=minutes)).isoformat(timespec="seconds"))

    paths = [f"/v1/momentum?as_of={past(5 + n)}" for n in range(8)] + ["/v1/export?limit=100000"] * 8

    async def one(path: str) -> None:
        async with connected(port) as client:
            await client.send(get(path, "Connection: close"))
            await client.read_to_end()

    await asyncio.gather(*(one(path) for path in paths))


TEXTS = (
    "a" * 500,
    "(" * 500,
    '"' * 499,
    "a OR " * 100,
    "-" * 500,
    "#" * 500,
    "$" * 500,
    "https://" + "a." * 200,
    "a@" * 250,
    "\u0301" * 500,
    "e\u0301\u0323" * 160,
    "😀" * 250,
    "안녕하세요 " * 80,
    "' OR 1=1; DROP TABLE posts; --",
    "%' AND pg_sleep(9) AND '%' LIKE '",
    "a" * 250 + "!" * 250,
    "x:y:z:" * 80,
    "\\" * 500,
    "<->" * 160,
    "!& | !" * 80,
    "from:" * 100,
    "*" * 500,
)


@attack("search texts that are made to take long")
async def hostile_texts(port: int) -> None:
    async def one(text: str) -> None:
        for path in ("/v1/search?q=", "/v1/posts?entity=", "/v1/posts?author=", "/v1/momentum?kind="):
            await ask(port, get(path + quote(text)))

    for start in range(0, len(TEXTS), 4):
        await asyncio.gather(*(one(text) for text in TEXTS[start : start + 4]))


@attack("100 requests for the largest listings at once")
async def large_listings(port: int) -> None:
    paths = ("/v1/posts?limit=500", "/v1/momentum?limit=500", "/v1/events?cursor=0&limit=500", "/v1/alerts?limit=500")
    await asyncio.gather(*(ask(port, get(path)) for path in paths * 25))


@attack("200 clients that ask for much and read nothing")
async def unread_answers(port: int) -> None:
    async with many_connected(port, 200) as clients:
        for client in clients:
            client.writer.transport.pause_reading()  # pyright: ignore[reportAttributeAccessIssue]
            await client.send(get("/v1/posts?limit=200") * 5)
        await asyncio.sleep(1)  # the attack is that nobody reads
