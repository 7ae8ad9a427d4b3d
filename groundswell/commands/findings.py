"""What a check-up found, and how it is shown."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec
import typer

from groundswell.configuration.redaction import redact

State: TypeAlias = Literal["ok", "note", "broken"]
_MARKS: dict[State, tuple[str, str]] = {"ok": ("✔", "green"), "note": ("!", "yellow"), "broken": ("✖", "red")}


class Finding(msgspec.Struct, frozen=True):
    """What one check found; `remedy` says what to do about it."""

    part: str
    state: State
    found: str
    remedy: str = ""


def show(finding: Finding) -> None:
    mark, color = _MARKS[finding.state]
    typer.secho(f"{mark} {finding.part:<15}", fg=color, nl=False)
    typer.echo(redact(finding.found))
    if finding.remedy:
        typer.echo(f"  {'':<15}→ {redact(finding.remedy)}")


def conclude(findings: list[Finding]) -> bool:
    """Say in one line whether anything is broken. Answers whether something is."""
    broken = dict.fromkeys(finding.part for finding in findings if finding.state == "broken")
    if broken:
        typer.secho(f"\nBroken: {', '.join(broken)}.", fg="red", bold=True)
    else:
        typer.secho("\nNothing is broken.", fg="green", bold=True)
    return bool(broken)
