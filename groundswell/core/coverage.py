"""Which stretches of a source's own time were watched, minute by minute.

Rates divide by what is counted here, so the one property that matters is *outage invariance*: a recording that is
watched with any plan of disconnects ends, after catch-up, with the coverage of an undisturbed run. It holds because
a stretch is only ever added past what is stored already, and a replay starts at or before that point.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from groundswell.core.posts import MICROS_PER_MINUTE, MICROS_PER_SECOND, Micros

LIVE_TOLERANCE_S = 5.0
"""Catch-up is over when event time comes this near to the database's time at connect."""
CAUGHT_UP_IDLE_S = 5.0
"""A replaying source that answers pings and sends nothing for this long has nothing left to re-send."""

Phase: TypeAlias = Literal["away", "waiting", "watching"]


class Stretch(msgspec.Struct, frozen=True):
    """A part of the source's own time that was watched without a break: `[covered_from, covered_until)`."""

    covered_from: Micros
    covered_until: Micros
    live: bool
    """False while catching up with what was missed."""


class Resumed(msgspec.Struct, frozen=True):
    """Watching has begun again: what the open gap is closed with."""

    at: Micros
    """The first instant seen again."""
    backfilled: bool
    """True where the source re-sends all that was missed."""
    missed_from: Micros | None = None
    """Set when the source was asked to re-send from here and started at `at` instead: a *retention* gap."""


def split_minutes(start: Micros, until: Micros) -> dict[Micros, float]:
    """Seconds of `[start, until)` in each minute it touches, keyed by the minute's first instant.

    Empty when `until <= start`. No value is 0 or above 60.
    """
    seconds: dict[Micros, float] = {}
    while start < until:
        minute = start - start % MICROS_PER_MINUTE
        end = min(until, minute + MICROS_PER_MINUTE)
        seconds[minute] = (end - start) / MICROS_PER_SECOND
        start = end
    return seconds


def advance(covered_until: Micros | None, covered_from: Micros, until: Micros) -> dict[Micros, float]:
    """What a watched stretch adds to the coverage of a source that is stored up to `covered_until`.

    Returns:
        Seconds to add per minute. Nothing before `covered_until` is counted again, so a repeated or overlapping
        stretch adds only its new part, and a stretch that starts later leaves the hole that it should.
    """
    start = covered_from if covered_until is None else max(covered_from, covered_until)
    return split_minutes(start, until)


class CoverageTracker:
    """Follows one source from session events to the stretch that the next batch covers.

    A stretch belongs to one connection. Take the batch (an empty one too) *before* calling `lost`, else the end of
    the stretch goes unrecorded for a source that cannot replay.
    """

    def __init__(
        self,
        *,
        recording: bool = False,
        live_tolerance_s: float = LIVE_TOLERANCE_S,
    ) -> None:
        """`recording`: the source is a finite tape with no present to catch up with, so it is live throughout."""
        self._recording = recording
        self._live_tolerance = int(live_tolerance_s * MICROS_PER_SECOND)
        self._phase: Phase = "away"
        self._resumed_from: Micros | None = None
        self._connected_at: Micros = 0
        self._from: Micros = 0
        self._frame_at: Micros = 0
        self._until: Micros = 0
        self._covered_until: Micros | None = None
        self._live = False

    @property
    def covered_until(self) -> Micros | None:
        """The latest instant known to be seen, over all connections: where a gap starts."""
        return self._covered_until

    @property
    def live(self) -> bool:
        return self._live

    @property
    def stretch(self) -> Stretch | None:
        """What the current connection has watched so far. None before anything is known about it."""
        return Stretch(self._from, self._until, self._live) if self._phase == "watching" else None

    def connected(self, *, now: Micros, resumed_from: Micros | None) -> None:
        """A connection stands.

        Args:
            now: the database's time.
            resumed_from: event time up to which the source is stored, when it was asked to re-send from there.
                None when it cannot replay, or when nothing is stored.
        """
        self._phase = "waiting"
        self._connected_at = now
        self._resumed_from = resumed_from
        self._live = self._recording

    def frame(self, event_time: Micros) -> Resumed | None:
        """A frame of the current connection, in order of arrival. Answers once per connection, at its first frame.

        Everything between two frames of one connection was watched, however long that was.
        """
        if self._phase == "watching":
            if event_time > self._frame_at:
                self._frame_at = event_time
                self._watched(event_time)
                self._note_live(event_time)
            return None
        assert self._phase == "waiting", "a frame came without a connection"
        return self._first_frame(event_time)

    def idle(self, seconds: float) -> Resumed | None:
        """Nothing came for `seconds` since the last frame, and the far end proved to be alive at their end."""
        resumed = None
        if self._phase == "waiting":
            if self._resumed_from is None:
                resumed = self._begin(self._connected_at, Resumed(self._connected_at, backfilled=False))
                self._live = True  # nothing was asked for but the present, and it is silent
            elif seconds >= CAUGHT_UP_IDLE_S:
                resumed = self._begin(self._resumed_from, Resumed(self._resumed_from, backfilled=True))
        if self._phase == "watching":
            if seconds >= CAUGHT_UP_IDLE_S:
                self._live = True
            if self._live and not self._recording:
                self._watched(self._frame_at + int(seconds * MICROS_PER_SECOND))
        return resumed

    def lost(self) -> Stretch | None:
        """The connection is gone. Answers its whole stretch, and forgets it. Harmless when repeated."""
        stretch = self.stretch
        self._phase = "away"
        self._live = False
        return stretch

    def _first_frame(self, event_time: Micros) -> Resumed:
        asked = self._resumed_from
        if asked is None:
            resumed = self._begin(event_time, Resumed(event_time, backfilled=False))
        elif event_time > asked:
            # A replay begins with a frame that is stored already, however quiet the source is: it is asked for from
            # the last one on, and a little before. One that begins later no longer has what was missed.
            resumed = self._begin(event_time, Resumed(event_time, backfilled=False, missed_from=asked))
        else:
            resumed = self._begin(asked, Resumed(asked, backfilled=True))
        self.frame(event_time)
        self._note_live(event_time)
        return resumed

    def _note_live(self, event_time: Micros) -> None:
        if event_time >= self._connected_at - self._live_tolerance:
            self._live = True

    def _begin(self, start: Micros, resumed: Resumed) -> Resumed:
        self._phase = "watching"
        self._from = start
        self._frame_at = start
        self._until = start
        self._watched(start)
        return resumed

    def _watched(self, until: Micros) -> None:
        self._until = max(self._until, until)
        if self._covered_until is None or until > self._covered_until:
            self._covered_until = until
