"""How early and how rightly surges are noticed, and how fast: the tables of `groundswell bench momentum`."""

from __future__ import annotations

import json

from bench.report import RESULTS, machine
from groundswell.benchmarks.momentum import measure_all


def main() -> None:
    values = measure_all()
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "momentum.json").write_text(json.dumps({"machine": machine(), **values}, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
