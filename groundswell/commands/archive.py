"""`groundswell archive`: move old posts now, look after the archive, ask it, and bring posts back."""

from __future__ import annotations

import asyncio
import csv
import json
import sys
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from groundswell import crash_points, settings
from groundswell.commands.console import explained, run_until_stopped
from groundswell.commands.services import DataDirFlag, with_flags
from groundswell.errors import EX_TEMPFAIL, ArchiveDamaged, InvalidRequest
from groundswell.observability import configure_logging

if TYPE_CHECKING:
    from groundswell.ports.archive import ArchivedFile
    from groundswell.wiring.archive_chores import Desk, Each, Selection

T = TypeVar("T")

app = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Posts past the hot window, as Parquet files: move, list, verify, restore, and query them.",
)

SinceFlag = Annotated[
    str | None, typer.Option("--since", metavar="DAY", help="First day, such as 2026-07-04.", show_default="the first")
]
UntilFlag = Annotated[
    str | None, typer.Option("--until", metavar="DAY", help="Last day, inclusive.", show_default="the last")
]
SourceFlag = Annotated[str | None, typer.Option("--source", help="Only posts of this source.", show_default="all")]


class Form(StrEnum):
    table = "table"
    json = "json"
    csv = "csv"


@app.command()
@explained
def move(
    within: Annotated[
        float | None, typer.Option("--within", metavar="SECONDS", min=1, help="Stop cleanly before this is over.")
    ] = None,
    data_dir: DataDirFlag = None,
) -> None:
    """Move now what is due, as a running platform does by itself every hour. Safe beside one, and to interrupt.

    Posts of a day are due once the whole day is older than GROUNDSWELL_HOT_DAYS.

    \b
    Example:
      groundswell archive move --within 600
    """

    async def run(desk: Desk, stop: asyncio.Event) -> None:
        moved = await desk.move(stop, within)
        typer.echo(f"Moved {moved.posts:,} posts in {moved.files:,} files ({_size(moved.bytes)}) to {desk.where}.")
        if moved.again:
            typer.echo(
                f"{moved.again} files were given up because their posts changed meanwhile: the next move takes them."
            )
        if moved.ended != "done":
            typer.echo("There is more to move: run it again.")

    _at_desk(data_dir, run)


@app.command("list")
@explained
def list_files(
    since: SinceFlag = None,
    until: UntilFlag = None,
    source: SourceFlag = None,
    as_json: Annotated[bool, typer.Option("--json", help="One manifest a line, as JSON.")] = False,
    data_dir: DataDirFlag = None,
) -> None:
    """List what is in the archive, by day and source."""

    async def run(desk: Desk, _stop: asyncio.Event) -> None:
        files = await desk.files(_selection(since, until, source))
        if as_json:
            import msgspec

            for file in files:
                typer.echo(msgspec.json.encode(file.manifest))
            return
        _print_days(files)
        posts, size = sum(file.manifest.rows for file in files), sum(file.manifest.bytes for file in files)
        typer.echo(f"{posts:,} posts in {len(files):,} files ({_size(size)}) at {desk.where}.", err=True)

    _at_desk(data_dir, run)


@app.command()
@explained
def verify(
    since: SinceFlag = None, until: UntilFlag = None, source: SourceFlag = None, data_dir: DataDirFlag = None
) -> None:
    """Read every file again and compare it with what was written. Exit code 70 where one is not, with its name.

    Ctrl-C ends it after the file under way with exit code 75, and says where to go on.

    \b
    Example:
      groundswell archive verify --since 2026-07-01
    """

    async def run(desk: Desk, stop: asyncio.Event) -> None:
        files = await desk.files(_selection(since, until, source))
        with _progress("Verifying", len(files)) as each:
            damaged, next_file = await desk.verify(files, each, stop)
        for name in await desk.strays():
            typer.echo(
                f"Note: nobody needs {name}: a mover that was cut short left it. Delete it if you like.", err=True
            )
        if damaged:
            lines = [f"{len(damaged)} of {len(files)} files at {desk.where} are not what was written:"]
            lines += [f"  {checked.file.manifest.file}: {fault}" for checked in damaged for fault in checked.faults]
            lines.append("  Put them back from a copy: a versioned bucket or a backup of the directory has one.")
            raise ArchiveDamaged("\n".join(lines))
        if next_file is not None:
            day = next_file.manifest.day
            typer.echo(f"Interrupted, and nothing damaged so far. Go on with --since {day}.", err=True)
            raise typer.Exit(EX_TEMPFAIL)
        typer.echo(f"All {len(files):,} files at {desk.where} are what was written.")

    _at_desk(data_dir, run)


@app.command()
@explained
def restore(
    day: Annotated[str, typer.Argument(metavar="DAY", help="The day to bring back, such as 2026-07-04 (UTC).")],
    until: Annotated[
        str | None, typer.Option("--until", metavar="DAY", help="The last of several days.", show_default="DAY")
    ] = None,
    source: SourceFlag = None,
    data_dir: DataDirFlag = None,
) -> None:
    """Bring the posts of a day back into Postgres, where they are listed and found again for another hot window.

    Counts do not change: archived posts never stopped counting. What was deleted since does not come back. Safe to
    repeat. Ctrl-C ends it after the file under way with exit code 75; the same command goes on from there.

    \b
    Example:
      groundswell archive restore 2026-07-04
    """

    async def run(desk: Desk, stop: asyncio.Event) -> None:
        files = await desk.files(_selection(day, until or day, source))
        if not files:
            days = sorted({file.manifest.day for file in await desk.files(_selection(None, None, source))})
            there = f"It holds {days[0]} to {days[-1]}" if days else "It is empty"
            raise InvalidRequest(f"The archive at {desk.where} has nothing of {day}. {there}.", field="day")
        with _progress("Restoring", len(files)) as each:
            restored, done = await desk.restore(files, each, stop)
        if done < len(files):
            typer.echo(f"Brought {restored:,} posts of {done} of {len(files)} files back. Repeat to go on.", err=True)
            raise typer.Exit(EX_TEMPFAIL)
        typer.echo(f"Brought {restored:,} posts back. They are found by words at once, by meaning once indexed.")

    _at_desk(data_dir, run)


@app.command()
@explained
def query(  # noqa: PLR0917 -- flags, all by name
    sql: Annotated[str, typer.Argument(metavar="SQL", help="One SELECT over the view `posts`, in DuckDB's SQL.")],
    since: SinceFlag = None,
    until: UntilFlag = None,
    source: SourceFlag = None,
    form: Annotated[Form, typer.Option("--format", help="How to print the answer.")] = Form.table,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="Most rows to print.")] = 1000,
    timeout: Annotated[float, typer.Option(min=1, max=3600, help="Most seconds that it may take.")] = 60,
    data_dir: DataDirFlag = None,
) -> None:
    """Ask the archive in SQL. Nothing can be changed by it, and nothing else be read.

    Columns of `posts`: pk, id, source, author, text, lang, created_at, event_time, rev, entities (a list),
    reply_to, quote_of, ingested_at. Posts that were deleted since are not in it.

    \b
    Examples:
      groundswell archive query "SELECT lang, count(*) FROM posts GROUP BY ALL ORDER BY 2 DESC"
      groundswell archive query "SELECT unnest(entities) AS entity, count(*) AS n FROM posts GROUP BY ALL
                                 ORDER BY n DESC LIMIT 20" --since 2026-07-01 --format csv
    """

    async def run(desk: Desk, _stop: asyncio.Event) -> None:
        files = await desk.files(_selection(since, until, source))
        with _progress("Fetching", len(files)) as each:
            answer = await desk.query(sql, files, each, limit=limit, timeout_s=timeout)
        _print_answer(form, answer.columns, answer.rows)
        if answer.truncated:
            typer.echo(f"Only the first {limit:,} rows are shown: raise --limit, or narrow the query.", err=True)

    _at_desk(data_dir, run)


def _at_desk(data_dir: Path | None, work: Callable[[Desk, asyncio.Event], Awaitable[None]]) -> None:
    chosen = settings.load(settings.MoverSettings, with_flags({"GROUNDSWELL_DATA_DIR": data_dir}))
    configure_logging(level="warning", style=chosen.log_format)
    crash_points.arm(chosen.crash_point)
    from groundswell.wiring.archive_chores import archive_desk

    async def run(stop: asyncio.Event) -> None:
        async with archive_desk(chosen) as desk:
            await work(desk, stop)

    run_until_stopped(run)


def _selection(since: str | None, until: str | None, source: str | None) -> Selection:
    from groundswell.wiring.archive_chores import Selection

    first, last = _day(since, "--since"), _day(until, "--until")
    if first is not None and last is not None and first > last:
        raise InvalidRequest(f"{last} is before {first}: there is no day between them. Swap the two.", field="--until")
    return Selection(since=first, until=last, source=source)


def _day(text: str | None, flag: str) -> str | None:
    try:
        return None if text is None else date.fromisoformat(text).isoformat()
    except ValueError as error:
        raise InvalidRequest(f"{text!r} is no day. Write it as 2026-07-04.", field=flag) from error


@contextmanager
def _progress(text: str, total: int) -> Generator[Each]:
    """A bar on a terminal; nothing in a log, where the result is enough."""
    if not sys.stderr.isatty() or total == 0:
        yield lambda _file: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(text, total=total)

        def each(file: ArchivedFile) -> None:
            progress.update(task, advance=1, description=f"{text} {file.manifest.day}")

        yield each


def _print_days(files: Sequence[ArchivedFile]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("Day", "Source", "Files", "Posts", "Size", "Withdrawn since", box=None, pad_edge=False)
    for column in table.columns[2:]:
        column.justify = "right"
    days: dict[tuple[str, str], list[ArchivedFile]] = {}
    for file in files:
        days.setdefault((file.manifest.day, file.manifest.source), []).append(file)
    for (day, source), found in days.items():
        posts, withdrawn = sum(file.manifest.rows for file in found), sum(file.withdrawn for file in found)
        size = _size(sum(file.manifest.bytes for file in found))
        table.add_row(day, source, f"{len(found):,}", f"{posts:,}", size, f"{withdrawn:,}" if withdrawn else "")
    Console(soft_wrap=True).print(table, markup=False)


def _print_answer(form: Form, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    if form is Form.json:
        names = list(columns)
        for row in rows:
            typer.echo(json.dumps(dict(zip(names, map(_plain, row), strict=True)), ensure_ascii=False, default=str))
    elif form is Form.csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([_flat(value) for value in row] for row in rows)
    else:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False)
        for column in columns:
            table.add_column(Text(column))
        for row in rows:
            table.add_row(*(Text(_flat(value)) for value in row))
        Console(soft_wrap=not sys.stdout.isatty()).print(table)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z") if value.tzinfo else value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    return value


def _flat(value: Any) -> str:
    value = _plain(value)
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _size(count: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:,.0f} {unit}" if unit == "bytes" else f"{count:,.1f} {unit}"
        count /= 1024
    raise AssertionError("the loop always returns")
