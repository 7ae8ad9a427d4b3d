"""What is shipped is listed, and its licences go with our own."""

from __future__ import annotations

import json

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from scripts import components
from scripts.components import ROOT, Package, UnknownLicence, bill, generated, is_allowed, normalised, python_packages


def test_the_lists_of_what_is_shipped_are_as_the_locks_have_it() -> None:
    old = [path for path, text in generated().items() if (ROOT / path).read_text("utf-8") != text]
    assert not old, f"run `make generate`: {', '.join(old)}"


def test_every_licence_of_what_is_shipped_goes_with_ours() -> None:
    shipped = {
        *python_packages(components.LAPTOP_LOCK),
        *python_packages(*components.IMAGE_LOCKS),
        *components.page_packages(),
    }
    assert len(shipped) > 80
    assert [package for package in sorted(shipped) if not is_allowed(package.licence)] == []


@pytest.mark.parametrize(
    ("licence", "allowed"),
    [
        ("MIT", True),
        ("GPL-3.0-only", False),
        ("GPL-3.0-only OR MIT", True),
        ("GPL-3.0-only AND MIT", False),
        ("(GPL-2.0-only OR BSD-3-Clause) AND MIT", True),
        ("GPL-2.0-only WITH Classpath-exception-2.0", False),
        ("AGPL-3.0-or-later", False),
    ],
)
def test_an_expression_is_met_by_allowed_licences_alone(licence: str, allowed: bool) -> None:
    assert is_allowed(licence) is allowed


def test_a_licence_that_nobody_knows_is_no_licence() -> None:
    assert normalised("Apache Software License") == "Apache-2.0"
    for text in ("Beerware, ask me", "Dual License", ""):
        with pytest.raises(UnknownLicence):
            normalised(text)


def test_a_bill_of_materials_names_each_component_and_is_the_same_each_time() -> None:
    packages = [Package("pypi", "anyio", "4.16.0", "MIT"), Package("npm", "@preact/signals", "2.11.4", "MIT OR ISC")]
    text = bill("groundswell", packages)
    assert bill("groundswell", reversed(packages)) == text
    document = json.loads(text)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    assert {component["purl"] for component in document["components"]} == {
        "pkg:pypi/anyio@4.16.0",
        "pkg:npm/%40preact/signals@2.11.4",
    }
    assert document["metadata"]["component"]["name"] == "groundswell"
    assert "timestamp" not in document["metadata"]


@pytest.mark.parametrize("name", [components.WHEEL_LIST, components.IMAGE_LIST])
def test_the_bills_of_materials_are_cyclonedx(name: str) -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str((ROOT / name).read_text("utf-8")) is None
