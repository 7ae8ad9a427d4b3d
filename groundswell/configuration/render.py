"""The files that are made from env.schema.json: the settings' types, `.env.example`, and the documentation."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from groundswell.configuration.schema import EMBEDDED, SERVICES, Kind, Variable
from groundswell.configuration.values import describe_range

WIDTH = 110
_HINTS: Mapping[Kind, str] = {
    "text": "str",
    "integer": "int",
    "number": "float",
    "speed": 'float | Literal["max"]',
    "list": "tuple[str, ...]",
    "path": "Path",
    "url": "str",
}


def render_all(variables: Sequence[Variable]) -> dict[Path, str]:
    """Every generated file: its path below the repository root, and its text."""
    return {
        Path("groundswell/settings_model.py"): render_model(variables),
        Path(".env.example"): render_env_example(variables),
        Path("docs/configuration.md"): render_docs(variables),
    }


def render_model(variables: Sequence[Variable]) -> str:
    services = [name for name in SERVICES if any(name in variable.services for variable in variables)]
    parts = [_MODEL_HEAD]
    for service in [*services, EMBEDDED]:
        fields = [variable for variable in variables if variable.used_by(service)]
        about = "`groundswell up` needs: everything" if service == EMBEDDED else f"the service `{service}` needs"
        parts.append(
            f"class {_class_name(service)}(Settings, frozen=True, kw_only=True):\n"
            f'    """What {about}."""\n\n'
            f'    service: ClassVar[str] = "{service}"\n\n' + "".join(_field(variable, service) for variable in fields)
        )
    names = "".join(f"    {_class_name(service)},\n" for service in [*services, EMBEDDED])
    parts.append(f"SETTINGS: tuple[type[Settings], ...] = (\n{names})\n")
    return "\n\n".join(parts)


def render_env_example(variables: Sequence[Variable]) -> str:
    lines = [
        "# Every variable of Groundswell with its default. Copy this file to `.env` and uncomment what you change.",
        "# Made from env.schema.json by `make generate`: edit that instead.",
    ]
    group = ""
    for variable in variables:
        if variable.group != group:
            group = variable.group
            lines += ["", f"# ---- {group}"]
        lines += ["", *textwrap.wrap(variable.description, WIDTH - 2, initial_indent="# ", subsequent_indent="# ")]
        lines.append(f"# Used by: {', '.join(variable.services)}. For example: {variable.examples[0]}")
        lines.append(f"#{variable.name}={variable.default_text}")
    return "\n".join(lines) + "\n"


def render_docs(variables: Sequence[Variable]) -> str:
    lines = [_DOCS_HEAD]
    group = ""
    for variable in variables:
        if variable.group != group:
            group = variable.group
            lines.append(f"\n## {group}\n\n| Variable | Values | Default | What it does | Used by |")
            lines.append("| --- | --- | --- | --- | --- |")
        lines.append(f"| {' | '.join(_cells(variable))} |")
    return "\n".join(lines) + "\n"


def _cells(variable: Variable) -> list[str]:
    about = variable.description + f" Example: `{variable.examples[0]}`."
    if variable.secret:
        about += " **Secret.**"
    if variable.required:
        about += f" Required by {' and '.join(variable.required)}."
    default = f"`{variable.default_text}`" if variable.default_text else "empty"
    cells = [f"`{variable.name}`", describe_values(variable), default, about, ", ".join(variable.services)]
    return [cell.replace("|", "\\|") for cell in cells]


def describe_values(variable: Variable) -> str:  # noqa: PLR0911 -- one for each kind
    """What may be written there, in a few words."""
    match variable.kind:
        case "choice":
            return ", ".join(f"`{word}`" for word in variable.enum)
        case "integer" | "number":
            return describe_range(variable)
        case "speed":
            return "a number above 0, or `max`"
        case "list":
            return "list"
        case "path":
            return "path of a file" if variable.exists else "path"
        case "url":
            return f"{variable.visibility or 'any'} URL ({', '.join(f'`{scheme}://`' for scheme in variable.schemes)})"
        case "text":
            return "text"


def _class_name(service: str) -> str:
    return f"{service.capitalize()}Settings"


def _field(variable: Variable, service: str) -> str:
    hint = "Secret" if variable.secret else _HINTS.get(variable.kind, "")
    if variable.kind == "choice":
        words = ", ".join(f'"{word}"' for word in variable.enum)
        hint = f"Literal[{words}]"
    if variable.optional and service not in variable.required:
        hint += " | None"
    text = f'"""{variable.description}"""'
    if len(text) + 4 > WIDTH:
        text = "\n    ".join(textwrap.wrap(text, WIDTH - 4))
    return f"    {variable.field}: {hint}\n    {text}\n"


_MODEL_HEAD = '''\
"""The settings of each service. Made from env.schema.json by `make generate`: edit that instead."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

import msgspec

from groundswell.configuration.secret import Secret


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What every service's settings have in common."""

    service: ClassVar[str]
'''

_DOCS_HEAD = """\
# Configuration

Everything is set with environment variables, or in a file `.env` in the folder that Groundswell is started from;
the environment wins. Each service reads only what is listed for it and checks it before it does anything else: if
something is wrong, it prints every problem at once and exits with code 78. `groundswell env check` does the same
without starting anything, and `groundswell doctor` also connects to what is configured.

- An empty variable counts as unset, wherever it stands: an empty one in the environment does not hide what the file
  `.env` says. Lists are written with commas.
- In the file `.env` a value may stand in quotes; the first closing quote ends it, and `#` begins a comment, after the
  quote or after a space. Escapes such as `\\n` count in double quotes, `$` means nothing, and of a name that stands
  twice the last counts. `export`, CRLF, a byte order mark and UTF-16 are read as they come. An error names file and
  line.
- Variables of other programs have no say: libpq's (`PGHOSTADDR`, `PGSERVICE`, `PGCLIENTENCODING`, …) are forgotten at
  start, and proxies (`HTTP_PROXY`, `ALL_PROXY`, …) are used for what lies outside this machine only.
- Addresses are stored in one spelling: lower-case scheme and host, no default port, **no trailing slash**.
- *Public* addresses are for browsers. Outside development they may not be internal ones (`localhost`, private
  ranges, `*.internal`, one-word service names) and have to be encrypted. *Internal* addresses are for the services
  among themselves; they may not be the public ones, and across the public internet they have to be encrypted.
- Outside development a secret that is still a placeholder (`changeme`, `<…>`, `your-…`) is refused.
- A variable that begins with `GROUNDSWELL_` and is not listed here is an error: it is probably misspelt.

This page is made from [`env.schema.json`](../env.schema.json) by `make generate`."""
