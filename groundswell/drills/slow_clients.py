"""`slow-clients`: clients that subscribe to everything and read nothing, beside some that read."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlsplit

import psutil
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from groundswell.drills.harness.rig import Rig, Setup
from groundswell.drills.harness.running import Drill

SLOW, READING = 20, 3
SUBSCRIBE = json.dumps({"action": "subscribe", "topics": ["posts", "momentum", "status"]})
MEMORY_MB = 100
"""Twenty backlogs of a megabyte each, what frames are made of, and what the allocator keeps."""
SENT_AWAY_LIMIT_S = 90.0


async def course(rig: Rig) -> None:
    api = psutil.Process(rig.api.pid)
    before = api.memory_info().rss / 1e6
    rig.say(f"{SLOW} clients subscribe to everything and never read; {READING} beside them do")
    async with AsyncExitStack() as stack:
        slow = [await stack.enter_async_context(_client(rig, receive_buffer=4096)) for _ in range(SLOW)]
        readers = [await stack.enter_async_context(_client(rig)) for _ in range(READING)]
        for client in (*slow, *readers):
            await client.send(SUBSCRIBE)
        # A client that never reads does not see its own end either, so it is counted where it is held.
        for client in slow:
            client.transport.pause_reading()
        heard: list[list[dict[str, Any]]] = [[] for _ in readers]
        listening = [asyncio.create_task(_listen(client, said)) for client, said in zip(readers, heard, strict=True)]
        peak = before

        async def sent_away() -> bool:
            nonlocal peak
            peak = max(peak, api.memory_info().rss / 1e6)
            return await _evicted(rig) >= SLOW

        seconds = await rig.until(sent_away, "the clients that do not read are sent away", limit_s=SENT_AWAY_LIMIT_S)
        rig.check("clients that do not read are sent away", True, f"{SLOW} after {seconds:.0f} s", promised=f"{SLOW}")
        await rig.recover("slow clients")
        await rig.more_posts(300)
        for task in listening:
            task.cancel()
        ends = await asyncio.gather(*listening, return_exceptions=True)
        closed = [end for end in ends if isinstance(end, ConnectionClosed)]
        rig.check(
            "clients that read are kept", not closed, f"{len(readers) - len(closed)} of {len(readers)}", promised="all"
        )
        grown = peak - before
        rig.check(
            "the API's memory is bounded", grown < MEMORY_MB, f"grew by {grown:.0f} MB", promised=f"< {MEMORY_MB} MB"
        )
        for said in heard:
            # Of an event that is sent in parts, the last one carries the number.
            seqs = [frame["seq"] for frame in said if frame["type"] == "posts.new" and frame["seq"] is not None]
            in_order = seqs == sorted(set(seqs))
            rig.check("frames come in order, each once", in_order and len(seqs) > 0, f"{len(seqs)} frames")
        for client in slow:
            client.transport.abort()


def _client(rig: Rig, *, receive_buffer: int | None = None) -> connect:
    parts = urlsplit(rig.api_url)
    own = socket.socket()
    if receive_buffer is not None:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    own.connect((parts.hostname, parts.port))
    own.setblocking(False)
    return connect(
        f"{rig.api_url.replace('http', 'ws')}/v1/ws", sock=own, proxy=None, compression=None, open_timeout=30,
        ping_interval=None, max_size=None, close_timeout=1,
    )  # fmt: skip


async def _listen(client: ClientConnection, said: list[dict[str, Any]]) -> None:
    async for text in client:
        frame: dict[str, Any] = json.loads(text)
        said.append({"type": frame["type"], "seq": frame["seq"]})


async def _evicted(rig: Rig) -> int:
    text = await rig.get_text("/metrics")
    for line in (text or "").splitlines():
        if line.startswith("groundswell_websocket_evicted_total"):
            return int(float(line.split()[-1]))
    return 0


DRILL = Drill(
    name="slow-clients",
    breaks=f"{SLOW} clients subscribe to everything and read nothing",
    promises="each is told ConsumerTooSlow and sent away; memory is bounded; clients that read miss nothing",
    setup=Setup(posts_per_second=250),
    course=course,
    short_s=45,
)
