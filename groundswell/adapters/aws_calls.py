"""A call of AWS that can be made, or be shown as the command that makes it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, cast

import msgspec

from groundswell.adapters.aws_deployment import AwsDeployment, explained


class Call(msgspec.Struct, frozen=True):
    """One operation of a service, for example `rds`, `modify_db_instance`."""

    service: str
    operation: str
    values: Mapping[str, Any]
    shown: Mapping[str, str] = {}
    """By parameter, what stands in the command in place of a value that nobody may read: words of a shell."""

    def make(self, deployment: AwsDeployment) -> Any:
        """The answer. Raises CloudUnavailable."""
        action = "".join(word.capitalize() for word in self.operation.split("_"))
        with explained(f"{self.service}:{action}"):
            return getattr(deployment.client(self.service), self.operation)(**self.values)

    def command(self, region: str) -> str:
        """As the AWS command line takes it."""
        import botocore

        untyped: Any = botocore
        option_of: Callable[[str, str], str] = untyped.xform_name
        words = ["aws", self.service, self.operation.replace("_", "-"), "--region", region]
        line = shlex.join(words)
        for name, value in self.values.items():
            option = f"--{option_of(name, '-')}"
            if name in self.shown:
                line += f" {option} {self.shown[name]}"
            elif isinstance(value, bool):
                line += f" {option if value else option.replace('--', '--no-', 1)}"
            else:
                line += f" {option} {shlex.join(_words(value))}"
        return line


def _words(value: object) -> list[str]:
    if isinstance(value, datetime):
        return [f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"]
    if isinstance(value, list) and all(isinstance(each, str) for each in cast("list[object]", value)):
        return cast("list[str]", value)
    if isinstance(value, dict | list):
        return [json.dumps(value, default=str)]
    return [str(value)]
