"""What is asked of an AWS account is asked to the end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.stub import Stubber

from groundswell.adapters.aws_account import AwsAccount

REPORT = "REPORT RequestId: 1 Duration: 2 ms Memory Size: 512 MB Max Memory Used: {} MB"
ASKED = {"logGroupName": "/log", "filterPattern": '"Max Memory Used"', "startTime": 0}


@pytest.fixture
def logs(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[AwsAccount, Stubber]]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "local")
    account = AwsAccount("us-east-1")
    client: Any = account._session.client("logs")
    monkeypatch.setattr(account._session, "client", lambda _: client)
    with Stubber(client) as stubber:
        yield account, stubber


def test_memory_is_read_from_the_pages_that_come_after_an_empty_one(logs: tuple[AwsAccount, Stubber]) -> None:
    account, stubber = logs
    stubber.add_response("filter_log_events", {"events": [], "nextToken": "2"}, ASKED)
    second = {"events": [{"message": REPORT.format(181)}], "nextToken": "3"}
    stubber.add_response("filter_log_events", second, {**ASKED, "nextToken": "2"})
    third = {"events": [{"message": REPORT.format(207)}]}
    stubber.add_response("filter_log_events", third, {**ASKED, "nextToken": "3"})
    assert account._memory("/log", 0, 0) == 207.0
    stubber.assert_no_pending_responses()


def test_a_log_without_reports_says_nothing_about_memory(logs: tuple[AwsAccount, Stubber]) -> None:
    account, stubber = logs
    stubber.add_response("filter_log_events", {"events": []}, ASKED)
    assert account._memory("/log", 0, 0) is None
