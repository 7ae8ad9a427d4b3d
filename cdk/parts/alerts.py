"""Who is told: one topic, and how an alarm publishes to it."""

# pyright: reportArgumentType=false
# The library's Python interfaces name parameters differently than its classes do: no class is its own interface.

from __future__ import annotations

from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct

from cdk.parts.principals import of_this_account
from deployment.knobs import Knobs


class Alerts(Construct):
    """The topic that alarms, the budget, failed jobs and the weekly report are published to."""

    def __init__(self, scope: Construct, id: str, chosen: Knobs) -> None:
        super().__init__(scope, id)
        self.topic = sns.Topic(self, "Topic", display_name="Groundswell", enforce_ssl=True)
        for service in ("cloudwatch", "budgets"):
            self.topic.add_to_resource_policy(
                iam.PolicyStatement(
                    actions=["sns:Publish"],
                    principals=[of_this_account(f"{service}.amazonaws.com")],
                    resources=[self.topic.topic_arn],
                )
            )
        if chosen.alert_email:
            self.topic.add_subscription(subscriptions.EmailSubscription(chosen.alert_email))

    def alarm(
        self,
        scope: Construct,
        id: str,
        metric: cloudwatch.IMetric,
        about: str,
        *,
        threshold: float,
        periods: int,
        comparison: cloudwatch.ComparisonOperator = cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD,
        missing: cloudwatch.TreatMissingData = cloudwatch.TreatMissingData.NOT_BREACHING,
    ) -> None:
        """Add an alarm that publishes when it begins and when it ends. `about` is the mail's text."""
        alarm = cloudwatch.Alarm(
            scope,
            id,
            metric=metric,
            alarm_description=about,
            threshold=threshold,
            evaluation_periods=periods,
            comparison_operator=comparison,
            treat_missing_data=missing,
        )
        action = actions.SnsAction(self.topic)
        alarm.add_alarm_action(action)
        alarm.add_ok_action(action)
