"""A drill names a place, and the process dies there and nowhere else."""

from __future__ import annotations

import subprocess
import sys

import pytest

from groundswell import crash_points
from groundswell.crash_points import EXIT_CODE, CrashPoint
from groundswell.errors import ConfigError
from groundswell.settings import RelaySettings, load

PROGRAM = """
import sys
from groundswell import crash_points
from groundswell.crash_points import CrashPoint
crash_points.arm(sys.argv[1])
try:
    for time in range(1, 4):
        for point in CrashPoint:
            print(point.value, time, flush=True)
            crash_points.reach(point)
finally:
    print("the end", flush=True)
"""

each_point = pytest.mark.parametrize("point", CrashPoint, ids=lambda point: point.value)


def run(place: str) -> tuple[int, list[str]]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, place], check=False, capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stdout.splitlines()


@each_point
def test_a_process_dies_at_the_place_that_it_was_told_without_any_farewell(point: CrashPoint) -> None:
    code, lines = run(point.value)
    assert code == EXIT_CODE
    assert lines[-1] == f"{point.value} 1"


def test_a_process_dies_the_time_that_it_was_told() -> None:
    first = next(iter(CrashPoint))
    code, lines = run(f"{first.value}@3")
    assert code == EXIT_CODE
    assert lines[-1] == f"{first.value} 3"


def test_nobody_dies_unless_told() -> None:
    crash_points.arm(None)
    for point in CrashPoint:
        crash_points.reach(point)
    assert run("") == (0, [f"{point.value} {time}" for time in (1, 2, 3) for point in CrashPoint] + ["the end"])


@pytest.mark.parametrize("text", ["mover", "mover:nowhere", "mover:after-claim@", "mover:after-claim@0", "@2", "a:b@x"])
def test_a_place_that_does_not_exist_is_refused_with_those_that_do(text: str) -> None:
    with pytest.raises(ValueError, match="mover:after-manifest"):
        crash_points.parse(text)


def test_every_place_says_whose_it_is() -> None:
    assert {point.service for point in CrashPoint} <= {"relay", "api", "mover", "restore", "forget"}


NEEDED = {"GROUNDSWELL_DATABASE_URL": "postgresql://groundswell:vG7x@db.internal:5432/groundswell"}


def test_settings_refuse_a_place_that_does_not_exist_and_any_in_production() -> None:
    good = "mover:after-claim@2"
    assert load(RelaySettings, {**NEEDED, "GROUNDSWELL_CRASH_POINT": good}).crash_point == good
    assert load(RelaySettings, NEEDED).crash_point is None
    with pytest.raises(ConfigError, match="GROUNDSWELL_CRASH_POINT: 'mover:never' is no crash point"):
        load(RelaySettings, {**NEEDED, "GROUNDSWELL_CRASH_POINT": "mover:never"})
    with pytest.raises(ConfigError, match="for drills, and this is production"):
        load(
            RelaySettings,
            {**NEEDED, "GROUNDSWELL_CRASH_POINT": good, "GROUNDSWELL_ENVIRONMENT": "production"},
        )
