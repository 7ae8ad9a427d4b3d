"""The message budget: how the pause between flushes stretches."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundswell.core.message_budget import LONGEST_PAUSE_S, Allowance, pause_s, running_mean

MONTH_S = 30 * 86400.0


def pause(budget: int | None, spent: int, left_s: float, clients: int, frames: float = 1.0) -> float:
    return pause_s(
        budget=budget, allowance=Allowance(spent, left_s), clients=clients, frames_a_client=frames, shortest_s=1.0
    )


def test_without_a_budget_or_clients_nothing_is_stretched() -> None:
    assert pause(None, 10**9, MONTH_S, 1000) == 1.0
    assert pause(10, 10**9, MONTH_S, 0) == 1.0
    assert pause_s(budget=10, allowance=None, clients=5, frames_a_client=1, shortest_s=1.0) == 1.0


def test_a_few_clients_within_the_budget_get_every_flush() -> None:
    assert pause(20_000_000, 0, MONTH_S, 3) == 1.0


def test_a_crowd_slows_the_cadence_in_proportion() -> None:
    ten, hundred = pause(1_000_000, 0, MONTH_S, 10), pause(1_000_000, 0, MONTH_S, 100)
    assert ten == pytest.approx(10 * MONTH_S / 1_000_000)
    assert hundred == pytest.approx(10 * ten)


def test_a_spent_budget_leaves_an_occasional_look() -> None:
    assert pause(100, 100, MONTH_S, 1) == LONGEST_PAUSE_S


@given(budget=st.integers(100, 2_000), crowd=st.lists(st.integers(0, 50), min_size=1, max_size=40))
def test_whatever_crowd_comes_a_month_costs_at_most_its_budget_and_one_flush(budget: int, crowd: list[int]) -> None:
    at, spent, flushes = 0.0, 0, 0
    while at < MONTH_S and flushes < 20_000:
        clients = crowd[flushes % len(crowd)]
        at += max(60.0, pause(budget, spent, MONTH_S - at, clients))
        if at < MONTH_S and spent < budget:
            spent += clients
        flushes += 1
    assert spent <= budget + max(crowd)


def test_the_mean_follows_what_comes() -> None:
    mean = 1.0
    for _ in range(100):
        mean = running_mean(mean, 4.0)
    assert 3.9 < mean < 4.0
