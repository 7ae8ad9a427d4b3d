"""A session over a real socket, with a clock that does not wait."""

from __future__ import annotations

import asyncio
import http
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from random import Random

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response

from groundswell.adapters.jetstream import JetstreamSource
from groundswell.core.posts import MICROS_PER_SECOND
from groundswell.ports.sources import Source
from groundswell.services.session import Lost, Session, SessionEvent

T0 = 1_783_175_880_000_000


Handler = Callable[[ServerConnection], Awaitable[None]]


class FastClock:
    """Time runs twenty times as fast as outside, so the waits of a session are short and in proportion."""

    def __init__(self, speed: float = 20) -> None:
        self._speed = speed

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time() * self._speed

    def now(self) -> int:
        return T0

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self._speed)


def frame(n: int, text: str = "hello") -> str:
    record = {"text": text, "createdAt": "2026-07-04T14:38:06Z"}
    commit = {"rev": f"{n:09}", "operation": "create", "collection": "app.bsky.feed.post", "rkey": f"{n}"}
    at = T0 + n * MICROS_PER_SECOND
    return json.dumps({"did": "did:plc:a", "time_us": at, "kind": "commit", "commit": commit | {"record": record}})


@asynccontextmanager
async def server(handler: Handler, *, refuse: dict[int, int] | None = None) -> AsyncGenerator[tuple[str, list[str]]]:
    """A WebSocket server with its address and the paths it was asked for. `refuse`: HTTP status by attempt number."""
    asked: list[str] = []

    def process(connection: ServerConnection, request: Request) -> Response | None:
        if request.path.startswith("/xrpc/"):
            return connection.respond(http.HTTPStatus.NOT_FOUND, "a host of Jetstream v1\n")
        asked.append(request.path)
        status = (refuse or {}).get(len(asked) - 1)
        return None if status is None else connection.respond(http.HTTPStatus(status), "no\n")

    async with serve(
        handler, "127.0.0.1", 0, process_request=process, ping_interval=None, compression=None, close_timeout=0.2
    ) as listening:
        yield _address(listening), asked


def _address(listening: Server) -> str:
    return f"ws://127.0.0.1:{next(iter(listening.sockets)).getsockname()[1]}"


def source(*hosts: str, quiet_after_s: float | None = 60.0) -> JetstreamSource:
    return JetstreamSource(hosts=hosts, extractor=None, quiet_after_s=quiet_after_s)


def session(over: Source, cursor: int | None = None, **settings: float) -> Session:
    async def resume() -> int | None:
        return cursor

    return Session(over, FastClock(), resume=resume, rng=Random(1), **settings)


async def collect(over: Session, until: Callable[[list[SessionEvent]], bool]) -> list[SessionEvent]:
    """Events up to and with the one that satisfies `until`."""
    events: list[SessionEvent] = []
    async with aclosing(over.events(asyncio.Event())) as stream:
        async for event in stream:
            events.append(event)
            if until(events):
                break
    return events


def count(events: list[SessionEvent], kind: type[SessionEvent]) -> int:
    return sum(isinstance(event, kind) for event in events)


def lost(events: list[SessionEvent]) -> list[Lost]:
    return [event for event in events if isinstance(event, Lost)]


def run(main: Awaitable[None]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(main, 60)

    asyncio.run(bounded())


def send(*frames: str, then: Handler | None = None) -> Handler:
    async def handler(websocket: ServerConnection) -> None:
        for text in frames:
            await websocket.send(text)
        if then is None:
            await websocket.wait_closed()
        else:
            await then(websocket)

    return handler


# ------------------------------------------------------------------ a source that follows a script
async def no_cursor() -> int | None:
    return None
