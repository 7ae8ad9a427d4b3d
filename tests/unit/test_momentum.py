"""Momentum as pure functions: rates, slopes, scores and stages, unmoved by what was not observed."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundswell.core.habit import Watched, fold_hour, no_habits
from groundswell.core.momentum import (
    BUCKETS,
    DAY_HOURS,
    GRID,
    HISTORY_MINUTES,
    SPARKLINE_MINUTES,
    Momentum,
    Observed,
    assess,
    theil_sen,
)
from groundswell.core.news import QUIET_MINUTES
from groundswell.core.posts import MICROS_PER_MINUTE, MICROS_PER_SECOND
from groundswell.core.stages import Now, StageState, next_stage

HOUR = 480_000
"""Hours since the epoch of what is learnt first."""
LEARNT_HOURS = 72


def observed(minutes: np.ndarray, exposure: np.ndarray, authors: float | None = None, end: int = 0) -> Observed:
    """What was seen of entities from their minutes, shape (n, HISTORY_MINUTES); everyone says a thing once."""
    rows = np.atleast_2d(minutes).astype(float)
    buckets = (rows * (exposure > 0)).reshape(len(rows), BUCKETS, GRID.minutes).sum(2)
    end = end or (HOUR + LEARNT_HOURS) * 60 + 25
    hours = (np.arange(end - HISTORY_MINUTES, end) // 60) - ((end - 1) // 60 - DAY_HOURS + 1)
    by_hour = np.zeros((len(rows), DAY_HOURS))
    np.add.at(by_hour, (slice(None), hours), rows * (exposure > 0))
    return Observed(
        end_minute=end,
        counts=rows[:, -SPARKLINE_MINUTES:],
        exposure=exposure[-SPARKLINE_MINUTES:],
        mentions=buckets,
        voices=buckets,
        bucket_exposure=exposure.reshape(BUCKETS, GRID.minutes).mean(1),
        hours=by_hour,
        hour_exposure=np.bincount(hours, exposure, DAY_HOURS) / 60,
        authors=rows[:, -15:].sum(1) if authors is None else np.full(len(rows), authors),
    )


ALL_SEEN = np.ones(HISTORY_MINUTES)


@functools.cache
def learnt(rate: float, seed: int = 1) -> tuple[np.ndarray, Watched]:
    """The habit of an entity after three days at a steady rate."""
    rng = np.random.default_rng(seed)
    buckets = rng.poisson(rate * GRID.minutes, (1, LEARNT_HOURS * GRID.hour + BUCKETS)).astype(float)
    habits, watched = no_habits(1), Watched.nothing()
    for n in range(LEARNT_HOURS):
        span = buckets[:, n * GRID.hour : n * GRID.hour + BUCKETS]
        habits, watched = fold_hour(GRID, habits, watched, span, np.ones(BUCKETS), hour=HOUR + n)
    return habits, watched


def look(
    minutes: np.ndarray, exposure: np.ndarray = ALL_SEEN, authors: float | None = None, rate: float | None = None
) -> Momentum:
    habits, watched = (no_habits(1), Watched.nothing()) if rate is None else learnt(rate)
    return assess(observed(minutes, exposure, authors), habits, watched, HOUR + LEARNT_HOURS)


def steady(rate: float, seed: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).poisson(rate, HISTORY_MINUTES).astype(float)


# ------------------------------------------------------------------ scores
@pytest.mark.parametrize("rate", [0.2, 2, 20, 200])
def test_a_steady_entity_of_any_size_does_not_surprise(rate: float) -> None:
    assert look(steady(rate), rate=rate).score[0] < 0.9


@pytest.mark.parametrize(("rate", "factor"), [(0.2, 30), (2, 6), (20, 5), (200, 5)])
def test_a_surge_scores_high_within_minutes_whatever_the_base_rate(rate: float, factor: float) -> None:
    minutes = steady(rate)
    minutes[-4:] = rate * factor
    assert look(minutes, rate=rate).score[0] > 0.9


def test_one_account_shouting_is_not_a_groundswell() -> None:
    minutes = np.zeros(HISTORY_MINUTES)
    minutes[-3:] = 30
    assert look(minutes, authors=1).surprisal[0] < 0.1 * look(minutes, authors=60).surprisal[0]


def test_nothing_observed_yet_is_no_surprise() -> None:
    seen = look(np.zeros(HISTORY_MINUTES), np.zeros(HISTORY_MINUTES))
    assert (seen.velocity[0], seen.surprise[0]) == (0, 0)
    assert seen.score[0] < 0.5


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 1000), min_size=HISTORY_MINUTES, max_size=HISTORY_MINUTES), st.integers(0, 200))
def test_any_counts_give_finite_numbers_and_a_score_between_zero_and_one(counts: list[int], authors: int) -> None:
    seen = look(np.array(counts, float), authors=authors)
    for column in (seen.velocity, seen.acceleration, seen.surprise, seen.surprisal, seen.score):
        assert np.isfinite(column).all()
    assert 0 <= seen.score[0] <= 1


# ------------------------------------------------------------------ rates and slopes
def test_velocity_divides_by_what_was_observed() -> None:
    minutes, exposure = np.full(HISTORY_MINUTES, 6.0), ALL_SEEN.copy()
    minutes[-1], exposure[-1] = 1.0, 1 / 6  # ten seconds into the minute
    seen = look(minutes, exposure, rate=6)
    assert np.isclose(seen.velocity[0], 6.0)
    assert abs(seen.acceleration[0]) < 1e-9
    for velocity, slope in seen.slopes.values():
        assert np.isclose(velocity[0], 6.0)
        assert abs(slope[0]) < 1e-9


@settings(max_examples=40, deadline=None)
@given(
    st.integers(min_value=6, max_value=HISTORY_MINUTES - 1),
    st.integers(min_value=1, max_value=8),
    st.sampled_from([0.5, 5, 50]),
)
def test_a_stretch_that_nobody_watched_is_neither_a_dip_nor_a_spike(start: int, length: int, rate: float) -> None:
    minutes, exposure = np.full(HISTORY_MINUTES, rate), ALL_SEEN.copy()
    whole = look(minutes, rate=rate)
    away = slice(max(0, HISTORY_MINUTES - start), max(0, HISTORY_MINUTES - start) + length)
    minutes[away], exposure[away] = 0.0, 0.0
    if exposure[-10:].sum() < 1:
        return
    partly = look(minutes, exposure, authors=1000, rate=rate)
    assert np.isclose(partly.velocity[0], whole.velocity[0])
    assert abs(partly.acceleration[0]) < 1e-9
    assert abs(partly.surprise[0] - whole.surprise[0]) < 0.5
    shown = np.concatenate([np.full(HISTORY_MINUTES - SPARKLINE_MINUTES, 0.0), partly.rates[0]])
    assert np.isnan(shown[max(away.start, HISTORY_MINUTES - SPARKLINE_MINUTES) : away.stop]).all()


def test_a_slope_is_not_turned_by_one_odd_point() -> None:
    at = np.arange(6.0)
    straight = 2 + 3 * at
    odd = straight.copy()
    odd[2] = 900
    assert np.allclose(theil_sen(at, np.stack([straight, odd])), [3, 3], atol=1.5)
    assert np.isnan(theil_sen(at[:2], straight[None, :2])).all()


# ------------------------------------------------------------------ stages
def follow(*looks: tuple[float, float, float, int], step_s: int = 70) -> list[str]:
    state, stages = StageState("dormant", 0), []
    for i, (surprisal, velocity, acceleration, authors) in enumerate(looks, 1):
        state = next_stage(state, Now(i * step_s * MICROS_PER_SECOND, surprisal, velocity, acceleration, authors))
        stages.append(state.stage)
    return stages


def test_a_surge_goes_through_all_its_stages() -> None:
    assert follow(
        (0.1, 1, 0, 2), (1.1, 3, 0.4, 4), (4.0, 9, 1, 12), (4.0, 10, 0, 20), (0.6, 4, -1, 20), (0.1, 1, -1, 9)
    ) == ["dormant", "emerging", "rising", "peaking", "fading", "dormant"]


def test_a_score_that_trembles_around_a_threshold_does_not_flap() -> None:
    trembling = [(1.0 + (0.1 if i % 2 else -0.1), 3.0, 0.1, 5) for i in range(1, 20)]
    assert set(follow(*trembling)) == {"emerging"}


def test_a_stage_lasts_its_minute_at_least() -> None:
    quick = [(4.0, 9.0, 1.0, 12)] * 3
    assert follow(*quick, step_s=20) == ["emerging", "emerging", "emerging"]
    later = next_stage(StageState("emerging", 0), Now(MICROS_PER_MINUTE, 4.0, 9.0, 1.0, 12))
    assert later.stage == "rising"


def test_what_was_told_is_not_told_again_within_a_day_unless_it_is_ten_times_as_rare() -> None:
    told = StageState("dormant", 0, 0.0, told_at=0)
    soon, later = 60 * MICROS_PER_MINUTE, (QUIET_MINUTES + 1) * MICROS_PER_MINUTE
    assert next_stage(told, Now(soon, 1.5, 9.0, 1.0, 12)).stage == "dormant"
    assert next_stage(told, Now(soon, 2.1, 9.0, 1.0, 12)).stage == "emerging"
    assert next_stage(told, Now(later, 1.5, 9.0, 1.0, 12)).stage == "emerging"


def test_two_people_are_no_crowd() -> None:
    assert follow((5.0, 9, 1, 2), (5.0, 9, 1, 2)) == ["dormant", "dormant"]
