"""How the command line speaks: progress, errors, and stopping."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import ParamSpec, TypeVar

import typer

from groundswell.configuration.redaction import redact
from groundswell.errors import ConfigError, GroundswellError, exit_code_for

P = ParamSpec("P")
R = TypeVar("R")
FORCED_EXIT = 130


def explained(command: Callable[P, R]) -> Callable[P, R]:
    """Show a known error as a short text and end with its exit code; leave unknown ones to be seen in full."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except GroundswellError as error:
            show_error(error)
            raise typer.Exit(exit_code_for(error)) from error
        except KeyboardInterrupt:
            raise typer.Exit(FORCED_EXIT) from None

    return run


def exit_code_of(command: Callable[[], None]) -> int:
    """Run an `explained` command outside the command line; its exit code."""
    try:
        command()
    except typer.Exit as end:
        return end.exit_code
    return 0


def show_error(error: GroundswellError) -> None:
    typer.secho(f"✖ {error.title}", fg="red", bold=True, err=True)
    problems = error.problems if isinstance(error, ConfigError) else [error.detail]
    for problem in problems:
        marker = "  • " if len(problems) > 1 else "  "
        typer.echo(f"{marker}{redact(problem)}", err=True)


def run_until_stopped(service: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Run `service(stop)`. The first SIGINT or SIGTERM sets `stop`; the second ends the process at once.

    What is committed is on disk either way; a Postgres left behind is adopted by the next start.
    """
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_with_signals(service))


async def _with_signals(service: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    asked = False

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            os.write(2, b"Forced to end. Nothing stored is lost.\n")
            os._exit(FORCED_EXIT)
        asked = True
        loop.call_soon_threadsafe(stop.set)
        if sys.stderr.isatty():
            os.write(2, b"\nStopping (Ctrl-C again to force)\n")

    # Not the loop's own handlers: those wait for the loop, and the second signal is for when it does not turn.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    await service(stop)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.new_event_loop


class PlainProgress:
    """Progress as lines of text, for logs and pipes."""

    def __init__(self, on_ready: Callable[[str], object] | None) -> None:
        self._on_ready = on_ready

    def step(self, text: str) -> None:
        typer.echo(f"{text} …", err=True)

    def note(self, text: str) -> None:
        typer.echo(f"Note: {text}", err=True)

    def ready(self, url: str) -> None:
        typer.echo(f"Groundswell is running at {url}", err=True)
        if self._on_ready:
            self._on_ready(url)

    def close(self) -> None:
        """Nothing is held."""


class TerminalProgress:
    """Progress as a spinner on one line, each finished step left above it with a tick."""

    def __init__(self, hints: tuple[str, ...], on_ready: Callable[[str], object] | None) -> None:
        from rich.console import Console
        from rich.status import Status

        self._console = Console(stderr=True, highlight=False)
        self._status = Status("", console=self._console)
        self._current: str | None = None
        self._hints = hints
        self._on_ready = on_ready

    def step(self, text: str) -> None:
        self._finish()
        self._current = text
        self._status.update(f"{text} …")
        self._status.start()

    def note(self, text: str) -> None:
        self._console.print("[yellow]![/]", text, markup=True)

    def ready(self, url: str) -> None:
        from rich.panel import Panel

        self._finish()
        lines = "\n".join(hint.format(url=url) for hint in self._hints)
        said = f"[bold]Groundswell is running →[/] [bold cyan]{url}[/]\n\n{lines}"
        self._console.print(Panel(said, expand=False, padding=(1, 2)))
        if self._on_ready:
            self._on_ready(url)

    def close(self) -> None:
        self._status.stop()

    def _finish(self) -> None:
        self._status.stop()
        if self._current is not None:
            self._console.print(f"[green]✔[/] {self._current}")
            self._current = None


def make_progress(*hints: str, on_ready: Callable[[str], object] | None = None) -> TerminalProgress | PlainProgress:
    """For the terminal or for a log, whichever standard error is.

    `{url}` in a hint becomes the page's address; `on_ready` is called with it.
    """
    return TerminalProgress(hints, on_ready) if sys.stderr.isatty() else PlainProgress(on_ready)
