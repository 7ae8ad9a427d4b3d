"""The rehearsal's IAM: what policies allow, and what a request to AWS asks for."""

from __future__ import annotations

from typing import Any

import pytest

from rehearsal.aws_calls import CallNotKnown, calls_of
from rehearsal.iam import Call, Caller, Callers, PolicyNotUnderstood, allowed, signature_of, statements_in

READ = Call("s3:GetObject", "arn:aws:s3:::archive/posts/1.parquet")


def statement(action: Any = "s3:GetObject", resource: Any = "arn:aws:s3:::archive/*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


@pytest.mark.parametrize(
    ("statements", "holds"),
    [
        ([], False),
        ([statement()], True),
        ([statement(action=["s3:List*", "s3:Get*"])], True),
        ([statement(action="S3:getobject")], True),
        ([statement(action="s3:PutObject")], False),
        ([statement(resource="arn:aws:s3:::archive")], False),
        ([statement(resource=["arn:aws:s3:::other/*", "*"])], True),
        ([statement(resource="arn:aws:s3:::archive/posts/?.parquet")], True),
        ([statement(resource="arn:aws:s3:::archive/posts/[1].parquet")], False),
        ([statement(), statement(Effect="Deny")], False),
        ([statement(), statement(Effect="Deny", resource="arn:aws:s3:::archive/private/*")], True),
        ([{"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}], True),
        ([{"Effect": "Allow", "Action": "*", "NotResource": "arn:aws:s3:::archive/*"}], False),
        ([statement(Condition={"Bool": {"aws:SecureTransport": "true"}})], True),
        ([statement(Condition={"StringEquals": {"aws:PrincipalArn": ["a", "b"]}})], False),
        (
            [statement(), statement(Effect="Deny", Condition={"ArnLike": {"lambda:SourceFunctionArn": "arn:*:api"}})],
            False,
        ),
        ([statement(Condition={"StringNotEquals": {"ec2:Vpc": "vpc-1"}})], True),
        ([statement(Condition={"StringEquals": {"ec2:Vpc": "vpc-1"}})], False),
        ([statement(Condition={"StringEqualsIfExists": {"ec2:Vpc": "vpc-1"}})], True),
        ([statement(Condition={"Null": {"ec2:Vpc": "true"}})], True),
    ],
)
def test_a_call_needs_a_statement_that_allows_it_and_none_that_denies_it(
    statements: list[dict[str, Any]], holds: bool
) -> None:
    context = {"aws:SecureTransport": "true", "aws:PrincipalArn": "c", "lambda:SourceFunctionArn": "arn:aws:api"}
    assert allowed(statements, READ, context) is holds


def test_a_condition_that_is_not_known_is_not_guessed_at() -> None:
    with pytest.raises(PolicyNotUnderstood, match="DateLessThan"):
        allowed(
            [statement(Condition={"DateLessThan": {"aws:CurrentTime": "2030-01-01"}})], READ, {"aws:CurrentTime": ""}
        )


def asked(service: str, **more: Any) -> list[Call]:
    given: dict[str, Any] = {"method": "POST", "path": "/", "query": {}, "headers": {}, "body": b"", **more}
    return calls_of(
        service,
        "us-east-1",
        "1",
        secret_arn={"db": "arn:aws:secretsmanager:us-east-1:1:secret:db-x"}.get,
        stack_arn={"Data": "arn:stack/Data"}.get,
        **given,
    )


@pytest.mark.parametrize(
    ("service", "request_", "calls"),
    [
        ("s3", {"method": "GET", "path": "/b/a%20b"}, [("s3:GetObject", "arn:aws:s3:::b/a b")]),
        ("s3", {"method": "HEAD", "path": "/b/k"}, [("s3:GetObject", "arn:aws:s3:::b/k")]),
        ("s3", {"method": "GET", "path": "/b", "query": {"list-type": "2"}}, [("s3:ListBucket", "arn:aws:s3:::b")]),
        ("s3", {"method": "PUT", "path": "/b/k"}, [("s3:PutObject", "arn:aws:s3:::b/k")]),
        (
            "s3",
            {"method": "PUT", "path": "/b/k", "headers": {"x-amz-copy-source": "/b/old"}},
            [("s3:PutObject", "arn:aws:s3:::b/k"), ("s3:GetObject", "arn:aws:s3:::b/old")],
        ),
        (
            "s3",
            {"path": "/b", "query": {"delete": ""}, "body": b"<Delete><Object><Key>k</Key></Object></Delete>"},
            [("s3:DeleteObject", "arn:aws:s3:::b/k")],
        ),
        (
            "secretsmanager",
            {"headers": {"x-amz-target": "secretsmanager.GetSecretValue"}, "body": b'{"SecretId":"db"}'},
            [("secretsmanager:GetSecretValue", "arn:aws:secretsmanager:us-east-1:1:secret:db-x")],
        ),
        (
            "ssm",
            {"headers": {"x-amz-target": "AmazonSSM.GetParameter"}, "body": b'{"Name":"/g/key"}'},
            [("ssm:GetParameter", "arn:aws:ssm:us-east-1:1:parameter/g/key")],
        ),
        (
            "lambda",
            {"path": "/2015-03-31/functions/vectors/invocations"},
            [("lambda:InvokeFunction", "arn:aws:lambda:us-east-1:1:function:vectors")],
        ),
        (
            "sns",
            {"body": b"Action=Publish&TopicArn=arn%3Atopic"},
            [("sns:Publish", "arn:topic")],
        ),
        (
            "cloudformation",
            {"body": b"Action=DescribeStackResources&StackName=Data"},
            [("cloudformation:DescribeStackResources", "arn:stack/Data")],
        ),
        (
            "monitoring",
            {"path": "/service/GraniteServiceVersion20100801/operation/GetMetricData"},
            [("cloudwatch:GetMetricData", "arn:aws:cloudwatch:us-east-1:1:")],
        ),
    ],
)
def test_a_request_names_its_action_and_its_resource(
    service: str, request_: dict[str, Any], calls: list[tuple[str, str]]
) -> None:
    assert asked(service, **request_) == [Call(*each) for each in calls]


@pytest.mark.parametrize(
    ("service", "request_"),
    [
        ("dynamodb", {"headers": {"x-amz-target": "DynamoDB_20120810.GetItem"}, "body": b"{}"}),
        ("s3", {"method": "GET", "path": "/b", "query": {"acl": ""}}),
        ("lambda", {"method": "GET", "path": "/2015-03-31/functions/"}),
    ],
)
def test_a_request_of_another_kind_is_not_guessed_at(service: str, request_: dict[str, Any]) -> None:
    with pytest.raises(CallNotKnown, match=service):
        asked(service, **request_)


def test_a_role_makes_its_calls_and_is_refused_any_other() -> None:
    callers = Callers(lambda _: [statement()])
    caller = callers.add(Caller("api", "arn:aws:iam::1:role/api", "arn:aws:lambda:us-east-1:1:function:api"))
    credential = {
        "authorization": f"AWS4-HMAC-SHA256 Credential={caller.access_key}/20261129/us-east-1/s3/aws4_request"
    }
    assert callers.of(credential, {}) is caller
    assert callers.of({}, {"X-Amz-Credential": f"{caller.access_key}/20261129/us-east-1/s3/aws4_request"}) is caller
    assert (
        callers.of({"authorization": "AWS4-HMAC-SHA256 Credential=local/20261129/us-east-1/s3/aws4_request"}, {})
        is None
    )
    assert not callers.has_token(caller, credential, {})
    assert callers.has_token(caller, {**credential, "x-amz-security-token": caller.token}, {})
    assert callers.refusal(caller, [READ]) is None
    refused = callers.refusal(caller, [READ, Call("s3:PutObject", READ.resource)])
    assert refused is not None
    assert "arn:aws:sts::1:assumed-role/api/api is not authorized to perform: s3:PutObject" in refused
    assert callers.refused == [refused]
    assert callers.made == {"api": {"s3:GetObject"}}


def test_a_signature_is_that_of_the_caller_over_the_whole_request() -> None:
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    caller = Caller("relay", "arn:aws:iam::1:role/relay")
    url = "https://a.execute-api.us-east-1.amazonaws.com/live/%40connections/c%3D"
    request: Any = AWSRequest(method="POST", url=url, data=b"frame")
    signer: Any = SigV4Auth(Credentials(caller.access_key, caller.secret_key, caller.token), "execute-api", "us-east-1")
    signer.add_auth(request)
    sent = {name.lower(): value for name, value in request.headers.items()} | {
        "host": "a.execute-api.us-east-1.amazonaws.com"
    }
    names = sent["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
    signed: dict[str, Any] = {"method": "POST", "url": url, "headers": {name: sent[name] for name in names}}

    def made(body: bytes) -> str:
        return signature_of(caller, body=body, service="execute-api", region="us-east-1", **signed)

    assert sent["authorization"].endswith(f"Signature={made(b'frame')}")
    assert made(b"frame") != made(b"another")


def test_policies_come_as_json_or_as_objects() -> None:
    assert statements_in(['{"Statement": {"Effect": "Allow"}}', {"Statement": [{"Effect": "Deny"}]}]) == [
        {"Effect": "Allow"},
        {"Effect": "Deny"},
    ]
