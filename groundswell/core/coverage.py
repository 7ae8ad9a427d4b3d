"""Which stretches of a source's own time were watched, minute by minute.

Rates divide by what is counted here, so the one property that matters is *outage invariance*: a recording that is
watched with any plan of disconnects ends, after catch-up, with the coverage of an undisturbed run. It holds because
a stretch is only ever added past what is stored already, and a replay starts at or before that point.

A source may also send what lies before what this connection was asked for, or began with: a host that rewinds, a
recording out of order. Such *resent* stretches are followed on their own, and the store adds what of them was not
watched before. Without them the posts of an hour would be divided by the seconds of it that had been watched the first
time.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

import msgspec

from groundswell.core.posts import MICROS_PER_MINUTE, MICROS_PER_SECOND, Micros

LIVE_TOLERANCE_S = 5.0
"""Catch-up is over when event time comes this near to the database's time at connect."""
CAUGHT_UP_IDLE_S = 5.0
"""A replaying source that answers pings and sends nothing for this long has nothing left to re-send."""

MAX_RESENT_SILENCE_S = 300.0
"""A longer silence within what is sent again was not watched: single frames came late."""
MAX_RECORDED_SILENCE_S = 3600.0
"""A longer silence within a recording is a hole in it, or a clock that was set."""
JOINED_S = 5.0
"""What is sent again reaches what the connection began with, where no more than this lies between."""

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


class MinutePart(NamedTuple):
    """A watched part of one minute, in microseconds of it."""

    minute: Micros
    """Its first instant."""
    since: int
    until: int

    @property
    def seconds(self) -> float:
        return (self.until - self.since) / MICROS_PER_SECOND


def minute_parts(start: Micros, until: Micros) -> list[MinutePart]:
    """Return the parts of `[start, until)` by the minute. Empty when `until <= start`; none is empty."""
    parts: list[MinutePart] = []
    while start < until:
        minute = start - start % MICROS_PER_MINUTE
        end = min(until, minute + MICROS_PER_MINUTE)
        parts.append(MinutePart(minute, start - minute, end - minute))
        start = end
    return parts


def advance(covered_until: Micros | None, covered_from: Micros, until: Micros) -> list[MinutePart]:
    """Return what a watched stretch adds to the coverage of a source that is stored up to `covered_until`.

    Nothing before `covered_until` is counted again, so a repeated or overlapping stretch adds only its new part, and a
    stretch that starts later leaves the hole that it should.
    """
    return minute_parts(covered_from if covered_until is None else max(covered_from, covered_until), until)


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
        self._resent: list[tuple[Micros, Micros]] = []
        self._late: tuple[Micros, Micros] | None = None
        """The resent stretch that goes on."""

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

    def take_resent(self) -> tuple[tuple[Micros, Micros], ...]:
        """Return the stretches that were watched besides, since they were taken last."""
        if self._late is not None:
            self._end_late(self._late)
            self._late = (self._late[1], self._late[1])
        resent, self._resent = self._resent, []
        return tuple(resent)

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
                if self._recording and event_time - self._frame_at > MAX_RECORDED_SILENCE_S * MICROS_PER_SECOND:
                    self._end_late((self._from, self._until))
                    self._from = event_time
                self._frame_at = event_time
                self._watched(event_time)
                self._note_live(event_time)
            elif event_time < self._from:
                self._sent_again(event_time)
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
        self._resent, self._late = [], None
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

    def _sent_again(self, event_time: Micros) -> None:
        late = self._late
        if late is not None and 0 <= event_time - late[1] <= MAX_RESENT_SILENCE_S * MICROS_PER_SECOND:
            until = event_time
        elif late is not None and late[0] <= event_time < late[1]:
            return
        else:
            if late is not None:
                self._end_late(late)
            late, until = (event_time, event_time), event_time
        if self._from - until <= JOINED_S * MICROS_PER_SECOND:
            until = self._from
        self._late = (late[0], until)

    def _end_late(self, stretch: tuple[Micros, Micros]) -> None:
        if stretch[1] > stretch[0]:
            self._resent.append(stretch)

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
