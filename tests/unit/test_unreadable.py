"""A source of which nothing can be read is named, with what came and what is expected."""

from __future__ import annotations

from groundswell.core.jetstream import decode
from groundswell.core.posts import Ignored
from groundswell.core.unreadable import EXPECTED, FIRST_FRAMES, FRAMES_IN_A_ROW, UnreadableFrames, shown

GOOD = b'{"did":"did:plc:a","time_us":1764400000000000,"kind":"identity"}'
BAD = b'{"payload": "\x1b[31mred\x1b[0m\n\xff"}'


def noted(*frames: bytes) -> tuple[UnreadableFrames, list[bool]]:
    counts = UnreadableFrames()
    return counts, [counts.note(raw, decode(raw, source="s", extractor=None)) for raw in frames]


def test_a_source_that_sends_nothing_readable_is_noticed_once() -> None:
    counts, news = noted(*[BAD] * (FIRST_FRAMES + 3))
    assert news == [n == FIRST_FRAMES - 1 for n in range(FIRST_FRAMES + 3)]
    assert counts.none_readable
    said = counts.lately("wss://example.com")
    assert f"{FIRST_FRAMES + 3} frames of wss://example.com" in said
    assert EXPECTED in said
    assert r"\x1b[31mred\x1b[0m\n\xff" in said
    assert said.isprintable()


def test_a_source_that_was_readable_is_given_longer_and_one_readable_frame_ends_it() -> None:
    counts, news = noted(GOOD, *[BAD] * FRAMES_IN_A_ROW)
    assert news.count(True) == 1
    assert news[-1]
    assert not counts.note(GOOD, Ignored("identity"))
    assert not counts.none_readable


def test_the_end_of_a_recording_counts_what_was_left_out() -> None:
    assert noted(GOOD, GOOD)[0].at_the_end("monday.jsonl") is None
    assert "1 of the 3 frames of monday.jsonl cannot be read" in str(
        noted(GOOD, BAD, GOOD)[0].at_the_end("monday.jsonl")
    )
    assert "is empty" in str(noted()[0].at_the_end("monday.jsonl"))


def test_any_bytes_are_shown_in_printable_ascii() -> None:
    assert all(31 < ord(character) < 127 for raw in range(256) for character in shown(bytes([raw])))
    assert shown("日\u202e".encode()) == '"\\u65e5\\u202e"'
