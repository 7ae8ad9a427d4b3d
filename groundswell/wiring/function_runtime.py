"""What every Lambda function runs on: one event loop for each process, made at the first event."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from functools import cache
from typing import TYPE_CHECKING, TypeVar

from groundswell.adapters.system_clock import SystemClock
from groundswell.ports.time import Clock

if TYPE_CHECKING:
    from aws_lambda_powertools import Logger

T = TypeVar("T")


class Runtime:
    """The event loop of this process, and the parts that live as long as it does.

    Nothing closes them: a function is frozen between events, and in the end it is not thawed again.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        # Mangum runs its requests on the loop that is current.
        asyncio.set_event_loop(self._loop)
        self.stack = AsyncExitStack()
        self.clock: Clock = SystemClock()

    def run(self, work: Awaitable[T]) -> T:
        return self._loop.run_until_complete(work)


@cache
def runtime() -> Runtime:
    return Runtime()


def function_log(service: str) -> Logger:
    """The structured log of one function. What the package itself logs goes the way that `configure_logging` sets."""
    from aws_lambda_powertools import Logger

    log = Logger(service=service)
    # Powertools has a handler of its own: its lines must not come once more through the root's.
    logging.getLogger(service).propagate = False
    return log
