"""Broadcast frames: what the screens receive, by WebSocket or `GET /v1/events` alike.

    {"v":1,"type":"momentum.update","seq":42,"ts":"2026-07-04T14:38:06Z","live":true,"data":{…}}

A frame whose event is too large for one message is sent in parts. Only the last part carries the event's `seq`; the
others carry null, so that a client that was cut off in between asks for the whole event again. What is shown before it
is stored, while the database is away, carries null too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol
from urllib.parse import quote

import msgspec

from groundswell.core.entities import display_entity
from groundswell.core.instants import rfc3339
from groundswell.core.posts import Micros, Post

FRAME_VERSION: Final = 1
FRAME_LIMIT_BYTES: Final = 32 * 1024
"""The size of an API Gateway WebSocket frame; every transport keeps to it."""

_ENVELOPE_BYTES: Final = 192
"""Room for everything around the items of a frame: the longest type, two 64-bit numbers, a time."""

LIST_KEYS: Final = {"posts.new": "posts", "posts.deleted": "ids", "momentum.update": "entities"}
"""Frame types whose data is one list, which may be split and joined."""

_encode = msgspec.json.Encoder().encode


# ------------------------------------------------------------------ values on the wire
def entity_json(key: str) -> dict[str, str]:
    """`{"key": "ticker:BTC", "kind": "ticker", "name": "BTC", "display": "$BTC"}`"""
    kind, _, name = key.partition(":")
    return {"key": key, "kind": kind, "name": name, "display": display_entity(key)}


def post_json(post: Post) -> dict[str, Any]:
    """A post as REST, WebSocket and export write it."""
    return {
        "id": post.id,
        "source": post.source,
        "author": post.author,
        "text": post.text,
        "lang": post.lang,
        "created_at": None if post.created_at is None else rfc3339(post.created_at),
        "event_time": rfc3339(post.event_time),
        "entities": [entity_json(key) for key in post.entities],
        "reply_to": post.reply_to,
        "quote_of": post.quote_of,
        "url": post_url(post),
        "labels": list(post.labels),
    }


class MomentumLike(Protocol):
    """What `ports.MomentumRow` is, seen from below it."""

    @property
    def entity(self) -> str: ...
    @property
    def as_of(self) -> Micros: ...
    @property
    def stage(self) -> str: ...
    @property
    def stage_since(self) -> Micros: ...
    @property
    def mentions(self) -> int: ...
    @property
    def authors(self) -> int: ...
    @property
    def velocity(self) -> float: ...
    @property
    def acceleration(self) -> float: ...
    @property
    def surprise(self) -> float: ...
    @property
    def score(self) -> float: ...
    @property
    def sparkline(self) -> Sequence[float | None]: ...
    @property
    def parts(self) -> Mapping[str, object]: ...


def momentum_json(row: MomentumLike) -> dict[str, Any]:
    """A momentum row as REST and `momentum.update` write it."""
    return {
        **entity_fields(row.entity),
        "as_of": rfc3339(row.as_of),
        "stage": row.stage,
        "stage_since": rfc3339(row.stage_since),
        "mentions": row.mentions,
        "authors": row.authors,
        "velocity": row.velocity,
        "acceleration": row.acceleration,
        "surprise": row.surprise,
        "score": row.score,
        "sparkline": list(row.sparkline),
        "parts": dict(row.parts),
    }


class StageLike(Protocol):
    """What `ports.StageDraft` is, seen from below it."""

    @property
    def entity(self) -> str: ...
    @property
    def at(self) -> Micros: ...
    @property
    def from_stage(self) -> str: ...
    @property
    def stage(self) -> str: ...
    @property
    def score(self) -> float: ...
    @property
    def evidence(self) -> Mapping[str, object]: ...


def stage_json(change: StageLike) -> dict[str, Any]:
    """A change of stage as `momentum.stage` writes it."""
    return {
        **entity_fields(change.entity),
        "at": rfc3339(change.at),
        "from_stage": change.from_stage,
        "stage": change.stage,
        "score": change.score,
        "evidence": change.evidence,
    }


class AlertLike(Protocol):
    """What `ports.Alert` is, seen from below it."""

    @property
    def id(self) -> int: ...
    @property
    def rule_id(self) -> int | None: ...
    @property
    def entity(self) -> str: ...
    @property
    def stage(self) -> str: ...
    @property
    def score(self) -> float: ...
    @property
    def at(self) -> Micros: ...
    @property
    def withdrawn(self) -> int: ...
    @property
    def corrected_at(self) -> Micros | None: ...
    @property
    def evidence(self) -> object: ...


def alert_json(alert: AlertLike) -> dict[str, Any]:
    """An alert as REST, `alert.fired` and `alert.corrected` write it."""
    return {
        "id": alert.id,
        "rule_id": alert.rule_id,
        **entity_fields(alert.entity),
        "stage": alert.stage,
        "score": alert.score,
        "at": rfc3339(alert.at),
        "evidence": alert.evidence,
        "corrected": None
        if alert.corrected_at is None
        else {"at": rfc3339(alert.corrected_at), "withdrawn": alert.withdrawn},
    }


def entity_fields(key: str) -> dict[str, str]:
    """An entity as answers about it begin."""
    kind, _, name = key.partition(":")
    return {"entity": key, "kind": kind, "name": name, "display": display_entity(key)}


def post_url(post: Post) -> str | None:
    """Where a person can read the post. Only posts of the real network have such a place."""
    if post.source != "jetstream" or not post.id.startswith("at://"):
        return None
    did, _, rest = post.id.removeprefix("at://").partition("/")
    collection, _, rkey = rest.partition("/")
    if collection != "app.bsky.feed.post" or not rkey:
        return None
    return f"https://bsky.app/profile/{quote(did, safe=':')}/post/{quote(rkey, safe='')}"


# ------------------------------------------------------------------ frames
class Frame(msgspec.Struct, frozen=True):
    """A frame before it is given its place and time."""

    type: str
    data: dict[str, Any]
    live: bool = True


def encode_frame(frame: Frame, *, seq: int | None, ts: Micros) -> bytes:
    return envelope(frame.type, seq=seq, ts=ts, live=frame.live, data=_encode(frame.data))


def envelope(type_: str, *, seq: int | None, ts: Micros, live: bool, data: bytes | msgspec.Raw) -> bytes:
    """A whole frame around `data`, which is JSON already."""
    head = {"v": FRAME_VERSION, "type": type_, "seq": seq, "ts": rfc3339(ts), "live": live}
    return b'%b,"data":%b}' % (_encode(head)[:-1], bytes(data))


def encode_items(values: Iterable[object]) -> list[bytes]:
    """Each value as JSON, once, to be shared by every frame that carries it."""
    return [_encode(value) for value in values]


def list_frames(
    type_: str,
    items: Sequence[bytes],
    *,
    seq: int | None,
    ts: Micros,
    live: bool,
    limit: int = FRAME_LIMIT_BYTES,
) -> Iterator[bytes]:
    """The frames that carry `items` (JSON values) under the key of `type_`: as few as `limit` bytes allow.

    An item that fits in no frame is left out, so that one monstrous post cannot silence the stream: it can still be
    read over REST.
    """
    key = LIST_KEYS[type_]
    room = limit - _ENVELOPE_BYTES
    parts: list[list[bytes]] = []
    used = room
    for item in items:
        cost = len(item) + 1
        if cost > room:
            continue
        if used + cost > room:
            parts.append([])
            used = 0
        parts[-1].append(item)
        used += cost
    for number, part in enumerate(parts, 1):
        data = b'{"%b":[%b]}' % (key.encode(), b",".join(part))
        yield envelope(type_, seq=seq if number == len(parts) else None, ts=ts, live=live, data=data)


def plain_frame(type_: str, data: bytes, *, seq: int | None, ts: Micros, live: bool) -> bytes:
    """The one frame of an event that is no list. Data too large for a frame gives way to a note that says so."""
    frame = envelope(type_, seq=seq, ts=ts, live=live, data=data)
    if len(frame) <= FRAME_LIMIT_BYTES:
        return frame
    return envelope(type_, seq=seq, ts=ts, live=live, data=b'{"too_large":true}')


def split_event(type_: str, data: msgspec.Raw, posts: Sequence[Post]) -> list[bytes]:
    """The items of an event, each encoded: posts, deleted ids, or momentum rows. Empty for an event that is no list."""
    if type_ == "posts.new":
        return encode_items(post_json(post) for post in posts)
    if type_ in LIST_KEYS:
        return [bytes(item) for item in split_list(type_, data)]
    return []


def event_frames(
    type_: str, data: msgspec.Raw, items: Sequence[bytes], *, seq: int, ts: Micros, live: bool
) -> Iterator[bytes]:
    """The frames of one whole event, whose items are those of `split_event`: at least one, so that `seq` moves on."""
    if type_ not in LIST_KEYS:
        yield plain_frame(type_, bytes(data), seq=seq, ts=ts, live=live)
        return
    empty = True
    for frame in list_frames(type_, items, seq=seq, ts=ts, live=live):
        yield frame
        empty = False
    if empty:
        yield plain_frame(type_, b'{"%b":[]}' % LIST_KEYS[type_].encode(), seq=seq, ts=ts, live=live)


def split_list(type_: str, data: msgspec.Raw) -> list[msgspec.Raw]:
    """The items of a list event's data, still encoded. Stored data is ours: what is not as agreed raises."""
    return msgspec.json.decode(data, type=dict[str, list[msgspec.Raw]])[LIST_KEYS[type_]]
