"""What does not synthesise, and says which line to change."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest
from aws_cdk import App

from cdk.app import synthesise
from cdk.assets import StubAssets
from deployment.knobs import DeploymentError
from tests.documented_commands import PAGES, commands, words_of
from tests.infrastructure.conftest import Deployment, Get, context_of


def refused(overrides: dict[str, object], tmp_path: Path, site: Path) -> str:
    with pytest.raises(DeploymentError) as caught:
        synthesise(App(context=context_of(overrides)), assets=StubAssets(tmp_path / "stub"), site=site)
    return str(caught.value)


def test_the_report_of_a_synth_has_the_costs_and_the_connections(deployment: Get) -> None:
    report = deployment("budget").report
    assert "Total" in report and "of 30.00 that may be spent" in report
    assert "Database connections: 46 of 64" in report
    assert "Nobody will be told" not in report
    assert "Nobody will be told" in deployment("production").report


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"api_concurrency": "90"}, 'In cdk/cdk.json, set "api_concurrency"'),
        ({"nat": "gateway"}, 'set "monthly_budget_usd": '),
        ({"relay_cpuu": 256}, "there is no knob 'relay_cpuu'. Did you mean relay_cpu?"),
        ({"usage": {"posts": 1}}, "usage has no posts"),
        ({"environment": {"GROUNDSWELL_SOURCE": "twitter"}}, "GROUNDSWELL_SOURCE: 'twitter' is not one of"),
        ({"environment": {"GROUNDSWELL_QDRANT_API_KEY": "s3cr3t"}}, "would be readable in the template"),
        ({"environment": {"GROUNDSWELL_SORCE": "jetstream"}}, "Did you mean GROUNDSWELL_SOURCE?"),
    ],
)
def test_a_deployment_that_must_not_happen_does_not_synthesise(
    overrides: dict[str, object], said: str, tmp_path: Path, site: Path
) -> None:
    assert said in refused(overrides, tmp_path, site)


def test_a_page_that_is_not_built_is_missed_before_anything_is_deployed(tmp_path: Path) -> None:
    assert "the page is not built" in refused({}, tmp_path, tmp_path / "nowhere")


def test_more_posts_than_the_budget_or_the_database_can_hold_are_refused(tmp_path: Path, site: Path) -> None:
    more = {"usage": {"posts_per_day": 20_000_000}}
    assert "USD a month" in refused({**more}, tmp_path, site)
    rich = {**more, "monthly_budget_usd": 1_000, "qdrant": "none"}
    assert 'set "database_storage_max_gb": ' in refused(rich, tmp_path, site)


def test_a_secret_of_the_context_reaches_its_services_by_name(deployment: Get) -> None:
    functions = deployment("own-qdrant").functions()
    arn = functions["functions.api.handler.handler"]["Environment"]["Variables"]["GROUNDSWELL_QDRANT_API_KEY"]
    assert ":parameter/groundswell/qdrant-key" in str(arn)
    found: Deployment = deployment("own-qdrant")
    for handler in ("functions.api.handler.handler", "functions.cleanup.handler.handler"):
        statements = found.statements_of(functions[handler]["Role"]["Fn::GetAtt"][0])
        (readable,) = (s["Resource"] for s in statements if s["Action"] == "ssm:GetParameter")
        assert arn in readable


DOCUMENTED = [command for page in PAGES for command in commands(page)]
WITH_OPTIONS = [command for command in DOCUMENTED if command.startswith("npx cdk ") and " -c " in command]


@pytest.mark.parametrize("command", WITH_OPTIONS)
def test_the_options_that_the_docs_give_synthesise(command: str, tmp_path: Path, site: Path) -> None:
    words = words_of(command)
    given = dict(word.split("=", 1) for before, word in pairwise(words) if before == "-c")
    app = App(context=context_of({**given}), outdir=str(tmp_path / "out"))
    synthesise(app, assets=StubAssets(tmp_path / "stub"), site=site)
    app.synth()  # raises where cdk-nag has something to say
    made = {path.name.partition(".")[0] for path in (tmp_path / "out").glob("*.template.json")}
    name = given.get("name", "Groundswell")
    assert made == {f"{name}Data", f"{name}Platform", f"{name}Watch"}


def test_the_docs_have_a_deploy_with_options() -> None:
    assert WITH_OPTIONS


def test_every_output_that_the_docs_ask_for_is_one(deployment: Get) -> None:
    asked = [found for command in DOCUMENTED if (found := re.fullmatch(r"\w+=\$\(output (\w+) (\w+)\)", command))]
    assert len(asked) > 5
    for found in asked:
        stack, output = found.groups()
        assert output in deployment("budget").templates[stack]["Outputs"], found[0]
