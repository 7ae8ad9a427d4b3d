"""What the API says of the platform's health: all that is wrong with it, and nothing that is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import msgspec
import psycopg
from websockets.asyncio.server import ServerConnection, serve

from groundswell.adapters.jetstream import JetstreamSource
from groundswell.adapters.migrations import REQUIRED_VERSION
from groundswell.adapters.postgres_store import PostgresStore
from groundswell.adapters.system_clock import SystemClock
from groundswell.core.entities import EntityExtractor
from groundswell.core.instants import parse_rfc3339
from groundswell.core.posts import MICROS_PER_SECOND
from groundswell.metrics import Metrics
from groundswell.services.relay import Relay
from groundswell.services.reporting import Reporter
from tests.api_world import World, in_world, relay_pool
from tests.relay_world import Screen


def post_frame(time_us: int) -> bytes:
    """One post as Jetstream sends it."""
    return msgspec.json.encode(
        {
            "did": "did:plc:ann",
            "time_us": time_us,
            "kind": "commit",
            "commit": {
                "rev": "3kaaa",
                "operation": "create",
                "collection": "app.bsky.feed.post",
                "rkey": "3kaaa",
                "record": {"$type": "app.bsky.feed.post", "text": "the last word", "createdAt": "2026-07-04T14:38:06Z"},
                "cid": "bafy",
            },
        }
    )


@asynccontextmanager
async def a_relay_on_a_source_that_says_one_thing(world: World) -> AsyncGenerator[None]:
    """It connects, hears one post, and then nothing but answers to its pings."""
    clock = SystemClock()

    async def handler(websocket: ServerConnection) -> None:
        await websocket.send(post_frame(clock.now()), text=True)
        await websocket.wait_closed()

    async with serve(handler, "127.0.0.1", 0, compression=None) as listening, relay_pool(world.url) as pool:
        store = PostgresStore(pool)
        port = next(iter(listening.sockets)).getsockname()[1]
        source = JetstreamSource(hosts=[f"ws://127.0.0.1:{port}"], quiet_after_s=None, extractor=EntityExtractor())
        relay = Relay(
            source, store, Screen(), clock, batch_max_posts=8, batch_max_age_s=0.02,
            rng=Random(1), metrics=Metrics(),
        )  # fmt: skip
        stop = asyncio.Event()
        reporter = Reporter(store, {"relay": relay.status})
        running = [asyncio.create_task(task) for task in (relay.run(stop), reporter.run(stop))]
        try:
            yield
        finally:
            stop.set()
            await asyncio.wait_for(asyncio.gather(*running), 30)


async def status_once(world: World, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The first status that `condition` holds for: it is looked at about once a second."""
    async with asyncio.timeout(40):
        while True:
            body = await world.get("/v1/status")
            if condition(body):
                return body
            await asyncio.sleep(0.1)


def test_a_quiet_source_is_live_and_raises_no_alarm(database_url: str) -> None:
    async def scenario(world: World) -> None:
        async with a_relay_on_a_source_that_says_one_thing(world):
            body = await status_once(world, lambda body: any(source["last_frame_at"] for source in body["sources"]))
            spoke = body["sources"][0]["last_frame_at"]
            # As if nothing had been heard of it for five minutes, answers to pings included. It still says nothing.
            with psycopg.connect(database_url) as conn:
                conn.execute("UPDATE cursors SET updated_at = updated_at - interval '5 minutes'")
            await heard_again(database_url)
            since = parse_rfc3339((await world.get("/v1/status"))["as_of"])
            body = await status_once(world, lambda body: parse_rfc3339(body["as_of"]) > since + 2 * MICROS_PER_SECOND)
            (quiet,) = body["sources"]
            assert (quiet["state"], body["degraded"]) == ("live", [])
            assert quiet["last_frame_at"] == spoke
            assert quiet["age_s"] < (parse_rfc3339(body["as_of"]) - parse_rfc3339(spoke)) / MICROS_PER_SECOND

    in_world(database_url, scenario)


async def heard_again(url: str) -> None:
    """Return once the source's silence was noted as watched."""
    async with asyncio.timeout(40), await psycopg.AsyncConnection.connect(url, autocommit=True) as conn:
        while True:
            found = await conn.execute("SELECT 1 FROM cursors WHERE updated_at > now() - interval '1 minute'")
            if await found.fetchone():
                return
            await asyncio.sleep(0.05)


def test_a_source_that_nothing_is_heard_of_is_stale(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute("INSERT INTO cursors VALUES ('jetstream', 1, now(), now() - interval '2 minutes')")

    async def scenario(world: World) -> None:
        body = await world.get("/v1/status")
        assert (body["sources"][0]["state"], body["degraded"]) == ("stale", ["source:jetstream"])

    in_world(database_url, scenario)


def test_a_part_says_in_which_state_it_is_since_when_and_why(database_url: str) -> None:
    async def with_the_relays_pool(world: World) -> None:
        async with relay_pool(database_url) as pool:
            await scenario(world, PostgresStore(pool))

    async def scenario(world: World, store: PostgresStore) -> None:
        async def the_part(outbox: int) -> dict[str, Any]:
            body = await status_once(world, lambda body: body["components"][0]["detail"].get("outbox") == outbox)
            return body["components"][0] | {"missing": body["degraded"]}

        await store.report("vectors", "running", {"why": None, "outbox": 1})
        well = await the_part(outbox=1)
        await store.report("vectors", "running", {"why": None, "outbox": 2})
        still = await the_part(outbox=2)
        assert still["since"] == well["since"]
        assert still["updated_at"] > well["updated_at"]
        assert still["missing"] == []
        await store.report("vectors", "waiting", {"why": "Qdrant does not answer.", "outbox": 3})
        broken = await the_part(outbox=3)
        assert (broken["state"], broken["why"]) == ("waiting", "Qdrant does not answer.")
        assert broken["since"] > well["since"]
        assert broken["missing"] == ["vectors"]
        await store.report("vectors", "running", {"why": None, "outbox": 4})
        with psycopg.connect(database_url) as conn:
            conn.execute("UPDATE components SET updated_at = now() - interval '1 minute'")
        assert (await the_part(outbox=4))["missing"] == ["vectors"], "a part that no longer reports is missing"

    in_world(database_url, with_the_relays_pool)


def test_readiness_is_about_what_this_process_needs_and_not_about_the_platform(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(
            "INSERT INTO cursors VALUES ('jetstream', 1, now() - interval '1 hour', now() - interval '1 hour')"
        )
        conn.execute("INSERT INTO gaps (source, cause, started_at) VALUES ('jetstream', 'stall', now())")
        conn.execute("INSERT INTO components (component, state, detail) VALUES ('relay', 'failed', '{}')")

    async def scenario(world: World) -> None:
        assert (await world.get("/v1/status"))["degraded"] == ["relay", "source:jetstream"]
        ready = await world.get("/readyz")
        assert ready["status"] == "ready"
        assert {check["name"]: check["ok"] for check in ready["checks"]} == {"postgres": True, "schema": True}
        with psycopg.connect(database_url, autocommit=True) as conn:
            conn.execute("UPDATE alembic_version SET version_num = '0000'")
        refused = await world.client.get("/readyz")
        assert refused.status_code == 503
        assert f"needs {REQUIRED_VERSION}" in refused.json()["detail"]

    in_world(database_url, scenario)
