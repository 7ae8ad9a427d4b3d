"""Plays a recording: one Jetstream frame a line, plain, gzip or zstd."""

from __future__ import annotations

import asyncio
import gzip
import io
import zlib
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import zstandard

from groundswell.core.cursor import resume_cursor
from groundswell.core.entities import EntityExtractor
from groundswell.core.jetstream import MAX_FRAME_BYTES, decode, peek_time
from groundswell.core.posts import MICROS_PER_SECOND, Decoded
from groundswell.errors import SourceFailed
from groundswell.ports.sources import SourceEnded

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BLOCK_BYTES = 1024 * 1024
"""Read at once, in a thread: a block keeps the event loop free and costs little to switch for."""
ZSTD_CHUNK_BYTES = 16 * 1024
"""Compressed bytes taken at a time: they can grow a thousandfold."""
SHORTEST_SLEEP_S = 0.005

_GZIP_MAGIC = b"\x1f\x8b"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


class ReplaySource:
    """A `Source` over a file. Lines that are no frames go to `decode` like any other, and are counted there.

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
        return decode(raw, source=self.name, extractor=self._extractor)

    @asynccontextmanager
    async def connect(self, cursor: int | None) -> AsyncGenerator[ReplayConnection]:
        """Open the file, at the first frame from `cursor` (a little early) on.

        Raises:
            SourceFailed: the file is missing, unreadable or damaged.
        """
        file = await asyncio.to_thread(_open, self._path)
        try:
            yield ReplayConnection(self._path, file, start=resume_cursor(cursor), speed=self._speed)
        finally:
            file.close()


class ReplayConnection:
    """An open recording, as `ports.Connection`."""

    def __init__(self, path: Path, file: BinaryIO, *, start: int | None, speed: float | None) -> None:
        self.endpoint = str(path)
        self._path = path
        self._file = file
        self._start = start
        self._speed = speed
        self._lines: deque[bytes] = deque()
        self._lines_read = 0
        self._damage: Exception | None = None
        self._origin: tuple[int, float] | None = None

    async def receive(self) -> bytes:
        """The next line, when its time has come.

        Raises:
            SourceEnded: that was the last one.
            SourceFailed: the file is damaged from here on.
        """
        while True:
            if not self._lines:
                await self._read_block()
            raw = self._lines.popleft()
            if self._start is not None:
                at = peek_time(raw)
                if at is None or at < self._start:
                    continue
                self._start = None
            if self._speed is not None:
                await self._wait_for(raw, self._speed)
            return raw

    async def ping(self) -> None:
        """A file is always there."""

    async def _read_block(self) -> None:
        if self._damage is None:
            lines, self._damage = await asyncio.to_thread(_read_lines, self._file)
            self._lines_read += len(lines)
            self._lines.extend(lines)
            if lines:
                return
        if self._damage is None:
            raise SourceEnded(f"{self._path} has been played")
        raise SourceFailed(
            f"The recording {self._path} cannot be read beyond its first {self._lines_read} frames ({self._damage}): "
            "it is damaged or incomplete; all before has been played"
        ) from self._damage

    async def _wait_for(self, raw: bytes, speed: float) -> None:
        at = peek_time(raw)
        if at is None:
            return
        now = asyncio.get_running_loop().time()
        if self._origin is None:
            self._origin = (at, now)
        first_at, began = self._origin
        wait = began + (at - first_at) / MICROS_PER_SECOND / speed - now
        if wait >= SHORTEST_SLEEP_S:
            await asyncio.sleep(wait)


def _open(path: Path) -> BinaryIO:
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise SourceFailed(f"The recording {path} does not exist: check the path") from None
    except OSError as error:
        raise SourceFailed(f"The recording {path} cannot be opened: {error.strerror}") from error
    magic = file.read(4)
    file.seek(0)
    if magic.startswith(_GZIP_MAGIC):
        file.close()
        return io.BufferedReader(gzip.open(path))
    if magic == _ZSTD_MAGIC:
        return io.BufferedReader(_ZstdReader(file), BLOCK_BYTES)
    return file


class _ZstdReader(io.RawIOBase):
    """Decompresses frame after frame, and raises where the last one breaks off: the library's own reader just ends."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file
        self._frame: zstandard.ZstdDecompressionObj | None = None
        self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        target = memoryview(buffer)
        while not self._ready:
            chunk = self._file.read(ZSTD_CHUNK_BYTES)
            if not chunk:
                if self._frame is not None:
                    raise EOFError("the compressed stream breaks off")
                return 0
            self._ready = self._decompress(chunk)
        n = min(len(target), len(self._ready))
        target[:n] = self._ready[:n]
        self._ready = self._ready[n:]
        return n

    def close(self) -> None:
        self._file.close()
        super().close()

    def _decompress(self, chunk: bytes) -> bytes:
        parts: list[bytes] = []
        while chunk:
            frame = self._frame or zstandard.ZstdDecompressor().decompressobj()
            parts.append(frame.decompress(chunk))
            chunk = frame.unused_data if frame.eof else b""
            self._frame = None if frame.eof else frame
        return b"".join(parts)


def _read_lines(file: BinaryIO) -> tuple[list[bytes], Exception | None]:
    """About a block of lines without their ends, blank ones left out, and what kept more from being read.

    Neither at the end of the file. A line longer than a frame is cut just beyond it: `decode` counts it as oversized.
    """
    lines: list[bytes] = []
    size = 0
    try:
        while size < BLOCK_BYTES:
            line = file.readline(MAX_FRAME_BYTES + 2)
            if not line:
                break
            whole = line.endswith(b"\n")
            while not whole:
                rest = file.readline(MAX_FRAME_BYTES)
                whole = not rest or rest.endswith(b"\n")
            size += len(line)
            if stripped := line.strip():
                lines.append(stripped)
    except (OSError, EOFError, zlib.error, zstandard.ZstdError) as error:
        return lines, error
    return lines, None
