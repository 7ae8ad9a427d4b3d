"""An alarm goes off when what it watches for happens, and not otherwise: the deployed rules over made series."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from deployment import connections, costs
from deployment.knobs import load, overrides_in
from tests.infrastructure.conftest import DEPLOYMENTS, Get

each_deployment = pytest.mark.parametrize("name", DEPLOYMENTS)

HOUR = 3600
COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "GreaterThanThreshold": operator.gt,
    "GreaterThanOrEqualToThreshold": operator.ge,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}
STATISTICS: Mapping[str, Callable[[Sequence[float]], float]] = {
    "Sum": sum,
    "Maximum": max,
    "Minimum": min,
    "SampleCount": len,
}


def breached(alarm: Mapping[str, Any], series: Sequence[tuple[float, float]], until_s: float) -> list[float]:
    """Return the seconds at whose end of a period the alarm is on: every one of its last periods is over the line."""
    period = alarm["Period"]
    compare, over = COMPARISONS[alarm["ComparisonOperator"]], alarm["Threshold"]
    missing = alarm["TreatMissingData"] == "breaching"
    bad: list[bool] = []
    for start in range(0, int(until_s), period):
        values = [value for at, value in series if start <= at < start + period]
        bad.append(compare(STATISTICS[alarm["Statistic"]](values), over) if values else missing)
    needed = alarm["EvaluationPeriods"]
    return [(at + 1) * period for at in range(needed - 1, len(bad)) if all(bad[at - needed + 1 : at + 1])]


def alarm_of(deployment: Get, name: str, start: str) -> dict[str, Any]:
    """Return the alarm whose logical name begins like this."""
    (found,) = (
        alarm
        for logical, alarm in deployment(name).of_type("AWS::CloudWatch::Alarm").items()
        if logical.startswith((start, f"Alarms{start}"))
    )
    return found


def runs(every_s: int, errors_at: Sequence[int], hours: int) -> list[tuple[float, float]]:
    """Return the errors that a job reports: one for each failed attempt, by the seconds after the start of its run."""
    return [(start + at, 1.0) for start in range(300, hours * HOUR, every_s) for at in errors_at]


@pytest.mark.parametrize("job", ["Mover", "Cleanup"])
@pytest.mark.parametrize("name", ["budget", "production"])
def test_a_job_that_fails_at_every_run_is_noticed_within_two_hours(deployment: Get, name: str, job: str) -> None:
    """Lambda tries three times within three minutes, and the schedule comes again an hour later."""
    alarm = alarm_of(deployment, name, f"{job}Errors")
    assert breached(alarm, runs(HOUR, (0, 60, 180), 4), 4 * HOUR)[0] == 2 * HOUR


@pytest.mark.parametrize("job", ["Mover", "Cleanup"])
def test_a_job_that_no_longer_runs_is_noticed_and_one_that_failed_once_is_not(deployment: Get, job: str) -> None:
    alarm = alarm_of(deployment, "budget", f"{job}Errors")
    well = [(at, 0.0) for at in range(300, 6 * HOUR, HOUR)]
    assert breached(alarm, well, 6 * HOUR) == []
    assert breached(alarm, well[:2], 6 * HOUR)[0] == 4 * HOUR
    once = [*well, (2 * HOUR + 300, 1.0)]
    assert breached(alarm, once, 6 * HOUR) == []


def test_a_weekly_report_whose_every_attempt_fails_is_noticed_and_one_that_is_repeated_is_not(deployment: Get) -> None:
    alarm = alarm_of(deployment, "budget", "CostsErrors")
    assert breached(alarm, [(0, 1.0), (60, 1.0), (180, 1.0)], 2 * HOUR)[0] == HOUR
    assert breached(alarm, [(0, 1.0), (60, 0.0)], 2 * HOUR) == []


def test_a_sockets_function_that_fails_again_and_again_is_noticed(deployment: Get) -> None:
    alarm = alarm_of(deployment, "budget", "SocketsErrors")
    assert breached(alarm, [(at, 1.0) for at in range(0, HOUR, 60)], HOUR)[0] == 900
    assert breached(alarm, [(at, 0.0) for at in range(0, HOUR, 60)], HOUR) == []


@each_deployment
def test_a_relay_that_does_not_run_is_noticed_within_five_minutes(deployment: Get, name: str) -> None:
    """Each running task reports its CPU once a minute. On Spot this is how a lack of capacity shows."""
    alarm = alarm_of(deployment, name, "NoRelay")
    assert breached(alarm, [(at, 12.5) for at in range(0, 600, 60)], 600) == []
    assert breached(alarm, [(at, 12.5) for at in range(0, 600, 60)], 1200)[0] == 900
    # A deploy moves the task within a minute or two.
    assert breached(alarm, [(at, 12.5) for at in (0, 60, 240, 300, 360, 420)], 480) == []
    assert "Spot" in alarm["AlarmDescription"]


def test_silence_of_the_source_is_noticed_within_five_minutes(deployment: Get) -> None:
    alarm = alarm_of(deployment, "budget", "NoFrames")
    assert alarm["Namespace"] == "Groundswell"
    assert breached(alarm, [(at, 700.0) for at in range(0, 300, 60)], 600)[0] == 600
    assert breached(alarm, [(at, 700.0) for at in range(0, 600, 60)], 600) == []


@each_deployment
def test_no_more_metrics_are_watched_than_are_free(deployment: Get, name: str) -> None:
    alarms = deployment(name).of_type("AWS::CloudWatch::Alarm").values()
    assert len(alarms) <= costs.ALARMS
    assert all("MetricName" in alarm for alarm in alarms), "an alarm over several metrics is charged for each"
    assert all(alarm["AlarmActions"] for alarm in alarms), "an alarm that tells nobody"


@each_deployment
def test_every_function_is_watched_by_something(deployment: Get, name: str) -> None:
    """Jobs and sockets by their errors, the API by its gateway, the others by who called them.

    What `vectors` fails at is an answer of the API that says that it is degraded.
    """
    found = deployment(name)
    alarms = list(found.of_type("AWS::CloudWatch::Alarm").values())
    watched = [alarm for alarm in alarms if alarm["MetricName"] == "Errors"]
    by_others = {f"functions.{each}.handler.handler" for each in ("api", "migrate", "admin", "vectors")}
    assert len(watched) == len(found.functions().keys() - by_others)
    assert len({str(alarm["Dimensions"]) for alarm in watched}) == len(watched)
    assert [alarm["ComparisonOperator"] for alarm in alarms if alarm["MetricName"] == "5xx"] == ["GreaterThanThreshold"]


@each_deployment
def test_what_every_attempt_of_a_job_fails_at_is_published(deployment: Get, name: str) -> None:
    found = deployment(name)
    told = list(found.of_type("AWS::Lambda::EventInvokeConfig").values())
    assert len(told) == len(found.of_type("AWS::Scheduler::Schedule"))
    for each in told:
        assert each["MaximumRetryAttempts"] == 2
        assert "Topic" in str(each["DestinationConfig"]["OnFailure"]["Destination"])


@each_deployment
def test_disk_connections_and_spend_are_watched(deployment: Get, name: str) -> None:
    alarms = deployment(name).of_type("AWS::CloudWatch::Alarm").values()
    by_metric = {alarm["MetricName"]: alarm for alarm in alarms}
    chosen = load(overrides_in(DEPLOYMENTS[name]))
    assert by_metric["EstimatedCharges"]["Threshold"] == chosen.monthly_budget_usd
    assert by_metric["DatabaseConnections"]["Threshold"] == connections.limit(chosen)
    assert by_metric["FreeStorageSpace"]["ComparisonOperator"] == "LessThanThreshold"
    assert by_metric["FreeStorageSpace"]["Threshold"] == pytest.approx(
        chosen.database_storage_gb * 0.1 * 2**30, rel=0.01
    )
