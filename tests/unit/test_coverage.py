"""Coverage counts every watched second once, whatever happens to the connection."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundswell.core import coverage
from groundswell.core.coverage import CoverageTracker, Resumed, minute_parts
from groundswell.core.cursor import resume_cursor
from groundswell.core.posts import MICROS_PER_MINUTE, MICROS_PER_SECOND

S = MICROS_PER_SECOND
T0 = 1_783_175_880_000_000 // MICROS_PER_MINUTE * MICROS_PER_MINUTE
"""The start of a minute."""


def split_minutes(start: int, until: int) -> dict[int, float]:
    return {part.minute: part.seconds for part in minute_parts(start, until)}


def advance(covered_until: int | None, start: int, until: int) -> dict[int, float]:
    return {part.minute: part.seconds for part in coverage.advance(covered_until, start, until)}


instants = st.integers(T0, T0 + 20 * MICROS_PER_MINUTE)


def test_an_interval_is_split_at_the_minutes() -> None:
    assert split_minutes(T0 + 30 * S, T0 + 125 * S) == {
        T0: 30.0,
        T0 + MICROS_PER_MINUTE: 60.0,
        T0 + 2 * MICROS_PER_MINUTE: 5.0,
    }


def test_an_interval_that_ends_before_it_begins_is_empty() -> None:
    assert split_minutes(T0 + 5, T0) == {}
    assert split_minutes(T0, T0) == {}


@given(instants, instants)
def test_splitting_loses_no_second_and_overfills_no_minute(start: int, until: int) -> None:
    parts = split_minutes(start, until)
    assert sum(parts.values()) == pytest.approx(max(0, until - start) / S)
    assert all(0 < seconds <= 60 and minute % MICROS_PER_MINUTE == 0 for minute, seconds in parts.items())


@given(st.lists(st.tuples(instants, instants), max_size=12))
def test_overlapping_and_repeated_stretches_never_fill_a_minute_beyond_sixty_seconds(
    stretches: list[tuple[int, int]],
) -> None:
    covered_until: int | None = None
    total: dict[int, float] = {}
    for start, until in stretches:
        for minute, seconds in advance(covered_until, start, until).items():
            total[minute] = total.get(minute, 0.0) + seconds
        covered_until = until if covered_until is None else max(covered_until, until)
    assert all(seconds <= 60 + 1e-6 for seconds in total.values())


@given(instants, instants, instants)
def test_the_same_stretch_twice_adds_nothing_the_second_time(covered_until: int, start: int, until: int) -> None:
    advance(covered_until, start, until)
    assert advance(max(covered_until, until), start, until) == {}


def live_tracker(first: int = T0) -> CoverageTracker:
    tracker = CoverageTracker()
    tracker.connected(now=first, resumed_from=None)
    tracker.frame(first)
    return tracker


def test_nothing_is_covered_before_the_first_sign_of_life() -> None:
    tracker = CoverageTracker()
    assert tracker.stretch is None
    tracker.connected(now=T0, resumed_from=None)
    assert tracker.stretch is None
    assert tracker.covered_until is None


def test_a_source_without_a_past_is_covered_from_its_first_frame_and_live_at_once() -> None:
    tracker = CoverageTracker()
    tracker.connected(now=T0, resumed_from=None)
    assert tracker.frame(T0 + S) == Resumed(T0 + S, backfilled=False)
    assert tracker.frame(T0 + 9 * S) is None
    stretch = tracker.stretch
    assert stretch is not None
    assert (stretch.covered_from, stretch.covered_until, stretch.live) == (T0 + S, T0 + 9 * S, True)


def test_a_silent_live_connection_is_covered_while_pings_are_answered() -> None:
    tracker = live_tracker()
    tracker.idle(3.0)
    tracker.idle(4.0)
    assert tracker.covered_until == T0 + 4 * S


def test_a_connection_that_is_silent_from_the_start_is_covered_from_the_databases_time() -> None:
    tracker = CoverageTracker()
    tracker.connected(now=T0, resumed_from=None)
    assert tracker.idle(2.0) == Resumed(T0, backfilled=False)
    stretch = tracker.stretch
    assert stretch is not None
    assert (stretch.covered_from, stretch.covered_until) == (T0, T0 + 2 * S)


def test_frames_out_of_order_do_not_take_coverage_back() -> None:
    tracker = live_tracker()
    tracker.frame(T0 + 10 * S)
    tracker.frame(T0 + 4 * S)
    assert tracker.covered_until == T0 + 10 * S


def test_a_replay_is_covered_from_where_it_was_asked_to_begin() -> None:
    tracker = CoverageTracker()
    tracker.connected(now=T0 + 600 * S, resumed_from=T0)
    assert tracker.frame(T0 - 5 * S) == Resumed(T0, backfilled=True)
    tracker.frame(T0 + 30 * S)
    stretch = tracker.stretch
    assert stretch is not None
    assert (stretch.covered_from, stretch.covered_until, stretch.live) == (T0, T0 + 30 * S, False)


def test_catch_up_ends_near_the_databases_time_at_connect() -> None:
    tracker = CoverageTracker()
    tracker.connected(now=T0 + 600 * S, resumed_from=T0)
    tracker.frame(T0)
    tracker.frame(T0 + 590 * S)
    assert not tracker.live
    tracker.frame(T0 + 595 * S)
    assert tracker.live


def test_catch_up_ends_when_the_source_has_nothing_more_to_send() -> None:
    tracker = CoverageTracker()
    tracker.connected(now=T0 + 600 * S, resumed_from=T0)
    tracker.frame(T0)
    tracker.idle(2.0)
    assert not tracker.live
    assert tracker.covered_until == T0
    tracker.idle(6.0)
    assert tracker.live


def test_a_replay_with_nothing_in_it_counts_as_backfilled_after_a_while() -> None:
    tracker = CoverageTracker()
    tracker.connected(now=T0 + 60 * S, resumed_from=T0)
    assert tracker.idle(1.0) is None
    assert tracker.stretch is None
    assert tracker.idle(6.0) == Resumed(T0, backfilled=True)


def test_a_replay_that_starts_too_late_is_a_retention_gap() -> None:
    tracker = CoverageTracker()
    tracker.connected(now=T0 + 9000 * S, resumed_from=T0)
    late = T0 + 3600 * S
    assert tracker.frame(late) == Resumed(late, backfilled=False, missed_from=T0)
    stretch = tracker.stretch
    assert stretch is not None
    assert stretch.covered_from == late


def test_a_replay_that_lost_a_few_seconds_is_a_retention_gap_too() -> None:
    tracker = CoverageTracker()
    tracker.connected(now=T0 + 9000 * S, resumed_from=T0)
    assert tracker.frame(T0 + 6 * S) == Resumed(T0 + 6 * S, backfilled=False, missed_from=T0)


def test_a_replay_of_a_quiet_source_begins_with_what_is_stored_and_is_no_gap() -> None:
    tracker = CoverageTracker()
    tracker.connected(now=T0 + 9000 * S, resumed_from=T0)
    assert tracker.frame(T0 - 300 * S) == Resumed(T0, backfilled=True)
    tracker.frame(T0 + 600 * S)
    stretch = tracker.stretch
    assert stretch is not None
    assert (stretch.covered_from, stretch.covered_until) == (T0, T0 + 600 * S)


def test_a_recording_is_live_from_beginning_to_end() -> None:
    tracker = CoverageTracker(recording=True)
    tracker.connected(now=T0 + 10**9 * S, resumed_from=T0)
    tracker.frame(T0)
    assert tracker.live


def test_losing_a_connection_answers_its_stretch_once() -> None:
    tracker = live_tracker()
    tracker.frame(T0 + 10 * S)
    stretch = tracker.lost()
    assert stretch is not None
    assert stretch.covered_until == T0 + 10 * S
    assert tracker.lost() is None
    assert tracker.stretch is None
    assert tracker.covered_until == T0 + 10 * S


def seconds_of(stretches: Sequence[tuple[int, int]]) -> set[int]:
    """The whole seconds after T0 that stretches reach into."""
    return {n for since, until in stretches for n in range((since - T0) // S, -(-(until - T0) // S))}


def test_a_host_that_rewinds_is_covered_from_where_it_began_again() -> None:
    tracker = CoverageTracker()
    tracker.connected(now=T0 + 1800 * S, resumed_from=T0 + 1800 * S)
    for n in range(1900):
        tracker.frame(T0 + n * S)
    stretch = tracker.stretch
    assert stretch is not None
    assert (stretch.covered_from, stretch.covered_until) == (T0 + 1800 * S, T0 + 1899 * S)
    assert tracker.take_resent() == ((T0, T0 + 1800 * S),)
    assert tracker.take_resent() == ()


def test_what_is_sent_again_is_taken_in_parts_that_join() -> None:
    tracker = live_tracker(T0 + 100 * S)
    taken: list[tuple[int, int]] = []
    for n in range(0, 101, 4):
        tracker.frame(T0 + n * S)
        taken += tracker.take_resent()
    assert taken == [*((T0 + n * S, T0 + (n + 4) * S) for n in range(0, 92, 4)), (T0 + 92 * S, T0 + 100 * S)]


def test_single_late_frames_cover_nothing_and_a_lagging_stream_beside_the_first_is_covered() -> None:
    tracker = live_tracker(T0 + 9000 * S)
    for n in range(5):
        tracker.frame(T0 + 1000 * n * S)
        tracker.frame(T0 + (9001 + n) * S)
    assert tracker.take_resent() == ()
    for n in range(10):
        tracker.frame(T0 + (7000 + n) * S)
        tracker.frame(T0 + (9010 + n) * S)
    assert tracker.take_resent() == ((T0 + 7000 * S, T0 + 7009 * S),)


def test_a_recording_out_of_order_is_covered_and_its_holes_are_not() -> None:
    tracker = CoverageTracker(recording=True)
    tracker.connected(now=T0, resumed_from=None)
    day = 86_400
    for start in (day, 2 * day, 0):
        for n in range(60):
            tracker.frame(T0 + (start + n) * S)
    stretch = tracker.stretch
    assert stretch is not None
    resent = sorted(tracker.take_resent())
    assert (stretch.covered_from, stretch.covered_until) == (T0 + 2 * day * S, T0 + (2 * day + 59) * S)
    assert resent == [(T0, T0 + 59 * S), (T0 + day * S, T0 + (day + 59) * S)]


@given(
    st.integers(0, 1000),
    st.lists(st.tuples(st.integers(0, 1200), st.integers(1, 300)), max_size=6),
    st.sets(st.integers(0, 2000), max_size=8),
)
def test_rates_over_watched_seconds_never_exceed_what_was_there(
    began: int, runs: list[tuple[int, int]], flushes: set[int]
) -> None:
    """A host with a post a second that jumps back and on again as it likes, flushed anywhere.

    No second that was sent is missing from the coverage, but for the last of each run.
    """
    tracker, covered, sent, frames = live_tracker(T0 + began * S), set[int](), {began}, 0
    ends = set[int]()
    for start, length in [*runs, (began, 50)]:
        for n in range(start, start + length):
            tracker.frame(T0 + n * S)
            sent.add(n)
            frames += 1
            if frames in flushes:
                covered |= seconds_of(tracker.take_resent())
        ends.add(start + length - 1)
    stretch = tracker.stretch
    assert stretch is not None
    covered |= seconds_of(tracker.take_resent()) | seconds_of([(stretch.covered_from, stretch.covered_until)])
    assert sent - covered - ends <= {max(sent)}


class Stored:
    """What a store knows of one source."""

    def __init__(self) -> None:
        self.cursor: int | None = None
        self.covered_until: int | None = None
        self.seconds: dict[int, float] = {}

    def commit(self, tracker: CoverageTracker, cursor: int | None) -> None:
        stretch = tracker.stretch
        if stretch is None:
            return
        for minute, seconds in advance(self.covered_until, stretch.covered_from, stretch.covered_until).items():
            self.seconds[minute] = self.seconds.get(minute, 0.0) + seconds
        self.covered_until = max(self.covered_until or 0, stretch.covered_until)
        if cursor is not None:
            self.cursor = max(self.cursor or 0, cursor)


def watch(tape: list[int], breaks: list[int], commits: set[int], *, crash: bool) -> dict[int, float]:
    """Watch a tape of event times, losing the connection after so many frames each time.

    With `crash` all that is not committed is forgotten, as by a killed process.
    """
    stored, tracker = Stored(), CoverageTracker()
    for lost_after in [*breaks, len(tape) + 1]:
        tracker = CoverageTracker() if crash else tracker
        tracker.connected(now=tape[-1] + 3600 * S, resumed_from=stored.covered_until)
        early = resume_cursor(stored.cursor)
        seen = None
        for n, at in enumerate(t for t in tape if early is None or t >= early):
            if n >= lost_after:
                break
            tracker.frame(at)
            seen = max(seen or 0, at)
            if n in commits:
                stored.commit(tracker, seen)
        else:
            stored.commit(tracker, seen)
        if not crash:
            stored.commit(tracker, seen)
        tracker.lost()
    return stored.seconds


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.integers(0, 300 * S), min_size=1, max_size=40),
    st.lists(st.integers(0, 40), max_size=5),
    st.sets(st.integers(0, 40), max_size=10),
    st.booleans(),
)
def test_any_plan_of_outages_leaves_the_coverage_of_an_undisturbed_run(
    steps: list[int], breaks: list[int], commits: set[int], crash: bool
) -> None:
    tape, at = [], T0
    for step in steps:
        at += step
        tape.append(at)
    undisturbed = watch(tape, [], set(), crash=False)
    assert watch(tape, breaks, commits, crash=crash) == pytest.approx(undisturbed)
