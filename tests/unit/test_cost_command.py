"""`groundswell cost` where AWS cannot be asked."""

from __future__ import annotations

import sys

import pytest
from typer.testing import CliRunner

from groundswell.cli import app


@pytest.fixture(autouse=True)
def without_boto3(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)


def test_the_estimate_needs_nothing_from_aws() -> None:
    done = CliRunner().invoke(app, ["cost"])
    assert done.exit_code == 0
    assert "USD" in done.output
    assert "make set-up" in done.output


def test_what_was_spent_is_refused_with_what_to_install() -> None:
    done = CliRunner().invoke(app, ["cost", "--actual"])
    assert done.exit_code == 69
    assert "groundswell[aws]" in done.output
