"""`up`, `replay`, `relay`, `api` and `migrate`: what runs."""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
import webbrowser
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from groundswell import crash_points, settings
from groundswell.commands.console import explained, make_progress, run_until_stopped
from groundswell.configuration.schema import variable_named
from groundswell.errors import ConfigError
from groundswell.observability import configure_logging

_FLAGS = {
    "GROUNDSWELL_SOURCE": "--source",
    "GROUNDSWELL_REPLAY_FILE": "--file",
    "GROUNDSWELL_REPLAY_SPEED": "--speed",
    "GROUNDSWELL_API_PORT": "--port",
    "GROUNDSWELL_DATA_DIR": "--data-dir",
    "GROUNDSWELL_SIMULATOR_RATE": "--rate",
}

PortFlag = Annotated[int | None, typer.Option("--port", help="Port of the page and the API.", show_default="8000")]
SourceFlag = Annotated[
    str | None,
    typer.Option(
        "--source",
        metavar="NAME",
        help=f"The stream: {', '.join(variable_named('GROUNDSWELL_SOURCE').enum)}.",
        show_default="simulator",
    ),
]
DataDirFlag = Annotated[
    Path | None, typer.Option("--data-dir", help="Where everything is kept between runs.", show_default=".groundswell")
]
SpeedFlag = Annotated[
    str | None,
    typer.Option(
        "--speed", help="For recordings: 1 is as it happened, 60 a minute a second, or max.", show_default="1"
    ),
]
OpenFlag = Annotated[bool, typer.Option("--open/--no-open", help="Open the page in a browser when it is ready.")]


@explained
def up(  # noqa: PLR0917 -- flags, all by name
    source: SourceFlag = None,
    file: Annotated[
        Path | None, typer.Option("--file", help="Recording to play; implies --source replay.", show_default=False)
    ] = None,
    speed: SpeedFlag = None,
    rate: Annotated[float | None, typer.Option(help="For the simulator: posts a second.", show_default="25")] = None,
    port: PortFlag = None,
    data_dir: DataDirFlag = None,
    open_browser: OpenFlag = False,
) -> None:
    """Run the whole platform on this machine: database, vector index, relay, API and page.

    Nothing has to be installed or running beforehand. Data is kept between runs; Ctrl-C stops everything.

    \b
    Examples:
      groundswell up                                     # a simulated feed with planted surges
      groundswell up --source jetstream                  # Bluesky, live
      groundswell up --source sealed                     # an encrypted feed behind a wallet: the simulator's, or yours
      groundswell up --file monday.jsonl.zst --speed 60  # a recording, a minute a second
      groundswell up --port 8080 --data-dir /tmp/try     # a second one beside the first
    """
    chosen = "replay" if file is not None and source is None else source
    _run_embedded(
        {
            "GROUNDSWELL_SOURCE": chosen,
            "GROUNDSWELL_REPLAY_FILE": file,
            "GROUNDSWELL_REPLAY_SPEED": speed,
            "GROUNDSWELL_SIMULATOR_RATE": rate,
            "GROUNDSWELL_API_PORT": port,
            "GROUNDSWELL_DATA_DIR": data_dir,
        },
        open_browser=open_browser,
    )


@explained
def replay(
    file: Annotated[Path, typer.Argument(help="Recording: Jetstream frames, plain or compressed.")],
    speed: SpeedFlag = None,
    port: PortFlag = None,
    data_dir: DataDirFlag = None,
    open_browser: OpenFlag = False,
) -> None:
    """Play a recording into the whole platform: the same as `up --source replay --file FILE`.

    \b
    Examples:
      groundswell replay monday.jsonl.zst                # as it happened
      groundswell replay monday.jsonl.zst --speed max    # as fast as it can be stored
    """
    _run_embedded(
        {
            "GROUNDSWELL_SOURCE": "replay",
            "GROUNDSWELL_REPLAY_FILE": file,
            "GROUNDSWELL_REPLAY_SPEED": speed,
            "GROUNDSWELL_API_PORT": port,
            "GROUNDSWELL_DATA_DIR": data_dir,
        },
        open_browser=open_browser,
    )


@explained
def relay() -> None:
    """Run the relay alone: from the source into Postgres and Qdrant, set up by environment variables.

    Needs GROUNDSWELL_DATABASE_URL. It waits, for a while, for the schema that `groundswell migrate` makes.

    \b
    Example:
      GROUNDSWELL_DATABASE_URL=postgresql://… GROUNDSWELL_SOURCE=jetstream groundswell relay
    """
    chosen = settings.load(settings.RelaySettings)
    configure_logging(level=chosen.log_level, style=chosen.log_format)
    crash_points.arm(chosen.crash_point)
    from groundswell.wiring.relay import run_relay

    run_until_stopped(lambda stop: run_relay(chosen, stop))


@explained
def api() -> None:
    """Run the API alone: REST, WebSocket and the page over an existing database, set up by environment variables.

    \b
    Example:
      GROUNDSWELL_DATABASE_URL=postgresql://… GROUNDSWELL_API_HOST=0.0.0.0 groundswell api
    """
    chosen = settings.load(settings.ApiSettings)
    configure_logging(level=chosen.log_level, style=chosen.log_format)
    crash_points.arm(chosen.crash_point)
    _check_port_free(chosen.api_host, chosen.api_port)
    from groundswell.wiring.api import run_api

    run_until_stopped(lambda stop: run_api(chosen, stop))


@explained
def migrate(data_dir: DataDirFlag = None) -> None:
    """Bring the database schema up to date; does nothing when it is. Safe to run twice at once.

    Works on GROUNDSWELL_DATABASE_URL, or on the embedded database of the data directory, running or not.
    """
    chosen = settings.load(settings.MigrateSettings, with_flags({"GROUNDSWELL_DATA_DIR": data_dir}))
    from groundswell.wiring import chores

    before, after = asyncio.run(chores.migrate_database(chosen.database_url, chosen.data_dir))
    if before == after:
        typer.echo(f"The schema is up to date: version {after}.")
    else:
        typer.echo(f"The schema went from version {before or 'none'} to {after}.")


def with_flags(flags: Mapping[str, object | None]) -> dict[str, str]:
    """The environment with the flags that were given laid over it."""
    return settings.read_environment() | {name: str(value) for name, value in flags.items() if value is not None}


def _run_embedded(flags: Mapping[str, object | None], *, open_browser: bool) -> None:
    try:
        chosen = settings.load(settings.EmbeddedSettings, with_flags(flags))
    except ConfigError as error:
        given = {name for name, value in flags.items() if value is not None}
        raise ConfigError([_name_flag(problem, given) for problem in error.problems]) from None
    configure_logging(level=chosen.log_level, style=chosen.log_format)
    crash_points.arm(chosen.crash_point)
    _check_port_free(chosen.api_host, chosen.api_port)
    progress = make_progress(
        "Search     {url}/v1/search?q=coffee",
        "Momentum   {url}/v1/momentum",
        "API docs   {url}/docs",
        "Check-up   groundswell doctor",
        "Stop       Ctrl-C (everything is kept)",
        on_ready=webbrowser.open if open_browser else None,
    )
    progress.step("Loading the program")
    from groundswell.wiring.embedded import run_embedded

    try:
        run_until_stopped(lambda stop: run_embedded(chosen, progress=progress, stop=stop))
    finally:
        progress.close()


def _name_flag(problem: str, given: set[str]) -> str:
    """Say the flag where the value came from a flag."""
    name, colon, rest = problem.partition(":")
    return f"{_FLAGS[name]}{colon}{rest}" if name in given else problem


def _check_port_free(host: str, port: int) -> None:
    """Find out before a long preparation. Raises ConfigError where the address cannot be listened on."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        if sys.platform != "win32":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                remedy = (
                    "something else listens on it. If that is a Groundswell, open it in the browser; otherwise "
                    f"choose another port, for example --port {port + 1} or GROUNDSWELL_API_PORT={port + 1}."
                )
            else:
                remedy = f"{error.strerror or error}. Correct GROUNDSWELL_API_HOST and GROUNDSWELL_API_PORT."
            raise ConfigError([f"Port {port} on {host} cannot be used: {remedy}"]) from error
