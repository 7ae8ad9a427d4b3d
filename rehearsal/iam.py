"""What the deployed roles allow: policies are evaluated as IAM evaluates them, for the one who signed a request.

Only identity policies count here. https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


def _like(given: str, pattern: str) -> bool:
    """Return whether the text matches a pattern with `*` and `?`, which have no other meaning for IAM."""
    return re.fullmatch(fnmatch.translate(pattern.replace("[", "[[]")), given) is not None


OPERATORS: Mapping[str, Callable[[str, str], bool]] = {
    "StringEquals": lambda given, wanted: given == wanted,
    "StringNotEquals": lambda given, wanted: given != wanted,
    "StringLike": _like,
    "StringNotLike": lambda given, wanted: not _like(given, wanted),
    "ArnEquals": _like,
    "ArnLike": _like,
    "ArnNotEquals": lambda given, wanted: not _like(given, wanted),
    "ArnNotLike": lambda given, wanted: not _like(given, wanted),
    "Bool": lambda given, wanted: given.lower() == wanted.lower(),
}


class PolicyNotUnderstood(Exception):
    """A deployed policy uses what this evaluation does not know; the text names it."""


@dataclass(frozen=True)
class Call:
    """One action on one resource."""

    action: str
    resource: str


def _listed(value: object) -> Sequence[Any]:
    return value if isinstance(value, list) else [value]  # pyright: ignore[reportUnknownVariableType]


def _applies(statement: Mapping[str, Any], call: Call, context: Mapping[str, str]) -> bool:
    """Return whether a statement is about this call, be it to allow or to deny."""

    def action_in(key: str) -> bool:
        return any(_like(call.action.lower(), str(each).lower()) for each in _listed(statement[key]))

    def resource_in(key: str) -> bool:
        return any(_like(call.resource, str(each)) for each in _listed(statement[key]))

    about = action_in("Action") if "Action" in statement else not action_in("NotAction")
    if not about:
        return False
    if not (resource_in("Resource") if "Resource" in statement else not resource_in("NotResource")):
        return False
    return all(
        _holds(operator, key, _listed(values), context)
        for operator, conditions in statement.get("Condition", {}).items()
        for key, values in conditions.items()
    )


def _holds(operator: str, key: str, values: Sequence[Any], context: Mapping[str, str]) -> bool:
    known = {name.lower(): value for name, value in context.items()}
    given = known.get(key.lower())
    if operator == "Null":
        return any((given is None) == (str(each).lower() == "true") for each in values)
    name, optional = (operator.removesuffix("IfExists"), operator.endswith("IfExists"))
    if name not in OPERATORS:
        raise PolicyNotUnderstood(f"the condition {operator} is not evaluated. Add it to rehearsal/iam.py")
    if given is None:
        return optional or "Not" in name
    compared = [OPERATORS[name](given, str(each)) for each in values]
    return all(compared) if "Not" in name else any(compared)


def allowed(statements: Iterable[Mapping[str, Any]], call: Call, context: Mapping[str, str]) -> bool:
    """Return whether the statements allow a call: one has to allow it, and none may deny it."""
    about = [each for each in statements if _applies(each, call, context)]
    return any(each["Effect"] == "Allow" for each in about) and not any(each["Effect"] == "Deny" for each in about)


# ------------------------------------------------------------------ who calls
@dataclass(frozen=True)
class Caller:
    """A function or a task, with credentials of its role."""

    name: str
    role: str
    """ARN."""
    function: str = ""
    """ARN of the function; empty for a task."""

    def _secret(self, length: int, use: str) -> str:
        return hashlib.sha256(f"{use} {self.name} {self.role}".encode()).hexdigest()[:length]

    @property
    def access_key(self) -> str:
        return "ASIA" + self._secret(16, "key").upper()

    @property
    def secret_key(self) -> str:
        return self._secret(40, "secret")

    @property
    def token(self) -> str:
        return self._secret(64, "token")

    def environment(self) -> dict[str, str]:
        """Return the variables by which Lambda hands on the credentials."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_SESSION_TOKEN": self.token,
        }

    def principal(self) -> str:
        return f"{self.role.replace(':iam:', ':sts:').replace(':role/', ':assumed-role/')}/{self.name}"


@dataclass
class Callers:
    """Everybody with credentials of a deployed role, and what their roles allow.

    `statements` returns the statements of a role's policies.
    """

    statements: Callable[[str], Sequence[Mapping[str, Any]]]
    known: dict[str, Caller] = field(default_factory=dict[str, Caller])
    """By access key."""
    refused: list[str] = field(default_factory=list[str])
    """Calls that no statement allows."""
    made: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    """Actions that were allowed, by the name of the caller."""

    def add(self, caller: Caller) -> Caller:
        self.known[caller.access_key] = caller
        return caller

    def of(self, headers: Mapping[str, str], query: Mapping[str, str]) -> Caller | None:
        """Return who signed a request; None where it is nobody with a deployed role, such as an operator."""
        said = headers.get("authorization", "")
        found = re.search(r"Credential=([^/,]+)/", said)
        key = found[1] if found else query.get("X-Amz-Credential", "").partition("/")[0]
        return self.known.get(key)

    def has_token(self, caller: Caller, headers: Mapping[str, str], query: Mapping[str, str]) -> bool:
        """Return whether the session token is there, without which temporary credentials are worth nothing."""
        return caller.token in (headers.get("x-amz-security-token"), query.get("X-Amz-Security-Token"))

    def refusal(self, caller: Caller, calls: Sequence[Call]) -> str | None:
        """Return the text with which AWS refuses the first call that is not allowed; None where all are."""
        context = {"aws:SecureTransport": "true", "aws:PrincipalArn": caller.role}
        if caller.function:
            context["lambda:SourceFunctionArn"] = caller.function
        for call in calls:
            if not allowed(self.statements(caller.role), call, context):
                said = (
                    f"User: {caller.principal()} is not authorized to perform: {call.action} on resource: "
                    f"{call.resource} because no identity-based policy allows the {call.action} action"
                )
                self.refused.append(said)
                return said
            self.made.setdefault(caller.name, set()).add(call.action)
        return None


def signature_of(
    caller: Caller, *, method: str, url: str, headers: Mapping[str, str], body: bytes, service: str, region: str
) -> str:
    """Return the signature (AWS Signature Version 4) that a request of this caller has to carry.

    Args:
        url: as it is on the wire.
        headers: those that the request says are signed; names in lower case.
    """
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    request: Any = AWSRequest(method=method, url=url, data=body, headers=dict(headers))
    request.context["timestamp"] = headers["x-amz-date"]
    signer: Any = SigV4Auth(Credentials(caller.access_key, caller.secret_key, caller.token), service, region)
    return signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)


def statements_in(documents: Iterable[object]) -> list[Mapping[str, Any]]:
    """Return the statements of policy documents, which may be JSON."""
    found: list[Mapping[str, Any]] = []
    for document in documents:
        read: Any = json.loads(document) if isinstance(document, str) else document
        found += _listed(read["Statement"])
    return found
