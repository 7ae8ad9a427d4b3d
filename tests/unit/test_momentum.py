"""Momentum as pure functions: early on a surge, quiet without one, and unmoved by what was not observed."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from groundswell.core.momentum import HISTORY_MINUTES, Momentum, StageState, assess, next_stage
from groundswell.core.posts import MICROS_PER_MINUTE, MICROS_PER_SECOND

ALL_SEEN = np.ones(HISTORY_MINUTES)


def steady(rate: float, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).poisson(rate, HISTORY_MINUTES).astype(float)


def look(series: np.ndarray, exposure: np.ndarray = ALL_SEEN, authors: float | None = None) -> Momentum:
    distinct = series[-15:].sum() if authors is None else authors
    return assess(series[None, :], exposure, np.array([float(distinct)]))


def test_a_steady_entity_of_any_size_does_not_surprise() -> None:
    for rate in (0.2, 2, 20, 200):
        scores = [look(steady(rate, seed)).score[0] for seed in range(40)]
        assert np.mean(scores) < 0.25, rate
        assert np.quantile(scores, 0.9) < 0.75, rate


def test_a_surge_scores_high_within_minutes_whatever_the_base_rate() -> None:
    for rate, factor in ((0.2, 12), (2, 6), (20, 4), (200, 3)):
        series = steady(rate)
        series[-3:] *= 0
        series[-3:] += rate * factor
        assert look(series).score[0] > 0.6, (rate, factor)


def test_an_entity_without_history_is_caught_from_its_first_minutes() -> None:
    series = np.zeros(HISTORY_MINUTES)
    series[-2:] = (4, 8)
    assert look(series).score[0] > 0.6


def test_one_account_shouting_is_not_a_groundswell() -> None:
    series = np.zeros(HISTORY_MINUTES)
    series[-3:] = 30
    assert look(series, authors=1).score[0] < 0.1
    assert look(series, authors=60).score[0] > 0.9


def test_velocity_divides_by_what_was_observed() -> None:
    series = np.full(HISTORY_MINUTES, 6.0)
    exposure = ALL_SEEN.copy()
    series[-1], exposure[-1] = 1.0, 1 / 6  # ten seconds into the minute
    seen = look(series, exposure)
    assert np.isclose(seen.velocity[0], 6.0)
    assert abs(seen.acceleration[0]) < 1e-9
    assert abs(seen.surprise[0]) < 0.5


@given(
    st.integers(min_value=6, max_value=HISTORY_MINUTES - 1), st.integers(min_value=1, max_value=8), st.floats(0.5, 50)
)
def test_a_stretch_that_nobody_watched_is_neither_a_dip_nor_a_spike(start: int, length: int, rate: float) -> None:
    series, exposure = np.full(HISTORY_MINUTES, rate), ALL_SEEN.copy()
    whole = look(series)
    away = slice(max(0, HISTORY_MINUTES - start), max(0, HISTORY_MINUTES - start) + length)
    series[away], exposure[away] = 0.0, 0.0
    if exposure[-10:].sum() < 1:
        return
    partly = look(series, exposure, authors=1000)
    assert np.isclose(partly.velocity[0], whole.velocity[0])
    assert abs(partly.acceleration[0]) < 1e-9
    assert abs(partly.surprise[0]) < 0.5
    assert np.isnan(partly.rates[0, away]).all()


@given(st.lists(st.integers(0, 1000), min_size=HISTORY_MINUTES, max_size=HISTORY_MINUTES), st.integers(0, 200))
def test_any_counts_give_finite_numbers_and_a_score_between_zero_and_one(counts: list[int], authors: int) -> None:
    seen = look(np.array(counts, float), authors=authors)
    for column in (seen.velocity, seen.acceleration, seen.surprise, seen.score):
        assert np.isfinite(column).all()
    assert 0 <= seen.score[0] <= 1


def test_nothing_observed_yet_is_no_surprise() -> None:
    seen = look(np.zeros(HISTORY_MINUTES), np.zeros(HISTORY_MINUTES))
    assert (seen.velocity[0], seen.surprise[0], seen.score[0]) == (0, 0, 0)


def follow(*looks: tuple[float, float, float, int], step_s: int = 70) -> list[str]:
    state, stages = StageState("dormant", 0), []
    for i, (score, velocity, acceleration, authors) in enumerate(looks, 1):
        state = next_stage(
            state,
            score=score,
            velocity=velocity,
            acceleration=acceleration,
            authors=authors,
            now=i * step_s * MICROS_PER_SECOND,
        )
        stages.append(state.stage)
    return stages


def test_a_surge_goes_through_all_its_stages() -> None:
    assert follow(
        (0.1, 1, 0, 2), (0.6, 3, 0.4, 4), (0.9, 9, 1, 12), (0.9, 10, 0, 20), (0.6, 4, -1, 20), (0.1, 1, -1, 9)
    ) == ["dormant", "emerging", "rising", "peaking", "fading", "dormant"]


def test_a_score_that_trembles_around_a_threshold_does_not_flap() -> None:
    trembling = [(0.5 + (0.04 if i % 2 else -0.04), 3.0, 0.1, 5) for i in range(1, 20)]
    assert set(follow(*trembling)) == {"emerging"}


def test_a_stage_lasts_its_minute_at_least() -> None:
    quick = [(0.9, 9.0, 1.0, 12)] * 3
    assert follow(*quick, step_s=20) == ["emerging", "emerging", "emerging"]
    state = StageState("emerging", 0)
    later = next_stage(state, score=0.9, velocity=9, acceleration=1, authors=12, now=MICROS_PER_MINUTE)
    assert later.stage == "rising"
