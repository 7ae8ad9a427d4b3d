"""Every fault does what it says, seen from the far end of a real socket."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from itertools import pairwise

import pytest
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from groundswell.adapters.simulator import Fault, SimulatorServer, World
from groundswell.core.jetstream import decode
from groundswell.core.posts import Ignored
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

TAPE = (START, START + 10 * SECOND)
NO_ANSWER_S = 0.3


def tape_server(world: World, clock: HandClock | None = None, *, timetable: tuple[Fault, ...] = ()) -> SimulatorServer:
    return SimulatorServer(world, clock=clock or HandClock(), tape=TAPE, hold_at_end=False, timetable=timetable)


@pytest.mark.parametrize("mid_frame", [True, False])
@pytest.mark.parametrize("reset", [True, False])
def test_a_drop_ends_the_connection_without_a_goodbye_and_loses_nothing(mid_frame: bool, reset: bool) -> None:
    async def scenario() -> None:
        clock, world = HandClock(), small_world()
        async with SimulatorServer(world, clock=clock) as server:
            got: list[bytes] = []
            async with reader(server.url + POSTS_ONLY) as websocket:
                clock.advance(3)
                got += await take(websocket, 50)
                assert server.faults.drop(mid_frame=mid_frame, reset=reset) == 1
                with pytest.raises(ConnectionClosedError) as broken:
                    while True:
                        got.append(await websocket.recv(decode=False))
                assert broken.value.rcvd is None
            clock.advance(3)
            expected = told(world, START, clock.instant)
            cursor = json.loads(got[-1])["time_us"]
            async with reader(f"{server.url}{POSTS_ONLY}&cursor={cursor}") as websocket:
                got += (await take(websocket, len(expected) - len(got) + 1))[1:]
            assert got == expected
            assert len(server.spans) == 2

    asyncio.run(scenario())


def test_a_stall_is_half_open_without_frames_and_without_pongs_until_it_ends() -> None:
    async def scenario() -> None:
        clock, world = HandClock(), small_world()
        async with SimulatorServer(world, clock=clock) as server, reader(server.url + POSTS_ONLY) as websocket:
            clock.advance(1)
            expected = told(world, START, clock.instant)
            assert await take(websocket, len(expected)) == expected
            server.faults.stall()
            clock.advance(5)
            pong = await websocket.ping()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.shield(pong), NO_ANSWER_S)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(websocket.recv(), NO_ANSWER_S)
            server.faults.resume()
            expected = told(world, START + SECOND, clock.instant)
            assert await take(websocket, len(expected)) == expected
            await pong

    asyncio.run(scenario())


def test_a_stall_also_holds_those_who_come_later_and_does_not_hold_up_the_end() -> None:
    async def scenario() -> None:
        async with tape_server(small_world()) as server:
            server.faults.stall()
            async with reader(server.url + POSTS_ONLY) as websocket:
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(websocket.recv(), NO_ANSWER_S)
                async with asyncio.timeout(5):
                    await server.__aexit__(None, None, None)

    asyncio.run(scenario())


def test_a_slow_connection_waits_for_every_byte() -> None:
    async def scenario() -> None:
        clock, world = HandClock(), small_world(garbage_share=0)
        async with tape_server(world, clock) as server:
            server.faults.slow(1000)
            frames = await take_all(server.url + POSTS_ONLY)
            assert frames == told(world, *TAPE)
            seconds = sum(clock.slept)
            assert seconds == pytest.approx(sum(len(frame) + 4 for frame in frames) / 1000, rel=0.01)
            server.faults.slow(None)
            clock.slept.clear()
            await take_all(server.url + POSTS_ONLY)
            assert clock.slept == []

    asyncio.run(scenario())


def test_duplicates_are_the_same_bytes_again() -> None:
    async def scenario() -> None:
        world = small_world()
        async with tape_server(world) as server:
            server.faults.duplicate(0.2)
            frames, expected = await take_all(server.url + POSTS_ONLY), told(world, *TAPE)
        assert 0.1 < len(frames) / len(expected) - 1 < 0.3
        assert list(dict.fromkeys(frames)) == expected
        assert any(earlier == later for earlier, later in pairwise(frames))

    asyncio.run(scenario())


def test_reordering_moves_frames_no_further_than_its_window() -> None:
    async def scenario() -> None:
        world = small_world()
        async with tape_server(world) as server:
            server.faults.reorder(8)
            frames, expected = await take_all(server.url + POSTS_ONLY), told(world, *TAPE)
        assert frames != expected
        assert Counter(frames) == Counter(expected)
        places = {frame: n for n, frame in enumerate(expected)}
        assert max(abs(places[frame] - n) for n, frame in enumerate(frames)) < 8

    asyncio.run(scenario())


def test_garbage_comes_between_frames_and_replaces_none() -> None:
    async def scenario() -> None:
        world = small_world(garbage_share=0)
        async with tape_server(world) as server:
            server.faults.garbage(0.2)
            frames, expected = await take_all(server.url + POSTS_ONLY), told(world, *TAPE)
        known = set(expected)
        assert [frame for frame in frames if frame in known] == expected
        broken = [frame for frame in frames if frame not in known]
        assert len(broken) > len(expected) / 10
        assert all(isinstance(decode(frame, source="simulator", extractor=None), Ignored) for frame in broken)

    asyncio.run(scenario())


@pytest.mark.parametrize("status", [403, 503])
def test_a_refusal_answers_the_handshake_as_often_as_asked(status: int) -> None:
    async def scenario() -> None:
        world = small_world()
        async with tape_server(world) as server:
            server.faults.refuse(status, times=2)
            for _ in range(2):
                with pytest.raises(InvalidStatus) as refused:
                    await take_all(server.url)
                assert refused.value.response.status_code == status
            assert await take_all(server.url + POSTS_ONLY) == told(world, *TAPE)
            server.faults.refuse(status)
            for _ in range(3):
                with pytest.raises(InvalidStatus):
                    await take_all(server.url)
            server.faults.accept()
            assert await take_all(server.url + POSTS_ONLY) == told(world, *TAPE)

    asyncio.run(scenario())


def test_a_rewind_starts_before_the_cursor_and_never_more_than_an_hour() -> None:
    async def scenario() -> None:
        clock, world = HandClock(), small_world()
        async with SimulatorServer(world, clock=clock) as server:

            async def first_time(cursor: int) -> int:
                async with reader(f"{server.url}{POSTS_ONLY}&cursor={cursor}") as websocket:
                    return json.loads((await take(websocket, 1))[0])["time_us"]

            cursor = START - 10 * SECOND
            server.faults.rewind(20)
            assert await first_time(cursor) == times(world, cursor - 20 * SECOND, cursor)[0]
            assert await first_time(cursor) == times(world, cursor, START)[0]
            server.faults.rewind(50_000)
            assert await first_time(cursor) == times(world, cursor - 3600 * SECOND, cursor - 3595 * SECOND)[0]

    asyncio.run(scenario())


def test_a_flapping_host_drops_the_next_connections_and_then_holds() -> None:
    async def scenario() -> None:
        world = small_world()
        async with tape_server(world) as server:
            server.faults.flap(2, after_frames=7)
            for _ in range(2):
                async with reader(server.url + POSTS_ONLY) as websocket:
                    assert await take(websocket, 7) == told(world, *TAPE)[:7]
                    with pytest.raises(ConnectionClosedError):
                        await websocket.recv()
            assert await take_all(server.url + POSTS_ONLY) == told(world, *TAPE)

    asyncio.run(scenario())


def test_calm_ends_everything_at_once() -> None:
    async def scenario() -> None:
        world = small_world()
        async with tape_server(world) as server:
            faults = server.faults
            faults.stall()
            faults.slow()
            faults.duplicate()
            faults.reorder()
            faults.garbage()
            faults.refuse()
            faults.flap()
            faults.calm()
            assert await take_all(server.url + POSTS_ONLY) == told(world, *TAPE)

    asyncio.run(scenario())


def test_a_timetable_lets_faults_come_and_go() -> None:
    async def scenario() -> None:
        world = small_world()
        clock = HandClock()
        timetable = (
            Fault(at_s=0, kind="refuse", value=503),
            Fault(at_s=0, kind="duplicate", value=0.5, lasts_s=0),
            Fault(at_s=0, kind="flap", value=1),
        )
        async with tape_server(world, clock, timetable=timetable) as server:
            with pytest.raises(InvalidStatus):
                while True:
                    await take_all(server.url + POSTS_ONLY)
            server.faults.accept()
            with pytest.raises(ConnectionClosedError):
                await take_all(server.url + POSTS_ONLY)
            assert await take_all(server.url + POSTS_ONLY) == told(world, *TAPE)

    asyncio.run(scenario())
