"""Who notices: alarms that mail, a dashboard, and a budget that AWS itself watches."""

# pyright: reportArgumentType=false
# The library's Python interfaces name parameters differently than its classes do: no class is its own interface.

from __future__ import annotations

import math
from collections.abc import Mapping

from aws_cdk import Duration, aws_lambda
from aws_cdk import aws_budgets as budgets
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_rds as rds
from constructs import Construct

from cdk.parts.alerts import Alerts
from cdk.parts.schedule import ATTEMPTS
from deployment.connections import SHARE
from deployment.knobs import Knobs

NAMESPACE = "Groundswell"
"""Where the services' own metrics are: they write them to their logs in the embedded metric format."""
FRAMES = "frames_received_total"
BILLING_REGION = "us-east-1"
"""The one region that knows the estimated charges."""
STORAGE_LEFT_SHARE = 0.1
FIVE_MINUTES = Duration.minutes(5)
LONGEST_WATCH_H = 24
"""How far an alarm looks back at most."""


class Alarms(Construct):
    """Ten metrics at most are watched, with the one of the platform's stack: as many as are free."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        chosen: Knobs,
        *,
        alerts: Alerts,
        jobs: Mapping[str, tuple[aws_lambda.IFunction, int]],
        report: aws_lambda.IFunction,
        service: ecs.FargateService,
        database: rds.IDatabaseInstance,
        max_connections: int,
        http_5xx: cloudwatch.IMetric,
        source: str,
    ) -> None:
        """Make them.

        Args:
            jobs: the functions that run again and again, each with the minutes from one run to the next.
            report: the function that runs once a week.
        """
        super().__init__(scope, id)
        self.frames = cloudwatch.Metric(
            namespace=NAMESPACE,
            metric_name=FRAMES,
            dimensions_map={"service": "relay", "source": source},
            statistic="Sum",
            period=Duration.minutes(1),
        )
        alerts.alarm(
            self,
            "NoFrames",
            self.frames,
            "No frame has come from the source for five minutes. Look at the relay's log.",
            threshold=0,
            periods=5,
            comparison=cloudwatch.ComparisonOperator.LESS_THAN_OR_EQUAL_TO_THRESHOLD,
            missing=cloudwatch.TreatMissingData.BREACHING,
        )
        alerts.alarm(
            self,
            "NoRelay",
            # Each running task reports its CPU once a minute, so that the number of samples is that of the tasks.
            service.metric_cpu_utilization(statistic="SampleCount", period=Duration.minutes(1)),
            "The relay's task has not run for five minutes. The events of its ECS service say why; on Spot there may "
            "be no spare capacity: set relay_spot to false and deploy.",
            threshold=1,
            periods=5,
            comparison=cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD,
            missing=cloudwatch.TreatMissingData.BREACHING,
        )
        self.errors: list[cloudwatch.IMetric] = []
        for name, (function, minutes) in jobs.items():
            hours = math.ceil(minutes / 60)
            errors = function.metric_errors(statistic="Sum", period=Duration.hours(hours))
            self.errors.append(errors)
            alerts.alarm(
                self,
                f"{name}Errors",
                errors,
                f"The {name.lower()} function failed or did not run in each of the last periods. Its log says why.",
                threshold=1,
                periods=2 if hours * 2 <= LONGEST_WATCH_H else 1,
                comparison=cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
                # A run reports its errors, also when there are none. No report is no run.
                missing=cloudwatch.TreatMissingData.BREACHING,
            )
        reported = report.metric_errors(statistic="Sum", period=Duration.hours(1))
        self.errors.append(reported)
        alerts.alarm(
            self,
            "CostsErrors",
            reported,
            "The weekly report of costs could not be made. Its log says why: Cost Explorer may not be switched on.",
            threshold=ATTEMPTS,
            periods=1,
            comparison=cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
        )
        alerts.alarm(
            self, "Http5xx", http_5xx, "The API answers with server errors. Its log says why.", threshold=10, periods=2
        )
        self.connections = database.metric_database_connections(statistic="Maximum", period=FIVE_MINUTES)
        alerts.alarm(
            self,
            "Connections",
            self.connections,
            f"More than {SHARE:.0%} of the {max_connections} connections that Postgres takes are open.",
            threshold=int(max_connections * SHARE),
            periods=2,
        )
        self.storage = database.metric_free_storage_space(statistic="Minimum", period=FIVE_MINUTES)
        alerts.alarm(
            self,
            "Storage",
            self.storage,
            "The database's disk is nearly full. Look at whether the mover runs, or raise database_storage_max_gb.",
            threshold=int(chosen.database_storage_gb * STORAGE_LEFT_SHARE * 2**30),
            periods=2,
            comparison=cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD,
        )
        if chosen.region == BILLING_REGION:
            spend = cloudwatch.Metric(
                namespace="AWS/Billing",
                metric_name="EstimatedCharges",
                dimensions_map={"Currency": "USD"},
                statistic="Maximum",
                period=Duration.hours(6),
            )
            alerts.alarm(
                self,
                "Spend",
                spend,
                "The account has spent this month's budget.",
                threshold=chosen.monthly_budget_usd,
                periods=1,
            )


class Dashboard(Construct):
    """One screen: does it read, does it answer, how full is it."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        chosen: Knobs,
        *,
        alarms: Alarms,
        relay: Mapping[str, cloudwatch.IMetric],
        latency: cloudwatch.IMetric,
        requests: cloudwatch.IMetric,
        database: rds.IDatabaseInstance,
    ) -> None:
        super().__init__(scope, id)
        graph = cloudwatch.GraphWidget
        cloudwatch.Dashboard(
            self,
            "Dashboard",
            dashboard_name=chosen.name,
            period_override=cloudwatch.PeriodOverride.AUTO,
            widgets=[
                [
                    graph(title="Frames a minute", left=[alarms.frames], width=12),
                    graph(title="Relay: share of CPU and memory, %", left=list(relay.values()), width=12),
                ],
                [
                    graph(title="Requests", left=[requests], right=[latency], width=12),
                    graph(title="Errors of jobs", left=alarms.errors, width=12),
                ],
                [
                    graph(title="Database connections", left=[alarms.connections], width=8),
                    graph(title="Database CPU, %", left=[database.metric_cpu_utilization()], width=8),
                    graph(title="Free storage", left=[alarms.storage], width=8),
                ],
            ],
        )


class SpendBudget(Construct):
    """A monthly budget that AWS watches: told at half of it, at 80%, and when the forecast goes over."""

    def __init__(self, scope: Construct, id: str, chosen: Knobs, alerts: Alerts) -> None:
        super().__init__(scope, id)
        to = [budgets.CfnBudget.SubscriberProperty(subscription_type="SNS", address=alerts.topic.topic_arn)]
        if chosen.alert_email:
            # By mail as well: the one subscription that needs nobody's confirmation.
            to.append(budgets.CfnBudget.SubscriberProperty(subscription_type="EMAIL", address=chosen.alert_email))
        told = [("ACTUAL", 50), ("ACTUAL", 80), ("FORECASTED", 100)]
        budgets.CfnBudget(
            self,
            "Budget",
            budget=budgets.CfnBudget.BudgetDataProperty(
                budget_type="COST",
                time_unit="MONTHLY",
                budget_limit=budgets.CfnBudget.SpendProperty(amount=chosen.monthly_budget_usd, unit="USD"),
            ),
            notifications_with_subscribers=[
                budgets.CfnBudget.NotificationWithSubscribersProperty(
                    notification=budgets.CfnBudget.NotificationProperty(
                        comparison_operator="GREATER_THAN", notification_type=kind, threshold=share
                    ),
                    subscribers=to,
                )
                for kind, share in told
            ],
        )
