"""Hosts of Jetstream, old and new: which version is spoken, where each is resumed, and which one is tried next."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from groundswell.adapters.jetstream import JetstreamSource
from groundswell.adapters.jetstream_hosts import dictionary_id
from groundswell.adapters.simulator import Host, SimulatorServer, World
from groundswell.adapters.simulator.subscribe_events import PATH
from groundswell.core.host_positions import HostPosition
from groundswell.core.posts import Decoded, Post
from groundswell.core.session import ConnectionLost, Refused
from groundswell.ports.sources import Connection, HostedSource
from tests.simulator_clients import SECOND, START, HandClock, small_world

V2 = Host(version=2, segment_s=0)
BEGAN = V2.archive_began


@asynccontextmanager
async def hosts(
    *kinds: Host, clock: HandClock | None = None, world: World | None = None, **settings: Any
) -> AsyncGenerator[list[SimulatorServer]]:
    async with AsyncExitStack() as stack:
        servers = [
            SimulatorServer(world or small_world(), clock=clock or HandClock(), seen_by=kind, **settings)
            for kind in kinds
        ]
        yield [await stack.enter_async_context(server) for server in servers]


def source_of(*servers: SimulatorServer, **settings: Any) -> JetstreamSource:
    source = JetstreamSource(hosts=[server.url for server in servers], extractor=None, **settings)
    source.resume_from(())
    return source


async def read(source: JetstreamSource, connection: Connection, count: int) -> list[Decoded]:
    return [source.decode(await connection.receive()) for _ in range(count)]


async def lose(source: JetstreamSource, cursor: int | None = None) -> str:
    """Open a connection, lose it after a frame, and answer which host that was."""
    with pytest.raises(ConnectionLost):
        async with source.connect(cursor):
            raise ConnectionLost("a test wants it")
    assert source.host is not None
    return source.host


# ------------------------------------------------------------------ which version
@pytest.mark.parametrize(("kind", "version"), [(Host(), "v1"), (V2, "v2")])
def test_a_host_is_read_in_the_version_that_it_speaks(kind: Host, version: str) -> None:
    async def scenario() -> None:
        async with hosts(kind, history_s=5) as [server]:
            source = source_of(server)
            assert isinstance(source, HostedSource)
            async with source.connect(None) as connection:
                assert any(isinstance(decoded, Post) for decoded in await read(source, connection, 20))
                assert (source.host, source.version) == (f"127.0.0.1:{server.port}", version)
                assert connection.endpoint.endswith(PATH if version == "v2" else "/subscribe")
                assert source.loses_at_cutover == (version == "v1")

    asyncio.run(scenario())


def test_both_versions_give_the_same_posts_through_the_adapter() -> None:
    async def scenario() -> None:
        world = small_world(account_share=0, garbage_share=0.02)
        tape = (START, START + 20 * SECOND)
        async with hosts(Host(), V2, world=world, tape=tape) as [old, new]:
            seen: list[list[Decoded]] = []
            for server in (old, new):
                source = source_of(server)
                async with source.connect(None) as connection:
                    seen.append(await read(source, connection, 700))
            assert seen[0] == seen[1]

    asyncio.run(scenario())


def test_a_host_that_is_exchanged_in_place_is_noticed_at_the_next_connection() -> None:
    async def scenario() -> None:
        clock = HandClock()
        async with hosts(Host(), clock=clock, history_s=5) as [old]:
            port, source = old.port, source_of(old)
            async with source.connect(None) as connection:
                await read(source, connection, 5)
                assert source.version == "v1"
        for kind, version in ((V2, "v2"), (Host(), "v1")):
            async with hosts(kind, clock=clock, history_s=5, port=port), source.connect(START) as connection:
                await read(source, connection, 5)
                assert source.version == version

    asyncio.run(scenario())


@asynccontextmanager
async def takes_any_address() -> AsyncGenerator[tuple[int, list[str]]]:
    """A server that lets everybody in and says nothing. Yields its port and the paths that it was asked for."""
    paths: list[str] = []

    async def handler(websocket: ServerConnection) -> None:
        assert websocket.request is not None
        paths.append(websocket.request.path.partition("?")[0])
        await websocket.wait_closed()

    async with serve(handler, "127.0.0.1", 0) as listening:
        yield next(iter(listening.sockets)).getsockname()[1], paths


def test_a_server_that_takes_any_address_is_not_taken_for_one_of_v2() -> None:
    async def scenario() -> None:
        async with takes_any_address() as (port, paths):
            source = JetstreamSource(hosts=[f"ws://127.0.0.1:{port}"], extractor=None)
            async with source.connect(None):
                assert source.version == "v1"
            assert paths == [PATH, "/subscribe"]

    asyncio.run(scenario())


def test_an_address_with_a_path_of_its_own_is_left_as_it_is() -> None:
    async def scenario() -> None:
        async with takes_any_address() as (port, paths):
            for path in ("/my/stream", "/behind/subscribe", f"/behind{PATH}"):
                source = JetstreamSource(hosts=[f"ws://127.0.0.1:{port}{path}"], extractor=None)
                async with source.connect(None):
                    pass
        behind = [f"/behind{PATH}", "/behind/subscribe"]
        assert paths == ["/my/stream", *behind, *behind]

    asyncio.run(scenario())


def test_what_a_v2_host_refuses_for_good_is_named_in_its_words() -> None:
    async def scenario() -> None:
        async with hosts(V2) as [server]:
            source = source_of(server, wanted_collections=["not_a_collection"])
            with pytest.raises(Refused, match=r"InvalidRequest: .*invalid collection"):
                async with source.connect(None):
                    pass

    asyncio.run(scenario())


# ------------------------------------------------------------------ compression
def test_compressed_frames_come_with_the_dictionary_that_the_host_hands_out() -> None:
    async def scenario() -> None:
        async with hosts(V2, tape=(START, START + 20 * SECOND)) as [server]:
            plain, packed = source_of(server), source_of(server, compress=True)
            async with plain.connect(None) as one, packed.connect(None) as other:
                assert await read(plain, one, 300) == await read(packed, other, 300)
            assert dictionary_id(packed._hosts[0].dictionary) is not None

    asyncio.run(scenario())


def test_a_dictionary_that_the_host_has_replaced_is_fetched_anew() -> None:
    async def scenario() -> None:
        async with hosts(V2, tape=(START, START + 20 * SECOND)) as [server]:
            source = source_of(server, compress=True)
            async with source.connect(None) as connection:
                await read(source, connection, 5)
            known = source._hosts[0]
            assert known.dictionary is not None
            known.dictionary = known.dictionary[:4] + (5).to_bytes(4, "little") + known.dictionary[8:]
            async with source.connect(None) as connection:
                assert any(isinstance(decoded, Post) for decoded in await read(source, connection, 20))

    asyncio.run(scenario())


@pytest.mark.parametrize("broken", [b"", b"short", b"\x37\xa4\x30\xec" + b"\x07\0\0\0" + b"no dictionary"])
def test_what_is_no_dictionary_has_no_number(broken: bytes) -> None:
    assert dictionary_id(broken) is None


# ------------------------------------------------------------------ where it resumes
def test_the_same_host_is_resumed_by_its_number_and_another_one_by_time() -> None:
    async def scenario() -> None:
        clock = HandClock()
        other = Host(version=2, segment_s=0, archive_began=BEGAN + 77 * SECOND)
        async with hosts(V2, other, clock=clock, history_s=400) as [one, two]:
            source = source_of(one, two)
            seq = START - BEGAN
            source.resume_from([HostPosition(f"127.0.0.1:{one.port}", START, seq)])
            for _ in range(2):
                async with source.connect(START):
                    pass
                await lose(source, START)
            async with source.connect(START) as connection:
                await read(source, connection, 1)
            assert {span.cursor for span in one.spans} == {seq - 5_000}, "by number, as often as it is tried"
            assert [span.cursor for span in two.spans] == [START - 180 * SECOND]

    asyncio.run(scenario())


def test_after_a_loss_the_same_host_is_tried_once_more_before_another_one() -> None:
    async def scenario() -> None:
        async with hosts(V2, V2, V2) as servers:
            source = source_of(*servers)
            names = [f"127.0.0.1:{server.port}" for server in servers]
            assert [await lose(source) for _ in range(5)] == [names[0], names[0], names[1], names[1], names[2]]

    asyncio.run(scenario())


def test_a_host_that_cannot_be_opened_passes_the_turn_on_at_once() -> None:
    async def scenario() -> None:
        async with hosts(V2, V2) as [away, here]:
            away.faults.refuse(503)
            source = source_of(away, here)
            with pytest.raises(Refused, match="ServiceUnavailable") as refused:
                async with source.connect(None):
                    pass
            assert refused.value.status == 503
            assert await lose(source) == f"127.0.0.1:{here.port}"

    asyncio.run(scenario())


def test_a_new_process_begins_with_the_host_that_was_read_last() -> None:
    async def scenario() -> None:
        async with hosts(V2, V2) as [one, two]:
            source = source_of(one, two)
            source = JetstreamSource(hosts=[one.url, two.url], extractor=None)
            source.resume_from(
                [
                    HostPosition(f"127.0.0.1:{one.port}", START - SECOND, 1),
                    HostPosition(f"127.0.0.1:{two.port}", START, START - BEGAN),
                    HostPosition("gone.example", START + SECOND, 1),
                ]
            )
            assert await lose(source, START) == f"127.0.0.1:{two.port}"

    asyncio.run(scenario())


def test_a_number_that_is_no_longer_kept_is_replaced_by_the_oldest_one() -> None:
    async def scenario() -> None:
        clock = HandClock()
        async with hosts(V2, clock=clock, retention_s=60) as [server]:
            source = source_of(server)
            long_ago = START - 1000 * SECOND
            source.resume_from([HostPosition(f"127.0.0.1:{server.port}", long_ago, long_ago - BEGAN)])
            async with source.connect(long_ago) as connection:
                first = (await read(source, connection, 1))[0]
            floor = START - 60 * SECOND
            assert server.spans[0].cursor == floor - BEGAN
            assert first.event_time is not None
            assert floor <= first.event_time < floor + SECOND

    asyncio.run(scenario())


@pytest.mark.parametrize("shift_s", [-3600, 3600])
def test_a_host_that_numbers_anew_is_asked_by_time(shift_s: int) -> None:
    """Numbers that lie in its future are announced; those that now mean another time are seen at the first event."""

    async def scenario() -> None:
        clock = HandClock()
        began = BEGAN + shift_s * SECOND
        async with hosts(Host(version=2, segment_s=0, archive_began=began), clock=clock, history_s=10) as [server]:
            source = source_of(server)
            known = HostPosition(f"127.0.0.1:{server.port}", START - 20 * SECOND, START - 20 * SECOND - BEGAN)
            source.resume_from([known])
            clock.advance(4000 if shift_s < 0 else 0)
            for _ in range(2):
                try:
                    async with source.connect(START - 20 * SECOND) as connection:
                        first = (await read(source, connection, 1))[0]
                    break
                except ConnectionLost as error:
                    assert "numbers its events anew" in str(error)
            assert first.event_time is not None
            assert first.event_time <= START - 20 * SECOND, "nothing is skipped"

    asyncio.run(scenario())


def test_the_reason_that_a_host_gives_for_an_end_is_the_reason() -> None:
    async def scenario() -> None:
        async with hosts(V2, tape=(START, START + 5 * SECOND)) as [server]:
            source = source_of(server)
            async with source.connect(None) as connection:
                await read(source, connection, 10)
                server.faults.complain("ConsumerTooSlow", "reconnect with cursor=42")
                with pytest.raises(ConnectionLost, match=r"ConsumerTooSlow.*cursor=42"):
                    while True:
                        await connection.receive()

    asyncio.run(scenario())


def test_one_more_connection_leaves_the_first_and_the_turn_alone() -> None:
    async def scenario() -> None:
        async with hosts(V2, Host(), history_s=30) as [one, two]:
            source = source_of(one, two)
            async with source.connect(None) as connection:
                async with source.connect_to(f"127.0.0.1:{two.port}", START - 9 * SECOND) as besides:
                    assert json.loads(await besides.receive())["time_us"] >= START - 9 * SECOND
                assert (source.host, source.version) == (f"127.0.0.1:{one.port}", "v2")
                await read(source, connection, 3)
            assert two.spans[0].cursor == START - 9 * SECOND

    asyncio.run(scenario())
