"""uvicorn's protocols with limits that it leaves open: time for a request, bytes after an answer, frames of a socket.

uvicorn 0.54 has settings for the size of a head, the size of a message and idle connections, and none for these:
a half-sent request stays open for good, a body is read on after its answer, a body may come in chunks of one byte, and
one TCP segment with a hundred thousand empty WebSocket frames is parsed in one turn of the event loop. Its limit for
heads counts only when a read ends within a head; `Pieces` lets it count always.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from groundswell.adapters.intake import Intake, Pieces

HEAD_LIMIT_S = 10.0
"""From the opening of a connection, or the first byte of a further request, to the end of its head."""
BODY_LIMIT_S = 20.0
"""From the end of a head to the end of the body."""
CHUNKS_OF_A_BODY = 1_000
"""A body of the largest size that is taken, 64 KiB, has as many in chunks of 66 bytes."""
FRAMES_A_SECOND = 50.0
"""Frames of any kind, empty fragments and pings included. The hub limits whole messages to fewer."""
FRAMES_AT_ONCE = 200.0
TOO_MANY_FRAMES = 1008


class BoundedConnection(h11.Connection):
    """h11's side of a server, with a limit for the chunks of a body."""

    _chunks = 0

    def next_event(self) -> Any:
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._chunks = 0
        elif isinstance(event, h11.Data) and event.chunk_start:
            self._chunks += 1
            if self._chunks > CHUNKS_OF_A_BODY:
                raise h11.RemoteProtocolError("the body has too many chunks")
        return event


class BoundedHttp(Pieces, H11Protocol):
    """HTTP/1.1 whose requests arrive within a time limit, and whose bodies end with the answer at the latest."""

    _waiting: asyncio.TimerHandle | None = None
    _waiting_for: Any = None
    _upgraded = False
    _answered = False

    def __init__(self, *arguments: Any, intake: Intake, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.intake = intake
        self.conn = BoundedConnection(h11.SERVER)

    def take_piece(self, piece: bytes) -> bool:
        if self._upgraded:
            return False  # no client may send anything before the answer to its handshake
        cycle = self.cycle
        if piece:
            H11Protocol.data_received(self, piece)
        else:
            self.handle_events()
        return self.cycle is not cycle or self._upgraded

    def wants_no_more(self) -> bool:
        return self.flow.read_paused

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] -- as uvicorn's
        super().connection_made(transport)
        self._wait(h11.IDLE, HEAD_LIMIT_S)

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait(None, 0)
        super().connection_lost(exc)

    def handle_events(self) -> None:
        if self._answered:
            # Behind the answer waits the next request of the same connection. It takes its turn as those of others.
            self._answered = False
            self.intake.take_later(self)
            return
        super().handle_events()
        if self._upgraded or self.transport.is_closing():
            self._wait(None, 0)
            return
        state = self.conn.their_state
        if state is h11.SEND_BODY:
            if self.cycle.response_complete:
                # Nobody reads the rest of this body, and without its end there is no next request.
                self.transport.close()
                return
            self._wait(state, BODY_LIMIT_S)
        elif state is h11.IDLE and self.conn.trailing_data[0]:
            self._wait(state, HEAD_LIMIT_S)
        else:
            self._wait(None, 0)

    def on_response_complete(self) -> None:
        self._answered = True
        super().on_response_complete()
        self._answered = False
        if self.conn.their_state is h11.SEND_BODY and not self.transport.is_closing():
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        cycle = cast("RequestResponseCycle | None", self.cycle)
        if cycle is not None and not cycle.response_complete:
            # The application still works on the request whose body turned out to be none. Its answer goes nowhere.
            cycle.disconnected = True
            cycle.message_event.set()
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            super().send_400_response(msg)
        else:
            self.transport.close()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        self._upgraded = True
        super().handle_websocket_upgrade(event)

    def _wait(self, state: Any, limit_s: float) -> None:
        """Close the connection when `state` has lasted `limit_s`; None waits for nothing."""
        if state is self._waiting_for and state is not None:
            return
        if self._waiting is not None:
            self._waiting.cancel()
        self._waiting_for = state
        self._waiting = self.loop.call_later(limit_s, self.transport.close) if state is not None else None


class BoundedWebSocket(Pieces, WebSocketsSansIOProtocol):
    """A WebSocket whose frames are counted, whatever they hold, and parsed a little at a time."""

    _frames_left = FRAMES_AT_ONCE
    _counted_at = 0.0

    def __init__(self, *arguments: Any, intake: Intake, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.intake = intake

    def take_piece(self, piece: bytes) -> bool:
        WebSocketsSansIOProtocol.data_received(self, piece)
        return not self.queue.empty()

    def wants_no_more(self) -> bool:
        return self.read_paused

    def handle_cont(self, event: Frame) -> None:
        if self._count():
            super().handle_cont(event)

    def handle_text(self, event: Frame) -> None:
        if self._count():
            super().handle_text(event)

    def handle_bytes(self, event: Frame) -> None:
        if self._count():
            super().handle_bytes(event)

    def handle_ping(self) -> None:
        if self._count():
            super().handle_ping()

    def handle_pong(self, event: Frame) -> None:
        if self._count():
            super().handle_pong(event)

    def _count(self) -> bool:
        """Count one frame. Return False, and close, where there are more than a client has any reason to send."""
        now = self.loop.time()
        refill = (now - self._counted_at) * FRAMES_A_SECOND if self._counted_at else 0.0
        self._counted_at = now
        self._frames_left = min(FRAMES_AT_ONCE, self._frames_left + refill) - 1
        if self._frames_left >= 0:
            return True
        if not self.transport.is_closing():
            self.conn.fail(TOO_MANY_FRAMES, "too many frames")
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.close_sent = True
            self.transport.close()
        return False
