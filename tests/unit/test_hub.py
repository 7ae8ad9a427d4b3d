"""The local hub over sockets that the test holds: what is gathered, who is sent away, and what nobody misses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from groundswell.adapters.local_hub import REMEMBERED_BATCHES, LocalHub, follow_events
from groundswell.adapters.system_clock import SystemClock
from groundswell.core.posts import Post
from groundswell.errors import StoreUnavailable
from groundswell.ports.live import ClientGone
from groundswell.ports.reading import EventPage
from groundswell.ports.storing import Event

T = 1_783_175_886_000_000


def event(seq: int, type_: str = "gap", **data: Any) -> Event:
    return Event(seq, T, type_, True, msgspec.Raw(msgspec.json.encode(data)))


def moved(seq: int, entity: str, score: float) -> Event:
    return event(seq, "momentum.update", entities=[{"entity": entity, "score": score}])


def post(post_id: str, *entities: str) -> Post:
    return Post(
        id=post_id, source="s", author="did:plc:a", text="hi", event_time=T, rev="1", cursor=T, entities=entities
    )  # fmt: skip


class Socket:
    """A client in the same process. With `read` cleared it takes nothing, like a browser that hangs."""

    def __init__(self) -> None:
        self.says: asyncio.Queue[str | None] = asyncio.Queue()
        self.heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.reads = asyncio.Event()
        self.reads.set()
        self.closed: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()

    async def receive(self) -> str:
        text = await self.says.get()
        if text is None:
            raise ClientGone
        return text

    async def send(self, text: str) -> None:
        await self.reads.wait()
        self.heard.put_nowait(json.loads(text))

    async def close(self, code: int, reason: str) -> None:
        self.closed.set_result((code, reason))

    def say(self, **frame: Any) -> None:
        self.says.put_nowait(json.dumps(frame))

    async def hear(self) -> dict[str, Any]:
        return await asyncio.wait_for(self.heard.get(), 5)

    async def subscribed(self, *topics: str) -> None:
        """Past the greeting, with the topics confirmed."""
        assert (await self.hear())["type"] == "hello"
        self.say(action="subscribe", topics=list(topics))
        assert (await self.hear())["data"]["code"] == "subscribed"


class Clients:
    """A hub that runs, and the sockets that attend it."""

    def __init__(self, **options: Any) -> None:
        self.hub = LocalHub(SystemClock(), **{"version": "1", "window_s": 0.02, **options})
        self._attending: list[asyncio.Task[None]] = []

    def join(self) -> Socket:
        socket = Socket()
        self._attending.append(asyncio.create_task(self.hub.attend(socket)))
        return socket

    async def left(self) -> None:
        await asyncio.wait_for(asyncio.gather(*self._attending), 5)


def with_hub(scenario: Callable[[Clients], Awaitable[None]], **options: Any) -> None:
    async def run() -> None:
        clients = Clients(**options)
        stop = asyncio.Event()
        running = asyncio.create_task(clients.hub.run(stop))
        try:
            await scenario(clients)
        finally:
            stop.set()
            await running
            await clients.left()

    asyncio.run(run())


def test_a_client_is_greeted_with_the_place_in_the_sequence() -> None:
    async def scenario(clients: Clients) -> None:
        clients.hub.start_at(41)
        hello = await clients.join().hear()
        assert (hello["type"], hello["seq"]) == ("hello", 41)
        assert hello["data"] == {"version": "1", "seq": 41, "degraded": ["embeddings"], "heartbeat_interval_s": 4.0}

    with_hub(scenario, degraded=lambda: ["embeddings"])


def test_events_of_one_window_leave_together_in_order() -> None:
    async def scenario(clients: Clients) -> None:
        socket = clients.join()
        await socket.subscribed("momentum", "gaps")
        await clients.hub.publish([moved(2, "ticker:BTC", 0.2), event(3), moved(4, "ticker:BTC", 0.4)])
        await clients.hub.publish([moved(1, "ticker:ETH", 0.1)])
        frames = [await socket.hear() for _ in range(3)]
        assert [(frame["type"], frame["seq"]) for frame in frames] == [
            ("momentum.update", 2),
            ("gap", 3),
            ("momentum.update", 4),
        ]
        rows = [[row["entity"] for row in frames[at]["data"]["entities"]] for at in (0, 2)]
        assert rows == [["ticker:ETH"], ["ticker:BTC"]]

    with_hub(scenario)


def test_what_is_not_stored_yet_is_shown_without_a_number_and_again_with_one() -> None:
    async def scenario(clients: Clients) -> None:
        socket = clients.join()
        await socket.subscribed("posts?entity=$BTC")
        await clients.hub.publish([event(7)])
        await clients.hub.preview([post("a", "ticker:BTC"), post("b", "ticker:ETH")], ["gone"], T)
        shown, gone = await socket.hear(), await socket.hear()
        assert (shown["type"], shown["seq"], shown["live"]) == ("posts.new", None, True)
        assert [one["id"] for one in shown["data"]["posts"]] == ["a"]
        assert (gone["type"], gone["seq"], gone["data"]) == ("posts.deleted", None, {"ids": ["gone"]})
        assert clients.hub.seq == 7
        stored = Event(8, T, "posts.new", False, msgspec.Raw(b"{}"), (post("a", "ticker:BTC"),))
        await clients.hub.preview([post("c", "ticker:BTC")], [], T)
        await clients.hub.publish([stored])
        frames = [await socket.hear() for _ in range(2)]
        assert [(frame["seq"], [one["id"] for one in frame["data"]["posts"]]) for frame in frames] == [
            (None, ["c"]),
            (8, ["a"]),
        ]

    with_hub(scenario)


def test_a_client_that_stops_reading_gets_the_latest_momentum_when_it_reads_on() -> None:
    async def scenario(clients: Clients) -> None:
        socket, other = clients.join(), clients.join()
        await socket.subscribed("momentum")
        await other.subscribed("momentum")
        socket.reads.clear()
        for n in range(1, 6):
            await clients.hub.publish([moved(n, "ticker:BTC", n)])
            assert (await other.hear())["seq"] == n
        socket.reads.set()
        first, last = await socket.hear(), await socket.hear()
        assert first["seq"] == 1
        assert last["seq"] == 5
        assert [row["score"] for row in last["data"]["entities"]] == [5]

    with_hub(scenario)


def test_a_client_that_never_reads_is_told_and_closed_and_harms_nobody() -> None:
    async def scenario(clients: Clients) -> None:
        slow, other = clients.join(), clients.join()
        await slow.subscribed("gaps")
        await other.subscribed("gaps")
        slow.reads.clear()
        for n in range(1, 5):
            await clients.hub.publish([event(n, detail="x" * 600)])
            assert (await other.hear())["seq"] == n
        slow.reads.set()
        assert await asyncio.wait_for(slow.closed, 5) == (1008, "ConsumerTooSlow")
        frames = []
        while not slow.heard.empty():
            frames.append(slow.heard.get_nowait())
        assert frames[-1]["type"] == "error"
        assert frames[-1]["data"]["code"] == "ConsumerTooSlow"
        assert "/v1/events?cursor=" in frames[-1]["data"]["message"]
        assert clients.hub.clients == 1

    with_hub(scenario, backlog_bytes=1000)


def test_what_passed_between_greeting_and_subscribing_is_not_missed() -> None:
    async def scenario(clients: Clients) -> None:
        early, late = clients.join(), clients.join()
        await early.subscribed("gaps")
        assert (await late.hear())["type"] == "hello"
        await clients.hub.publish([event(1)])
        assert (await early.hear())["seq"] == 1
        late.say(action="subscribe", topics=["gaps"])
        assert (await late.hear())["data"]["code"] == "subscribed"
        assert (await late.hear())["seq"] == 1

    with_hub(scenario)


def test_a_paused_client_hears_nothing_and_learns_where_to_go_on() -> None:
    async def scenario(clients: Clients) -> None:
        socket, other = clients.join(), clients.join()
        await socket.subscribed("gaps")
        await other.subscribed("gaps")
        await clients.hub.publish([event(1)])
        assert (await socket.hear())["seq"] == (await other.hear())["seq"] == 1
        socket.say(action="pause")
        assert (await socket.hear())["data"]["code"] == "paused"
        await clients.hub.publish([event(2)])
        assert (await other.hear())["seq"] == 2
        socket.say(action="resume")
        assert (await socket.hear())["data"] == {"code": "resumed", "catch_up_from": 1}
        await clients.hub.publish([event(3)])
        assert (await socket.hear())["seq"] == 3

    with_hub(scenario)


def test_a_frame_that_is_too_big_closes_with_1009() -> None:
    async def scenario(clients: Clients) -> None:
        socket = clients.join()
        await socket.hear()
        socket.says.put_nowait("x" * 40_000)
        assert (await socket.hear())["data"]["code"] == "FrameTooBig"
        assert (await asyncio.wait_for(socket.closed, 5))[0] == 1009

    with_hub(scenario)


def test_a_client_that_floods_is_sent_away() -> None:
    async def scenario(clients: Clients) -> None:
        socket = clients.join()
        for _ in range(100):
            socket.say(action="ping")
        assert await asyncio.wait_for(socket.closed, 5) == (1008, "TooManyFrames")

    with_hub(scenario)


def test_no_more_clients_than_the_limit_are_held() -> None:
    async def scenario(clients: Clients) -> None:
        await clients.join().hear()
        assert clients.hub.full
        refused = clients.join()
        assert (await refused.hear())["data"]["code"] == "TooManyClients"
        assert (await asyncio.wait_for(refused.closed, 5))[0] == 1013

    with_hub(scenario, max_clients=1)


def test_a_quiet_connection_beats() -> None:
    async def scenario(clients: Clients) -> None:
        socket = clients.join()
        await socket.hear()
        assert (await socket.hear())["type"] == "heartbeat"

    with_hub(scenario, heartbeat_s=0.01)


def test_stopping_closes_every_client_with_1001() -> None:
    sockets: list[Socket] = []

    async def scenario(clients: Clients) -> None:
        sockets.extend(clients.join() for _ in range(3))
        for socket in sockets:
            await socket.hear()

    with_hub(scenario)
    assert [socket.closed.result()[0] for socket in sockets] == [1001] * 3


def test_what_is_remembered_is_bounded() -> None:
    async def scenario(clients: Clients) -> None:
        socket = clients.join()
        await socket.subscribed("gaps")
        for n in range(1, REMEMBERED_BATCHES + 20):
            await clients.hub.publish([event(n)])
            assert (await socket.hear())["seq"] == n
        late = clients.join()
        await late.subscribed("gaps")
        await clients.hub.publish([event(1000)])
        assert (await late.hear())["seq"] == 1000

    with_hub(scenario, window_s=0.0)


def test_of_large_batches_only_the_newest_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    async def heard_by_one_who_subscribes_late(clients: Clients) -> list[int]:
        late, other = clients.join(), clients.join()
        assert (await late.hear())["type"] == "hello"
        await other.subscribed("gaps")
        for n in (1, 2, 3):
            await clients.hub.publish([event(n)])
            assert (await other.hear())["seq"] == n
        late.say(action="subscribe", topics=["gaps"])
        assert (await late.hear())["data"]["code"] == "subscribed"
        await clients.hub.publish([event(4)])
        heard: list[int] = []
        while 4 not in heard:
            heard.append((await late.hear())["seq"])
        return heard

    async def small(clients: Clients) -> None:
        assert await heard_by_one_who_subscribes_late(clients) == [1, 2, 3, 4]

    async def large(clients: Clients) -> None:
        assert await heard_by_one_who_subscribes_late(clients) == [3, 4]

    with_hub(small, window_s=0.0)
    monkeypatch.setattr("groundswell.adapters.local_hub.REMEMBERED_BYTES", 1)
    with_hub(large, window_s=0.0)


class Tape:
    """The part of a read store that follows events, with an outage in the middle."""

    def __init__(self, stop: asyncio.Event) -> None:
        self._pages: list[EventPage | Exception] = [
            EventPage((), 1, 5),
            EventPage((event(6), event(7)), 1, 7),
            StoreUnavailable("away"),
            EventPage((event(8),), 1, 8),
        ]
        self._stop = stop
        self.asked: list[int | None] = []

    async def events(self, after: int | None, limit: int, *, signed_in: bool = False) -> EventPage:
        self.asked.append(after)
        if not self._pages:
            self._stop.set()
            return EventPage((), 1, 8)
        page = self._pages.pop(0)
        if isinstance(page, Exception):
            raise page
        return page


def test_events_stored_by_another_process_reach_the_clients_across_an_outage() -> None:
    async def scenario(clients: Clients) -> None:
        socket = clients.join()
        await socket.subscribed("gaps")
        stop = asyncio.Event()
        tape = Tape(stop)
        await follow_events(tape, clients.hub, stop, poll_s=0.001)  # type: ignore[arg-type]
        seen = [(await socket.hear())["seq"]]
        while seen[-1] != 8:
            seen.append((await socket.hear())["seq"])
        assert seen == [6, 7, 8]
        assert tape.asked == [None, 5, 7, 7, 8]

    with_hub(scenario, window_s=0.0)
