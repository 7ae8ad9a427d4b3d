"""Deployments that are known to synthesise, and the ways from one to another: data of the docs and of the tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

VARIANTS: Mapping[str, Mapping[str, object]] = {
    "budget": {},
    "built-image": {"relay_image": ""},
    "own-image": {"relay_image": "123456789012.dkr.ecr.us-east-1.amazonaws.com/groundswell/relay:1"},
    "production": {"profile": "production"},
    "combined": {"topology": "combined"},
    "own-qdrant": {"qdrant": "fargate", "monthly_budget_usd": 50},
    "spot": {"relay_spot": True},
    "gateway": {"nat": "gateway", "monthly_budget_usd": 70},
    "x86": {"function_platform": "x86_64-manylinux_2_34", "monthly_budget_usd": 40},
    "multi-az": {"database_multi_az": True, "monthly_budget_usd": 60},
    "shrunk": {"database_storage_gb": 100, "database_storage_max_gb": 500, "monthly_budget_usd": 60},
    "other-zones": {"zones": "us-east-1b us-east-1c"},
}
"""Knobs by the name of the variant; the rest are those of the `budget` profile."""


@dataclass(frozen=True)
class Transition:
    """A change of knobs under a running deployment."""

    before: str
    after: str
    what: str
    """In words, for the table."""
    in_place: bool
    """Whether `cdk deploy --all` does it and keeps the data."""
    note: str


TRANSITIONS = (
    Transition("budget", "production", "`budget` to `production`", True, "The database restarts."),
    Transition(
        "production",
        "shrunk",
        "`production` to `budget`",
        True,
        "Keep `database_storage_gb` and `database_storage_max_gb` as they were: RDS never shrinks a disk. Switch "
        "`deletion_protection` off first, in a deploy of its own.",
    ),
    Transition(
        "budget",
        "combined",
        "`split` to `combined`",
        True,
        "Live frames end: the address of the WebSocket API is gone.",
    ),
    Transition("combined", "budget", "`combined` to `split`", True, "The WebSocket API gets a new address."),
    Transition("budget", "multi-az", "`database_multi_az` on", True, "A standby is made; the database goes on."),
    Transition("multi-az", "budget", "`database_multi_az` off", True, "The standby is removed; the database goes on."),
    Transition("budget", "spot", "`relay_spot` on", True, "The relay restarts."),
    Transition("spot", "budget", "`relay_spot` off", True, "The relay restarts."),
    Transition(
        "budget",
        "own-qdrant",
        "`qdrant` from `cloud` to `fargate`",
        True,
        "The index begins empty: `groundswell index rebuild` fills it from Postgres.",
    ),
    Transition("own-qdrant", "budget", "`qdrant` from `fargate` to `cloud`", True, "The same."),
    Transition("budget", "gateway", "`nat` from `none` to `gateway`", True, "The relay restarts, at another address."),
    Transition("gateway", "budget", "`nat` from `gateway` to `none`", True, "The same."),
    Transition(
        "budget",
        "x86",
        "`function_platform` to x86",
        True,
        "Relay and functions restart on the other processors. The image has to be of that platform.",
    ),
    Transition(
        "budget",
        "other-zones",
        "`zones`",
        False,
        "Subnets cannot move, and the database is in them. Deploy under another `name` and restore a snapshot there.",
    ),
)


def render_transitions() -> str:
    """Return the table of docs/deploy.md."""
    rows = [
        f"| {each.what} | {'in place' if each.in_place else 'a new deployment'} | {each.note} |" for each in TRANSITIONS
    ]
    return "\n".join(["| change | how | what to know |", "| --- | --- | --- |", *rows])
