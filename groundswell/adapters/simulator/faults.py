"""Everything that goes wrong between a stream and its reader, on demand or by a timetable."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec
from websockets.asyncio.server import ServerConnection

from groundswell.adapters.simulator.background import garbage_frame
from groundswell.adapters.simulator.chance import mix, throwaway_did, unit
from groundswell.adapters.simulator.subscribe_events import error_frame
from groundswell.adapters.simulator.wire import wire_frame
from groundswell.ports.time import Clock

LONGEST_REWIND_S = 3600.0


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of a timetable: the same names and meanings as the methods of `Faults`."""

    at_s: float
    """Seconds after the server's start."""
    kind: Literal[
        "drop", "stall", "slow", "duplicate", "reorder", "garbage", "refuse", "rewind", "flap", "cutover", "complain"
    ]
    lasts_s: float | None = None
    """How long until it is taken back. None: for good; `drop`, `flap`, `cutover` and `complain` have no duration."""
    value: float | None = None
    """Bytes a second, share, window, status, seconds, connections or frames; None for the method's default."""


class Link:
    """One reader's connection."""

    def __init__(self, number: int, websocket: ServerConnection) -> None:
        self.number = number
        self.websocket = websocket
        self.frames = 0
        self.frames_until_flap: int | None = None
        self.speaks_events = False
        """Whether it reads `subscribeEvents`, where the host can say why it ends the stream."""
        self.compress: Callable[[bytes], bytes] | None = None

    def wire(self, frame: bytes) -> bytes:
        """The bytes of one more frame, compressed where the reader's frames are."""
        return wire_frame(frame if self.compress is None else self.compress(frame))

    def cut(self, *, mid_frame: bool, reset: bool) -> None:
        """End the TCP connection without a goodbye. With `reset` the reader gets an RST, which discards what it has
        not read yet; otherwise the stream just ends.
        """
        transport = self.websocket.transport
        if mid_frame and not transport.is_closing():
            transport.write(wire_frame(b'{"did":"did:plc:' + b"x" * 100)[:40])
        if reset:
            raw: socket.socket = transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        else:
            transport.close()


class Faults:
    """What is wrong at the moment. Every method takes effect at once, for present and future connections."""

    def __init__(self, seed: int) -> None:
        self._key = mix(seed)
        self._drawn = 0
        self._links: set[Link] = set()
        self.most_readers = 0
        """The most connections at once since this was last set."""
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._refusal: tuple[int, int | None] | None = None
        self._rewind: tuple[float, int | None] | None = None
        self._flaps = 0
        self._flap_frames = 0
        self._duplicate_share = 0.0
        self._garbage_share = 0.0
        self._reorder_window = 0
        self._cutover = (0, 0)
        self.bytes_per_s: float | None = None

    # ------------------------------------------------------------------ what tests and drills call
    def drop(self, *, mid_frame: bool = True, reset: bool = False) -> int:
        """Cut all connections, by default in the middle of a frame. Answers how many there were."""
        links = list(self._links)
        for link in links:
            link.cut(mid_frame=mid_frame, reset=reset)
        return len(links)

    def stall(self) -> None:
        """Keep connections open and say nothing: no frames, no answers to pings. Later connections too."""
        self._flowing.clear()
        for link in self._links:
            link.websocket.transport.pause_reading()

    def resume(self) -> None:
        """End a stall."""
        self._flowing.set()
        for link in self._links:
            if not link.websocket.transport.is_closing():
                link.websocket.transport.resume_reading()

    def slow(self, bytes_per_s: float | None = 10_000) -> None:
        """Send no faster than this on each connection. None: at full speed again."""
        self.bytes_per_s = bytes_per_s

    def duplicate(self, share: float = 0.1) -> None:
        """Send this share of frames twice, byte for byte, at once or a little later."""
        self._duplicate_share = share

    def reorder(self, window: int = 8) -> None:
        """Shuffle frames within windows of this many. 0 or 1: in order again."""
        self._reorder_window = window

    def garbage(self, share: float = 0.1) -> None:
        """Put a broken frame before this share of frames."""
        self._garbage_share = share

    def refuse(self, status: int = 503, *, times: int | None = None) -> None:
        """Answer handshakes with this HTTP status: the next `times`, or all until `accept`."""
        self._refusal = (status, times)

    def accept(self) -> None:
        """End a refusal."""
        self._refusal = None

    def rewind(self, seconds: float = LONGEST_REWIND_S, *, times: int | None = 1) -> None:
        """Start the next connections that bring a cursor this long before it, at most an hour. 0: at the cursor."""
        self._rewind = (min(seconds, LONGEST_REWIND_S), times) if seconds > 0 else None

    def flap(self, connections: int = 3, *, after_frames: int = 5) -> None:
        """Drop each of the next connections after a few frames."""
        self._flaps, self._flap_frames = connections, after_frames

    def lose_at_cutover(self, frames: int = 20, *, times: int = 1) -> None:
        """Let the next connections that bring a cursor lose so many frames where their replay meets the present."""
        self._cutover = (frames, times)

    def complain(self, error: str = "ConsumerTooSlow", message: str = "reading below the floor rate") -> int:
        """End the connections of `subscribeEvents` with an error frame. Answers how many there were."""
        links = [link for link in self._links if link.speaks_events]
        for link in links:
            link.websocket.transport.write(link.wire(error_frame(error, message)))
            link.cut(mid_frame=False, reset=False)
        return len(links)

    def calm(self) -> None:
        """Everything works again."""
        self.slow(None)
        self.duplicate(0)
        self.reorder(0)
        self.garbage(0)
        self.accept()
        self.rewind(0)
        self.flap(0)
        self.lose_at_cutover(0, times=0)
        self.resume()

    async def follow(self, timetable: Sequence[Fault], clock: Clock) -> None:
        """Let the faults of a timetable happen; returns after the last one."""
        steps = [(fault.at_s, fault, True) for fault in timetable]
        steps += [(f.at_s + f.lasts_s, f, False) for f in timetable if f.lasts_s is not None]
        started = clock.monotonic()
        for at_s, fault, begins in sorted(steps, key=lambda step: step[0]):
            await clock.sleep(max(at_s - (clock.monotonic() - started), 0))
            if begins:
                self._begin(fault)
            else:
                self._end(fault)

    # ------------------------------------------------------------------ what the server asks
    def attach(self, link: Link) -> None:
        self._links.add(link)
        self.most_readers = max(self.most_readers, len(self._links))
        if self._flaps > 0:
            self._flaps -= 1
            link.frames_until_flap = self._flap_frames
        if not self._flowing.is_set():
            link.websocket.transport.pause_reading()

    def detach(self, link: Link) -> None:
        self._links.discard(link)

    @property
    def readers(self) -> int:
        """Connections now."""
        return len(self._links)

    async def flowing(self) -> None:
        """Return at once, or when the stall ends."""
        await self._flowing.wait()

    @property
    def stalled(self) -> bool:
        return not self._flowing.is_set()

    @property
    def shaping(self) -> bool:
        """Whether frames have to pass one by one."""
        return bool(self._duplicate_share or self._garbage_share or self._reorder_window > 1)

    def refusal(self) -> int | None:
        """The HTTP status to refuse this handshake with."""
        if self._refusal is None:
            return None
        status, times = self._refusal
        self._refusal = None if times is not None and times <= 1 else (status, times and times - 1)
        return status

    def rewind_s(self) -> float:
        """How long before its cursor this connection starts."""
        if self._rewind is None:
            return 0.0
        seconds, times = self._rewind
        self._rewind = None if times is not None and times <= 1 else (seconds, times and times - 1)
        return seconds

    def cutover_loss(self) -> int:
        """How many frames this connection loses, now that it has caught up."""
        frames, times = self._cutover
        self._cutover = (frames, max(times - 1, 0))
        return frames if times > 0 else 0

    def shape(self, wires: Sequence[bytes]) -> list[bytes]:
        """The frames as they leave: with repeats, broken ones and disorder."""
        out: list[bytes] = []
        later: list[bytes] = []
        for wire in wires:
            if self._draw() < self._garbage_share:
                out.append(self._broken())
            out.append(wire)
            if self._draw() < self._duplicate_share:
                (out if self._draw() < 0.5 else later).append(wire)
        out += later
        window = self._reorder_window
        if window > 1:
            keyed = [(n // window, self._draw(), wire) for n, wire in enumerate(out)]
            out = [wire for _, _, wire in sorted(keyed, key=lambda item: item[:2])]
        return out

    def _broken(self) -> bytes:
        self._drawn += 1
        value = mix(self._key + self._drawn)
        frame = garbage_frame(value >> 13, throwaway_did(self._key, self._drawn), value)
        return wire_frame(frame)

    def _draw(self) -> float:
        self._drawn += 1
        return unit(mix(self._key + self._drawn))

    def _begin(self, fault: Fault) -> None:
        value = fault.value
        match fault.kind:
            case "drop":
                self.drop()
            case "stall":
                self.stall()
            case "slow":
                self.slow(10_000 if value is None else value)
            case "duplicate":
                self.duplicate(0.1 if value is None else value)
            case "reorder":
                self.reorder(8 if value is None else int(value))
            case "garbage":
                self.garbage(0.1 if value is None else value)
            case "refuse":
                self.refuse(503 if value is None else int(value))
            case "rewind":
                self.rewind(LONGEST_REWIND_S if value is None else value)
            case "flap":
                self.flap(3 if value is None else int(value))
            case "cutover":
                self.lose_at_cutover(20 if value is None else int(value))
            case "complain":
                self.complain()

    def _end(self, fault: Fault) -> None:
        match fault.kind:
            case "stall":
                self.resume()
            case "slow":
                self.slow(None)
            case "duplicate":
                self.duplicate(0)
            case "reorder":
                self.reorder(0)
            case "garbage":
                self.garbage(0)
            case "refuse":
                self.accept()
            case "rewind":
                self.rewind(0)
            case "drop" | "flap" | "cutover" | "complain":
                pass
