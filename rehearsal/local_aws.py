"""A local AWS that `cdk bootstrap` and `cdk deploy` take for the real one: moto's server, and what it lacks.

Usage: python -m rehearsal.local_aws PORT

moto keeps buckets, functions, roles, parameters and stacks for real. Types of resources that its CloudFormation does
not know are recorded with their resolved properties (`records` has them), and some are carried out: a secret is made
with a generated password, its attachment adds where the database is, the page's files are unpacked into their bucket
and deleted from it as CDK's own helpers do, and a trigger calls its function by `hooks`.
"""

from __future__ import annotations

import fnmatch
import importlib
import io
import json
import logging
import mimetypes
import sys
import threading
import urllib.request
import uuid
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

from rehearsal import cloudformation, ipv6
from rehearsal.aws_front import Front
from rehearsal.iam import Callers, statements_in
from rehearsal.refusals import ResourceFailed

HOST = "127.0.0.1"
ACCOUNT = "123456789012"
REGION = "us-east-1"

RECOVERY_DAYS = 30
"""Between the deletion of a secret and its end."""

Attribute = Callable[["Record"], str]


class Record:
    """One resource that is remembered and nothing more."""

    def __init__(self, kind: str, properties: dict[str, Any], account: str, region: str) -> None:
        self.kind, self.properties, self.account, self.region = kind, properties, account, region
        self.id = uuid.uuid4().hex[:10]
        if carry_out := CARRIED_OUT.get(kind):
            carry_out(self)
        records.append(self)

    def change(self, properties: dict[str, Any]) -> None:
        """Take the properties of an update, which is carried out as the creation was."""
        self.properties = properties
        if carry_out := CARRIED_OUT_AGAIN.get(self.kind):
            carry_out(self)

    def delete(self, *_: object) -> None:
        """Forget the resource. It may be deleted again."""
        if self not in records:
            return
        if carry_out := UNDONE.get(self.kind):
            carry_out(self)
        records.remove(self)


records: list[Record] = []
"""Everything that was recorded since the server started."""
failed_stacks: list[str] = []
"""Names of stacks that were rolled back, or that could not be deleted."""
hooks = cloudformation.Hooks()
database_at: list[Any] = []
"""Host and port that every database instance says it has; empty for names that lead nowhere."""


RECORDED: Mapping[str, Mapping[str, Attribute]] = {
    "AWS::ApiGatewayV2::Api": {"ApiEndpoint": lambda r: f"https://{r.id}.execute-api.{r.region}.amazonaws.com"},
    "AWS::ApiGatewayV2::Integration": {},
    "AWS::ApiGatewayV2::Route": {},
    "AWS::ApiGatewayV2::Stage": {},
    "AWS::ApiGatewayV2::VpcLink": {},
    "AWS::Budgets::Budget": {},
    "AWS::CDK::Metadata": {},
    "AWS::CloudFront::CachePolicy": {"Id": lambda r: r.id},
    "AWS::CloudFront::Distribution": {"DomainName": lambda r: f"{r.id}.cloudfront.net", "Id": lambda r: r.id},
    "AWS::CloudFront::OriginAccessControl": {"Id": lambda r: r.id},
    "AWS::CloudFront::OriginRequestPolicy": {"Id": lambda r: r.id},
    "AWS::CloudFront::ResponseHeadersPolicy": {"Id": lambda r: r.id},
    "AWS::CloudWatch::Alarm": {"Arn": lambda r: f"arn:aws:cloudwatch:{r.region}:{r.account}:alarm:{r.id}"},
    "AWS::EC2::EgressOnlyInternetGateway": {"Id": lambda r: r.id},
    "AWS::EC2::FlowLog": {},
    "AWS::EC2::VPCCidrBlock": {},
    "AWS::ECS::ClusterCapacityProviderAssociations": {},
    "AWS::ECS::Service": {
        "Ref": lambda r: f"arn:aws:ecs:{r.region}:{r.account}:service/{r.properties['Cluster']}/{r.id}",
        "Name": lambda r: r.id,
    },
    "AWS::Lambda::EventInvokeConfig": {},
    "AWS::RDS::DBInstance": {
        "Endpoint.Address": lambda r: database_at[0] if database_at else f"{r.id}.rds.{r.region}.amazonaws.com",
        "Endpoint.Port": lambda _: str(database_at[1]) if database_at else "5432",
        "DBInstanceArn": lambda r: f"arn:aws:rds:{r.region}:{r.account}:db:{r.id}",
        "DbiResourceId": lambda r: f"db-{r.id}",
    },
    "AWS::RDS::DBParameterGroup": {},
    "AWS::RDS::DBSubnetGroup": {},
    "AWS::S3::BucketPolicy": {},
    "AWS::SNS::Subscription": {},
    "AWS::SNS::TopicPolicy": {},
    "AWS::Scheduler::Schedule": {"Arn": lambda r: f"arn:aws:scheduler:{r.region}:{r.account}:schedule/default/{r.id}"},
    "AWS::SecretsManager::RotationSchedule": {},
    "AWS::SecretsManager::Secret": {"Id": lambda r: r.id},
    "AWS::SecretsManager::SecretTargetAttachment": {},
    "AWS::ServiceDiscovery::PrivateDnsNamespace": {
        "Id": lambda r: r.id,
        "Arn": lambda r: f"arn:aws:servicediscovery:{r.region}:{r.account}:namespace/{r.id}",
    },
    "AWS::ServiceDiscovery::Service": {"Id": lambda r: r.id, "Arn": lambda r: r.id, "Name": lambda r: r.id},
    "AWS::Serverless::Application": {},
    "Custom::CDKBucketDeployment": {},
    "Custom::Trigger": {},
    "Custom::S3AutoDeleteObjects": {},
}
"""Types that are recorded, with the attributes that templates ask of them; `Ref` is the identifier where not set."""


def _client(record: Record, service: str) -> Any:
    """A client of this very server."""
    import boto3

    make: Any = boto3.client  # pyright: ignore[reportUnknownMemberType]
    return make(
        service,
        endpoint_url=f"http://{HOST}:{_listening[0]}",
        region_name=record.region,
        aws_access_key_id="local",
        aws_secret_access_key="local",  # noqa: S106
    )


_listening: list[int] = []


def _make_secret(record: Record) -> None:
    rule = record.properties.get("GenerateSecretString", {})
    value = json.loads(rule.get("SecretStringTemplate", "{}"))
    value[rule.get("GenerateStringKey", "password")] = uuid.uuid4().hex
    secrets = _client(record, "secretsmanager")
    record.id = secrets.create_secret(Name=f"secret-{record.id}", SecretString=json.dumps(value))["ARN"]


def _attach_secret(record: Record) -> None:
    """What RDS's attachment does: the secret then says where the database is."""
    record.id, target = record.properties["SecretId"], record.properties["TargetId"]
    instance = next(found for found in records if found.id == target)
    secrets = _client(record, "secretsmanager")
    value = json.loads(secrets.get_secret_value(SecretId=record.id)["SecretString"])
    attributes = RECORDED[instance.kind]
    value |= {
        "engine": "postgres",
        "host": attributes["Endpoint.Address"](instance),
        "port": int(attributes["Endpoint.Port"](instance)),
        "dbname": instance.properties["DBName"],
    }
    secrets.put_secret_value(SecretId=record.id, SecretString=json.dumps(value))
    if hooks.database is not None:
        hooks.database(value)


def _run_trigger(record: Record) -> None:
    """What CDK's helper does: call the function, and fail where it fails."""
    if hooks.trigger is None:
        return
    # moto publishes a version before it changes the function's code: what the version stands for is the newest code.
    function, _, _ = str(record.properties["HandlerArn"]).rpartition(":")
    try:
        hooks.trigger(function)
    except Exception as error:
        raise ResourceFailed(f"Received response status [FAILED] from custom resource. {error}") from error


def _empty_bucket(record: Record) -> None:
    """What CDK's helper does before a bucket is deleted."""
    buckets, name = _client(record, "s3"), record.properties["BucketName"]
    for page in buckets.get_paginator("list_objects_v2").paginate(Bucket=name):
        for each in page.get("Contents", ()):
            buckets.delete_object(Bucket=name, Key=each["Key"])


def _copy_files(record: Record) -> None:
    """What CDK's helper does: unpack each source into the bucket, with what is known at deploy put in its place.

    As `aws s3 sync` takes them, what is excluded may be included again. With `Prune`, files that no source has go.
    """
    buckets = _client(record, "s3")
    said, written = record.properties, set[str]()
    bucket = said["DestinationBucketName"]
    markers = said.get("SourceMarkers") or [{} for _ in said["SourceObjectKeys"]]
    for where, key, known in zip(said["SourceBucketNames"], said["SourceObjectKeys"], markers, strict=True):
        source = buckets.get_object(Bucket=where, Key=key)["Body"].read()
        with zipfile.ZipFile(io.BytesIO(source)) as archive:
            for name in archive.namelist():
                content = archive.read(name)
                for marker, value in known.items():
                    content = content.replace(str(marker).encode(), str(value).encode())
                if name.endswith("/") or not _synced(said, name):
                    continue
                kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
                kept = said.get("SystemMetadata", {}).get("cache-control")
                more = {"CacheControl": kept} if kept else {}
                buckets.put_object(Bucket=bucket, Key=name, Body=content, ContentType=kind, **more)
                written.add(name)
    if str(said.get("Prune", "true")).lower() == "true":
        for each in buckets.list_objects_v2(Bucket=bucket).get("Contents", ()):
            if each["Key"] not in written and _synced(said, each["Key"]):
                buckets.delete_object(Bucket=bucket, Key=each["Key"])


def _synced(properties: Mapping[str, Any], name: str) -> bool:
    def among(key: str) -> bool:
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in properties.get(key, ()))

    return among("Include") or not among("Exclude")


def _make_egress_gateway(record: Record) -> None:
    networks = _client(record, "ec2")
    made = networks.create_egress_only_internet_gateway(VpcId=record.properties["VpcId"])
    record.id = made["EgressOnlyInternetGateway"]["EgressOnlyInternetGatewayId"]


def _delete_egress_gateway(record: Record) -> None:
    _client(record, "ec2").delete_egress_only_internet_gateway(EgressOnlyInternetGatewayId=record.id)


def _refuse_providers_in_use(record: Record) -> None:
    cluster = record.properties["Cluster"]
    if any(each.kind == "AWS::ECS::Service" and each.properties["Cluster"] == cluster for each in records):
        raise ResourceFailed("The specified capacity provider is in use and cannot be removed.")


def _schedule_secret(record: Record) -> None:
    """What CloudFormation does: the secret can be restored until its recovery window is over."""
    _client(record, "secretsmanager").delete_secret(SecretId=record.id, RecoveryWindowInDays=RECOVERY_DAYS)


CARRIED_OUT: Mapping[str, Callable[[Record], None]] = {
    "AWS::EC2::EgressOnlyInternetGateway": _make_egress_gateway,
    "AWS::SecretsManager::Secret": _make_secret,
    "AWS::SecretsManager::SecretTargetAttachment": _attach_secret,
    "Custom::CDKBucketDeployment": _copy_files,
    "Custom::Trigger": _run_trigger,
}
CARRIED_OUT_AGAIN: Mapping[str, Callable[[Record], None]] = {
    "Custom::CDKBucketDeployment": _copy_files,
    "Custom::Trigger": _run_trigger,
}
"""When the properties change."""
UNDONE: Mapping[str, Callable[[Record], None]] = {
    "AWS::EC2::EgressOnlyInternetGateway": _delete_egress_gateway,
    "AWS::ECS::ClusterCapacityProviderAssociations": _refuse_providers_in_use,
    "AWS::SecretsManager::Secret": _schedule_secret,
    "Custom::S3AutoDeleteObjects": _empty_bucket,
}
"""When the resource is deleted."""


def install() -> None:
    """Teach moto the recorded types. Has to run before its server takes the first request."""
    from moto.cloudformation import parsing
    from moto.core.common_models import CloudFormationModel

    models: dict[str, type[CloudFormationModel]] = {
        kind: _model(CloudFormationModel, kind, attributes) for kind, attributes in RECORDED.items()
    }
    known = parsing.resource_class_from_type

    def resource_class_from_type(kind: str) -> Any:
        return models.get(kind) or known(kind)

    parsing.resource_class_from_type = resource_class_from_type
    cloudformation.install(failed_stacks.append)
    ipv6.install()


def _model(base: Any, kind: str, attributes: Mapping[str, Attribute]) -> Any:
    class Model(Record, base):  # pyright: ignore[reportUntypedBaseClass]
        @property
        def physical_resource_id(self) -> str:
            return attributes["Ref"](self) if "Ref" in attributes else self.id

        @property
        def physical_id(self) -> str:
            return self.physical_resource_id

        @staticmethod
        def cloudformation_name_type() -> str:
            return ""

        @staticmethod
        def cloudformation_type() -> str:
            return kind

        @classmethod
        def has_cfn_attr(cls, attr: str) -> bool:
            return attr in attributes

        def get_cfn_attribute(self, attribute_name: str) -> str:
            return attributes[attribute_name](self)

        def is_created(self) -> bool:
            return True

        @classmethod
        def create_from_cloudformation_json(
            cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str, **_: Any
        ) -> Any:
            del resource_name
            return cls(kind, cloudformation_json.get("Properties", {}), account_id, region_name)

        @classmethod
        def update_from_cloudformation_json(
            cls,
            original_resource: Any,
            new_resource_name: str,
            cloudformation_json: Any,
            account_id: str,
            region_name: str,
        ) -> Any:
            del new_resource_name, account_id, region_name
            original_resource.change(cloudformation_json.get("Properties", {}))
            return original_resource

    Model.__name__ = kind.replace("::", "")
    return Model


def statements_of(role: str) -> list[Mapping[str, Any]]:
    """Return the statements of the policies that a role has now."""
    from moto.iam.models import iam_backends

    found: Any = iam_backends[ACCOUNT]["aws"].get_role_by_arn(role)
    return statements_in([*found.policies.values(), *(each.document for each in found.managed_policies.values())])


callers = Callers(statements_of)
"""Who has credentials of deployed roles."""


def _secret_arn(name: str) -> str | None:
    from moto.secretsmanager.models import secretsmanager_backends

    secrets: Any = secretsmanager_backends[ACCOUNT][REGION].secrets
    found = secrets.get(name)
    return None if found is None else found.arn


def _stack_arn(name: str) -> str | None:
    from moto.cloudformation.models import cloudformation_backends

    stacks: Any = cloudformation_backends[ACCOUNT][REGION].stacks.values()
    return next((each.stack_id for each in stacks if name in (each.name, each.stack_id)), None)


def serve(port: int, database: tuple[str, int] | None = None) -> Any:
    """Start the server on `port` and return it (`stop()` ends it). Functions are kept and never run by it.

    `database`: host and port that a deployed database instance answers at.
    """
    from moto.moto_server import threaded_moto_server
    from moto.server import DomainDispatcherApplication

    install()
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    database_at[:] = database or ()

    def front(create_app: Any) -> Front:
        return Front(
            DomainDispatcherApplication(create_app),
            callers,
            account=ACCOUNT,
            region=REGION,
            secret_arn=_secret_arn,
            stack_arn=_stack_arn,
            invoke=lambda: hooks.invoke,
        )

    made: Any = threaded_moto_server
    made.DomainDispatcherApplication = front
    server = threaded_moto_server.ThreadedMotoServer(HOST, port, verbose=False)
    server.start()
    _listening[:] = [port]
    settings = json.dumps({"lambda": {"use_docker": False}}).encode()
    urllib.request.urlopen(
        urllib.request.Request(f"http://{HOST}:{port}/moto-api/config", data=settings, method="POST")
    ).close()
    return server


def environment(port: int, region: str = REGION) -> dict[str, str]:
    """What a command needs to take the local AWS for the real one. The name localhost matters to the CDK CLI."""
    return {
        "AWS_ENDPOINT_URL": f"http://localhost:{port}",
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
    }


if __name__ == "__main__":
    # By its full name: moto looks for a package in the name of a model's module.
    importlib.import_module("rehearsal.local_aws").serve(int(sys.argv[1]))
    threading.Event().wait()
