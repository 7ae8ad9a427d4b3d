"""The decoder reads what Jetstream sends, and survives everything else."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundswell.core.entities import MAX_ENTITIES, EntityExtractor
from groundswell.core.jetstream import (
    IGNORED_REASONS,
    MAX_FRAME_BYTES,
    MAX_TEXT_CHARS,
    clamp_event_time,
    decode,
    peek_time,
)
from groundswell.core.posts import MICROS_PER_SECOND, AccountChange, Decoded, Deleted, Ignored, Post

SAMPLE = Path(__file__).parents[3] / "shared" / "data" / "jetstream-v1-sample.jsonl"
needs_sample = pytest.mark.skipif(not SAMPLE.exists(), reason="the recorded production sample is not here")

AT = 1_783_175_888_090_631
DID = "did:plc:dclwtltrt2ggsryagfzk7dp4"
EXTRACTOR = EntityExtractor(["Bitcoin | BTC"])


def read(raw: bytes | dict[str, Any]) -> Decoded:
    return decode(raw if isinstance(raw, bytes) else json.dumps(raw).encode(), source="jetstream", extractor=EXTRACTOR)


def frame(**record: Any) -> dict[str, Any]:
    """A frame that creates a post with the given record fields."""
    return {
        "did": DID,
        "time_us": AT,
        "kind": "commit",
        "commit": {
            "rev": "3mptbypcq372f",
            "operation": "create",
            "collection": "app.bsky.feed.post",
            "rkey": "3mptbyoeyc22k",
            "record": {"$type": "app.bsky.feed.post", "text": "hello", **record},
            "cid": "bafy",
        },
    }


def commit(**changes: Any) -> dict[str, Any]:
    whole = frame()
    whole["commit"] |= changes
    return whole


def account(**fields: Any) -> dict[str, Any]:
    return {"did": DID, "time_us": AT, "kind": "account", "account": {"did": DID, "seq": 1, **fields}}


def posted(**record: Any) -> Post:
    decoded = read(frame(**record))
    assert isinstance(decoded, Post)
    return decoded


@needs_sample
def test_all_events_of_the_production_sample_are_understood() -> None:
    lines = SAMPLE.read_bytes().splitlines()
    decoded = [read(line) for line in lines]
    kinds = Counter(d.reason if isinstance(d, Ignored) else type(d).__name__ for d in decoded)
    assert kinds == {"Post": 17, "Deleted": 1, "other-collection": 132, "identity": 1, "AccountChange": 1}
    assert sum(kinds.values()) == 152
    assert all(d.cursor == json.loads(line)["time_us"] for d, line in zip(decoded, lines, strict=True))


@needs_sample
def test_the_posts_of_the_production_sample_carry_what_they_said() -> None:
    posts = [d for line in SAMPLE.read_bytes().splitlines() if isinstance(d := read(line), Post)]
    assert Counter(p.lang for p in posts) == {"en": 8, "tr": 3, "ja": 1, "ko": 1, "de": 1, "ru": 1, "es": 1, None: 1}
    assert sum(p.reply_to is not None for p in posts) == 8
    assert all(p.created_at is not None for p in posts)
    assert {key for p in posts for key in p.entities} == {
        "domain:denikn.cz",
        "domain:static.klipy.com",
        "domain:tumblr.com",
        "domain:ufofeed.com",
        "domain:youtube.com",
        "hashtag:balanwonderworldoc",
        "hashtag:howtotellaitoshutup",
        "hashtag:indierebellion",
        "hashtag:talesatwonderworld",
    }


def test_a_created_post_is_a_post() -> None:
    decoded = read(frame(text="$BTC #wow", createdAt="2026-07-04T14:38:06.240Z", langs=["en-US", "de"]))
    assert decoded == Post(
        id=f"at://{DID}/app.bsky.feed.post/3mptbyoeyc22k",
        source="jetstream",
        author=DID,
        text="$BTC #wow",
        event_time=AT,
        rev="3mptbypcq372f",
        cursor=AT,
        created_at=1_783_175_886_240_000,
        lang="en",
        entities=("hashtag:wow", "name:Bitcoin", "ticker:BTC"),
    )


def test_an_updated_post_is_marked_as_an_update() -> None:
    decoded = read(commit(operation="update"))
    assert isinstance(decoded, Post)
    assert decoded.operation == "update"


def test_a_deleted_post_is_named_by_its_id() -> None:
    raw = commit(operation="delete")
    del raw["commit"]["record"]
    assert read(raw) == Deleted(
        source="jetstream",
        author=DID,
        event_time=AT,
        cursor=AT,
        id=f"at://{DID}/app.bsky.feed.post/3mptbyoeyc22k",
        rev="3mptbypcq372f",
    )


@pytest.mark.parametrize("status", ["takendown", "suspended", "deleted", "deactivated"])
def test_an_account_that_is_not_active_is_a_change_of_its_state(status: str) -> None:
    assert read(account(active=False, status=status)) == AccountChange("jetstream", DID, AT, AT, status)


@pytest.mark.parametrize("fields", [{}, {"status": None}, {"status": "<script>"}])
def test_an_account_that_is_not_active_for_an_unknown_reason_is_hidden_and_not_deleted(fields: dict[str, Any]) -> None:
    decoded = read(account(active=False, **fields))
    assert decoded == AccountChange("jetstream", DID, AT, AT, "unknown")
    assert decoded.hides and not decoded.is_final


@pytest.mark.parametrize("fields", [{}, {"status": "throttled"}, {"status": "takendown"}])
def test_an_account_that_is_active_is_shown_whatever_its_status_says(fields: dict[str, Any]) -> None:
    assert read(account(active=True, **fields)) == AccountChange("jetstream", DID, AT, AT, "active")


@pytest.mark.parametrize("status", ["desynchronized", "throttled"])
def test_an_account_that_is_only_out_of_step_keeps_its_posts(status: str) -> None:
    assert read(account(active=False, status=status)) == Ignored("account-passing", AT, AT)


def self_labels(*values: Any) -> dict[str, Any]:
    return {"$type": "com.atproto.label.defs#selfLabels", "values": [{"val": value} for value in values]}


def test_what_an_author_says_of_a_post_is_kept_and_a_request_to_be_kept_from_some_restricts_it() -> None:
    adult = posted(labels=self_labels("porn", "nudity", "porn"))
    assert (adult.labels, adult.restricted) == (("nudity", "porn"), False)
    asked = posted(labels=self_labels("!no-unauthenticated"))
    assert (asked.labels, asked.restricted) == (("!no-unauthenticated",), True)


@pytest.mark.parametrize("wrong", [7, "porn", [], {"values": 7}, {"values": [7, {"val": 3}]}])
def test_labels_of_a_wrong_type_cost_no_post(wrong: Any) -> None:
    assert posted(labels=wrong).labels == ()


def test_a_request_to_be_kept_from_some_is_read_among_what_cannot_be_read_and_however_many_labels_there_are() -> None:
    values = [{"val": 3}, *({"val": f"label-{n}"} for n in range(30)), {"val": "!no-unauthenticated"}, "x"]
    asked = posted(labels={"values": values})
    assert asked.restricted and len(asked.labels) == 10
    assert posted(labels=self_labels("with space", "é", "x" * 200, "")).labels == ()


def profiled(operation: str = "update", **record: Any) -> Any:
    raw = frame(**record)
    raw["commit"] |= {"collection": "app.bsky.actor.profile", "rkey": "self", "operation": operation}
    if operation == "delete":
        del raw["commit"]["record"]
    return read(raw)


def test_a_profile_says_what_its_author_says_of_all_posts() -> None:
    found = profiled(displayName="Ann", labels=self_labels("!no-unauthenticated"))
    assert (found.author, found.labels, found.rev) == (DID, ("!no-unauthenticated",), "3mptbypcq372f")
    assert profiled("create", displayName="Ann").labels == profiled("delete").labels == ()
    assert profiled(labels={"values": [3, {"val": "!no-unauthenticated"}]}).labels == ("!no-unauthenticated",)


REPLY = {"parent": {"uri": "at://did:plc:a/app.bsky.feed.post/1", "cid": "x"}, "root": {"uri": "at://r", "cid": "x"}}
QUOTED = {"uri": "at://did:plc:b/app.bsky.feed.post/2", "cid": "x"}


def test_a_reply_names_its_parent() -> None:
    assert posted(reply=REPLY).reply_to == "at://did:plc:a/app.bsky.feed.post/1"


def test_a_quote_names_what_it_quotes_with_and_without_media() -> None:
    plain = {"$type": "app.bsky.embed.record", "record": QUOTED}
    with_media = {
        "$type": "app.bsky.embed.recordWithMedia",
        "record": {"$type": "app.bsky.embed.record", "record": QUOTED},
        "media": {"$type": "app.bsky.embed.external", "external": {"uri": "https://www.example.com/x"}},
    }
    assert posted(embed=plain).quote_of == QUOTED["uri"]
    assert posted(embed=with_media).quote_of == QUOTED["uri"]
    assert posted(embed=with_media).entities == ("domain:example.com",)


def test_an_external_embed_is_a_link() -> None:
    embed = {"$type": "app.bsky.embed.external", "external": {"uri": "https://www.youtube.com/watch?v=1", "title": "t"}}
    assert posted(embed=embed).entities == ("domain:youtube.com",)


def test_facets_and_tags_of_the_record_become_entities() -> None:
    facets = [
        {"index": {"byteStart": 0, "byteEnd": 4}, "features": [{"$type": "app.bsky.richtext.facet#tag", "tag": "Art"}]},
        {"index": {"byteStart": 5, "byteEnd": 9}, "features": [{"$type": "x#mention", "did": "did:plc:ann"}]},
        {"index": {"byteStart": 10, "byteEnd": 14}, "features": [{"$type": "x#link", "uri": "https://example.com"}]},
        {"index": {"byteStart": 10, "byteEnd": 14}, "features": [{"$type": "x#unheardOf", "what": 1}]},
    ]
    decoded = posted(text="#Art @ann link", facets=facets, tags=["Hidden"])
    assert decoded.entities == ("domain:example.com", "hashtag:art", "hashtag:hidden", "mention:did:plc:ann")


def test_a_post_without_words_is_still_a_post() -> None:
    assert posted(text="").text == ""


def test_nul_characters_leave_the_text() -> None:
    assert posted(text="a\0b\0").text == "ab"


def test_an_endless_text_is_cut() -> None:
    assert len(posted(text="é" * 20_000).text) == MAX_TEXT_CHARS


@pytest.mark.parametrize(
    ("written", "micros"),
    [
        ("2026-07-04T14:38:06.240Z", 1_783_175_886_240_000),
        ("2026-07-04T14:38:06+00:00", 1_783_175_886_000_000),
        ("2026-07-04T16:38:06.240123456+02:00", 1_783_175_886_240_123),
        ("2026-07-04 14:38:06", 1_783_175_886_000_000),
        ("2026-07-04", 1_783_123_200_000_000),
        ("1969-12-31T23:59:59Z", None),
        ("0001-01-01T00:00:00+23:59", None),
        ("9999-12-31T23:59:59-23:59", None),
        ("yesterday", None),
        ("", None),
    ],
)
def test_the_authors_time_is_read_leniently_or_not_at_all(written: str, micros: int | None) -> None:
    assert posted(createdAt=written).created_at == micros


@pytest.mark.parametrize(
    ("langs", "lang"),
    [(["pt-BR"], "pt"), (["EN"], "en"), (["zh_Hant"], "zh"), (["", "ja"], "ja"), (["日本語"], None), ([], None)],
)
def test_the_language_is_the_first_primary_subtag(langs: list[str], lang: str | None) -> None:
    assert posted(langs=langs).lang == lang


@pytest.mark.parametrize(
    "record",
    [
        {"createdAt": 5},
        {"langs": "en"},
        {"langs": [1, None, "en"]},
        {"reply": "x"},
        {"reply": {"parent": 5}},
        {"embed": []},
        {"embed": {"record": 7}},
        {"facets": {}},
        {"facets": [5, {"index": 1, "features": []}]},
        {"tags": [1]},
        {"embed": {"external": {"uri": 10**40}}},
    ],
)
def test_one_field_of_a_wrong_type_does_not_cost_a_post(record: dict[str, Any]) -> None:
    assert posted(text="still #here", **record).entities == ("hashtag:here",)


def test_the_right_parts_of_a_half_wrong_record_are_kept() -> None:
    decoded = posted(createdAt=5, langs=["fr", 7], tags=["ok", {}], reply=REPLY)
    assert (decoded.lang, decoded.entities, decoded.reply_to) == ("fr", ("hashtag:ok",), REPLY["parent"]["uri"])


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "malformed"),
        (b"null", "malformed"),
        (b"[1,2]", "malformed"),
        (b"\xff\xfe", "malformed"),
        (b"\x28\xb5\x2f\xfd nonsense", "compressed"),
        (b"[" * 100_000, "malformed"),
        (b'{"did":"did:plc:a","kind":"commit"}', "malformed"),
        (b'{"did":"did:plc:a","time_us":"5","kind":"commit"}', "malformed"),
        (b'{"did":"did:plc:a","time_us":5,"kind":"identity"}', "bad-time"),
        (b'{"did":"did:plc:a","time_us":1e400,"kind":"identity"}', "malformed"),
        (b'{"did":"did:plc:a","time_us":' + b"9" * 4000 + b',"kind":"identity"}', "bad-time"),
    ],
)
def test_a_frame_that_cannot_be_read_is_ignored_with_its_reason(raw: bytes, reason: str) -> None:
    decoded = read(raw)
    assert isinstance(decoded, Ignored)
    assert decoded.reason == reason


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (commit(collection="app.bsky.feed.like"), "other-collection"),
        (commit(operation="explode"), "unknown-operation"),
        (commit(rkey=""), "malformed"),
        (commit(rkey="a\0b"), "malformed"),
        (commit(rev=""), "malformed"),
        (commit(rev="r" * 100), "malformed"),
        (commit(record={"text": 5}), "no-text"),
        (commit(record={}), "no-text"),
        (commit(record=None), "malformed"),
        (frame() | {"did": "x"}, "malformed"),
        (frame() | {"did": "did:plc:\0"}, "malformed"),
        (frame() | {"kind": "commit", "commit": None}, "malformed"),
        (frame() | {"kind": "dance"}, "unknown-kind"),
        (frame() | {"kind": "identity"}, "identity"),
    ],
)
def test_a_frame_without_a_post_still_moves_the_cursor(raw: dict[str, Any], reason: str) -> None:
    assert read(raw) == Ignored(reason, AT, AT)


def test_a_broken_frame_moves_the_cursor_when_its_time_is_whole() -> None:
    whole = json.dumps(frame(), separators=(",", ":")).encode()
    assert read(whole[:200]) == Ignored("malformed", AT, AT)
    assert read(whole[:20]) == Ignored("malformed")
    assert peek_time(whole) == AT


def test_an_oversized_frame_is_not_looked_into() -> None:
    assert read(frame(text="x" * MAX_FRAME_BYTES)) == Ignored("oversized", AT, AT)


def test_a_lone_surrogate_never_reaches_a_post() -> None:
    decoded = read(json.dumps(frame(text="a\ud800b")).encode())
    assert isinstance(decoded, Ignored)


def test_a_time_from_the_future_is_brought_back_to_the_latest_of_the_stream() -> None:
    late = posted()
    near, far = AT - 200 * MICROS_PER_SECOND, AT - 301 * MICROS_PER_SECOND
    assert clamp_event_time(late, near, None) is late
    hours_ago = far - 3600 * MICROS_PER_SECOND
    clamped = clamp_event_time(late, far, hours_ago)
    assert (clamped.event_time, clamped.cursor) == (hours_ago, hours_ago)
    assert clamp_event_time(late, far, None).event_time == far
    assert clamp_event_time(Ignored("malformed"), far, None) == Ignored("malformed")


# ------------------------------------------------------------------ any bytes
def check(decoded: Decoded) -> None:
    if isinstance(decoded, Ignored):
        assert decoded.reason in IGNORED_REASONS
        return
    assert decoded.event_time == decoded.cursor
    assert 1_262_304_000_000_000 <= decoded.event_time <= 4_102_444_800_000_000
    assert decoded.author.startswith("did:")
    if isinstance(decoded, Post):
        texts = [
            decoded.id,
            decoded.author,
            decoded.text,
            decoded.rev,
            decoded.lang,
            decoded.reply_to,
            decoded.quote_of,
        ]
        for text in [*texts, *decoded.entities]:
            assert text is None or "\0" not in text.encode().decode()
        assert len(decoded.entities) <= MAX_ENTITIES
        assert len(decoded.text) <= MAX_TEXT_CHARS
        assert decoded.created_at is None or decoded.created_at >= 0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
SHAPED = JSON | st.sampled_from(
    [
        REPLY,
        {"record": QUOTED},
        ["en"],
        "did:plc:a",
        AT,
        "commit",
        "account",
        "create",
        "app.bsky.feed.post",
        "2026-07-04",
    ]
)


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=300))
def test_any_bytes_give_a_value(raw: bytes) -> None:
    check(read(raw))


@settings(deadline=None, max_examples=200)
@given(
    st.dictionaries(st.sampled_from(["did", "time_us", "kind", "commit", "account", "identity"]), SHAPED),
    st.dictionaries(st.sampled_from(["rev", "operation", "collection", "rkey", "record"]), SHAPED),
    st.dictionaries(
        st.sampled_from(["text", "createdAt", "langs", "reply", "embed", "facets", "tags", "$type"]), SHAPED
    ),
)
def test_any_json_in_any_place_gives_a_value(
    top: dict[str, Any], inner: dict[str, Any], record: dict[str, Any]
) -> None:
    raw = frame(**record)
    raw["commit"] |= inner
    check(read(raw | top))


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_a_damaged_frame_gives_a_value(data: st.DataObject) -> None:
    facets = [{"index": {"byteStart": 0, "byteEnd": 4}, "features": [{"tag": "Art", "$type": "t"}]}]
    raw = bytearray(json.dumps(frame(text="#Art $BTC 日本", facets=facets, langs=["ja"], reply=REPLY)).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw)))
        end = data.draw(st.integers(at, min(len(raw), at + 12)))
        raw[at:end] = data.draw(
            st.binary(max_size=6) | st.sampled_from([b'"', b"{", b"]", b"\\ud800", b"\0", b"9" * 30])
        )
    check(read(bytes(raw)))


@pytest.mark.parametrize("depth", [10, 500, 5000, 100_000])
def test_deep_nesting_gives_a_value(depth: int) -> None:
    nested = b"[" * depth + b"]" * depth
    for field in (b'"text":"x","embed":', b'"facets":', b'"unknown":', b'"text":'):
        raw = json.dumps(frame()).encode().replace(b'"text":', field + nested + b',"z":', 1)
        check(read(raw))
