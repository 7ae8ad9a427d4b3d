"""Cursors lead back to where they were made, and no made-up cursor leads astray."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundswell.core import paging

INSTANTS = st.integers(paging.EARLIEST, paging.LATEST)
NUMBERS = st.integers(-(2**63), 2**63 - 1)


@given(INSTANTS, NUMBERS)
def test_a_time_cursor_names_the_place_it_was_made_for(time: int, number: int) -> None:
    cursor = paging.encode_time_cursor(time, number)
    assert re.fullmatch(paging.TIME_CURSOR, cursor)
    assert paging.decode_time_cursor(cursor) == (time, number)


@given(
    st.floats(allow_nan=False), st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1)
)
def test_a_score_cursor_names_the_place_it_was_made_for(score: float, name: str) -> None:
    assert paging.decode_score_cursor(paging.encode_score_cursor(score, name)) == (score, name)


@given(NUMBERS, INSTANTS, st.integers(0, 0xFFFF))
def test_a_search_cursor_names_the_place_it_was_made_for(up_to: int, as_of: int, position: int) -> None:
    cursor = paging.encode_search_cursor(up_to, as_of, position)
    assert re.fullmatch(paging.SEARCH_CURSOR, cursor)
    assert paging.decode_search_cursor(cursor) == (up_to, as_of, position)


@given(st.from_regex(paging.TIME_CURSOR, fullmatch=True))
def test_whatever_looks_like_a_time_cursor_is_within_the_calendar(cursor: str) -> None:
    time, number = paging.decode_time_cursor(cursor.strip())
    assert paging.EARLIEST <= time <= paging.LATEST
    assert abs(number) <= 2**63


@given(st.from_regex(paging.SCORE_CURSOR, fullmatch=True))
def test_whatever_looks_like_a_score_cursor_can_be_asked_of_a_database(cursor: str) -> None:
    score, name = paging.decode_score_cursor(cursor.strip())
    assert score == score
    assert "\x00" not in name
    name.encode()


@given(st.text(max_size=40))
def test_what_is_no_cursor_is_said_to_be_none(text: str) -> None:
    for pattern, decode in (
        (paging.TIME_CURSOR, paging.decode_time_cursor),
        (paging.SCORE_CURSOR, paging.decode_score_cursor),
        (paging.SEARCH_CURSOR, paging.decode_search_cursor),
    ):
        if not re.fullmatch(pattern, text.lower()):
            with pytest.raises(paging.BadCursor):
                decode(text)
