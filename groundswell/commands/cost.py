"""`cost`: what the deployment on AWS costs, before and after."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from groundswell.commands.console import explained
from groundswell.errors import CloudUnavailable, ConfigError


class Profile(StrEnum):
    budget = "budget"
    production = "production"


@explained
def cost(
    profile: Annotated[
        Profile | None, typer.Option(help="The profile to estimate.", show_default="that of cdk/cdk.json")
    ] = None,
    knob: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Estimate with another value of a knob; may be repeated."),
    ] = None,
    actual: Annotated[
        bool | None,
        typer.Option(
            "--actual/--no-actual",
            help="Also ask AWS what was spent and used; costs a cent.",
            show_default="where there are credentials",
        ),
    ] = None,
) -> None:
    """Show what a month on AWS costs, line by line; with credentials also what was spent, and what could be smaller.

    \b
    Examples:
      groundswell cost                                  # what cdk/cdk.json describes
      groundswell cost --set relay_spot=true            # the same with its relay on spare capacity
      groundswell cost --profile production --no-actual
    """
    from groundswell.wiring import costs

    overrides: dict[str, object] = {} if profile is None else {"profile": profile.value}
    for pair in knob or []:
        name, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError([f"--set {pair}: is not NAME=VALUE. For example --set relay_spot=true."])
        overrides[name] = value
    chosen = costs.choose(overrides)
    typer.echo(costs.estimate(chosen))
    if actual is False:
        return
    if not actual and (why := costs.why_not_ask(chosen)) is not None:
        typer.echo(f"\nWhat was really spent: {why}")
        return
    typer.echo("")
    try:
        typer.echo(costs.actual(chosen))
    except CloudUnavailable as error:
        if actual:
            raise
        typer.echo(f"What was really spent: {error.detail}")
