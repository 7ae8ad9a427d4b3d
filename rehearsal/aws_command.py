"""`python -m rehearsal.aws_command SERVICE OPERATION …`: the AWS command line, as far as docs/deploy.md needs it.

It reads options by the same models as the real one and refuses what those do not have. What differs from AWS CLI 2:
JSON or plain text as output, no tables, no pages, and of the shorthand only `Name=…,Values=…`.
"""

from __future__ import annotations

import base64
import binascii
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import botocore.session
import jmespath
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, WaiterError

WRONG_USAGE, REFUSED, WAITED_IN_VAIN = 252, 254, 255
"""Exit codes of the AWS CLI."""
READ_TIMEOUT_S = 60
"""Of the AWS CLI, where `--cli-read-timeout` does not say more: after it the request is made a second time."""
_OWN = ("--query", "--output", "--region", "--cli-binary-format", "--cli-read-timeout")


class WrongUsage(Exception):
    """The text says what is wrong with the words."""


def grouped(words: Sequence[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Return the values of each option, and the words before and behind that belong to none."""
    options: dict[str, list[str]] = {}
    beside: list[str] = []
    last: list[str] | None = None
    for word in words:
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            last = options.setdefault(name, [value] if equals else [])
        elif last is None:
            beside.append(word)
        else:
            last.append(word)
    return options, beside


def parameters(shape: Any, options: Mapping[str, list[str]], *, raw: bool) -> tuple[dict[str, Any], list[str]]:
    """Return what an operation is given, and the words that none of its options takes.

    Args:
        raw: whether `--cli-binary-format raw-in-base64-out` is given; without it a blob is written in base64.

    Raises:
        WrongUsage: an option that the operation does not have, or a value that it does not take.
    """
    members = (
        {} if shape is None else {f"--{xform_name(name, '-')}": (name, each) for name, each in shape.members.items()}
    )
    given: dict[str, Any] = {}
    left: list[str] = []
    for option, values in options.items():
        negated = option.startswith("--no-") and f"--{option[5:]}" in members
        if option not in members and not negated:
            raise WrongUsage(f"Unknown options: {option}")
        name, member = members[f"--{option[5:]}" if negated else option]
        if member.type_name == "boolean":
            given[name] = not negated
            left += values
        elif member.type_name == "list":
            given[name] = [_value(member.member, each, raw=raw) for each in values]
        elif not values:
            raise WrongUsage(f"{option}: expected one argument")
        else:
            given[name] = _value(member, values[0], raw=raw)
            left += values[1:]
    missing = [] if shape is None else [name for name in shape.required_members if name not in given]
    if missing:
        raise WrongUsage(f"the following arguments are required: {', '.join(missing)}")
    return given, left


def _value(member: Any, text: str, *, raw: bool) -> Any:
    allowed = getattr(member, "enum", [])
    if allowed and text not in allowed:
        raise WrongUsage(f"{text!r} is none of {', '.join(allowed)}")
    match member.type_name:
        case "blob":
            try:
                return text.encode() if raw else base64.b64decode(text, validate=True)
            except binascii.Error:
                raise WrongUsage(f"Invalid base64: {text!r}") from None
        case "integer" | "long":
            return int(text)
        case "structure":
            if text.startswith("{"):
                return json.loads(text)
            name, _, values = text.removeprefix("Name=").partition(",Values=")
            return {"Name": name, "Values": values.split(",")}
        case _:
            return text


def as_text(found: Any) -> str:
    """Return a result as `--output text` has it: the values of a list beside each other, lists below each other."""
    if isinstance(found, list):
        rows: list[Any] = found  # pyright: ignore[reportUnknownVariableType] -- JSON
        if any(isinstance(each, list) for each in rows):
            return "\n".join(as_text(each) for each in rows)
        return "\t".join(as_text(each) for each in rows)
    return "None" if found is None else str(found)


def run(words: Sequence[str]) -> int:
    """Do what the words say and print the result.

    Raises:
        WrongUsage: these are no words of the command line.
    """
    options, beside = grouped(words)
    own = {name: options.pop(name)[0] for name in _OWN if name in options}
    session = botocore.session.get_session()
    if len(beside) < 2 or beside[0] not in session.get_available_services():
        raise WrongUsage(f"no service and operation: {' '.join(beside)}")
    service, operation, *names = beside
    read_timeout = int(own.get("--cli-read-timeout", READ_TIMEOUT_S)) or None
    client: Any = session.create_client(  # pyright: ignore[reportUnknownMemberType] -- it has no stubs
        service, config=Config(read_timeout=read_timeout)
    )
    waiter = None
    if operation == "wait":
        if not names or names[0].replace("-", "_") not in client.waiter_names:
            raise WrongUsage(f"{service} waits for none of {names}")
        waiter = client.get_waiter(names.pop(0).replace("-", "_"))
        operation = xform_name(waiter.config.operation, "-")
    if operation.replace("-", "_") not in client.meta.method_to_api_mapping:
        raise WrongUsage(f"argument operation: Invalid choice: {operation}")
    model = client.meta.service_model.operation_model(client.meta.method_to_api_mapping[operation.replace("-", "_")])
    raw = own.get("--cli-binary-format") == "raw-in-base64-out"
    given, left = parameters(model.input_shape, options, raw=raw)
    files = [*names, *left]
    if len(files) != (1 if model.name == "Invoke" else 0):
        raise WrongUsage(f"Unknown options: {', '.join(files) or 'the file for the answer is missing'}")
    if waiter is not None:
        waiter.wait(**given)
        return 0
    found = getattr(client, operation.replace("-", "_"))(**given)
    found.pop("ResponseMetadata", None)
    if files:
        Path(files[0]).write_bytes(found.pop("Payload").read())
    if "--query" in own:
        found = jmespath.search(own["--query"], found)
    if found not in ({}, None):
        plain = own.get("--output") == "text"
        print(as_text(found) if plain else json.dumps(found, indent=4, default=str))  # noqa: T201
    return 0


def main() -> int:
    try:
        return run(sys.argv[1:])
    except WrongUsage as wrong:
        sys.stderr.write(f"aws: error: {wrong}\n")
        return WRONG_USAGE
    except ClientError as error:
        sys.stderr.write(f"\n{error}\n")
        return REFUSED
    except (WaiterError, BotoCoreError) as error:
        sys.stderr.write(f"\n{error}\n")
        return WAITED_IN_VAIN


if __name__ == "__main__":
    sys.exit(main())
