"""What a deployment costs a month, line by line, from list prices and assumptions about its use.

Both are data (`prices.json`, `usage.json`); this module multiplies. Amounts are US dollars a month, without taxes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from deployment.cost_lines import lines
from deployment.knobs import CONTEXT_FILE, DeploymentError, Knobs, line_for
from deployment.price_list import ALARMS, CostLine, Prices, prices, read

__all__ = [
    "ALARMS",
    "CostLine",
    "Estimate",
    "Prices",
    "check",
    "default_usage",
    "estimate",
    "prices",
    "usage_reasons",
]


@dataclass(frozen=True)
class Estimate:
    """A month of one deployment."""

    lines: tuple[CostLine, ...]

    @property
    def total(self) -> float:
        return sum(line.usd for line in self.lines)


@cache
def default_usage() -> Mapping[str, float]:
    return {name: float(entry["value"]) for name, entry in read("usage.json").items()}


def usage_reasons() -> Mapping[str, str]:
    return {name: str(entry["why"]) for name, entry in read("usage.json").items()}


def estimate(chosen: Knobs, usage: Mapping[str, float] | None = None, at: Prices | None = None) -> Estimate:
    """The month's cost of `chosen` under `usage`."""
    return Estimate(tuple(lines(chosen, usage or default_usage(), at or prices())))


def check(chosen: Knobs, usage: Mapping[str, float] | None = None) -> Estimate:
    """The estimate, where it is within the deployment's budget.

    Raises:
        DeploymentError: it is not; names the dearest lines and the line to change.
    """
    found = estimate(chosen, usage)
    if found.total <= chosen.monthly_budget_usd:
        return found
    dearest = sorted(found.lines, key=lambda line: -line.usd)[:3]
    named = ", ".join(f"{line.what} {line.usd:.2f}" for line in dearest)
    raise DeploymentError(
        [
            f"This deployment would cost {found.total:.2f} USD a month, and may cost {chosen.monthly_budget_usd:.2f}. "
            f"The dearest lines: {named}. In {CONTEXT_FILE}, choose smaller parts, or set "
            f"{line_for('monthly_budget_usd', float(int(found.total) + 1))} (now {chosen.monthly_budget_usd:g})."
        ]
    )
