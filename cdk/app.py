"""`cdk synth` and `cdk deploy` start here: knobs from the context, checks, then the stacks."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from aws_cdk import App, Environment, Tags, Validations
from cdk_nag import AwsSolutionsChecks

from cdk.assets import BuiltAssets, CodeAlone, CodeAssets
from cdk.environment import ROOT
from cdk.stacks import Inputs, build
from deployment import capacity, connections, costs
from deployment.knobs import CONTEXT_FILE, DeploymentError, Knobs, load, overrides_in
from deployment.report import render_connections, render_estimate

SITE = ROOT / "web" / "dist"
CODE_ALONE = "groundswell:code-alone"
"""Key of the context with which a rehearsal leaves the packages out of the functions' zips."""


def checked(chosen: Knobs, usage: Mapping[str, float]) -> str:
    """All checks, and what they found, in words. Raises DeploymentError."""
    connections.check(chosen)
    known = costs.default_usage()
    if unknown := sorted(set(usage) - set(known)):
        raise DeploymentError([f"{CONTEXT_FILE}: usage has no {', '.join(unknown)}. deployment/usage.json lists all."])
    estimate = costs.check(chosen, {**known, **usage})
    capacity.check(chosen, {**known, **usage})
    capacity.check_database(chosen, {**known, **usage})
    return f"{render_estimate(chosen, estimate)}\n{render_connections(chosen)}"


def synthesise(app: App, *, assets: CodeAssets | None = None, site: Path = SITE) -> str:
    """Add the stacks to `app`, with cdk-nag over them. Returns the report to print. Raises DeploymentError."""
    context: Mapping[str, Any] = app.node.get_all_context()
    chosen = load(overrides_in(context))
    report = checked(chosen, context.get("usage") or {})
    if not (site / "index.html").exists():
        raise DeploymentError([f"{site}: the page is not built. Run `make set-up`."])
    inputs = Inputs(
        knobs=chosen,
        assets=assets or (CodeAlone() if context.get(CODE_ALONE) else BuiltAssets(chosen)),
        site_folder=site,
        version=tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"],
        environment=context.get("environment") or {},
        secrets=context.get("secrets") or {},
    )
    build(app, inputs, env=Environment(region=chosen.region))
    Tags.of(app).add("project", chosen.name)
    Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    if not chosen.alert_email:
        report += f'\nNobody will be told of alarms: set "alert_email" in {CONTEXT_FILE}.'
    return report


def main() -> None:
    app = App()
    try:
        report = synthesise(app)
    except DeploymentError as error:
        sys.exit("\n".join(f"✖ {problem}" for problem in error.problems))
    print(report, file=sys.stderr)  # noqa: T201
    app.synth()


if __name__ == "__main__":
    main()
