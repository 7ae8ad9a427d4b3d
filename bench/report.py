"""How every benchmark reports: a table for people, JSON for programs."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"


def machine() -> str:
    return f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"


def publish(name: str, title: str, rows: Sequence[tuple[str, str, str]], values: dict[str, object]) -> None:
    """Print `rows` of (what, measured, goal) and write `values` to `bench/results/{name}.json`."""
    table = Table(title=f"{title} ({machine()})", title_justify="left")
    for heading in ("What", "Measured", "Goal"):
        table.add_column(heading)
    for row in rows:
        table.add_row(*row)
    Console().print(table)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps({"machine": machine(), **values}, indent=2) + "\n", "utf-8")


def quantile(values: Sequence[float], q: float) -> float:
    """The value below which a share `q` of the sorted `values` lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]
