"""What a deployment really spends and uses: Cost Explorer, CloudWatch, and the stacks that say what is whose."""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from deployment.right_sizing import Load
from groundswell.core.posts import Micros
from groundswell.errors import CloudUnavailable

PERIOD_S = 3600
"""Metrics are read hour by hour; the busiest hours count."""
BUSY_HOURS_SHARE = 0.95
"""What the busiest hours are: this share of the hours is less busy."""
REPORTS_READ = 200
"""Lines of the API's log that are looked at for the memory that its runs used."""
_MEMORY = re.compile(r"Max Memory Used: (\d+) MB")


class AwsAccount:
    """One account in one region, through the credentials of this process.

    Raises:
        CloudUnavailable: the package that asks is not installed.
    """

    def __init__(self, region: str) -> None:
        try:
            import boto3
        except ImportError as error:
            raise CloudUnavailable(
                "the package boto3, which asks AWS, is not installed. Run `make set-up`, or install groundswell[aws]."
            ) from error

        self._region = region
        self._session: Any = boto3.Session(region_name=region)

    def has_credentials(self) -> bool:
        """Whether there is anything to ask with. Asks nobody but this machine."""
        return self._session.get_credentials() is not None

    def spend(self, now: Micros, days: int) -> dict[str, float]:
        """US dollars by service over the last whole `days` before `now`. One request, which costs a cent.

        Raises:
            CloudUnavailable: the account does not say.
        """
        today = datetime.fromtimestamp(now / 1e6, UTC).date()
        spent: dict[str, float] = {}
        with _explained("ce:GetCostAndUsage"):
            answer = self._session.client("ce", region_name="us-east-1").get_cost_and_usage(
                TimePeriod={"Start": str(today - timedelta(days=days)), "End": str(today)},
                Granularity="DAILY",
                Metrics=["UnblendedCost"],
                GroupBy=[{"Type": "DIMENSION", "Key": "SERVICE"}],
            )
        for day in answer["ResultsByTime"]:
            for group in day["Groups"]:
                name = group["Keys"][0]
                spent[name] = spent.get(name, 0.0) + float(group["Metrics"]["UnblendedCost"]["Amount"])
        return {name: usd for name, usd in spent.items() if usd >= 0.005}

    def load(self, deployment: str, now: Micros, days: int) -> Load:
        """What the parts of a deployment used over the last `days`. `deployment` is the prefix of its stacks.

        Raises:
            CloudUnavailable: the account does not say, or has no such deployment.
        """
        parts = self._parts(deployment)
        wanted: dict[str, tuple[str, str, Mapping[str, str], str]] = {}
        if "relay" in parts:
            cluster, service = parts["relay"].rsplit("/", 2)[-2:]
            of_relay = {"ClusterName": cluster, "ServiceName": service}
            wanted["relay_cpu"] = ("AWS/ECS", "CPUUtilization", of_relay, "Average")
            wanted["relay_memory"] = ("AWS/ECS", "MemoryUtilization", of_relay, "Maximum")
        if "database" in parts:
            of_database = {"DBInstanceIdentifier": parts["database"]}
            wanted["database_cpu"] = ("AWS/RDS", "CPUUtilization", of_database, "Average")
            wanted["database_connections"] = ("AWS/RDS", "DatabaseConnections", of_database, "Maximum")
        busy = self._busiest(wanted, now, days)
        shares = {name: value / 100 for name, value in busy.items() if name != "database_connections"}
        return Load(
            **shares,
            database_connections=busy.get("database_connections"),
            function_memory_mb=self._memory(parts["api_log"], now, days) if "api_log" in parts else None,
        )

    def publish(self, topic: str, subject: str, text: str) -> None:
        """Send `text` to everybody who listens to an SNS topic."""
        with _explained("sns:Publish"):
            self._session.client("sns").publish(TopicArn=topic, Subject=subject, Message=text)

    def _parts(self, deployment: str) -> dict[str, str]:
        """The physical names of the parts that are measured."""
        found: dict[str, str] = {}
        client = self._session.client("cloudformation")
        for stack in (f"{deployment}Data", f"{deployment}Platform"):
            with _explained(f"cloudformation:DescribeStackResources on {stack}"):
                resources = client.describe_stack_resources(StackName=stack)["StackResources"]
            for resource in resources:
                kind, logical = resource["ResourceType"], resource["LogicalResourceId"]
                name = resource.get("PhysicalResourceId", "")
                if kind == "AWS::ECS::Service" and logical.startswith("Relay"):
                    found["relay"] = name
                elif kind == "AWS::RDS::DBInstance":
                    found["database"] = name
                elif kind == "AWS::Logs::LogGroup" and logical.startswith("ApiFunction"):
                    found["api_log"] = name
        return found

    def _busiest(
        self, wanted: Mapping[str, tuple[str, str, Mapping[str, str], str]], now: Micros, days: int
    ) -> dict[str, float]:
        """The value that 95% of the hours stay below, for each metric that has any."""
        if not wanted:
            return {}
        end = datetime.fromtimestamp(now / 1e6, UTC)
        queries = [
            {
                "Id": name,
                "MetricStat": {
                    "Metric": {
                        "Namespace": namespace,
                        "MetricName": metric,
                        "Dimensions": [{"Name": key, "Value": value} for key, value in dimensions.items()],
                    },
                    "Period": PERIOD_S,
                    "Stat": statistic,
                },
            }
            for name, (namespace, metric, dimensions, statistic) in wanted.items()
        ]
        with _explained("cloudwatch:GetMetricData"):
            answer = self._session.client("cloudwatch").get_metric_data(
                MetricDataQueries=queries, StartTime=end - timedelta(days=days), EndTime=end
            )
        found: dict[str, float] = {}
        for result in answer["MetricDataResults"]:
            values = sorted(float(value) for value in result["Values"])
            if values:
                found[str(result["Id"])] = values[min(len(values) - 1, int(len(values) * BUSY_HOURS_SHARE))]
        return found

    def _memory(self, log_group: str, now: Micros, days: int) -> float | None:
        """The most memory that a run reported, in MB."""
        used: list[int] = []
        with _explained(f"logs:FilterLogEvents on {log_group}"):
            # A page may be empty while others follow: it is what was looked at, not what was found.
            pages = self._session.client("logs").get_paginator("filter_log_events")
            for page in pages.paginate(
                logGroupName=log_group,
                filterPattern='"Max Memory Used"',
                startTime=now // 1000 - days * 86_400_000,
                PaginationConfig={"MaxItems": REPORTS_READ},
            ):
                used += [int(found[1]) for event in page["events"] if (found := _MEMORY.search(event["message"]))]
        return float(max(used)) if used else None


@contextmanager
def _explained(what: str) -> Generator[None]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise CloudUnavailable(
            f"AWS does not answer {what} ({error}). Check the credentials, the region and their rights."
        ) from error
