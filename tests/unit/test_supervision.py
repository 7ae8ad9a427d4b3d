"""What a supervisor does with a part that dies: when it starts it again, what it says, and when it gives up."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from random import Random

import pytest

from groundswell.adapters.supervision import DEATHS_LOGGED, Supervisor
from groundswell.core.session import BACKOFF_CAP_S, STABLE_AFTER_S
from groundswell.errors import DataDirectoryError, DataDirectoryLost


class Time:
    """A clock on which sleeping takes no time."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> int:
        return int(self.seconds * 1e6)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds


class Mortal:
    """Dies after each of these many seconds, and then lives on; restarts fail as planned."""

    def __init__(self, clock: Time, lives: Sequence[float], failures: Sequence[Exception] = ()) -> None:
        self.clock = clock
        self.lives = list(lives)
        self.failures = list(failures)
        self.started_at: list[float] = []
        self.done = asyncio.Event()

    async def ended(self) -> str:
        if not self.lives:
            self.done.set()
            await asyncio.Event().wait()
        self.clock.seconds += self.lives.pop(0)
        return "was killed by SIGKILL"

    async def restart(self) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.started_at.append(self.clock.seconds)


def supervise(lives: Sequence[float], failures: Sequence[Exception] = ()) -> tuple[Supervisor, Mortal]:
    clock = Time()

    async def body() -> tuple[Supervisor, Mortal]:
        part = Mortal(clock, lives, failures)
        supervisor = Supervisor("The part", part, clock, rng=Random(1))
        run = asyncio.create_task(supervisor.run())
        done = asyncio.create_task(part.done.wait())
        await asyncio.wait({run, done}, return_when=asyncio.FIRST_COMPLETED)
        if run.done():
            done.cancel()
            run.result()
        run.cancel()
        await asyncio.wait({run})
        return supervisor, part

    return asyncio.run(body())


def test_a_part_that_dies_is_started_again_at_once() -> None:
    supervisor, part = supervise([10])
    assert part.started_at == [10]
    assert part.clock.slept == []
    assert supervisor.status() == ("running", {"why": None, "restarts": 1})


def test_one_that_dies_again_and_again_is_started_with_growing_pauses_up_to_a_cap() -> None:
    _, part = supervise([0] * 40)
    assert len(part.clock.slept) == 39
    assert max(part.clock.slept[:3]) < 5
    assert BACKOFF_CAP_S / 2 < max(part.clock.slept) <= BACKOFF_CAP_S


def test_one_that_ran_for_long_counts_as_well_again() -> None:
    _, part = supervise([STABLE_AFTER_S] * 20)
    assert part.clock.slept == []


def test_a_restart_that_fails_is_tried_again_and_its_reason_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    full = [DataDirectoryError("The disk is full. Free some space.")] * 50
    with caplog.at_level(logging.WARNING):
        supervisor, part = supervise([100], full)
    assert len(part.started_at) == 1
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert errors == [
        "The part does not start again: The disk is full. Free some space. It is tried again from time to time."
    ]
    assert supervisor.state == "running"


def test_while_a_restart_fails_the_state_says_why() -> None:
    clock = Time()

    async def body() -> None:
        part = Mortal(clock, [0], [DataDirectoryError("The disk is full.")])
        supervisor = Supervisor("The part", part, clock, rng=Random(1))
        seen: list[tuple[str, str | None]] = []

        async def sleep(seconds: float) -> None:
            del seconds
            seen.append((supervisor.state, supervisor.why))

        clock.sleep = sleep  # type: ignore[method-assign]
        run = asyncio.create_task(supervisor.run())
        await part.done.wait()
        run.cancel()
        assert seen == [("failed", "The disk is full.")]

    asyncio.run(body())


def test_many_deaths_are_few_lines_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        supervise([0] * 200)
    assert len(caplog.records) <= 2 * DEATHS_LOGGED
    assert "for the 3. time" in caplog.text


def test_what_cannot_come_back_ends_the_supervision() -> None:
    with pytest.raises(DataDirectoryLost, match="removed"):
        supervise([0], [DataDirectoryLost("It was removed.")])
