"""The schema, the settings, the generated files and the code that reads settings say the same."""

from __future__ import annotations

import ast
import json
from functools import cache
from pathlib import Path

import jsonschema
import pytest

from groundswell.commands.env import generated_files
from groundswell.configuration.render import render_all
from groundswell.configuration.schema import EMBEDDED, SERVICES, Variable, schema_path, variables
from groundswell.configuration.values import parse_value
from groundswell.metrics import METRICS, Metrics
from groundswell.settings import SETTINGS, parse_env_file

ROOT = Path(__file__).parents[2]
HEALTH_CHECK = ROOT / "relay_container" / "check.py"
"""A process of its own that imports nothing of the package: it reads the clock and its one variable itself."""
SOURCES = [
    path
    for package in ("groundswell", "functions", "relay_container")
    for path in (ROOT / package).rglob("*.py")
    if path != HEALTH_CHECK
]

each_variable = pytest.mark.parametrize("variable", variables(), ids=lambda variable: variable.name)


def test_the_schema_is_a_valid_json_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads(schema_path().read_bytes()))


@pytest.mark.parametrize("path", generated_files(), ids=lambda path: path.name)
def test_generated_files_are_up_to_date(path: Path) -> None:
    assert path.read_text("utf-8") == generated_files()[path], "run `make generate`"


@each_variable
def test_every_variable_is_documented(variable: Variable) -> None:
    assert variable.description.endswith((".", "`"))
    assert variable.services
    assert set(variable.services) <= set(SERVICES)
    assert f"`{variable.name}`" in (ROOT / "docs" / "configuration.md").read_text("utf-8")
    assert f"#{variable.name}=" in (ROOT / ".env.example").read_text("utf-8")


@each_variable
def test_every_default_and_example_is_valid(variable: Variable) -> None:
    parse_value(variable, variable.default_text)
    parse_value(variable, variable.examples[0])


@each_variable
def test_every_url_says_who_may_reach_it(variable: Variable) -> None:
    if variable.kind == "url":
        assert variable.visibility is not None
        assert variable.schemes


def test_every_service_has_the_settings_of_its_variables_and_no_others() -> None:
    for kind in SETTINGS:
        expected = [variable.field for variable in variables() if variable.used_by(kind.service)]
        assert list(kind.__struct_fields__) == expected
    assert EMBEDDED in {kind.service for kind in SETTINGS}


@each_variable
def test_every_variable_is_read_by_something(variable: Variable) -> None:
    loader = (ROOT / "groundswell" / "settings.py").read_text("utf-8")
    assert variable.field in _attributes_read() or f'values.get("{variable.name}")' in loader


def test_the_example_file_can_be_copied_as_it_is() -> None:
    text = render_all(variables())[Path(".env.example")]
    assert parse_env_file(text) == {}
    uncommented = "\n".join(line[1:] if line.startswith("#GROUNDSWELL_") else line for line in text.splitlines())
    assert parse_env_file(uncommented).keys() == {variable.name for variable in variables()}


READ_THE_ENVIRONMENT_TOO = {
    "groundswell/configuration/other_programs.py": "takes out what is meant for other programs, and reads none of it",
    "groundswell/adapters/qdrant_embedded/process.py": "hands the engine a key that no list of processes shows",
    "groundswell/adapters/qdrant_embedded/__main__.py": "takes that key",
    "groundswell/configuration/references.py": "AWS's own variables: credentials and endpoints, which are no settings",
    "groundswell/wiring/function_admin.py": "hands all of it on to the command that it runs",
}


def test_only_settings_read_the_environment() -> None:
    offenders = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in SOURCES
        if path.name != "settings.py" and path.relative_to(ROOT).as_posix() not in READ_THE_ENVIRONMENT_TOO
        for node in nodes_of(path)
        if _names(node, {"os": {"environ", "environb", "getenv", "getenvb"}})
    ]
    assert not offenders


READ_THE_CLOCK_TOO = {
    "groundswell/configuration/references.py": "signs the requests for what the configuration names, before all else",
}


def test_only_the_system_clock_reads_the_clock() -> None:
    clocks = {
        "time": {"time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns"},
        "datetime": {"now", "utcnow", "today"},
        "date": {"today"},
    }
    offenders = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in SOURCES
        if path.name != "system_clock.py" and path.relative_to(ROOT).as_posix() not in READ_THE_CLOCK_TOO
        for node in nodes_of(path)
        if _names(node, clocks)
    ]
    assert not offenders


def test_every_metric_is_shown_and_an_undocumented_one_is_refused() -> None:
    shown = Metrics().render()
    assert all(f"# TYPE groundswell_{metric.name} {metric.kind}" in shown for metric in METRICS)
    with pytest.raises(KeyError):
        Metrics().inc("made_up_total")


@cache
def nodes_of(path: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(ast.parse(path.read_text("utf-8"))))


def _names(node: ast.AST, forbidden: dict[str, set[str]]) -> bool:
    """Whether a node is `module.name`, or `from module import name`, for a forbidden pair."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return node.attr in forbidden.get(node.value.id, set())
    if isinstance(node, ast.ImportFrom):
        return any(alias.name in forbidden.get(node.module or "", set()) for alias in node.names)
    return False


@cache
def _attributes_read() -> set[str]:
    return {
        node.attr
        for path in SOURCES
        if path.name != "settings_model.py"
        for node in nodes_of(path)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }
