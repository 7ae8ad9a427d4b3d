"""Named queries: each `.sql` file holds statements under `-- name: …` lines, each with a comment."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from typing import LiteralString, cast

_NAME = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)


@cache
def queries(file: str) -> dict[str, LiteralString]:
    """The statements of `groundswell/sql/{file}.sql` by name.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a name appears twice.
    """
    text = resources.files("groundswell.sql").joinpath(f"{file}.sql").read_text("utf-8")
    parts = _NAME.split(text)[1:]
    found: dict[str, LiteralString] = {}
    for name, body in zip(parts[::2], parts[1::2], strict=True):
        if name in found:
            raise ValueError(f"{file}.sql names {name!r} twice: rename one of them")
        found[name] = cast(LiteralString, body.strip())  # ours, read from the package: as literal as code
    return found
