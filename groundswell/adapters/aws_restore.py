"""A database put back to what it was at a point in time, in steps of which each can be repeated.

RDS restores into a new instance. It then takes the name of the one that it replaces, so that the address in the secret,
the stack and the alarms stay true; the old one is kept under another name. Every step looks first at what is there: a
restore that was interrupted goes on when it is called again with the same time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from groundswell.adapters.aws_calls import Call
from groundswell.adapters.aws_deployment import AwsDeployment, explained
from groundswell.errors import CloudUnavailable, InvalidRequest

NAME_MOST: Final = 63
"""Characters of an instance's identifier."""
LOOK_EVERY_S: Final = 15.0
LOOKS_MOST: Final = 480
"""Two hours: a restore takes as long as its log has to be read again."""
FAILED: Final = frozenset(
    {"failed", "incompatible-restore", "incompatible-network", "incompatible-parameters", "storage-full",
     "inaccessible-encryption-credentials", "restore-error"}
)  # fmt: skip


class Step(msgspec.Struct, frozen=True):
    """Something that is still to be done."""

    title: str
    calls: Sequence[Call]
    done: Callable[[], str | None] = lambda: None
    """None once it is; until then what is waited for."""
    migrates: bool = False


class PointInTime:
    """One restore of one deployment.

    Args:
        to: the time to go back to.
        tell: gets a line for each step, and each time that what is waited for changes.
        pause: waits this many seconds. AWS has nothing to wait on: it has to be asked again.
    """

    def __init__(
        self, deployment: AwsDeployment, to: datetime, tell: Callable[[str], None], pause: Callable[[float], None]
    ) -> None:
        self._aws, self._to, self._tell, self._pause = deployment, to, tell, pause
        self._data, self._platform = deployment.outputs("Data"), deployment.outputs("Platform")
        missing = {"DatabaseInstanceName", "DatabaseSecret"} - set(self._data)
        missing |= {"ClusterName", "RelayServiceName", "ScheduleNames", "MigrateFunctionName"} - set(self._platform)
        if missing:
            raise CloudUnavailable(
                f"The stacks of {deployment.name} have no output {', '.join(sorted(missing))}: they are of an earlier "
                "release. Deploy again first."
            )
        self.instance = self._data["DatabaseInstanceName"]
        stamp = f"{to.astimezone(UTC):%Y%m%d%H%M%S}"
        self.new = _named(self.instance, f"to-{stamp}")
        self.aside = _named(self.instance, f"before-{stamp}")

    def check(self) -> None:
        """Refuse a time that AWS cannot restore to, before anything is stopped.

        Raises:
            InvalidRequest: it is outside of what backups reach.
            CloudUnavailable: there is no such instance, or AWS does not say.
        """
        if self._swapped() or self._describe(self.new) is not None or self._describe(self.aside) is not None:
            return
        client = self._aws.client("rds")
        with explained("rds:DescribeDBInstanceAutomatedBackups"):
            backups = client.describe_db_instance_automated_backups(DBInstanceIdentifier=self.instance)
        windows = [each["RestoreWindow"] for each in backups["DBInstanceAutomatedBackups"] if "RestoreWindow" in each]
        if not windows:
            raise CloudUnavailable(
                f"{self.instance} has no automated backups, so there is no time to go back to. "
                "A snapshot may exist: `aws rds describe-db-snapshots`."
            )
        earliest = min(window["EarliestTime"] for window in windows)
        latest = max(window["LatestTime"] for window in windows)
        if not earliest <= self._to <= latest:
            raise InvalidRequest(
                f"{self._to:%Y-%m-%dT%H:%M:%SZ} cannot be restored: backups reach from {earliest:%Y-%m-%dT%H:%M:%SZ} "
                f"to {latest:%Y-%m-%dT%H:%M:%SZ}.",
                field="--to",
            )

    def steps(self) -> Iterator[Step]:
        """What is left to do, in order. Each is looked up when its turn comes."""
        if not self._swapped():
            yield from self._stop()
            yield from self._restored()
            yield from self._renamed()
        yield Step("Bring the schema up to date", [self._migration()], migrates=True)
        yield from self._start()

    def run(self) -> None:
        """Do what is left. Raises CloudUnavailable; calling again goes on from there."""
        for step in self.steps():
            self._tell(step.title)
            for call in step.calls:
                if step.migrates:
                    self._aws.invoke(self._platform["MigrateFunctionName"], {})
                else:
                    call.make(self._aws)
            self._wait(step)

    def commands(self) -> Iterator[str]:
        """The commands that do what is left, as far as it can be seen from here. Nothing is changed."""
        plan: list[Step] = []
        if not self._swapped():
            plan += [*self._stop(), *self._restored(), *self._renamed(planned=True)]
        plan += [Step("Bring the schema up to date", [self._migration()]), *self._start(planned=True)]
        for step in plan:
            yield f"# {step.title}"
            for call in step.calls:
                yield call.command(self._aws.region)

    def removal(self) -> str:
        """The command that removes the instance that was put aside, with a last snapshot."""
        values = {
            "DBInstanceIdentifier": self.aside,
            "FinalDBSnapshotIdentifier": _named(self.aside, "last"),
            "SkipFinalSnapshot": False,
        }
        return Call("rds", "delete_db_instance", values).command(self._aws.region)

    def page_api(self) -> str:
        """The address of the API, for example `https://….execute-api.us-east-1.amazonaws.com`."""
        return self._platform["HttpApi"]

    # ------------------------------------------------------------------ steps
    def _stop(self) -> Generator[Step]:
        service = self._service()
        if service["desiredCount"] or service["runningCount"]:
            yield Step("Stop the relay", [self._desired(0)], self._relay_stopped)
        calls = [self._scheduled(schedule, "DISABLED") for schedule in self._schedules("ENABLED")]
        if calls:
            yield Step("Stop the schedules", calls)

    def _restored(self) -> Generator[Step]:
        if self._describe(self.aside) is not None and self._describe(self.new) is None:
            return
        if self._describe(self.new) is None:
            title = f"Restore {self.instance} as it was at {self._to:%Y-%m-%dT%H:%M:%SZ} into {self.new}"
            yield Step(title, [self._restore()], lambda: self._awaited(self.new))
        else:
            yield Step(f"Wait for {self.new}", [], lambda: self._awaited(self.new))
        # The restored instance has the password that it had then.
        yield Step("Set the password that the secret holds", [self._password()], lambda: self._awaited(self.new))

    def _renamed(self, *, planned: bool = False) -> Generator[Step]:
        old = self._describe(self.instance)
        if self._describe(self.aside) is None:
            calls = [] if old is not None and _renaming(old) else [self._rename(self.instance, self.aside)]
            yield Step(f"Keep the old instance as {self.aside}", calls, lambda: self._moved(self.instance, self.aside))
        new = self._describe(self.new)
        if planned or new is not None:
            calls = [] if new is not None and _renaming(new) else [self._rename(self.new, self.instance)]
            yield Step(
                f"Give the restored instance the name {self.instance}",
                calls,
                lambda: self._moved(self.new, self.instance),
            )

    def _start(self, *, planned: bool = False) -> Generator[Step]:
        state = None if planned else "DISABLED"
        calls = [self._scheduled(schedule, "ENABLED") for schedule in self._schedules(state)]
        if calls:
            yield Step("Start the schedules", calls)
        if planned or self._service()["desiredCount"] != 1:
            yield Step("Start the relay", [self._desired(1)], self._relay_started)

    # ------------------------------------------------------------------ calls
    def _restore(self) -> Call:
        was = self._describe(self.instance)
        if was is None:
            raise CloudUnavailable(f"There is no instance {self.instance} to restore from.")
        values: dict[str, Any] = {
            "SourceDBInstanceIdentifier": self.instance,
            "TargetDBInstanceIdentifier": self.new,
            "RestoreTime": self._to,
            "DBInstanceClass": was["DBInstanceClass"],
            "DBSubnetGroupName": was["DBSubnetGroup"]["DBSubnetGroupName"],
            "VpcSecurityGroupIds": [group["VpcSecurityGroupId"] for group in was["VpcSecurityGroups"]],
            "DBParameterGroupName": was["DBParameterGroups"][0]["DBParameterGroupName"],
            "MultiAZ": was.get("MultiAZ", False),
            "PubliclyAccessible": False,
            "AutoMinorVersionUpgrade": was.get("AutoMinorVersionUpgrade", True),
            "CopyTagsToSnapshot": was.get("CopyTagsToSnapshot", True),
            "DeletionProtection": was.get("DeletionProtection", False),
            "BackupRetentionPeriod": was["BackupRetentionPeriod"],
        }
        if not values["MultiAZ"] and was.get("AvailabilityZone"):
            values["AvailabilityZone"] = was["AvailabilityZone"]
        for name in ("StorageType", "MaxAllocatedStorage", "CACertificateIdentifier"):
            if was.get(name):
                values[name] = was[name]
        if was.get("EnabledCloudwatchLogsExports"):
            values["EnableCloudwatchLogsExports"] = was["EnabledCloudwatchLogsExports"]
        return Call("rds", "restore_db_instance_to_point_in_time", values)

    def _password(self) -> Call:
        secret = self._data["DatabaseSecret"]
        with explained("secretsmanager:GetSecretValue on the database's secret"):
            said = self._aws.client("secretsmanager").get_secret_value(SecretId=secret)["SecretString"]
        read = f"aws secretsmanager get-secret-value --region {self._aws.region} --secret-id {secret}"
        return Call(
            "rds",
            "modify_db_instance",
            {
                "DBInstanceIdentifier": self.new,
                "MasterUserPassword": json.loads(said)["password"],
                "ApplyImmediately": True,
            },
            {"MasterUserPassword": f'"$({read} --query SecretString --output text | jq -r .password)"'},
        )

    def _rename(self, old: str, new: str) -> Call:
        values = {"DBInstanceIdentifier": old, "NewDBInstanceIdentifier": new, "ApplyImmediately": True}
        return Call("rds", "modify_db_instance", values)

    def _desired(self, count: int) -> Call:
        values = {**self._relay(), "desiredCount": count}
        return Call("ecs", "update_service", values)

    def _scheduled(self, schedule: Any, state: str) -> Call:
        kept = ("Name", "GroupName", "ScheduleExpression", "FlexibleTimeWindow", "Target")
        values = {name: schedule[name] for name in kept if name in schedule}
        return Call("scheduler", "update_schedule", {**values, "State": state})

    def _migration(self) -> Call:
        # The command line takes a file for the answer beside its options, and would ask again after a minute.
        values = {"FunctionName": self._platform["MigrateFunctionName"]}
        shown = f"{values['FunctionName']} --cli-read-timeout 910 /dev/stdout"
        return Call("lambda", "invoke", values, {"FunctionName": shown})

    # ------------------------------------------------------------------ what is there
    def _describe(self, name: str) -> Any:
        """An instance; None where there is none."""
        client = self._aws.client("rds")
        with explained("rds:DescribeDBInstances"):
            try:
                (found,) = client.describe_db_instances(DBInstanceIdentifier=name)["DBInstances"]
            except client.exceptions.DBInstanceNotFoundFault:
                return None
        return found

    def _swapped(self) -> bool:
        """Whether the restored instance has taken its place."""
        present = [self._describe(name) is not None for name in (self.instance, self.aside, self.new)]
        return present == [True, True, False]

    def _relay(self) -> dict[str, str]:
        return {"cluster": self._platform["ClusterName"], "service": self._platform["RelayServiceName"]}

    def _service(self) -> Any:
        relay = self._relay()
        with explained(f"ecs:DescribeServices on {relay['service']}"):
            found = self._aws.client("ecs").describe_services(cluster=relay["cluster"], services=[relay["service"]])
        if not found["services"]:
            raise CloudUnavailable(f"There is no service {relay['service']} in the cluster {relay['cluster']}.")
        return found["services"][0]

    def _schedules(self, state: str | None) -> Iterator[Any]:
        client = self._aws.client("scheduler")
        for name in self._platform["ScheduleNames"].split(","):
            with explained(f"scheduler:GetSchedule on {name}"):
                found = client.get_schedule(Name=name)
            if state is None or found["State"] == state:
                yield found

    def _relay_stopped(self) -> str | None:
        running = self._service()["runningCount"]
        return f"{running} of its tasks run" if running else None

    def _relay_started(self) -> str | None:
        service = self._service()
        return None if service["runningCount"] >= service["desiredCount"] else "its task starts"

    def _awaited(self, name: str) -> str | None:
        """None once an instance is available."""
        found = self._describe(name)
        status = "not there yet" if found is None else str(found["DBInstanceStatus"])
        if status in FAILED:
            raise CloudUnavailable(
                f"The instance {name} is {status}. `aws rds describe-events --source-identifier {name} "
                "--source-type db-instance` says why. Delete it, mend that, and run this command again."
            )
        pending: Any = None if found is None else found.get("PendingModifiedValues")
        if status == "available" and not pending:
            return None
        return f"{name} is {status}"

    def _moved(self, old: str, new: str) -> str | None:
        """None once an instance has its new name alone."""
        return f"{old} is being renamed" if self._describe(old) is not None else self._awaited(new)

    def _wait(self, step: Step) -> None:
        said = None
        for _ in range(LOOKS_MOST):
            waiting = step.done()
            if waiting is None:
                return
            if waiting != said:
                self._tell(f"  waiting: {waiting}")
                said = waiting
            self._pause(LOOK_EVERY_S)
        raise CloudUnavailable(
            f"{step.title}: still waiting ({said}). Run the same command again: it goes on from here."
        )


def _renaming(instance: Any) -> bool:
    pending = instance.get("PendingModifiedValues", {})
    return instance["DBInstanceStatus"] == "renaming" or "DBInstanceIdentifier" in pending


def _named(instance: str, ending: str) -> str:
    """The instance's identifier with an ending, within what RDS takes."""
    return f"{instance[: NAME_MOST - len(ending) - 1].rstrip('-')}-{ending}"
