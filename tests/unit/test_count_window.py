"""The window of counts: however reading is cut by outages, whatever comes late or goes, it holds what is stored."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundswell.core.count_window import (
    ACTIVE_MENTIONS,
    COLUMNS,
    CountWindow,
    StoredCounts,
    StoredHours,
    exposures_by_bucket,
    greatest,
    summed,
)
from groundswell.core.habit import Watched, fold_hour, no_habits
from groundswell.core.momentum import (
    BUCKETS,
    DAY_HOURS,
    GRID,
    HISTORY_MINUTES,
    SPARKLINE_MINUTES,
    WINDOW_MINUTES,
    Momentum,
    Observed,
    assess,
)

START = 29_720_160
"""A minute of the epoch that begins an hour."""
ENTITIES = ("hashtag:a", "ticker:B", "name:c")
SOURCES = ("jetstream", "sealed")

Key = tuple[str, str, int]
Truth = dict[Key, tuple[int, int]]


def stored(truth: Truth, keys: Sequence[Key]) -> StoredCounts:
    found = [(*key, *truth.get(key, (0, 0))) for key in keys]
    entities, sources, minutes, mentions, voices = zip(*found, strict=True) if found else ((), (), (), (), ())
    return StoredCounts(
        entities, sources, np.array(minutes, np.int64), np.array(mentions, np.int64), np.array(voices, np.int64)
    )


def hours_of(truth: Truth, entities: Sequence[str], until: int) -> StoredHours:
    sums: defaultdict[Key, int] = defaultdict(int)
    for (entity, source, minute), (mentions, _) in truth.items():
        if entity in entities and minute < until:
            sums[entity, source, minute // 60] += mentions
    keys = list(sums)
    return StoredHours(
        [key[0] for key in keys],
        [key[1] for key in keys],
        np.array([key[2] for key in keys], np.int64),
        np.array([sums[key] for key in keys], np.int64),
    )


class Reader:
    """Tells a window what has changed since it was told last, as the service does from the store."""

    def __init__(self) -> None:
        self.window: CountWindow | None = None
        self.changed: set[Key] = set()

    def read(self, truth: Truth, last: int) -> CountWindow:
        window = self.window
        if window is None or last > window.last + 60:
            self.window = window = CountWindow(last)
            self._begin(window, truth)
        else:
            over = window.last
            window.move(last)
            window.forget_from(dict.fromkeys(SOURCES, over))
            window.tell(stored(truth, [key for key in truth if over <= key[2] <= last]))
            late = [key for key in self.changed if key[2] < over]
            window.tell(stored(truth, late))
            whose = {entity for entity, _, minute in late if minute < window.first}
            window.forget_hours(whose)
            window.tell_hours(hours_of(truth, sorted(whose), window.first))
        self.changed.clear()
        return window

    def _begin(self, window: CountWindow, truth: Truth) -> None:
        window.hold(ENTITIES)
        window.tell(stored(truth, [key for key in truth if window.first <= key[2] <= window.last]))
        window.tell_hours(hours_of(truth, ENTITIES, window.first))


def coverage_of(last: int, watched: Mapping[str, set[int]]) -> dict[str, np.ndarray]:
    first = (last // 60 - DAY_HOURS + 1) * 60
    return {
        source: np.array([float(first + n in minutes) for n in range(DAY_HOURS * 60)])
        for source, minutes in watched.items()
    }


def seen(window: CountWindow, coverage: Mapping[str, np.ndarray]) -> Momentum:
    """Every number there is, from a window and what was watched."""
    rows, n = window.positions(ENTITIES), len(ENTITIES)
    until = (DAY_HOURS - 1) * 60 + window.last % 60 + 1
    by_minute = {name: minutes[until - SPARKLINE_MINUTES : until] for name, minutes in coverage.items()}
    by_bucket = exposures_by_bucket({name: minutes[:until] for name, minutes in coverage.items()})
    by_hour = {name: minutes.reshape(DAY_HOURS, 60).mean(1) for name, minutes in coverage.items()}
    counts = summed(window.minutes(rows), by_minute, (n, SPARKLINE_MINUTES))
    voices = summed(window.buckets(rows, voices=True), by_bucket, (n, BUCKETS))
    exposure = greatest(by_bucket, BUCKETS)
    observed = Observed(
        end_minute=window.last + 1,
        counts=counts,
        exposure=greatest(by_minute, SPARKLINE_MINUTES),
        mentions=summed(window.buckets(rows, voices=False), by_bucket, (n, BUCKETS)),
        voices=voices,
        bucket_exposure=exposure,
        hours=summed(window.hours(rows), by_hour, (n, DAY_HOURS)),
        hour_exposure=greatest(by_hour, DAY_HOURS),
        authors=counts[:, -WINDOW_MINUTES:].sum(1),
    )
    hour = window.last // 60
    habits, watched = fold_hour(GRID, no_habits(n), Watched.nothing(), voices, exposure, hour=hour - 1)
    return assess(observed, habits, watched, hour)


def alike(one: Momentum, other: Momentum) -> None:
    for name in ("mentions", "velocity", "acceleration", "surprise", "surprisal", "score", "crowd", "rates"):
        assert np.array_equal(getattr(one, name), getattr(other, name), equal_nan=True), name
    for name, (velocity, slope) in one.slopes.items():
        assert np.array_equal(velocity, other.slopes[name][0], equal_nan=True), name
        assert np.array_equal(slope, other.slopes[name][1], equal_nan=True), name
    for name in type(one.seen).__struct_fields__:
        assert np.array_equal(getattr(one.seen, name), getattr(other.seen, name)), name


changes = st.tuples(
    st.sampled_from(ENTITIES), st.sampled_from(SOURCES), st.integers(0, 1500), st.integers(-4, 9), st.integers(1, 40)
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(changes, min_size=1, max_size=60),
    st.lists(st.integers(0, 200), max_size=12),
    st.sets(st.integers(0, 1500), max_size=60),
)
def test_however_outages_cut_the_reading_every_number_is_that_of_one_reading(
    said: list[tuple[str, str, int, int, int]], looks: list[int], unwatched: set[int]
) -> None:
    """Each change is of a minute so many minutes before the reading it comes by: late ones, and deletes below zero."""
    truth: Truth = {}
    cut, last = Reader(), START
    todo = list(said)
    for step in looks:
        last += step
        for entity, source, ago, mentions, _ in (todo.pop() for _ in range(min(5, len(todo)))):
            key = entity, source, last - ago
            before = truth.get(key, (0, 0))
            truth[key] = max(before[0] + mentions, 0), max(before[1] + min(mentions, 2), 0)
            cut.changed.add(key)
        cut.read(truth, last)
    for entity, source, ago, mentions, _ in todo:
        truth[entity, source, last - ago] = max(mentions, 0), min(max(mentions, 0), 2)
        cut.changed.add((entity, source, last - ago))
    once = Reader().read(truth, last)
    watched = {source: {m for m in range(last - 1600, last + 1) if last - m not in unwatched} for source in SOURCES}
    alike(seen(cut.read(truth, last), coverage_of(last, watched)), seen(once, coverage_of(last, watched)))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(changes, st.booleans()), max_size=40))
def test_who_is_active_is_told_by_the_last_quarter_of_an_hour(
    said: list[tuple[tuple[str, str, int, int, int], bool]],
) -> None:
    truth: Truth = {}
    reader = Reader()
    window = reader.read(truth, START)
    for (entity, source, ago, mentions, _), moves in said:
        key = entity, source, window.last - ago % 20
        truth[key] = max(mentions, 0), 1
        reader.changed.add(key)
        window = reader.read(truth, window.last + moves)
        sums: defaultdict[str, int] = defaultdict(int)
        for (name, _, minute), (count, _) in truth.items():
            sums[name] += count if window.last - WINDOW_MINUTES < minute <= window.last else 0
        active = sorted(name for name, count in sums.items() if count >= ACTIVE_MENTIONS)
        assert sorted(window.active(50)) == active
        most = sorted(active, key=lambda name: (-sums[name], name))[:1]
        assert window.active(1) == most


def test_rows_go_with_their_entities_and_come_back_empty() -> None:
    window = CountWindow(START)
    names = [f"hashtag:{n}" for n in range(1000)]
    window.hold(names)
    window.tell(stored({(name, "s", START): (2, 1) for name in names}, [(name, "s", START) for name in names]))
    window.move(START + WINDOW_MINUTES)
    window.keep(names[:10])
    assert set(window.entities) == set(names[:10])
    window.hold(names[500:])
    assert window.buckets(window.positions(names[500:]), voices=False)["s"].sum() == 0
    assert window.buckets(window.positions(names[:10]), voices=False)["s"].sum() == 20


def test_ever_new_names_take_no_more_than_those_of_a_quarter_of_an_hour() -> None:
    window = CountWindow(START)
    for minute in range(5 * WINDOW_MINUTES):
        window.move(START + minute)
        keys = [(f"hashtag:{minute}.{n}", "s", START + minute) for n in range(50)]
        window.tell(stored(dict.fromkeys(keys, (ACTIVE_MENTIONS, 1)), keys))
        assert len(window.active(10**6)) == 50 * min(minute + 1, WINDOW_MINUTES)
    assert window.names_held <= 50 * (WINDOW_MINUTES + 1)


def test_of_more_names_than_are_held_those_said_least_and_longest_ago_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("groundswell.core.count_window.MAX_NAMES", 200)
    window = CountWindow(START)
    for minute in range(2 * WINDOW_MINUTES):
        window.move(START + minute)
        once = [(f"hashtag:{minute}.{n}", "s", START + minute) for n in range(100)]
        again = [("hashtag:again", source, START + minute) for source in ("s", "t")]
        window.tell(stored({**dict.fromkeys(once, (1, 1)), **dict.fromkeys(again, (1, 1))}, [*once, *again]))
        assert window.active(10) == (["hashtag:again"] if minute else [])
        assert window.names_held <= 200 + 101


def test_a_window_does_not_move_back() -> None:
    with pytest.raises(ValueError, match="moves forward"):
        CountWindow(START).move(START - 1)
    assert COLUMNS >= HISTORY_MINUTES + 59
