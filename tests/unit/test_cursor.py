"""Cursors move forward, resume early, and are believed only where a clock could have said them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from groundswell.core.cursor import EARLIEST, advance_cursor, is_plausible, resume_cursor
from groundswell.core.posts import MICROS_PER_SECOND

NOW = 1_783_175_880_000_000
cursors = st.none() | st.integers(0, 2 * NOW)


def test_a_source_is_resumed_five_seconds_early() -> None:
    assert resume_cursor(NOW) == NOW - 5 * MICROS_PER_SECOND


def test_without_a_stored_cursor_a_source_starts_live() -> None:
    assert resume_cursor(None) is None


def test_resuming_early_never_asks_for_a_negative_cursor() -> None:
    assert resume_cursor(3) == 0


@given(st.lists(cursors, max_size=20))
def test_a_stored_cursor_never_moves_backwards(seen: list[int | None]) -> None:
    stored: int | None = None
    for cursor in seen:
        before, stored = stored, advance_cursor(stored, cursor)
        assert before is None or (stored is not None and stored >= before)
    assert stored == max((cursor for cursor in seen if cursor is not None), default=None)


def test_a_time_beyond_five_minutes_ahead_is_not_believed() -> None:
    assert is_plausible(NOW + 300 * MICROS_PER_SECOND, NOW)
    assert not is_plausible(NOW + 301 * MICROS_PER_SECOND, NOW)
    assert not is_plausible(EARLIEST - 1, NOW)
    assert is_plausible(NOW * 2)
