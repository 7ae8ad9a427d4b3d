"""How much one request, one collection and the engine may hold. No request makes the engine grow without a bound.

The first numbers are a Qdrant server's own. A server leaves the others to its strict mode, whose settings have no
default; they are refused here as it refuses them there, with 400.
"""

from __future__ import annotations

from typing import Any, cast

from groundswell.adapters.qdrant_embedded.refused import Refused

MAX_DIMENSIONS = 65_536
MAX_JSON_DEPTH = 128
MAX_BODY_BYTES = 32 * 2**20

MAX_BODIES_BYTES = 2 * MAX_BODY_BYTES
"""Of all requests that are under way."""
MAX_JSON_VALUES = 4_000_000
"""In one body, by its commas: each takes some thirty bytes while it is decoded."""
MAX_COLLECTIONS = 64
MAX_VECTORS = 16
"""In a collection, each with a name."""
MAX_COLLECTION_DIMENSIONS = 2 * MAX_DIMENSIONS
"""Of all vectors of a collection: each shard reserves room for them."""
MAX_INDEXES = 64
MAX_NAME = 255
MAX_POINTS = 10_000
"""In a request that writes, deletes or names points."""
MAX_SEARCHES = 100
"""In a batch."""
MAX_LIMIT = 100_000
"""On what one answer holds, a batch as a whole."""
MAX_ANSWERED_VALUES = 16_000_000
"""Components of vectors in one answer."""
MAX_EF = 10_000
MAX_CONDITIONS = 1_000
"""In a filter, at all depths together."""
MAX_FILTER_DEPTH = MAX_JSON_DEPTH // 4
MAX_CONDITION_ITEMS = 10_000
"""Values that a condition compares with."""
MAX_PAYLOAD_VALUES = 1_000
MAX_PAYLOAD_CHARACTERS = 64 * 1024
"""In one payload."""


def at_most(number: int, limit: int, what: str) -> None:
    """Raises: Refused in the words of a server's strict mode."""
    if number > limit:
        raise Refused(400, f'Bad request: Limit exceeded {number} > {limit} for "{what}"')


def check_payload(payload: Any) -> None:
    """Look at a payload or at settings of any form, without recursion.

    Raises:
        Refused: it is nested too deep, or too large.
    """
    level: list[Any] = [payload]
    depth, values, characters = 0, 0, 0
    while level:
        depth += 1
        at_most(depth, MAX_JSON_DEPTH, "JSON depth")
        inner: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                fields = cast("dict[str, Any]", item)
                inner.extend(fields.values())
                characters += sum(map(len, fields))
            elif isinstance(item, list):
                inner.extend(cast("list[Any]", item))
            elif isinstance(item, str):
                characters += len(item)
        values += len(inner)
        at_most(values, MAX_PAYLOAD_VALUES, "payload values")
        at_most(characters, MAX_PAYLOAD_CHARACTERS, "payload characters")
        level = inner
