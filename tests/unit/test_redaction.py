"""What is known to be secret, and what looks like a credential, never leaves in a text."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundswell.configuration.redaction import MAX_KNOWN, hide, redact, redact_address
from groundswell.configuration.secret import Secret
from groundswell.wiring.function_runtime import FunctionFailed, function_log, traced


@settings(deadline=None)
@given(st.text(min_size=8, max_size=40).filter(lambda text: not text.isspace()))
def test_a_known_secret_is_found_however_a_library_quotes_it(value: str) -> None:
    secret = "S3cret!" + value
    hide(secret)
    for spelled in (secret, json.dumps(secret), repr(secret), quote(secret, safe="")):
        assert "S3cret!" not in redact(f"it said {spelled} and ended")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://operator:pw-k7Jq2Vx9@db.internal:5432/groundswell",
        "postgresql://operator:pw%2Dk7Jq2Vx9@db.internal/groundswell?sslmode=require",
        "postgresql:///groundswell?host=/run/pg&user=operator&password=pw-k7Jq2Vx9",
        '{"host": "db", "username": "operator", "password": "pw-k7Jq2Vx9", "dbname": "groundswell"}',
    ],
)
def test_the_password_in_a_secret_address_is_known_by_itself(url: str) -> None:
    kept = Secret(url)
    assert "k7Jq2Vx9" not in redact('FATAL: password "pw-k7Jq2Vx9" of "operator" was refused'), kept
    assert redact("operator, db.internal and groundswell are no secrets").startswith("operator, db.internal")


def test_a_password_that_is_also_a_name_leaves_the_name_readable() -> None:
    kept = Secret("postgresql://groundswell:groundswell@localhost/groundswell")
    assert redact("groundswell starts") == "groundswell starts", kept
    assert "groundswell@" not in redact(kept.reveal())


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("at http://x:US3CRET@host:6333/a", "at http://…@host:6333/a"),
        ("at https://ghp_token@host", "at https://…@host"),
        ("postgresql://user@db/x", "postgresql://user@db/x"),
        ("postgresql://user:US3CRET@db/x", "postgresql://user:…@db/x"),
        ("wss://feed/v1?token=US3CRET&from=3", "wss://feed/v1?token=…&from=3"),
        ("https://example.com/a@b", "https://example.com/a@b"),
        ("mail ada@example.com", "mail ada@example.com"),
    ],
)
def test_credentials_in_any_url_are_replaced(text: str, shown: str) -> None:
    assert redact(text) == shown


@pytest.mark.parametrize(
    "text",
    ["http://x:US3/CRET@host", "http://x:US3 CRET@host", "x:US3CRET@host", "http://x:US3@CRET@host", "ftp://US3CRET@h"],
)
def test_an_address_that_is_no_url_is_shown_without_its_credentials(text: str) -> None:
    shown = redact_address(text)
    assert "US3" not in shown and "CRET" not in shown
    assert shown.endswith(("@host", "@h"))


def test_what_is_known_is_bounded_and_the_newest_stay() -> None:
    for number in range(3 * MAX_KNOWN):
        hide(f"rotated-{number:06d}-value")
    assert "rotated" not in redact(f"rotated-{3 * MAX_KNOWN - 1:06d}-value")
    assert redact("rotated-000000-value") == "rotated-000000-value"


def test_a_crash_is_printed_without_credentials() -> None:
    program = """
import threading
from groundswell.configuration.redaction import redact_crashes
from groundswell.configuration.secret import Secret
kept = Secret("postgresql://u:pw-k7Jq2Vx9@db/x")
redact_crashes()
def fail():
    try:
        raise ValueError(f"inner {kept.reveal()}")
    except ValueError as error:
        raise RuntimeError("outer pw-k7Jq2Vx9") from error
thread = threading.Thread(target=fail)
thread.start()
thread.join()
fail()
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert ended.stderr.count("RuntimeError: outer …") == 2
    assert "k7Jq2Vx9" not in ended.stderr


def test_what_a_function_raises_reaches_lambda_without_credentials(caplog: pytest.LogCaptureFixture) -> None:
    kept = Secret("pw-k7Jq2Vx9")

    @traced("test")
    def refused(event: dict[str, Any], context: object) -> dict[str, Any]:
        raise ValueError(event["said"] + kept.reveal() if event["leaks"] else event["said"])

    context: Any = None
    with caplog.at_level(logging.DEBUG), pytest.raises(FunctionFailed, match=r"^ValueError: refused …$") as raised:
        refused({"said": "refused ", "leaks": True}, context)
    assert raised.value.__cause__ is None
    with pytest.raises(ValueError, match=r"^refused$"):
        refused({"said": "refused", "leaks": False}, context)


def test_the_log_of_a_function_has_no_credentials(capsys: pytest.CaptureFixture[str]) -> None:
    kept = Secret("pw-k7Jq2Vx9")
    function_log("redaction-test").error("refused %s", kept.reveal(), url="https://u:US3CRET@host", code=7)
    said = capsys.readouterr().out
    assert "k7Jq2Vx9" not in said and "US3CRET" not in said
    line = json.loads(said)
    assert (line["message"], line["url"], line["code"], line["level"]) == ("refused …", "https://…@host", 7, "ERROR")
