"""Runs a drill from nothing to its verdict."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

import msgspec

from groundswell.adapters.system_clock import SystemClock
from groundswell.drills.harness.rig import DrillFailed, DrillSkipped, Rig, Setup
from groundswell.drills.harness.set_up import set_up
from groundswell.drills.harness.verdict import Check, Verdict, standard_checks
from groundswell.errors import GroundswellError

Course: TypeAlias = Callable[[Rig], Awaitable[None]]


class Drill(msgspec.Struct, frozen=True, kw_only=True):
    """One fault, and what the platform promises about it."""

    name: str
    breaks: str
    """What is done to the platform, in a few words."""
    promises: str
    """What holds all the same, in a sentence."""
    course: Course
    """Injects the fault and heals it, on a platform that is up as `setup` says."""
    setup: Setup = Setup()
    short_s: float = 30
    """About how long the short form takes. Side by side, the longest are begun first, so that none is left over."""


async def run_drill(
    drill: Drill, *, say: Callable[[str], None], full: bool = False, seed: int = 7, keep: bool = False
) -> Verdict:
    """The verdict. What goes wrong in the platform is a finding; only a fault of the drill itself is raised."""
    clock = SystemClock()
    started = clock.monotonic()
    failed: str | None = None
    rig: Rig | None = None
    try:
        async with set_up(drill.setup, say=say, full=full, seed=seed, keep=keep) as rig:
            try:
                await drill.course(rig)
                await rig.come_to_rest()
            except (TimeoutError, GroundswellError, DrillFailed) as error:
                failed = str(error) or type(error).__name__
    except DrillSkipped as reason:
        return Verdict(
            drill=drill.name, passed=True, seconds=0, checks=(), recoveries=(), answers=None, reconciliation=None,
            skipped=str(reason),
        )  # fmt: skip
    except (TimeoutError, GroundswellError, DrillFailed) as error:
        failed = f"the platform did not come up: {error}"
    answers = rig.prober.answers if rig is not None and hasattr(rig, "prober") else None
    reconciliation = rig.reconciliation if rig is not None else None
    recoveries = tuple(rig.recoveries) if rig is not None else ()
    checks: list[Check] = standard_checks(answers, reconciliation, recoveries)
    checks += rig.checks if rig is not None else ()
    return Verdict(
        drill=drill.name,
        passed=failed is None and all(check.kept for check in checks),
        seconds=round(clock.monotonic() - started, 1),
        checks=tuple(checks),
        recoveries=recoveries,
        answers=answers,
        reconciliation=reconciliation,
        failed=failed,
        logs=str(rig.folder) if keep and rig is not None else None,
    )
