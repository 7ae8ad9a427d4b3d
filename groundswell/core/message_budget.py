"""How often to broadcast so that a month's messages last the month. Pure; the broadcaster acts on it.

API Gateway bills every message to every client. What is left of the budget, spread evenly over what is left of the
month, is a rate; the pause between two flushes is stretched until the clients there are cost no more than that rate.
A month that starts quietly leaves more for its end, and a crowd slows the cadence instead of overspending.
"""

from __future__ import annotations

from typing import Final

import msgspec

LONGEST_PAUSE_S: Final = 3600.0
"""With nothing left, an hour passes between two looks: the next month, or fewer clients, may have come by then."""
FRAMES_WEIGHT: Final = 0.1
"""How much the latest flush counts in the running mean of frames for each client."""


class Allowance(msgspec.Struct, frozen=True):
    """What the store says of this month: by its clock and its count."""

    spent: int
    """Messages sent since the month began, by whatever process."""
    left_s: float
    """Until the month ends."""


def pause_s(
    *, budget: int | None, allowance: Allowance | None, clients: int, frames_a_client: float, shortest_s: float
) -> float:
    """Seconds between two flushes, from `shortest_s` up.

    Args:
        budget: messages that a month may cost; None for no limit.
        allowance: None while the store has not been asked yet.
        clients: those that a flush would reach.
        frames_a_client: messages that one flush costs for one client, on average.
    """
    if budget is None or allowance is None or clients <= 0:
        return shortest_s
    left = budget - allowance.spent
    if left <= 0:
        return max(shortest_s, LONGEST_PAUSE_S)
    cost = clients * max(frames_a_client, 1.0)
    return min(max(shortest_s, cost * allowance.left_s / left), max(shortest_s, LONGEST_PAUSE_S))


def running_mean(mean: float, latest: float) -> float:
    """The exponentially weighted mean after one more value."""
    return mean + FRAMES_WEIGHT * (latest - mean)
