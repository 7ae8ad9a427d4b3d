"""The sealed format: frames taken apart, put in order, and decoded, whatever they are."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from groundswell.core import sealed
from groundswell.core.posts import Deleted, Ignored, Post
from groundswell.core.sealed import EVENT, HEAD, HEADER_BYTES, KEY, LAST_SEQUENCE, TAG_BYTES, Hole, Sequencer

T0 = 1_783_175_880_000_000
NONCE = bytes(12)
MAX_BYTES = 4096


def event(text: str = "hello", **changes: object) -> bytes:
    commit = {"rev": "1", "operation": "create", "collection": "app.bsky.feed.post", "rkey": "1", **changes}
    commit.setdefault("record", {"text": text})
    return json.dumps({"did": "did:plc:a", "time_us": T0, "kind": "commit", "commit": commit}).encode()


def decode(raw: bytes) -> Post | Deleted | Ignored:
    return sealed.decode(raw, source="sealed", extractor=None, max_bytes=MAX_BYTES)


# ------------------------------------------------------------------ frames
@given(st.binary(max_size=200) | st.binary(min_size=HEADER_BYTES + TAG_BYTES).map(lambda rest: b"\1\1" + rest))
def test_any_bytes_are_a_frame_or_none(raw: bytes) -> None:
    frame = sealed.parse(raw, MAX_BYTES)
    if frame is not None:
        assert frame.header + frame.sealed == raw
        assert frame.kind in {EVENT, KEY, HEAD}
        assert 0 <= frame.sequence <= LAST_SEQUENCE


@given(st.sampled_from([EVENT, KEY, HEAD]), st.integers(0, 2**32 - 1), st.integers(0, LAST_SEQUENCE))
def test_what_is_put_together_is_taken_apart(kind: int, key_id: int, sequence: int) -> None:
    header = sealed.header_of(kind, key_id, sequence, NONCE)
    frame = sealed.parse(header + bytes(TAG_BYTES), MAX_BYTES)
    assert frame is not None
    assert (frame.kind, frame.key_id, frame.sequence, frame.nonce) == (kind, key_id, sequence, NONCE)


def test_a_frame_of_another_version_kind_or_size_is_none() -> None:
    good = sealed.header_of(EVENT, 1, 5, NONCE) + bytes(TAG_BYTES)
    assert sealed.parse(good, MAX_BYTES) is not None
    assert sealed.parse(b"\2" + good[1:], MAX_BYTES) is None
    assert sealed.parse(good[:1] + b"\x09" + good[2:], MAX_BYTES) is None
    assert sealed.parse(good[:-1], MAX_BYTES) is None
    assert sealed.parse(good, len(good) - 1) is None
    too_far = sealed.header_of(EVENT, 1, LAST_SEQUENCE + 1, NONCE) + bytes(TAG_BYTES)
    assert sealed.parse(too_far, MAX_BYTES) is None


@given(st.binary(max_size=100) | st.text(max_size=50).map(str.encode))
def test_heads_and_keys_that_say_nothing_are_none(plain: bytes) -> None:
    head, key = sealed.parse_head(plain), sealed.parse_key_notice(plain)
    assert head is None or head.head >= 0
    assert key is None or key.id >= 0


def test_a_signed_message_names_feed_wallet_and_challenge() -> None:
    assert sealed.challenge_message("feed.example:8443", "0xabc", "f00d") == (
        b"Groundswell sealed feed, version 1\nfeed: feed.example:8443\nwallet: 0xabc\nchallenge: f00d"
    )


# ------------------------------------------------------------------ decoding
def test_the_cursor_of_an_opened_event_is_its_number() -> None:
    post = decode(sealed.opened(EVENT, 77, event("hello")))
    assert isinstance(post, Post)
    assert (post.text, post.source, post.cursor, post.event_time) == ("hello", "sealed", 77, T0)
    gone = decode(sealed.opened(EVENT, 78, event(operation="delete")))
    assert isinstance(gone, Deleted)
    assert gone.cursor == 78


def test_what_carries_no_post_moves_the_cursor_all_the_same() -> None:
    assert decode(sealed.opened(EVENT, 9, b"garbage")) == Ignored("malformed", cursor=9)
    assert decode(sealed.opened(KEY, 10, b"{}")) == Ignored("sealed-control", cursor=10)


def test_what_was_turned_away_is_counted_and_moves_nothing() -> None:
    for reason in sealed.REJECTIONS:
        assert decode(sealed.rejected(reason)) == Ignored(reason)
        assert reason in sealed.SEALED_IGNORED_REASONS


@given(
    st.binary(max_size=300)
    | st.tuples(st.sampled_from([EVENT, KEY]), st.integers(0, LAST_SEQUENCE), st.binary(max_size=300)).map(
        lambda parts: sealed.opened(*parts)
    )
)
def test_decoding_is_total(raw: bytes) -> None:
    assert isinstance(decode(raw), Post | Deleted | Ignored)


def test_a_feed_is_asked_for_a_little_before_what_is_stored() -> None:
    assert sealed.first_asked(None) is None
    assert sealed.first_asked(5) == 1
    assert sealed.first_asked(1000) == 1000 + 1 - sealed.RESUME_OVERLAP_FRAMES


# ------------------------------------------------------------------ order
def sequencer(first: int = 1, *, patience: int = 2, max_frames: int = 100, max_bytes: int = 10_000) -> Sequencer:
    return Sequencer(first, patience=patience, max_frames=max_frames, max_bytes=max_bytes)


def frame(n: int) -> bytes:
    return b"frame %d" % n


def test_frames_in_order_pass_straight_through() -> None:
    order = sequencer()
    assert [order.offer(n, frame(n)) for n in (1, 2, 3)] == [[frame(1)], [frame(2)], [frame(3)]]
    assert not order.waiting


def test_what_overtook_waits_for_what_was_overtaken() -> None:
    order = sequencer()
    assert order.offer(2, frame(2)) == []
    assert order.offer(3, frame(3)) == []
    assert order.missing(9) == [Hole(1, 1)]
    assert order.offer(1, frame(1)) == [frame(1), frame(2), frame(3)]
    assert not order.waiting
    assert order.held == 0


def test_a_number_that_came_already_is_a_replay_whether_it_was_handed_out_or_waits() -> None:
    order = sequencer()
    order.offer(1, frame(1))
    order.offer(3, frame(3))
    assert order.offer(1, frame(1)) is None
    assert order.offer(3, frame(3)) is None


def test_a_hole_is_given_up_after_so_many_rounds_and_not_before() -> None:
    order = sequencer(patience=2)
    order.offer(1, frame(1))
    order.offer(4, frame(4))
    assert order.round() == []
    assert order.round() == []
    assert order.round() == [Hole(2, 3), frame(4)]
    assert order.offer(2, frame(2)) is None, "what comes after it was given up is a replay"


def test_a_later_hole_is_given_as_much_time_as_an_earlier_one() -> None:
    order = sequencer(patience=2)
    order.offer(2, frame(2))
    order.round()
    order.offer(4, frame(4))
    order.round()
    assert order.round() == [Hole(1, 1), frame(2)]
    assert order.round() == [Hole(3, 3), frame(4)]


def test_a_head_shows_what_is_missing_at_the_end() -> None:
    order = sequencer(patience=1)
    order.offer(1, frame(1))
    order.expect(3)
    assert order.missing(9) == [Hole(2, 3)]
    order.round()
    assert order.round() == [Hole(2, 3)]
    assert order.next == 4


def test_what_is_held_back_is_bounded_in_number_and_in_bytes() -> None:
    order = sequencer(max_frames=3)
    assert [order.offer(n, frame(n)) for n in (2, 4, 6)] == [[], [], []]
    assert order.offer(8, frame(8)) == [Hole(1, 1), frame(2)]
    heavy = sequencer(max_bytes=100)
    heavy.offer(2, bytes(60))
    assert heavy.offer(4, bytes(60)) == [Hole(1, 1), bytes(60)]


def test_the_end_hands_out_all_that_is_held_back() -> None:
    order = sequencer()
    order.offer(2, frame(2))
    order.offer(5, frame(5))
    assert order.rest() == [Hole(1, 1), frame(2), Hole(3, 4), frame(5)]
    assert order.rest() == []


moves = st.lists(
    st.tuples(st.just("frame"), st.integers(1, 30)) | st.tuples(st.sampled_from(["round", "head"]), st.integers(1, 30)),
    max_size=60,
)


@settings(max_examples=300)
@given(moves, st.integers(1, 4), st.integers(1, 10))
def test_whatever_comes_each_number_is_handed_out_once_in_order_or_lies_in_one_hole(
    told: list[tuple[str, int]], patience: int, max_frames: int
) -> None:
    order = sequencer(patience=patience, max_frames=max_frames)
    given_out: list[bytes | Hole] = []
    came: set[int] = set()
    for what, n in told:
        if what == "round":
            given_out += order.round()
        elif what == "head":
            order.expect(n)
        else:
            came.add(n)
            given_out += order.offer(n, frame(n)) or []
        assert order.held <= max_frames
    given_out += order.rest()
    at = 1
    for item in given_out:
        if isinstance(item, Hole):
            assert item.first == at
            at = item.last + 1
        else:
            assert item == frame(at)
            assert at in came
            at += 1
    assert at == order.next
    assert all(n < at for n in came)


@given(st.permutations(range(1, 25)))
def test_any_order_becomes_the_right_one(numbers: list[int]) -> None:
    order = sequencer()
    given_out = [item for n in numbers for item in order.offer(n, frame(n)) or []]
    assert given_out == [frame(n) for n in range(1, 25)]
