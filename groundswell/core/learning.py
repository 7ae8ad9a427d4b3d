"""When an hour is learnt, and as what: as it stood a quarter of an hour after its end, by the sources' own clocks.

What comes or is withdrawn later changes the counts and no habit. So what is learnt depends on what the sources said and
in which order, and neither on when it was stored nor on when it was learnt. To tell what came when, the relay commits
no batch that goes from one quarter of an hour of its source's time into the next, and each commit notes with what it
changes in older minutes the quarter that it came in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from groundswell.core.posts import MICROS_PER_MINUTE, Micros

HOUR: Final[Micros] = 60 * MICROS_PER_MINUTE
QUARTER: Final[Micros] = 15 * MICROS_PER_MINUTE
SETTLED_AFTER: Final[Micros] = QUARTER
"""An hour can be learnt when so much of what follows it has been watched."""
USED_AFTER: Final[Micros] = 2 * QUARTER
"""What was learnt of an hour is expected from here on, however early it was ready: so it does not matter when."""
WAITED_FOR: Final[Micros] = 5 * HOUR
"""A source that is further behind the others than this is not waited for."""


def quarter_of(instant: Micros) -> int:
    """The quarter of an hour that an instant is in, counted since the epoch."""
    return instant // QUARTER


def too_late_for(hour: int) -> int:
    """The first quarter of an hour, counted since the epoch, whose changes an hour is not learnt with."""
    return quarter_of((hour + 1) * HOUR + SETTLED_AFTER)


def watched_by_all(until: Mapping[str, Micros], as_of: Micros) -> Micros:
    """Up to where every source has been watched, `as_of` at the latest.

    `until`: by source, how far it is stored. One that is more than `WAITED_FOR` behind `as_of` does not count.
    """
    return min([as_of, *(at for at in until.values() if at >= as_of - WAITED_FOR)])


def settled_before(watched: Micros) -> int:
    """The hours of the epoch before this one can be learnt when all was watched up to `watched`."""
    return (watched - SETTLED_AFTER) // HOUR


def expected_from(watched: Micros) -> int:
    """The hour of the epoch up to which habits are folded that say what is expected at `watched`."""
    return (watched - USED_AFTER) // HOUR
