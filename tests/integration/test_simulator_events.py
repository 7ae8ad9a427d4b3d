"""A simulated host of Jetstream v2 serves the same world as one of v1, and refuses what a real one refuses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any
from urllib.request import urlopen

import msgspec
import pytest
import zstandard
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from groundswell.adapters.simulator import WATCH_NAMES, Host, Resync, SimulatorServer, World
from groundswell.core.entities import EntityExtractor
from groundswell.core.jetstream import decode
from groundswell.core.posts import Decoded, Post
from tests.simulator_clients import POSTS_ONLY, SECOND, START, HandClock, reader, small_world, take, take_all

EXTRACTOR = EntityExtractor([f"{name} | {name}" for name in WATCH_NAMES])
PATH = "/xrpc/network.bsky.jetstream.subscribeEvents"
ONLY_POSTS = "?collections=app.bsky.feed.post"
V2 = Host(version=2)
TAPE = (START, START + 120 * SECOND)


def base(server: SimulatorServer) -> str:
    return server.url.removesuffix("/subscribe")


def said(frames: list[bytes]) -> list[Decoded]:
    return [decode(frame, source="x", extractor=EXTRACTOR) for frame in frames]


@asynccontextmanager
async def v2_host(clock: HandClock | None = None, **more: Any) -> AsyncGenerator[tuple[SimulatorServer, str]]:
    world = more.pop("world", small_world())
    settings = {"seen_by": V2, **more}
    async with SimulatorServer(world, clock=clock or HandClock(), **settings) as server:
        yield server, base(server) + PATH


async def refused(url: str) -> tuple[int, str, str]:
    with pytest.raises(InvalidStatus) as error:
        async with reader(url):
            pass
    body = json.loads(error.value.response.body or b"{}")
    return error.value.response.status_code, body["error"], body["message"]


def test_a_stretch_of_the_world_decodes_to_the_same_in_both_formats() -> None:
    async def scenario() -> None:
        world = small_world(garbage_share=0.02, delete_share=0.05, update_share=0.05, account_share=0.05)
        async with (
            SimulatorServer(world, clock=HandClock(), tape=TAPE, hold_at_end=False) as v1,
            SimulatorServer(world, clock=HandClock(), tape=TAPE, hold_at_end=False, seen_by=V2) as v2,
        ):
            old = said(await take_all(v1.url + POSTS_ONLY))
            new = said(await take_all(base(v2) + PATH + ONLY_POSTS))
            frozen = said(await take_all(v2.url + POSTS_ONLY))
        assert len(old) > 4000
        assert sum(isinstance(decoded, Post) for decoded in old) > 3500
        assert old == frozen, "the old endpoint of a new host"
        assert old == new

    asyncio.run(scenario())


def test_a_message_has_a_number_and_both_times() -> None:
    async def scenario() -> None:
        async with v2_host(tape=TAPE) as (server, url), reader(url + ONLY_POSTS) as websocket:
            frames = [json.loads(frame) for frame in await take(websocket, 50)]
        numbers = [frame["payload"]["seq"] for frame in frames]
        assert numbers == sorted(set(numbers))
        first = frames[0]
        assert (first["$type"], first["payload"]["$type"].split("#")[0]) == ("message", PATH.removeprefix("/xrpc/"))
        assert first["payload"]["time"] == first["payload"]["witnessedAt"]
        assert first["payload"]["time"].endswith("Z")
        assert len(first["payload"]["time"]) == len("2026-07-04T14:38:06.240123Z")
        assert server.spans[0].path == PATH

    asyncio.run(scenario())


def test_a_number_resumes_inclusively_and_differs_from_host_to_host() -> None:
    async def scenario() -> None:
        world = small_world()
        other = Host(version=2, archive_began=V2.archive_began + 77 * SECOND)
        async with (
            v2_host(tape=TAPE, world=world) as (_, url),
            v2_host(tape=TAPE, world=world, seen_by=other) as (
                _,
                elsewhere,
            ),
        ):
            async with reader(url) as websocket:
                frames = await take(websocket, 100)
            number = json.loads(frames[60])["payload"]["seq"]
            async with reader(f"{url}?cursor={number}") as websocket:
                assert await take(websocket, 40) == frames[60:]
            async with reader(elsewhere) as websocket:
                assert json.loads((await take(websocket, 61))[60])["payload"]["seq"] == number - 77 * SECOND

    asyncio.run(scenario())


def test_a_time_within_the_segment_under_way_starts_at_its_beginning_on_both_endpoints() -> None:
    async def scenario() -> None:
        clock = HandClock(START // (60 * SECOND) * 60 * SECOND + 20 * SECOND)
        async with v2_host(clock, seen_by=Host(version=2, segment_s=60)) as (server, url):
            began = clock.instant - 20 * SECOND
            for asked, start in [(10, began), (20, began), (30, clock.instant - 30 * SECOND)]:
                cursor = clock.instant - asked * SECOND
                for address in (f"{url}{ONLY_POSTS}&cursor={cursor}", f"{server.url}{POSTS_ONLY}&cursor={cursor}"):
                    async with reader(address) as websocket:
                        await take(websocket, 1)
                    assert server.spans[-1].started_at == start

    asyncio.run(scenario())


def test_a_number_that_is_no_longer_kept_is_refused_with_the_oldest_one() -> None:
    async def scenario() -> None:
        clock = HandClock()
        async with v2_host(clock, retention_s=60) as (server, url):
            floor = clock.instant - 60 * SECOND - V2.archive_began
            status, name, message = await refused(f"{url}?cursor={floor - 1}")
            assert (status, name) == (400, "CursorTooOld")
            assert f"floor {floor}" in message
            async with reader(f"{url}?cursor={floor}") as websocket:
                assert json.loads((await take(websocket, 1))[0])["payload"]["seq"] >= floor
            async with reader(f"{server.url}?cursor={floor - 9}") as websocket:
                assert json.loads((await take(websocket, 1))[0])["cursor"] >= floor, "the old endpoint says nothing"

    asyncio.run(scenario())


def test_a_cursor_that_is_moved_is_announced_before_anything_else() -> None:
    async def scenario() -> None:
        clock = HandClock()
        async with v2_host(clock, retention_s=60) as (_, url):
            async with reader(f"{url}?cursor={clock.instant - 600 * SECOND}") as websocket:
                payload = json.loads((await take(websocket, 1))[0])["payload"]
                assert (payload["$type"].split("#")[1], payload["name"]) == ("info", "OutdatedCursor")
            async with reader(f"{url}?cursor={clock.instant - V2.archive_began + 5}") as websocket:
                assert json.loads((await take(websocket, 1))[0])["payload"]["name"] == "FutureCursor"

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("query", "name", "word"),
    [
        ("kinds=likes", "InvalidRequest", "unknown kind"),
        ("kinds=commit&kinds=commit&kinds=commit&kinds=commit&kinds=commit", "InvalidRequest", "too many kinds"),
        ("kinds=identity&collections=app.bsky.feed.like", "InvalidRequest", "can never apply"),
        ("collections=not_one.*", "InvalidRequest", "invalid collection"),
        ("&".join(f"collections=app.bsky.x{n}" for n in range(101)), "InvalidRequest", "too many collections"),
        ("wantedCollections=app.bsky.feed.post", "InvalidRequest", "use collections"),
        ("wantedDids=did:plc:a", "InvalidRequest", "use dids"),
        ("requireHello=true", "InvalidRequest", "server-push only"),
        ("compress=true", "InvalidRequest", "zstdDictionary"),
        ("zstdDictionary=12345", "UnknownZstdDictionary", "current dictionary id is"),
        ("zstdDictionary=banana", "InvalidRequest", "positive integer"),
        ("maxMessageSizeBytes=-1", "InvalidRequest", "maxMessageSizeBytes"),
        ("cursor=soon", "InvalidRequest", "invalid cursor"),
        ("cursor=-1", "InvalidRequest", "invalid cursor"),
    ],
)
def test_what_the_real_host_refuses_is_refused_before_the_upgrade(query: str, name: str, word: str) -> None:
    async def scenario() -> None:
        async with v2_host() as (_, url):
            status, error, message = await refused(f"{url}?{query}")
            assert (status, error) == (400, name)
            assert word in message

    asyncio.run(scenario())


def test_a_host_of_v1_has_nothing_at_the_new_address() -> None:
    async def scenario() -> None:
        async with SimulatorServer(small_world(), clock=HandClock()) as server:
            with pytest.raises(InvalidStatus) as error:
                async with reader(base(server) + PATH):
                    pass
            assert error.value.response.status_code == 404

    asyncio.run(scenario())


@pytest.mark.parametrize("sent", ["{}", b"\0"])
def test_whatever_a_reader_says_ends_the_connection(sent: str | bytes) -> None:
    async def scenario() -> None:
        async with v2_host() as (_, url), reader(url) as websocket:
            await websocket.send(sent)
            with pytest.raises(ConnectionClosed) as closed:
                while True:
                    await websocket.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1008

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (["xrpc.v1.json"], "xrpc.v1.json"),
        (None, None),
        (["XRPC.V1.JSON"], None),
        (["a", "xrpc.v1.json"], "xrpc.v1.json"),
    ],
)
def test_the_subprotocol_is_echoed_as_it_is_spelt_and_changes_nothing(
    offered: list[str] | None, chosen: str | None
) -> None:
    async def scenario() -> None:
        async with (
            v2_host(tape=TAPE) as (_, url),
            connect(url, subprotocols=offered, compression=None, close_timeout=0.5) as websocket,  # pyright: ignore[reportArgumentType]
        ):
            assert websocket.subprotocol == chosen
            assert json.loads(await websocket.recv())["$type"] == "message"

    asyncio.run(scenario())


def test_kinds_and_collections_choose_what_comes() -> None:
    async def kinds(url: str) -> set[str]:
        payloads = [json.loads(frame)["payload"] for frame in await take_all(url)]
        return {payload.get("collection") or payload["$type"].split("#")[1] for payload in payloads}

    async def scenario() -> None:
        world = small_world(garbage_share=0, account_share=0.05)
        async with v2_host(tape=(START, START + 10 * SECOND), hold_at_end=False, world=world) as (_, url):
            assert await kinds(url + ONLY_POSTS) == {"app.bsky.feed.post", "identity", "account"}
            assert await kinds(url + ONLY_POSTS + "&kinds=commit") == {"app.bsky.feed.post"}
            assert await kinds(url + "?collections=app.bsky.graph.*&kinds=commit") == {
                "app.bsky.graph.follow",
                "app.bsky.graph.block",
            }
            assert "app.bsky.feed.like" in await kinds(url)
            small = [len(frame) for frame in await take_all(url + "?maxMessageSizeBytes=600")]
            assert 400 < max(small) <= 600

    asyncio.run(scenario())


def test_the_dictionary_is_handed_out_and_every_frame_is_compressed_with_it() -> None:
    async def scenario() -> None:
        async with v2_host(tape=(START, START + 10 * SECOND), hold_at_end=False) as (server, url):
            address = base(server).replace("ws:", "http:") + "/xrpc/network.bsky.jetstream.getZstdDictionary"
            dictionary = await asyncio.to_thread(lambda: urlopen(address).read())
            number = int.from_bytes(dictionary[4:8], "little")
            same = await asyncio.to_thread(lambda: urlopen(f"{address}?id={number}").read())
            assert same == dictionary
            plain = await take_all(url + ONLY_POSTS)
            packed = await take_all(f"{url}{ONLY_POSTS}&zstdDictionary={number}")
            decompressor = zstandard.ZstdDecompressor(dict_data=zstandard.ZstdCompressionDict(dictionary))
            assert [decompressor.decompress(frame, max_output_size=1 << 20) for frame in packed] == plain
            assert sum(map(len, packed)) < 0.6 * sum(map(len, plain))

    asyncio.run(scenario())


# ------------------------------------------------------------------ faults
def test_a_host_that_lags_sees_and_stamps_everything_later() -> None:
    async def scenario() -> None:
        world, late = small_world(), Host(lag_s=30)
        tape = (START, START + 60 * SECOND)
        async with (
            SimulatorServer(world, clock=HandClock(), tape=tape, hold_at_end=False, seen_by=late) as lagging,
            v2_host(tape=tape, hold_at_end=False, seen_by=Host(version=2, lag_s=30), world=world) as (_, events),
        ):
            later = said(await take_all(lagging.url + POSTS_ONLY))
            assert said(await take_all(events + ONLY_POSTS)) == later
        on_time = said([frame for _, frame in world.frames(START - 30 * SECOND, START + 30 * SECOND)])
        assert later == [delayed(decoded, 30 * SECOND) for decoded in on_time]

    asyncio.run(scenario())


def delayed(decoded: Decoded, by: int) -> Decoded:
    if decoded.event_time is None or decoded.cursor is None:
        return decoded
    return msgspec.structs.replace(decoded, event_time=decoded.event_time + by, cursor=decoded.cursor + by)


async def caught_up(websocket: ClientConnection) -> list[bytes]:
    """What comes until there is silence."""
    frames: list[bytes] = []
    while True:
        try:
            frames.append(await asyncio.wait_for(websocket.recv(decode=False), 0.3))
        except TimeoutError:
            return frames


@pytest.mark.parametrize("host", [Host(), V2])
def test_a_cutover_loses_frames_where_the_replay_meets_the_present(host: Host) -> None:
    async def scenario() -> None:
        clock, world = HandClock(), small_world()
        async with SimulatorServer(world, clock=clock, seen_by=host) as server:
            server.faults.lose_at_cutover(20)
            clock.advance(10)
            url = f"{base(server)}{PATH}{ONLY_POSTS}" if host is V2 else server.url + POSTS_ONLY
            cursor = START - V2.archive_began if host is V2 else START
            async with reader(f"{url}&cursor={cursor}") as websocket:
                replayed = await caught_up(websocket)
                clock.advance(10)
                live = await caught_up(websocket)
            whole = said([frame for _, frame in world.frames(START, clock.instant)])
            assert said(replayed) == whole[: len(replayed)]
            assert said(live) == whole[len(replayed) + 20 :]
            async with reader(f"{url}&cursor={cursor}") as websocket:
                assert said(await caught_up(websocket)) == whole, "asked for again, it is there"

    asyncio.run(scenario())


def test_a_host_can_say_why_it_ends_a_stream() -> None:
    async def scenario() -> None:
        async with v2_host(tape=TAPE) as (server, url), reader(url + ONLY_POSTS) as websocket:
            await caught_up(websocket)
            assert server.faults.complain() == 1
            error = json.loads(await websocket.recv())
            assert (error["$type"], error["error"]) == ("error", "ConsumerTooSlow")
            with pytest.raises(ConnectionClosed):
                await websocket.recv()

    asyncio.run(scenario())


def busiest(world: World, since: int, until: int) -> str:
    posts = [d for d in said([f for _, f in world.frames(since, until)]) if isinstance(d, Post)]
    authors = [post.author for post in posts]
    return max(set(authors), key=authors.count)


def test_a_repository_that_is_read_anew_comes_whole_on_v2_and_never_on_v1() -> None:
    async def scenario() -> None:
        world = small_world(authors=40, delete_share=0)
        broken, whole = START + 40 * SECOND, START + 80 * SECOND
        did = busiest(world, broken, whole)
        resyncs = (Resync(did, broken, whole, reach_s=200),)
        common = {"clock": HandClock(), "tape": TAPE, "hold_at_end": False}
        async with (
            SimulatorServer(world, seen_by=Host(resyncs=resyncs), **common) as v1,  # pyright: ignore[reportArgumentType]
            v2_host(world=world, seen_by=Host(version=2, resyncs=resyncs), tape=TAPE, hold_at_end=False) as (v2, url),
        ):
            frames = await take_all(url + ONLY_POSTS)
            new, old = said(frames), said(await take_all(v1.url + POSTS_ONLY))
            assert said(await take_all(v2.url + POSTS_ONLY)) == old
        told = said([frame for _, frame in world.frames(*TAPE)])
        missed = {
            post.id
            for post in told
            if isinstance(post, Post) and post.author == did and broken <= post.event_time < whole
        }
        assert len(missed) > 5
        assert not missed & {post.id for post in old if isinstance(post, Post)}
        markers = [n for n, frame in enumerate(frames) if b'#sync"' in frame]
        assert len(markers) == 1
        rows = [post for post in new[markers[0] + 1 :] if isinstance(post, Post) and post.author == did]
        assert missed <= {post.id for post in rows}
        assert len(rows) > len(missed), "what was there before comes again"
        assert all(post.event_time >= whole for post in rows), "as if it happened now"

    asyncio.run(scenario())
