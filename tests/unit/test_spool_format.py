"""Spool records: whatever a crash or a disk does to the bytes, what is whole is found and nothing else is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundswell.core.spool import HEADER_BYTES, MARK, Damage, Record, encode_record, scan

SALT = 0x9F3A5C21
payloads = st.lists(st.binary(max_size=200), min_size=1, max_size=8)


def segment(contents: list[bytes], salt: int = SALT) -> bytes:
    return b"".join(encode_record(content, n, salt) for n, content in enumerate(contents))


def read(data: bytes, salt: int = SALT) -> list[bytes]:
    return [found.payload for found in scan(data, salt).found if isinstance(found, Record)]


@given(payloads)
def test_what_was_written_is_read_back_in_order(contents: list[bytes]) -> None:
    data = segment(contents)
    scanned = scan(data, SALT)
    assert [(r.payload, r.items) for r in scanned.found if isinstance(r, Record)] == [
        (content, n) for n, content in enumerate(contents)
    ]
    assert scanned.end == len(data)
    assert not any(isinstance(found, Damage) for found in scanned.found)


@given(payloads, st.data())
def test_a_segment_cut_off_anywhere_keeps_every_record_that_is_whole(
    contents: list[bytes], data: st.DataObject
) -> None:
    whole = segment(contents)
    cut = data.draw(st.integers(0, len(whole)))
    kept = 0
    while kept < len(contents) and len(segment(contents[: kept + 1])) <= cut:
        kept += 1
    scanned = scan(whole[:cut], SALT)
    assert read(whole[:cut]) == contents[:kept]
    assert scanned.end == len(segment(contents[:kept]))


@given(payloads, st.data())
def test_a_flipped_bit_costs_one_record_and_is_named(contents: list[bytes], data: st.DataObject) -> None:
    whole = bytearray(segment(contents))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= 1 << data.draw(st.integers(0, 7))
    hit = next(n for n in range(len(contents)) if at < len(segment(contents[: n + 1])))
    scanned = scan(bytes(whole), SALT)
    assert [r.payload for r in scanned.found if isinstance(r, Record)] == contents[:hit] + contents[hit + 1 :]
    if hit < len(contents) - 1:
        start, end = len(segment(contents[:hit])), len(segment(contents[: hit + 1]))
        assert [d for d in scanned.found if isinstance(d, Damage)] == [Damage(start, end)]
    else:
        assert scanned.end == len(segment(contents[:hit]))


@given(st.binary(max_size=600), st.lists(st.integers(0, 600), max_size=5))
def test_any_bytes_give_an_answer(noise: bytes, marks: list[int]) -> None:
    data = bytearray(noise)
    for at in marks:
        data[at : at + 4] = MARK
    scanned = scan(bytes(data), SALT)
    assert scanned.found == ()
    assert scanned.end == 0


@given(payloads, st.binary(max_size=60), st.data())
def test_noise_between_records_hides_none_of_them(contents: list[bytes], noise: bytes, data: st.DataObject) -> None:
    before = data.draw(st.integers(0, len(contents)))
    assert read(segment(contents[:before]) + noise + segment(contents[before:])) == contents


def test_a_record_inside_of_a_payload_is_not_taken_for_one() -> None:
    forged = encode_record(b"forged", 1, salt=0)
    whole = bytearray(segment([b"a", forged, b"c"]))
    whole[HEADER_BYTES + 1] ^= 255  # the mark of the record around the forged one
    assert read(bytes(whole)) == [b"a", b"c"]


def test_reading_stops_behind_the_record_that_reaches_the_limit() -> None:
    data = segment([b"x" * 10] * 5)
    scanned = scan(data, SALT, limit=25)
    assert len(scanned.found) == 3
    assert read(data[scanned.end :]) == [b"x" * 10] * 2


def test_a_payload_beyond_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("groundswell.core.spool.MAX_PAYLOAD_BYTES", 10)
    with pytest.raises(ValueError, match="at most 10 bytes"):
        encode_record(b"x" * 11, 1, SALT)
