"""What clients send is parsed a piece at a time, and for a few milliseconds in one turn of the event loop.

A protocol of asyncio gets whatever a socket holds, up to 256 KiB, in one call, and every socket that is ready is read
in one turn. With enough bytes, or enough sockets, that turn takes as long as a client likes. Here the rest waits for
the next turns, each connection in its turn, and its socket is left unread meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque

PIECE_BYTES = 1024
"""Bytes that are parsed at once: at most 512 WebSocket frames or 170 chunks of a body, about 4 ms."""
TURN_S = 0.005
"""Processor time for parsing in one turn of the event loop, and a piece more."""
BEGUN_S = 0.001
"""What a request, a handshake or a message is taken to need in the same turn, apart from parsing: five are begun."""


class Pieces(asyncio.Protocol):
    """A protocol whose bytes come through `take_piece`, in order, `PIECE_BYTES` at most at a time."""

    transport: asyncio.Transport
    intake: Intake
    waiting = b""
    """What was received and not parsed yet: as much as one read of the socket gives, seldom more."""
    queued = False

    def take_piece(self, piece: bytes) -> bool:
        """Parse the next bytes, or without any what is parsed so far. Return whether something began that goes on."""
        raise NotImplementedError

    def wants_no_more(self) -> bool:
        """Return whether the socket has to stay unread for a reason of the protocol's own."""
        raise NotImplementedError

    def data_received(self, data: bytes) -> None:
        self.waiting += data
        if not self.queued:
            self.intake.take(self)
        elif not self.transport.is_closing():
            self.transport.pause_reading()


class Intake:
    """Shares one event loop among its connections."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._queue: deque[Pieces] = deque()
        self._spent_s = 0.0
        self._turn_ends = False

    def take(self, protocol: Pieces) -> None:
        """Parse what `protocol` received, as far as this turn has time for it."""
        if not self._queue:
            while self._has_time():
                if not self._parse_piece(protocol):
                    return
        protocol.queued = True
        protocol.transport.pause_reading()
        self._queue.append(protocol)

    def take_later(self, protocol: Pieces) -> None:
        """Let `protocol` go on in the next turn with what it has."""
        if not protocol.queued and not protocol.transport.is_closing():
            protocol.queued = True
            self._queue.append(protocol)
            self._has_time()

    def _has_time(self) -> bool:
        if not self._turn_ends:
            self._turn_ends = True
            self.loop.call_soon(self._next_turn)
        return self._spent_s < TURN_S

    def _next_turn(self) -> None:
        self._turn_ends, self._spent_s = False, 0.0
        while self._queue and self._has_time():
            protocol = self._queue.popleft()
            if self._parse_piece(protocol):
                self._queue.append(protocol)
                continue
            protocol.queued = False
            if not protocol.transport.is_closing() and not protocol.wants_no_more():
                protocol.transport.resume_reading()

    def _parse_piece(self, protocol: Pieces) -> bool:
        """Parse one piece. Return whether there is another."""
        if protocol.transport.is_closing():
            protocol.waiting = b""
            return False
        started = time.thread_time()
        piece, protocol.waiting = protocol.waiting[:PIECE_BYTES], protocol.waiting[PIECE_BYTES:]
        if protocol.take_piece(piece):
            self._spent_s += BEGUN_S
        self._spent_s += time.thread_time() - started
        return bool(protocol.waiting)
