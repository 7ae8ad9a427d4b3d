"""A function whose result is as large as its event asks."""

from __future__ import annotations

from typing import Any


def handler(event: dict[str, Any], _: object) -> str:
    return "x" * event["bytes"]
