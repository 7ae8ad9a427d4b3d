"""The preflight: every check when all is well, when it is not, and when the credentials may not ask."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from botocore.stub import Stubber
from typer.testing import CliRunner

from groundswell.adapters.aws_preflight import QUOTAS
from groundswell.cli import app
from groundswell.commands import doctor_aws
from groundswell.commands.findings import Finding
from groundswell.errors import EX_UNAVAILABLE
from groundswell.wiring import preflight
from groundswell.wiring.preflight import Account, new_enough

REGION = "us-east-1"
SECRET = "/groundswell/qdrant-key"
Prepare = Callable[[str, str, Any], None]


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("ACCESS_KEY_ID", "testing"), ("SECRET_ACCESS_KEY", "testing"), ("DEFAULT_REGION", REGION)):
        monkeypatch.setenv(f"AWS_{name}", value)
    # What no test has prepared an answer for must not leave this machine.
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Account:
    """An account and a machine that have everything; Qdrant is asked by tests of its own."""
    made = Account()
    made.secrets = {"GROUNDSWELL_QDRANT_API_KEY": SECRET}
    asks = made.asks
    answers: dict[str, Callable[..., Any]] = {
        "identity": lambda: "123456789012, as user/ops",
        "ecs_role": lambda: True,
        "parameters": lambda names: dict.fromkeys(names, "SecureString"),
        "secret": lambda _name: "k",
        "concurrency": lambda: (1000, 1000),
        "plan": lambda: ("PAID", ""),
        "bootstrapped": lambda: True,
        "quota": lambda _name: 5.0,
        "used": lambda _name: 1.0,
        "zones": lambda: [("us-east-1a", "use1-az1"), ("us-east-1b", "use1-az2")],
        "billing_alerts": lambda: True,
        "cost_explorer": lambda _start, _end: True,
        "left_behind": list,
    }
    for name, answer in answers.items():
        monkeypatch.setattr(asks, name, answer)
    monkeypatch.setattr(made, "builder", lambda: "docker")
    monkeypatch.setattr(preflight, "Account", lambda: made)
    return made


def found(part: str) -> list[Finding]:
    return [finding for finding in doctor_aws.examine() if finding.part == part]


def test_an_account_that_has_everything_is_well(account: Account) -> None:
    states = {finding.part: finding.state for finding in doctor_aws.examine()}
    assert states.pop("Qdrant") == "note"
    assert set(states.values()) == {"ok"}
    assert set(states) == {
        "Credentials", "Plan", "CDK", "Stacks", "Zones", "ECS role", "Functions", "Quota", "Secrets", "Image",
        "Billing alerts", "Cost Explorer",
    }  # fmt: skip
    said = CliRunner().invoke(app, ["doctor", "aws"])
    assert said.exit_code == 0, said.output
    assert "Nothing is broken." in said.output


@pytest.mark.parametrize(
    ("question", "answer", "part", "state", "cure"),
    [
        (
            "concurrency",
            lambda: (10, 10),
            "Functions",
            "broken",
            "request-service-quota-increase --service-code lambda",
        ),
        ("plan", lambda: ("FREE", "2027-05-01"), "Plan", "note", "aws freetier upgrade-account-plan"),
        ("bootstrapped", lambda: False, "CDK", "broken", "npx cdk bootstrap"),
        ("left_behind", lambda: ["GroundswellData"], "Stacks", "broken", "delete-stack --stack-name GroundswellData"),
        ("zones", lambda: [("us-east-1a", "use1-az3")], "Zones", "broken", "Choose another region"),
        ("ecs_role", lambda: False, "ECS role", "broken", "aws iam create-service-linked-role"),
        ("used", lambda _name: 5.0, "Quota", "broken", "request-service-quota-increase --service-code vpc"),
        ("billing_alerts", lambda: False, "Billing alerts", "note", "Receive CloudWatch billing alerts"),
        ("cost_explorer", lambda *_: False, "Cost Explorer", "note", "Open Cost Explorer once"),
    ],
)
def test_what_is_missing_is_named_with_what_cures_it(
    account: Account,
    monkeypatch: pytest.MonkeyPatch,
    question: str,
    answer: Callable[..., Any],
    part: str,
    state: str,
    cure: str,
) -> None:
    monkeypatch.setattr(account.asks, question, answer)
    finding = found(part)[0]
    assert (finding.state, cure in finding.remedy) == (state, True), finding


def test_a_new_account_deploys_where_nothing_is_reserved(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    from deployment.knobs import load

    monkeypatch.setattr(account.asks, "concurrency", lambda: (10, 10))
    account.knobs = load({"reserve_concurrency": False})
    assert found("Functions")[0].state == "ok"


def test_a_parameter_is_there_and_encrypted_or_it_is_said_how_to_make_it(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account.asks, "parameters", dict.fromkeys)
    assert found("Secrets")[0].remedy.startswith("Run `aws ssm put-parameter --type SecureString --name /groundswell/")
    monkeypatch.setattr(account.asks, "parameters", lambda names: dict.fromkeys(names, "String"))
    assert "is a String" in found("Secrets")[0].found


@pytest.mark.parametrize(
    ("builder", "state", "said"),
    [("docker", "ok", "Docker"), ("podman", "note", "CDK_DOCKER=podman"), (None, "broken", "relay_image")],
)
def test_something_has_to_build_the_image(
    account: Account, monkeypatch: pytest.MonkeyPatch, builder: str | None, state: str, said: str
) -> None:
    monkeypatch.setattr(account, "builder", lambda: builder)
    (finding,) = found("Image")
    assert finding.state == state
    assert said in finding.found + finding.remedy


# ------------------------------------------------------------------ what AWS really answers


def test_a_right_that_the_credentials_lack_is_said_and_is_no_failure_of_the_account() -> None:
    fresh = Account()
    client = fresh.asks._aws.client("lambda")
    with Stubber(client) as stub:
        stub.add_client_error("get_account_settings", "AccessDeniedException", "User: x is not authorized", 403)
        asked = fresh.asks.ask(fresh.asks.concurrency)
    assert asked.why_not.startswith("These credentials may not do lambda:GetAccountSettings")


def test_the_answers_of_aws_are_read_as_they_come() -> None:
    asks = Account().asks
    with Stubber(asks._aws.client("lambda")) as stub:
        stub.add_response(
            "get_account_settings", {"AccountLimit": {"ConcurrentExecutions": 10, "UnreservedConcurrentExecutions": 10}}
        )
        assert asks.concurrency() == (10, 10)
    with Stubber(asks._aws.client("freetier")) as stub:
        stub.add_response(
            "get_account_plan_state",
            {
                "accountId": "123456789012",
                "accountPlanType": "FREE",
                "accountPlanStatus": "ACTIVE",
                "accountPlanExpirationDate": datetime(2027, 5, 1, tzinfo=UTC),
            },
        )
        assert asks.plan() == ("FREE", "2027-05-01")
        stub.add_client_error("get_account_plan_state", "ResourceNotFoundException", "none")
        assert asks.plan() == ("PAID", "")
    with Stubber(asks._aws.client("service-quotas")) as stub:
        stub.add_client_error("get_service_quota", "NoSuchResourceException", "never asked for more")
        stub.add_response("get_aws_default_service_quota", {"Quota": {"Value": 5.0}})
        assert asks.quota("VPCs") == 5.0
    with Stubber(asks._aws.client("ce", region_name="us-east-1")) as stub:
        stub.add_client_error("get_cost_and_usage", "DataUnavailableException", "not yet")
        assert asks.cost_explorer("2026-11-28", "2026-11-29") is False
    with Stubber(asks._aws.client("iam")) as stub:
        stub.add_client_error("get_role", "NoSuchEntity", "no such role", 404)
        assert asks.ecs_role() is False
    with Stubber(asks._aws.client("cloudwatch", region_name="us-east-1")) as stub:
        stub.add_response("list_metrics", {"Metrics": []})
        assert asks.billing_alerts() is False
    with Stubber(asks._aws.client("ssm")) as stub:
        stub.add_response("get_parameters", {"Parameters": [{"Name": SECRET, "Type": "SecureString"}]})
        assert asks.parameters([SECRET, "/none"]) == {SECRET: "SecureString", "/none": None}
    with Stubber(asks._aws.client("sts")) as stub:
        who = {"Account": "123456789012", "Arn": "arn:aws:iam::123456789012:user/ops", "UserId": "x"}
        stub.add_response("get_caller_identity", who)
        assert asks.identity() == "123456789012, as user/ops"
    with Stubber(asks._aws.client("cloudformation")) as stub:
        stub.add_client_error("describe_stacks", "ValidationError", "Stack with id CDKToolkit does not exist")
        assert asks.bootstrapped() is False
    with Stubber(asks._aws.client("ec2")) as stub:
        stub.add_response("describe_vpcs", {"Vpcs": [{"VpcId": "a"}, {"VpcId": "b"}]})
        assert asks.used("VPCs") == 2
        zones = [("us-east-1c", "use1-az3"), ("us-east-1a", "use1-az4"), ("us-east-1b", "use1-az1")]
        named = [{"ZoneName": name, "ZoneId": zone} for name, zone in zones]
        stub.add_response("describe_availability_zones", {"AvailabilityZones": named})
        assert asks.zones() == [("us-east-1a", "use1-az4"), ("us-east-1b", "use1-az1")]
    assert set(QUOTAS) == {"VPCs", "elastic addresses", "Fargate On-Demand vCPU"}


def test_without_credentials_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr("botocore.credentials.CredentialResolver.load_credentials", lambda _self: None)
    said = CliRunner().invoke(app, ["doctor", "aws"])
    assert said.exit_code == EX_UNAVAILABLE
    assert "There are no AWS credentials here. Run `aws configure sso`" in said.output
    assert "Traceback" not in said.output


# ------------------------------------------------------------------ Qdrant
@pytest.fixture
def qdrant() -> Iterator[tuple[str, dict[str, Any]]]:
    """A server that answers as Qdrant does, and what it says."""
    says: dict[str, Any] = {"status": 200, "version": "1.19.0"}

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            says["key"] = self.headers.get("api-key")
            self.send_response(says["status"])
            self.end_headers()
            self.wfile.write(b'{"title": "qdrant", "version": "%s"}' % says["version"].encode())

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", says
        server.shutdown()
        thread.join()


def test_qdrant_is_reached_with_its_key_and_is_new_enough(account: Account, qdrant: tuple[str, dict[str, Any]]) -> None:
    from dataclasses import replace

    url, says = qdrant
    account.knobs = replace(account.knobs, qdrant_url=url)
    (finding,) = found("Qdrant")
    assert (finding.state, says["key"]) == ("ok", "k")
    says["version"] = "1.18.2"
    assert "needed is 1.19" in found("Qdrant")[0].found
    says["status"] = 403
    assert "refuses the key (HTTP 403)" in found("Qdrant")[0].found


@pytest.mark.parametrize(("version", "enough"), [("1.19.0", True), ("2.0.0", True), ("1.18.9", False), ("", False)])
def test_versions_are_compared_by_number(version: str, enough: bool) -> None:
    assert new_enough(version) is enough
