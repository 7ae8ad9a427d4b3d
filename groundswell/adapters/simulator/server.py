"""Serves a world over WebSocket in Jetstream's wire formats: live, from a cursor, or as a finite tape."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from http import HTTPStatus
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit

import msgspec
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from groundswell.adapters.simulator import subscribe_events as events
from groundswell.adapters.simulator.faults import Fault, Faults, Link
from groundswell.adapters.simulator.host import Format, Host, HostView
from groundswell.adapters.simulator.wire import INLINE_POSTS, EncodedWorld, Filter, Wanted
from groundswell.adapters.simulator.world import World
from groundswell.core.jetstream_messages import SUBPROTOCOL
from groundswell.core.posts import MICROS_PER_SECOND, Micros
from groundswell.ports.time import Clock

RETENTION_S = 7200.0
TICK_S = 0.01
"""How often the live edge is looked at: frames leave at most this late."""
_TICK = round(TICK_S * MICROS_PER_SECOND)
_CHUNK_FRAMES = 256
"""Frames handed to the socket at once: enough to be fast, little enough to stop at."""
_CLOSE_TIMEOUT_S = 1.0
_PATHS = frozenset({"/", "/subscribe"})
_DICTIONARY_ID = 20_260_813
_FORGOTTEN_AT_ONCE = 10 * MICROS_PER_SECOND


class Wish(msgspec.Struct, frozen=True):
    """What one reader asked for."""

    wanted: Filter
    form: Format = "v1"
    max_bytes: int = 0
    compressed: bool = False


class Span(msgspec.Struct):
    """What one connection was sent, so far. Not all of it need have arrived when the connection was cut."""

    connection: int
    cursor: int | None
    """As the reader gave it: an instant, or a number of the host."""
    started_at: Micros
    """Where the server began."""
    path: str = "/subscribe"
    frames: int = 0
    """Frames of the world, without repeats and garbage that faults added."""
    last_time_us: Micros | None = None


class SimulatorServer:
    """Serves `world` while it is entered (`async with`).

    Live (no `tape`): the world runs with the clock, `speed` times as fast; a cursor is replayed from, inclusively,
    as far back as `retention_s`, as fast as the reader reads; without a cursor a reader starts `history_s` back; a
    cursor in the future means now. A restarted server replays the same frames while `speed` is 1.
    Tape: [from, until) is sent as fast as the reader reads, from the cursor if there is one; then the connection
    stays open in silence, or is closed with 1000 where `hold_at_end` is False.

    Args:
        seen_by: which host of the world this is: its version, its lag, its numbers. A host of version 2 serves both
            `/subscribe` and `network.bsky.jetstream.subscribeEvents`, and refuses what a real one refuses.
    """

    def __init__(
        self,
        world: World,
        *,
        clock: Clock,
        host: str = "127.0.0.1",
        port: int = 0,
        speed: float = 1.0,
        history_s: float = 0,
        retention_s: float = RETENTION_S,
        tape: tuple[Micros, Micros] | None = None,
        hold_at_end: bool = True,
        cache_seconds: int = 16,
        timetable: Sequence[Fault] = (),
        seen_by: Host | None = None,
    ) -> None:
        self.world = world
        self.seen_by = seen_by or Host()
        self.faults = Faults(world.config.seed)
        self.spans: list[Span] = []
        """One for each connection since the start, in order."""
        self.finished = asyncio.Event()
        """Set when a reader has been sent the end of the tape."""
        self._clock = clock
        self._host = host
        self._port = port
        self._speed = speed
        self._history_s = history_s
        self._retention_s = max(retention_s, history_s)
        self._tape = tape
        self._hold_at_end = hold_at_end
        self._view = HostView(world, self.seen_by)
        self._compressor: events.FrameCompressor | None = None
        self._encoded = EncodedWorld(
            self._view,
            busy=world.config.posts_per_second >= INLINE_POSTS,
            cache_seconds=cache_seconds,
            compress=self._compress,
        )
        self._timetable = timetable
        self._connections = 0
        self._origin = clock.now()
        self._ends_at: Micros | None = None
        self._server: Server | None = None
        self._timekeeper: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._server = await serve(
            self._handle,
            self._host,
            self._port,
            process_request=self._admit,
            select_subprotocol=_chosen,
            compression=None,
            ping_interval=None,
            close_timeout=_CLOSE_TIMEOUT_S,
        )
        self._port = next(iter(self._server.sockets)).getsockname()[1]
        if self._timetable:
            self._timekeeper = asyncio.create_task(self.faults.follow(self._timetable, self._clock))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timekeeper is not None:
            self._timekeeper.cancel()
            await asyncio.gather(self._timekeeper, return_exceptions=True)
        if self.faults.stalled:
            self.faults.drop(mid_frame=False, reset=True)
        assert self._server is not None, "entered before left"
        self._server.close()
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        """Where readers connect."""
        return f"ws://{self._host}:{self._port}/subscribe"

    @property
    def port(self) -> int:
        return self._port

    @property
    def _serves_events(self) -> bool:
        return self.seen_by.version == 2 and self.seen_by.xrpc

    def now(self) -> Micros:
        """The world's time: frames before it have happened."""
        if self._tape is not None:
            return self._tape[1]
        passed = self._clock.now() - self._origin
        now = self._origin + (passed if self._speed == 1.0 else round(passed * self._speed))
        return now if self._ends_at is None else min(now, self._ends_at)

    def end(self, at: Micros | None = None) -> Micros:
        """Let the world's time stand still at `at`, or now: all that happened before is still sent, and nothing later.

        Answers the instant. Connections stay open in silence.
        """
        self._ends_at = self.now() if at is None else at
        return self._ends_at

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        parts = urlsplit(request.path)
        query = parse_qs(parts.query)
        if self._serves_events and parts.path == events.DICTIONARY_PATH:
            return self._dictionary().response(query)
        status = self.faults.refusal()
        if self._serves_events and parts.path == events.PATH:
            return self._admit_to_events(query, status)
        if status is not None:
            return connection.respond(HTTPStatus(status), "The simulator was told to refuse.\n")
        if parts.path not in _PATHS:
            return connection.respond(HTTPStatus.NOT_FOUND, "The stream is at /subscribe.\n")
        wrong = ""
        cursor = query.get("cursor", ["0"])[0]
        if not cursor.isdecimal():
            wrong = f"cursor: {cursor!r} is no number of microseconds.\n"
        if query.get("compress", ["false"])[0] == "true":
            wrong = "compress: the simulator sends plain frames only.\n"
        return connection.respond(HTTPStatus.BAD_REQUEST, wrong) if wrong else None

    def _admit_to_events(self, query: events.Query, status: int | None) -> Response | None:
        if status is not None:
            return events.xrpc_error(status, events.Refusal("ServiceUnavailable", "The simulator was told to refuse."))
        refused = events.refusal(query, dictionary_id=_DICTIONARY_ID)
        if refused is None:
            began = self._event_start(query)
            refused = began if isinstance(began, events.Refusal) else None
        return None if refused is None else events.xrpc_error(400, refused)

    def _event_start(self, query: events.Query) -> events.Start | events.Refusal:
        return events.start(
            query.get("cursor", (None,))[0],
            self._view,
            now=self.now(),
            floor=self._floor(),
            segment_s=self.seen_by.segment_s,
        )

    def _dictionary(self) -> events.FrameCompressor:
        if self._compressor is None:
            self._compressor = events.FrameCompressor(self.world.config, _DICTIONARY_ID)
        return self._compressor

    def _compress(self, frame: bytes) -> bytes:
        return self._dictionary().compress(frame)

    async def _handle(self, websocket: ServerConnection) -> None:
        self._connections += 1
        link = Link(self._connections, websocket)
        self.faults.attach(link)
        closed = asyncio.create_task(websocket.wait_closed())
        sending = asyncio.create_task(self._speak(link))
        try:
            await asyncio.wait({sending, closed}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done() and not sending.cancelled():
                error = sending.exception()
                if error is not None and not isinstance(error, ConnectionClosed):
                    raise error
                if self._hold_at_end:
                    await closed
        finally:
            self.faults.detach(link)
            sending.cancel()
            closed.cancel()
            await asyncio.gather(sending, closed, return_exceptions=True)

    async def _speak(self, link: Link) -> None:
        """Send one reader what they asked for."""
        request = link.websocket.request
        assert request is not None, "admitted by its request"
        parts = urlsplit(request.path)
        query = parse_qs(parts.query)
        cursor = int(query["cursor"][0]) if "cursor" in query else None
        if self._serves_events and parts.path == events.PATH:
            await self._speak_events(link, query, cursor)
            return
        span = Span(link.number, cursor, self._start(cursor), parts.path)
        self.spans.append(span)
        form: Format = "v1" if self.seen_by.version == 1 else "v1-numbered"
        await self._send(link, span, Wish(Wanted(query.get("wantedCollections", [])), form))

    async def _speak_events(self, link: Link, query: events.Query, cursor: int | None) -> None:
        """Send the events of `subscribeEvents`. Whatever the reader sends ends the connection."""
        began = self._event_start(query)
        assert isinstance(began, events.Start), "refused before the upgrade"
        at = began.at
        if cursor is None:
            at -= round(self._history_s * MICROS_PER_SECOND) if self._tape is None else at - self._tape[0]
        elif rewound := self.faults.rewind_s():
            at = max(at - round(rewound * MICROS_PER_SECOND), self._floor())
        span = Span(link.number, cursor, at, events.PATH)
        self.spans.append(span)
        wanted = events.EventFilter(query)
        link.compress = self._compress if wanted.dictionary else None
        link.speaks_events = True
        if began.notice is not None:
            await write(link, (link.wire(events.notice_frame(*began.notice)),))
        wish = Wish(wanted, "v2", wanted.max_bytes, wanted.dictionary)
        sending = asyncio.create_task(self._send(link, span, wish))
        listening = asyncio.create_task(link.websocket.recv())
        try:
            await asyncio.wait({sending, listening}, return_when=asyncio.FIRST_COMPLETED)
            if listening.done() and listening.exception() is None:
                await link.websocket.close(CloseCode.POLICY_VIOLATION, "this endpoint is server-push only")
            await sending
        finally:
            for task in (sending, listening):
                task.cancel()
            await asyncio.gather(sending, listening, return_exceptions=True)

    def _floor(self) -> Micros:
        """The oldest instant that is still sent. A v2 host forgets in pieces, and not moment by moment."""
        if self._tape is not None:
            return self._tape[0]
        floor = self.now() - round(self._retention_s * MICROS_PER_SECOND)
        return floor - floor % _FORGOTTEN_AT_ONCE if self.seen_by.version == 2 else floor

    def _start(self, cursor: int | None) -> Micros:
        """Where a reader of `/subscribe` begins: what lies out of reach is moved without a word."""
        if cursor is not None and self.seen_by.version == 2:
            cursor = (
                self._view.at(cursor)
                if cursor < events.TIME_CURSORS_FROM
                else events.time_cursor(cursor, now=self.now(), floor=self._floor(), segment_s=self.seen_by.segment_s)
            )
        if cursor is not None:
            cursor -= round(self.faults.rewind_s() * MICROS_PER_SECOND)
        if self._tape is not None:
            return self._tape[0] if cursor is None else max(cursor, self._tape[0])
        now = self.now()
        if cursor is None or cursor > now:
            return now - round(self._history_s * MICROS_PER_SECOND if cursor is None else 0)
        return max(cursor, self._floor())

    async def _send(self, link: Link, span: Span, wish: Wish) -> None:
        position = span.started_at
        replaying, lose = span.cursor is not None, 0
        while self._tape is None or position < self._tape[1]:
            await self.faults.flowing()
            now = self.now()
            second = position // MICROS_PER_SECOND
            if position >= now or (position > now - _TICK and self._ends_at is None):
                if replaying:
                    replaying, lose = False, self.faults.cutover_loss()
                self._encoded.prefetch(second + 1, wish.wanted, wish.form, compressed=wish.compressed)
                await self._clock.sleep(TICK_S)
                continue
            encoded = await self._encoded.second(
                second, wish.wanted, wish.form, max_bytes=wish.max_bytes, compressed=wish.compressed
            )
            until = min(now, (second + 1) * MICROS_PER_SECOND)
            first, end = encoded.between(position, until)
            lost = min(lose, end - first)
            lose -= lost
            for start in range(first + lost, end, _CHUNK_FRAMES):
                stop = min(start + _CHUNK_FRAMES, end)
                await self.faults.flowing()
                await self._pass_on(link, encoded.wires[start:stop])
                span.frames += stop - start
                span.last_time_us = encoded.times[stop - 1]
            position = until
        self.finished.set()

    async def _pass_on(self, link: Link, wires: Sequence[bytes]) -> None:
        if self.faults.shaping:
            wires = self.faults.shape(wires)
        if self.faults.bytes_per_s is None and link.frames_until_flap is None:
            await write(link, wires)
            return
        for wire in wires:
            await self.faults.flowing()
            if link.frames_until_flap is not None:
                if link.frames_until_flap <= 0:
                    link.cut(mid_frame=True, reset=False)
                    await link.websocket.wait_closed()
                link.frames_until_flap -= 1
            await write(link, (wire,))
            rate = self.faults.bytes_per_s
            if rate is not None:
                await self._clock.sleep(len(wire) / rate)


def _chosen(_: ServerConnection, offered: Sequence[str]) -> Subprotocol | None:
    """Echo the one subprotocol that there is, and only as it is spelt."""
    return Subprotocol(SUBPROTOCOL) if SUBPROTOCOL in offered else None


async def write(link: Link, wires: Sequence[bytes]) -> None:
    """Write encoded frames straight to the transport: the library's own `send` would encode each for each reader.

    Raises:
        ConnectionClosed: the reader has gone.
    """
    async with link.websocket.send_context():
        link.websocket.transport.write(b"".join(wires))
    link.frames += len(wires)
