"""The price list and the data of the estimate: what one unit costs, and how much of it is free."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

ALARMS = 10
"""Alarms of a deployment: as many as are free. A test counts those of the stacks."""


@dataclass(frozen=True)
class CostLine:
    """One line of the table."""

    service: str
    what: str
    usd: float
    note: str
    """How it was kept low, or what drives it."""
    pays_for: tuple[str, ...] = ()
    """Types of resources that cost this, in CloudFormation's words."""


class Prices:
    """The price list. Quantities are for a month; what AWS always gives for nothing is taken off."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._prices = document["prices"]
        self.hours = float(document["hours_per_month"])
        self.region = str(document["region"])
        self.as_of = str(document["as_of"])

    def of(self, name: str, quantity: float, size: str | None = None) -> float:
        """What `quantity` of `name` costs. `size` picks among the sizes of a thing that has some."""
        price = self._prices[name]
        usd = price["usd"][size] if size is not None else price["usd"]
        return float(usd) * max(0.0, quantity - float(price.get("always_free", 0)))

    def sources(self) -> list[str]:
        return sorted({str(price["source"]) for price in self._prices.values()})


@cache
def prices() -> Prices:
    return Prices(read("prices.json"))


def read(name: str) -> dict[str, Any]:
    """A file of this package."""
    return json.loads(resources.files("deployment").joinpath(name).read_text("utf-8"))
