"""Cursors of listings: where a page ended, so that the next one starts strictly after it.

A cursor names the last row's sort key, never an offset, so rows that arrive meanwhile neither repeat nor skip one.
Every text that matches a cursor's pattern decodes to *some* place; what was made up simply finds other rows.
"""

from __future__ import annotations

import math
import struct

from groundswell.core.posts import Micros

TIME_CURSOR = r"^[0-9a-f]{32}$"
"""Pattern of a (time, number) cursor: two 64-bit numbers in hexadecimal."""
SCORE_CURSOR = r"^[0-9a-f]{16}(?:[0-9a-f]{2}){1,600}$"
"""Pattern of a (score, name) cursor: a 64-bit float and UTF-8 in hexadecimal."""
SEARCH_CURSOR = r"^[0-9a-f]{36}$"
"""Pattern of a search's cursor: the moment of its first page, and how far it has been read."""

EARLIEST: Micros = -62_135_596_800_000_000
"""0001-01-01, the first instant that RFC 3339 can write."""
LATEST: Micros = 253_402_300_799_999_999
"""9999-12-31, the last."""

_TIME = struct.Struct(">qq")
_SCORE = struct.Struct(">d")
_SEARCH = struct.Struct(">qqH")


class BadCursor(ValueError):
    """Not a cursor that this listing has given out."""


def encode_time_cursor(time: Micros, number: int) -> str:
    return _TIME.pack(time, number).hex()


def decode_time_cursor(cursor: str) -> tuple[Micros, int]:
    """Raises `BadCursor`."""
    try:
        time, number = _TIME.unpack(_hex(cursor))
    except struct.error as error:
        raise BadCursor(f"a cursor here has 32 hexadecimal digits, not {len(cursor)}") from error
    return min(max(time, EARLIEST), LATEST), number


def encode_score_cursor(score: float, name: str) -> str:
    return _SCORE.pack(score).hex() + name.encode().hex()


def decode_score_cursor(cursor: str) -> tuple[float, str]:
    """Raises `BadCursor`."""
    raw = _hex(cursor)
    if len(raw) <= _SCORE.size:
        raise BadCursor(f"a cursor here has at least 18 hexadecimal digits, not {len(cursor)}")
    (score,) = _SCORE.unpack_from(raw)
    name = raw[_SCORE.size :].decode("utf-8", "replace").replace("\x00", "\ufffd")
    return (0.0 if math.isnan(score) else score), name


def encode_search_cursor(up_to: int, as_of: Micros, position: int) -> str:
    return _SEARCH.pack(up_to, as_of, position).hex()


def decode_search_cursor(cursor: str) -> tuple[int, Micros, int]:
    """Raises `BadCursor`."""
    try:
        up_to, as_of, position = _SEARCH.unpack(_hex(cursor))
    except struct.error as error:
        raise BadCursor(f"a cursor here has 36 hexadecimal digits, not {len(cursor)}") from error
    return up_to, min(max(as_of, EARLIEST), LATEST), position


def _hex(cursor: str) -> bytes:
    # bytes.fromhex skips white space, which would give one place two names.
    if not cursor.isalnum():
        raise BadCursor("a cursor has hexadecimal digits only")
    try:
        return bytes.fromhex(cursor)
    except ValueError as error:
        raise BadCursor("a cursor has hexadecimal digits only") from error
