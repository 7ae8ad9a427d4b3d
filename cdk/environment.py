"""The environment of every function and task, from env.schema.json: each variable that its service reads, and no other.

Secrets are references (the ARN of a Secrets Manager secret or of an SSM parameter) that the process resolves when it
starts. A secret written out, a variable that nobody reads, or a required one without a value does not synthesise.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

import jsonschema
from aws_cdk import Stack, Token
from aws_cdk import aws_iam as iam
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from deployment.knobs import CONTEXT_FILE, DeploymentError

EVERYTHING = "embedded"
"""The process that is all services at once, in the `combined` topology."""

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class SecretReference:
    """Where a secret lies, and the one action that reads it."""

    arn: str
    action: str

    @classmethod
    def to_secret(cls, secret: secretsmanager.ISecret) -> SecretReference:
        return cls(secret.secret_arn, "secretsmanager:GetSecretValue")

    @classmethod
    def to_parameter(cls, scope: Construct, name: str) -> SecretReference:
        """Return the reference to an SSM SecureString, which the operator makes: CloudFormation cannot.

        Raises:
            DeploymentError: the name does not begin with a slash; its ARN would stand for another parameter.
        """
        if not name.startswith("/"):
            raise DeploymentError(
                [
                    f"{CONTEXT_FILE}: secrets names the parameter {name!r}, and a parameter without a leading slash "
                    f'cannot be read by its ARN. Store it as "/{name}" and name that.'
                ]
            )
        arn = Stack.of(scope).format_arn(service="ssm", resource="parameter", resource_name=name.lstrip("/"))
        return cls(arn, "ssm:GetParameter")

    def grant_read(self, grantee: iam.IGrantable) -> None:
        """Nothing is granted beside it. SecureStrings under AWS's own key need no right to the key."""
        statement = iam.PolicyStatement(actions=[self.action], resources=[self.arn])
        grantee.grant_principal.add_to_principal_policy(statement)


@dataclass(frozen=True)
class ServiceEnvironment:
    """What one function or task finds in its environment."""

    service: str
    variables: Mapping[str, str]
    references: Sequence[SecretReference]

    def grant_secrets(self, grantee: iam.IGrantable) -> None:
        """Let `grantee` read the secrets that the environment refers to."""
        for reference in self.references:
            reference.grant_read(grantee)


@cache
def schema() -> Mapping[str, Mapping[str, Any]]:
    """Every variable of env.schema.json by its name."""
    return json.loads((ROOT / "env.schema.json").read_text("utf-8"))["properties"]


def environment_for(service: str, values: Mapping[str, object]) -> ServiceEnvironment:
    """The environment of `service`. `values` may be those of all services: the schema says which of them it reads.

    A variable without a value keeps the program's default, which is written out, so that a deployed function shows
    everything it runs with; an empty default stays unset.

    Raises:
        DeploymentError: with every problem, each naming the variable and what would be right.
    """
    known = schema()
    problems = [_unknown(name, known) for name in sorted(values) if name not in known]
    variables: dict[str, str] = {}
    references: list[SecretReference] = []
    for name, variable in known.items():
        if service not in (*variable.get("x-services", ()), EVERYTHING):
            continue
        value = values.get(name, variable["default"])
        if value in ("", []):
            if service in variable.get("x-required", ()):
                problems.append(f"{name}: {service} needs it and nothing gives it a value. {_where(name, variable)}")
            continue
        if isinstance(value, SecretReference):
            if not variable.get("x-secret"):
                problems.append(f"{name}: is no secret: give its value, not a reference to one.")
                continue
            variables[name] = value.arn
            references.append(value)
        elif variable.get("x-secret"):
            problems.append(f"{name}: is a secret and would be readable in the template. {_where(name, variable)}")
        else:
            problems += _invalid(name, variable, value)
            variables[name] = _text(value)
    if problems:
        raise DeploymentError(problems)
    return ServiceEnvironment(service, variables, tuple(references))


def _where(name: str, variable: Mapping[str, Any]) -> str:
    example = variable["examples"][0]
    if variable.get("x-secret"):
        return (
            f"Store it as an SSM SecureString and name that in {CONTEXT_FILE}: "
            f'"secrets": {{"{name}": "/groundswell/{name.removeprefix("GROUNDSWELL_").lower()}"}}.'
        )
    return f'Set it in {CONTEXT_FILE}: "environment": {{"{name}": "{example}"}}.'


def _unknown(name: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean {close[0]}?" if close else "env.schema.json has all there are."
    return f"{name}: nothing reads this variable. {hint} Correct it in {CONTEXT_FILE}."


def _invalid(name: str, variable: Mapping[str, Any], value: object) -> list[str]:
    """What the schema has against a value; a token, which is known only at deploy, passes."""
    if Token.is_unresolved(value):
        return []
    rule = {key: rule for key, rule in variable.items() if not key.startswith("x-") and key != "default"}
    entries = value.split(",") if isinstance(value, str) and variable.get("type") == "array" else value
    if isinstance(value, str) and variable.get("type") in ("integer", "number"):
        try:
            entries = json.loads(value)
        except ValueError:
            entries = value
    try:
        jsonschema.validate(entries, rule)
    except jsonschema.ValidationError as error:
        return [f"{name}: {error.message}. It looks like {variable['examples'][0]}. Correct it in {CONTEXT_FILE}."]
    return []


def _text(value: object) -> str:
    if isinstance(value, list | tuple):
        return ",".join(str(entry) for entry in cast("list[object]", value))
    return f"{value:g}" if isinstance(value, float) else str(value)
