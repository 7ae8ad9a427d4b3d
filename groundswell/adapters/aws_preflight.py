"""What an account has to have before the first deploy. Each question is one call, or says why it has no answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from groundswell.adapters.aws_deployment import AwsDeployment, explained
from groundswell.errors import CloudUnavailable

BOOTSTRAP_STACK: Final = "CDKToolkit"
ECS_ROLE: Final = "AWSServiceRoleForECS"
UNSUPPORTED_ZONES: Final = frozenset({"use1-az3", "usw1-az2", "cac1-az3", "apne1-az3", "apne1-az5"})
"""Zones, by their ids, in which Lambda, Graviton instances or links of API Gateway are not to be had.

https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-vpc-links.html lists those of the links.
"""
QUOTAS: Final[Mapping[str, tuple[str, str, float, str]]] = {
    "VPCs": ("vpc", "L-F678F1CE", 1, "a network"),
    "elastic addresses": ("ec2", "L-0263D0A3", 1, "the way out"),
    "Fargate On-Demand vCPU": ("fargate", "L-3032A538", 1, "the relay and its successor at a deploy"),
}
"""By name: service, code, how much a deployment takes, and what for."""


class Asked(msgspec.Struct, frozen=True):
    """The answer to one question."""

    value: Any = None
    why_not: str = ""
    """Why there is no answer."""


class Preflight:
    """The questions, in one account and region."""

    def __init__(self, deployment: AwsDeployment) -> None:
        self._aws = deployment

    def ask(self, question: Callable[[], Any]) -> Asked:
        """The answer, or why AWS gives none: a right that the credentials lack is no failure of the account."""
        try:
            return Asked(question())
        except CloudUnavailable as error:
            return Asked(why_not=error.detail)

    def identity(self) -> str:
        """The account, and who asks."""
        with explained("sts:GetCallerIdentity"):
            said = self._aws.client("sts").get_caller_identity()
        return f"{said['Account']}, as {said['Arn'].rpartition(':')[2]}"

    def concurrency(self) -> tuple[int, int]:
        """Functions that may run at once in all, and how many of them no function has reserved."""
        with explained("lambda:GetAccountSettings"):
            said = self._aws.client("lambda").get_account_settings()["AccountLimit"]
        return int(said["ConcurrentExecutions"]), int(said["UnreservedConcurrentExecutions"])

    def ecs_role(self) -> bool:
        """Whether ECS has its service-linked role."""
        client = self._aws.client("iam")
        with explained(f"iam:GetRole on {ECS_ROLE}"):
            try:
                client.get_role(RoleName=ECS_ROLE)
            except client.exceptions.NoSuchEntityException:
                return False
        return True

    def zones(self) -> list[tuple[str, str]]:
        """The two zones that a network takes, by name and id: the first by name."""
        with explained("ec2:DescribeAvailabilityZones"):
            said = self._aws.client("ec2").describe_availability_zones(
                Filters=[{"Name": "zone-type", "Values": ["availability-zone"]}]
            )
        return sorted((zone["ZoneName"], zone["ZoneId"]) for zone in said["AvailabilityZones"])[:2]

    def plan(self) -> tuple[str, str]:
        """`FREE` or `PAID`, and for a free one the day on which it ends."""
        client = self._aws.client("freetier")
        with explained("freetier:GetAccountPlanState"):
            try:
                said = client.get_account_plan_state()
            except client.exceptions.ResourceNotFoundException:
                # An account from before there were plans.
                return "PAID", ""
        return said["accountPlanType"], str(said.get("accountPlanExpirationDate", ""))[:10]

    def quota(self, name: str) -> float:
        """What the account may have of one of QUOTAS."""
        service, code, _, _ = QUOTAS[name]
        client = self._aws.client("service-quotas")
        with explained(f"servicequotas:GetServiceQuota on {code}"):
            try:
                return float(client.get_service_quota(ServiceCode=service, QuotaCode=code)["Quota"]["Value"])
            except client.exceptions.NoSuchResourceException:
                default = client.get_aws_default_service_quota(ServiceCode=service, QuotaCode=code)
                return float(default["Quota"]["Value"])

    def used(self, name: str) -> float | None:
        """How much of it is taken; None where that cannot be counted."""
        client = self._aws.client("ec2")
        if name == "VPCs":
            with explained("ec2:DescribeVpcs"):
                return len(client.describe_vpcs()["Vpcs"])
        if name == "elastic addresses":
            with explained("ec2:DescribeAddresses"):
                return len(client.describe_addresses()["Addresses"])
        return None

    def parameters(self, names: Sequence[str]) -> Mapping[str, str | None]:
        """Type of each SSM parameter; None for one that is not there."""
        with explained("ssm:GetParameters"):
            said = self._aws.client("ssm").get_parameters(Names=list(names), WithDecryption=False)
        found = {each["Name"]: each["Type"] for each in said["Parameters"]}
        return {name: found.get(name) for name in names}

    def secret(self, name: str) -> str:
        """The value of a SecureString: for the one question whether it opens what it is for."""
        with explained(f"ssm:GetParameter on {name}"):
            return self._aws.client("ssm").get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"]

    def bootstrapped(self) -> bool:
        """Whether CDK's own stack is there."""
        from botocore.exceptions import ClientError

        with explained(f"cloudformation:DescribeStacks on {BOOTSTRAP_STACK}"):
            try:
                self._aws.client("cloudformation").describe_stacks(StackName=BOOTSTRAP_STACK)
            except ClientError as error:
                if "does not exist" in str(error):
                    return False
                raise
        return True

    def left_behind(self) -> list[str]:
        """Stacks of this deployment whose first deploy failed: they have to go before the next."""
        client = self._aws.client("cloudformation")
        with explained("cloudformation:ListStacks"):
            pages = client.get_paginator("list_stacks").paginate(
                StackStatusFilter=["ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "DELETE_FAILED"]
            )
            return [
                stack["StackName"]
                for page in pages
                for stack in page["StackSummaries"]
                if stack["StackName"].startswith(self._aws.name)
            ]

    def billing_alerts(self) -> bool:
        """Whether the account's charges are a metric, which the alarm on them needs. It is there in one region."""
        client = self._aws.client("cloudwatch", region_name="us-east-1")
        with explained("cloudwatch:ListMetrics"):
            said = client.list_metrics(Namespace="AWS/Billing", MetricName="EstimatedCharges")
        return bool(said["Metrics"])

    def cost_explorer(self, start: str, end: str) -> bool:
        """Whether Cost Explorer is on. Asking costs a cent."""
        from botocore.exceptions import ClientError

        with explained("ce:GetCostAndUsage"):
            try:
                self._aws.client("ce", region_name="us-east-1").get_cost_and_usage(
                    TimePeriod={"Start": start, "End": end}, Granularity="MONTHLY", Metrics=["UnblendedCost"]
                )
            except ClientError as error:
                if error.response["Error"]["Code"] == "DataUnavailableException" or "not enabled" in str(error):
                    return False
                raise
        return True
