"""`groundswell index`: the vector index, looked at and made anew."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from groundswell import settings
from groundswell.commands.console import explained, run_until_stopped
from groundswell.commands.services import DataDirFlag, with_flags
from groundswell.core.posts import MICROS_PER_SECOND
from groundswell.errors import EX_TEMPFAIL

app = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="The vector index. Postgres holds every post, so it can be made anew at any time.",
)


@app.command()
@explained
def status(data_dir: DataDirFlag = None) -> None:
    """Say what is indexed, what waits, and what it takes."""
    from groundswell.wiring import index_chores

    report = asyncio.run(index_chores.inspect_index(_load(data_dir)))
    state = report.state
    lines = [("posts stored", f"{state.posts:,}"), ("waiting to be indexed", f"{state.waiting:,}")]
    lines.append(("points in the index", f"not known: {report.why}" if report.points is None else f"{report.points:,}"))
    lines += [(f"  in {space}", f"{number:,}") for space, number in state.spaces]
    if report.engine_bytes is not None and report.points:
        megabytes = report.engine_bytes / 2**20
        million = megabytes / report.points * 1_000_000
        lines.append(("memory of the engine", f"{megabytes:,.0f} MiB, {million:,.0f} MiB for a million posts"))
    if state.not_cut:
        lines.append(("posts with terms of an earlier release", f"{state.not_cut:,}"))
    lines.append(("emptying the outbox", "the platform that runs" if report.platform_indexes else "nobody now"))
    if state.rebuilding:
        lines.append(("rebuild", "interrupted: `groundswell index rebuild` goes on"))
    elif state.rebuilt_at is not None:
        lines.append(
            ("last rebuilt", f"{datetime.fromtimestamp(state.rebuilt_at / MICROS_PER_SECOND, UTC):%Y-%m-%d %H:%M} UTC")
        )
    width = max(len(name) for name, _ in lines)
    for name, value in lines:
        typer.echo(f"{name:<{width}}  {value}")


@app.command()
@explained
def rebuild(
    data_dir: DataDirFlag = None,
    from_scratch: Annotated[
        bool,
        typer.Option(help="Throw the old index away first. Search by meaning finds only what has been indexed again."),
    ] = False,
) -> None:
    """Index every post again, from Postgres, with a progress bar. Searches go on.

    Ctrl-C stops it; the next call goes on from there. Where the platform runs, it does the work.

    \b
    Examples:
      groundswell index rebuild                  # in place
      groundswell index rebuild --from-scratch   # with a new collection
    """
    from groundswell.wiring import index_chores

    chosen = _load(data_dir)
    interrupted = False

    async def work(stop: asyncio.Event) -> None:
        nonlocal interrupted
        progress = Bar()
        try:
            done = await index_chores.rebuild_index(chosen, progress, stop, from_scratch=from_scratch)
        finally:
            progress.close()
        interrupted = done is None
        if done is not None:
            typer.echo(f"{done:,} posts are indexed anew.", err=True)
        else:
            typer.echo("Interrupted. `groundswell index rebuild` goes on from here.", err=True)

    run_until_stopped(work)
    if interrupted:
        raise typer.Exit(EX_TEMPFAIL)


class Bar:
    """A progress bar on standard error; lines now and then where that is no terminal."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._console = Console(stderr=True, highlight=False)
        self._bar = Progress(
            TextColumn("Indexing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=self._console
        )
        self._task = self._bar.add_task("", total=None)
        self._tenth = -1
        if self._console.is_terminal:
            self._bar.start()

    def say(self, text: str) -> None:
        self._console.print(text)

    def at(self, done: int, total: int) -> None:
        self._bar.update(self._task, completed=done, total=total)
        tenth = 10 if not total else 10 * done // total
        if not self._console.is_terminal and tenth != self._tenth:
            self._tenth = tenth
            self._console.print(f"{done:,} of {total:,} posts")

    def close(self) -> None:
        self._bar.stop()


def _load(data_dir: Path | None) -> settings.EmbeddedSettings:
    return settings.load(settings.EmbeddedSettings, with_flags({"GROUNDSWELL_DATA_DIR": data_dir}))
