"""Every deployment that is looked at, synthesised once in a session, with stubs in place of the functions' code."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("aws_cdk", reason="the `deploy` extra is not installed")

from aws_cdk import App

from cdk.app import synthesise
from cdk.assets import StubAssets
from deployment.variants import VARIANTS

ROOT = Path(__file__).resolve().parents[2]
MORE: Mapping[str, Mapping[str, object]] = {
    "budget": {
        "alert_email": "ops@example.com",
        "qdrant_url": "https://x.aws.cloud.qdrant.io:6333",
        "secrets": {"GROUNDSWELL_QDRANT_API_KEY": "/groundswell/qdrant-key"},
    },
    "own-qdrant": {"traces": "off", "secrets": {"GROUNDSWELL_QDRANT_API_KEY": "/groundswell/qdrant-key"}},
}
DEPLOYMENTS: Mapping[str, Mapping[str, object]] = {
    name: {**overrides, **MORE.get(name, {})} for name, overrides in VARIANTS.items()
}


class Deployment:
    """The templates of one deployment, and what cdk-nag said about them."""

    def __init__(self, folder: Path, report: str, complaint: str) -> None:
        self.report = report
        self.complaint = complaint
        self.folder = folder
        self.templates: dict[str, dict[str, Any]] = {
            path.name.partition(".")[0].removeprefix("Groundswell"): json.loads(path.read_text("utf-8"))
            for path in folder.glob("*.template.json")
        }

    def of_type(self, kind: str) -> dict[str, dict[str, Any]]:
        """The properties of every resource of a type, by its logical id."""
        return {
            name: resource.get("Properties", {})
            for template in self.templates.values()
            for name, resource in template["Resources"].items()
            if resource["Type"] == kind
        }

    def one(self, kind: str) -> dict[str, Any]:
        """The properties of the only resource of a type."""
        (found,) = self.of_type(kind).values()
        return found

    def functions(self) -> dict[str, dict[str, Any]]:
        """Our own functions, by their handler."""
        found = self.of_type("AWS::Lambda::Function").values()
        return {f["Handler"]: f for f in found if str(f["Handler"]).startswith("functions.")}

    def statements_of(self, role_id: str) -> list[dict[str, Any]]:
        """Every statement of the policies of a role."""
        return [
            statement
            for policy in self.of_type("AWS::IAM::Policy").values()
            if {"Ref": role_id} in policy["Roles"]
            for statement in policy["PolicyDocument"]["Statement"]
        ]


Get = Callable[[str], Deployment]
SYNTHESIS_S = 900
"""Seconds that a test may take. Whoever asks for a deployment first waits for it, and a call of the CDK that is broken
off leaves its process unusable for all tests after it."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if {"deployment", "site"} & set(getattr(item, "fixturenames", ())) and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(SYNTHESIS_S))


def context_of(overrides: Mapping[str, object]) -> dict[str, object]:
    context: dict[str, object] = json.loads((ROOT / "cdk" / "cdk.json").read_text("utf-8"))["context"]
    return context | {"relay_image": "example.com/relay:1"} | dict(overrides)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    (folder / "index.html").write_text("<!doctype html><title>Groundswell</title>")
    return folder


@pytest.fixture(scope="session")
def deployment(tmp_path_factory: pytest.TempPathFactory, site: Path) -> Get:
    """The deployment of a name in DEPLOYMENTS."""
    made: dict[str, Deployment] = {}

    def get(name: str) -> Deployment:
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            app = App(context=context_of(DEPLOYMENTS[name]), outdir=str(folder))
            report = synthesise(app, assets=StubAssets(folder / "stub"), site=site)
            complaint = ""
            try:
                app.synth()
            except RuntimeError as error:
                complaint = str(error)
            made[name] = Deployment(folder, report, complaint)
        return made[name]

    return get
