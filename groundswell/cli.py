"""The command `groundswell`."""

from __future__ import annotations

import typer

from groundswell.commands import archive, aws, bench, cost, doctor, drill, env, forget, index, keys, services
from groundswell.configuration.other_programs import forget_postgres_variables
from groundswell.configuration.redaction import redact_crashes

app = typer.Typer(
    name="groundswell",
    no_args_is_help=True,
    rich_markup_mode=None,  # importing rich for the help alone would double the time it takes
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=(
        "Watch a live social stream, notice what gathers momentum, and search it by meaning.\n\n"
        "\b\nStart here:\n"
        "  groundswell up        everything on this machine, at http://localhost:8000\n"
        "  groundswell doctor    what is broken, and how to mend it\n"
        "  groundswell env list  what can be set\n"
    ),
    epilog="Each command explains itself: groundswell COMMAND --help",
)

app.command(short_help="Run the whole platform on this machine.")(services.up)
app.command(short_help="The same, on a recording.")(services.replay)
app.command(short_help="Run the relay alone, on stores of your own.")(services.relay)
app.command(short_help="Run the API and the page alone.")(services.api)
app.command(short_help="Bring the database schema up to date.")(services.migrate)
app.command(short_help="Show what a month on AWS costs.")(cost.cost)
app.command(short_help="Find what is broken, and how to mend it.")(doctor.doctor)
app.command(short_help="Break a platform on purpose, and see what holds.")(drill.drill)
app.command(short_help="Remove everything of one author, for good.")(forget.forget)
app.add_typer(bench.app, name="bench", short_help="Measure how good and how fast the platform is.")
app.add_typer(archive.app, name="archive", short_help="Old posts as files: move, list, verify, restore, query.")
app.add_typer(aws.app, name="aws", short_help="Operate a deployment on AWS.")
app.add_typer(env.app, name="env", short_help="Show, check and document the configuration.")
app.add_typer(index.app, name="index", short_help="Look at the vector index, and make it anew.")
app.add_typer(keys.app, name="keys", short_help="Make, list and revoke API keys.")


@app.callback(invoke_without_command=True)
def groundswell(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
) -> None:
    if version:
        from importlib.metadata import version as installed

        typer.echo(f"groundswell {installed('groundswell')}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main() -> None:
    redact_crashes()
    forget_postgres_variables()
    app()
