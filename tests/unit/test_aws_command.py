"""The stand-in for the AWS command line refuses what the real one refuses."""

from __future__ import annotations

import sys
from typing import Any

import botocore.session
import pytest

from rehearsal.aws_command import WRONG_USAGE, WrongUsage, as_text, grouped, main, parameters

SERVICES = botocore.session.get_session()


def given(service: str, operation: str, *words: str, raw: bool = False) -> tuple[dict[str, Any], list[str]]:
    shape = SERVICES.get_service_model(service).operation_model(operation).input_shape
    return parameters(shape, grouped(words)[0], raw=raw)


def test_options_become_what_the_operation_takes() -> None:
    values, left = given(
        "ssm", "PutParameter", "--overwrite", "--type", "SecureString", "--name", "/a", "--value", "b=c"
    )
    assert values == {"Overwrite": True, "Type": "SecureString", "Name": "/a", "Value": "b=c"}
    assert left == []
    values, _ = given("ssm", "DeleteParameters", "--names", "/a", "/b")
    assert values == {"Names": ["/a", "/b"]}
    filters = ["--filters", "Name=prefix-list-name,Values=x,y"]
    assert given("ec2", "DescribeManagedPrefixLists", *filters)[0] == {
        "Filters": [{"Name": "prefix-list-name", "Values": ["x", "y"]}]
    }
    values, _ = given("rds", "ModifyDBInstance", "--db-instance-identifier", "a", "--no-multi-az")
    assert values == {"DBInstanceIdentifier": "a", "MultiAZ": False}


def test_a_payload_is_base64_unless_it_is_said_to_be_raw() -> None:
    words = ["--function-name", "f", "--payload", '{"a": 1}', "/dev/stdout"]
    values, left = given("lambda", "Invoke", *words, raw=True)
    assert (values["Payload"], left) == (b'{"a": 1}', ["/dev/stdout"])
    with pytest.raises(WrongUsage, match="Invalid base64"):
        given("lambda", "Invoke", *words)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ssm", "put-parameter", "--nam", "/a"], "Unknown options: --nam"),
        (["ssm", "put-parameter", "--name", "/a"], "required: Value"),
        (["ssm", "put-parameter", "--name", "/a", "--value", "b", "--type", "Secret"], "is none of"),
        (["ssm", "put-parametr"], "Invalid choice: put-parametr"),
        (["rds", "wait", "db-instance-there"], "waits for none"),
        (["lambda", "invoke", "--function-name", "f"], "the file for the answer is missing"),
        (["ssm", "delete-parameter", "--name", "/a", "/b"], "Unknown options: /b"),
        (["sms", "send"], "no service"),
    ],
)
def test_wrong_words_are_refused_before_anything_is_asked(
    words: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(sys, "argv", ["aws", *words])
    assert main() == WRONG_USAGE
    assert said in capsys.readouterr().err


def test_text_has_a_line_for_each_row() -> None:
    assert as_text([["a", "b"], ["c", None]]) == "a\tb\nc\tNone"
    assert as_text(["a", "b"]) == "a\tb"
    assert as_text("a") == "a"
