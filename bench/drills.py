"""How long recovery takes from each fault that there is a drill for.

    python -m bench.drills [--long] [--at-once 1] [NAME …]

The drills of `groundswell drill`, in their short form. Recovery is from the moment that the fault is over until
everything that had happened by then is stored, no gap is open, and the API is ready.
"""

from __future__ import annotations

import argparse
import asyncio
import sys

from bench.report import publish
from groundswell.drills.catalogue import DRILLS
from groundswell.drills.harness.side_by_side import run_side_by_side
from groundswell.drills.harness.verdict import Verdict


def row(verdict: Verdict) -> tuple[str, str, str]:
    if verdict.skipped:
        return verdict.drill, f"not run here: {verdict.skipped}", ""
    times = ", ".join(
        f"{'never' if recovery.seconds is None else f'{recovery.seconds:.1f} s'} ({recovery.after})"
        for recovery in verdict.recoveries
    )
    word = "" if verdict.passed else "FAILED: "
    stored = "" if verdict.reconciliation is None else f"; {verdict.reconciliation.stored} posts stored"
    return (
        verdict.drill,
        f"{word}{times or verdict.failed}{stored}; {verdict.seconds:.0f} s in all",
        "all promises kept",
    )


async def measure(names: list[str], *, long: bool, at_once: int) -> bool:
    """Whether every promise was kept."""
    verdicts = await run_side_by_side(
        names,
        flags=() if long else ("--short",),
        at_once=at_once,
        done=lambda verdict: print(
            f"{verdict.drill}: {'passed' if verdict.passed else 'FAILED'} after {verdict.seconds:.0f} s", flush=True
        ),
    )
    values = {
        verdict.drill: {
            "passed": verdict.passed,
            "skipped": verdict.skipped,
            "seconds": verdict.seconds,
            "recovery_s": {recovery.after: recovery.seconds for recovery in verdict.recoveries},
            "slowest_answer_s": None if verdict.answers is None else verdict.answers.slowest_s,
        }
        for verdict in verdicts
    }
    publish("drills", "Recovery from each fault", [row(verdict) for verdict in verdicts], {"drills": values})
    return all(verdict.passed for verdict in verdicts)


def main() -> None:
    everything = [drill.name for drill in DRILLS]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=everything, metavar="NAME", help="all of them by default")
    parser.add_argument("--long", action="store_true", help="the long forms: half an hour")
    parser.add_argument("--at-once", type=int, default=1, help="more than one at once measures their company, too")
    options = parser.parse_args()
    sys.exit(not asyncio.run(measure(options.names, long=options.long, at_once=options.at_once)))


if __name__ == "__main__":
    main()
