"""`garbage`: broken, huge and hostile frames from upstream; broken, huge and hostile requests from clients."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import urlsplit

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from groundswell.drills.harness.rig import Rig, Setup
from groundswell.drills.harness.running import Drill

POSTS = 300
RAW_REQUESTS: dict[str, bytes] = {
    "not HTTP at all": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)),
    "a request line without end": b"GET /" + b"a" * 200_000,
    "a header without end": b"GET /v1/posts HTTP/1.1\r\nHost: x\r\nX: " + b"b" * 200_000,
    "a body that is shorter than it says": b"POST /v1/alerts/rules HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{",
    "two lengths": b"GET /v1/posts HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 9\r\n\r\n",
    "a path of control characters": b"GET /v1/\x00\x01%00%ff HTTP/1.1\r\nHost: x\r\n\r\n",
    "a method nobody has": b"FETCH /v1/posts HTTP/1.1\r\nHost: x\r\n\r\n",
}
HOSTILE_PATHS = (
    "/v1/search?q=" + "%28" * 500,
    "/v1/search?q=%00%ff",
    "/v1/posts?entity=hashtag:" + "x" * 2000,
    "/v1/posts?limit=99999999999999999999",
    "/v1/posts?cursor=%27%3B+DROP+TABLE+posts%3B--",
    "/v1/events?cursor=-1",
    "/v1/momentum/hashtag/..%2f..%2fetc%2fpasswd",
    "/../../etc/passwd",
)
CLIENT_FRAMES = ("", "{", "null", "[" * 20_000, '{"action":"subscribe","topics":' + json.dumps(["x"] * 500) + "}")


async def course(rig: Rig) -> None:
    host = rig.feed.host.faults
    rig.say("a broken frame before every other frame: cut off, of wrong types, too deep, of 300 KB, in no encoding")
    host.garbage(0.5)
    await asyncio.gather(rig.more_posts(POSTS * (10 if rig.full else 1)), _attack(rig))
    host.garbage(0)
    await rig.recover("garbage")
    status = await rig.get("/v1/status")
    assert status is not None, "the API answered a moment ago"
    relay = next(part for part in status["components"] if part["component"] == "relay")
    ignored = relay["detail"]["ignored"]
    rig.check("broken frames are counted by reason", ignored.get("malformed", 0) > 0, ignored, promised="malformed > 0")
    rig.check("the relay was not restarted", rig.relay.alive and rig.relay.runs == 1, f"run {rig.relay.runs}")
    rig.check("the API was not restarted", rig.api.alive and rig.api.runs == 1, f"run {rig.api.runs}")


async def _attack(rig: Rig) -> None:
    rounds = 10 if rig.full else 2
    wrong: list[str] = []
    for _ in range(rounds):
        for what, request in RAW_REQUESTS.items():
            answer = await _send_raw(rig.api_url, request)
            if answer and not answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 5")):
                wrong.append(f"{what}: {answer[:60]!r}")
            if answer.startswith(b"HTTP/1.1 500"):
                wrong.append(f"{what}: {answer[:60]!r}")
        for path in HOSTILE_PATHS:
            answer = await _send_raw(
                rig.api_url, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
            )
            if not answer.startswith((b"HTTP/1.1 2", b"HTTP/1.1 4")):
                wrong.append(f"GET {path[:60]}: {answer[:60]!r}")
        for frame in CLIENT_FRAMES:
            said = await _send_frame(rig.api_url, frame)
            if said != "error":
                wrong.append(f"frame {frame[:40]!r}: {said}")
        said = await _send_frame(rig.api_url, "x" * 100_000)
        if said != "closed with 1009":
            wrong.append(f"a huge frame: {said}")
    sent = rounds * (len(RAW_REQUESTS) + len(HOSTILE_PATHS) + len(CLIENT_FRAMES) + 1)
    rig.check(
        "hostile requests and frames", not wrong, "; ".join(wrong[:3]) or f"{sent} refused", promised="each is refused"
    )


async def _send_raw(url: str, request: bytes) -> bytes:
    """What is answered; nothing where the connection was simply closed."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        writer.write(request)
        await writer.drain()
        if not request.endswith(b"\r\n\r\n"):
            writer.write_eof()
        async with asyncio.timeout(20):
            return await reader.read(4096)
    except (ConnectionError, OSError):
        return b""
    finally:
        writer.close()


async def _send_frame(url: str, frame: str) -> str:
    """The type of the first answer that is no greeting, or how the connection was closed."""
    try:
        async with connect(f"{url.replace('http', 'ws')}/v1/ws", proxy=None, open_timeout=20) as websocket:
            await websocket.send(frame)
            async with asyncio.timeout(20):
                while True:
                    kind = json.loads(await websocket.recv())["type"]
                    if kind not in ("hello", "heartbeat"):
                        return kind
    except ConnectionClosed as error:
        return f"closed with {error.rcvd.code if error.rcvd else 'nothing'}"
    except InvalidStatus as error:
        return f"refused with {error.response.status_code}"


DRILL = Drill(
    name="garbage",
    breaks="every other frame from upstream is broken; clients send what no client should",
    promises="nothing raises: broken frames are counted and passed over, hostile requests get a 4xx or a closed door",
    setup=Setup(posts_per_second=60, garbage_share=0.05),
    course=course,
)
