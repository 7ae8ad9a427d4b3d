"""env.schema.json as typed values: the single source of truth for configuration."""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

PREFIX = "GROUNDSWELL_"
SCHEMA_FILE = "env.schema.json"

Kind: TypeAlias = Literal["text", "choice", "integer", "number", "speed", "list", "path", "url"]

SERVICES = ("relay", "api", "mover", "cleanup", "agents", "migrate", "costs", "admin", "vectors")
EMBEDDED = "embedded"
"""`groundswell up`: every service in one process, so every variable of all of them."""


class Items(msgspec.Struct, frozen=True):
    pattern: str | None = None
    format: str | None = None


class Variable(msgspec.Struct, frozen=True, rename={"one_of": "anyOf"}):
    """One property of the schema; `name` is its key."""

    description: str
    examples: tuple[str, ...]
    default: str | float | int | tuple[str, ...]
    name: str = ""
    type: str = "string"
    format: str | None = None
    enum: tuple[str, ...] = ()
    pattern: str | None = None
    items: Items = Items()
    one_of: tuple[msgspec.Raw, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = msgspec.field(default=None, name="exclusiveMinimum")
    group: str = msgspec.field(default="General", name="x-group")
    services: tuple[str, ...] = msgspec.field(default=(), name="x-services")
    required: tuple[str, ...] = msgspec.field(default=(), name="x-required")
    secret: bool = msgspec.field(default=False, name="x-secret")
    visibility: Literal["public", "internal"] | None = msgspec.field(default=None, name="x-visibility")
    schemes: tuple[str, ...] = msgspec.field(default=(), name="x-schemes")
    default_path: str = msgspec.field(default="", name="x-default-path")
    exists: Literal["file"] | None = msgspec.field(default=None, name="x-exists")

    @property
    def field(self) -> str:
        """The settings' attribute: `GROUNDSWELL_API_PORT` is `api_port`."""
        return self.name.removeprefix(PREFIX).lower()

    @property
    def kind(self) -> Kind:
        if self.type == "array":
            return "list"
        if self.one_of:
            return "speed"
        if self.enum:
            return "choice"
        by_format: dict[str | None, Kind] = {"path": "path", "uri": "url"}
        by_type: dict[str, Kind] = {"integer": "integer", "number": "number"}
        return by_type.get(self.type) or by_format.get(self.format, "text")

    @property
    def optional(self) -> bool:
        """Whether an empty value is meaningful: the attribute is then None."""
        return self.default == ""

    @property
    def default_text(self) -> str:
        """The default as it would be written in the environment."""
        if isinstance(self.default, tuple):
            return ",".join(self.default)
        return f"{self.default:g}" if isinstance(self.default, float) else str(self.default)

    def used_by(self, service: str) -> bool:
        return service == EMBEDDED or service in self.services


class _Document(msgspec.Struct, frozen=True):
    properties: dict[str, Variable]


def parse_schema(document: bytes) -> tuple[Variable, ...]:
    """The variables in the document's order. Raises msgspec.ValidationError for a schema that is not ours."""
    properties = msgspec.json.decode(document, type=_Document).properties
    return tuple(msgspec.structs.replace(variable, name=name) for name, variable in properties.items())


@cache
def variables() -> tuple[Variable, ...]:
    """Every variable that there is."""
    return parse_schema(schema_path().read_bytes())


def variable_named(name: str) -> Variable:
    """Return the variable of this name. Raises StopIteration where there is none."""
    return next(variable for variable in variables() if variable.name == name)


def schema_path() -> Path:
    """Where the schema lies: inside an installed package, or at the root of a checkout."""
    package = Path(str(resources.files("groundswell")))
    installed = package / SCHEMA_FILE
    return installed if installed.exists() else package.parent / SCHEMA_FILE
