"""The record format of the disk spool, and what can be recovered from bytes that a crash or a bad disk left behind.

A segment file is a sequence of records and nothing else:

    offset  size  field
    0       4     the mark A7 47 53 31
    4       4     length of the payload in bytes, little-endian
    8       4     how many posts and deletes the payload holds, little-endian
    12      4     CRC-32 (IEEE 802.3, as in zlib) of bytes 4 to 12 and the payload, seeded with the segment's salt
    16            the payload

The mark lets a reader find the next record behind damage. The salt stands in the file's name: bytes inside of a payload
that look like a record, by chance or because somebody posted them, are not taken for one.
"""

from __future__ import annotations

import zlib
from struct import Struct
from typing import Final

import msgspec

MARK: Final = b"\xa7GS1"
HEADER_BYTES: Final = 16
MAX_PAYLOAD_BYTES: Final = 256 * 1024 * 1024
"""A larger length is damage. The largest batch that can be configured is smaller."""

_HEADER = Struct("<4sIII")
_LENGTHS = Struct("<II")


class Record(msgspec.Struct, frozen=True):
    """An intact record: bytes `start` to `end` of the segment."""

    start: int
    end: int
    items: int
    payload: bytes


class Damage(msgspec.Struct, frozen=True):
    """Bytes `start` to `end` hold no intact record, and an intact one follows."""

    start: int
    end: int


class Scan(msgspec.Struct, frozen=True):
    """What a stretch of a segment holds, in order."""

    found: tuple[Record | Damage, ...]
    end: int
    """Behind the last intact record. What is left after it is incomplete, or damaged to the end."""


def encode_record(payload: bytes, items: int, salt: int) -> bytes:
    """Raises ValueError for a payload beyond `MAX_PAYLOAD_BYTES`."""
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise ValueError(f"a record holds at most {MAX_PAYLOAD_BYTES} bytes, not {len(payload)}")
    return _HEADER.pack(MARK, len(payload), items, _checksum(len(payload), items, payload, salt)) + payload


def scan(data: bytes | bytearray | memoryview, salt: int, *, limit: int | None = None) -> Scan:
    """Every intact record of `data`, and the damage between them. Total: any bytes give an answer.

    `limit`: stop behind the record at which the payloads found reach this many bytes.
    """
    view = memoryview(data)
    found: list[Record | Damage] = []
    position = size = 0
    while position < len(view):
        record = _record_at(view, position, salt)
        if record is None:
            record = _next_record(view, position + 1, salt)
            if record is None:
                break
            found.append(Damage(position, record.start))
        found.append(record)
        position = record.end
        size += len(record.payload)
        if limit is not None and size >= limit:
            break
    return Scan(tuple(found), position)


def _record_at(view: memoryview, start: int, salt: int) -> Record | None:
    if len(view) - start < HEADER_BYTES:
        return None
    mark, length, items, checksum = _HEADER.unpack_from(view, start)
    end = start + HEADER_BYTES + length
    if mark != MARK or length > MAX_PAYLOAD_BYTES or end > len(view):
        return None
    payload = view[start + HEADER_BYTES : end]
    if checksum != _checksum(length, items, payload, salt):
        return None
    return Record(start, end, items, bytes(payload))


def _next_record(view: memoryview, start: int, salt: int) -> Record | None:
    data = bytes(view[start:])
    at = data.find(MARK)
    while at >= 0:
        record = _record_at(view, start + at, salt)
        if record is not None:
            return record
        at = data.find(MARK, at + 1)
    return None


def _checksum(length: int, items: int, payload: bytes | memoryview, salt: int) -> int:
    return zlib.crc32(payload, zlib.crc32(_LENGTHS.pack(length, items), salt))
