"""Who asks how the platform is shares one look at it with everybody else, and pays for the wait."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from functions.api.services import Condition
from groundswell.ports.time_budget import TimeBudget, current_budget, one_request


class SlowReads:
    """Each reading takes five seconds of the clock that it is."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.paid_by: list[TimeBudget | None] = []

    def monotonic(self) -> float:
        return self.now_s

    async def status(self) -> object:
        self.paid_by.append(current_budget())
        await asyncio.sleep(0)
        self.now_s += 5
        return self


def test_requests_share_a_reading_and_each_has_waited_for_it() -> None:
    reads = SlowReads()
    condition = Condition(cast("Any", reads), cast("Any", reads))

    async def ask() -> TimeBudget:
        with one_request() as request:
            await condition.status()
        return request

    async def scenario() -> list[TimeBudget]:
        return list(await asyncio.gather(ask(), ask()))

    requests = asyncio.run(scenario())
    assert [request.spent_s for request in requests] == [5, 5]
    assert len(reads.paid_by) == 1
    assert reads.paid_by[0] not in (None, *requests), "the reading has a time of its own"
