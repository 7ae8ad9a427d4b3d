"""Everything that can be chosen about a deployment: each knob with its type, its bounds and what it does.

A profile gives every knob a value; `cdk/cdk.json` (or `cdk -c name=value`) overrides single ones.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, get_type_hints

CONTEXT_FILE = "cdk/cdk.json"
COLD_LEAST_DAYS = 90
"""Of Glacier Instant Retrieval, S3 bills as many days, however soon a file is deleted."""


class DeploymentError(ValueError):
    """A deployment that must not happen. `problems` are sentences, each naming the line to change."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


def line_for(name: str, value: object) -> str:
    """How a knob is set, for messages that ask for it."""
    shown = str(value).lower() if isinstance(value, bool) else str(value) if isinstance(value, int | float) else None
    return f'"{name}": {shown}' if shown is not None else f'"{name}": "{value}"'


def _knob(
    about: str,
    *,
    both: Any = None,
    budget: Any = None,
    production: Any = None,
    choices: tuple[str | int, ...] = (),
    low: float | None = None,
    high: float | None = None,
    pattern: str = "",
) -> Any:
    """A knob with its value in each profile, or the one that it has in `both`."""
    meta = {
        "about": about,
        "budget": budget if both is None else both,
        "production": production if both is None else both,
        "choices": choices,
        "low": low,
        "high": high,
        "pattern": pattern,
    }
    return dataclasses.field(metadata=meta)


@dataclass(frozen=True, kw_only=True)
class Knobs:
    """One deployment. `load` makes it; the metadata of each field is its documentation."""

    profile: str = _knob(
        "Where every other knob gets its value from.",
        budget="budget",
        production="production",
        choices=("budget", "production"),
    )
    topology: str = _knob(
        "`split`: the relay is a task, the API is functions. `combined`: relay and API share one task and hold the "
        "sockets themselves (staging).",
        both="split",
        choices=("split", "combined"),
    )
    name: str = _knob(
        "Prefix of the stacks: two deployments in one account need two.",
        both="Groundswell",
        pattern=r"[A-Z][A-Za-z0-9]{0,23}",
    )
    region: str = _knob(
        "AWS region. The prices are those of us-east-1.",
        both="us-east-1",
        pattern=r"[a-z]{2}(-[a-z]+)+-\d",
    )
    zones: str = _knob(
        "Two zones of the region, with a space between, for an account whose first two by name lack what is needed "
        "(docs/deploy.md). Empty: the first two. Fixed from the first deploy on.",
        both="",
        pattern=r"[a-z]{2}(-[a-z]+)+-\d[a-z] [a-z]{2}(-[a-z]+)+-\d[a-z]|",
    )
    services_zone: int = _knob(
        "Which of the two zones relay and functions run in, in the `budget` profile: the database's, so that nothing "
        "is charged for crossing (docs/deploy.md).",
        both=1,
        choices=(1, 2),
    )
    alert_email: str = _knob(
        "Who is told about alarms, the budget and the weekly cost. Empty: nobody.",
        both="",
        pattern=r"[^@\s]+@[^@\s]+\.[^@\s]+|",
    )
    contact: str = _knob(
        "Where people write to who want their posts removed: an e-mail address or an https address, shown on the page "
        "`/people.html`. Empty: the page says that none is set.",
        both="",
        pattern=r"[^@\s]+@[^@\s]+\.[^@\s]+|https://\S+|",
    )
    monthly_budget_usd: float = _knob(
        "Nothing is deployed whose estimate is above this, and AWS mails when the real spend nears it.",
        budget=30.0,
        production=220.0,
        low=1,
        high=1_000_000,
    )

    # ------------------------------------------------------------------ database
    database_class: str = _knob(
        "Instance class of RDS.",
        budget="t4g.micro",
        production="t4g.medium",
        choices=("t4g.micro", "t4g.small", "t4g.medium", "t4g.large", "m7g.large", "m7g.xlarge", "m7g.2xlarge"),
    )
    database_storage_gb: int = _knob("Storage it starts with (gp3).", budget=20, production=100, low=20, high=16_384)
    database_storage_max_gb: int = _knob(
        "Storage grows by itself up to this; each GB costs.", budget=40, production=500, low=20, high=65_536
    )
    database_multi_az: bool = _knob("A standby in another zone takes over by itself.", budget=False, production=True)
    database_backup_days: int = _knob("Days to which it can be restored.", budget=1, production=14, low=1, high=35)
    rotate_database_password_days: int = _knob(
        "Days between two changes of the database's password; 0 leaves it to you (docs/deploy.md).",
        budget=0,
        production=30,
        low=0,
        high=365,
    )
    deletion_protection: bool = _knob(
        "`cdk destroy` refuses to remove the database and the archive.", budget=False, production=True
    )

    # ------------------------------------------------------------------ network
    nat: str = _knob(
        "How what only speaks IPv4 is reached. `none`: tasks have a public address (nothing can connect to it), and "
        "functions ask Qdrant Cloud through a function outside the network. `gateway`: everything is private, behind "
        "AWS's NAT gateway. AWS itself is always reached over IPv6, which is free.",
        budget="none",
        production="gateway",
        choices=("none", "gateway"),
    )

    # ------------------------------------------------------------------ relay
    relay_cpu: int = _knob(
        "CPU of the relay's task; 1024 is a whole one.",
        budget=256,
        production=512,
        choices=(256, 512, 1024, 2048, 4096),
    )
    relay_memory_mb: int = _knob("Its memory.", budget=512, production=1024, low=512, high=30_720)
    relay_spot: bool = _knob(
        "Spare capacity: 70% cheaper, and AWS may move the task with two minutes' notice, which is a short gap that "
        "backfill closes.",
        both=False,
    )
    relay_image: str = _knob(
        "Image to run. Empty: `cdk deploy` builds relay_container/Dockerfile, which needs Docker.",
        both="",
    )

    # ------------------------------------------------------------------ functions
    api_memory_mb: int = _knob(
        "Memory of the API's functions. Lambda gives CPU in proportion: 1769 MB have one processor, which a cold start "
        "needs to take less than a second.",
        both=1769,
        low=128,
        high=10_240,
    )
    api_concurrency: int = _knob("Requests answered at once.", budget=10, production=40, low=1, high=1000)
    api_pool: int = _knob("Database connections of one running API function.", both=2, low=1, high=20)
    sockets_concurrency: int = _knob("WebSocket events handled at once.", budget=5, production=20, low=1, high=1000)
    sockets_pool: int = _knob("Database connections of each.", both=1, low=1, high=20)
    jobs_pool: int = _knob("Database connections of each scheduled job and of the migration.", both=2, low=1, high=20)
    reserve_concurrency: bool = _knob(
        "Reserve each function's share. A new account may run 10 at once in all and cannot reserve: set this to false "
        "there until AWS has raised its quota.",
        both=True,
    )
    requests_per_second: int = _knob(
        "Requests a second that the HTTP API lets through.", budget=20, production=200, low=1, high=10_000
    )
    traces: str = _knob(
        "What AWS X-Ray is told of the functions. `calls`: Lambda's own record of each call. `inside`: also the "
        "handler's time, status, cold start and exception, by the X-Ray SDK. `off`: nothing.",
        budget="calls",
        production="inside",
        choices=("off", "calls", "inside"),
    )
    mover_every_minutes: int = _knob(
        "Minutes between two moves to the archive.", budget=60, production=15, low=5, high=1440
    )
    cleanup_every_minutes: int = _knob("Minutes between two sweeps.", budget=60, production=30, low=5, high=1440)

    # ------------------------------------------------------------------ vectors
    qdrant: str = _knob(
        "`cloud`: a cluster of Qdrant Cloud, whose free tier will do. `fargate`: our own, in a task. `none`: search by "
        "words alone.",
        both="cloud",
        choices=("cloud", "fargate", "none"),
    )
    qdrant_url: str = _knob(
        "Address of the cluster, where `qdrant` is `cloud`. Empty: search by words alone until there is one.",
        both="",
        pattern=r"https://[a-z0-9.-]+(:\d+)?|",
    )
    qdrant_cloud_memory_gb: float = _knob(
        "Memory of that cluster. The default is the free cluster's.", both=1.0, low=0.5, high=4_096
    )
    qdrant_cloud_disk_gb: float = _knob("Its disk.", both=4.0, low=1, high=65_536)
    qdrant_cpu: int = _knob("CPU of our own Qdrant.", budget=256, production=1024, choices=(256, 512, 1024, 2048, 4096))
    qdrant_memory_mb: int = _knob("Its memory.", budget=1024, production=4096, low=512, high=30_720)

    # ------------------------------------------------------------------ what is kept
    hot_days: int = _knob(
        "Days that posts stay in Postgres and Qdrant before they move to the archive.",
        budget=3,
        production=3,
        low=1,
        high=3650,
    )
    log_days: int = _knob(
        "Days that logs are kept.", budget=14, production=90, choices=(1, 3, 5, 7, 14, 30, 60, 90, 180, 365)
    )
    archive_cold_after_days: int = _knob(
        "Days after which archived posts move to Glacier Instant Retrieval.",
        budget=30,
        production=90,
        low=30,
        high=3650,
    )
    archive_keep_days: int = _knob(
        "Days after which archived posts are deleted; 0 keeps them.", budget=60, production=0, low=0, high=36_500
    )

    # ------------------------------------------------------------------ live frames
    websocket_messages_per_month: int = _knob(
        "Messages that may be billed in a month: towards it the relay stretches the cadence of live frames.",
        budget=300_000,
        production=20_000_000,
        low=1000,
        high=100_000_000_000,
    )

    # ------------------------------------------------------------------ how assets are built
    function_platform: str = _knob(
        "Platform whose wheels go into the functions, in uv's words.",
        both="aarch64-manylinux_2_34",
        pattern=r"(aarch64|x86_64)-[a-z0-9_]+",
    )
    function_python: str = _knob("Python of the functions.", both="3.13", choices=("3.11", "3.12", "3.13"))

    @property
    def combined(self) -> bool:
        return self.topology == "combined"

    @property
    def production(self) -> bool:
        return self.profile == "production"

    @property
    def archive_grows_cold(self) -> bool:
        """Whether files stay long enough for cold storage to pay: S3 bills at least `COLD_LEAST_DAYS` of it."""
        return not self.archive_keep_days or self.archive_keep_days >= self.archive_cold_after_days + COLD_LEAST_DAYS


@dataclass(frozen=True)
class Knob:
    """What is known about one knob."""

    name: str
    kind: type
    about: str
    budget: Any
    production: Any
    choices: tuple[str | int, ...]
    low: float | None
    high: float | None
    pattern: str

    @property
    def values(self) -> str:
        """What may be written there, in a few words."""
        if self.choices:
            return ", ".join(f"`{choice}`" for choice in self.choices)
        if self.kind is bool:
            return "`true` or `false`"
        if self.kind in (int, float):
            return f"{self.low:,.10g} to {self.high:,.10g}"
        return "text"


@cache
def knobs() -> tuple[Knob, ...]:
    """Every knob, in the order of the documentation."""
    hints = get_type_hints(Knobs)
    return tuple(Knob(field.name, hints[field.name], **field.metadata) for field in dataclasses.fields(Knobs))


def load(overrides: Mapping[str, object], where: str = CONTEXT_FILE) -> Knobs:
    """The knobs of the profile that `overrides` names (`budget` where it names none), and these over them.

    Values may be text, as `cdk -c` gives them.

    Raises:
        DeploymentError: every override that is unknown, of the wrong kind or out of bounds, and every contradiction.
    """
    known = {knob.name: knob for knob in knobs()}
    problems: list[str] = []
    chosen: dict[str, Any] = {}
    for name, value in overrides.items():
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"Did you mean {close[0]}?" if close else "docs/knobs.md lists all there are."
            problems.append(f"{where}: there is no knob {name!r}. {hint}")
            continue
        try:
            chosen[name] = _parse(known[name], value)
        except ValueError as error:
            problems.append(f"{where}: {name} {error}")
    profile = chosen.get("profile", "budget")
    values = {name: getattr(knob, profile) for name, knob in known.items()} | chosen
    if not problems:
        problems = _contradictions(Knobs(**values), where)
    if problems:
        raise DeploymentError(problems)
    return Knobs(**values)


NOT_KNOBS = ("environment", "secrets", "usage")
"""Keys of the context that hold a mapping of their own."""


def overrides_in(context: Mapping[str, object]) -> dict[str, object]:
    """The knobs in a context of CDK, whose own keys are never plain words."""
    return {
        key: value for key, value in context.items() if re.fullmatch(r"[a-z][a-z0-9_]*", key) and key not in NOT_KNOBS
    }


def overrides_of(chosen: Knobs) -> dict[str, object]:
    """What has to be given to `load` to get `chosen` again."""
    return {
        knob.name: value
        for knob in knobs()
        if (value := getattr(chosen, knob.name)) != getattr(knob, chosen.profile) or knob.name == "profile"
    }


def _parse(knob: Knob, value: object) -> object:
    parsers: dict[type, Callable[[object], object]] = {bool: _boolean, int: _integer, float: _number, str: str}
    parsed = parsers[knob.kind](value)
    example = line_for(knob.name, knob.budget)
    if knob.choices and parsed not in knob.choices:
        raise ValueError(f"is {value!r}. Set one of {', '.join(map(str, knob.choices))}, for example {example}.")
    if knob.low is not None and knob.high is not None and not knob.low <= float(str(parsed)) <= knob.high:
        raise ValueError(f"is {value}. Set it from {knob.low:g} to {knob.high:,.10g}, for example {example}.")
    if knob.pattern and not re.fullmatch(knob.pattern, str(parsed)):
        raise ValueError(f"is {value!r}, which has the wrong form. It looks like {example} and matches {knob.pattern}.")
    return parsed


def _boolean(value: object) -> bool:
    words = {"true": True, "false": False}
    try:
        return words[str(value).lower()]
    except KeyError:
        raise ValueError(f"is {value!r}. Set true or false.") from None


def _integer(value: object) -> int:
    if isinstance(value, bool) or not re.fullmatch(r"-?\d+", str(value)):
        raise ValueError(f"is {value!r}. Set a whole number.")
    return int(str(value))


def _number(value: object) -> float:
    try:
        return float(str(value))  # a boolean is no number here: its text does not parse
    except ValueError:
        raise ValueError(f"is {value!r}. Set a number.") from None


FARGATE_MEMORY_MB: Mapping[int, tuple[int, int]] = {
    256: (512, 2048),
    512: (1024, 4096),
    1024: (2048, 8192),
    2048: (4096, 16_384),
    4096: (8192, 30_720),
}
"""Memory that Fargate gives to each size of CPU: at least, at most."""


def _contradictions(chosen: Knobs, where: str) -> list[str]:
    problems: list[str] = []
    for part in ("relay", "qdrant"):
        cpu, memory = getattr(chosen, f"{part}_cpu"), getattr(chosen, f"{part}_memory_mb")
        low, high = FARGATE_MEMORY_MB[cpu]
        if not low <= memory <= high or memory % 512:
            problems.append(
                f"{where}: {part}_memory_mb is {memory}, but Fargate gives {cpu} CPU units {low} to {high} MB in steps "
                f"of 512. Set {line_for(f'{part}_memory_mb', min(max(memory - memory % 512, low), high))}."
            )
    zones = chosen.zones.split()
    if len(set(zones)) == 1 or any(zone[:-1] != chosen.region for zone in zones):
        problems.append(
            f"{where}: zones is {chosen.zones!r}. Set two different zones of {chosen.region}, for example "
            f"{line_for('zones', f'{chosen.region}b {chosen.region}c')}."
        )
    if chosen.database_storage_max_gb < chosen.database_storage_gb:
        problems.append(
            f"{where}: database_storage_max_gb is {chosen.database_storage_max_gb}, less than the "
            f"{chosen.database_storage_gb} that it starts with. "
            f"Set {line_for('database_storage_max_gb', chosen.database_storage_gb)} or more."
        )
    if chosen.nat == "none" and chosen.rotate_database_password_days:
        problems.append(
            f"{where}: rotate_database_password_days is {chosen.rotate_database_password_days}, and the function that "
            "rotates, AWS's own, reaches Secrets Manager over IPv4, for which `nat` none has no way out. Set "
            f"{line_for('nat', 'gateway')}, or {line_for('rotate_database_password_days', 0)} and rotate by hand "
            "(docs/deploy.md)."
        )
    return problems
