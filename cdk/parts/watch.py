"""Who notices: alarms that mail, a dashboard, and a budget that AWS itself watches."""

# pyright: reportArgumentType=false
# The library's Python interfaces name parameters differently than its classes do: no class is its own interface.

from __future__ import annotations

from collections.abc import Mapping

from aws_cdk import Duration
from aws_cdk import aws_budgets as budgets
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_iam as iam
from aws_cdk import aws_rds as rds
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct

from deployment.connections import SHARE
from deployment.knobs import Knobs

NAMESPACE = "Groundswell"
"""Where the services' own metrics are: they write them to their logs in the embedded metric format."""
FRAMES = "frames_received_total"
BILLING_REGION = "us-east-1"
"""The one region that knows the estimated charges."""
STORAGE_LEFT_SHARE = 0.1
FIVE_MINUTES = Duration.minutes(5)


class Alerts(Construct):
    """The topic that everything is told to."""

    def __init__(self, scope: Construct, id: str, chosen: Knobs) -> None:
        super().__init__(scope, id)
        self.topic = sns.Topic(self, "Topic", display_name="Groundswell", enforce_ssl=True)
        for service in ("cloudwatch", "budgets"):
            self.topic.add_to_resource_policy(
                iam.PolicyStatement(
                    actions=["sns:Publish"],
                    principals=[iam.ServicePrincipal(f"{service}.amazonaws.com")],
                    resources=[self.topic.topic_arn],
                )
            )
        if chosen.alert_email:
            self.topic.add_subscription(subscriptions.EmailSubscription(chosen.alert_email))


class Alarms(Construct):
    """Ten metrics at most are watched: as many as are free."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        chosen: Knobs,
        *,
        alerts: Alerts,
        functions: Mapping[str, cloudwatch.IMetric],
        database: rds.IDatabaseInstance,
        max_connections: int,
        http_5xx: cloudwatch.IMetric,
        source: str,
    ) -> None:
        super().__init__(scope, id)
        self._action = actions.SnsAction(alerts.topic)
        self.frames = cloudwatch.Metric(
            namespace=NAMESPACE,
            metric_name=FRAMES,
            dimensions_map={"service": "relay", "source": source},
            statistic="Sum",
            period=Duration.minutes(1),
        )
        self._alarm(
            "NoFrames",
            self.frames,
            "No frame has come from the source for five minutes. Look at the relay's log, then at the NAT instance.",
            threshold=0,
            periods=5,
            comparison=cloudwatch.ComparisonOperator.LESS_THAN_OR_EQUAL_TO_THRESHOLD,
            missing=cloudwatch.TreatMissingData.BREACHING,
        )
        self.errors = cloudwatch.MathExpression(
            expression=" + ".join(f"FILL({name}, 0)" for name in functions),
            using_metrics=dict(functions),
            label="errors of functions",
            period=FIVE_MINUTES,
        )
        self._alarm(
            "Errors", self.errors, "A function fails again and again. Its log says why.", threshold=2, periods=3
        )
        self._alarm("Http5xx", http_5xx, "The API answers with server errors.", threshold=10, periods=2)
        self.connections = database.metric_database_connections(statistic="Maximum", period=FIVE_MINUTES)
        self._alarm(
            "Connections",
            self.connections,
            f"More than {SHARE:.0%} of the {max_connections} connections that Postgres takes are open.",
            threshold=int(max_connections * SHARE),
            periods=2,
        )
        self.storage = database.metric_free_storage_space(statistic="Minimum", period=FIVE_MINUTES)
        self._alarm(
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
            self._alarm(
                "Spend",
                spend,
                "The account has spent this month's budget.",
                threshold=chosen.monthly_budget_usd,
                periods=1,
            )

    def _alarm(
        self,
        id: str,
        metric: cloudwatch.IMetric,
        about: str,
        *,
        threshold: float,
        periods: int,
        comparison: cloudwatch.ComparisonOperator = cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD,
        missing: cloudwatch.TreatMissingData = cloudwatch.TreatMissingData.NOT_BREACHING,
    ) -> None:
        alarm = cloudwatch.Alarm(
            self,
            id,
            metric=metric,
            alarm_description=about,
            threshold=threshold,
            evaluation_periods=periods,
            comparison_operator=comparison,
            treat_missing_data=missing,
        )
        alarm.add_alarm_action(self._action)
        alarm.add_ok_action(self._action)


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
                    graph(title="Errors of functions", left=[alarms.errors], width=12),
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
