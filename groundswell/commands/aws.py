"""`groundswell aws`: what an operator does with a deployment on AWS."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from groundswell.commands.console import explained

if TYPE_CHECKING:
    from groundswell.core.operator_commands import Answer

app = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Operate a deployment on AWS, with your own credentials. The deployment is that of cdk/cdk.json.",
)
NameFlag = Annotated[
    str | None, typer.Option("--name", help="Prefix of the stacks.", show_default="that of cdk/cdk.json")
]
RegionFlag = Annotated[str | None, typer.Option("--region", help="AWS region.", show_default="that of cdk/cdk.json")]


@app.command(context_settings={"allow_interspersed_args": False})
@explained
def run(
    command: Annotated[list[str], typer.Argument(metavar="COMMAND", help="The command and what belongs to it.")],
    name: NameFlag = None,
    region: RegionFlag = None,
) -> None:
    """Run a command beside the private database: keys, doctor, archive, index, migrate. Ends with its exit code.

    A function of the deployment runs it and answers with what it writes. Whoever may invoke that function may run it.

    \b
    Examples:
      groundswell aws run -- keys create ops
      groundswell aws run -- doctor
      groundswell aws run -- archive verify --since 2026-07-01
      groundswell aws run -- index rebuild
    """
    from groundswell.core.operator_commands import choose
    from groundswell.wiring import operator

    choose(command)

    def told(answer: Answer) -> None:
        typer.echo(answer.stderr, err=True, nl=False)
        typer.echo(answer.stdout, nl=False)
        sys.stdout.flush()

    found = operator.deployment(overrides(name, region))
    code = operator.run(command, found, told, columns=shutil.get_terminal_size((120, 24)).columns)
    if code:
        raise typer.Exit(code)


@app.command()
@explained
def restore(
    to: Annotated[str, typer.Option("--to", metavar="TIME", help="The time to go back to, such as 2026-11-29T12:00Z.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Change nothing: print the commands that would do it.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    name: NameFlag = None,
    region: RegionFlag = None,
) -> None:
    """Put the database back to what it was at a point in time, and start the platform on it.

    Stops the relay and the schedules, restores into a new instance with the network and the parameters of the old one,
    gives it the old one's name, brings the schema up to date and starts again. The old instance is kept under another
    name. When it is interrupted, the same command goes on from there.

    \b
    Examples:
      groundswell aws restore --to 2026-11-29T12:00Z --dry-run
      groundswell aws restore --to 2026-11-29T12:00Z
    """
    from groundswell.wiring import operator

    work = operator.restore(overrides(name, region), to, lambda line: typer.echo(line, err=True))
    if dry_run:
        for line in work.commands():
            typer.echo(line)
        return
    if not yes:
        typer.confirm(
            f"Put {work.instance} back to {to}, and keep what it is now as {work.aside}?", abort=True, err=True
        )
    work.run()
    typer.echo(f"{work.instance} is what it was at {to}.", err=True)
    typer.echo(
        f"What it was before is {work.aside}, which costs as much. When you need it no more:\n{work.removal()}",
        err=True,
    )
    typer.echo("What the source could not send again is a gap:", err=True)
    typer.echo(operator.gaps(work.page_api()))


def overrides(name: str | None, region: str | None) -> dict[str, object]:
    """The knobs that were named on the command line."""
    return {key: value for key, value in (("name", name), ("region", region)) if value is not None}
