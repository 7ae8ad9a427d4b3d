"""`python -m rehearsal [--short]`: deploy into a local AWS, run what was deployed, drive it, and say what passed."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from rehearsal.acts import FULL, SHORT, Failed
from rehearsal.deployed import schedules
from rehearsal.deploying import DeployFailed
from rehearsal.releases import RELEASES
from rehearsal.stage import Stage, open_stage

ACT_LIMIT_S = 600.0
"""A deploy is the longest."""
SEEN_LIMIT = 300


async def rehearse(folder: Path, *, short: bool, console: Console) -> bool:
    """Whether everything passed."""
    table = Table(title="The rehearsal", title_justify="left")
    for heading in ("What", "", "Seconds", "Seen"):
        table.add_column(heading)
    passed, began = True, time.monotonic()

    def tell(step: str) -> None:
        console.print(f"{time.monotonic() - began:6.1f} s  {step}", highlight=False)

    async with open_stage(folder, packages=not short, tell=tell) as stage:
        deployed = f"{len(stage.deployed)} functions, {len(schedules())} schedules"
        table.add_row("cdk bootstrap and cdk deploy", "✓", f"{time.monotonic() - began:.1f}", deployed)
        for name, act in SHORT if short else (*FULL, *RELEASES):
            tell(name)
            started = time.monotonic()
            try:
                seen, mark = await asyncio.wait_for(act(stage), ACT_LIMIT_S), "✓"
            except Exception as error:  # noqa: BLE001 -- whatever an act runs into is its result
                seen = str(error) if isinstance(error, Failed) else f"{type(error).__name__}: {error}"
                mark, passed = "✗", False
                console.print(f"{seen}\n{last_words(stage)}", markup=False, highlight=False)
            table.add_row(name, mark, f"{time.monotonic() - started:.1f}", seen[:SEEN_LIMIT])
        init = ", ".join(f"{each.name} {each.init_s:.1f}" for each in stage.functions.values() if each.init_s)
        stage.notes[f"INIT of the last process of each function, s: {init}"] = None
    tell("done")
    console.print(table)
    for note in stage.notes:
        console.print(note, markup=False, highlight=False)
    return passed


def last_words(stage: Stage) -> str:
    """The end of what every process logged."""
    said = [f"--- {process.name}\n{process.tail(12)}" for process in stage.functions.values() if process.log]
    return "\n".join([*said, f"--- relay\n{stage.relay.said()[-2500:]}"])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m rehearsal", description=__doc__)
    parser.add_argument("--short", action="store_true", help="without the packages in the zips, and fewer acts")
    options = parser.parse_args()
    console = Console(width=150 if not sys.stdout.isatty() else None)
    with tempfile.TemporaryDirectory(prefix="groundswell-rehearsal-") as folder:
        # Postgres runs as a user of its own where this is root.
        Path(folder).chmod(0o755)
        try:
            return 0 if asyncio.run(rehearse(Path(folder), short=options.short, console=console)) else 1
        except DeployFailed as error:
            console.print(str(error), markup=False, highlight=False)
            return 1


if __name__ == "__main__":
    sys.exit(main())
