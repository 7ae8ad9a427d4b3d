"""What runs by the clock: EventBridge Scheduler, with a role for each job that may call its function alone."""

# pyright: reportArgumentType=false
# The library's Python interfaces name parameters differently than its classes do: no class is its own interface.

from __future__ import annotations

import json

from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda
from aws_cdk import aws_lambda_destinations as destinations
from aws_cdk import aws_scheduler as scheduler
from aws_cdk import aws_sns as sns
from constructs import Construct

from cdk.parts.principals import of_this_account

WEEKLY = "cron(0 7 ? * MON *)"
DELIVERIES = 1
"""How often the scheduler tries again to hand an event to Lambda."""
ATTEMPTS = 3
"""How often Lambda runs a function for one event until a run succeeds, within about three minutes."""
OLDEST_EVENT_S = 600


class Job(Construct):
    """A function that is called on a schedule. A run that was missed is not made up for: the next one does its work.

    The call is asynchronous: the scheduler's own retries are about its delivery. A run that fails is repeated by
    Lambda, and one whose last attempt fails is published to `failures`. A function that reports how it is doing is
    told how often it runs.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        handler: aws_lambda.IFunction,
        *,
        failures: sns.ITopic,
        every_minutes: int = 0,
        expression: str = "",
    ) -> None:
        super().__init__(scope, id)
        handler.configure_async_invoke(on_failure=destinations.SnsDestination(failures), retry_attempts=ATTEMPTS - 1)
        role = iam.Role(self, "Role", assumed_by=of_this_account("scheduler.amazonaws.com"))
        role.add_to_policy(iam.PolicyStatement(actions=["lambda:InvokeFunction"], resources=[handler.function_arn]))
        # The higher-level construct would also allow every version and alias of the function.
        self.schedule = scheduler.CfnSchedule(
            self,
            "Schedule",
            schedule_expression=expression or _rate(every_minutes),
            flexible_time_window=scheduler.CfnSchedule.FlexibleTimeWindowProperty(mode="OFF"),
            target=scheduler.CfnSchedule.TargetProperty(
                arn=handler.function_arn,
                input=json.dumps({"every_s": every_minutes * 60}) if every_minutes else None,
                role_arn=role.role_arn,
                retry_policy=scheduler.CfnSchedule.RetryPolicyProperty(
                    maximum_retry_attempts=DELIVERIES, maximum_event_age_in_seconds=OLDEST_EVENT_S
                ),
            ),
        )
        self.schedule.node.add_dependency(role)


def _rate(minutes: int) -> str:
    return f"rate({minutes} {'minute' if minutes == 1 else 'minutes'})"
