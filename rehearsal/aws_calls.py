"""Which action on which resource a request to AWS asks for, read from the request itself."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, unquote
from xml.etree import ElementTree as ET

from rehearsal.iam import Call

Find = Callable[[str], str | None]
"""Returns the ARN of what was deployed under a name, or None."""


class CallNotKnown(Exception):
    """What a request asks for is not known here; the text names it."""


def calls_of(
    service: str,
    region: str,
    account: str,
    *,
    method: str,
    path: str,
    query: Mapping[str, str],
    headers: Mapping[str, str],
    body: bytes,
    secret_arn: Find,
    stack_arn: Find,
) -> list[Call]:
    """Return what a signed request asks for.

    Args:
        service: as it is in the signature's scope.
        query: parameters of the address; one without a value is there as an empty text.

    Raises:
        CallNotKnown: the request is of a kind that no table here has.
    """

    def arn(rest: str, name: str = service) -> str:
        return f"arn:aws:{name}:{region}:{account}:{rest}"

    if service == "s3":
        return _of_s3(method, path, query, headers, body)
    if service == "lambda":
        found = re.fullmatch(r"/2015-03-31/functions/([^/]+)/invocations", path)
        if found is None or method != "POST":
            raise CallNotKnown(f"lambda: {method} {path}")
        name = unquote(found[1])
        return [Call("lambda:InvokeFunction", name if name.startswith("arn:") else arn(f"function:{name}"))]
    action, said = _operation(path, query, headers, body)
    resources: Mapping[str, Callable[[], list[str]]] = {
        "secretsmanager": lambda: [secret_arn(said["SecretId"]) or said["SecretId"]],
        "ssm": lambda: [
            arn(f"parameter/{each.removeprefix('/')}") for each in said.get("Names", [said.get("Name", "")])
        ],
        "logs": lambda: [said.get("logGroupIdentifier") or arn(f"log-group:{said['logGroupName']}:*")],
        "sns": lambda: [said["TopicArn"]],
        "cloudformation": lambda: [stack_arn(said["StackName"]) or said["StackName"]],
        "monitoring": lambda: [arn("", "cloudwatch")],
        "ce": lambda: [arn("/" + action)],
        "sts": lambda: [],
    }
    if service not in resources:
        raise CallNotKnown(f"{service}: {action}")
    prefix = {"monitoring": "cloudwatch"}.get(service, service)
    return [Call(f"{prefix}:{action}", resource) for resource in resources[service]()]


def _operation(
    path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes
) -> tuple[str, Mapping[str, Any]]:
    """Return the name of an operation and its parameters, for the protocols that name it."""
    target = headers.get("x-amz-target", "")
    if target:
        return target.rpartition(".")[2], json.loads(body or b"{}")
    by_path = re.fullmatch(r"/service/\w+/operation/(\w+)", path)
    if by_path is not None:
        return by_path[1], {}
    form = {name: values[0] for name, values in parse_qs(body.decode("utf-8", "replace")).items()} | dict(query)
    if "Action" in form:
        return form["Action"], form
    raise CallNotKnown(f"a request to {path} that names no operation")


def _of_s3(method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes) -> list[Call]:
    bucket, _, key = unquote(path.removeprefix("/")).partition("/")
    whole, inside = f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/{key}"
    if not key:
        if method == "POST" and "delete" in query:
            keys = [each.text or "" for each in ET.fromstring(body).iter() if each.tag.rpartition("}")[2] == "Key"]  # noqa: S314 -- of our own processes
            return [Call("s3:DeleteObject", f"{whole}/{each}") for each in keys]
        if method == "GET" and "uploads" in query:
            return [Call("s3:ListBucketMultipartUploads", whole)]
        if method in ("GET", "HEAD") and not set(query) & {"acl", "policy", "location", "versioning", "tagging"}:
            return [Call("s3:ListBucket", whole)]
        raise CallNotKnown(f"s3: {method} of a bucket with {sorted(query)}")
    if set(query) & {"acl", "tagging", "retention", "legal-hold", "torrent"}:
        raise CallNotKnown(f"s3: {method} of an object with {sorted(query)}")
    if method in ("GET", "HEAD"):
        return [Call("s3:ListMultipartUploadParts" if "uploadId" in query else "s3:GetObject", inside)]
    if method == "DELETE":
        return [Call("s3:AbortMultipartUpload" if "uploadId" in query else "s3:DeleteObject", inside)]
    calls = [Call("s3:PutObject", inside)]
    source = headers.get("x-amz-copy-source")
    return [*calls, Call("s3:GetObject", f"arn:aws:s3:::{unquote(source).lstrip('/')}")] if source else calls
