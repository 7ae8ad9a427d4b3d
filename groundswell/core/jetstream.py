"""Decodes Jetstream frames (Bluesky's JSON stream), v1 and v2. Total: any bytes give a value, nothing is raised.

The frame and its record are decoded in two typed steps that skip what is not needed. A record that does not have the
types of the lexicon is read again field by field, since one field of a wrong type is no reason to lose a post.
Wire format: github.com/bluesky-social/jetstream, v1 in "Consuming Jetstream", v2 in `core.jetstream_messages`; records:
lexicon `app.bsky.feed.post`. An event decodes to the same value in both formats.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TypeVar

import msgspec

from groundswell.core.accounts import ACCOUNT_PASSING, account_change
from groundswell.core.cursor import is_plausible
from groundswell.core.entities import EntityExtractor, Facet
from groundswell.core.instants import from_datetime
from groundswell.core.jetstream_messages import (
    TYPED_START,
    UNREADABLE,
    Account,
    Event,
    Message,
    peek_message_time,
    read_message,
)
from groundswell.core.posts import AccountChange, Decoded, Deleted, Ignored, Micros, Post, ProfileLabels
from groundswell.core.self_labels import is_restricted, labels_of
from groundswell.core.text.languages import primary_language

POST_COLLECTION = "app.bsky.feed.post"
PROFILE_COLLECTION = "app.bsky.actor.profile"
COLLECTIONS = (POST_COLLECTION, PROFILE_COLLECTION)
"""What is asked for: posts, and what authors say of all of theirs."""
MAX_FRAME_BYTES = 1024 * 1024
"""A larger frame is not looked into. Real posts have a few kilobytes."""
MAX_TEXT_CHARS = 8000
"""Longer texts are cut. The lexicon allows 3,000 bytes, and hosts do not enforce it."""

OVERSIZED = "oversized"
COMPRESSED = "compressed"
MALFORMED = "malformed"
UNKNOWN_KIND = "unknown-kind"
UNKNOWN_OPERATION = "unknown-operation"
BAD_TIME = "bad-time"
NO_TEXT = "no-text"
OTHER_COLLECTION = "other-collection"
IDENTITY = "identity"
SYNC = "sync"
RESYNCED = "resynced"
INFO = "info"
STREAM_ERROR = "stream-error"

IGNORED_REASONS: dict[str, str] = {
    OVERSIZED: "the frame is larger than the limit (1 MiB unless set otherwise)",
    COMPRESSED: "the frame is compressed and could not be decompressed",
    MALFORMED: "not JSON, or without the fields that every frame has",
    UNKNOWN_KIND: "neither a commit nor about an identity, an account or the stream itself",
    UNKNOWN_OPERATION: "a commit that neither creates, updates nor deletes",
    BAD_TIME: "the frame's time is missing, or outside 2010 to 2100",
    NO_TEXT: "a post whose text is missing or is no text",
    OTHER_COLLECTION: "a commit to something else than posts and profiles: likes, follows, blocks and so on",
    IDENTITY: "a change of handle or keys",
    ACCOUNT_PASSING: "an account out of step or throttled for a while: its posts stand",
    SYNC: "a repository whose events were incomplete: its records follow",
    RESYNCED: "an old post of such a repository, from before anything that the stream would send again",
    INFO: "a notice of the host about the stream, such as a cursor that it moved",
    STREAM_ERROR: "the host's reason for ending the stream",
}
"""Every reason for an `Ignored`, with its meaning. The reasons are the labels of a metric."""

_OTHER_KINDS = {"identity": IDENTITY, "commit": MALFORMED, "account": MALFORMED, "sync": MALFORMED}
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_HEAD_BYTES = 512
_TIME_IN_HEAD = re.compile(rb'"time_us"\s*:\s*(\d{1,17})\s*[,}]')
_EARLIEST_YEAR, _LATEST_YEAR = 1970, 2100
_MAX_URI_CHARS = 2048

T = TypeVar("T")


class _Commit(msgspec.Struct, gc=False):
    operation: str
    collection: str
    rkey: str
    rev: str
    record: msgspec.Raw = msgspec.Raw()


class _Frame(msgspec.Struct, gc=False):
    did: str
    time_us: int
    kind: str
    commit: _Commit | None = None
    account: Account | None = None


class _Ref(msgspec.Struct, gc=False):
    uri: str | None = None


class _Reply(msgspec.Struct, gc=False):
    parent: _Ref | None = None


class _Quoted(msgspec.Struct, gc=False):
    """`app.bsky.embed.record` has the URI here, `recordWithMedia` one level deeper."""

    uri: str | None = None
    record: _Ref | None = None


class _Media(msgspec.Struct, gc=False):
    external: _Ref | None = None


class _Embed(msgspec.Struct, gc=False):
    external: _Ref | None = None
    record: _Quoted | None = None
    media: _Media | None = None


class _Label(msgspec.Struct, gc=False):
    val: str | None = None


class _Labels(msgspec.Struct, gc=False):
    """`com.atproto.label.defs#selfLabels`."""

    values: list[_Label] = msgspec.field(default_factory=list[_Label])


class _Profile(msgspec.Struct, gc=False):
    labels: msgspec.Raw = msgspec.Raw()


class _LooseLabels(msgspec.Struct, gc=False):
    values: msgspec.Raw = msgspec.Raw()


class _Record(msgspec.Struct, gc=False, rename="camel"):
    text: str
    created_at: str | None = None
    langs: list[str] | None = None
    reply: _Reply | None = None
    embed: _Embed | None = None
    facets: list[Facet] | None = None
    tags: list[str] | None = None
    labels: _Labels | None = None


class _LooseRecord(msgspec.Struct, gc=False, rename="camel"):
    text: msgspec.Raw = msgspec.Raw()
    created_at: msgspec.Raw = msgspec.Raw()
    langs: msgspec.Raw = msgspec.Raw()
    reply: msgspec.Raw = msgspec.Raw()
    embed: msgspec.Raw = msgspec.Raw()
    facets: msgspec.Raw = msgspec.Raw()
    tags: msgspec.Raw = msgspec.Raw()
    labels: msgspec.Raw = msgspec.Raw()


_FRAME = msgspec.json.Decoder(_Frame)
_RECORD = msgspec.json.Decoder(_Record)
_LOOSE_RECORD = msgspec.json.Decoder(_LooseRecord)
_TEXT = msgspec.json.Decoder(str)
_RAWS = msgspec.json.Decoder(list[msgspec.Raw])
_REPLY = msgspec.json.Decoder(_Reply)
_EMBED = msgspec.json.Decoder(_Embed)
_FACET = msgspec.json.Decoder(Facet)
_PROFILE = msgspec.json.Decoder(_Profile)
_LABELS = msgspec.json.Decoder(_LooseLabels)
_LABEL = msgspec.json.Decoder(_Label)


def decode(raw: bytes, *, source: str, extractor: EntityExtractor | None, max_bytes: int = MAX_FRAME_BYTES) -> Decoded:
    """What a frame says, as `source` tells it. Never raises.

    `event_time` and `cursor` are both when the host saw the event: `time_us`, or `witnessedAt` of v2. An `Ignored` has
    them wherever they could be read, so that a bad frame does not hold the cursor back. Without an `extractor` posts
    have no entities.
    """
    if len(raw) > max_bytes:
        return _unreadable(raw, OVERSIZED)
    typed = raw.startswith(TYPED_START)
    if typed and (message := read_message(raw)) is not None:
        return _decode_message(message, source, extractor)
    try:
        frame = _FRAME.decode(raw)
    except UNREADABLE:
        if not typed and (message := read_message(raw)) is not None:
            return _decode_message(message, source, extractor)
        return _unreadable(raw, COMPRESSED if raw.startswith(ZSTD_MAGIC) else MALFORMED)
    return _decode_frame(frame, source, extractor)


def clamp_event_time(decoded: Decoded, now: Micros, latest: Micros | None) -> Decoded:
    """Bring a time beyond five minutes from `now` back to the `latest` of the stream, in event time and cursor alike.

    One corrupt frame from the far future would otherwise move the cursor there, and everything up to then would
    never be asked for. `now` is the database's; it stands in where nothing was seen yet. `decode` has refused what
    is before 2010.
    """
    at = decoded.event_time
    if at is None or is_plausible(at, now):
        return decoded
    back = now if latest is None else latest
    # A cursor that counts frames instead of telling time is right whatever the time says.
    cursor = back if decoded.cursor == at else decoded.cursor
    return msgspec.structs.replace(decoded, event_time=back, cursor=cursor)


def peek_time(raw: bytes) -> Micros | None:
    """The frame's time without decoding it. Hosts write it near the front, so a broken frame often has it too."""
    found = _TIME_IN_HEAD.search(raw, 0, _HEAD_BYTES)
    if found is None:
        return peek_message_time(raw)
    return at if is_plausible(at := int(found[1])) else None


def _unreadable(raw: bytes, reason: str) -> Ignored:
    at = peek_time(raw)
    return Ignored(reason, at, at)


def _decode_frame(frame: _Frame, source: str, extractor: EntityExtractor | None) -> Decoded:
    at = frame.time_us
    if not is_plausible(at):
        return Ignored(BAD_TIME)
    if _is_word(frame.did, 256) and frame.did.startswith("did:"):
        if frame.commit is not None and frame.kind == "commit":
            return _decode_commit(frame.did, at, frame.commit, source, extractor)
        if frame.account is not None and frame.kind == "account":
            return _decode_account(frame.did, at, frame.account, source)
    return Ignored(_OTHER_KINDS.get(frame.kind, UNKNOWN_KIND), at, at)


def _decode_message(message: Message, source: str, extractor: EntityExtractor | None) -> Decoded:
    event = message.payload
    if event is None or event.kind == "info":
        return Ignored(STREAM_ERROR if event is None else INFO)
    at = event.at
    return Ignored(BAD_TIME) if at is None else _decode_event(event, at, source, extractor)


def _decode_event(event: Event, at: Micros, source: str, extractor: EntityExtractor | None) -> Decoded:
    kind, did = event.kind, event.did
    if _is_word(did, 256) and did.startswith("did:"):
        if kind == "commit" and (commit := _commit_of(event)) is not None:
            return _decode_commit(did, at, commit, source, extractor)
        if kind == "account" and event.account is not None:
            return _decode_account(did, at, event.account, source)
        if kind == "sync":
            return Ignored(SYNC, at, at)
    return Ignored(_OTHER_KINDS.get(kind, UNKNOWN_KIND), at, at)


def _commit_of(event: Event) -> _Commit | None:
    operation, collection, rkey, rev = event.operation, event.collection, event.rkey, event.rev
    if operation is None or collection is None or rkey is None or rev is None:
        return None
    return _Commit(operation, collection, rkey, rev, event.record)


def _decode_account(did: str, at: Micros, account: Account, source: str) -> AccountChange | Ignored:
    return account_change(source, did, at, active=account.active, status=account.status, cursor=at)


def _decode_commit(
    did: str, at: Micros, commit: _Commit, source: str, extractor: EntityExtractor | None
) -> Post | Deleted | ProfileLabels | Ignored:
    if commit.collection not in COLLECTIONS:
        return Ignored(OTHER_COLLECTION, at, at)
    if not (_is_word(commit.rkey, 512) and _is_word(commit.rev, 64)):
        return Ignored(MALFORMED, at, at)
    if commit.collection == PROFILE_COLLECTION:
        return _decode_profile(did, at, commit, source)
    return _decode_post(did, at, commit, source, extractor)


def _decode_post(
    did: str, at: Micros, commit: _Commit, source: str, extractor: EntityExtractor | None
) -> Post | Deleted | Ignored:
    post_id = f"at://{did}/{POST_COLLECTION}/{commit.rkey}"
    operation = commit.operation
    if operation == "delete":
        return Deleted(source=source, author=did, event_time=at, cursor=at, id=post_id, rev=commit.rev)
    if operation not in {"create", "update"}:
        return Ignored(UNKNOWN_OPERATION, at, at)
    record = _decode_record(commit.record)
    if isinstance(record, str):
        return Ignored(record, at, at)
    # Postgres stores no NUL.
    text = record.text.replace("\0", "")[:MAX_TEXT_CHARS]
    entities: tuple[str, ...] = ()
    if extractor is not None:
        entities = extractor.extract(text, record.facets or (), tags=record.tags or (), links=_links(record.embed))
    labels = () if record.labels is None else labels_of(label.val for label in record.labels.values)
    return Post(
        id=post_id,
        source=source,
        author=did,
        text=text,
        event_time=at,
        rev=commit.rev,
        cursor=at,
        created_at=_parse_created_at(record.created_at),
        lang=_first_language(record.langs),
        entities=entities,
        reply_to=None if record.reply is None else _uri(record.reply.parent),
        quote_of=None if record.embed is None else _quoted_uri(record.embed),
        operation="create" if operation == "create" else "update",
        labels=labels,
        restricted=is_restricted(labels),
    )


def _decode_profile(did: str, at: Micros, commit: _Commit, source: str) -> ProfileLabels | Ignored:
    """Return the labels of a profile; those of a deleted one are none."""
    if commit.operation not in {"create", "update", "delete"}:
        return Ignored(UNKNOWN_OPERATION, at, at)
    profile = None if commit.operation == "delete" else _try(_PROFILE, commit.record)
    if profile is None and commit.operation != "delete":
        return Ignored(MALFORMED, at, at)
    labels = () if profile is None else labels_of(label.val for label in _labels(profile.labels).values)
    return ProfileLabels(source, did, at, at, commit.rev, labels)


def _labels(raw: msgspec.Raw) -> _Labels:
    """Return each label that can be read: one of a wrong type is no reason to overlook the others."""
    loose = _try(_LABELS, raw)
    return _Labels() if loose is None else _Labels(_each(_LABEL, loose.values))


def _decode_record(raw: msgspec.Raw) -> _Record | str:
    """The record, or the reason to ignore it."""
    try:
        return _RECORD.decode(raw)
    except UNREADABLE:
        loose = _try(_LOOSE_RECORD, raw)
    if loose is None:
        return MALFORMED if bytes(raw) else NO_TEXT
    text = _try(_TEXT, loose.text)
    if text is None:
        return NO_TEXT
    return _Record(
        text=text,
        created_at=_try(_TEXT, loose.created_at),
        langs=_each(_TEXT, loose.langs),
        reply=_try(_REPLY, loose.reply),
        embed=_try(_EMBED, loose.embed),
        facets=_each(_FACET, loose.facets),
        tags=_each(_TEXT, loose.tags),
        labels=_labels(loose.labels),
    )


def _try(decoder: msgspec.json.Decoder[T], raw: msgspec.Raw) -> T | None:
    try:
        return decoder.decode(raw)
    except UNREADABLE:
        return None


def _each(decoder: msgspec.json.Decoder[T], raw: msgspec.Raw) -> list[T]:
    return [item for part in _try(_RAWS, raw) or () if (item := _try(decoder, part)) is not None]


def _is_word(text: str, limit: int) -> bool:
    return 0 < len(text) <= limit and text.isprintable() and " " not in text


def _uri(ref: _Ref | None) -> str | None:
    uri = None if ref is None else ref.uri
    return uri if uri and len(uri) <= _MAX_URI_CHARS and uri.isprintable() else None


def _quoted_uri(embed: _Embed) -> str | None:
    quoted = embed.record
    if quoted is None:
        return None
    return _uri(quoted.record) if quoted.record is not None else _uri(_Ref(quoted.uri))


def _links(embed: _Embed | None) -> tuple[str, ...]:
    if embed is None:
        return ()
    external = embed.external or (embed.media.external if embed.media is not None else None)
    uri = _uri(external)
    return () if uri is None else (uri,)


def _first_language(langs: list[str] | None) -> str | None:
    """Return the language of the first tag that has one: `en` for `en-US`."""
    for tag in langs or ():
        if (language := primary_language(tag)) is not None:
            return language
    return None


def _parse_created_at(text: str | None) -> Micros | None:
    """Any ISO 8601 date and time from 1970 to 2100; one without an offset is taken as UTC."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text.strip())
        if not _EARLIEST_YEAR <= moment.year < _LATEST_YEAR:
            return None
        return from_datetime(moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        return None
