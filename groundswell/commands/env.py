"""`groundswell env`: what can be configured, and whether what is configured can work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deployment.report import render_docs as render_costs_docs
from deployment.report import render_knobs
from groundswell import settings
from groundswell.commands.console import explained
from groundswell.configuration.redaction import redact, redact_address
from groundswell.configuration.render import render_all, render_docs, render_env_example
from groundswell.configuration.schema import schema_path, variables
from groundswell.errors import ConfigError
from groundswell.metrics import render_metrics_docs

ALL = "all"

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Show, check and document the configuration.")


@app.command("list")
@explained
def list_variables(
    changed: Annotated[bool, typer.Option("--changed", help="Only what differs from the default.")] = False,
) -> None:
    """List every variable, its value, and where the value comes from. Secrets are not shown.

    \b
    Example:
      groundswell env list --changed
    """
    from rich.console import Console
    from rich.table import Table

    given = settings.read_environment()
    table = Table("Variable", "Value", "From", "Used by", box=None, pad_edge=False)
    for variable in variables():
        value = given.get(variable.name, "").strip()
        if changed and not value:
            continue
        origin = settings.origin_of(variable.name) if value else "default"
        given_text = redact_address(value) if variable.kind in {"url", "list"} and "://" in value else redact(value)
        shown = "(set)" if variable.secret and value else given_text or variable.default_text or "(empty)"
        table.add_row(variable.name, shown, origin, " ".join(variable.services))
    Console(soft_wrap=True).print(table, markup=False)


@app.command()
@explained
def check(
    service: Annotated[
        str,
        typer.Argument(
            help="embedded (what `groundswell up` runs), relay, api, mover, cleanup, migrate, or all of them."
        ),
    ] = settings.EMBEDDED,
) -> None:
    """Check the configuration as a service would at its start, without starting it. Exit code 78 if it cannot work.

    \b
    Examples:
      groundswell env check             # what `groundswell up` needs
      groundswell env check api
      groundswell env check all         # all that run as services of their own, too
    """
    names = {kind.service: kind for kind in settings.SETTINGS}
    if service not in (*names, ALL):
        raise ConfigError([f"There is no service {service!r}. There are {', '.join(names)}; {ALL} checks each."])
    problems: dict[str, None] = {}
    for name, kind in names.items():
        if service in (ALL, name):
            try:
                settings.load(kind)
            except ConfigError as error:
                problems.update(dict.fromkeys(error.problems))
    if problems:
        raise ConfigError(list(problems))
    typer.echo(f"The configuration of {'every service' if service == ALL else service} can work.")


@app.command()
@explained
def example() -> None:
    """Print a documented .env file with every variable.

    \b
    Example:
      groundswell env example > .env
    """
    typer.echo(render_env_example(variables()), nl=False)


@app.command()
@explained
def docs() -> None:
    """Print the configuration's documentation (Markdown)."""
    typer.echo(render_docs(variables()), nl=False)


@app.command()
@explained
def generate(
    only_check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit with 78 if a file is out of date.")
    ] = False,
) -> None:
    """For developers: write the files made from env.schema.json and from the list of metrics."""
    stale = [path for path, text in generated_files().items() if _read(path) != text]
    if only_check and stale:
        raise ConfigError([f"{path}: is out of date. Run `make generate`." for path in stale])
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(generated_files()[path], "utf-8")
        typer.echo(f"Wrote {path}")
    if not stale:
        typer.echo("Every generated file is up to date.")


def generated_files() -> dict[Path, str]:
    """Every generated file of a checkout and what belongs in it."""
    root = schema_path().parent
    files = {root / path: text for path, text in render_all(variables()).items()}
    docs = root / "docs"
    return files | {
        docs / "metrics.md": render_metrics_docs(),
        docs / "costs.md": render_costs_docs(),
        docs / "knobs.md": render_knobs(),
    }


def _read(path: Path) -> str | None:
    return path.read_text("utf-8") if path.exists() else None
