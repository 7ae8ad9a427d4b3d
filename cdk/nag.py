"""Rules of cdk-nag that do not apply, each with its reason, where the resource is made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aws_cdk import Acknowledgment, Stack, Validations
from constructs import IConstruct


def accept(construct: IConstruct, reasons: Mapping[str, str]) -> None:
    """Let findings stand on `construct` and what it contains: by rule, why."""
    for rule, reason in reasons.items():
        Validations.of(construct).acknowledge(Acknowledgment(id=rule, reason=reason))


def accept_wildcards(
    construct: IConstruct, reason: str, *, resources: tuple[str, ...] = (), actions: tuple[str, ...] = ()
) -> None:
    """Let just these wildcards stand in the policies of `construct`. Resources may be tokens."""
    stack = Stack.of(construct)
    found = [f"Resource::{_flat(stack.resolve(resource))}" for resource in resources]
    found += [f"Action::{action}" for action in actions]
    accept(construct, {f"AwsSolutions-IAM5[{finding}]": reason for finding in found})


def _flat(value: Any) -> str:
    """How cdk-nag writes a value that is known at deploy: `<LogicalId.Attribute>`."""
    match value:
        case {"Ref": name}:
            return f"<{name}>"
        case {"Fn::GetAtt": [name, attribute]}:
            return f"<{name}.{attribute}>"
        case {"Fn::ImportValue": name}:
            return str(name)
        case {"Fn::Join": [glue, parts]}:
            return str(glue).join(_flat(part) for part in parts)
        case _:
            return str(value)
