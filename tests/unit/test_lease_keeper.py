"""When a relay may read its source."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from groundswell.errors import LeaseLost, StoreUnavailable
from groundswell.metrics import Metrics
from groundswell.services.lease import PATIENCE_S, LeaseKeeper


class Answers:
    """A lease that gives these answers, one for each time that it is asked; then the last again and again."""

    def __init__(self, answers: Sequence[bool | None], stop: asyncio.Event) -> None:
        self._answers = list(answers)
        self._stop = stop
        self.asked = 0
        self.released = False

    async def take(self) -> bool:
        self.asked += 1
        if self.asked > 100:
            self._stop.set()
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if answer is None:
            raise StoreUnavailable("The database is away.")
        return answer

    async def release(self) -> None:
        self.released = True


class JumpingClock:
    """A clock on which nothing takes time but sleeping, which ends at once."""

    def __init__(self) -> None:
        self._now = 0.0

    def monotonic(self) -> float:
        return self._now

    def now(self) -> int:
        return 0

    async def sleep(self, seconds: float) -> None:
        self._now += seconds


def acquired(*answers: bool | None, held_last: bool = False, can_replay: bool = True) -> tuple[bool, str, int, float]:
    """Whether the lease was acquired before the hundredth question; the state; the questions; the seconds."""

    async def run() -> tuple[bool, str, int, float]:
        stop, clock = asyncio.Event(), JumpingClock()
        lease = Answers(answers, stop)
        keeper = LeaseKeeper(lease, clock, source="s", held_last=held_last, can_replay=can_replay, metrics=Metrics())
        got = await keeper.acquire(stop)
        return got, keeper.state, lease.asked, clock.monotonic()

    return asyncio.run(run())


def test_a_relay_begins_at_once_where_no_other_reads() -> None:
    assert acquired(True) == (True, "held", 1, 0.0)


def test_a_relay_waits_while_another_reads_and_through_an_outage_that_follows() -> None:
    got, state, asked, _ = acquired(False, False, None, None, False, True, held_last=True, can_replay=False)
    assert (got, state, asked) == (True, "held", 6)


def test_without_the_database_the_relay_that_read_last_goes_on() -> None:
    assert acquired(None, held_last=True) == (True, "unconfirmed", 1, 0.0)


def test_without_the_database_a_new_relay_waits_where_its_source_can_send_again() -> None:
    got, state, asked, _ = acquired(None)
    assert (got, state) == (False, "waiting")
    assert asked > 100


def test_without_the_database_a_new_relay_waits_a_while_for_a_source_that_cannot() -> None:
    got, state, _, waited = acquired(None, can_replay=False)
    assert (got, state) == (True, "unconfirmed")
    assert PATIENCE_S <= waited < PATIENCE_S + 2


def test_a_relay_whose_lease_went_to_another_ends_and_one_whose_database_is_away_goes_on() -> None:
    async def run() -> None:
        stop = asyncio.Event()
        metrics = Metrics()
        lease = Answers([True, True, None, None, True, None, False], stop)
        keeper = LeaseKeeper(lease, JumpingClock(), source="s", held_last=False, can_replay=True, metrics=metrics)
        assert await keeper.acquire(stop)
        assert "groundswell_source_lease 1" in metrics.render()
        with pytest.raises(LeaseLost, match="Another relay reads s now"):
            await keeper.keep(stop)
        assert lease.asked == 7
        assert "groundswell_source_lease 0" in metrics.render()
        await keeper.release()
        assert lease.released

    asyncio.run(run())
