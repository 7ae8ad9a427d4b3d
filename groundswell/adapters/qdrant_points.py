"""How a post lies in Qdrant: its vector as whole numbers, its payload under short names, and filters over both.

A unit vector is kept as one unsigned byte a dimension (datatype `uint8`) and compared by Euclidean distance, which
orders unit vectors as their cosine does: |a - b|² = 2 - 2 cos(a, b). There is no second copy of it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import msgspec

from groundswell.ports.vectors import SearchFilters, Space, Vector, VectorPoint, Within

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

STEPS = 127
"""Whole numbers on each side of zero."""
ZERO = 128
_WIDEST = 4.0
"""Components of a unit vector have a standard deviation of 1/sqrt(dimensions). Those beyond four of it are clipped:
measured, that keeps 99.2% of the true nearest ten, and a wider range keeps less."""

Json = dict[str, Any]


class PayloadFields(msgspec.Struct, frozen=True):
    """The names of a payload's fields."""

    entities: str
    author: str
    lang: str
    source: str
    event_time: str
    """Whole microseconds: exact as the 64-bit floats of range filters until the year 2255."""
    pk: str
    """The point's own id once more: ids cannot be filtered by range."""
    fingerprint: str
    authors_are_hashed: bool


FIELDS = PayloadFields("e", "a", "l", "s", "t", "k", "f", authors_are_hashed=True)
"""Short, and the author as a number: a payload of up to 128 bytes takes one block of the storage, a longer one two."""
EARLIER_FIELDS = PayloadFields(
    "entities", "author", "lang", "source", "event_time", "pk", "fingerprint", authors_are_hashed=False
)
"""Of the collection that earlier releases wrote."""


def range_of(space: Space) -> float:
    """The largest component that is kept as it is."""
    return min(1.0, _WIDEST / math.sqrt(space.dimensions))


def encoded(space: Space, rows: npt.NDArray[np.float32]) -> list[list[int]]:
    """Vectors of `space` as they are stored and asked with. Shape (vectors, dimensions)."""
    import numpy as np

    exact = np.asarray(rows, np.float64)
    units = exact / np.maximum(np.linalg.norm(exact, axis=1, keepdims=True), 1e-12)
    steps: npt.NDArray[np.float64] = np.rint(units * (STEPS / range_of(space))) + ZERO
    return steps.clip(ZERO - STEPS, ZERO + STEPS).astype(np.int64).tolist()


def cosine_of(space: Space, distance: float) -> float:
    """The cosine of two vectors whose encoded forms are `distance` apart."""
    scale = STEPS / range_of(space)
    return max(-1.0, 1.0 - distance * distance / (2.0 * scale * scale))


def bodies(points: Sequence[VectorPoint]) -> list[tuple[Space, list[Json]]]:
    """The points as Qdrant takes them, by space, in order."""
    import numpy as np

    found: dict[Space, list[Json]] = {}
    for space, group in groupby(points, key=lambda point: point.vector.space):
        some = list(group)
        rows = encoded(space, np.asarray([point.vector.values for point in some]))
        found.setdefault(space, []).extend(
            {"id": point.pk, "vector": row, "payload": payload(point.payload)}
            for point, row in zip(some, rows, strict=True)
        )
    return list(found.items())


def payload(given: Mapping[str, object]) -> Json:
    """What is stored of a post's payload. A field without a value is left out."""
    stored: Json = {}
    for name in ("entities", "author", "lang", "source", "event_time", "pk", "fingerprint"):
        value = given.get(name)
        if value is not None and value != []:
            stored[getattr(FIELDS, name)] = author_number(str(value)) if name == "author" else value
    return stored


def author_number(author: str) -> int:
    """A signed 64-bit number for an author. Two of 300,000 authors share one in 1 of 400 million collections."""
    return int.from_bytes(hashlib.blake2b(author.encode("utf-8", "replace"), digest_size=8).digest(), signed=True)


def payload_indexes() -> dict[str, Json]:
    """The index of each field, by the field's name. They lie on disk: in memory they would take most of it."""
    keyword = {"type": "keyword", "memory": "cold"}
    ordered = {"type": "integer", "lookup": False, "range": True, "memory": "cold"}
    looked_up = {"type": "integer", "lookup": True, "range": False, "memory": "cold"}
    return {
        FIELDS.entities: keyword,
        FIELDS.author: looked_up,
        FIELDS.lang: keyword,
        FIELDS.source: keyword,
        FIELDS.event_time: ordered,
        FIELDS.pk: ordered,
        FIELDS.fingerprint: looked_up,
    }


def filter_of(filters: SearchFilters, within: Within, fields: PayloadFields = FIELDS) -> Json | None:
    """Both narrowings as one filter; None where there is nothing to narrow."""
    author: str | int | None = filters.author
    if author is not None and fields.authors_are_hashed:
        author = author_number(str(author))
    wanted: list[tuple[str, str | int | None]] = [
        (fields.author, author),
        (fields.lang, filters.lang),
        (fields.source, filters.source),
        *((fields.entities, entity) for entity in (filters.entity, *within.entities)),
    ]
    must: list[Json] = [{"key": key, "match": {"value": value}} for key, value in wanted if value is not None]
    bounds = {"gte": filters.since, "lt": filters.until}
    times = {name: instant for name, instant in bounds.items() if instant is not None}
    if times:
        must.append({"key": fields.event_time, "range": times})
    # As exclusions, so that points without these fields pass.
    must_not: list[Json] = []
    if within.not_entities:
        must_not.append({"key": fields.entities, "match": {"any": list(within.not_entities)}})
    if within.not_fingerprints:
        must_not.append({"key": fields.fingerprint, "match": {"any": list(within.not_fingerprints)}})
    if within.up_to_pk is not None:
        must_not.append({"key": fields.pk, "range": {"gt": within.up_to_pk}})
    found = {"must": must, "must_not": must_not}
    return {name: conditions for name, conditions in found.items() if conditions} or None


def older_than(instant: int, fields: PayloadFields = FIELDS) -> Json:
    return {"must": [{"key": fields.event_time, "range": {"lt": instant}}]}


def plain(vector: Vector) -> list[float]:
    return [float(value) for value in vector.values]
