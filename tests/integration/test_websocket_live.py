"""Live frames over a real uvicorn and a real WebSocket, and catching up over the same API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from functions.api.app import create_app
from groundswell.adapters.local_hub import LocalHub
from groundswell.adapters.postgres_pool import open_pool
from groundswell.adapters.postgres_store import PostgresStore
from groundswell.core.posts import MICROS_PER_SECOND, Post
from groundswell.core.subscriptions import CLIENT_FRAME_LIMIT_BYTES
from groundswell.ports.storing import Batch
from groundswell.wiring.serving import listen, serve
from tests.api_world import VERSION, fill, parts


class Live:
    """The platform's parts behind a port of this machine."""

    def __init__(self, port: int, store: PostgresStore, hub: LocalHub) -> None:
        self.http = f"http://127.0.0.1:{port}"
        self.ws = f"ws://127.0.0.1:{port}/v1/ws"
        self.store = store
        self.hub = hub
        self._number = 0

    async def post(self, *entities: str, lang: str = "en") -> str:
        """Store a post as the relay does and broadcast it; its id."""
        self._number += 1
        now = await self.store.now()
        post = Post(
            id=f"at://did:plc:live/app.bsky.feed.post/{self._number}",
            source="jetstream",
            author="did:plc:live",
            text="news",
            event_time=now,
            rev="a",
            cursor=now,
            entities=entities,
            lang=lang,
        )
        batch = Batch("jetstream", [post], [], now, now - MICROS_PER_SECOND, now)
        await self.hub.publish((await self.store.commit(batch)).events)
        return post.id


async def hear(socket: ClientConnection, *types: str) -> dict[str, Any]:
    """The next frame of one of `types`, or simply the next."""
    async with asyncio.timeout(10):
        while True:
            frame = json.loads(await socket.recv())
            if not types or frame["type"] in types:
                return frame


async def subscribe(socket: ClientConnection, *topics: str) -> dict[str, Any]:
    await socket.send(json.dumps({"action": "subscribe", "topics": topics}))
    return await hear(socket, "info")


@asynccontextmanager
async def serving(app: Any) -> AsyncGenerator[int, None]:
    """Serve `app` as the platform does. Yields the port."""
    listener, stop, ready = listen("127.0.0.1", 0), asyncio.Event(), asyncio.Event()
    running = asyncio.create_task(serve(app, listener, stop, ready=ready.set))
    await ready.wait()
    try:
        yield listener.getsockname()[1]
    finally:
        stop.set()
        await running


def live(url: str, scenario: Callable[[Live], Awaitable[None]], **options: Any) -> None:
    """Run `scenario` against the API over the filled database at `url`; `options` go to the hub."""
    fill(url)

    async def run() -> None:
        pool = await open_pool(url, size=4, wait_s=5, statement_timeout_s=5, application_name="test")
        given, _ = parts(pool)
        hub = LocalHub(given.clock, **{"version": VERSION, "window_s": 0.02, **options})
        hub.start_at((await given.reads.events(None, 1)).newest)
        services = replace(given, hub=hub)
        stop = asyncio.Event()
        flushing = asyncio.create_task(hub.run(stop))
        try:
            async with serving(create_app(services, version=VERSION, rate_limit_per_minute=0)) as port:
                await scenario(Live(port, PostgresStore(pool), hub))
                stop.set()
        finally:
            stop.set()
            await flushing
            await pool.close()

    asyncio.run(run())


def test_a_subscriber_gets_the_posts_it_asked_for_with_the_numbers_of_the_database(database_url: str) -> None:
    async def scenario(world: Live) -> None:
        async with connect(world.ws) as everything, connect(world.ws) as bitcoin:
            hello = await hear(everything, "hello")
            assert hello["data"]["version"] == VERSION
            await subscribe(everything, "posts")
            await subscribe(bitcoin, "posts?entity=$BTC&lang=en")
            ours, theirs = await world.post("ticker:BTC"), await world.post("ticker:ETH")
            later = await world.post("ticker:BTC", lang="ko")
            got: list[str] = []
            seqs: list[int] = []
            while later not in got:
                frame = await hear(everything, "posts.new")
                got += [post["id"] for post in frame["data"]["posts"]]
                seqs.append(frame["seq"])
            assert got == [ours, theirs, later]
            assert seqs == sorted(seqs)
            assert seqs[-1] == hello["seq"] + 3
            frame = await hear(bitcoin, "posts.new")
            assert [post["id"] for post in frame["data"]["posts"]] == [ours]

    live(database_url, scenario)


def test_a_client_that_lost_its_connection_gets_what_it_missed_as_the_same_frames(database_url: str) -> None:
    async def scenario(world: Live) -> None:
        async with connect(world.ws) as watcher:
            await subscribe(watcher, "posts")
            async with connect(world.ws) as socket:
                await subscribe(socket, "posts")
                await world.post()
                seen = await hear(socket, "posts.new")
                await hear(watcher, "posts.new")
            missed = [await world.post()]
            live_frame = await hear(watcher, "posts.new")
            missed.append(await world.post())
            await hear(watcher, "posts.new")
            async with httpx.AsyncClient(base_url=world.http) as client:
                page = (await client.get("/v1/events", params={"cursor": seen["seq"]})).json()
            assert [post["id"] for frame in page["data"] for post in frame["data"]["posts"]] == missed
            assert page["data"][0] == live_frame
            assert page["next_cursor"] is None

    live(database_url, scenario)


def test_a_frame_above_the_limit_closes_with_1009(database_url: str) -> None:
    async def scenario(world: Live) -> None:
        async with connect(world.ws) as socket:
            await socket.send("x" * (CLIENT_FRAME_LIMIT_BYTES + 1))
            with pytest.raises(ConnectionClosed) as closed:
                while True:
                    await hear(socket)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1009

    live(database_url, scenario)


def test_rubbish_is_answered_with_an_error_and_the_connection_lives_on(database_url: str) -> None:
    async def scenario(world: Live) -> None:
        async with connect(world.ws) as socket:
            for rubbish in ("", "{", "[]", '{"action": "explode"}', b"\xff\xfe", '{"action": 1}'):
                await socket.send(rubbish)
                assert (await hear(socket, "error"))["data"]["message"]
            await socket.send('{"action": "ping"}')
            assert (await hear(socket, "pong"))["live"] is True

    live(database_url, scenario)


def test_a_full_hub_refuses_the_handshake_with_a_problem(database_url: str) -> None:
    async def scenario(world: Live) -> None:
        async with connect(world.ws) as socket:
            await hear(socket, "hello")
            with pytest.raises(InvalidStatus) as refused:
                await connect(world.ws)
            response = refused.value.response
            assert response.status_code == 503
            assert response.headers["content-type"] == "application/problem+json"
            assert response.headers["retry-after"] == "5"

    live(database_url, scenario, max_clients=1)


def test_a_client_that_stops_reading_its_socket_is_closed_with_1008(database_url: str) -> None:
    async def scenario(world: Live) -> None:
        # Small buffers on the way, so that a few frames fill them.
        async with connect(world.ws, max_queue=1) as slow, connect(world.ws) as healthy:
            await subscribe(slow, "posts")
            await subscribe(healthy, "posts")
            slow.transport.pause_reading()
            entities = [f"hashtag:{'x' * 100}{n}" for n in range(32)]
            while world.hub.clients == 2:
                wanted = await world.post(*entities)
                frame = await hear(healthy, "posts.new")
                assert frame["data"]["posts"][-1]["id"] == wanted
            slow.transport.resume_reading()
            last: dict[str, Any] = {}
            with pytest.raises(ConnectionClosed) as closed:
                while True:
                    last = await hear(slow)
            if closed.value.rcvd is not None:
                assert closed.value.rcvd.code == 1008
                assert last["data"]["code"] == "ConsumerTooSlow"

    live(database_url, scenario, backlog_bytes=30_000)


def test_an_unknown_socket_address_is_refused(database_url: str) -> None:
    async def scenario(world: Live) -> None:
        with pytest.raises(InvalidStatus):
            await connect(world.ws + "/other")

    live(database_url, scenario)
