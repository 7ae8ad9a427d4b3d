"""One source kept connected over real sockets: drops, stalls, refusals, slow consumers, floods, and a prompt stop."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path
from random import Random
from urllib.parse import parse_qs, urlsplit

import pytest
from websockets.asyncio.server import ServerConnection

from groundswell.adapters.replay import ReplaySource
from groundswell.core.posts import MICROS_PER_SECOND, AccountChange, Deleted, Ignored, Post
from groundswell.errors import SourceFailed
from groundswell.services import session as session_module
from groundswell.services.session import Connected, Ended, Frame, Idle, Lost, Session, SessionEvent
from tests.session_world import (
    T0,
    FastClock,
    Handler,
    collect,
    count,
    frame,
    lost,
    no_cursor,
    run,
    send,
    server,
    session,
    source,
)

SAMPLE = Path(__file__).parents[3] / "shared" / "data" / "jetstream-v1-sample.jsonl"


async def drop(websocket: ServerConnection) -> None:
    websocket.transport.abort()


async def say_goodbye(websocket: ServerConnection) -> None:
    await websocket.close(1012, "restarting")


@pytest.mark.skipif(not SAMPLE.exists(), reason="the recorded production sample is not here")
def test_the_production_sample_passes_through_a_real_socket_unharmed() -> None:
    lines = SAMPLE.read_text("utf-8").splitlines()

    async def main() -> None:
        async with server(send(*lines)) as (address, _):
            over = source(address)
            events = await collect(session(over), lambda seen: count(seen, Frame) == len(lines))
        assert isinstance(events[0], Connected)
        raws = [event.raw for event in events if isinstance(event, Frame)]
        assert raws == [line.encode() for line in lines]
        decoded = [over.decode(raw) for raw in raws]
        assert [sum(isinstance(d, kind) for d in decoded) for kind in (Post, Deleted, AccountChange, Ignored)] == [
            17,
            1,
            1,
            133,
        ]

    run(main())


@pytest.mark.parametrize(("end", "word"), [(drop, "without a goodbye"), (say_goodbye, "1012")])
def test_a_dropped_connection_is_told_and_taken_up_again(end: Handler, word: str) -> None:
    async def main() -> None:
        async with server(send(frame(1), frame(2), then=end)) as (address, asked):
            events = await collect(session(source(address)), lambda seen: count(seen, Frame) == 4)
        assert [type(event) for event in events] == [Connected, Frame, Frame, Lost, Connected, Frame, Frame]
        (loss,) = lost(events)
        assert loss.cause == "disconnect"
        assert word in loss.detail
        assert 0 <= loss.retry_in_s <= 0.5
        assert len(asked) == 2

    run(main())


def test_a_source_is_asked_for_posts_from_a_little_before_the_cursor() -> None:
    async def main() -> None:
        async with server(send(frame(1))) as (address, asked):
            events = await collect(session(source(address), cursor=T0), lambda seen: count(seen, Frame) == 1)
        assert events[0] == Connected(f"{address}/subscribe", T0)
        parts = urlsplit(asked[0])
        assert parts.path == "/subscribe"
        query = parse_qs(parts.query)
        assert query["cursor"] == [str(T0 - 5 * MICROS_PER_SECOND)]
        assert query["wantedCollections"] == ["app.bsky.feed.post", "app.bsky.actor.profile"]

    run(main())


def test_a_stalled_connection_is_given_up_though_it_answers_pings() -> None:
    async def main() -> None:
        async with server(send(frame(1))) as (address, _):
            over = session(source(address, quiet_after_s=6.0))
            events = await collect(over, lambda seen: count(seen, Lost) == 1)
        assert lost(events)[0].cause == "stall"
        assert "nothing came" in lost(events)[0].detail

    run(main())


def test_a_quiet_source_is_idle_and_not_lost() -> None:
    async def main() -> None:
        async with server(send(frame(1))) as (address, _):
            over = session(source(address, quiet_after_s=None), ping_timeout_s=600)
            events = await collect(over, lambda seen: count(seen, Idle) == 4)
        assert count(events, Lost) == 0
        idle = [event.seconds for event in events if isinstance(event, Idle)]
        assert idle == sorted(idle)
        assert idle[0] > 0

    run(main())


def test_a_connection_that_answers_no_ping_is_given_up() -> None:
    async def deaf(websocket: ServerConnection) -> None:
        websocket.transport.pause_reading()
        await websocket.send(frame(1))
        await gone.wait()

    gone = asyncio.Event()

    async def main() -> None:
        async with server(deaf) as (address, _):
            over = session(source(address, quiet_after_s=None), ping_timeout_s=4)
            events = await collect(over, lambda seen: count(seen, Lost) == 1)
            gone.set()
        assert count(events, Idle) == 0
        assert lost(events)[0].cause == "stall"
        assert "ping" in lost(events)[0].detail

    run(main())


@pytest.mark.parametrize(
    ("status", "word"), [(400, "HTTP 400"), (401, "credentials"), (403, "HTTP 403"), (404, "path")]
)
def test_a_refusal_that_only_a_person_can_mend_ends_the_session_by_name(status: int, word: str) -> None:
    async def main() -> None:
        async with server(send(), refuse={0: status}) as (address, _):
            with pytest.raises(SourceFailed, match=word) as caught:
                await collect(session(source(address)), lambda _: False)
        assert "jetstream" in caught.value.detail
        assert address in caught.value.detail

    run(main())


def test_a_host_that_is_busy_is_asked_again() -> None:
    async def main() -> None:
        async with server(send(frame(1)), refuse={0: 503, 1: 429}) as (address, _):
            events = await collect(session(source(address)), lambda seen: count(seen, Frame) == 1)
        assert [type(event) for event in events] == [Lost, Lost, Connected, Frame]
        assert "503" in lost(events)[0].detail

    run(main())


def test_a_host_that_refuses_gives_way_to_the_next_one() -> None:
    async def main() -> None:
        refusal = dict.fromkeys(range(9), 403)
        async with server(send(), refuse=refusal) as (refusing, _), server(send(frame(1), then=drop)) as (good, _):
            events = await collect(session(source(refusing, good)), lambda seen: count(seen, Frame) == 2)
        endpoints = [event.endpoint for event in events if isinstance(event, Connected)]
        assert endpoints == [f"{good}/subscribe"] * 2
        assert "another host" in lost(events)[0].detail

    run(main())


def test_when_every_host_refuses_the_session_ends() -> None:
    async def main() -> None:
        async with server(send(), refuse={0: 403}) as (one, _), server(send(), refuse={0: 401}) as (two, _):
            with pytest.raises(SourceFailed, match="HTTP 401"):
                await collect(session(source(one, two)), lambda _: False)

    run(main())


def test_a_host_that_is_away_is_waited_for_ever_longer() -> None:
    async def main() -> None:
        async with server(send()) as (address, _):
            pass
        events = await collect(session(source(address)), lambda seen: count(seen, Lost) == 6)
        assert [type(event) for event in events] == [Lost] * 6
        assert all(loss.retry_in_s <= 0.5 * 2**n for n, loss in enumerate(lost(events)))
        assert "cannot be reached" in lost(events)[0].detail

    run(main())


def test_garbage_frames_pass_through_and_are_counted_by_the_decoder() -> None:
    async def garbage(websocket: ServerConnection) -> None:
        await websocket.send(b"\x00\xff\xfe")
        await websocket.send("not json")
        await websocket.send("x" * (2 * 1024 * 1024))
        await websocket.send(frame(1))
        await websocket.wait_closed()

    async def main() -> None:
        async with server(garbage) as (address, _):
            over = source(address)
            events = await collect(session(over), lambda seen: count(seen, Frame) == 4)
        decoded = [over.decode(event.raw) for event in events if isinstance(event, Frame)]
        reasons = [d.reason for d in decoded if isinstance(d, Ignored)]
        assert reasons == ["malformed", "malformed", "oversized"]
        assert isinstance(decoded[-1], Post)
        assert count(events, Lost) == 0

    run(main())


def test_a_slow_consumer_stops_the_socket_and_loses_nothing() -> None:
    big, total = "x" * 65_536, 1500
    sent = 0

    async def flood(websocket: ServerConnection) -> None:
        nonlocal sent
        for n in range(total):
            sending = asyncio.ensure_future(websocket.send(frame(n, big)))
            done, _ = await asyncio.wait({sending}, timeout=0.5)
            if not done:
                blocked.set()
            await sending
            sent += 1
        await websocket.wait_closed()

    blocked = asyncio.Event()

    async def main() -> None:
        async with server(flood) as (address, _):
            over, cursors = source(address), []
            async with aclosing(session(over).events(asyncio.Event())) as stream:
                async for event in stream:
                    if isinstance(event, Frame):
                        if not cursors:
                            await blocked.wait()
                            held = session_module.READ_AHEAD_BYTES + 256 * len(event.raw)
                            assert sent * len(event.raw) < 2 * held + 32 * 1024 * 1024
                            assert sent < total
                        cursors.append(over.decode(event.raw).cursor)
                        if len(cursors) == total:
                            break
                    else:
                        assert not isinstance(event, Lost)
        assert cursors == [T0 + n * MICROS_PER_SECOND for n in range(total)]

    run(main())


def test_a_flood_arrives_complete_and_in_order() -> None:
    total = 20_000

    async def main() -> None:
        async with server(send(*(frame(n) for n in range(total)))) as (address, _):
            over = source(address)
            events = await collect(session(over), lambda seen: len(seen) == total + 1)
        cursors = [over.decode(event.raw).cursor for event in events if isinstance(event, Frame)]
        assert cursors == [T0 + n * MICROS_PER_SECOND for n in range(total)]

    run(main())


def test_stopping_closes_the_socket_and_ends_the_events() -> None:
    closed = asyncio.Event()

    async def handler(websocket: ServerConnection) -> None:
        await websocket.send(frame(1))
        await websocket.wait_closed()
        closed.set()

    async def main() -> None:
        stop = asyncio.Event()
        async with server(handler) as (address, _):
            events: list[SessionEvent] = []
            async for event in session(source(address)).events(stop):
                events.append(event)
                if isinstance(event, Frame):
                    stop.set()
            await closed.wait()
        assert [type(event) for event in events] == [Connected, Frame]

    run(main())


def test_stopping_interrupts_silence_and_waiting() -> None:
    async def main() -> None:
        async with server(send()) as (address, _):
            stop = asyncio.Event()
            async for event in session(source(address, quiet_after_s=None)).events(stop):
                assert isinstance(event, Connected)
                asyncio.get_running_loop().call_soon(stop.set)
        stop = asyncio.Event()
        slow = FastClock(speed=0.001)  # a wait of half a second would last for minutes
        over = Session(source(address), slow, resume=no_cursor, rng=Random(1))
        async for event in over.events(stop):
            assert isinstance(event, Lost)
            asyncio.get_running_loop().call_soon(stop.set)

    run(main())


def test_a_session_stopped_before_it_begins_connects_to_nothing() -> None:
    async def main() -> None:
        stop = asyncio.Event()
        stop.set()
        assert [event async for event in session(source("ws://127.0.0.1:9")).events(stop)] == []

    run(main())


def test_a_finite_source_ends(tmp_path: Path) -> None:
    path = tmp_path / "tape.jsonl"
    path.write_text("\n".join(frame(n) for n in range(3000)), "utf-8")

    async def main() -> None:
        over = ReplaySource(path, extractor=None)
        events = [event async for event in session(over).events(asyncio.Event())]
        assert isinstance(events[0], Connected)
        assert count(events, Frame) == 3000
        assert events[-1] == Ended()

    run(main())


def test_a_missing_recording_fails_for_good_by_name(tmp_path: Path) -> None:
    async def main() -> None:
        over = ReplaySource(tmp_path / "nowhere.jsonl", extractor=None)
        with pytest.raises(SourceFailed, match=r"nowhere\.jsonl does not exist"):
            await collect(session(over), lambda _: False)

    run(main())
