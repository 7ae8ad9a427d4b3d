"""What kinds teach: entities without a history are held to what is ordinary for their kind."""

from __future__ import annotations

import numpy as np

from groundswell.core.habit import Grid, Watched, fold_hour, no_habits, outlook, taught
from groundswell.core.priors import FARTHEST, GENERAL, Priors, learn_kinds, priors_of

GRID = Grid()
DAYS, EACH = 12, 80
SPAN = 7 * GRID.hour
CHATTY, CALM = "mention", "ticker"


def a_world(seed: int = 3) -> np.ndarray:
    """Mentions of people come in conversations of a dozen within minutes, tickers one by one: as many of either."""
    rng = np.random.default_rng(seed)
    counts = np.zeros((2 * EACH, DAYS * 24 * GRID.hour))
    talks = rng.random((EACH, counts.shape[1])) < 1 / (24 * GRID.hour)
    counts[:EACH] = talks * rng.integers(8, 16, talks.shape)
    counts[EACH:] = rng.poisson(12 / (24 * GRID.hour), (EACH, counts.shape[1]))
    return counts


def learnt() -> tuple[np.ndarray, Watched]:
    counts = np.concatenate([np.zeros((2 * EACH, SPAN - GRID.hour)), a_world()], axis=1)
    habits, watched = no_habits(2 * EACH), Watched.nothing()
    for n in range(DAYS * 24):
        part = counts[:, n * GRID.hour : n * GRID.hour + SPAN]
        habits, watched = fold_hour(GRID, habits, watched, part, np.ones(SPAN), hour=96 + n)
    return habits, taught(GRID, habits, watched, [CHATTY] * EACH + [CALM] * EACH)


def peak_of_a_newcomer(kind: str, watched: Watched) -> float:
    expected = outlook(
        GRID, no_habits(1), watched, np.zeros((1, SPAN)), np.ones(SPAN), first_minute=0, fresh=0,
        priors=priors_of([kind], watched.kinds),
    )  # fmt: skip
    return float(expected.peak_mean[0, 0])


def test_a_newcomer_of_a_kind_that_comes_in_bursts_is_expected_to_burst() -> None:
    _, watched = learnt()
    chatty, calm = peak_of_a_newcomer(CHATTY, watched), peak_of_a_newcomer(CALM, watched)
    general = peak_of_a_newcomer("unheard of", watched)
    assert chatty > 1.15 * general
    assert calm == general, "a calm kind does not make its newcomers suspect"


def test_a_kind_is_learnt_from_many_entities_and_never_strays_far_from_the_general() -> None:
    few = learn_kinds([CHATTY] * 3, np.full((3, 2), 0.3), np.full((3, 2), 9.0), np.full((3, 2), 81.0))
    many = learn_kinds([CHATTY] * 9000, np.full((9000, 2), 0.3), np.full((9000, 2), 90.0), np.full((9000, 2), 8100.0))
    one, other = priors_of([CHATTY], few), priors_of([CHATTY], many)
    assert np.allclose(one.peak_mean, GENERAL.peak_mean, rtol=0.2)
    assert (other.peak_mean <= FARTHEST * GENERAL.peak_mean + 1e-6).all()
    assert (other.peak_mean > one.peak_mean).all()


def test_without_anything_learnt_every_kind_is_as_the_constants_say() -> None:
    assert priors_of([CHATTY, CALM], {}) is GENERAL
    strangers = priors_of(["unheard of"], learn_kinds([CALM], *np.zeros((3, 1, 2))))
    assert isinstance(strangers, Priors)
    assert np.array_equal(strangers.peak_mean, GENERAL.peak_mean)


def test_silence_teaches_nothing_of_a_kind() -> None:
    spoken = (np.full((9, 2), 0.3), np.full((9, 2), 4.0), np.full((9, 2), 16.0))
    silent = tuple(np.concatenate([column, np.zeros((500, 2))]) for column in spoken[1:])
    alone = learn_kinds([CALM] * 9, *spoken)[CALM]
    among = learn_kinds([CALM] * 509, np.full((509, 2), 0.3), *silent)[CALM]
    assert np.allclose(alone[2:], among[2:])
