"""A local AWS that `cdk bootstrap` and `cdk deploy` take for the real one: moto's server, and what it lacks.

Usage: python -m rehearsal.local_aws PORT

moto keeps buckets, functions, roles, parameters and stacks for real. Types of resources that its CloudFormation does
not know are recorded with their resolved properties (`records` has them), and three are carried out: a secret is made
with a generated password, its attachment adds where the database is, and the page's files are unpacked into their
bucket as CDK's own helper does. The migration is recorded and not run: whoever rehearses runs it.
"""

from __future__ import annotations

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

HOST = "127.0.0.1"
ACCOUNT = "123456789012"

Attribute = Callable[["Record"], str]


class Record:
    """One resource that is remembered and nothing more."""

    def __init__(self, kind: str, properties: dict[str, Any], account: str, region: str) -> None:
        self.kind, self.properties, self.account, self.region = kind, properties, account, region
        self.id = uuid.uuid4().hex[:10]
        if carry_out := CARRIED_OUT.get(kind):
            carry_out(self)
        records.append(self)


records: list[Record] = []
"""Everything that was recorded since the server started."""
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
    "AWS::EC2::FlowLog": {},
    "AWS::ECS::ClusterCapacityProviderAssociations": {},
    "AWS::ECS::Service": {
        "Ref": lambda r: f"arn:aws:ecs:{r.region}:{r.account}:service/{r.properties['Cluster']}/{r.id}",
        "Name": lambda r: r.id,
    },
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


def _copy_files(record: Record) -> None:
    """What CDK's helper does: unpack each source into the bucket, with what is known at deploy put in its place."""
    buckets = _client(record, "s3")
    said = record.properties
    markers = said.get("SourceMarkers") or [{} for _ in said["SourceObjectKeys"]]
    for bucket, key, known in zip(said["SourceBucketNames"], said["SourceObjectKeys"], markers, strict=True):
        source = buckets.get_object(Bucket=bucket, Key=key)["Body"].read()
        with zipfile.ZipFile(io.BytesIO(source)) as archive:
            for name in archive.namelist():
                content = archive.read(name)
                for marker, value in known.items():
                    content = content.replace(str(marker).encode(), str(value).encode())
                if not name.endswith("/"):
                    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
                    buckets.put_object(Bucket=said["DestinationBucketName"], Key=name, Body=content, ContentType=kind)


CARRIED_OUT: Mapping[str, Callable[[Record], None]] = {
    "AWS::SecretsManager::Secret": _make_secret,
    "AWS::SecretsManager::SecretTargetAttachment": _attach_secret,
    "Custom::CDKBucketDeployment": _copy_files,
}


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
    _mend_versions()
    _mend_change_sets()


def _mend_change_sets() -> None:
    """moto's change sets, which CDK deploys with, neither see what other stacks export nor leave outputs behind."""
    from moto.cloudformation.models import CloudFormationBackend

    execute: Any = CloudFormationBackend.execute_change_set

    def execute_change_set(self: Any, change_set_name: str, stack_name: str | None = None) -> None:
        change_set = self.describe_change_set(change_set_name)
        stack = change_set.stack
        stack.cross_stack_resources = stack.resource_map.cross_stack_resources = self.exports
        execute(self, change_set_name, stack_name)
        stack.template_dict = change_set.template_dict
        stack.output_map = stack._create_output_map()
        self.exports.update({export.name: export for export in stack.exports})

    CloudFormationBackend.execute_change_set = execute_change_set


def _mend_versions() -> None:
    """moto's function versions have no name for `Ref`; a trigger refers to the version that it runs."""
    from moto.awslambda.models import LambdaVersion

    if not hasattr(LambdaVersion, "physical_resource_id"):
        LambdaVersion.physical_resource_id = property(repr)


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
            original_resource.properties = cloudformation_json.get("Properties", {})
            return original_resource

        @classmethod
        def delete_from_cloudformation_json(cls, *_: Any, **__: Any) -> None:
            """Nothing is held."""

    Model.__name__ = kind.replace("::", "")
    return Model


def serve(port: int, database: tuple[str, int] | None = None) -> Any:
    """Start the server on `port` and return it (`stop()` ends it). Functions are kept and never run by it.

    `database`: host and port that a deployed database instance answers at.
    """
    install()
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    database_at[:] = database or ()
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(HOST, port, verbose=False)
    server.start()
    _listening[:] = [port]
    settings = json.dumps({"lambda": {"use_docker": False}}).encode()
    urllib.request.urlopen(
        urllib.request.Request(f"http://{HOST}:{port}/moto-api/config", data=settings, method="POST")
    ).close()
    return server


def environment(port: int, region: str = "us-east-1") -> dict[str, str]:
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
