"""What a deployment really spends and uses, asked of a local AWS: the command, the sizes, the weekly mail."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from moto import mock_aws
from moto.ce.models import ce_backends
from moto.core import DEFAULT_ACCOUNT_ID
from moto.sns.models import sns_backends
from typer.testing import CliRunner

from deployment.right_sizing import Load
from groundswell.adapters.aws_account import AwsAccount
from groundswell.adapters.system_clock import SystemClock
from groundswell.cli import app
from groundswell.errors import CloudUnavailable
from groundswell.settings import load
from groundswell.settings_model import CostsSettings
from groundswell.wiring.costs import DAYS, mail_report

REGION = "us-east-1"
DATA = {"Resources": {"DatabaseInstance": {
    "Type": "AWS::RDS::DBInstance",
    "Properties": {"DBInstanceClass": "db.t4g.medium", "Engine": "postgres", "AllocatedStorage": "20",
                   "DBInstanceIdentifier": "groundswell-db", "MasterUsername": "u", "MasterUserPassword": "p4ssw0rd"},
}}}  # fmt: skip
PLATFORM = {"Resources": {
    "ClusterCluster": {"Type": "AWS::ECS::Cluster", "Properties": {"ClusterName": "the-cluster"}},
    "RelayTask": {"Type": "AWS::ECS::TaskDefinition", "Properties": {
        "Family": "relay", "ContainerDefinitions": [{"Name": "relay", "Image": "relay:1", "Memory": 512}]}},
    "RelayService": {"Type": "AWS::ECS::Service", "Properties": {
        "Cluster": {"Ref": "ClusterCluster"}, "TaskDefinition": {"Ref": "RelayTask"}, "DesiredCount": 1}},
    "ApiFunctionLog": {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": "/the/api"}},
}}  # fmt: skip


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in (("ACCESS_KEY_ID", "testing"), ("SECRET_ACCESS_KEY", "testing"), ("DEFAULT_REGION", REGION)):
        monkeypatch.setenv(f"AWS_{name}", value)
    with mock_aws():
        yield


@pytest.fixture
def deployment() -> str:
    """A production deployment that has run for a day and is mostly idle; the name of its relay's service."""
    client = boto3.client("cloudformation", REGION)
    client.create_stack(StackName="GroundswellData", TemplateBody=json.dumps(DATA))
    client.create_stack(StackName="GroundswellPlatform", TemplateBody=json.dumps(PLATFORM))
    logs = boto3.client("logs", REGION)
    logs.create_log_stream(logGroupName="/the/api", logStreamName="one")
    now = datetime.now(UTC)
    said = [
        {"timestamp": int(now.timestamp() * 1000) - 1000, "message": f"REPORT RequestId: x Max Memory Used: {mb} MB"}
        for mb in (120, 180, 150)
    ]
    logs.put_log_events(logGroupName="/the/api", logStreamName="one", logEvents=said)
    (arn,) = boto3.client("ecs", REGION).list_services(cluster="the-cluster")["serviceArns"]
    service = arn.rpartition("/")[2]
    of_relay = {"ClusterName": "the-cluster", "ServiceName": service}
    measured("AWS/ECS", "CPUUtilization", of_relay, [12.0] * 23 + [90.0])
    measured("AWS/ECS", "MemoryUtilization", of_relay, [20.0] * 24)
    measured("AWS/RDS", "CPUUtilization", {"DBInstanceIdentifier": "groundswell-db"}, [9.0] * 24)
    measured("AWS/RDS", "DatabaseConnections", {"DBInstanceIdentifier": "groundswell-db"}, [7.0] * 24)
    return service


def measured(namespace: str, name: str, dimensions: dict[str, str], hourly: list[float]) -> None:
    """Let CloudWatch have measured these values: one an hour, up to now."""
    now = datetime.now(UTC)
    data = [
        {
            "MetricName": name,
            "Value": value,
            "Timestamp": now - timedelta(hours=hours + 1),
            "Dimensions": [{"Name": key, "Value": text} for key, text in dimensions.items()],
        }
        for hours, value in enumerate(hourly)
    ]
    boto3.client("cloudwatch", REGION).put_metric_data(Namespace=namespace, MetricData=data)


def spent(**by_service: float) -> None:
    groups = [
        {"Keys": [name.replace("_", " ")], "Metrics": {"UnblendedCost": {"Amount": str(usd), "Unit": "USD"}}}
        for name, usd in by_service.items()
    ]
    day: dict[str, Any] = {"TimePeriod": {}, "Total": {}, "Groups": groups, "Estimated": True}
    ce_backends[DEFAULT_ACCOUNT_ID]["aws"].cost_usage_results_queue.append({"ResultsByTime": [day, day]})


def test_the_load_is_that_of_the_busiest_hours_and_one_odd_hour_counts_for_nothing(deployment: str) -> None:
    found = AwsAccount(REGION).load("Groundswell", SystemClock().now(), DAYS)
    assert found == Load(
        relay_cpu=0.12,
        relay_memory=0.2,
        database_cpu=0.09,
        database_connections=7.0,
        function_memory_mb=180.0,
    )


def test_the_command_shows_what_was_spent_and_what_would_do(deployment: str) -> None:
    spent(Amazon_RDS=5.5, Amazon_ECS=1.25, AWS_Lambda=0.001)
    done = CliRunner().invoke(app, ["cost", "--profile", "production", "--actual"])
    assert done.exit_code == 0, done.output
    assert "Spent in the last 7 days, in USD" in done.output
    assert "Amazon RDS              11.00" in done.output
    assert "AWS Lambda" not in done.output
    assert '"database_class": "t4g.small" would do and save' in done.output
    assert "api: uses 180 of 1769 MB at most: its size is right" in done.output


def test_the_weekly_mail_has_the_same_report_and_the_estimate(deployment: str) -> None:
    spent(Amazon_RDS=5.5)
    topic = boto3.client("sns", REGION).create_topic(Name="alerts")["TopicArn"]
    settings = load(CostsSettings, {"GROUNDSWELL_DEPLOYMENT": "profile=production", "GROUNDSWELL_REPORT_TOPIC": topic})
    text = mail_report(settings)
    ((_, message, subject, *_),) = sns_backends[DEFAULT_ACCOUNT_ID][REGION].topics[topic].sent_notifications
    assert (message, subject) == (text, "Groundswell: what it costs")
    assert "would do and save" in text and "Monthly cost in USD (production" in text


def test_an_account_without_the_deployment_says_which_stack_is_missing() -> None:
    spent(Amazon_RDS=5.5)
    with pytest.raises(CloudUnavailable, match="DescribeStackResources on GroundswellData"):
        AwsAccount(REGION).load("Groundswell", SystemClock().now(), DAYS)
    done = CliRunner().invoke(app, ["cost", "--actual"])
    assert done.exit_code == 69
