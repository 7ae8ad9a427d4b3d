"""The database of a deployment put back to a point in time, step by step, against a local AWS."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import botocore.session
import pytest
from botocore import xform_name
from botocore.validate import ParamValidator

from groundswell.adapters.aws_calls import Call
from groundswell.adapters.aws_deployment import AwsDeployment
from groundswell.adapters.aws_restore import NAME_MOST, PointInTime, _named
from groundswell.errors import CloudUnavailable, InvalidRequest
from groundswell.wiring.operator import parse_time

REGION = "us-east-1"
TO = datetime(2026, 11, 29, 12, tzinfo=UTC)
INSTANCE, ASIDE, NEW = "the-db", "the-db-before-20261129120000", "the-db-to-20261129120000"


class NotThere(Exception):
    """What RDS answers of an instance that does not exist."""


class Service:
    """One service of AWS: refuses what the real one's model refuses."""

    class exceptions:  # noqa: N801 -- as boto3 names it
        DBInstanceNotFoundFault = NotThere

    def __init__(self, name: str) -> None:
        self._model = botocore.session.get_session().get_service_model(name)

    def validated(self, operation: str, values: Any) -> None:
        found = ParamValidator().validate(values, self._model.operation_model(operation).input_shape)
        assert not found.has_errors(), found.generate_report()


class Rds(Service):
    """Instances, each with the looks that it takes until it is what was asked for: nothing happens at once."""

    def __init__(self) -> None:
        super().__init__("rds")
        self.instances: dict[str, dict[str, Any]] = {
            INSTANCE: {
                "DBInstanceStatus": "available",
                "DBInstanceClass": "db.t4g.micro",
                "DBSubnetGroup": {"DBSubnetGroupName": "isolated"},
                "VpcSecurityGroups": [{"VpcSecurityGroupId": "sg-1"}],
                "DBParameterGroups": [{"DBParameterGroupName": "tls"}],
                "BackupRetentionPeriod": 3,
                "AvailabilityZone": "us-east-1a",
                "StorageType": "gp3",
                "password": "as-it-was-first",
            }
        }
        self.windows = [
            {"RestoreWindow": {"EarliestTime": TO - timedelta(days=1), "LatestTime": TO + timedelta(hours=1)}}
        ]
        self._coming: list[tuple[int, Callable[[], None]]] = []

    def describe_db_instances(self, **values: Any) -> Any:
        self.validated("DescribeDBInstances", values)
        self._coming = [(looks - 1, then) for looks, then in self._coming]
        for _, then in [each for each in self._coming if each[0] <= 0]:
            then()
        self._coming = [each for each in self._coming if each[0] > 0]
        name = values["DBInstanceIdentifier"]
        if name not in self.instances:
            raise NotThere
        return {"DBInstances": [dict(self.instances[name])]}

    def describe_db_instance_automated_backups(self, **values: Any) -> Any:
        self.validated("DescribeDBInstanceAutomatedBackups", values)
        return {"DBInstanceAutomatedBackups": self.windows}

    def restore_db_instance_to_point_in_time(self, **values: Any) -> Any:
        self.validated("RestoreDBInstanceToPointInTime", values)
        source, name = self.instances[values["SourceDBInstanceIdentifier"]], values["TargetDBInstanceIdentifier"]
        assert name not in self.instances, "DBInstanceAlreadyExists"
        self.instances[name] = {**source, "DBInstanceStatus": "creating"}
        self._coming.append((3, lambda: self.instances[name].update(DBInstanceStatus="available")))

    def modify_db_instance(self, **values: Any) -> Any:
        self.validated("ModifyDBInstance", values)
        name, new = values["DBInstanceIdentifier"], values.get("NewDBInstanceIdentifier")
        instance = self.instances[name]
        assert instance["DBInstanceStatus"] == "available", "InvalidDBInstanceState"
        if new is None:
            instance.update(password=values["MasterUserPassword"], PendingModifiedValues={"MasterUserPassword": "****"})
            self._coming.append((2, lambda: instance.pop("PendingModifiedValues")))
            return
        assert new not in self.instances, "DBInstanceAlreadyExists"
        instance["DBInstanceStatus"] = "renaming"

        def renamed() -> None:
            self.instances[new] = {**self.instances.pop(name), "DBInstanceStatus": "rebooting"}
            self._coming.append((2, lambda: self.instances[new].update(DBInstanceStatus="available")))

        self._coming.append((2, renamed))


class Ecs(Service):
    def __init__(self) -> None:
        super().__init__("ecs")
        self.desired = self.running = 1

    def describe_services(self, **values: Any) -> Any:
        self.validated("DescribeServices", values)
        said = {"desiredCount": self.desired, "runningCount": self.running}
        # A task takes a while to come and to go.
        self.running += (self.desired > self.running) - (self.desired < self.running)
        return {"services": [said]}

    def update_service(self, **values: Any) -> Any:
        self.validated("UpdateService", values)
        self.desired = values["desiredCount"]


class Scheduler(Service):
    def __init__(self) -> None:
        super().__init__("scheduler")
        self.schedules = {
            name: {
                "Name": name,
                "ScheduleExpression": "rate(1 hours)",
                "FlexibleTimeWindow": {"Mode": "OFF"},
                "Target": {
                    "Arn": f"arn:aws:lambda:{REGION}:123456789012:function:{name}",
                    "RoleArn": "arn:aws:iam::1:role/r",
                },
                "State": "ENABLED",
                "Arn": "arn",
            }
            for name in ("mover", "cleanup")
        }

    def get_schedule(self, **values: Any) -> Any:
        self.validated("GetSchedule", values)
        return dict(self.schedules[values["Name"]])

    def update_schedule(self, **values: Any) -> Any:
        """Replaces the whole schedule, as the real one does."""
        self.validated("UpdateSchedule", values)
        self.schedules[values["Name"]] = {**values, "Arn": "arn"}


class Secrets:
    def get_secret_value(self, **values: Any) -> Any:
        return {"SecretString": json.dumps({"username": "groundswell", "password": "as-it-is-now"})}


class Platform(AwsDeployment):
    """A deployment over these services."""

    def __init__(self) -> None:
        self.name, self.region = "Groundswell", REGION
        self.rds, self.ecs, self.scheduler = Rds(), Ecs(), Scheduler()
        self.invoked: list[str] = []
        self._services = {"rds": self.rds, "ecs": self.ecs, "scheduler": self.scheduler, "secretsmanager": Secrets()}

    def client(self, service: str, *, region_name: str | None = None, **settings: Any) -> Any:
        return self._services[service]

    def outputs(self, stack: str) -> dict[str, str]:
        return {
            "Data": {"DatabaseInstanceName": INSTANCE, "DatabaseSecret": "arn:aws:secretsmanager:x"},
            "Platform": {
                "ClusterName": "cluster", "RelayServiceName": "relay", "ScheduleNames": "mover,cleanup",
                "MigrateFunctionName": "migrate", "HttpApi": "https://x.example.com",
            },
        }[stack]  # fmt: skip

    def invoke(self, function: str, event: Any) -> Any:
        assert self.instances() == {INSTANCE, ASIDE}, "the schema is brought up to date where the services will look"
        self.invoked.append(function)
        return {"before": "1", "after": "2"}

    def instances(self) -> set[str]:
        assert all(each["DBInstanceStatus"] in ("available", "creating") for each in self.rds.instances.values())
        return set(self.rds.instances)

    def states(self) -> set[str]:
        return {each["State"] for each in self.scheduler.schedules.values()}

    def assert_restored(self) -> None:
        assert self.instances() == {INSTANCE, ASIDE}
        assert self.rds.instances[INSTANCE]["password"] == "as-it-is-now"
        assert self.rds.instances[ASIDE]["password"] == "as-it-was-first"
        assert (self.ecs.desired, self.ecs.running) == (1, 1)
        assert self.states() == {"ENABLED"}


def restore(platform: AwsDeployment) -> tuple[PointInTime, list[str]]:
    told: list[str] = []
    return PointInTime(platform, TO, told.append, lambda _seconds: None), told


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """Every call that changes something, as it is made."""
    calls: list[Call] = []
    real = Call.make

    def make(call: Call, deployment: AwsDeployment) -> Any:
        calls.append(call)
        return real(call, deployment)

    monkeypatch.setattr(Call, "make", make)
    return calls


def test_the_restored_instance_takes_the_place_of_the_old_one_in_its_own_network(made: list[Call]) -> None:
    platform = Platform()
    work, told = restore(platform)
    work.run()
    platform.assert_restored()
    assert [f"{call.service}.{call.operation}" for call in made] == [
        "ecs.update_service",
        "scheduler.update_schedule",
        "scheduler.update_schedule",
        "rds.restore_db_instance_to_point_in_time",
        "rds.modify_db_instance",
        "rds.modify_db_instance",
        "rds.modify_db_instance",
        "scheduler.update_schedule",
        "scheduler.update_schedule",
        "ecs.update_service",
    ]
    asked = made[3].values
    assert asked["DBSubnetGroupName"] == "isolated"
    assert asked["VpcSecurityGroupIds"] == ["sg-1"]
    assert asked["DBParameterGroupName"] == "tls"
    assert asked["RestoreTime"] == TO
    assert asked["BackupRetentionPeriod"] == 3
    assert asked["PubliclyAccessible"] is False
    assert made[4].values["MasterUserPassword"] == "as-it-is-now"
    assert platform.invoked == ["migrate"]
    assert "as-it-is-now" not in "".join(told)


def test_the_relay_and_the_schedules_rest_while_there_is_no_database_of_that_name(
    made: list[Call], monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = Platform()
    work, _ = restore(platform)
    seen: list[tuple[int, set[str]]] = []
    rename = PointInTime._rename

    def watched(self: PointInTime, old: str, new: str) -> Call:
        seen.append((platform.ecs.running, platform.states()))
        return rename(self, old, new)

    monkeypatch.setattr(PointInTime, "_rename", watched)
    work.run()
    assert seen == [(0, {"DISABLED"})] * 2


@pytest.mark.parametrize("failing", range(10))
@pytest.mark.parametrize("answered", [False, True], ids=["before it took effect", "after it took effect"])
def test_a_restore_that_failed_in_the_middle_goes_on_when_it_is_called_again(
    made: list[Call], monkeypatch: pytest.MonkeyPatch, failing: int, answered: bool
) -> None:
    platform = Platform()
    make, count = Call.make, 0

    def fails_once(call: Call, deployment: AwsDeployment) -> Any:
        nonlocal count
        count += 1
        if count == failing + 1:
            if answered:
                make(call, deployment)
            raise CloudUnavailable("the network went away")
        return make(call, deployment)

    monkeypatch.setattr(Call, "make", fails_once)
    work, _ = restore(platform)
    with pytest.raises(CloudUnavailable, match="the network went away"):
        work.run()
    again, _ = restore(platform)
    again.run()
    platform.assert_restored()
    restores = [call for call in made if call.operation == "restore_db_instance_to_point_in_time"]
    assert len(restores) == 1, "an instance is restored once"


def test_one_that_is_done_is_not_done_again(made: list[Call]) -> None:
    platform = Platform()
    restore(platform)[0].run()
    done = len(made)
    work, _ = restore(platform)
    work.check()
    work.run()
    assert len(made) == done
    platform.assert_restored()


def test_an_instance_that_cannot_be_restored_says_where_to_look(
    made: list[Call], monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = Platform()
    work, _ = restore(platform)
    real = PointInTime._describe

    def describe(self: PointInTime, name: str) -> Any:
        found = real(self, name)
        return {**found, "DBInstanceStatus": "incompatible-parameters"} if found and name == NEW else found

    monkeypatch.setattr(PointInTime, "_describe", describe)
    with pytest.raises(CloudUnavailable, match=r"is incompatible-parameters.*describe-events"):
        work.run()
    assert platform.instances() == {INSTANCE, NEW}, "the old one still has its name"


def test_a_dry_run_prints_commands_that_aws_takes_and_changes_nothing(made: list[Call]) -> None:
    platform = Platform()
    work, _ = restore(platform)
    lines = list(work.commands())
    assert made == []
    assert platform.instances() == {INSTANCE}
    assert (platform.ecs.desired, platform.states()) == (1, {"ENABLED"})
    commands = [line for line in lines if not line.startswith("#")]
    assert len(commands) == 11
    (migrates,) = (line for line in commands if " lambda invoke " in line)
    assert "--cli-read-timeout 910" in migrates, "the command line asks a second time after a minute"
    for line in commands:
        assert_aws_takes(line)
    text = "\n".join(lines)
    assert "as-it-is-now" not in text
    assert "$(aws secretsmanager get-secret-value" in text
    assert "--db-subnet-group-name isolated" in text
    assert re.search(r"--vpc-security-group-ids sg-1 --db-parameter-group-name tls", text)


def assert_aws_takes(line: str) -> None:
    """The service, the operation and every option exist."""
    words = shlex.split(line)
    model = botocore.session.get_session().get_service_model(words[1])
    operations = {xform_name(name, "-"): name for name in model.operation_names}
    assert words[2] in operations, line
    known = {f"--{xform_name(name, '-')}" for name in model.operation_model(operations[words[2]]).input_shape.members}
    known |= {name.replace("--", "--no-", 1) for name in known} | {"--region", "--cli-read-timeout"}
    # Options of a command inside of quotes are one word here.
    assert {word for word in words if word.startswith("--")} <= known, line


def test_a_time_out_of_the_reach_of_the_backups_is_refused_before_anything_is_stopped(made: list[Call]) -> None:
    platform = Platform()
    restore(platform)[0].check()
    platform.rds.windows[0]["RestoreWindow"]["EarliestTime"] = TO + timedelta(minutes=1)
    with pytest.raises(InvalidRequest, match="backups reach from 2026-11-29T12:01:00Z to 2026-11-29T13:00:00Z"):
        restore(platform)[0].check()
    platform.rds.windows.clear()
    with pytest.raises(CloudUnavailable, match="no automated backups"):
        restore(platform)[0].check()
    assert made == []


@pytest.mark.parametrize("text", ["yesterday", "2026-11-29T12:00", "12:00Z"])
def test_a_time_has_a_day_and_a_zone(text: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_time(text)
    assert parse_time("2026-11-29T13:00+01:00") == TO


def test_names_of_instances_stay_within_what_rds_takes() -> None:
    long = "groundswelldata-databaseinstance24d16791-" + "x" * (NAME_MOST - 41)
    assert len(long) == NAME_MOST
    assert NAME_MOST - 1 <= len(_named(long, "before-20261129120000")) <= NAME_MOST
    assert "--" not in _named("a" * 40 + "-" + "b" * 22, "before-20261129120000")
