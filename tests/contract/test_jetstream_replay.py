"""What every source promises, kept by the WebSockets, plain and sealed, and by the recording alike."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from random import Random
from urllib.parse import parse_qs, urlsplit

import pytest
import zstandard
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from groundswell.adapters.jetstream import JetstreamSource, decompress
from groundswell.adapters.replay import ReplaySource
from groundswell.adapters.sealed import SealedSource
from groundswell.adapters.simulator import Second, WorldConfig
from groundswell.adapters.simulator.sealed import SealedServer
from groundswell.core.entities import EntityExtractor
from groundswell.core.posts import MICROS_PER_SECOND, Ignored, Post
from groundswell.core.session import ConnectionLost
from groundswell.errors import SourceFailed
from groundswell.ports.sources import Connection, Source, SourceEnded
from tests.sealed_world import FEED_KEY, wallet
from tests.simulator_clients import HandClock

T0 = 1_783_175_880_000_000
EXTRACTOR = EntityExtractor()

OpenSource = Callable[[list[bytes], Path], AbstractAsyncContextManager[Source]]


def text(n: int) -> str:
    return f"post {n} about $BTC 日本"


def frame(n: int) -> bytes:
    commit = {"rev": f"{n:09}", "operation": "create", "collection": "app.bsky.feed.post", "rkey": f"{n}"}
    commit["record"] = {"text": text(n)}
    at = T0 + n * MICROS_PER_SECOND
    return json.dumps({"did": "did:plc:a", "time_us": at, "kind": "commit", "commit": commit}).encode()


TAPE = [frame(n) for n in range(60)]


@asynccontextmanager
async def over_websocket(tape: list[bytes], _: Path) -> AsyncGenerator[Source]:
    """A host that keeps the whole tape and honours the cursor."""

    async def handler(websocket: ServerConnection) -> None:
        assert websocket.request is not None
        start = int(parse_qs(urlsplit(websocket.request.path).query).get("cursor", ["0"])[0])
        for raw in tape:
            if json.loads(raw)["time_us"] >= start:
                await websocket.send(raw, text=True)
        await websocket.wait_closed()

    async with serve(handler, "127.0.0.1", 0, compression=None) as listening:
        port = next(iter(listening.sockets)).getsockname()[1]
        yield JetstreamSource(hosts=[f"ws://127.0.0.1:{port}"], extractor=EXTRACTOR, name="under test")


class TapeWorld:
    """A world that is nothing but a tape with a frame a second."""

    config = WorldConfig(posts_per_second=1)

    def __init__(self, tape: list[bytes]) -> None:
        self._frames = {json.loads(raw)["time_us"] // MICROS_PER_SECOND: raw for raw in tape}

    def second(self, second: int, *, everything: bool = False) -> Second:
        raw = self._frames.get(second)
        return Second([], [], [], []) if raw is None else Second([second * MICROS_PER_SECOND], [raw], ["post"], [None])

    def seconds(self, since: int, until: int, *, everything: bool = False) -> Iterator[Second]:
        return (self.second(second) for second in range(since // MICROS_PER_SECOND, until // MICROS_PER_SECOND))


@asynccontextmanager
async def sealed(tape: list[bytes], _: Path) -> AsyncGenerator[Source]:
    """A sealed feed that has just come to the tape's end, for readers who begin before it."""
    world, clock = TapeWorld(tape), HandClock(T0 + len(tape) * MICROS_PER_SECOND)
    async with SealedServer(
        world,  # pyright: ignore[reportArgumentType] -- all that the server asks of a world
        clock=clock,
        feed_key=FEED_KEY,
        wallets=[wallet().address],
        history_s=len(tape),
    ) as server:
        yield SealedSource(
            url=server.url, wallet=wallet(), feed_key=FEED_KEY, extractor=EXTRACTOR, rng=Random(1), name="under test"
        )


def over_file(name: str, pack: Callable[[bytes], bytes]) -> OpenSource:
    @asynccontextmanager
    async def opened(tape: list[bytes], folder: Path) -> AsyncGenerator[Source]:
        path = folder / name
        path.write_bytes(pack(b"\n".join(tape) + b"\n"))
        yield ReplaySource(path, extractor=EXTRACTOR, name="under test")

    return opened


SOURCES = {
    "websocket": over_websocket,
    "sealed feed": sealed,
    "plain file": over_file("tape.jsonl", lambda content: content),
    "gzip file": over_file("tape.jsonl.gz", gzip.compress),
    "zstd file": over_file("tape.jsonl.zst", lambda content: zstandard.ZstdCompressor().compress(content)),
    "file with a misleading name": over_file("tape.txt", gzip.compress),
}
every_source = pytest.mark.parametrize("opened", SOURCES.values(), ids=SOURCES)


async def receive(connection: Connection, n: int) -> list[bytes]:
    return [await connection.receive() for _ in range(n)]


async def posts(source: Source, connection: Connection, n: int) -> list[Post]:
    decoded = [source.decode(raw) for raw in await receive(connection, n)]
    return [said for said in decoded if isinstance(said, Post)]


@every_source
def test_frames_come_complete_and_in_order(opened: OpenSource, tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(TAPE, tmp_path) as source, source.connect(None) as connection:
            assert [post.text for post in await posts(source, connection, len(TAPE))] == [text(n) for n in range(60)]

    asyncio.run(main())


@every_source
def test_a_source_resumes_at_the_cursor_or_a_little_before(opened: OpenSource, tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(TAPE, tmp_path) as source:
            async with source.connect(None) as connection:
                cursor = (await posts(source, connection, 41))[-1].cursor
            assert source.can_replay
            async with source.connect(cursor) as connection:
                numbers = [int(post.text.split()[1]) for post in await posts(source, connection, 20)]
            assert 5 < numbers[0] <= 40
            assert numbers == list(range(numbers[0], numbers[0] + 20)), "and goes on without a hole"

    asyncio.run(main())


@every_source
def test_a_source_can_be_connected_to_again_and_again(opened: OpenSource, tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(TAPE, tmp_path) as source:
            for _ in range(3):
                async with source.connect(None) as connection:
                    assert [post.text for post in await posts(source, connection, 2)] == [text(0), text(1)]

    asyncio.run(main())


@every_source
def test_an_open_connection_answers_pings_and_names_its_end(opened: OpenSource, tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(TAPE, tmp_path) as source, source.connect(None) as connection:
            await receive(connection, len(TAPE))
            reading = asyncio.create_task(connection.receive())
            await asyncio.wait_for(connection.ping(), 10)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            assert connection.endpoint

    asyncio.run(main())


@every_source
def test_decoding_names_the_source_and_survives_garbage(opened: OpenSource, tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(TAPE, tmp_path) as source:
            async with source.connect(None) as connection:
                decoded = (await posts(source, connection, 8))[7]
            assert (decoded.source, decoded.event_time) == ("under test", T0 + 7 * MICROS_PER_SECOND)
            assert decoded.entities == ("ticker:BTC",)
            garbage = source.decode(b"\xff")
            assert isinstance(garbage, Ignored)
            assert garbage.reason.endswith("malformed")

    asyncio.run(main())


# ------------------------------------------------------------------ recordings
async def play(source: ReplaySource) -> list[bytes]:
    frames: list[bytes] = []
    async with source.connect(None) as connection:
        while True:
            try:
                frames.append(await connection.receive())
            except SourceEnded:
                return frames


def recording(folder: Path, content: bytes, speed: float | None = None) -> ReplaySource:
    path = folder / "tape"
    path.write_bytes(content)
    return ReplaySource(path, extractor=None, speed=speed)


def test_lines_that_are_no_frames_are_played_like_any_other(tmp_path: Path) -> None:
    content = b"\n\nnot json\r\n" + TAPE[0] + b"\n   \n\xff\xfe\n" + TAPE[1]
    assert asyncio.run(play(recording(tmp_path, content))) == [b"not json", TAPE[0], b"\xff\xfe", TAPE[1]]


def test_a_line_without_an_end_does_not_fill_the_memory(tmp_path: Path) -> None:
    source = recording(tmp_path, TAPE[0] + b"\n" + b"x" * 5_000_000 + b"\n" + TAPE[1])
    frames = asyncio.run(play(source))
    assert [frames[0], frames[2]] == TAPE[:2]
    assert len(frames[1]) < 1_100_000
    assert source.decode(frames[1]) == Ignored("oversized")


def test_an_empty_recording_ends_at_once(tmp_path: Path) -> None:
    assert asyncio.run(play(recording(tmp_path, b""))) == []


def test_a_recording_much_longer_than_a_block_is_played_whole(tmp_path: Path) -> None:
    tape = [frame(n) for n in range(12_000)]
    assert asyncio.run(play(recording(tmp_path, gzip.compress(b"\n".join(tape), 1)))) == tape


def test_a_recording_of_several_zstd_frames_is_played_whole(tmp_path: Path) -> None:
    content = b"".join(zstandard.compress(raw + b"\n") for raw in TAPE)
    assert asyncio.run(play(recording(tmp_path, content))) == TAPE


def test_a_scaled_recording_plays_in_order(tmp_path: Path) -> None:
    assert asyncio.run(play(recording(tmp_path, b"\n".join(TAPE), speed=600.0))) == TAPE


def test_at_original_speed_a_frame_waits_for_its_time(tmp_path: Path) -> None:
    async def main() -> None:
        source = recording(tmp_path, frame(0) + b"\n" + frame(3600), speed=1.0)
        async with source.connect(None) as connection:
            assert await connection.receive() == frame(0)
            waiting = asyncio.ensure_future(connection.receive())
            done, _ = await asyncio.wait({waiting}, timeout=0.05)
            assert not done
            waiting.cancel()

    asyncio.run(main())


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_a_recording_that_breaks_off_is_played_that_far_and_then_named(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    tape = [frame(n) for n in range(20_000)]
    content = pack(b"\n".join(tape))
    source = recording(tmp_path, content[: len(content) // 2])

    async def main() -> list[bytes]:
        frames: list[bytes] = []
        async with source.connect(None) as connection:
            with pytest.raises(SourceFailed, match="damaged or incomplete"):
                while True:
                    frames.append(await connection.receive())
        return frames

    played = asyncio.run(main())
    assert 5_000 < len(played) < 20_000
    assert played == tape[: len(played)]


@pytest.mark.parametrize(("name", "word"), [("nowhere.jsonl", "does not exist"), (".", "cannot be opened")])
def test_a_recording_that_cannot_be_opened_is_named(tmp_path: Path, name: str, word: str) -> None:
    with pytest.raises(SourceFailed, match=word):
        asyncio.run(play(ReplaySource(tmp_path / name, extractor=None)))


@pytest.mark.parametrize("speed", [0, -1.0, float("nan")])
def test_a_senseless_speed_is_refused(tmp_path: Path, speed: float) -> None:
    with pytest.raises(SourceFailed, match="speed"):
        ReplaySource(tmp_path, extractor=None, speed=speed)


# ------------------------------------------------------------------ hosts and compression
@pytest.mark.parametrize(
    "host", ["", "example.com", "https://example.com", "ws://", "ws://h:0", "ws://h:99999", "ws://[", "wss://h/#frag"]
)
def test_an_address_that_leads_nowhere_is_refused_before_any_connection(host: str) -> None:
    with pytest.raises(SourceFailed, match="wss://HOST/subscribe"):
        JetstreamSource(hosts=[host], extractor=None)


def test_a_source_needs_a_host() -> None:
    with pytest.raises(SourceFailed, match="at least one"):
        JetstreamSource(hosts=[], extractor=None)


def test_secrets_in_an_address_stay_out_of_the_endpoint() -> None:
    async def main() -> None:
        async with serve(lambda websocket: websocket.wait_closed(), "127.0.0.1", 0) as listening:
            port = next(iter(listening.sockets)).getsockname()[1]
            source = JetstreamSource(hosts=[f"ws://user:secret@127.0.0.1:{port}/x?key=secret"], extractor=None)
            async with source.connect(None) as connection:
                assert connection.endpoint == f"ws://127.0.0.1:{port}/x"

    asyncio.run(main())


DICTIONARY = zstandard.train_dictionary(4096, [frame(n) for n in range(2000)], dict_id=77).as_bytes()


def packed(raw: bytes, *, sized: bool = True) -> bytes:
    compressor = zstandard.ZstdCompressor(dict_data=zstandard.ZstdCompressionDict(DICTIONARY), write_content_size=sized)
    return compressor.compress(raw)


def hand_out_dictionary(_: ServerConnection, request: Request) -> Response | None:
    if not request.path.endswith("getZstdDictionary"):
        return None
    return Response(200, "OK", Headers({"Content-Length": str(len(DICTIONARY))}), DICTIONARY)


def test_compressed_frames_arrive_decompressed_and_bombs_and_garbage_are_counted() -> None:
    bomb = zstandard.ZstdCompressor().compress(b"\0" * 50_000_000)
    frames = [packed(TAPE[0]), packed(TAPE[1], sized=False), bomb, b"\x28\xb5\x2f\xfdgarbage", TAPE[2]]

    async def handler(websocket: ServerConnection) -> None:
        assert websocket.request is not None
        assert "zstdDictionary=77" in websocket.request.path
        for raw in frames:
            await websocket.send(raw)
        await websocket.wait_closed()

    async def main() -> None:
        async with serve(
            handler,
            "127.0.0.1",
            0,
            process_request=hand_out_dictionary,
            subprotocols=[Subprotocol("xrpc.v1.json")],
        ) as listening:
            address = f"ws://127.0.0.1:{next(iter(listening.sockets)).getsockname()[1]}"
            source = JetstreamSource(hosts=[address], extractor=None, compress=True)
            async with source.connect(None) as connection:
                decoded = [source.decode(raw) for raw in await receive(connection, len(frames))]
        assert [d.reason if isinstance(d, Ignored) else d.cursor for d in decoded] == [
            T0,
            T0 + MICROS_PER_SECOND,
            "compressed",
            "compressed",
            T0 + 2 * MICROS_PER_SECOND,
        ]

    asyncio.run(main())


def test_a_bomb_that_hides_its_size_is_not_decompressed() -> None:
    bomb = zstandard.ZstdCompressor(write_content_size=False).compress(b"\0" * 5_000_000)
    assert decompress(zstandard.ZstdDecompressor(), bomb, 1_000_000) == bomb


def test_a_frame_beyond_every_limit_closes_the_connection_and_is_named() -> None:
    async def handler(websocket: ServerConnection) -> None:
        await websocket.send(b"x" * 200_000)
        await websocket.wait_closed()

    async def main() -> None:
        async with serve(handler, "127.0.0.1", 0) as listening:
            address = f"ws://127.0.0.1:{next(iter(listening.sockets)).getsockname()[1]}"
            source = JetstreamSource(hosts=[address], extractor=None, max_frame_bytes=10_000)
            async with source.connect(None) as connection:
                with pytest.raises(ConnectionLost, match="beyond every limit"):
                    await connection.receive()

    asyncio.run(main())
