"""The simulated stream over a real socket: live, replayed, filtered, restarted."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from collections import Counter
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus

from groundswell.adapters.jetstream import JetstreamSource
from groundswell.adapters.simulator import WATCH_NAMES, SimulatorServer, World, WorldConfig, truth
from groundswell.adapters.system_clock import SystemClock
from groundswell.core.entities import EntityExtractor
from groundswell.core.posts import Post
from groundswell.core.session import ConnectionLost
from tests.simulator_clients import (
    POSTS_ONLY,
    SECOND,
    START,
    HandClock,
    reader,
    small_world,
    take,
    take_all,
    times,
    told,
)

TAPE = (START, START + 5 * SECOND)


def tape_server(world: World, *, hold_at_end: bool = False) -> SimulatorServer:
    return SimulatorServer(world, clock=HandClock(), tape=TAPE, hold_at_end=hold_at_end)


def test_a_tape_is_the_world_to_the_byte_and_ends_with_a_goodbye() -> None:
    async def scenario() -> None:
        world = small_world(garbage_share=0.05)
        async with tape_server(world) as server:
            assert await take_all(server.url + POSTS_ONLY) == told(world, *TAPE)
            assert await take_all(server.url) == told(world, *TAPE, everything=True)
            assert [span.frames for span in server.spans] == [
                len(told(world, *TAPE)),
                len(told(world, *TAPE, everything=True)),
            ]

    asyncio.run(scenario())


def test_a_held_tape_stays_open_in_silence() -> None:
    async def scenario() -> None:
        world = small_world()
        async with tape_server(world, hold_at_end=True) as server, reader(server.url + POSTS_ONLY) as websocket:
            await take(websocket, len(told(world, *TAPE)))
            await server.finished.wait()
            await (await websocket.ping())

    asyncio.run(scenario())


def test_a_cursor_replays_from_that_microsecond_on_inclusively() -> None:
    async def scenario() -> None:
        world = small_world()
        frames, cursor = told(world, *TAPE), times(world, *TAPE)[77]
        async with tape_server(world) as server:
            assert await take_all(f"{server.url}{POSTS_ONLY}&cursor={cursor}") == frames[77:]
            assert await take_all(f"{server.url}{POSTS_ONLY}&cursor={cursor + 1}") == frames[78:]
            assert await take_all(f"{server.url}{POSTS_ONLY}&cursor=1") == frames

    asyncio.run(scenario())


def test_live_frames_come_when_their_time_has_come() -> None:
    async def scenario() -> None:
        clock, world = HandClock(), small_world()
        async with SimulatorServer(world, clock=clock) as server, reader(server.url + POSTS_ONLY) as websocket:
            for _ in range(3):
                since = clock.instant
                clock.advance(0.7)
                expected = told(world, since, clock.instant)
                assert await take(websocket, len(expected)) == expected
            assert server.spans[0].last_time_us == times(world, START, clock.instant)[-1]

    asyncio.run(scenario())


def test_a_restarted_server_goes_on_where_the_old_one_was_left() -> None:
    async def scenario() -> None:
        clock = HandClock()
        async with SimulatorServer(small_world(), clock=clock) as server, reader(server.url + POSTS_ONLY) as websocket:
            clock.advance(3)
            seen = await take(websocket, 60)
        clock.advance(20)
        cursor = json.loads(seen[-1])["time_us"]
        missed = told(small_world(), cursor + 1, clock.instant)
        async with (
            SimulatorServer(small_world(), clock=clock) as server,
            reader(f"{server.url}{POSTS_ONLY}&cursor={cursor}") as websocket,
        ):
            assert await take(websocket, 1 + len(missed)) == [seen[-1], *missed]

    asyncio.run(scenario())


def test_a_reader_without_a_cursor_is_told_the_configured_history() -> None:
    async def scenario() -> None:
        clock, world = HandClock(), small_world()
        async with SimulatorServer(world, clock=clock, history_s=30) as server:
            expected = told(world, START - 30 * SECOND, START)
            async with reader(server.url + POSTS_ONLY) as websocket:
                assert await take(websocket, len(expected)) == expected

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("cursor", "begins"),
    [(START - 10_000 * SECOND, START - 60 * SECOND), (START + 10_000 * SECOND, START), (None, START)],
    ids=["older than what is kept", "in the future", "none"],
)
def test_a_cursor_out_of_range_starts_at_the_nearest_end(cursor: int | None, begins: int) -> None:
    async def scenario() -> None:
        clock, world = HandClock(), small_world()
        async with SimulatorServer(world, clock=clock, retention_s=60) as server:
            suffix = "" if cursor is None else f"&cursor={cursor}"
            async with reader(server.url + POSTS_ONLY + suffix) as websocket:
                clock.advance(2)
                assert await take(websocket, 50) == told(world, begins, START + 5 * SECOND)[:50]

    asyncio.run(scenario())


def test_a_faster_world_tells_more_in_the_same_time() -> None:
    async def scenario() -> None:
        clock, world = HandClock(), small_world()
        async with (
            SimulatorServer(world, clock=clock, speed=10) as server,
            reader(server.url + POSTS_ONLY) as websocket,
        ):
            clock.advance(0.5)
            expected = told(world, START, START + 5 * SECOND)
            assert server.now() == START + 5 * SECOND
            assert await take(websocket, len(expected)) == expected

    asyncio.run(scenario())


def test_wanted_collections_choose_what_is_sent_and_accounts_go_to_all() -> None:
    async def scenario() -> None:
        world = small_world(account_share=0.1, garbage_share=0)

        async def collections(query: str) -> Counter[str]:
            frames = [json.loads(frame) for frame in await take_all(server.url + query)]
            return Counter(frame.get("commit", {}).get("collection", frame["kind"]) for frame in frames)

        async with tape_server(world) as server:
            everything = await collections("")
            likes = await collections("?wantedCollections=app.bsky.feed.like&wantedCollections=app.bsky.graph.block")
            feed = await collections("?wantedCollections=app.bsky.feed.*")
        always = {kind: everything[kind] for kind in ("identity", "account")}
        assert all(always.values())
        wanted = {name: everything[name] for name in ("app.bsky.feed.like", "app.bsky.graph.block")}
        assert likes == {**always, **wanted}
        assert set(feed) == {*always, "app.bsky.feed.post", "app.bsky.feed.like", "app.bsky.feed.repost"}

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("path", "status"),
    [("/subscribe?cursor=soon", 400), ("/subscribe?compress=true", 400), ("/elsewhere", 404)],
)
def test_a_request_that_cannot_work_is_refused_in_the_handshake(path: str, status: int) -> None:
    async def scenario() -> None:
        async with tape_server(small_world()) as server:
            with pytest.raises(InvalidStatus) as refused:
                await reader(f"ws://127.0.0.1:{server.port}{path}").__aenter__()
            assert refused.value.response.status_code == status
            assert server.spans == []

    asyncio.run(scenario())


def test_the_real_jetstream_source_reads_the_truth() -> None:
    async def scenario() -> None:
        config = WorldConfig(seed=8, posts_per_second=300, began_at=START, garbage_share=0.01, delete_share=0)
        until = START + 10 * SECOND
        extractor = EntityExtractor(WATCH_NAMES)
        posts: dict[str, Post] = {}
        async with SimulatorServer(
            World(config), clock=SystemClock(), tape=(START, until), hold_at_end=False
        ) as server:
            source = JetstreamSource(hosts=[server.url], extractor=extractor)
            async with source.connect(None) as connection:
                with contextlib.suppress(ConnectionLost):
                    while True:
                        decoded = source.decode(await connection.receive())
                        if isinstance(decoded, Post):
                            known = posts.get(decoded.id)
                            if known is None or known.rev < decoded.rev:
                                posts[decoded.id] = decoded
        expected = truth(config, START, until)
        assert {key: post.entities for key, post in posts.items()} == {
            key: post.entities for key, post in expected.posts.items()
        }

    asyncio.run(scenario())


def test_the_simulator_runs_on_its_own_until_it_is_told_to_stop() -> None:
    async def scenario() -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "groundswell.adapters.simulator", "--port", "0", "--rate", "50", "--history", "10",
            stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2],
        )  # fmt: skip
        try:
            assert process.stdout is not None
            url = (await process.stdout.readline()).decode().strip()
            async with reader(url + POSTS_ONLY) as websocket:
                frames = await take(websocket, 100)
            assert sum(frame.startswith(b'{"did":"did:plc:') for frame in frames) > 90
        finally:
            process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0

    asyncio.run(scenario())
