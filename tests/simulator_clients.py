"""What the simulator's tests share: a world to serve, a clock that tests move, and a plain WebSocket reader."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedOK

from groundswell.adapters.simulator import World, WorldConfig

SECOND = 1_000_000
START = 1_783_175_880 * SECOND
POSTS_ONLY = "?wantedCollections=app.bsky.feed.post"


class HandClock:
    """A clock that stands until a test moves it. Sleeping takes no time, and is written down."""

    def __init__(self, now: int = START) -> None:
        self.instant = now
        self.slept: list[float] = []

    def now(self) -> int:
        return self.instant

    def monotonic(self) -> float:
        return self.instant / SECOND

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)

    def advance(self, seconds: float) -> None:
        self.instant += round(seconds * SECOND)


def small_world(**changes: object) -> World:
    return World(WorldConfig(seed=21, posts_per_second=40, **changes))  # pyright: ignore[reportArgumentType]


def reader(url: str) -> connect:
    return connect(url, compression=None, max_size=None, ping_interval=None, close_timeout=0.5)


async def take(websocket: ClientConnection, count: int) -> list[bytes]:
    return [await websocket.recv(decode=False) for _ in range(count)]


async def take_all(url: str) -> list[bytes]:
    """All frames until the server says goodbye."""
    frames: list[bytes] = []
    async with reader(url) as websocket:
        with suppress(ConnectionClosedOK):
            while True:
                frames.append(await websocket.recv(decode=False))
    return frames


def told(world: World, since: int, until: int, *, everything: bool = False) -> list[bytes]:
    return [frame for _, frame in world.frames(since, until, everything=everything)]


def times(world: World, since: int, until: int) -> list[int]:
    return [time for time, _ in world.frames(since, until)]
