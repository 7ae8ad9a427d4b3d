"""Typed settings for each service, read from the environment: the only place that does so.

A service validates what it needs and nothing else, and reports every problem at once.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

from groundswell import crash_points
from groundswell.configuration import ipv6_first
from groundswell.configuration.addresses import hosts_of, is_encrypted, is_internal_host
from groundswell.configuration.authorities import verified
from groundswell.configuration.env_file import parse_env_file, read_env_file
from groundswell.configuration.references import is_reference, resolve
from groundswell.configuration.schema import EMBEDDED, PREFIX, Variable, variables
from groundswell.configuration.secret import Secret
from groundswell.configuration.values import Value, parse_value, placeholder_in
from groundswell.core.sealed_keys import parse_feed_key, parse_wallet_key
from groundswell.errors import ConfigError
from groundswell.settings_model import (
    SETTINGS,
    AdminSettings,
    ApiSettings,
    CleanupSettings,
    EmbeddedSettings,
    MigrateSettings,
    MoverSettings,
    RelaySettings,
    Settings,
)

__all__ = [
    "SETTINGS",
    "AdminSettings",
    "ApiSettings",
    "CleanupSettings",
    "Early",
    "EmbeddedSettings",
    "MigrateSettings",
    "MoverSettings",
    "RelaySettings",
    "Secret",
    "Settings",
    "early",
    "foreign_environment",
    "load",
    "origin_of",
    "parse_env_file",
    "read_environment",
]

ENV_FILE = ".env"
S = TypeVar("S", bound=Settings)


def load(kind: type[S], environ: Mapping[str, str] | None = None) -> S:
    """The settings of one service, for example `load(ApiSettings)`.

    `environ` is `read_environment()` where it is not given. An empty variable counts as unset. A secret that is given
    by the ARN of its place in AWS is read from there.

    Raises:
        ConfigError: with every problem: the variable, what is wrong with it, and what would be right.
    """
    given = read_environment() if environ is None else environ
    if given.get("AWS_USE_DUALSTACK_ENDPOINT", "").lower() == "true":
        # Secrets are read below, over IPv6 alone where there is no other way out.
        ipv6_first.install()
    values, problems = _parse_all(kind.service, given)
    problems += _unknown(given)
    if not problems:
        problems += _contradictions(kind.service, values)
    if problems:
        raise ConfigError(problems)
    return kind(**{variable.field: values[variable.name] for variable in _of(kind.service)})


class Early(NamedTuple):
    """As the environment says it, unchecked: `load` says what is wrong."""

    tracing: str
    on_lambda: bool
    """Whether the runtime of AWS Lambda runs this process."""


def early() -> Early:
    """What decides which modules a process imports, which is before it loads its settings."""
    environ = read_environment()
    return Early(
        tracing=environ.get("GROUNDSWELL_TRACING", ""),
        on_lambda=bool(environ.get("AWS_LAMBDA_RUNTIME_API")),
    )


def read_environment(folder: Path | None = None) -> dict[str, str]:
    """The process environment over the `.env` file of `folder` (the current one where not given).

    An empty variable counts as unset: it does not hide what the file says.

    Raises:
        ConfigError: that file cannot be read, or a line of it is not `NAME=value`.
    """
    written = read_env_file((folder or Path.cwd()) / ENV_FILE)
    return {**written, **{name: value for name, value in os.environ.items() if value.strip() or name not in written}}


def foreign_environment() -> dict[str, str]:
    """The process environment without Groundswell's own variables: for a service that is started with its own."""
    return {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}


def origin_of(name: str) -> str:
    """Where a variable that is set comes from: `environment`, or the name of the file."""
    return "environment" if os.environ.get(name, "").strip() else ENV_FILE


def _of(service: str) -> list[Variable]:
    return [variable for variable in variables() if variable.used_by(service)]


def _parse_all(service: str, given: Mapping[str, str]) -> tuple[dict[str, Value], list[str]]:
    values: dict[str, Value] = {}
    problems: list[str] = []
    for variable in _of(service):
        text = given.get(variable.name, "").strip() or variable.default_text
        try:
            value = _kept_secret(variable, text) if _is_kept(variable, text) else parse_value(variable, text)
            values[variable.name] = value
        except ValueError as error:
            problems.append(f"{variable.name}: {error}")
            continue
        if value is None and service in variable.required:
            problems.append(
                f"{variable.name}: is not set, and `groundswell {service}` needs it. "
                f"Set it, for example to {variable.examples[0]}, or use `groundswell up`, which brings its own."
            )
        if isinstance(value, Path) and variable.exists == "file" and not value.is_file():
            found = f"{value} is a folder or a pipe, and no file" if value.exists() else f"there is no file {value}"
            problems.append(f"{variable.name}: {found}. Correct the path, or leave it empty.")
    problems += _database_certificate(values)
    problems += _sealed_feed(service, values)
    if values.get("GROUNDSWELL_ENVIRONMENT") in {"staging", "production"}:
        problems += _outside_development(service, values)
    return values, problems


def _database_certificate(values: dict[str, Value]) -> list[str]:
    """Let the database's address say how its certificate is verified; answers why that cannot be."""
    address, authority = values.get("GROUNDSWELL_DATABASE_URL"), values.get("GROUNDSWELL_DATABASE_CA")
    if isinstance(address, Secret):
        try:
            values["GROUNDSWELL_DATABASE_URL"] = address.changed(lambda url: verified(url, _text(authority)))
        except ValueError as error:
            return [f"GROUNDSWELL_DATABASE_CA: {error}"]
    return []


def _sealed_feed(service: str, values: Mapping[str, Value]) -> list[str]:
    """What is wrong with the keys of a sealed feed, and what is missing, where one is watched."""
    if values.get("GROUNDSWELL_SOURCE") != "sealed" or service not in {"relay", EMBEDDED}:
        return []
    needed = ("GROUNDSWELL_SEALED_URL", "GROUNDSWELL_SEALED_WALLET_KEY", "GROUNDSWELL_SEALED_FEED_KEY")
    built_in = values.get("GROUNDSWELL_ENVIRONMENT") == "development" and all(
        name in values and values[name] is None for name in needed
    )
    problems: list[str] = []
    for name in needed:
        value = values.get(name)
        if name in values and value is None and not built_in:
            examples = next(variable.examples for variable in variables() if variable.name == name)
            problems.append(
                f"{name}: is not set, but GROUNDSWELL_SOURCE is sealed. Set it, for example to {examples[0]}."
            )
        if isinstance(value, Secret):
            try:
                if name == "GROUNDSWELL_SEALED_FEED_KEY":
                    parse_feed_key(value.reveal())
                elif values.get("GROUNDSWELL_SEALED_WALLET_KIND") == "secp256k1":
                    parse_wallet_key(value.reveal(), "secp256k1")
                else:
                    parse_wallet_key(value.reveal(), "ed25519")
            except ValueError as error:
                problems.append(f"{name}: {error}")
    return problems


def _is_kept(variable: Variable, text: str) -> bool:
    """Whether `text` names the place of a secret instead of being one."""
    return variable.secret and is_reference(text)


def _kept_secret(variable: Variable, reference: str) -> Value:
    def read() -> Value:
        return parse_value(variable, resolve(reference).strip())

    value = read()
    return Secret(value.reveal(), lambda: _text(read())) if isinstance(value, Secret) else value


def _contradictions(service: str, values: Mapping[str, Value]) -> list[str]:
    replaying = values.get("GROUNDSWELL_SOURCE") == "replay" and service in {"relay", EMBEDDED}
    if replaying and values.get("GROUNDSWELL_REPLAY_FILE") is None:
        return [
            "GROUNDSWELL_REPLAY_FILE: is not set, but GROUNDSWELL_SOURCE is replay. "
            "Set it to a recording, for example recordings/monday.jsonl.zst."
        ]
    return _drilled(values)


def _drilled(values: Mapping[str, Value]) -> list[str]:
    """What is wrong with the variables that are there for drills alone."""
    if values.get("GROUNDSWELL_ENVIRONMENT") == "production":
        names = ("GROUNDSWELL_CRASH_POINT", "GROUNDSWELL_CLOCK_SKEW")
        return [f"{name}: is for drills, and this is production. Remove it." for name in names if values.get(name)]
    place = values.get("GROUNDSWELL_CRASH_POINT")
    if not isinstance(place, str):
        return []
    try:
        crash_points.parse(place)
    except ValueError as error:
        return [f"GROUNDSWELL_CRASH_POINT: {error}"]
    return []


def _outside_development(service: str, values: Mapping[str, Value]) -> list[str]:
    environment = values["GROUNDSWELL_ENVIRONMENT"]
    problems: list[str] = []
    addressed = [variable for variable in _of(service) if variable.visibility]
    urls = {variable.name: _text(values.get(variable.name)) for variable in addressed}
    public_hosts = {
        host: variable.name
        for variable in addressed
        if variable.visibility == "public"
        for host in hosts_of(urls[variable.name])
    }
    for variable in _of(service):
        value = values.get(variable.name)
        if isinstance(value, Secret) and placeholder_in(variable, value):
            problems.append(
                f"{variable.name}: still holds a placeholder, which is refused in {environment}. Set the real secret."
            )
    for variable in addressed:
        url = urls[variable.name]
        internal = [host for host in hosts_of(url) if is_internal_host(host)]
        outside = [host for host in hosts_of(url) if not is_internal_host(host)]
        if variable.visibility == "public" and internal:
            problems.append(
                f"{variable.name}: {internal[0]} is an internal address, which browsers cannot reach in "
                f"{environment}. Set the public one, for example {variable.examples[0]}."
            )
        elif variable.visibility == "public" and url and not is_encrypted(url):
            problems.append(
                f"{variable.name}: {url} is not encrypted, and browsers refuse it on an https page. "
                f"Use {variable.schemes[0] if is_encrypted(f'{variable.schemes[0]}://') else 'https'}://."
            )
        if variable.visibility == "internal":
            problems += [
                f"{variable.name}: {host} is the public address of {public_hosts[host]}. "
                f"Set the internal one, for example {_hostname(variable)}."
                for host in outside
                if host in public_hosts
            ]
            if outside and not is_encrypted(url):
                remedy = "add sslmode=require" if url.startswith("postgres") else "use https://"
                problems.append(
                    f"{variable.name}: {outside[0]} is on the public internet and the connection is not "
                    f"encrypted, so secrets and data could be read on the way. To mend it, {remedy}."
                )
    return problems


def _hostname(variable: Variable) -> str:
    return next(iter(hosts_of(variable.examples[0])), variable.examples[0])


def _text(value: Value) -> str:
    if isinstance(value, Secret):
        return value.reveal()
    return value if isinstance(value, str) else ""


def _unknown(given: Mapping[str, str]) -> list[str]:
    known = {variable.name.removeprefix(PREFIX) for variable in variables()}
    problems: list[str] = []
    for name in sorted(given):
        if not name.upper().startswith(PREFIX) or name.removeprefix(PREFIX) in known or not given[name].strip():
            continue
        # Without what all names share, which would make any two of them look alike.
        close = difflib.get_close_matches(name.upper().removeprefix(PREFIX), known, n=1, cutoff=0.75)
        hint = (
            f"Did you mean {PREFIX}{close[0]}?" if close else "Remove it; `groundswell env list` shows all there are."
        )
        problems.append(f"{name}: nothing reads this variable. {hint}")
    return problems
