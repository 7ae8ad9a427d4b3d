"""The estimate is whole: every resource of every deployment is paid for by a line, or free for a reason."""

from __future__ import annotations

import pytest

from deployment import costs
from deployment.free import FREE
from deployment.knobs import load, overrides_in
from tests.infrastructure.conftest import DEPLOYMENTS, Get

each_deployment = pytest.mark.parametrize("name", DEPLOYMENTS)


@each_deployment
def test_every_resource_is_paid_for_by_a_line_or_free_for_a_reason(deployment: Get, name: str) -> None:
    lines = costs.estimate(load(overrides_in(DEPLOYMENTS[name]))).lines
    paid = {kind for line in lines for kind in line.pays_for}
    deployed = {
        resource["Type"]
        for template in deployment(name).templates.values()
        for resource in template["Resources"].values()
    }
    assert deployed - paid - set(FREE) == set(), "nobody knows what these cost"
    assert paid - deployed == set(), "lines for what is not deployed"


def test_what_costs_something_is_not_called_free() -> None:
    paid = {
        kind
        for overrides in DEPLOYMENTS.values()
        for line in costs.estimate(load(overrides_in(overrides))).lines
        for kind in line.pays_for
    }
    assert paid & set(FREE) == set()
    assert all(FREE.values())
