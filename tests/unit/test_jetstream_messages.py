"""Jetstream v2 says what v1 says, in other frames, and the decoder reads both to the same values."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundswell.core.instants import to_datetime
from groundswell.core.jetstream import decode, peek_time
from groundswell.core.jetstream_messages import floor_of, peek_seq, read_message, read_refusal
from groundswell.core.posts import Decoded, Ignored, Post
from tests.unit.test_jetstream import (
    AT,
    DID,
    EXTRACTOR,
    REPLY,
    SAMPLE,
    SHAPED,
    account,
    check,
    commit,
    frame,
    needs_sample,
    read,
)

NSID = "network.bsky.jetstream.subscribeEvents"


def message(v1: dict[str, Any], seq: int = 12345) -> dict[str, Any]:
    """The same event as v2 sends it."""
    at = to_datetime(v1["time_us"]).isoformat(timespec="microseconds").replace("+00:00", "Z")
    kind = v1["kind"]
    inner = v1[kind] if kind == "commit" and isinstance(v1.get(kind), dict) else {kind: v1.get(kind)}
    payload = {"$type": f"{NSID}#{kind}", "seq": seq, "did": v1["did"], "time": at, "witnessedAt": at, **inner}
    return {"$type": "message", "payload": payload}


def raw_of(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


EVENTS: dict[str, dict[str, Any]] = {
    "post": frame(text="$BTC #wow", createdAt="2026-07-04T14:38:06.240Z", langs=["en-US", "de"]),
    "reply": frame(reply=REPLY),
    "half-wrong record": frame(createdAt=5, langs=["fr", 7], tags=["ok", {}], reply=REPLY),
    "edit": commit(operation="update"),
    "delete": commit(operation="delete", record=None),
    "record that is no text": commit(record={"text": 5}),
    "record that is missing": commit(record={}),
    "like": commit(collection="app.bsky.feed.like"),
    "unknown operation": commit(operation="explode"),
    "empty key": commit(rkey=""),
    "takedown": account(active=False, status="takendown"),
    "account that comes back": account(active=True),
    "account out of step": account(active=False, status="throttled"),
    "identity": frame() | {"kind": "identity", "identity": {"did": DID, "handle": "a.test"}},
    "no DID": frame() | {"did": "x"},
}


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS)
def test_an_event_is_the_same_in_both_formats(event: dict[str, Any]) -> None:
    assert read(message(event)) == read(event)
    assert read(raw_of(message(event))) == read(raw_of(event))


@needs_sample
def test_the_production_sample_is_the_same_in_both_formats() -> None:
    for line in SAMPLE.read_bytes().splitlines():
        assert read(message(json.loads(line))) == read(line)


def test_the_order_of_the_members_does_not_matter() -> None:
    whole = message(EVENTS["post"])
    payload = dict(reversed(whole["payload"].items()))
    assert read({"payload": payload, "$type": "message"}) == read(EVENTS["post"])


def test_an_event_is_dated_by_when_the_host_saw_it_and_not_by_an_imported_time() -> None:
    whole = message(frame())
    whole["payload"]["time"] = "2020-01-01T00:00:00.000000Z"
    assert read(whole).event_time == AT
    whole = message(frame())
    del whole["payload"]["witnessedAt"]
    assert read(whole).event_time == AT, "a host that predates witnessedAt"


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ({"$type": "error", "error": "ConsumerTooSlow", "message": "reconnect with cursor=42"}, "stream-error"),
        ({"$type": "message", "payload": {"$type": f"{NSID}#info", "name": "OutdatedCursor"}}, "info"),
        ({"$type": "message", "payload": {"$type": f"{NSID}#commit", "did": DID, "time": "soon"}}, "bad-time"),
        ({"$type": "message", "payload": {"$type": f"{NSID}#commit", "did": DID}}, "bad-time"),
        ({"$type": "message"}, "malformed"),
        ({"$type": "message", "payload": []}, "malformed"),
        ({"$type": "telegram", "payload": {}}, "malformed"),
    ],
)
def test_a_frame_without_an_event_is_ignored_with_its_reason(raw: dict[str, Any], reason: str) -> None:
    assert read(raw) == Ignored(reason)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [(f"{NSID}#sync", "sync"), (f"{NSID}#dance", "unknown-kind"), ("com.example#commit", "unknown-kind")],
)
def test_an_event_without_a_post_still_moves_the_cursor(kind: str, reason: str) -> None:
    whole = message(frame())
    whole["payload"]["$type"] = kind
    assert read(whole) == Ignored(reason, AT, AT)


def test_a_broken_message_moves_the_cursor_when_its_time_is_whole() -> None:
    whole = raw_of(message(frame()))
    assert read(whole[:260]) == Ignored("malformed", AT, AT)
    assert read(whole[:40]) == Ignored("malformed")
    assert peek_time(whole) == AT


def test_the_number_of_an_event_is_found_wherever_it_stands() -> None:
    assert peek_seq(raw_of(message(frame(), seq=77))) == 77
    assert peek_seq(raw_of(frame(text='"seq":5'))) is None
    for broken in (b"", b"\xff", b'{"payload":{"seq":"7"}}', b'{"payload":{"seq":-1}}', b'{"payload":{"seq":1e300}}'):
        assert peek_seq(broken) is None


def test_a_refusal_names_its_error_and_the_oldest_number() -> None:
    text = "subscribe: cursor too old: cursor 1000 below lookback floor 1500; re-backfill from your last seq"
    name, said = read_refusal(json.dumps({"error": "CursorTooOld", "message": text}).encode())
    assert (name, floor_of(said)) == ("CursorTooOld", 1500)
    assert read_refusal(b"Bad Request\n") == ("", "")
    assert floor_of("no number here") is None


# ------------------------------------------------------------------ any bytes
MESSAGE_KEYS = ["$type", "payload", "error", "message"]
EVENT_KEYS = [
    "$type",
    "seq",
    "did",
    "time",
    "witnessedAt",
    "rev",
    "operation",
    "collection",
    "rkey",
    "record",
    "account",
    "name",
    "message",
]
PLACED = SHAPED | st.sampled_from(
    ["message", "error", f"{NSID}#commit", f"{NSID}#account", f"{NSID}#sync", f"{NSID}#info", "9999-12-31T23:59:59Z"]
)


@settings(deadline=None, max_examples=200)
@given(
    st.dictionaries(st.sampled_from(MESSAGE_KEYS), PLACED),
    st.dictionaries(st.sampled_from(EVENT_KEYS), PLACED),
    st.dictionaries(st.sampled_from(["text", "createdAt", "langs", "reply", "embed", "facets", "tags"]), SHAPED),
)
def test_any_json_in_any_place_gives_a_value(
    top: dict[str, Any], inner: dict[str, Any], record: dict[str, Any]
) -> None:
    whole = message(frame(**record))
    whole["payload"] |= inner
    survive(json.dumps(whole | top).encode())


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_a_damaged_message_gives_a_value(data: st.DataObject) -> None:
    facets = [{"index": {"byteStart": 0, "byteEnd": 4}, "features": [{"tag": "Art", "$type": "t"}]}]
    raw = bytearray(raw_of(message(frame(text="#Art $BTC 日本", facets=facets, langs=["ja"], reply=REPLY))))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw)))
        end = data.draw(st.integers(at, min(len(raw), at + 12)))
        raw[at:end] = data.draw(
            st.binary(max_size=6) | st.sampled_from([b'"', b"{", b"]", b"\\ud800", b"\0", b"9" * 30])
        )
    survive(bytes(raw))


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=300))
def test_any_bytes_behind_the_start_of_a_message_give_a_value(tail: bytes) -> None:
    survive(b'{"$type":"message"' + tail)
    survive(b'{"$type":"error"' + tail)


@pytest.mark.parametrize("depth", [10, 500, 5000, 100_000])
def test_deep_nesting_gives_a_value(depth: int) -> None:
    nested = b"[" * depth + b"]" * depth
    for field in (b'"record":', b'"account":', b'"unknown":', b'"seq":', b'"witnessedAt":'):
        survive(raw_of(message(frame())).replace(b'"seq":', field + nested + b',"z":', 1))


def survive(raw: bytes) -> None:
    """Everything that reads a host's bytes gives a value, and one that holds."""
    decoded: Decoded = decode(raw, source="jetstream", extractor=EXTRACTOR)
    check(decoded)
    said = read_message(raw)
    assert said is None or isinstance(said.error, str)
    seq = peek_seq(raw)
    assert seq is None or 0 < seq < 1 << 63
    name, text = read_refusal(raw)
    assert len(name) <= 64
    assert len(text) <= 300
    floor_of(text)
    if isinstance(decoded, Post):
        assert decoded.cursor == decoded.event_time
