"""How long the stores may keep one request, in all: a limit for each statement says nothing about their sum."""

from __future__ import annotations

import math
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["TimeBudget", "current_budget", "one_request", "renew_budget"]


class TimeBudget:
    """What one request has spent so far. How much it may spend is the store's to say, but no more than `limit_s`."""

    __slots__ = ("limit_s", "spent_s")

    def __init__(self, limit_s: float = math.inf) -> None:
        self.limit_s = limit_s
        self.spent_s = 0.0
        """Seconds of waiting for a store, and of holding a part of it."""


_current: ContextVar[TimeBudget | None] = ContextVar("time budget", default=None)


@contextmanager
def one_request(limit_s: float = math.inf) -> Generator[TimeBudget]:
    """What is asked of a store inside, also by tasks that are started inside, is asked for one request."""
    budget = TimeBudget(limit_s)
    token = _current.set(budget)
    try:
        yield budget
    finally:
        _current.reset(token)


def current_budget() -> TimeBudget | None:
    """That of the request which is being answered; None for what is done for nobody: it may take its time."""
    return _current.get()


def renew_budget() -> None:
    """Let the request spend as much again: it answers piece by piece, and each piece is as good as a request."""
    budget = _current.get()
    if budget is not None:
        budget.spent_s = 0.0
