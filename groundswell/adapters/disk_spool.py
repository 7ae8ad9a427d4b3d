"""The relay's spool as segment files in a folder: appended to, read in order, and removed once the store has it all.

    0000000001-9f3a5c21.seg     records (`core.spool` has their format); the second number is the segment's salt
    position                    how far the oldest segment has been drained
    resume                      what the store was last known to have taken

Durability: an append returns after fdatasync, so it survives a power cut; a segment's name is synced with its folder.
The position is only written (a kill leaves it, a power cut may set it back), because draining a batch twice is
harmless; it is synced behind a gap that opens or closes, since of those only the last one may be repeated.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import secrets
import zlib
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from struct import Struct

import msgspec
import zstandard

from groundswell.adapters.data_directory import DirectoryLock
from groundswell.core.posts import Micros
from groundswell.core.spool import HEADER_BYTES, Record, Scan, encode_record, scan
from groundswell.crash_points import CrashPoint, reach
from groundswell.errors import DataDirectoryError
from groundswell.ports.spool import Spooled, SpoolFull, SpoolItem
from groundswell.ports.storing import Batch, ResumePoint

log = logging.getLogger(__name__)

SEGMENT_BYTES = 8 * 1024 * 1024
READ_BYTES = 1024 * 1024
"""Payloads read at once while draining."""
_POSITION = Struct("<QQI")
_FULL_DISK = frozenset({errno.ENOSPC, errno.EDQUOT})

_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(Spooled)


class _Remembered(msgspec.Struct, frozen=True):
    point: ResumePoint
    clock_ahead_us: int


class _Segment(msgspec.Struct):
    number: int
    salt: int
    path: Path
    end: int = 0
    """Behind the last record that was acknowledged."""
    depth: int = 0
    items: int = 0
    """Both of what is not drained yet."""


class DiskSpool:
    """`ports.Spool` in a folder of its own, which one process holds at a time.

    Args:
        max_bytes: of all segment files together.

    Raises:
        DataDirectoryError: the folder cannot be used, or another process uses it.
    """

    def __init__(self, folder: Path, *, max_bytes: int, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._folder = folder
        self.max_bytes = max_bytes
        self._segment_bytes = min(segment_bytes, max(1, max_bytes // 4))
        self._segments: deque[_Segment] = deque()
        """Oldest first, changed by the event loop's thread alone; the one that is written to joins with its first
        acknowledged record."""
        self._active: tuple[_Segment, int] | None = None
        """The segment that is written to, and its descriptor."""
        self._newest = 0
        """The greatest number of a segment so far: the position file may still speak of one that is gone."""
        self._appending = False
        self._noting = True
        """Whether the position could be written, the last time."""
        self._offset = 0
        self._oldest: Micros | None = None
        self._compress = zstandard.ZstdCompressor(level=1).compress
        self._decompress = zstandard.ZstdDecompressor().decompress
        self.first: Spooled | None = None
        self.last: Spooled | None = None
        self._lock = DirectoryLock(folder)
        self._lock.acquire()
        try:
            self._position = os.open(folder / "position", os.O_RDWR | os.O_CREAT, 0o644)
            self._take_place()
            self._recover()
        except OSError as error:
            self._lock.release()
            raise DataDirectoryError(
                f"The spool in {folder} cannot be used: {error.strerror or error}. Make the folder readable and "
                "writable for this user, or switch the spool off with GROUNDSWELL_SPOOL_MAX_MB=0."
            ) from error

    def close(self) -> None:
        """Let go of the folder. What waits stays."""
        self._retire_active()
        os.close(self._position)
        self._lock.release()

    @property
    def depth(self) -> int:
        return sum(segment.depth for segment in self._segments)

    @property
    def items(self) -> int:
        return sum(segment.items for segment in self._segments)

    @property
    def size(self) -> int:
        return sum(segment.end for segment in self._segments)

    @property
    def oldest(self) -> Micros | None:
        return self._oldest

    # -------------------------------------------------------------- appending
    async def append(self, spooled: Spooled) -> None:
        work = spooled.work
        items = 0
        if isinstance(work, Batch):
            items = len(work.posts) + len(work.deletes) + len(work.accounts) + len(work.profiles)
        writing = asyncio.ensure_future(asyncio.to_thread(self._append, spooled, items, self.size))
        self._appending = True
        try:
            await asyncio.shield(writing)
        finally:
            await asyncio.wait({writing})  # a caller that was cancelled must not leave a write behind
            self._appending = False
            if not writing.cancelled() and writing.exception() is None:
                segment, length = writing.result()
                self._acknowledge(segment, length, items, spooled.spooled_at)
            self._tidy()

    def _acknowledge(self, segment: _Segment, length: int, items: int, spooled_at: Micros) -> None:
        if not self._segments or self._segments[-1] is not segment:
            self._segments.append(segment)
        segment.end += length
        segment.depth += 1
        segment.items += items
        if self._oldest is None:
            self._oldest = spooled_at
        if segment.end >= self._segment_bytes:
            self._retire_active()

    def _append(self, spooled: Spooled, items: int, size: int) -> tuple[_Segment, int]:
        payload = self._compress(_encode(spooled))
        if size + len(payload) + HEADER_BYTES > self.max_bytes:
            raise SpoolFull(f"it holds {size / 1e6:.0f} MB of at most {self.max_bytes / 1e6:.0f} MB")
        try:
            segment, descriptor = self._active or self._begin_segment()
            record = encode_record(payload, items, segment.salt)
            _write_whole(descriptor, record, segment.end)
            reach(CrashPoint.RELAY_SPOOL_WRITTEN)
            _sync(descriptor)
            reach(CrashPoint.RELAY_SPOOL_SYNCED)
        except OSError as error:
            # What the file holds behind the last acknowledged record is not known now: never write there again.
            self._retire_active()
            if error.errno in _FULL_DISK:
                raise SpoolFull(f"the disk of {self._folder} is full") from error
            raise SpoolFull(f"{self._folder} cannot be written: {error.strerror or error}") from error
        return segment, len(record)

    def _begin_segment(self) -> tuple[_Segment, int]:
        self._newest += 1
        salt = secrets.randbits(32)
        path = self._folder / f"{self._newest:010}-{salt:08x}.seg"
        self._active = _Segment(self._newest, salt, path), os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        _sync_folder(self._folder)
        return self._active

    def _retire_active(self) -> None:
        """Write no more to the newest segment, and drop what follows its last acknowledged record."""
        if self._active is None:
            return
        (segment, descriptor), self._active = self._active, None
        try:
            if segment.end:
                os.ftruncate(descriptor, segment.end)
            else:
                segment.path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("%s: what follows its last record could not be cut off: %s", segment.path, error)
        finally:
            os.close(descriptor)

    # -------------------------------------------------------------- draining
    async def read(self) -> Sequence[SpoolItem]:
        self._tidy()
        if not self.depth:
            return ()
        segment = self._segments[0]
        return await asyncio.to_thread(self._read, segment, self._offset, segment.end)

    def _read(self, segment: _Segment, start: int, end: int) -> list[SpoolItem]:
        try:
            data = _read_range(segment.path, start, end)
        except OSError as error:
            log.error("%s cannot be read: %s", segment.path, error.strerror or error)  # noqa: TRY400 -- all there is to say
            data = b""
        scanned = scan(data, segment.salt, limit=READ_BYTES)
        items: list[SpoolItem] = []
        for found in scanned.found:
            spooled = self._decode(found.payload) if isinstance(found, Record) else None
            items.append(
                SpoolItem(
                    spooled,
                    segment.number,
                    start + found.end,
                    items=found.items if isinstance(found, Record) else 0,
                )
            )
        if not items:
            # All of it was acknowledged once, so what cannot be read here is lost.
            items.append(SpoolItem(None, segment.number, end))
        for item in items:
            if item.spooled is None:
                log.error("%s is damaged before byte %d: what stood there cannot be read", segment.path, item.end)
        return items

    def _decode(self, payload: bytes) -> Spooled | None:
        """None where the checksum is right and the content is not: written by another version, for example."""
        try:
            return _decoder.decode(self._decompress(payload))
        except (zstandard.ZstdError, msgspec.MsgspecError) as error:
            log.error("a spooled record has the right checksum and cannot be decoded: %s", error)  # noqa: TRY400
            return None

    def done(self, item: SpoolItem) -> None:
        segment = self._segments[0]
        assert item.segment == segment.number, "items are done in the order in which they were read"
        self._offset = item.end
        if item.spooled is None:
            segment.depth = max(0, segment.depth - 1)
        else:
            segment.depth -= 1
            segment.items -= item.items
        if item.end >= segment.end:
            segment.depth = segment.items = 0  # damage may have hidden several records
        self._note_position(segment.number, item)
        reach(CrashPoint.RELAY_DRAIN_MOVED)
        self._tidy()
        self._oldest = item.spooled.spooled_at if item.spooled is not None and self.depth else None

    def _note_position(self, number: int, item: SpoolItem) -> None:
        """A disk that takes no note costs some work that is stored again after a crash, and no draining."""
        try:
            os.pwrite(self._position, _encode_position(number, item.end), 0)
            if item.spooled is not None and not isinstance(item.spooled.work, Batch):
                _sync(self._position)
        except OSError as error:
            if self._noting:
                log.warning("%s: how far the spool is drained cannot be noted: %s", self._folder, error)
            self._noting = False
        else:
            self._noting = True

    def _take_place(self) -> None:
        """Give the position its bytes while there is room: draining is what a full disk waits for."""
        if os.fstat(self._position).st_size < _POSITION.size:
            try:
                os.pwrite(self._position, _encode_position(0, 0), 0)
            except OSError as error:
                log.warning("%s: the disk has no room for the spool's position: %s", self._folder, error)

    def _tidy(self) -> None:
        """Remove what is drained."""
        while self._segments and self._offset >= self._segments[0].end:
            segment = self._segments[0]
            if self._active is not None and self._active[0] is segment:
                if self._appending:
                    return
                self._retire_active()
            self._segments.popleft()
            self._offset = 0
            try:
                segment.path.unlink(missing_ok=True)
            except OSError as error:
                log.warning("%s is stored and cannot be removed (%s): the next start tries again", segment.path, error)

    # -------------------------------------------------------------- after a start
    def _recover(self) -> None:
        number, offset = self._drained_to()
        self._newest = number
        for path in sorted(self._folder.glob("*.seg")):
            segment = _parse_name(path)
            if segment is None:
                log.warning("%s is no segment of a spool: it is left alone", path)
            elif segment.number < number:
                path.unlink()
            else:
                self._segments.append(segment)
                self._newest = max(self._newest, segment.number)
        for segment in list(self._segments):
            start = offset if segment.number == number else 0
            newest = segment is self._segments[-1]
            scanned = self._take_stock(segment, start, newest=newest)
            records = [found for found in scanned.found if isinstance(found, Record)]
            segment.depth, segment.items = len(records), sum(record.items for record in records)
            for record in records[:1] if self.first is None else ():
                self.first = self._decode(record.payload)
            for record in records[-1:]:
                self.last = self._decode(record.payload) or self.last
        if self._segments and self._segments[0].number == number:
            self._offset = min(offset, self._segments[0].end)
        self._tidy()
        self._oldest = None if self.first is None else self.first.spooled_at

    def _take_stock(self, segment: _Segment, start: int, *, newest: bool) -> Scan:
        data = segment.path.read_bytes()
        start = min(start, len(data))
        scanned = scan(memoryview(data)[start:], segment.salt)
        segment.end = start + scanned.end if newest else len(data)
        if newest and segment.end < len(data):
            log.warning(
                "%s ends with a record that was not written whole, so it was not acknowledged: %d bytes are cut off",
                segment.path,
                len(data) - segment.end,
            )
            os.truncate(segment.path, segment.end)
        return scanned

    def _drained_to(self) -> tuple[int, int]:
        """(segment, offset): everything before is stored."""
        raw = os.pread(self._position, _POSITION.size, 0)
        if len(raw) == _POSITION.size:
            number, offset, checksum = _POSITION.unpack(raw)
            if checksum == zlib.crc32(raw[:16]):
                return number, offset
        return 0, 0

    # -------------------------------------------------------------- the point to resume from
    def remember(self, point: ResumePoint, clock_ahead_us: int) -> None:
        path = self._folder / "resume"
        try:
            fresh = path.with_suffix(".new")
            fresh.write_bytes(msgspec.json.encode(_Remembered(point, clock_ahead_us)))
            fresh.replace(path)
        except OSError as error:
            log.warning("%s cannot be written (%s): a start without the database would have to wait", path, error)

    def remembered(self) -> tuple[ResumePoint, int] | None:
        path = self._folder / "resume"
        try:
            found = msgspec.json.decode(path.read_bytes(), type=_Remembered)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("%s cannot be read (%s): a start without the database has to wait", path, error)
            return None
        return found.point, found.clock_ahead_us


_sync = getattr(os, "fdatasync", os.fsync)


def _encode_position(number: int, offset: int) -> bytes:
    head = _POSITION.pack(number, offset, 0)[:16]
    return head + zlib.crc32(head).to_bytes(4, "little")


def _parse_name(path: Path) -> _Segment | None:
    number, _, salt = path.stem.partition("-")
    try:
        return _Segment(int(number), int(salt, 16), path)
    except ValueError:
        return None


def _write_whole(descriptor: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


def _read_range(path: Path, start: int, end: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(end - start)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
