"""A recording is played as fast as it happened, whatever single frames say."""

from __future__ import annotations

from collections.abc import Sequence

from groundswell.core.pacing import LOOK_AHEAD, Pacer

S = 1_000_000
T0 = 1_764_400_000 * S
YEAR = 365 * 86_400


def played(times: Sequence[float], speed: float = 1.0) -> list[float]:
    """When each frame is due, in seconds, where nothing takes time but waiting."""
    pacer, now, due = Pacer(speed), 0.0, []
    instants = [T0 + round(at * S) for at in times]
    for n, at in enumerate(instants):
        now += max(0.0, pacer.wait_s(at, instants[n + 1 : n + 1 + LOOK_AHEAD], now))
        due.append(round(now, 6))
    return due


def test_frames_are_due_when_they_happened() -> None:
    assert played([0, 1, 2.5, 100, 1900]) == [0, 1, 2.5, 100, 1900]
    assert played([0, 60, 120, 600], speed=60) == [0, 1, 2, 10]


def test_a_quiet_stretch_of_less_than_an_hour_is_kept() -> None:
    assert played([0, 1, 3000, 3001]) == [0, 1, 3000, 3001]
    assert played([n * 1200 for n in range(12)]) == [n * 1200 for n in range(12)]


def test_one_frame_of_another_century_delays_nothing() -> None:
    steady = [float(n) for n in range(20)]
    for year in (-55, -2, 2, 75):
        for place in (0, 10, 20):
            times = [*steady[:place], float(year * YEAR), *steady[place:]]
            assert played(times)[-1] <= 20
            assert played(times)[-2] >= 13, "and the others keep their pace"


def test_a_hole_and_a_clock_that_was_set_are_not_waited_for() -> None:
    later = [YEAR + float(n) for n in range(20)]
    steady = [float(n) for n in range(20)]
    for times in ([*steady, *later], [*later, *steady]):
        due = played(times)
        assert 30 <= due[-1] <= 40
