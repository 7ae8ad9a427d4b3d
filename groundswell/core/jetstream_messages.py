"""The frames of Jetstream v2: `xrpc.v1.json` messages of `network.bsky.jetstream.subscribeEvents`.

A frame is one JSON object: `{"$type":"message","payload":{"$type":"network.bsky.jetstream.subscribeEvents#commit",…}}`,
or `{"$type":"error","error":NAME,"message":TEXT}`, after which the host closes the connection. Wire format: the lexicon
`network.bsky.jetstream.subscribeEvents` in github.com/bluesky-social/jetstream. `core.jetstream` makes posts of them.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

import msgspec

from groundswell.core.cursor import is_plausible
from groundswell.core.instants import from_datetime
from groundswell.core.posts import Micros

NSID: Final = "network.bsky.jetstream.subscribeEvents"
SUBPROTOCOL: Final = "xrpc.v1.json"
MESSAGE_START: Final = b'{"$type":"message"'
"""What a host begins a message with. JSON allows any order, so another beginning is looked into, not refused."""
TYPED_START: Final = b'{"$type":'
_NAMESPACE = "network.bsky.jetstream."
_HEAD_BYTES = 512
_TIME_IN_HEAD = re.compile(rb'"(?:witnessedAt|time)"\s*:\s*"([0-9T:.+-]{19,35}Z?)"')
_FLOOR = re.compile(r"floor\s+(\d{1,18})")

UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)


class Account(msgspec.Struct, gc=False):
    """The part of an account event that both formats share."""

    active: bool
    status: str | None = None


class Event(msgspec.Struct, gc=False, rename={"type": "$type", "witnessed_at": "witnessedAt"}):
    """The payload of a message: the fields of all kinds that are read."""

    type: str = ""
    seq: int | None = None
    did: str = ""
    time: str = ""
    witnessed_at: str | None = None
    rev: str | None = None
    operation: str | None = None
    collection: str | None = None
    rkey: str | None = None
    record: msgspec.Raw = msgspec.Raw()
    account: Account | None = None
    name: str = ""
    """Of an `#info`: `OutdatedCursor`, `FutureCursor`."""
    message: str = ""

    @property
    def kind(self) -> str:
        """`commit`, `identity`, `account`, `sync` or `info`; empty where the type is of another namespace."""
        return self.type.rpartition("#")[2] if self.type.startswith(_NAMESPACE) else ""

    @property
    def at(self) -> Micros | None:
        """When the host witnessed the event. `time` may have been imported: no cursor is held against it."""
        return _instant(self.time if self.witnessed_at is None else self.witnessed_at)


class Message(msgspec.Struct, gc=False, rename={"type": "$type"}):
    """A frame: a message with its payload, or an error."""

    type: str = ""
    payload: Event | None = None
    error: str = ""
    message: str = ""


class _Numbered(msgspec.Struct, gc=False):
    seq: int | None = None


class _Position(msgspec.Struct, gc=False):
    payload: _Numbered | None = None


class _Refusal(msgspec.Struct, gc=False):
    error: str = ""
    message: str = ""


_MESSAGE = msgspec.json.Decoder(Message)
_POSITION = msgspec.json.Decoder(_Position)
_REFUSAL = msgspec.json.Decoder(_Refusal)


def read_message(raw: bytes) -> Message | None:
    """Return the frame; None where it is no frame of this format. Total."""
    try:
        message = _MESSAGE.decode(raw)
    except UNREADABLE:
        return None
    known = (message.type == "message" and message.payload is not None) or message.type == "error"
    return message if known else None


def peek_seq(raw: bytes) -> int | None:
    """Return the number that the host gave the event; None where the frame has none. Total."""
    try:
        position = _POSITION.decode(raw)
    except UNREADABLE:
        return None
    seq = None if position.payload is None else position.payload.seq
    return seq if seq is not None and 0 < seq < 1 << 63 else None


def peek_message_time(raw: bytes) -> Micros | None:
    """Return the time near the front of a frame that cannot be read as a whole."""
    found = _TIME_IN_HEAD.search(raw, 0, _HEAD_BYTES)
    return None if found is None else _instant(found[1].decode("ascii"))


def read_refusal(body: bytes) -> tuple[str, str]:
    """Return name and message of an XRPC error: how a host refuses a handshake. Empty where it is none."""
    try:
        refusal = _REFUSAL.decode(body)
    except UNREADABLE:
        return "", ""
    return refusal.error[:64], refusal.message[:300]


def floor_of(message: str) -> int | None:
    """Return the oldest number that a host still has, from the message of `CursorTooOld`."""
    found = _FLOOR.search(message)
    return None if found is None else int(found[1])


def _instant(text: str) -> Micros | None:
    try:
        moment = datetime.fromisoformat(text)
        at = from_datetime(moment)
    except (ValueError, TypeError, OverflowError):
        return None
    return at if is_plausible(at) else None
