"""The broadcaster of one process: it holds the clients' WebSockets itself.

Run it behind uvicorn with `ws_max_size=CLIENT_FRAME_LIMIT_BYTES`, which closes on larger client frames with 1009 before
they are read into memory, and `ws="websockets-sansio"`, whose `send` waits for a slow client's buffer to drain.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

import msgspec

from groundswell.core.fanout import Outgoing, Prepared, frames_for
from groundswell.core.frames import Frame, encode_frame
from groundswell.core.posts import Micros, Post
from groundswell.core.subscriptions import CLIENT_FRAME_LIMIT_BYTES, ClientSession
from groundswell.errors import GroundswellError, LeaseLost
from groundswell.metrics import Metrics
from groundswell.ports.live import ClientGone, ClientSocket
from groundswell.ports.reading import EventPage
from groundswell.ports.storing import Event
from groundswell.ports.time import Clock

log = logging.getLogger(__name__)

NORMAL, GOING_AWAY, POLICY, TOO_BIG, TRY_LATER = 1000, 1001, 1008, 1009, 1013

REMEMBERED_BATCHES = 64
"""Batches kept for clients that were greeted but have not subscribed yet: some seconds' worth."""
REMEMBERED_BYTES = 8 << 20
"""Of these, the newest that have no more in all, and the last one. In memory they take four times as much."""
GOODBYE_S = 2.0
"""How long a client that is sent away may take to hear why."""
CLIENT_FRAMES_A_SECOND = 10.0
CLIENT_FRAMES_BURST = 60.0
MAX_REPLIES = 200
FOLLOW_PAGE = 40
"""An event may tell of hundreds of posts, and takes ten times its size while it is read."""


class _Client:
    """One connection: its subscriptions, and what waits to be sent to it."""

    __slots__ = ("allowance", "allowance_at", "greeted", "replies", "sent", "session", "verdict", "waiting", "wake")

    def __init__(self, *, greeted: int, now: float, signed_in: bool = False) -> None:
        self.session = ClientSession(signed_in=signed_in)
        self.greeted = greeted
        """The hub's `seq` when the client was greeted."""
        self.sent = greeted
        """Everything up to this `seq` that it wanted has been sent."""
        self.replies: deque[str] = deque()
        self.waiting: deque[Outgoing] = deque()
        self.wake = asyncio.Event()
        self.verdict: asyncio.Future[tuple[int, Frame]] = asyncio.get_running_loop().create_future()
        """Set when the client has to go: the close code, and the error that tells it why."""
        self.allowance = CLIENT_FRAMES_BURST
        self.allowance_at = now

    def dismiss(self, code: int, reason: str, message: str) -> None:
        if not self.verdict.done():
            self.verdict.set_result((code, Frame("error", {"code": reason, "message": message})))

    def may_speak(self, now: float) -> bool:
        refill = (now - self.allowance_at) * CLIENT_FRAMES_A_SECOND
        self.allowance = min(CLIENT_FRAMES_BURST, self.allowance + refill) - 1
        self.allowance_at = now
        return self.allowance >= 0


class LocalHub:
    """`ports.Hub` in this process. `run` must be running for anything to be sent.

    Events are gathered for `window_s` after the last flush, so a lone event leaves at once. A client whose unsent
    events pass `backlog_bytes` is told `ConsumerTooSlow` and closed with 1008.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        version: str,
        window_s: float = 0.1,
        heartbeat_s: float = 4.0,
        max_clients: int = 1000,
        backlog_bytes: int = 1024 * 1024,
        degraded: Callable[[], Sequence[str]] = tuple,
        metrics: Metrics | None = None,
    ) -> None:
        self._clock = clock
        self._metrics = metrics or Metrics()
        self._version = version
        self._window_s = window_s
        self._heartbeat_s = heartbeat_s
        self._max_clients = max_clients
        self._backlog_bytes = backlog_bytes
        self.degraded = degraded
        """What greetings say is missing. Set by whoever watches the platform's condition."""
        self._seq = 0
        self._clients: set[_Client] = set()
        self._pending: list[Event] = []
        self._previews: list[Prepared] = []
        self._arrived = asyncio.Event()
        self._recent: deque[Outgoing] = deque(maxlen=REMEMBERED_BATCHES)
        self._closing = False

    @property
    def seq(self) -> int:
        """The last event that was handed to the clients."""
        return self._seq

    @property
    def clients(self) -> int:
        return len(self._clients)

    @property
    def full(self) -> bool:
        return self._closing or len(self._clients) >= self._max_clients

    def start_at(self, seq: int) -> None:
        """Tell a fresh hub what was stored before it existed, so that greetings name the right place."""
        self._seq = max(self._seq, seq)

    async def publish(self, events: Sequence[Event]) -> None:
        for event in events:
            self._metrics.inc("events_published_total", label=event.type)
        if events:
            self._pending.extend(events)
            self._arrived.set()

    async def preview(self, posts: Sequence[Post], deleted: Sequence[str], ts: Micros) -> None:
        nothing = msgspec.Raw(b"{}")
        if posts:
            self._previews.append(Prepared("posts.new", seq=None, ts=ts, live=True, data=nothing, posts=posts))
        if deleted:
            ids = msgspec.Raw(msgspec.json.encode({"ids": deleted}))
            self._previews.append(Prepared("posts.deleted", seq=None, ts=ts, live=True, data=ids))
        if posts or deleted:
            self._arrived.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Flush what is published and send heartbeats, until `stop`; then close every client with 1001."""
        flushing = asyncio.create_task(self._flush_forever())
        beating = asyncio.create_task(self._beat_forever())
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({flushing, beating, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._closing = True
            for client in list(self._clients):
                client.dismiss(GOING_AWAY, "GoingAway", "the server is stopping: reconnect in a moment")
            for task in (flushing, beating, stopping):
                task.cancel()
            results = await asyncio.gather(flushing, beating, stopping, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def attend(self, socket: ClientSocket, *, signed_in: bool = False) -> None:
        if self.full:
            client = _Client(greeted=self._seq, now=self._clock.monotonic())
            client.dismiss(TRY_LATER, "TooManyClients", "this server holds as many clients as it can: retry later")
            await self._say_goodbye(client, socket)
            return
        client = _Client(greeted=self._seq, now=self._clock.monotonic(), signed_in=signed_in)
        client.replies.append(self._stamp(self._hello()))
        client.wake.set()
        self._clients.add(client)
        self._metrics.set("websocket_clients", len(self._clients))
        reading = asyncio.create_task(self._read(client, socket))
        writing = asyncio.create_task(self._write(client, socket))
        try:
            await asyncio.wait({reading, writing, client.verdict}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._clients.discard(client)
            self._metrics.set("websocket_clients", len(self._clients))
            reading.cancel()
            writing.cancel()
            results = await asyncio.gather(reading, writing, return_exceptions=True)
        if client.verdict.done():
            await self._say_goodbye(client, socket)
        for result in results:
            if isinstance(result, Exception) and not isinstance(result, ClientGone):
                raise result

    # -------------------------------------------------------------- one client
    async def _read(self, client: _Client, socket: ClientSocket) -> None:
        while True:
            text = await socket.receive()
            if len(text) > CLIENT_FRAME_LIMIT_BYTES or len(text.encode()) > CLIENT_FRAME_LIMIT_BYTES:
                client.dismiss(TOO_BIG, "FrameTooBig", f"client frames have at most {CLIENT_FRAME_LIMIT_BYTES} bytes")
                return
            if not client.may_speak(self._clock.monotonic()):
                client.dismiss(
                    POLICY, "TooManyFrames", f"send at most {CLIENT_FRAMES_A_SECOND:g} frames a second over time"
                )
                return
            self._hear(client, text)
            await asyncio.sleep(0)  # what waits in the socket is received at once: others come between

    def _hear(self, client: _Client, text: str) -> None:
        session = client.session
        silent = not session.topics
        paused = session.paused_at is not None
        frames = session.receive(text, seq=client.sent)
        if session.paused_at is not None:
            client.waiting.clear()
        elif paused:
            client.sent = self._seq
        elif silent and session.topics:
            # What passed between the greeting and the first subscription is made up for.
            client.waiting.extend(late for late in self._recent if late.last_seq > client.greeted)
        client.replies.extend(self._stamp(frame) for frame in frames)
        if len(client.replies) > MAX_REPLIES:
            client.dismiss(POLICY, "ConsumerTooSlow", "answers to your own frames are not being read")
            return
        client.wake.set()

    async def _write(self, client: _Client, socket: ClientSocket) -> None:
        while True:
            await client.wake.wait()
            client.wake.clear()
            while client.replies or client.waiting:
                while client.replies:
                    await socket.send(client.replies.popleft())
                await self._send_waiting(client, socket)

    async def _send_waiting(self, client: _Client, socket: ClientSocket) -> None:
        """Send all that waits: as it is when the client keeps up, thinned out to the latest momentum when it lags."""
        if not client.waiting:
            return
        batches = list(client.waiting)
        client.waiting.clear()
        topics = client.session.topics
        if len(batches) == 1:
            frames = batches[0].frames(topics)
        else:
            frames = frames_for(topics, [event for batch in batches for event in batch.events])
        for frame in frames:
            await socket.send(frame)
        client.sent = max(client.sent, batches[-1].last_seq)

    async def _say_goodbye(self, client: _Client, socket: ClientSocket) -> None:
        code, error = client.verdict.result()
        with suppress(TimeoutError, ClientGone):
            async with asyncio.timeout(GOODBYE_S):
                if code != GOING_AWAY:
                    await socket.send(self._stamp(error))
                await socket.close(code, str(error.data["code"]))

    # -------------------------------------------------------------- all clients
    async def _flush_forever(self) -> None:
        flushed_at = float("-inf")
        while True:
            await self._arrived.wait()
            due_in = flushed_at + self._window_s - self._clock.monotonic()
            if due_in > 0:
                await self._clock.sleep(due_in)
            flushed_at = self._clock.monotonic()
            self._arrived.clear()
            self._flush()

    def _flush(self) -> None:
        events, self._pending = self._pending, []
        # Two publishers may hand over their commits in another order than the database numbered them.
        events.sort(key=lambda event: event.seq)
        previews, self._previews = self._previews, []
        prepared = [Prepared(e.type, seq=e.seq, ts=e.ts, live=e.live, data=e.data, posts=e.posts) for e in events]
        if not prepared and not previews:
            return
        outgoing = Outgoing([*previews, *prepared])
        if prepared:
            self._recent.append(outgoing)
            while len(self._recent) > 1 and sum(batch.size for batch in self._recent) > REMEMBERED_BYTES:
                self._recent.popleft()
        self._seq = max(self._seq, outgoing.last_seq)
        for client in list(self._clients):
            if not client.session.listening:
                continue
            client.waiting.append(outgoing)
            if len(client.waiting) > 1 and sum(batch.size for batch in client.waiting) > self._backlog_bytes:
                client.waiting.clear()
                self._metrics.inc("websocket_evicted_total")
                client.dismiss(
                    POLICY,
                    "ConsumerTooSlow",
                    f"over {self._backlog_bytes} bytes wait to be sent: narrow the topics, then catch up from "
                    f"/v1/events?cursor={client.sent}",
                )
            else:
                client.wake.set()

    async def _beat_forever(self) -> None:
        while True:
            await self._clock.sleep(self._heartbeat_s)
            beat = self._stamp(Frame("heartbeat", {}))
            for client in self._clients:
                if client.session.paused_at is None and not client.replies:
                    client.replies.append(beat)
                    client.wake.set()

    def _hello(self) -> Frame:
        return Frame(
            "hello",
            {
                "version": self._version,
                "seq": self._seq,
                "degraded": list(self.degraded()),
                "heartbeat_interval_s": self._heartbeat_s,
            },
        )

    def _stamp(self, frame: Frame) -> str:
        return encode_frame(frame, seq=self._seq, ts=self._clock.now()).decode()


class Follower(Protocol):
    """What events can be handed to as they are stored: a hub, or the broadcaster of API Gateway."""

    def start_at(self, seq: int) -> None: ...

    async def publish(self, events: Sequence[Event]) -> None: ...


class StoredEvents(Protocol):
    async def events(self, after: int | None, limit: int, *, signed_in: bool = False) -> EventPage: ...


async def follow_events(
    reads: StoredEvents,
    hub: Follower,
    stop: asyncio.Event,
    *,
    poll_s: float = 0.25,
    after: int | None = None,
    to_the_end: bool = False,
) -> None:
    """Hand the hub what any process stores, until `stop`: for an API, or a broadcaster, apart from those that write.

    An outage of the store delays events and loses none.

    Raises:
        LeaseLost: `reads` says that another process sends them now.

    Args:
        after: the event after which to begin; None for the newest at the time.
        to_the_end: what was stored before `stop` is still read.
    """
    seq = after
    if seq is not None:
        hub.start_at(seq)
    last = False
    while not last:
        last = stop.is_set()
        if last and not (to_the_end and seq is not None):
            return
        more = False
        try:
            page = await reads.events(seq, FOLLOW_PAGE, signed_in=True)
        except LeaseLost:
            raise
        except GroundswellError as error:
            log.warning("broadcast waits for the database: %s", error)
        else:
            if seq is None or page.newest < seq:
                # Just started, or the database was set up anew: there is no earlier place to go on from.
                seq = page.newest
                hub.start_at(seq)
            elif page.events:
                await hub.publish(page.events)
                seq = page.events[-1].seq
                more = len(page.events) == FOLLOW_PAGE
                last = last and not more
        if not (more or last):
            with suppress(TimeoutError):
                async with asyncio.timeout(poll_s):
                    await stop.wait()
