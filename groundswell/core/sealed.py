"""The sealed format: authenticated, encrypted frames in a sequence. Pure and total: any bytes give a value.

docs/sealed.md describes the format. What arrives goes through three steps, all of which a test can call: `parse` takes
a frame apart, the adapter opens it, and a `Sequencer` brings what was opened into order and says what is missing. What
comes out of that is *opened* bytes, which `decode` turns into what they say.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterator
from typing import Literal, TypeAlias

import msgspec

from groundswell.core import jetstream
from groundswell.core.entities import EntityExtractor
from groundswell.core.posts import Decoded, Ignored

VERSION = 1
EVENT, KEY, HEAD = 1, 2, 3
"""Kinds of frames: an event, a key of the feed's that will be used soon, and how far the feed has come."""
_KINDS = frozenset({EVENT, KEY, HEAD})
NONCE_BYTES, TAG_BYTES = 12, 16
_HEADER = struct.Struct(f">BBIQ{NONCE_BYTES}s")
HEADER_BYTES = _HEADER.size
LAST_SEQUENCE = 2**63 - 1
"""A sequence number is a cursor, and that is what the database holds."""
RESUME_OVERLAP_FRAMES = 32
"""A feed is asked for this much before the cursor, so that what it re-sends begins with something known."""

SEALED_MALFORMED = "sealed-malformed"
SEALED_UNKNOWN_KEY = "sealed-unknown-key"
SEALED_UNAUTHENTIC = "sealed-unauthentic"
SEALED_REPLAYED = "sealed-replayed"
SEALED_CONTROL = "sealed-control"
Rejection: TypeAlias = Literal["sealed-malformed", "sealed-unknown-key", "sealed-unauthentic", "sealed-replayed"]
REJECTIONS: tuple[Rejection, ...] = (SEALED_MALFORMED, SEALED_UNKNOWN_KEY, SEALED_UNAUTHENTIC, SEALED_REPLAYED)

SEALED_IGNORED_REASONS: dict[str, str] = {
    SEALED_MALFORMED: "no sealed frame: too short, too long, or of a version or kind that is not known",
    SEALED_UNKNOWN_KEY: "sealed with a key that the feed has not handed out",
    SEALED_UNAUTHENTIC: "its seal does not hold: damaged on the way, or made by somebody else",
    SEALED_REPLAYED: "a sequence number that has come already, or was given up",
    SEALED_CONTROL: "a new key of the feed, and no event",
}
"""The reasons for an `Ignored` that the sealed format adds to those of the events in it."""

_OPENED, _CONTROL, _REJECTED = 1, 2, 3
_OPENED_HEAD = struct.Struct(">BQ")


class Sealed(msgspec.Struct, frozen=True, gc=False):
    """A frame taken apart. Nothing in it can be trusted before `sealed` was opened with `header` as associated data."""

    kind: int
    key_id: int
    sequence: int
    nonce: bytes
    header: bytes
    sealed: bytes


class KeyNotice(msgspec.Struct, frozen=True):
    """A key of the feed's, itself sealed with the feed key."""

    id: int
    key: str
    """base64 of nonce, sealed key and tag."""


class Head(msgspec.Struct, frozen=True):
    """The answer to `hello` and `ping`: all that had happened when those arrived has been sent."""

    nonce: str
    """As the reader gave it: an old answer is none."""
    head: int
    """The last sequence number that was sent on this connection, or would have been."""
    next: int | None = None
    """In the answer to `hello`: the first sequence number that will be sent."""
    keys: tuple[KeyNotice, ...] = ()
    """In the answer to `hello`: the keys that were announced before that number and after the session was given."""


_HEAD = msgspec.json.Decoder(Head)
_KEY = msgspec.json.Decoder(KeyNotice)


def header_of(kind: int, key_id: int, sequence: int, nonce: bytes) -> bytes:
    """The first 26 bytes of a frame, which are its associated data too."""
    return _HEADER.pack(VERSION, kind, key_id, sequence, nonce)


def wrap_context(key_id: int) -> bytes:
    """The associated data of a wrapped key: one that is handed out under another id does not open."""
    return b"sealed feed key " + str(key_id).encode()


def challenge_message(feed: str, address: str, challenge: str) -> bytes:
    """What a wallet signs. It names feed and purpose, so that the signature is worth nothing anywhere else.

    `feed` is the host, with its port where the address has one.
    """
    return (
        f"Groundswell sealed feed, version {VERSION}\nfeed: {feed}\nwallet: {address}\nchallenge: {challenge}".encode()
    )


def parse(raw: bytes, max_bytes: int) -> Sealed | None:
    """A frame taken apart, or None where it is none."""
    if not HEADER_BYTES + TAG_BYTES <= len(raw) <= max_bytes:
        return None
    version, kind, key_id, sequence, nonce = _HEADER.unpack_from(raw)
    if version != VERSION or kind not in _KINDS or sequence > LAST_SEQUENCE:
        return None
    return Sealed(kind, key_id, sequence, nonce, raw[:HEADER_BYTES], raw[HEADER_BYTES:])


def parse_head(plain: bytes) -> Head | None:
    """What an opened HEAD frame says, or None where it says nothing."""
    try:
        said = _HEAD.decode(plain)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    fine = 0 <= said.head <= LAST_SEQUENCE and (said.next is None or 0 < said.next <= LAST_SEQUENCE)
    return said if fine and all(map(_is_fine, said.keys)) else None


def parse_key_notice(plain: bytes) -> KeyNotice | None:
    """What an opened KEY frame says, or None where it says nothing."""
    try:
        said = _KEY.decode(plain)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return said if _is_fine(said) else None


def _is_fine(notice: KeyNotice) -> bool:
    return 0 <= notice.id < 2**32


# ------------------------------------------------------------------ opened bytes
def opened(kind: int, sequence: int, plain: bytes) -> bytes:
    """An opened frame as it is handed on."""
    return _OPENED_HEAD.pack(_OPENED if kind == EVENT else _CONTROL, sequence) + plain


def rejected(reason: Rejection) -> bytes:
    """A frame that was turned away, as it is handed on: to be counted."""
    return bytes((_REJECTED, REJECTIONS.index(reason)))


def decode(raw: bytes, *, source: str, extractor: EntityExtractor | None, max_bytes: int) -> Decoded:
    """What opened bytes say. Never raises. The cursor is the sequence number, whatever the event in it is."""
    if len(raw) >= _OPENED_HEAD.size and raw[0] in (_OPENED, _CONTROL):
        what, sequence = _OPENED_HEAD.unpack_from(raw)
        if sequence <= LAST_SEQUENCE:
            if what == _CONTROL:
                return Ignored(SEALED_CONTROL, cursor=sequence)
            event = raw[_OPENED_HEAD.size :]
            said = jetstream.decode(event, source=source, extractor=extractor, max_bytes=max_bytes)
            return msgspec.structs.replace(said, cursor=sequence)
    if len(raw) == 2 and raw[0] == _REJECTED and raw[1] < len(REJECTIONS):
        return Ignored(REJECTIONS[raw[1]])
    return Ignored(SEALED_MALFORMED)


def first_asked(cursor: int | None) -> int | None:
    """The sequence number to ask a feed for: a little before the last one that is stored."""
    return None if cursor is None else max(1, cursor + 1 - RESUME_OVERLAP_FRAMES)


# ------------------------------------------------------------------ order
class Hole(msgspec.Struct, frozen=True):
    """Sequence numbers that did not come: from `first` to `last`, both among them."""

    first: int
    last: int

    def __str__(self) -> str:
        if self.first == self.last:
            return f"frame {self.first} did not come"
        return f"frames {self.first} to {self.last} did not come"


Given: TypeAlias = "bytes | Hole"


class Sequencer:
    """Hands frames out in the order of their numbers, each once, and holds back what is ahead of a missing one.

    Time comes in as *rounds*, whose length is the caller's business: a hole that is still there `patience` rounds
    after it was noticed is given up. What would come of it later is then a replay.

    Args:
        first: the number that comes first.
        patience: in rounds; at least 1.
        max_frames, max_bytes: how much is held back; beyond, the oldest hole is given up at once.
    """

    def __init__(self, first: int, *, patience: int, max_frames: int, max_bytes: int) -> None:
        self._next = first
        self._expected = first - 1
        self._held: dict[int, bytes] = {}
        self._bytes = 0
        self._patience = patience
        self._max_frames = max_frames
        self._max_bytes = max_bytes
        self._marks: deque[int] = deque()

    @property
    def next(self) -> int:
        """The number that is handed out next; all before it have been, or were given up."""
        return self._next

    @property
    def waiting(self) -> bool:
        """Whether something is missing."""
        return self._next <= self._expected

    @property
    def held(self) -> int:
        """Frames that are held back."""
        return len(self._held)

    def offer(self, sequence: int, item: bytes) -> list[Given] | None:
        """Take a frame in; answers what can be handed out now, in order. None for a number that was here before."""
        if sequence < self._next or sequence in self._held:
            return None
        self._expected = max(self._expected, sequence)
        if sequence == self._next:
            self._next += 1
            given: list[Given] = [item]
            given += self._connected()
            return given
        self._held[sequence] = item
        self._bytes += len(item)
        given = []
        while len(self._held) > self._max_frames or self._bytes > self._max_bytes:
            given += self._give_up()
        return given

    def expect(self, head: int) -> None:
        """Frames up to `head` exist: those that have not come are missing, also where nothing came after them."""
        self._expected = max(self._expected, head)

    def missing(self, limit: int) -> list[Hole]:
        """What is missing, at most `limit` stretches of it, the earliest first."""
        holes: list[Hole] = []
        first = self._next
        for sequence in (*sorted(self._held), self._expected + 1):
            if sequence > first:
                holes.append(Hole(first, sequence - 1))
                if len(holes) == limit:
                    break
            first = sequence + 1
        return holes

    def round(self) -> list[Given]:
        """A round has passed. Answers the holes that are given up now, and what comes after each."""
        given: list[Given] = []
        if not self.waiting:
            self._marks.clear()
            return given
        self._marks.append(self._expected)
        if len(self._marks) > self._patience:
            noticed = self._marks.popleft()
            while self._next <= noticed:
                given += self._give_up()
        return given

    def rest(self) -> list[Given]:
        """All that is held back, with the holes in it: nothing more will come."""
        given: list[Given] = []
        while self.waiting:
            given += self._give_up()
        return given

    def _give_up(self) -> Iterator[Given]:
        """The first hole, and the frames up to the next."""
        until = min(self._held, default=self._expected + 1)
        hole = Hole(self._next, until - 1)
        self._next = until
        yield hole
        yield from self._connected()

    def _connected(self) -> Iterator[bytes]:
        while (item := self._held.pop(self._next, None)) is not None:
            self._bytes -= len(item)
            self._next += 1
            yield item
