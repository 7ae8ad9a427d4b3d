"""Cuts the text of a recording into Jetstream frames, whatever tool wrote it.

Read are JSON objects: one a line, several on a line, over many lines, or as the items of an array; plain or wrapped
in other objects or in JSON strings; after `data:` of server-sent events or the prefix of a log line. Bytes that are
none of this come out as they are, for `core.jetstream.decode` to count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final, NamedTuple

import msgspec

from groundswell.core.cursor import is_plausible
from groundswell.core.instants import from_datetime
from groundswell.core.jetstream import MAX_FRAME_BYTES
from groundswell.core.jetstream_messages import read_message
from groundswell.core.posts import Micros

MAX_DEPTH: Final = 4
"""Objects and strings around a frame."""
MAX_PREFIXES: Final = 4
"""Places in a line of text that are tried as the start of a frame."""

_BETWEEN = re.compile(rb"(?:[\s,\[\]\x1e]|\xef\xbb\xbf)*")
_TOKEN = re.compile(rb'"[^"\\\n]*(?:\\.[^"\\\n]*)*"|[{}\[\]"]')
_NEXT_START = re.compile(rb"\n[ \t]*(?=\{)")
_EVENT_STREAM = re.compile(rb"(?:event|id|retry)?\s*:")
_AFTER = b" \t\r\n,])'"
_OPENING = {b"{": b"}", b"[": b"]"}


class RecordedFrame(NamedTuple):
    raw: bytes
    at: Micros | None
    """The frame's own time; None where it has none."""


class _Head(msgspec.Struct, gc=False):
    """What tells a frame of v1; `payload` what may be one of v2."""

    did: msgspec.Raw = msgspec.Raw()
    kind: msgspec.Raw = msgspec.Raw()
    time_us: msgspec.Raw = msgspec.Raw()
    payload: msgspec.Raw = msgspec.Raw()


class _Record(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    created_at: str = ""


class _Commit(msgspec.Struct, frozen=True, gc=False):
    record: _Record = _Record()


class _Dated(msgspec.Struct, gc=False):
    commit: _Commit = _Commit()


_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)
_HEAD = msgspec.json.Decoder(_Head)
_DATED = msgspec.json.Decoder(_Dated)
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])
_TEXT = msgspec.json.Decoder(str)
_encode = msgspec.json.Encoder(order="sorted").encode


class FrameSplitter:
    """Takes the text in pieces, cut anywhere, and gives the frames that are complete.

    Holds no more than `MAX_FRAME_BYTES` and one piece. Of a line or an object beyond that the beginning comes out.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._skipping = False

    def feed(self, piece: bytes) -> list[RecordedFrame]:
        return list(self._split(self._rest + piece, final=False))

    def finish(self, *, broken_off: bool = False) -> list[RecordedFrame]:
        """Return what is left at the end. Where the text was `broken_off`, half a frame is left out."""
        frames = list(self._split(self._rest, final=True))
        if broken_off and frames and not is_frame(frames[-1].raw):
            del frames[-1]
        return frames

    def _split(self, text: bytes, *, final: bool) -> Iterator[RecordedFrame]:
        at = 0
        while True:
            if self._skipping:
                newline = text.find(b"\n", at)
                at = len(text) if newline < 0 else newline
                self._skipping = newline < 0
            between = _BETWEEN.match(text, at)
            at = at if between is None else between.end()
            newline = text.find(b"\n", at)
            if at == len(text) or (newline < 0 and not final and len(text) - at <= MAX_FRAME_BYTES):
                break
            line_end = len(text) if newline < 0 else newline
            if text[at] == ord('"') and (string := _TOKEN.match(text, at)) and (frames := frames_of(string[0])):
                yield from frames
                at = string.end()
                continue
            line = text[at:line_end].rstrip(_AFTER) if line_end - at <= MAX_FRAME_BYTES else b""
            frames = _frames_of_line(line) if line else None
            if frames is not None:
                yield from frames
                at = line_end
                continue
            end = _end_of_object(text, at) if text[at] == ord("{") else None
            if end is not None and end > 0:
                value = text[at:end]
                yield from frames_of(value) or [RecordedFrame(value, None)]
            elif end == 0 and not final and len(text) - at <= MAX_FRAME_BYTES:
                break
            elif len(text) - at > MAX_FRAME_BYTES and (end == 0 or not line):
                yield RecordedFrame(text[at : at + MAX_FRAME_BYTES + 1], None)
                self._skipping, end = True, at + MAX_FRAME_BYTES + 1
            else:
                following = _NEXT_START.search(text, at)
                end = following.start() if following is not None else len(text) if end == 0 else line_end
                yield RecordedFrame(text[at:end].strip(), None)
            at = end
        self._rest = text[at:]


def frames_of(value: bytes, depth: int = 0) -> list[RecordedFrame]:
    """Return the frames in a JSON value: itself, or those that it wraps. Empty where there are none."""
    try:
        if value[:1] == b"{" and (frame := _frame(value, _HEAD.decode(value))) is not None:
            return [frame]
        if depth == MAX_DEPTH:
            return []
        if value[:1] == b"{":
            wrapped = (frames_of(bytes(member), depth + 1) for member in _MEMBERS.decode(value).values())
            nothing: list[RecordedFrame] = []
            return next(filter(None, wrapped), nothing)
        if value[:1] == b"[":
            return [frame for item in _ITEMS.decode(value) for frame in frames_of(bytes(item), depth + 1)]
        return frames_of(_TEXT.decode(value).strip().encode(), depth + 1) if value[:1] == b'"' else []
    except _UNREADABLE:
        return []


def is_frame(raw: bytes) -> bool:
    """Determine whether bytes are one JSON object with the fields that tell a frame."""
    try:
        return _frame(raw, _HEAD.decode(raw)) is not None
    except _UNREADABLE:
        return False


def canonical(raw: bytes) -> bytes:
    """Return JSON in one spelling, whatever its order and layout; other bytes as they are."""
    try:
        return _encode(msgspec.json.decode(raw))
    except _UNREADABLE:
        return raw


def _frame(value: bytes, head: _Head) -> RecordedFrame | None:
    """Return the object as a frame; None where it is none."""
    if bytes(head.did).startswith(b'"did:') and bytes(head.kind):
        return _timed(value, head)
    if not bytes(head.payload) or (message := read_message(value)) is None or message.payload is None:
        return None
    return RecordedFrame(value, message.payload.at)


def _frames_of_line(line: bytes) -> list[RecordedFrame] | None:
    """Return what a whole line holds; None where it is no text and no whole object."""
    if line[:1] == b"{":
        if not line.endswith(b"}"):
            return None
        try:
            head = _HEAD.decode(line)
        except _UNREADABLE:
            return None
        frame = _frame(line, head)
        return [frame] if frame is not None else frames_of(line) or [RecordedFrame(line, None)]
    if _EVENT_STREAM.match(line) and b"{" not in line:
        return []
    start = -1
    for _ in range(MAX_PREFIXES):
        start = line.find(b"{", start + 1)
        if start < 0:
            break
        if frames := frames_of(line[start:].rstrip(b"\"'")):
            return frames
    return [RecordedFrame(line, None)]


def _end_of_object(text: bytes, start: int) -> int | None:
    """Return where the object that begins at `start` ends; 0 where more is needed, None where it is broken."""
    limit = min(len(text), start + MAX_FRAME_BYTES)
    inside: list[bytes] = []
    for token in _TOKEN.finditer(text, start, limit):
        mark = token[0]
        if mark in _OPENING:
            before = text[max(start, token.start() - 256) : token.start()].rstrip()[-1:]
            if inside and before not in ((b":",) if inside[-1] == b"}" else (b"[", b",", b":")):
                return None
            inside.append(_OPENING[mark])
        elif mark in (b"}", b"]"):
            if inside.pop() != mark:
                return None
            if not inside:
                return token.end()
        elif mark == b'"':
            return None if text.find(b"\n", token.start(), limit) >= 0 else 0
    return 0


def _timed(value: bytes, head: _Head) -> RecordedFrame:
    """Return the frame with a time in microseconds, as far as one is known."""
    written = bytes(head.time_us)
    if written.isdigit() and is_plausible(at := int(written[:20])):
        return RecordedFrame(value, at)
    found = _instant(written)
    if found is None:
        try:
            found = _moment(_DATED.decode(value).commit.record.created_at)
        except _UNREADABLE:
            found = None
    if found is None:
        return RecordedFrame(value, None)
    members = {**_MEMBERS.decode(value), "time_us": msgspec.Raw(b"%d" % found)}
    return RecordedFrame(msgspec.json.encode(members), found)


def _instant(written: bytes) -> Micros | None:
    """Return the instant that a JSON number or string names: seconds or finer since 1970, or a date and time."""
    try:
        text = written.decode("ascii").strip('" ')
        number = float(text)
    except ValueError:
        return _moment(written.decode("ascii", "replace").strip('" '))
    if not -1e19 < number < 1e19:
        return None
    scales = (1, 1_000, 1_000_000, 0.001)
    return next((at for scale in scales if is_plausible(at := round(number * scale))), None)


def _moment(text: str) -> Micros | None:
    try:
        moment = datetime.fromisoformat(text.strip())
        at = from_datetime(moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        return None
    return at if is_plausible(at) else None
