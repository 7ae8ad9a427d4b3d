"""What a deploy left in the local AWS: functions with their zips, the task, schedules, and routes."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rehearsal.deploying import STACKS
from rehearsal.local_aws import ACCOUNT, REGION, Record, environment, records

OUR_CODE = ("groundswell", "functions", "deployment")
"""Folders of a zip that are ours. The rest of it are packages for the functions' platform."""


@dataclass(frozen=True)
class DeployedFunction:
    """One function, as its configuration says."""

    arn: str
    role: str
    """ARN."""
    handler: str
    variables: Mapping[str, str]
    timeout_s: float
    memory_mb: int
    code: Path
    """Folder with what is ours of its zip."""
    packed: frozenset[str]
    """Top-level names of everything in the zip."""
    zip_bytes: int

    @property
    def name(self) -> str:
        return self.handler.removeprefix("functions.").removesuffix(".handler").replace(".handler", "")


@dataclass(frozen=True)
class DeployedTask:
    """The relay's container."""

    role: str
    """ARN."""
    command: Sequence[str]
    """Empty: what the image runs."""
    variables: Mapping[str, str]
    writable: Sequence[str]
    """Where it can write."""


@dataclass(frozen=True)
class DeployedSchedule:
    expression: str
    target: str
    role: str
    input: str
    """What the target is called with: JSON."""


class LocalAccount:
    """The clients of the local AWS, and what is read with them."""

    def __init__(self, port: int) -> None:
        import boto3

        self.port = port
        settings = environment(port)
        self.environment = settings
        """What a command of an operator needs to reach it."""
        self._session: Any = boto3.Session(
            aws_access_key_id=settings["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=settings["AWS_SECRET_ACCESS_KEY"],
            region_name=settings["AWS_REGION"],
        )
        self._url = f"http://127.0.0.1:{port}"

    def client(self, service: str) -> Any:
        return self._session.client(service, endpoint_url=self._url)

    def functions(self, stacks: Sequence[str], folder: Path) -> list[DeployedFunction]:
        """Our own functions, unpacked below `folder`."""
        found: list[DeployedFunction] = []
        for stack in stacks:
            template = self.client("cloudformation").get_template(StackName=stack)["TemplateBody"]
            resources = self.client("cloudformation").describe_stack_resources(StackName=stack)["StackResources"]
            names = {r["LogicalResourceId"]: r.get("PhysicalResourceId", "") for r in resources}
            for logical, resource in template["Resources"].items():
                if resource["Type"] != "AWS::Lambda::Function":
                    continue
                if not str(resource["Properties"]["Handler"]).startswith("functions."):
                    continue
                found.append(self.function(names[logical], folder))
        return found

    def function(self, name: str, folder: Path) -> DeployedFunction:
        """One of our functions as it is now, unpacked below `folder`. `name` may be its ARN."""
        from moto.awslambda.models import get_backend

        name = name.rpartition(":")[2]
        said = self.client("lambda").get_function_configuration(FunctionName=name)
        made: Any = get_backend(ACCOUNT, REGION).get_function(name)
        where = made.code
        packed = self.client("s3").get_object(Bucket=where["S3Bucket"], Key=where["S3Key"])["Body"].read()
        code = folder / str(where["S3Key"]).partition(".")[0]
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            names = archive.namelist()
            if not code.exists():
                archive.extractall(code, [each for each in names if each.partition("/")[0] in OUR_CODE])
        return DeployedFunction(
            arn=said["FunctionArn"],
            role=said["Role"],
            handler=said["Handler"],
            variables=said.get("Environment", {}).get("Variables", {}),
            timeout_s=float(said["Timeout"]),
            memory_mb=int(said["MemorySize"]),
            code=code,
            packed=frozenset(each.partition("/")[0].partition(".")[0] for each in names),
            zip_bytes=len(packed),
        )

    def relay_task(self) -> DeployedTask:
        ecs = self.client("ecs")
        (arn,) = ecs.list_task_definitions()["taskDefinitionArns"]
        definition = ecs.describe_task_definition(taskDefinition=arn)["taskDefinition"]
        (container,) = definition["containerDefinitions"]
        return DeployedTask(
            role=self._task_role(definition["family"]),
            command=container.get("command", []),
            variables={each["name"]: each["value"] for each in container["environment"]},
            writable=[each["containerPath"] for each in container["mountPoints"] if not each["readOnly"]],
        )

    def _task_role(self, family: str) -> str:
        """The ARN of a task's role, from its template: moto does not keep it."""
        clouds = self.client("cloudformation")
        for stack in STACKS:
            template = clouds.get_template(StackName=stack)["TemplateBody"]["Resources"]
            for resource in template.values():
                if resource["Type"] == "AWS::ECS::TaskDefinition" and resource["Properties"]["Family"] == family:
                    role = resource["Properties"]["TaskRoleArn"]["Fn::GetAtt"][0]
                    named = clouds.describe_stack_resource(StackName=stack, LogicalResourceId=role)
                    name = named["StackResourceDetail"]["PhysicalResourceId"]
                    return f"arn:aws:iam::{ACCOUNT}:role/{name}"
        raise AssertionError(f"no template has the task {family}")

    def may_invoke(self, schedule: DeployedSchedule) -> bool:
        """Whether the schedule's role lets it call its target."""
        iam = self.client("iam")
        role = schedule.role.rpartition("/")[2]
        for policy in iam.list_role_policies(RoleName=role)["PolicyNames"]:
            document = iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]
            for statement in document["Statement"]:
                if statement["Action"] == "lambda:InvokeFunction" and statement["Resource"] == schedule.target:
                    return True
        return False


def of_kind(kind: str) -> list[Record]:
    return [record for record in records if record.kind == kind]


def schedules() -> list[DeployedSchedule]:
    return [
        DeployedSchedule(
            record.properties["ScheduleExpression"],
            record.properties["Target"]["Arn"],
            record.properties["Target"]["RoleArn"],
            record.properties["Target"].get("Input", "{}"),
        )
        for record in of_kind("AWS::Scheduler::Schedule")
    ]


@dataclass(frozen=True)
class DeployedApi:
    """One API of API Gateway: which function each of its routes leads to."""

    host: str
    stage: str
    selection: str
    """The expression that chooses among the routes of a WebSocket API; empty for an HTTP API."""
    routes: Mapping[str, str]
    arn: str = ""
    rate: float = 0.0
    """Requests a second that its stage lets through; 0 for any number."""
    burst: int = 0


def apis() -> list[DeployedApi]:
    found: list[DeployedApi] = []
    for api in of_kind("AWS::ApiGatewayV2::Api"):
        targets = {
            f"integrations/{each.id}": _function_in(each.properties["IntegrationUri"])
            for each in of_kind("AWS::ApiGatewayV2::Integration")
            if each.properties["ApiId"] == api.id
        }
        (stage,) = (each for each in of_kind("AWS::ApiGatewayV2::Stage") if each.properties["ApiId"] == api.id)
        throttle = stage.properties.get("DefaultRouteSettings", {})
        found.append(
            DeployedApi(
                arn=f"arn:aws:execute-api:{api.region}:{api.account}:{api.id}",
                rate=float(throttle.get("ThrottlingRateLimit", 0)),
                burst=int(throttle.get("ThrottlingBurstLimit", 0)),
                host=f"{api.id}.execute-api.{api.region}.amazonaws.com",
                stage=stage.properties["StageName"],
                selection=api.properties.get("RouteSelectionExpression", ""),
                routes={
                    each.properties["RouteKey"]: targets[each.properties["Target"]]
                    for each in of_kind("AWS::ApiGatewayV2::Route")
                    if each.properties["ApiId"] == api.id
                },
            )
        )
    return found


def _function_in(uri: str) -> str:
    found = re.search(r"arn:aws:lambda:[\w-]+:\d+:function:[\w-]+", uri.removeprefix("arn:aws:apigateway"))
    assert found is not None, f"no function in {uri}"
    return found[0]


def image_defaults(dockerfile: Path) -> tuple[list[str], dict[str, str]]:
    """What the relay's image runs, and the environment that it sets itself."""
    text = dockerfile.read_text("utf-8")
    command = re.findall(r"^CMD (\[.*\])$", text, re.MULTILINE)[-1]
    last_stage = text.rpartition("\nFROM ")[2]
    declared = re.findall(r"(?:^ENV |^    )([A-Z_]+)=(\S+?)(?: \\)?$", last_stage, re.MULTILINE)
    return json.loads(command), {name: value for name, value in declared if name.startswith("GROUNDSWELL_")}
