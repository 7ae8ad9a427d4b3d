"""What docs/deploy.md says about changing a deployment holds: no export in use goes away, no data is replaced."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import pytest
from cfnlint.schema import PROVIDER_SCHEMA_MANAGER

from deployment.variants import TRANSITIONS, Transition, render_transitions
from tests.infrastructure.conftest import ROOT, Deployment, Get

STACKS = ("Data", "Platform", "Watch")
"""In the order of a deploy."""
KEPT = {"AWS::RDS::DBInstance", "AWS::S3::Bucket", "AWS::SecretsManager::Secret", "AWS::CloudFront::Distribution"}
"""Types that hold data or an address that people know."""
REPLACES_AT_TIMES = {"AWS::RDS::DBInstance": {"AvailabilityZone"}}
"""Properties that the schemas call create-only under conditions: a zone that is set where none was replaces it."""

Template = Mapping[str, Any]


@cache
def create_only(kind: str) -> frozenset[str]:
    """Return the properties of a type that cannot change without a replacement."""
    if kind.startswith("Custom::"):
        return frozenset()
    schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", kind).schema
    paths = [path.removeprefix("/properties/").partition("/")[0] for path in schema.get("createOnlyProperties", ())]
    return frozenset(paths) | REPLACES_AT_TIMES.get(kind, set())


def named_in(value: object) -> Iterator[str]:
    """Yield the logical names that a value refers to."""
    match value:
        case {"Ref": str(name)} | {"Fn::GetAtt": [str(name), _]}:
            yield name
        case dict():
            for inner in value.values():
                yield from named_in(inner)
        case list():
            for inner in value:
                yield from named_in(inner)
        case _:
            return


def replaced(before: Template, after: Template) -> dict[str, str]:
    """Return each resource that is replaced with the property that does it; one that goes away is not among them."""
    found: dict[str, str] = {}
    both = before["Resources"].keys() & after["Resources"].keys()
    while True:
        more = dict(found)
        for name in both - found.keys():
            old, new = before["Resources"][name], after["Resources"][name]
            for each in create_only(new["Type"]):
                was, is_now = old.get("Properties", {}).get(each), new.get("Properties", {}).get(each)
                if was != is_now or any(other in found for other in named_in(is_now)):
                    more[name] = each
        if more == found:
            return found
        found = more


def exports(template: Template) -> dict[str, Any]:
    return {
        str(output["Export"]["Name"]): output["Value"]
        for output in template.get("Outputs", {}).values()
        if "Export" in output
    }


def imports(template: Template) -> set[str]:
    return set(re.findall(r'"Fn::ImportValue": "([^"]+)"', json.dumps(template)))


def problems(before: Deployment, after: Deployment) -> list[str]:
    """Return why CloudFormation would refuse the change, or lose something by it. Stacks are updated in their order."""
    found: list[str] = []
    for at, stack in enumerate(STACKS):
        old, new = before.templates[stack], after.templates[stack]
        gone = replaced(old, new)
        old_exports, new_exports = exports(old), exports(new)
        in_use = set().union(*(imports(before.templates[later]) for later in STACKS[at + 1 :])) & old_exports.keys()
        for name in sorted(in_use):
            if new_exports.get(name) != old_exports[name]:
                found.append(f"{stack}: the export {name} changes while it is in use")
            elif any(resource in gone for resource in named_in(old_exports[name])):
                found.append(f"{stack}: what the export {name} names is replaced while it is in use")
        for name, resource in old["Resources"].items():
            if resource["Type"] not in KEPT:
                continue
            if name not in new["Resources"]:
                found.append(f"{stack}: {name} is removed")
            elif name in gone:
                found.append(f"{stack}: {name} is replaced: {gone[name]} cannot change")
        for name, resource in old["Resources"].items():
            if resource["Type"] == "AWS::RDS::DBInstance" and name in new["Resources"]:
                sizes = [int(each["Resources"][name]["Properties"]["AllocatedStorage"]) for each in (old, new)]
                if sizes[1] < sizes[0]:
                    found.append(f"{stack}: {name} would have to shrink from {sizes[0]} to {sizes[1]} GB")
    return found


@pytest.mark.parametrize("transition", TRANSITIONS, ids=lambda each: f"{each.before}-{each.after}")
def test_a_transition_is_possible_in_place_where_the_docs_say_so(deployment: Get, transition: Transition) -> None:
    found = problems(deployment(transition.before), deployment(transition.after))
    if transition.in_place:
        assert found == []
    else:
        assert found != []


def test_a_disk_that_would_have_to_shrink_and_a_zone_that_is_set_later_are_seen(deployment: Get) -> None:
    assert any("shrink" in each for each in problems(deployment("production"), deployment("budget")))
    before = deployment("budget").templates["Data"]
    after = json.loads(json.dumps(before))
    (name,) = (name for name, r in after["Resources"].items() if r["Type"] == "AWS::RDS::DBInstance")
    after["Resources"][name]["Properties"]["AvailabilityZone"] = "us-east-1a"
    assert replaced(before, after)[name] == "AvailabilityZone"


def test_the_docs_have_the_table_of_transitions() -> None:
    assert render_transitions() in (ROOT / "docs" / "deploy.md").read_text("utf-8")
