"""`groundswell drill`: break the platform on purpose, and see what it does."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from groundswell.commands.console import explained
from groundswell.errors import InvalidRequest

if TYPE_CHECKING:
    from groundswell.drills.harness.running import Drill
    from groundswell.drills.harness.verdict import Verdict

NameArgument = Annotated[str, typer.Argument(help="The drill to run, `all` of them, or `list` for what there is.")]
AT_ONCE_SHORT = 3
"""Short drills mostly wait: so many of them fill two cores."""
JsonFlag = Annotated[bool, typer.Option("--json", help="Print the verdicts as JSON on standard output.")]


@explained
def drill(  # noqa: PLR0917 -- flags, all by name
    name: NameArgument = "list",
    short: Annotated[bool, typer.Option("--short", help="The quick form: fewer rounds of the same faults.")] = False,
    seed: Annotated[int, typer.Option(help="Another seed breaks things at other moments, in another stream.")] = 7,
    at_once: Annotated[
        int | None,
        typer.Option(
            min=1, max=8, help="How many run side by side.", show_default=f"{AT_ONCE_SHORT} with --short, else 1"
        ),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the scratch directory, with the services' logs.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Break a real platform on purpose, in a scratch directory, and print what held.

    Each drill starts its own database and the real services on a simulated stream whose truth is known, injects a
    fault, heals it, and compares what is stored with that truth while something keeps asking the API. Nothing of
    yours is touched. Exit code 0 when every promise was kept, 1 when one was not.

    \b
    Examples:
      groundswell drill list              # what there is
      groundswell drill kill              # one of them
      groundswell drill all --short       # all of them, quickly
      groundswell drill all --json > verdicts.json
    """
    # Every command passes through this module: what drills need (clients, the simulator) stays out of the others.
    from groundswell.drills.catalogue import DRILLS

    if name == "list":
        _show_list(DRILLS, as_json=as_json)
        return
    chosen = DRILLS if name == "all" else tuple(drill for drill in DRILLS if drill.name == name)
    if not chosen:
        names = ", ".join(drill.name for drill in DRILLS)
        raise InvalidRequest(f"There is no drill {name!r}. There are: {names}, and all.")
    console = Console(stderr=True, highlight=False)
    places = min(at_once or (AT_ONCE_SHORT if short else 1), len(chosen))
    if places > 1:
        flags = [f"--seed={seed}", *["--short"] * short, *["--keep"] * keep]
        verdicts = _run_side_by_side(chosen, console, places, flags)
    else:
        verdicts = [
            _run(one, console, f"{number} of {len(chosen)}", full=not short, seed=seed, keep=keep)
            for number, one in enumerate(chosen, start=1)
        ]
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(verdicts), indent=2).decode() + "\n")
    elif len(verdicts) > 1:
        Console().print(_summary(verdicts))
    if not all(verdict.passed for verdict in verdicts):
        raise typer.Exit(1)


def _run(drill: Drill, console: Console, place: str, *, full: bool, seed: int, keep: bool) -> Verdict:
    console.print(f"[bold]{drill.name}[/] ({place}): {drill.breaks}")

    from groundswell.drills.harness.running import run_drill

    def say(text: str) -> None:
        console.print(f"  [dim]{text}[/]", markup=True)

    verdict = asyncio.run(run_drill(drill, say=say, full=full, seed=seed, keep=keep))
    _show(verdict, console)
    return verdict


def _run_side_by_side(drills: Sequence[Drill], console: Console, at_once: int, flags: Sequence[str]) -> list[Verdict]:
    from groundswell.drills.harness.side_by_side import run_side_by_side

    console.print(f"{len(drills)} drills, {at_once} at once. Each says what it found when it is done.")
    names = [drill.name for drill in sorted(drills, key=lambda drill: -drill.short_s)]
    found = asyncio.run(run_side_by_side(names, flags=flags, at_once=at_once, done=lambda found: _show(found, console)))
    return sorted(found, key=lambda verdict: [drill.name for drill in drills].index(verdict.drill))


def _show(verdict: Verdict, console: Console) -> None:
    console.print(verdict_table(verdict))
    for line in _remarks(verdict):
        console.print(f"  {line}", markup=False)
    console.print()


def verdict_table(verdict: Verdict) -> Table:
    word = "skipped" if verdict.skipped else "passed" if verdict.passed else "FAILED"
    table = Table(title=f"{verdict.drill}: {word} after {verdict.seconds:.0f} s", title_justify="left")
    for heading in ("", "What", "Promised", "Measured"):
        table.add_column(heading, overflow="fold")
    for check in verdict.checks:
        mark = "[green]✔[/]" if check.kept else "[red]✖[/]"
        table.add_row(mark, check.what, check.promised, check.measured)
    return table


def _remarks(verdict: Verdict) -> list[str]:
    lines: list[str] = []
    if verdict.skipped:
        lines.append(f"Not run here: {verdict.skipped}")
    if verdict.failed:
        lines.append(f"The drill ended early: {verdict.failed}")
    if verdict.answers is not None:
        a = verdict.answers
        lines.append(
            f"API: slowest answer {a.slowest_s:.2f} s, 99th percentile {a.p99_s:.2f} s, statuses {a.by_status}"
        )
        lines += [f"bad answer: {bad}" for bad in a.bad]
    if verdict.reconciliation is not None:
        lines += list(verdict.reconciliation.examples)
    if verdict.logs:
        lines.append(f"Logs: {verdict.logs}/logs")
    return lines


def _summary(verdicts: list[Verdict]) -> Table:
    failed = [verdict.drill for verdict in verdicts if not verdict.passed]
    table = Table(
        title=f"{len(verdicts) - len(failed)} of {len(verdicts)} drills passed"
        + (f": not {', '.join(failed)}" * bool(failed)),
        title_justify="left",
    )
    for heading in ("", "Drill", "Stored", "In gaps", "API: data, problems, bad", "Longest recovery", "Took"):
        table.add_column(heading)
    for verdict in verdicts:
        r, a = verdict.reconciliation, verdict.answers
        times = [recovery.seconds for recovery in verdict.recoveries if recovery.seconds is not None]
        table.add_row(
            "[yellow]-[/]" if verdict.skipped else "[green]✔[/]" if verdict.passed else "[red]✖[/]",
            verdict.drill,
            "" if r is None else f"{r.stored} of {r.delivered}",
            "" if r is None else str(r.absent_in_gaps),
            "" if a is None else f"{a.data}, {a.problems}, {a.bad_total}",
            f"{max(times):.1f} s" if times else "",
            f"{verdict.seconds:.0f} s",
        )
    return table


def _show_list(drills: Sequence[Drill], *, as_json: bool) -> None:
    if as_json:
        rows = [{"name": drill.name, "breaks": drill.breaks, "promises": drill.promises} for drill in drills]
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(rows), indent=2).decode() + "\n")
        return
    table = Table(title=f"{len(drills)} drills", title_justify="left")
    for heading in ("Drill", "What breaks", "What holds all the same"):
        table.add_column(heading, overflow="fold")
    for drill in drills:
        table.add_row(drill.name, drill.breaks, drill.promises)
    Console().print(table)
