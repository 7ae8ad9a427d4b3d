"""What a deployment costs: the estimate, and beside it what AWS says was spent and used."""

from __future__ import annotations

import json
from collections.abc import Mapping

from deployment import costs, report
from deployment.knobs import DeploymentError, Knobs, load, overrides_in
from deployment.right_sizing import advise
from groundswell.adapters.aws_account import AwsAccount
from groundswell.adapters.system_clock import SystemClock
from groundswell.configuration.schema import schema_path
from groundswell.errors import CloudUnavailable, ConfigError
from groundswell.settings_model import CostsSettings

DAYS = 7
"""How far back a report looks."""


def choose(overrides: Mapping[str, object]) -> Knobs:
    """The deployment that cdk/cdk.json of a checkout describes, with `overrides` over it.

    Raises:
        ConfigError: with every knob that is wrong.
    """
    context_file = schema_path().parent / "cdk" / "cdk.json"
    context: Mapping[str, object] = {}
    if context_file.exists():
        context = json.loads(context_file.read_text("utf-8"))["context"]
    return _checked({**overrides_in(context), **overrides})


def estimate(chosen: Knobs) -> str:
    """The table of monthly cost, and the connection budget."""
    return f"{report.render_estimate(chosen, costs.estimate(chosen))}\n{report.render_connections(chosen)}"


def why_not_ask(chosen: Knobs) -> str | None:
    """Why this machine cannot ask AWS; None if it can try. Asks nobody but this machine."""
    try:
        has_credentials = AwsAccount(chosen.region).has_credentials()
    except CloudUnavailable as error:
        return error.detail
    return None if has_credentials else "there are no AWS credentials here to ask with."


def actual(chosen: Knobs) -> str:
    """What was spent by service in the last days, and a line on the size of each part.

    Raises:
        CloudUnavailable: AWS does not say.
    """
    account = AwsAccount(chosen.region)
    now = SystemClock().now()
    load_of = account.load(chosen.name, now, DAYS)
    return report.render_actual(account.spend(now, DAYS), advise(chosen, load_of), DAYS)


def mail_report(settings: CostsSettings) -> str:
    """The weekly report, published to its topic. Returns it."""
    chosen = _checked(dict(pair.split("=", 1) for pair in settings.deployment))
    text = f"{actual(chosen)}\n\n{estimate(chosen)}"
    AwsAccount(chosen.region).publish(settings.report_topic, f"{chosen.name}: what it costs", text)
    return text


def _checked(overrides: Mapping[str, object]) -> Knobs:
    try:
        return load(overrides)
    except DeploymentError as error:
        raise ConfigError(list(error.problems)) from error
