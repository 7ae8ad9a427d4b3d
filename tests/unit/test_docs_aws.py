"""The commands of AWS's own command line, and of CDK's, that the documentation gives: they are commands that exist."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from itertools import pairwise

import botocore.session
import jmespath
import pytest
from botocore import xform_name

from tests.unit.test_docs import FENCE, PAGES, name_of, prose

EVERYWHERE = {"--region", "--query", "--output", "--cli-binary-format", "--cli-read-timeout", "--profile"}
"""Options of the command line itself."""
OF_THE_COMMAND_LINE = {"configure sso", "sso login", "logs tail", "s3 rm"}
"""What the command line has beside the operations of the services."""
OURS = {"run", "restore"}
"""Of `groundswell aws`, where a page names them in short."""
OF_CDK = {"bootstrap": set[str](), "synth": {"--all", "--quiet"}, "deploy": {"--all", "-c"}, "destroy": {"--all"},
          "gc": {"--unstable"}}  # fmt: skip
CODE = re.compile(r"`([^`]+)`")
SERVICES = botocore.session.get_session()


def commands(program: str) -> Iterator[tuple[str, list[str]]]:
    """Every use of a program in the pages, as words; also inside of `$(…)`, and over several lines."""
    for page in PAGES:
        if "decisions" in page.parts or page.name == "CHANGELOG.md":
            continue
        text = page.read_text("utf-8")
        code = [block for _, block in FENCE.findall(text)] + CODE.findall(prose(page))
        for block in code:
            joined = re.sub(r"\s*\\\n\s*|\n\s+(?=--)", " ", block)
            for found in re.finditer(rf"(?:^|[\n(=]|\$\(|until )\s*({program} [a-z][^\n|]*)", joined):
                line = found[1]
                closed = line[: line.index(")")] if line.count(")") > line.count("(") else line.partition("; do ")[0]
                words = shlex.split(closed, comments=True)
                if words[1] not in OURS:
                    yield name_of(page), words


@pytest.mark.parametrize(("page", "words"), list(commands("aws")), ids=lambda value: str(value)[:60])
def test_a_command_of_aws_exists_with_its_options(page: str, words: list[str]) -> None:
    if " ".join(words[1:3]) in OF_THE_COMMAND_LINE or len(words) < 3:
        return
    service, operation = words[1], words[2]
    assert service in SERVICES.get_available_services() or service == "s3api", f"{page}: {words}"
    model = SERVICES.get_service_model("s3" if service == "s3api" else service)
    operations = {xform_name(name, "-"): name for name in model.operation_names}
    if operation == "wait":
        waits = SERVICES.get_waiter_model(service)
        waiters = {xform_name(name, "-"): name for name in waits.waiter_names}
        assert words[3] in waiters, f"{page}: {service} does not wait for {words[3]}"
        words = [*words[:2], xform_name(waits.get_waiter(waiters[words[3]]).operation, "-"), *words[4:]]
        operation = words[2]
    assert operation in operations, f"{page}: {service} has no {operation}"
    shape = model.operation_model(operations[operation]).input_shape
    known = set() if shape is None else {f"--{xform_name(name, '-')}" for name in shape.members}
    known |= {option.replace("--", "--no-", 1) for option in known} | EVERYWHERE
    given = {word.partition("=")[0] for word in words[3:] if word.startswith("--")}
    assert given <= known, f"{page}: {service} {operation} does not take {', '.join(sorted(given - known))}"
    if shape is not None and "…" not in " ".join(words) and given:
        needed = {f"--{xform_name(name, '-')}" for name in shape.required_members}
        assert needed <= given, f"{page}: {service} {operation} needs {', '.join(sorted(needed - given))}"


@pytest.mark.parametrize(("page", "words"), list(commands("aws")), ids=lambda value: str(value)[:60])
def test_what_a_command_of_aws_is_given_can_be_read(page: str, words: list[str]) -> None:
    values = {option: value for option, value in pairwise(words) if option.startswith("--")}
    if query := values.get("--query"):
        jmespath.compile(query)
    if payload := values.get("--payload"):
        assert isinstance(json.loads(payload), dict), page
    assert values.get("--output", "text") in {"json", "text", "table", "yaml"}
    model = SERVICES.get_service_model("s3" if words[1] == "s3api" else words[1]) if len(words) > 3 else None
    operations = {xform_name(name, "-"): name for name in model.operation_names} if model else {}
    if model and words[2] in operations and (shape := model.operation_model(operations[words[2]]).input_shape):
        for name, member in shape.members.items():
            allowed, given = getattr(member, "enum", []), values.get(f"--{xform_name(name, '-')}", "")
            assert not allowed or not given or "$" in given or given in allowed, f"{page}: {given} of {allowed}"


@pytest.mark.parametrize(("page", "words"), list(commands("npx cdk")), ids=lambda value: str(value)[:60])
def test_a_command_of_cdk_exists_with_its_options(page: str, words: list[str]) -> None:
    assert words[2] in OF_CDK, f"{page}: {words}"
    given = {word.partition("=")[0] for word in words[3:] if word.startswith("-")}
    assert given <= OF_CDK[words[2]], f"{page}: {words}"


def test_the_pages_have_the_commands_that_are_looked_for() -> None:
    """An expression that found nothing would make the tests above pass."""
    assert len(list(commands("aws"))) > 12
    assert {words[2] for _, words in commands("npx cdk")} >= {"bootstrap", "deploy", "destroy"}
    operations = {" ".join(words[1:3]) for _, words in commands("aws")}
    assert {"rds restore-db-instance-to-point-in-time", "ssm put-parameter", "lambda invoke"} <= operations
    restores = [words for _, words in commands("aws") if words[2] == "restore-db-instance-to-point-in-time"]
    for words in restores:
        assert {"--db-subnet-group-name", "--vpc-security-group-ids", "--db-parameter-group-name"} <= set(words)
