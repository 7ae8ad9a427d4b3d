"""The rehearsal's local AWS: what it refuses of deployments, and of the calls of deployed roles."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from rehearsal import local_aws
from rehearsal.aws_front import CREDENTIALS_PATH
from rehearsal.cloudformation import Hooks
from rehearsal.deletion import deletion_order
from rehearsal.iam import Caller
from rehearsal.stage import free_ports

FUNCTION = "Handler"
CHANGE_SET = "cdk-deploy-change-set"
"""CDK's name for the change set of every stack."""


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    (free,) = free_ports(1)
    server = local_aws.serve(free)
    yield free
    server.stop()


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    yield
    local_aws.hooks.trigger = None
    local_aws.callers.refused.clear()
    local_aws.failed_stacks.clear()


def client(port: int, service: str, **more: Any) -> Any:
    given = {"aws_access_key_id": "local", "aws_secret_access_key": "local", **more}
    make: Any = boto3.client  # pyright: ignore[reportUnknownMemberType]
    return make(service, endpoint_url=f"http://127.0.0.1:{port}", region_name=local_aws.REGION, **given)


def policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def deploy(port: int, name: str, resources: dict[str, Any], *, again: bool = False) -> str:
    """Deploy by a change set, as CDK does, and return the stack's status."""
    clouds = client(port, "cloudformation")
    kind = "UPDATE" if again else "CREATE"
    if again:
        clouds.delete_change_set(StackName=name, ChangeSetName=CHANGE_SET)
        with pytest.raises(clouds.exceptions.ChangeSetNotFoundException):
            clouds.describe_change_set(StackName=name, ChangeSetName=CHANGE_SET)
    made = clouds.create_change_set(
        StackName=name,
        ChangeSetName=CHANGE_SET,
        ChangeSetType=kind,
        TemplateBody=json.dumps({"Resources": resources}),
    )
    clouds.execute_change_set(ChangeSetName=made["Id"])
    return clouds.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"]


def bucket_of(port: int, stack: str) -> str:
    said = client(port, "cloudformation").describe_stack_resources(StackName=stack)["StackResources"]
    return next(each["PhysicalResourceId"] for each in said if each["ResourceType"] == "AWS::S3::Bucket")


def status_of(port: int, name: str) -> str:
    stacks = client(port, "cloudformation").list_stacks()["StackSummaries"]
    return next(each["StackStatus"] for each in stacks if each["StackName"] == name)


@pytest.mark.parametrize("emptied", [False, True])
def test_a_bucket_with_objects_is_deleted_only_where_something_empties_it(port: int, emptied: bool) -> None:
    name = f"Site{emptied}"
    resources: dict[str, Any] = {"Bucket": {"Type": "AWS::S3::Bucket"}}
    if emptied:
        properties = {"ServiceToken": "helper", "BucketName": {"Ref": "Bucket"}}
        resources["Emptier"] = {"Type": "Custom::S3AutoDeleteObjects", "Properties": properties}
    assert deploy(port, name, resources) == "CREATE_COMPLETE"
    bucket = bucket_of(port, name)
    client(port, "s3").put_object(Bucket=bucket, Key="index.html", Body=b"page")
    client(port, "cloudformation").delete_stack(StackName=name)
    names = {each["Name"] for each in client(port, "s3").list_buckets()["Buckets"]}
    assert (bucket in names, status_of(port, name)) == (
        (False, "DELETE_COMPLETE") if emptied else (True, "DELETE_FAILED")
    )


def test_a_deployment_of_files_keeps_to_its_filters_and_says_how_long_they_may_be_kept(port: int) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in ("index.html", "assets/a.js"):
            archive.writestr(name, name)
    buckets = client(port, "s3")
    buckets.create_bucket(Bucket="sources")
    buckets.put_object(Bucket="sources", Key="page.zip", Body=packed.getvalue())
    common: dict[str, Any] = {
        "ServiceToken": "helper",
        "SourceBucketNames": ["sources"],
        "SourceObjectKeys": ["page.zip"],
        "DestinationBucketName": {"Ref": "Bucket"},
    }
    hashed = {**common, "Exclude": ["*"], "Include": ["assets/*"], "Prune": False}
    rest = {**common, "Exclude": ["assets/*"], "SystemMetadata": {"cache-control": "no-cache"}}
    resources: dict[str, Any] = {
        "Bucket": {"Type": "AWS::S3::Bucket"},
        "Hashed": {"Type": "Custom::CDKBucketDeployment", "Properties": hashed},
        "Rest": {"Type": "Custom::CDKBucketDeployment", "DependsOn": ["Hashed"], "Properties": rest},
    }
    assert deploy(port, "Files", resources) == "CREATE_COMPLETE"
    bucket = bucket_of(port, "Files")
    kept = {
        each["Key"]: buckets.get_object(Bucket=bucket, Key=each["Key"]).get("CacheControl")
        for each in buckets.list_objects_v2(Bucket=bucket)["Contents"]
    }
    assert kept == {"assets/a.js": None, "index.html": "no-cache"}


def function(memory: int, version: str) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "Role": "arn:aws:iam::123456789012:role/runs",
        "Runtime": "python3.13",
        "MemorySize": memory,
    }
    return {
        FUNCTION: {
            "Type": "AWS::Lambda::Function",
            "Properties": {**properties, "Handler": "made.handler", "Code": {"S3Bucket": "code", "S3Key": "made.zip"}},
        },
        f"Version{version}": {"Type": "AWS::Lambda::Version", "Properties": {"FunctionName": {"Ref": FUNCTION}}},
        "Migration": {
            "Type": "Custom::Trigger",
            "Properties": {"ServiceToken": "helper", "HandlerArn": {"Ref": f"Version{version}"}},
        },
    }


def test_a_trigger_that_fails_takes_the_whole_deploy_back(port: int) -> None:
    trust = policy({"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"})
    client(port, "iam").create_role(RoleName="runs", AssumeRolePolicyDocument=trust)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("made.py", "def handler(event, _):\n    return 1\n")
    client(port, "s3").create_bucket(Bucket="code")
    client(port, "s3").put_object(Bucket="code", Key="made.zip", Body=packed.getvalue())
    called: list[str] = []
    local_aws.hooks.trigger = called.append
    assert deploy(port, "Platform", function(256, "A")) == "CREATE_COMPLETE"

    def fail(arn: str) -> None:
        called.append(arn)
        if len(called) == 2:
            raise RuntimeError("the migration failed")

    local_aws.hooks.trigger = fail
    assert deploy(port, "Platform", function(512, "B"), again=True) == "UPDATE_ROLLBACK_COMPLETE"
    (name,) = {arn.rpartition(":")[2] for arn in called}
    assert len(called) == 3, "a migration that fails is not tried again; the one of before is, for the rollback"
    known = client(port, "lambda").get_function_configuration(FunctionName=name)
    assert known["MemorySize"] == 256
    events = client(port, "cloudformation").describe_stack_events(StackName="Platform")["StackEvents"]
    assert any("the migration failed" in each.get("ResourceStatusReason", "") for each in events)
    assert local_aws.failed_stacks == ["Platform"]


def test_a_change_that_would_put_an_empty_database_in_place_of_a_full_one_is_refused(port: int) -> None:
    database = {"Type": "AWS::RDS::DBInstance", "Properties": {"DBName": "groundswell", "AllocatedStorage": "20"}}
    assert deploy(port, "Data", {"Database": database}) == "CREATE_COMPLETE"
    grown = {**database, "Properties": {"DBName": "groundswell", "AllocatedStorage": "40"}}
    assert deploy(port, "Data", {"Database": grown}, again=True) == "UPDATE_COMPLETE"
    renamed = {**database, "Properties": {"DBName": "other", "AllocatedStorage": "40"}}
    assert deploy(port, "Data", {"Database": renamed}, again=True) == "UPDATE_ROLLBACK_COMPLETE"


def test_a_role_is_refused_in_the_form_of_each_service_what_its_policies_do_not_allow(port: int) -> None:
    iam = client(port, "iam")
    role = iam.create_role(RoleName="reader", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    statements = [
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::archived/*"},
        {"Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": "*"},
    ]
    iam.put_role_policy(RoleName="reader", PolicyName="p", PolicyDocument=policy(*statements))
    buckets = client(port, "s3")
    buckets.create_bucket(Bucket="archived")
    buckets.put_object(Bucket="archived", Key="a/1 2", Body=b"posts")
    client(port, "secretsmanager").create_secret(Name="db", SecretString="hidden")
    caller = local_aws.callers.add(Caller("reader", role))
    given = {
        "aws_access_key_id": caller.access_key,
        "aws_secret_access_key": caller.secret_key,
        "aws_session_token": caller.token,
    }

    assert client(port, "s3", **given).get_object(Bucket="archived", Key="a/1 2")["Body"].read() == b"posts"
    assert client(port, "secretsmanager", **given).get_secret_value(SecretId="db")["SecretString"] == "hidden"
    for service, call, arguments, code in (
        ("s3", "put_object", {"Bucket": "archived", "Key": "k", "Body": b""}, "AccessDenied"),
        ("s3", "list_objects_v2", {"Bucket": "archived"}, "AccessDenied"),
        ("s3", "get_object", {"Bucket": "archived", "Key": "not there"}, "AccessDenied"),
        ("secretsmanager", "put_secret_value", {"SecretId": "db", "SecretString": "s"}, "AccessDeniedException"),
        ("ssm", "get_parameter", {"Name": "/g/key"}, "AccessDeniedException"),
        ("sns", "publish", {"TopicArn": "arn:aws:sns:us-east-1:1:t", "Message": "m"}, "AccessDenied"),
        ("lambda", "invoke", {"FunctionName": "vectors"}, "AccessDeniedException"),
    ):
        with pytest.raises(ClientError) as refused:
            getattr(client(port, service, **given), call)(**arguments)
        assert refused.value.response["Error"]["Code"] == code, (service, call)
    assert len(local_aws.callers.refused) == 6, "an object that is not there is no call that was refused"
    with pytest.raises(ClientError, match="security token"):
        client(port, "secretsmanager", **{**given, "aws_session_token": None}).get_secret_value(SecretId="db")


def test_a_task_is_handed_the_credentials_of_its_role(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    caller = local_aws.callers.add(Caller("relay", "arn:aws:iam::123456789012:role/relay"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    address = f"http://127.0.0.1:{port}{CREDENTIALS_PATH}{caller.access_key}"
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", address)
    found = boto3.Session().get_credentials()
    assert found is not None
    known = found.get_frozen_credentials()
    assert (known.access_key, known.secret_key, known.token) == (caller.access_key, caller.secret_key, caller.token)


def test_a_function_is_called_by_whoever_may(port: int) -> None:
    iam = client(port, "iam")
    role = iam.create_role(RoleName="asker", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    allowed = {"Effect": "Allow", "Action": "lambda:InvokeFunction", "Resource": "arn:aws:lambda:*:*:function:vectors"}
    iam.put_role_policy(RoleName="asker", PolicyName="p", PolicyDocument=policy(allowed))
    caller = local_aws.callers.add(Caller("asker", role))
    called: list[tuple[str, bytes, bool]] = []

    def invoke(arn: str, payload: bytes, asynchronous: bool) -> tuple[int, dict[str, str], bytes]:
        called.append((arn, payload, asynchronous))
        return 200, {}, b'{"vectors":[]}'

    local_aws.hooks.invoke = invoke
    try:
        answer = client(
            port,
            "lambda",
            aws_access_key_id=caller.access_key,
            aws_secret_access_key=caller.secret_key,
            aws_session_token=caller.token,
        ).invoke(FunctionName="vectors", Payload=b'{"texts":[]}')
    finally:
        local_aws.hooks.invoke = Hooks().invoke
    assert json.load(answer["Payload"]) == {"vectors": []}
    assert called == [("arn:aws:lambda:us-east-1:123456789012:function:vectors", b'{"texts":[]}', False)]


def network(**more: Any) -> dict[str, Any]:
    """A VPC with a subnet that leads to the internet, in an order in which nothing can be deleted from the front."""
    resources: dict[str, Any] = {
        "Net": {"Type": "AWS::EC2::VPC", "Properties": {"CidrBlock": "10.9.0.0/16"}},
        "Gateway": {"Type": "AWS::EC2::InternetGateway"},
        "Attachment": {
            "Type": "AWS::EC2::VPCGatewayAttachment",
            "Properties": {"VpcId": {"Ref": "Net"}, "InternetGatewayId": {"Ref": "Gateway"}},
        },
        "Subnet": {
            "Type": "AWS::EC2::Subnet",
            "Properties": {"VpcId": {"Ref": "Net"}, "CidrBlock": "10.9.1.0/24"},
        },
        "Table": {"Type": "AWS::EC2::RouteTable", "Properties": {"VpcId": {"Ref": "Net"}}},
        "Route": {
            "Type": "AWS::EC2::Route",
            "DependsOn": "Attachment",
            "Properties": {
                "RouteTableId": {"Ref": "Table"},
                "DestinationCidrBlock": "0.0.0.0/0",
                "GatewayId": {"Ref": "Gateway"},
            },
        },
        "Association": {
            "Type": "AWS::EC2::SubnetRouteTableAssociation",
            "Properties": {"RouteTableId": {"Ref": "Table"}, "SubnetId": {"Ref": "Subnet"}},
        },
        "Group": {
            "Type": "AWS::EC2::SecurityGroup",
            "Properties": {"GroupDescription": "of a service", "VpcId": {"Fn::GetAtt": ["Net", "VpcId"]}},
        },
    }
    return {**resources, **more}


def test_a_network_is_deleted_with_all_that_is_in_it_in_the_order_of_its_references(port: int) -> None:
    ec2 = client(port, "ec2")
    before = {each["VpcId"] for each in ec2.describe_vpcs()["Vpcs"]}
    assert deploy(port, "Network", network()) == "CREATE_COMPLETE"
    client(port, "cloudformation").delete_stack(StackName="Network")
    assert status_of(port, "Network") == "DELETE_COMPLETE"
    assert {each["VpcId"] for each in ec2.describe_vpcs()["Vpcs"]} == before


@pytest.mark.parametrize("foreign", ["subnet", "security group", "route table"])
def test_a_network_that_something_else_uses_is_not_deleted(port: int, foreign: str) -> None:
    ec2, name = client(port, "ec2"), f"Used{foreign.title().replace(' ', '')}"
    assert deploy(port, name, network()) == "CREATE_COMPLETE"
    said = client(port, "cloudformation").describe_stack_resources(StackName=name)["StackResources"]
    (vpc,) = (each["PhysicalResourceId"] for each in said if each["ResourceType"] == "AWS::EC2::VPC")
    if foreign == "subnet":
        ec2.create_subnet(VpcId=vpc, CidrBlock="10.9.2.0/24")
    elif foreign == "security group":
        ec2.create_security_group(GroupName="by hand", Description="by hand", VpcId=vpc)
    else:
        ec2.create_route_table(VpcId=vpc)
    client(port, "cloudformation").delete_stack(StackName=name)
    assert status_of(port, name) == "DELETE_FAILED"
    events = client(port, "cloudformation").describe_stack_events(StackName=name)["StackEvents"]
    assert any(f"it still has {foreign}" in each.get("ResourceStatusReason", "") for each in events)


def test_whatever_refers_to_a_resource_is_deleted_before_it() -> None:
    order = deletion_order(
        {
            "A": {"Type": "X"},
            "B": {"Type": "X", "Properties": {"Name": {"Fn::Sub": "${A}-${AWS::Region}"}}},
            "C": {"Type": "X", "Properties": {"Of": [{"Fn::GetAtt": ["B", "Arn"]}]}},
            "D": {"Type": "X", "DependsOn": ["C"]},
        }
    )
    assert order == ["D", "C", "B", "A"]
