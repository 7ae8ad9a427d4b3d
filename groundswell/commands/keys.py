"""`groundswell keys`: who may write."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from groundswell import settings
from groundswell.commands.console import explained
from groundswell.commands.services import DataDirFlag, with_flags
from groundswell.core.posts import MICROS_PER_SECOND

app = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="API keys: needed for everything that changes something. Reading is open to everyone.",
)
NameArgument = Annotated[str, typer.Argument(help="What the key is for, for example the program that uses it.")]


@app.command()
@explained
def create(name: NameArgument, data_dir: DataDirFlag = None) -> None:
    """Make a key and print it. It is shown this once: only its hash is kept.

    \b
    Example:
      curl -H "Authorization: Bearer $(groundswell keys create my-script)" …
    """
    from groundswell.wiring import chores

    chosen = _load(data_dir)
    key = asyncio.run(chores.create_key(chosen.database_url, chosen.data_dir, name))
    typer.echo(key)
    typer.echo(f"Key {name!r} made. Keep it safe: it cannot be shown again.", err=True)


@app.command("list")
@explained
def list_keys(data_dir: DataDirFlag = None) -> None:
    """List the keys there are: name and day of creation."""
    from groundswell.wiring import chores

    chosen = _load(data_dir)
    found = asyncio.run(chores.list_keys(chosen.database_url, chosen.data_dir))
    for name, created in found:
        typer.echo(f"{datetime.fromtimestamp(created / MICROS_PER_SECOND, UTC):%Y-%m-%d}  {name}")
    if not found:
        typer.echo("There are no keys. Make one with `groundswell keys create NAME`.", err=True)


@app.command()
@explained
def revoke(name: NameArgument, data_dir: DataDirFlag = None) -> None:
    """Take a key back: from now on it opens nothing."""
    from groundswell.wiring import chores

    chosen = _load(data_dir)
    asyncio.run(chores.revoke_key(chosen.database_url, chosen.data_dir, name))
    typer.echo(f"Key {name!r} is revoked.", err=True)


def _load(data_dir: Path | None) -> settings.MigrateSettings:
    return settings.load(settings.MigrateSettings, with_flags({"GROUNDSWELL_DATA_DIR": data_dir}))
