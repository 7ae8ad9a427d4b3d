"""`groundswell forget`: everything of one author goes."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from groundswell import crash_points, settings
from groundswell.commands.console import explained, run_until_stopped
from groundswell.commands.services import DataDirFlag, with_flags
from groundswell.errors import EX_TEMPFAIL

AuthorArgument = Annotated[
    str, typer.Argument(metavar="AUTHOR", help="A DID, such as did:plc:abc, or a handle, which is looked up.")
]


@explained
def forget(author: AuthorArgument, data_dir: DataDirFlag = None) -> None:
    """Remove everything of one author, and store nothing of theirs again.

    Posts leave the database, the counts, the vector index, the archive (its files are rewritten) and the pages that are
    open. Safe beside a running platform, to interrupt, and to repeat: the next run finds what is left.

    \b
    Example:
      groundswell forget somebody.bsky.social
    """
    from groundswell.wiring import forget_chores

    chosen = settings.load(settings.EmbeddedSettings, with_flags({"GROUNDSWELL_DATA_DIR": data_dir}))
    crash_points.arm(chosen.crash_point)
    unfinished = False

    async def work(stop: asyncio.Event) -> None:
        nonlocal unfinished
        outcome = await forget_chores.forget_author(chosen, author, lambda text: typer.echo(text, err=True), stop)
        removed = outcome.removed
        lines = [
            ("posts", removed.posts),
            ("hidden posts", removed.hidden),
            ("rows of the archive", removed.archived),
            ("files of the archive rewritten", removed.files),
        ]
        if removed.vectors:
            lines.append(("points of the vector index", removed.vectors))
        typer.echo(f"Removed of {outcome.author} in {outcome.seconds:.1f} s:")
        for name, number in lines:
            typer.echo(f"  {number:>9,}  {name}")
        unfinished = outcome.vectors_wait or not removed.finished
        if outcome.vectors_wait:
            typer.echo("The vector index still holds some of the posts; the platform takes them out.", err=True)
        if unfinished:
            typer.echo(f"Not finished: `groundswell forget {author}` goes on from here.", err=True)
        else:
            typer.echo("What any source sends of this author is not stored from now on.")

    run_until_stopped(work)
    if unfinished:
        raise typer.Exit(EX_TEMPFAIL)
