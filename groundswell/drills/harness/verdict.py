"""What a drill found: promises with what was measured, how often the API answered what, and how long recovery took."""

from __future__ import annotations

import msgspec


class Check(msgspec.Struct, frozen=True):
    """One promise: kept, or not."""

    what: str
    promised: str
    measured: str
    kept: bool


class Recovery(msgspec.Struct, frozen=True):
    """How long it took until everything was as before: caught up, no gap open, ready."""

    after: str
    seconds: float | None
    """None where it did not recover within `limit_s`."""
    limit_s: float


class Answers(msgspec.Struct, frozen=True):
    """How the API answered the prober."""

    data: int = 0
    problems: int = 0
    """Honest ones: a problem body, of the status that it names, with `Retry-After` where that is 503."""
    away: int = 0
    """Refused connections while the drill itself had taken the API away."""
    bad: tuple[str, ...] = ()
    """Everything else, in words; the first few."""
    bad_total: int = 0
    by_status: dict[str, int] = {}
    slowest_s: float = 0.0
    p99_s: float = 0.0
    degraded: tuple[str, ...] = ()
    """What answers said was missing, at any moment."""


class Reconciliation(msgspec.Struct, frozen=True):
    """What is stored, held against what the simulator says that it delivered."""

    delivered: int
    """Posts that stand in the simulator's truth."""
    stored: int
    absent_in_gaps: int
    """Posts that are not stored, and whose absence a recorded gap explains."""
    missing: int
    """Posts that are not stored although no gap says so."""
    unexpected: int
    """Posts that are stored and should not be: deleted ones, taken down ones, inventions."""
    differing: int
    """Posts stored with another author, revision, time or entities."""
    wrong_counts: int
    """Counts by entity, author or minute that are not those of the truth."""
    gaps: int
    gaps_open: int
    twice: int = 0
    """Posts that are stored in two places: in Postgres and in the archive, or in two files."""
    archived: int = 0
    """Of those stored, how many are in the archive."""
    examples: tuple[str, ...] = ()
    """The first few of what is wrong."""


class Verdict(msgspec.Struct, frozen=True):
    drill: str
    passed: bool
    seconds: float
    checks: tuple[Check, ...]
    recoveries: tuple[Recovery, ...]
    answers: Answers | None
    reconciliation: Reconciliation | None
    skipped: str | None = None
    """Why it could not be run here. Then `passed` is True and nothing was proven."""
    failed: str | None = None
    """What ended the drill before its time."""
    logs: str | None = None
    """Where the services' logs are, while the scratch directory is kept."""


def standard_checks(
    answers: Answers | None, reconciliation: Reconciliation | None, recoveries: tuple[Recovery, ...]
) -> list[Check]:
    """What every drill promises, whatever it breaks."""
    checks: list[Check] = []
    if reconciliation is not None:
        r = reconciliation
        explained = f"{r.stored} of {r.delivered}" + (
            f", {r.absent_in_gaps} absent inside gaps" if r.absent_in_gaps else ""
        )
        explained += f", {r.archived} of them archived" if r.archived else ""
        explained += f", {r.twice} twice" if r.twice else ""
        checks += [
            Check(
                "posts stored exactly once",
                "all that was delivered, or inside a gap",
                explained + (f", {r.missing} missing" if r.missing else ""),
                r.missing == 0 and r.twice == 0 and r.delivered > 0,
            ),
            Check("posts that should not be there", "0", str(r.unexpected), r.unexpected == 0),
            Check("posts that differ from the truth", "0", str(r.differing), r.differing == 0),
            Check("counts that differ from the truth", "0", str(r.wrong_counts), r.wrong_counts == 0),
        ]
    if answers is not None:
        said = f"{answers.data} data, {answers.problems} problems, {answers.bad_total} bad"
        if answers.away:
            said += f", {answers.away} while it was away"
        checks.append(
            Check("answers of the API", "data or an honest problem", said, answers.bad_total == 0 and answers.data > 0)
        )
    checks += [
        Check(
            f"recovery after {recovery.after}",
            f"within {recovery.limit_s:g} s",
            "not within that time" if recovery.seconds is None else f"{recovery.seconds:.1f} s",
            recovery.seconds is not None,
        )
        for recovery in recoveries
    ]
    return checks
