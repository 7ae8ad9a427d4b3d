"""Where a source is resumed: the rules for cursors that are instants (`time_us`)."""

from __future__ import annotations

from groundswell.core.posts import MICROS_PER_SECOND, Micros

RESUME_OVERLAP_S = 5.0
"""Hosts stamp the same event a little differently and frames arrive slightly out of order."""
FUTURE_TOLERANCE_S = 300.0
"""Clocks differ by minutes at most: an instant beyond is a corrupt frame, not a fast clock."""
EARLIEST: Micros = 1_262_304_000 * MICROS_PER_SECOND
"""2010-01-01: no live stream has frames from before."""
LATEST: Micros = 4_102_444_800 * MICROS_PER_SECOND
"""2100-01-01: what a cursor may be before anybody has looked at a clock."""


def resume_cursor(stored: int | None, overlap_s: float = RESUME_OVERLAP_S) -> int | None:
    """The cursor to ask a host for: a few seconds early. What is seen twice is stored once."""
    if stored is None:
        return None
    return max(0, stored - int(overlap_s * MICROS_PER_SECOND))


def advance_cursor(stored: int | None, seen: int | None) -> int | None:
    """The cursor to store: never further back than the one stored already, so a host's rewind is harmless."""
    if stored is None or seen is None:
        return seen if stored is None else stored
    return max(stored, seen)


def is_plausible(instant: Micros, now: Micros | None = None) -> bool:
    """Whether a source's clock can have said this: 2010 to five minutes from `now` (to 2100 where it is unknown)."""
    latest = LATEST if now is None else now + int(FUTURE_TOLERANCE_S * MICROS_PER_SECOND)
    return EARLIEST <= instant <= latest
