"""Clients whose sockets API Gateway holds: a real registry in Postgres, and a local @connections endpoint over HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import msgspec
import pytest
from botocore.credentials import Credentials

from groundswell.adapters.apigateway.broadcaster import ApiGatewayBroadcaster
from groundswell.adapters.apigateway.management import ConnectionsApi
from groundswell.adapters.postgres_connections import PostgresConnections
from groundswell.adapters.postgres_keys import PostgresKeys
from groundswell.adapters.postgres_pool import open_pool
from groundswell.adapters.postgres_reads import PostgresReads
from groundswell.adapters.postgres_store import PostgresStore
from groundswell.adapters.system_clock import SystemClock
from groundswell.errors import Unauthorized
from groundswell.ports.storing import Event, EventDraft
from groundswell.services.remote_sockets import RemoteSockets
from rehearsal.connections_endpoint import ConnectionsEndpoint

CREDENTIALS = Credentials("AKIDEXAMPLE", "not-a-real-secret")


class World:
    """Everything between a client's frame and the message that is posted back."""

    def __init__(
        self, endpoint: ConnectionsEndpoint, url: str, pool: Any, sender: ConnectionsApi, options: dict[str, Any]
    ) -> None:
        self.endpoint = endpoint
        self.store = PostgresStore(pool)
        self.keys = PostgresKeys(pool)
        self.registry = PostgresConnections(pool)
        self.broadcaster = ApiGatewayBroadcaster(
            self.registry, sender, SystemClock(), **{"rng": Random(1), "window_s": 0.05, **options}
        )
        self.sockets = RemoteSockets(
            self.registry, sender, PostgresReads(pool), self.keys, SystemClock(), version="1", heartbeat_s=60
        )

    async def client(self, name: str, *topics: str) -> None:
        """Connected, subscribed, and known to the broadcaster."""
        await self.sockets.connect(name, None)
        await self.say(name, action="subscribe", topics=list(topics))
        await eventually(lambda: name in self.broadcaster._clients)  # pyright: ignore[reportPrivateUsage]

    async def say(self, name: str, **frame: Any) -> None:
        await self.sockets.hear(name, json.dumps(frame))

    async def happen(self, *types: str, **data: Any) -> list[Event]:
        """Store events and hand them to the broadcaster, as the relay does."""
        raw = msgspec.Raw(msgspec.json.encode(data or {"why": "test"}))
        events = list(await self.store.append_events([EventDraft(kind, raw) for kind in types]))
        await self.broadcaster.publish(events)
        return events


async def eventually(condition: Callable[[], bool]) -> None:
    """Look again and again: what is waited for happens in tasks that tell nobody."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@asynccontextmanager
async def a_world(url: str, **options: Any) -> AsyncGenerator[World]:
    pool = await open_pool(url, size=4, wait_s=5, statement_timeout_s=10, application_name="test")
    stop = asyncio.Event()
    try:
        async with (
            ConnectionsEndpoint() as endpoint,
            ConnectionsApi(endpoint.url, credentials=CREDENTIALS) as sender,
        ):
            world = World(endpoint, url, pool, sender, options)
            running = asyncio.create_task(world.broadcaster.run(stop))
            try:
                yield world
            finally:
                stop.set()
                await asyncio.wait_for(running, 20)
    finally:
        await pool.close()


def in_a_world(url: str, scenario: Callable[[World], Awaitable[None]], **options: Any) -> None:
    async def run() -> None:
        async with a_world(url, **options) as world:
            await asyncio.wait_for(scenario(world), 60)

    asyncio.run(run())


def test_a_client_is_greeted_when_it_first_speaks_and_hears_what_it_subscribed_to(database_url: str) -> None:
    async def scenario(world: World) -> None:
        await world.client("abc=", "gaps")
        assert world.endpoint.types("abc=") == ["hello", "info"]
        hello, subscribed = world.endpoint.heard["abc="]
        assert hello["data"]["heartbeat_interval_s"] == 60
        assert subscribed["data"]["topics"] == ["gaps"]
        events = await world.happen("gap", "momentum.update", entities=[])
        await world.endpoint.until(lambda: "gap" in world.endpoint.types("abc="))
        assert world.endpoint.heard["abc="][-1]["seq"] == events[0].seq
        assert "momentum.update" not in world.endpoint.types("abc=")
        (signature,) = {text.partition(",")[0] for text in world.endpoint.signatures}
        assert signature.startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
        assert signature.endswith("/execute-api/aws4_request")

    in_a_world(database_url, scenario)


def test_what_passes_before_the_broadcaster_hears_of_a_client_is_made_up_for(database_url: str) -> None:
    async def scenario(world: World) -> None:
        # The registry is written, and the event stored and flushed, before the notification has been read.
        await world.client("first", "gaps")
        told = world.registry.update
        await told("late", lambda client, seq: msgspec.structs.replace(client, topics=("gaps",), greeted_at=seq))
        await world.happen("gap")
        await world.endpoint.until(lambda: "gap" in world.endpoint.types("late"))
        assert world.endpoint.types("late") == ["gap"]

    in_a_world(database_url, scenario, window_s=0.0)


def test_every_action_is_answered_and_an_unknown_one_gets_an_error_frame(database_url: str) -> None:
    async def scenario(world: World) -> None:
        await world.client("a", "gaps")
        await world.say("a", action="ping")
        await world.say("a", action="dance")
        await world.sockets.hear("a", "not json")
        await world.say("a", action="unsubscribe", topics=["gaps"])
        codes = [(frame["type"], frame["data"].get("code")) for frame in world.endpoint.heard["a"][2:]]
        assert codes == [("pong", None), ("error", "unknown-action"), ("error", "bad-frame"), ("info", "subscribed")]

    in_a_world(database_url, scenario)


def test_a_paused_client_hears_nothing_until_it_resumes(database_url: str) -> None:
    async def scenario(world: World) -> None:
        await world.client("a", "gaps")
        await world.client("b", "gaps")
        await world.say("a", action="pause")
        await eventually(lambda: not world.broadcaster._clients["a"].listening)  # pyright: ignore[reportPrivateUsage]
        await world.happen("gap")
        await world.endpoint.until(lambda: "gap" in world.endpoint.types("b"))
        assert "gap" not in world.endpoint.types("a")
        await world.say("a", action="resume")
        resumed = world.endpoint.heard["a"][-1]
        assert resumed["data"]["code"] == "resumed"
        assert resumed["data"]["catch_up_from"] == 0
        await eventually(lambda: world.broadcaster._clients["a"].listening)  # pyright: ignore[reportPrivateUsage]
        await world.happen("gap")
        await world.endpoint.until(lambda: "gap" in world.endpoint.types("a"))

    in_a_world(database_url, scenario)


def test_a_client_that_is_gone_is_forgotten_everywhere(database_url: str) -> None:
    async def scenario(world: World) -> None:
        await world.client("a", "gaps")
        await world.client("b", "gaps")
        world.endpoint.gone.add("a")
        await world.happen("gap")
        await eventually(lambda: world.broadcaster.clients == 1)
        await world.broadcaster._settle()  # pyright: ignore[reportPrivateUsage]
        assert [client.connection_id for client in await world.registry.greeted(10)] == ["b"]

    in_a_world(database_url, scenario)


def test_a_client_that_leaves_is_not_posted_to_any_more(database_url: str) -> None:
    async def scenario(world: World) -> None:
        await world.client("a", "gaps")
        await world.client("b", "gaps")
        await world.sockets.disconnect("a")
        await eventually(lambda: world.broadcaster.clients == 1)
        await world.happen("gap")
        await world.endpoint.until(lambda: "gap" in world.endpoint.types("b"))
        assert "gap" not in world.endpoint.types("a")

    in_a_world(database_url, scenario)


def test_throttling_and_failures_delay_messages_and_lose_none(database_url: str) -> None:
    async def scenario(world: World) -> None:
        for name in ("a", "b", "c"):
            await world.client(name, "gaps")
        world.endpoint.throttle_next = 4
        world.endpoint.fail_next = 3
        seqs = [event.seq for _ in range(5) for event in await world.happen("gap")]

        def all_heard() -> bool:
            return all(
                [frame["seq"] for frame in world.endpoint.heard[name] if frame["type"] == "gap"] == seqs
                for name in ("a", "b", "c")
            )

        await world.endpoint.until(all_heard)
        assert not world.endpoint.overlapped

    in_a_world(database_url, scenario)


def test_clients_are_posted_to_side_by_side_and_each_in_order(database_url: str) -> None:
    async def scenario(world: World) -> None:
        names = [f"client{n}" for n in range(40)]
        for name in names:
            await world.client(name, "gaps")
        seqs = [event.seq for _ in range(10) for event in await world.happen("gap")]
        await world.endpoint.until(lambda: all(world.endpoint.heard[name][-1]["seq"] == seqs[-1] for name in names))
        for name in names:
            assert [frame["seq"] for frame in world.endpoint.heard[name] if frame["type"] == "gap"] == seqs
        assert world.endpoint.most_at_once > 5
        assert not world.endpoint.overlapped

    in_a_world(database_url, scenario)


def test_messages_are_counted_for_the_month_whoever_sends_them(database_url: str) -> None:
    async def scenario(world: World) -> None:
        await world.client("a", "gaps")
        await world.happen("gap")
        await world.endpoint.until(lambda: "gap" in world.endpoint.types("a"))
        await eventually(lambda: world.broadcaster._sent == 1)  # pyright: ignore[reportPrivateUsage]
        await world.broadcaster._settle()  # pyright: ignore[reportPrivateUsage]
        allowance = await world.registry.spend(0)
        # One frame from the client, its greeting and its answer, and one broadcast.
        assert allowance.spent == 4
        assert 0 < allowance.left_s <= 31 * 86400

    in_a_world(database_url, scenario)


def test_a_spent_budget_is_said_to_be_so_and_stretches_the_pause(database_url: str) -> None:
    async def scenario(world: World) -> None:
        await world.registry.spend(90)
        await world.client("a", "gaps")
        await world.broadcaster._settle()  # pyright: ignore[reportPrivateUsage]
        state, detail = world.broadcaster.status()
        assert state == "stretched"
        assert "message budget" in str(detail["why"])
        assert world.broadcaster.pause_s > 60

    in_a_world(database_url, scenario, messages_per_month=100)


def test_being_refused_by_api_gateway_loses_no_client_and_is_said(database_url: str) -> None:
    async def scenario(world: World) -> None:
        await world.client("a", "gaps")
        world.endpoint.refuse = True
        await world.happen("gap")
        await eventually(lambda: world.broadcaster.status()[0] == "waiting")
        assert "execute-api:ManageConnections" in str(world.broadcaster.status()[1]["why"])
        assert world.broadcaster.clients == 1

    in_a_world(database_url, scenario)


def test_a_token_has_to_be_right_where_it_is_given(database_url: str) -> None:
    async def scenario(world: World) -> None:
        key = await world.keys.create("screen")
        await world.sockets.connect("good", key)
        with pytest.raises(Unauthorized):
            await world.sockets.connect("bad", "gs_wrong")
        assert await world.registry.look_up(["bad"]) == []

    in_a_world(database_url, scenario)


def test_an_oversized_client_frame_is_named_and_the_client_sent_away(database_url: str) -> None:
    async def scenario(world: World) -> None:
        await world.client("a", "gaps")
        await world.sockets.hear("a", "x" * 40_000)
        assert world.endpoint.heard["a"][-1]["data"]["code"] == "FrameTooBig"
        assert world.endpoint.disconnected == ["a"]

    in_a_world(database_url, scenario)


def test_connections_left_behind_are_swept_by_the_databases_clock(database_url: str) -> None:
    async def scenario(world: World) -> None:
        await world.client("old", "gaps")
        await world.client("new", "gaps")
        async with world.store._pool.connection() as conn:  # pyright: ignore[reportPrivateUsage]
            await conn.execute(
                "UPDATE ws_connections SET connected_at = now() - interval '3 hours' WHERE connection_id = 'old'"
            )
        assert await world.registry.forget_stale(10) == 1
        assert [client.connection_id for client in await world.registry.greeted(10)] == ["new"]

    in_a_world(database_url, scenario)
