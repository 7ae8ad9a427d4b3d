"""The detector as pure functions: early on a surge, quiet without one, blind to what was not seen."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundswell.core.detector import SURGE, crowd, originality
from groundswell.core.habit import WIDTH, Grid, Watched, age, fold_hour, no_habits
from groundswell.core.news import QUIET_MINUTES, TOLD, Told, tell
from groundswell.core.posts import MICROS_PER_MINUTE
from groundswell.core.recording import Scores, score_recording
from groundswell.core.surprise import deviance_residual, gumbel_of_moments, merged, probability, surprisal

GRID = Grid()
DAY = 24 * GRID.hour
MONDAY = 4 * 24 * 60
"""Minutes since the epoch of its first Monday."""


def stream(rate: float, days: int, seed: int = 1, swing: float = 0.6) -> np.ndarray:
    """Mentions in each bucket of a day with a rhythm, `rate` a minute on average."""
    rng = np.random.default_rng(seed)
    hours = np.arange(days * DAY) / GRID.hour
    return rng.poisson(rate * GRID.minutes * (1 + swing * np.cos(2 * np.pi * (hours - 19) / 24))).astype(float)


def scored(counts: np.ndarray, exposure: np.ndarray | None = None, authors: np.ndarray | None = None) -> Scores:
    rows = np.atleast_2d(counts)
    seen = np.ones(rows.shape[1]) if exposure is None else exposure
    return score_recording(GRID, rows, seen, MONDAY, None if authors is None else np.atleast_2d(authors))


# ------------------------------------------------------------------ a count, a chance, a score
def test_a_count_that_is_as_expected_deviates_by_nothing_and_a_larger_one_by_more() -> None:
    counts = np.array([5.0, 10.0, 20.0, 40.0])
    z = deviance_residual(counts, np.array(10.0), np.array(4.0))
    assert z[1] == 0
    assert (np.diff(z) > 0).all() and z[0] < 0


def test_the_deviation_is_that_of_a_poisson_count_where_nothing_clumps() -> None:
    z = deviance_residual(np.array(130.0), np.array(100.0), np.array(1e9))
    assert np.isclose(z, 2.87, atol=0.01)  # sqrt(2 (130 log 1.3 - 30))


def test_the_surprisal_of_a_days_peak_is_the_chance_that_days_reach_it() -> None:
    location, scale = gumbel_of_moments(np.array(3.0), np.array(1.2))
    peaks = np.random.default_rng(5).gumbel(location, scale, 400_000)
    for value in (3.0, 5.0, 7.0):
        assert np.isclose(10 ** -surprisal(np.array(value), location, scale), (peaks >= value).mean(), rtol=0.1)


def test_a_scale_that_cannot_be_known_yet_has_no_say() -> None:
    assert merged(np.array(2.0), np.array(0.0), np.array(0.0)) == 2.0
    assert merged(np.array(2.0), np.array(1.0), np.array(1.0)) == 1.5


@given(st.lists(st.floats(0, 1e6), min_size=3, max_size=3), st.floats(1e-3, 1e6), st.floats(1e-3, 1e4))
def test_any_count_gives_a_finite_surprisal_and_a_score_within_bounds(
    counts: list[float], mean: float, size: float
) -> None:
    z = deviance_residual(np.array(counts), np.array(mean), np.array(size))
    seen = surprisal(z, np.array(2.5), np.array(1.2))
    assert np.isfinite(seen).all() and (seen >= 0).all()
    assert ((probability(seen) >= 0) & (probability(seen) <= 1)).all()


# ------------------------------------------------------------------ quiet without a surge
@pytest.mark.parametrize("rate", [0.01, 0.2, 2.0, 20.0, 200.0])
def test_an_entity_that_does_what_it_always_does_is_no_news_whatever_its_size(rate: float) -> None:
    counts = np.stack([stream(rate, 20, seed) for seed in range(8)])
    late = scored(counts).anomaly[:, 7 * DAY :]
    days = 8 * 13
    assert (late >= probability(np.array(SURGE))).sum() / days < 0.01
    assert (late >= probability(np.array(TOLD))).sum() / days < 0.1


def test_what_happens_every_evening_and_every_weekend_becomes_usual() -> None:
    rate = np.full(42 * DAY, 5.0)
    for day in range(42):
        rate[day * DAY + 19 * GRID.hour : day * DAY + 22 * GRID.hour] *= 4
        rate[day * DAY : (day + 1) * DAY] *= 3 if day % 7 in (5, 6) else 1
    seen = scored(np.random.default_rng(4).poisson(rate).astype(float)).anomaly[0]
    assert seen[19 * GRID.hour : 22 * GRID.hour].max() > 0.5
    assert (seen[28 * DAY :] < probability(np.array(SURGE))).all()
    assert (seen[28 * DAY :] >= probability(np.array(TOLD))).sum() <= 1


def test_a_level_that_shifts_for_good_is_told_and_becomes_usual() -> None:
    counts = np.concatenate([stream(2, 14, 1), stream(12, 28, 2)])
    seen = scored(counts).anomaly[0] >= probability(np.array(TOLD))
    assert seen[14 * DAY : 15 * DAY].any()
    assert not seen[-14 * DAY :].any()


# ------------------------------------------------------------------ early on a surge
@pytest.mark.parametrize(("rate", "factor"), [(0.2, 20), (2, 8), (20, 4), (200, 3)])
def test_a_surge_is_seen_in_its_first_buckets_whatever_the_usual_rate(rate: float, factor: float) -> None:
    counts = stream(rate, 15)
    start = 14 * DAY + 30
    counts[start:] += np.random.default_rng(9).poisson(rate * GRID.minutes * (factor - 1), len(counts) - start)
    seen = scored(counts).anomaly[0]
    assert seen[start : start + 4].max() >= probability(np.array(SURGE))
    assert seen[start - DAY : start].max() < probability(np.array(TOLD))


def test_an_entity_that_was_never_seen_is_caught_from_its_first_buckets() -> None:
    counts = np.zeros(8 * DAY)
    counts[7 * DAY : 7 * DAY + 3] = (6, 14, 25)
    assert scored(counts).anomaly[0, 7 * DAY : 7 * DAY + 3].max() >= probability(np.array(SURGE))


def test_one_mention_of_an_entity_that_appears_once_is_no_news() -> None:
    counts = np.zeros(8 * DAY)
    counts[7 * DAY] = 1
    assert scored(counts).anomaly.max() < probability(np.array(TOLD))


def test_what_was_there_when_watching_began_is_no_surge() -> None:
    seen = scored(stream(20, 1)).anomaly[0]
    assert (seen < probability(np.array(TOLD))).all()


def test_a_few_authors_who_shout_are_no_surge_where_a_crowd_of_the_same_size_is() -> None:
    counts = stream(2, 15)
    authors = counts.copy()
    burst = slice(14 * DAY + 30, 14 * DAY + 32)
    counts[burst] += 200
    shouting, crowded = authors.copy(), authors.copy()
    shouting[burst] += 4
    crowded[burst] += 190
    assert scored(counts, authors=shouting).anomaly[0, burst].max() < probability(np.array(TOLD))
    assert scored(counts, authors=crowded).anomaly[0, burst].max() >= probability(np.array(SURGE))


def test_a_crowd_is_many_people_and_copies_are_no_voices() -> None:
    assert crowd(np.array([2.0, 40.0, 1.0]), np.array([100.0, 100.0, 1.0])).tolist() == [0.05, 1.0, 1 / 3]
    assert originality(np.array([0.0, 0.5, 0.8, 1.0])).round(2).tolist() == [1.0, 1.0, 0.5, 0.0]


# ------------------------------------------------------------------ one event, one peak
def test_what_was_told_is_no_news_until_it_is_ten_times_as_rare_or_a_day_has_passed() -> None:
    told, heard = Told.nothing(1), []
    minutes = (0, 5, 10, 15, 20, 20 + QUIET_MINUTES)
    for minute, seen in zip(minutes, (1.2, 1.5, 2.1, 2.4, 3.2, 1.1), strict=True):
        news, told = tell(told, np.array([seen]), minute * MICROS_PER_MINUTE)
        heard.append(float(news[0]))
    assert heard == [1.2, 0.0, 0.0, 2.4, 0.0, 1.1]


# ------------------------------------------------------------------ what was not watched
@settings(max_examples=12, deadline=None)
@given(st.integers(2 * DAY, 6 * DAY), st.integers(1, DAY), st.floats(0.2, 60))
def test_a_stretch_that_nobody_watched_is_neither_a_dip_nor_a_spike(start: int, length: int, rate: float) -> None:
    counts, exposure = np.full(8 * DAY, rate * GRID.minutes), np.ones(8 * DAY)
    counts[start : start + length], exposure[start : start + length] = 0.0, 0.0
    assert (scored(counts, exposure).anomaly < probability(np.array(TOLD))).all()


def test_a_source_that_was_off_for_a_week_comes_back_without_a_surge_and_can_surge_at_once() -> None:
    counts, exposure = stream(5, 29), np.ones(29 * DAY)
    off = slice(14 * DAY, 21 * DAY)
    counts[off], exposure[off] = 0.0, 0.0
    quiet = scored(counts, exposure).anomaly[0]
    assert (quiet[14 * DAY :] < probability(np.array(TOLD))).all()
    counts[21 * DAY + 24 : 21 * DAY + 30] += 400
    assert scored(counts, exposure).anomaly[0, 21 * DAY + 24 : 21 * DAY + 27].max() >= probability(np.array(SURGE))


@settings(max_examples=20, deadline=None)
@given(st.floats(0.1, 1.0))
def test_a_bucket_that_was_watched_in_part_counts_in_part(part: float) -> None:
    counts, exposure = np.full(3 * DAY, 40.0), np.ones(3 * DAY)
    counts[-1], exposure[-1] = 40.0 * part, part
    assert scored(counts, exposure).surprisal[0, -1] < 0.5


def test_counts_that_are_found_where_nothing_was_watched_say_nothing() -> None:
    counts, exposure = stream(2, 8), np.ones(8 * DAY)
    exposure[6 * DAY : 6 * DAY + 12] = 0.0
    hidden = counts.copy()
    hidden[6 * DAY : 6 * DAY + 12] = 1e6
    assert np.array_equal(scored(counts, exposure).surprisal, scored(hidden, exposure).surprisal)


# ------------------------------------------------------------------ online
@settings(max_examples=8, deadline=None)
@given(st.integers(1, 4 * DAY - 1), st.integers(0, 2**32 - 1))
def test_a_score_uses_nothing_later_than_its_bucket(cut: int, seed: int) -> None:
    counts = stream(3, 4, 3)
    other = counts.copy()
    other[cut:] = np.random.default_rng(seed).poisson(500, len(counts) - cut)
    assert np.allclose(scored(counts).anomaly[:, :cut], scored(other).anomaly[:, :cut])


def test_entities_do_not_know_of_one_another() -> None:
    alone = scored(stream(2, 5)).anomaly[0]
    beside_a_giant = scored(np.stack([stream(2, 5), stream(900, 5, 2)])).anomaly[0]
    assert np.allclose(alone, beside_a_giant)


def test_silence_needs_no_work() -> None:
    counts, exposure = np.zeros((1, 7 * GRID.hour)), np.ones(7 * GRID.hour)
    busy = np.random.default_rng(2).poisson(8, counts.shape).astype(float)
    hour = MONDAY // 60
    habits, watched = fold_hour(GRID, no_habits(1), Watched.nothing(), busy, exposure, hour=hour)
    stepped = habits
    for step in range(1, 61):
        stepped, watched = fold_hour(GRID, stepped, watched, counts, exposure, hour=hour + step)
    aged = age(habits, watched, np.array([hour + 1]), hour + 61)
    assert np.allclose(aged[:, :32], stepped[:, :32], rtol=1e-4)


def test_what_is_kept_of_an_entity_is_small() -> None:
    assert no_habits(10).nbytes == 10 * WIDTH * 4 < 10 * 200


@pytest.mark.parametrize("minutes", [1, 5, 15, 60])
def test_buckets_of_any_divisor_of_an_hour_do(minutes: int) -> None:
    grid = Grid(minutes)
    counts = np.random.default_rng(1).poisson(2.0 * minutes, (1, 6 * 24 * grid.hour)).astype(float)
    counts[0, -2:] *= 25
    seen = score_recording(grid, counts, np.ones(counts.shape[1]), MONDAY).anomaly[0]
    assert seen[-2:].max() > probability(np.array(SURGE)) > seen[-24 * grid.hour : -2].max()


@pytest.mark.parametrize(
    ("counts", "exposure", "first", "says"),
    [
        (np.full((1, 12), -1.0), np.ones(12), 0, "not negative"),
        (np.full((1, 12), np.nan), np.ones(12), 0, "finite"),
        (np.ones((1, 12)), np.full(12, 1.5), 0, "within 0 to 1"),
        (np.ones((1, 12)), np.ones(11), 0, "exposure is"),
        (np.ones((1, 12)), np.ones(12), 3, "multiple of 5"),
    ],
)
def test_what_no_recording_can_hold_is_refused(counts: np.ndarray, exposure: np.ndarray, first: int, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        score_recording(GRID, counts, exposure, first)


def test_a_grid_that_does_not_fill_an_hour_is_refused() -> None:
    with pytest.raises(ValueError, match="do not fill an hour"):
        Grid(7)
