"""The endpoint of Jetstream v2, `/xrpc/network.bsky.jetstream.subscribeEvents`, with what the real one refuses.

Refusals come before the upgrade, as XRPC errors. Source: the lexicon, and `internal/subscribe` of
github.com/bluesky-social/jetstream.
"""

from __future__ import annotations

import re
from collections.abc import ByteString, Iterator, Mapping, Sequence
from functools import lru_cache
from http import HTTPStatus
from typing import Final, NamedTuple

import msgspec
import zstandard
from websockets.datastructures import Headers
from websockets.http11 import Response

from groundswell.adapters.simulator.config import WorldConfig
from groundswell.adapters.simulator.host import HostView, message
from groundswell.adapters.simulator.world import World
from groundswell.adapters.simulator.writing import POST
from groundswell.core.jetstream import PROFILE_COLLECTION as PROFILE
from groundswell.core.jetstream_messages import NSID
from groundswell.core.posts import MICROS_PER_SECOND, Micros

PATH: Final = f"/xrpc/{NSID}"
DICTIONARY_PATH: Final = "/xrpc/network.bsky.jetstream.getZstdDictionary"
TIME_CURSORS_FROM: Final = 10**15
"""A cursor from here on is a time in microseconds, one below a number."""
KINDS: Final = ("commit", "identity", "account", "sync")
MOST_COLLECTIONS: Final = 100
DICTIONARY_BYTES: Final = 16 * 1024

_LEGACY = {
    "wantedCollections": "wantedCollections is the legacy /subscribe parameter; use collections",
    "wantedDids": "wantedDids is the legacy /subscribe parameter; use dids",
    "requireHello": "requireHello is not supported on this endpoint; it is server-push only",
}
_NAMESPACE = re.compile(r"[a-zA-Z][a-zA-Z0-9-]*(\.[a-zA-Z0-9-]+)+")

Query = Mapping[str, Sequence[str]]


class Refusal(NamedTuple):
    """Why a reader is not let in: HTTP 400 with an XRPC error."""

    name: str
    message: str


class Start(NamedTuple):
    """Where a reader begins, and the notice that is sent first where that is not where they asked."""

    at: Micros
    notice: tuple[str, str] | None = None


class EventFilter:
    """What a reader asked for: kinds and collections, of which the latter constrain commits alone."""

    def __init__(self, query: Query) -> None:
        self._kinds = frozenset(query.get("kinds") or KINDS)
        collections = query.get("collections", ())
        self._names = frozenset(name for name in collections if not name.endswith(".*"))
        self._prefixes = tuple(name[:-1] for name in collections if name.endswith(".*"))
        self._all = not collections
        self.max_bytes = int(query.get("maxMessageSizeBytes", ("0",))[0])
        self.dictionary = query.get("zstdDictionary", ("",))[0] != ""
        self.everything = self._all or bool(self._prefixes) or self._names - {PROFILE} != frozenset((POST,))
        self.filtered = not self._all or self._kinds != frozenset(KINDS)

    def takes(self, label: str) -> bool:
        if label == "garbage":
            return True
        if label in KINDS:
            return label in self._kinds
        return "commit" in self._kinds and (self._all or label in self._names or label.startswith(self._prefixes))


def refusal(query: Query, *, dictionary_id: int) -> Refusal | None:
    """Return why a query is refused; None where it is not. Cursors are looked at by `start`."""
    invalid = next(_invalid(query), None)
    if invalid is not None:
        return Refusal("InvalidRequest", invalid)
    asked = query.get("zstdDictionary", ("",))[0]
    if asked and int(asked) != dictionary_id:
        said = f"unknown zstd dictionary id {asked}; current dictionary id is {dictionary_id}"
        return Refusal("UnknownZstdDictionary", said)
    return None


def _invalid(query: Query) -> Iterator[str]:
    for name, said in _LEGACY.items():
        if name in query:
            yield f"invalid options: {said}"
    if query.get("compress", ("",))[0] == "true":
        yield "compress=true is the /subscribe (v1) opt-in; this endpoint uses zstdDictionary=<id>"
    kinds, collections = query.get("kinds", ()), query.get("collections", ())
    for kind in kinds:
        if kind not in KINDS:
            yield f'invalid options: unknown kind "{kind}" (valid: {", ".join(KINDS)})'
    if len(kinds) > len(KINDS):
        yield f"invalid options: too many kinds values: {len(kinds)} > {len(KINDS)}"
    if len(collections) > MOST_COLLECTIONS:
        yield f"invalid options: too many collections values: {len(collections)} > {MOST_COLLECTIONS}"
    for name in collections:
        if not _NAMESPACE.fullmatch(name.removesuffix(".*")):
            yield f"invalid options: invalid collection: {name}"
    if collections and kinds and "commit" not in kinds:
        yield "invalid options: collections filter can never apply: kinds excludes commit"
    if not query.get("maxMessageSizeBytes", ("0",))[0].isdecimal():
        yield "invalid options: maxMessageSizeBytes must be a number"
    asked = query.get("zstdDictionary", ("",))[0]
    if asked and not (asked.isdecimal() and int(asked) > 0):
        yield "zstdDictionary must be a positive integer zstd dictionary ID"


def start(cursor: str | None, host: HostView, *, now: Micros, floor: Micros, segment_s: int) -> Start | Refusal:
    """Return where a cursor leads, on the host's own clock; `floor` is the oldest instant that it still has."""
    if cursor is None:
        return Start(now)
    if not (cursor.isascii() and cursor.isdecimal()):
        return Refusal("InvalidRequest", f'subscribe: invalid cursor: "{cursor}"')
    value, oldest = int(cursor), host.seq(floor)
    if value >= TIME_CURSORS_FROM:
        notice = f"requested timestamp cursor below retention floor; starting at seq {oldest}"
        at = time_cursor(value, now=now, floor=floor, segment_s=segment_s)
        return Start(at, ("OutdatedCursor", notice) if value < floor else None)
    if value < oldest:
        said = f"cursor {value} below lookback floor {oldest}; re-backfill from your last seq"
        return Refusal("CursorTooOld", f"subscribe: cursor too old: {said}")
    notice = f"requested seq cursor {value} is beyond this archive's next seq; starting at the live tip"
    ahead = value > host.seq(now)
    return Start(now if ahead else host.at(value), ("FutureCursor", notice) if ahead else None)


def time_cursor(at: Micros, *, now: Micros, floor: Micros, segment_s: int) -> Micros:
    """Return where a v2 host starts for a time: at the segment's beginning where that is still being written."""
    if at > now:
        return now
    segment = segment_s * MICROS_PER_SECOND
    if segment:
        at = min(at, now // segment * segment)
    return max(at, floor)


def xrpc_error(status: int, refused: Refusal) -> Response:
    body = msgspec.json.encode({"error": refused.name, "message": refused.message})
    return _response(status, "application/json", body)


def notice_frame(name: str, said: str) -> bytes:
    payload = {"$type": f"{NSID}#info", "name": name, "message": said}
    return msgspec.json.encode({"$type": "message", "payload": payload})


def error_frame(name: str, said: str) -> bytes:
    return msgspec.json.encode({"$type": "error", "error": name, "message": said})


class FrameCompressor:
    """Compresses frames with the dictionary that the host hands out."""

    def __init__(self, config: WorldConfig, number: int) -> None:
        self.id = number
        self.dictionary = _dictionary(config.seed, number)
        self._compressor = zstandard.ZstdCompressor(dict_data=zstandard.ZstdCompressionDict(self.dictionary))

    def compress(self, frame: bytes) -> bytes:
        return self._compressor.compress(frame)

    def response(self, query: Query) -> Response:
        """Answer a request for the dictionary, by its number or for the current one."""
        asked = query.get("id", (str(self.id),))[0]
        if asked != str(self.id):
            return xrpc_error(404, Refusal("DictionaryNotFound", f"no dictionary with id {asked}"))
        return _response(200, "application/octet-stream", self.dictionary)


@lru_cache(maxsize=4)
def _dictionary(seed: int, number: int) -> bytes:
    world = World(WorldConfig(seed=seed, posts_per_second=40))
    at = 1_783_175_880 * MICROS_PER_SECOND
    samples = [message(frame, time, time) for time, frame in world.frames(at, at + 20 * MICROS_PER_SECOND)]
    short: list[ByteString] = [sample for sample in samples if len(sample) < 4096]
    return zstandard.train_dictionary(DICTIONARY_BYTES, short, dict_id=number).as_bytes()


def _response(status: int, kind: str, body: bytes) -> Response:
    headers = Headers({"Content-Type": kind, "Content-Length": str(len(body)), "Connection": "close"})
    return Response(status, HTTPStatus(status).phrase, headers, body)
