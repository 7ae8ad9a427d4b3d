"""A Python of a version is found where it is, and only where it runs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cdk import pythons

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture(autouse=True)
def nothing_remembered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pythons.find.cache_clear()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv(pythons.VARIABLE, raising=False)


def interpreter(path: Path, version: str, *, works: bool = True) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{f'echo {version}' if works else 'exit 127'}\n", "utf-8")
    path.chmod(0o755)
    return path


def test_the_one_that_runs_this_is_taken_where_its_version_is_asked_for() -> None:
    assert pythons.find(HERE) == sys.executable


def test_the_one_that_the_variable_names_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    interpreter(tmp_path / "bin" / "python3.99", "3.99")
    named = interpreter(tmp_path / "elsewhere" / "python", "3.99")
    monkeypatch.setenv(pythons.VARIABLE, str(named))
    assert pythons.find("3.99") == str(named)


def test_one_on_the_path_that_does_not_run_is_passed_over(tmp_path: Path) -> None:
    interpreter(tmp_path / "bin" / "python3.99", "3.99", works=False)
    kept = interpreter(tmp_path / "home" / ".pyenv" / "versions" / "3.99.1" / "bin" / "python3.99", "3.99")
    assert pythons.find("3.99") == str(kept)


def test_one_of_another_version_is_not_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(pythons.VARIABLE, str(interpreter(tmp_path / "python", "3.98")))
    assert pythons.find("3.99") is None
