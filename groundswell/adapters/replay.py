"""Plays a recording: a file of Jetstream frames, in any of the forms that docs/recordings.md lists."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path

import msgspec

from groundswell.adapters.recording_file import Damaged, text_of
from groundswell.core.entities import EntityExtractor
from groundswell.core.jetstream import decode
from groundswell.core.pacing import LOOK_AHEAD, Pacer
from groundswell.core.posts import Decoded
from groundswell.core.recorded_frames import FrameSplitter, RecordedFrame, canonical
from groundswell.core.status import RECORDING_PREFIX
from groundswell.errors import SourceFailed
from groundswell.ports.sources import SourceEnded

log = logging.getLogger(__name__)

BLOCK_BYTES = 1024 * 1024
"""Read at once, in a thread: a block keeps the event loop free and costs little to switch for."""
SHORTEST_SLEEP_S = 0.005

_MARK_BITS = 20
"""Of a cursor: the number of a frame from 1 on, then so many bits of its time, to know the recording again by."""


class ReplaySource:
    """A `Source` over a file. Lines that are no frames go to `decode` like any other, and are counted there.

    Cursors are numbers of frames, since times may be missing or out of order.

    Args:
        speed: 1 plays as fast as it happened, by the frames' own times; 60 an hour in a minute; None without waiting.
    """

    can_replay = True
    quiet_after_s: float | None = None

    def __init__(
        self, path: Path, *, extractor: EntityExtractor | None, speed: float | None = None, name: str = "replay"
    ) -> None:
        if speed is not None and not speed > 0:
            raise SourceFailed(f"A recording cannot play at speed {speed}: give a number above 0, or none for maximum")
        self.name = name
        self._path = Path(path)
        self._speed = speed
        self._extractor = extractor

    def decode(self, raw: bytes) -> Decoded:
        said = decode(raw, source=self.name, extractor=self._extractor)
        if said.cursor is None or not isinstance(raw, _PlayedFrame):
            return said
        return msgspec.structs.replace(said, cursor=raw.cursor)

    @asynccontextmanager
    async def connect(self, cursor: int | None) -> AsyncGenerator[ReplayConnection]:
        """Open the file, at the frame that `cursor` is of.

        Raises:
            SourceFailed: the file is missing, unreadable, damaged, or of a form that is not read.
        """
        reader = _Reader(self._path)
        await asyncio.to_thread(reader.fill)
        connection = ReplayConnection(self._path, reader, speed=self._speed)
        if cursor is not None and not await connection.skip_to(cursor):
            log.warning(
                "The recording %s is another than the one that was stored up to its frame %d: it is played from its "
                "start, and what is stored already is recognised",
                self._path,
                cursor >> _MARK_BITS,
            )
            reader = _Reader(self._path)
            await asyncio.to_thread(reader.fill)
            connection = ReplayConnection(self._path, reader, speed=self._speed)
        yield connection


def recording_name(path: Path, stored: Sequence[str] = ()) -> str:
    """Return the source name of a recording, such as `replay:monday.jsonl@1f0c2ab4`. Blocks.

    The part after `@` is a digest of the first frame, so that two files of one name are two sources, and one file that
    was renamed, moved, copied or compressed again is the source that it was: its name is looked for in `stored`.

    Raises:
        SourceFailed: the file is missing, unreadable, or of a form that is not read.
    """
    frames = first_frames(path)
    first = canonical(frames[0].raw) if frames else b""
    own = f"@{hashlib.sha256(first).hexdigest()[:8]}"
    known = [name for name in stored if name.startswith(RECORDING_PREFIX) and name.endswith(own)]
    name = f"{RECORDING_PREFIX}{path.name}{own}"
    return name if name in known or not known else known[0]


def first_frames(path: Path) -> Sequence[RecordedFrame]:
    """Return the frames at the start of a recording, about a block of text. Blocks.

    Raises:
        SourceFailed: the file is missing, unreadable, or of a form that is not read.
    """
    reader = _Reader(path)
    reader.fill()
    return reader.frames


class _PlayedFrame(bytes):
    """A frame with its cursor, beyond what stands in it."""

    cursor: int


class ReplayConnection:
    """An open recording, as `ports.Connection`."""

    def __init__(self, path: Path, reader: _Reader, *, speed: float | None) -> None:
        self.endpoint = str(path)
        self._path = path
        self._reader = reader
        self._pacer = None if speed is None else Pacer(speed)
        self._played = 0

    async def receive(self) -> bytes:
        """Return the next frame, when its time has come.

        Raises:
            SourceEnded: that was the last one.
            SourceFailed: the file is damaged from here on.
        """
        frames = self._reader.frames
        if len(frames) <= LOOK_AHEAD and not self._reader.ended:
            await asyncio.to_thread(self._reader.fill)
        if not frames:
            self._end()
        frame = frames.popleft()
        if self._pacer is not None and frame.at is not None:
            following = [other.at for other in islice(frames, LOOK_AHEAD) if other.at is not None]
            wait_s = self._pacer.wait_s(frame.at, following, asyncio.get_running_loop().time())
            if wait_s >= SHORTEST_SLEEP_S:
                await asyncio.sleep(wait_s)
        self._played += 1
        played = _PlayedFrame(frame.raw)
        played.cursor = _cursor(self._played, frame)
        return played

    async def skip_to(self, cursor: int) -> bool:
        """Go to the frame that `cursor` is of; return whether it is there."""
        number, frames = cursor >> _MARK_BITS, self._reader.frames
        while self._played + len(frames) < number and not self._reader.ended:
            self._played += len(frames)
            frames.clear()
            await asyncio.to_thread(self._reader.fill)
        if not 0 < number <= self._played + len(frames):
            return False
        for _ in range(number - 1 - self._played):
            frames.popleft()
        self._played = number - 1
        return _cursor(number, frames[0]) == cursor

    async def ping(self) -> None:
        """A file is always there."""

    def _end(self) -> None:
        damage = self._reader.damage
        if damage is None:
            raise SourceEnded(f"{self._path} has been played")
        raise SourceFailed(
            f"The recording {self._path} cannot be read beyond its first {self._played} frames ({damage}): "
            "it is damaged or incomplete; all before has been played"
        ) from damage


def _cursor(number: int, frame: RecordedFrame) -> int:
    return number << _MARK_BITS | (frame.at or 0) & ((1 << _MARK_BITS) - 1)


class _Reader:
    """Reads a file ahead of who plays it."""

    def __init__(self, path: Path) -> None:
        self._pieces: Iterator[bytes] | None = None
        self._path = path
        self._splitter = FrameSplitter()
        self.frames: deque[RecordedFrame] = deque()
        """What was read and not taken."""
        self.ended = False
        self.damage: Damaged | None = None
        """What kept more from being read."""

    def fill(self) -> None:
        """Read on until there is another frame or more, about a block of text, or the end. Blocks.

        Raises:
            SourceFailed: the file is missing, unreadable, or of a form that is not read.
        """
        if self._pieces is None:
            self._pieces = text_of(self._path)
        before = len(self.frames)
        while not self.ended and len(self.frames) <= before + LOOK_AHEAD:
            text = self._block(self._pieces)
            self.frames += self._splitter.feed(text)
            if self.ended:
                self.frames += self._splitter.finish(broken_off=self.damage is not None)

    def _block(self, pieces: Iterator[bytes]) -> bytes:
        parts: list[bytes] = []
        size = 0
        try:
            for piece in pieces:
                parts.append(piece)
                size += len(piece)
                if size >= BLOCK_BYTES:
                    return b"".join(parts)
        except Damaged as error:
            self.damage = error
        self.ended = True
        return b"".join(parts)
