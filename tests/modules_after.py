"""The API's function, with a result that names the modules which an event imported."""

from __future__ import annotations

import sys
from typing import Any

from functions.api import handler as api

_KNOWN = set(sys.modules)


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    answer = api.handler(event, context)
    new = sorted(set(sys.modules) - _KNOWN)
    _KNOWN.update(new)
    return {"status": answer["statusCode"], "imported": new}
