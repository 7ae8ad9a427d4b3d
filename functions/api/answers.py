"""How answers leave: JSON with an entity tag, and the listing shape that all lists share.

Answers are encoded once, straight from plain values; the models in `models.py` describe them, and the tests hold every
answer against its model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import TypeVar

import msgspec
from fastapi import Request
from starlette.responses import Response

from groundswell.core.instants import rfc3339
from groundswell.core.posts import Micros

LIST_MAX_AGE_S = 2
"""Long enough to absorb a crowd that polls, short enough that nobody notices."""
STEADY_MAX_AGE_S = 60
MAX_ANSWER_BYTES = 4_500_000
"""Bytes of rows in one answer. In base64 they are 6.0 MB: AWS Lambda refuses results above 6,291,556 bytes."""

Row = TypeVar("Row")


def json_answer(
    request: Request,
    body: Mapping[str, object],
    *,
    max_age_s: int = LIST_MAX_AGE_S,
    as_of: Micros | None = None,
    status_code: int = 200,
) -> Response:
    """`body` as JSON; 304 without a body where the client has it already.

    `as_of` is added to the body but not to what the tag is made of: the same data a moment later is the same answer.
    """
    encoded = msgspec.json.encode(body)
    tag = f'W/"{hashlib.blake2b(encoded, digest_size=12).hexdigest()}"'
    # What a reader with a key sees is for that reader alone, whatever lies in between.
    shared = "private, no-cache" if "authorization" in request.headers else f"public, max-age={max_age_s}"
    headers = {"ETag": tag, "Cache-Control": shared, "Vary": "Accept, Accept-Encoding, Authorization"}
    if status_code == 200 and _is_known(tag, request.headers.getlist("if-none-match")):
        return Response(status_code=304, headers=headers)
    if as_of is not None:
        separator = b"," if len(encoded) > 2 else b""
        encoded = b'%b%b"as_of":"%b"}' % (encoded[:-1], separator, rfc3339(as_of).encode())
    return Response(encoded, status_code=status_code, headers=headers, media_type="application/json")


def list_answer(
    request: Request,
    data: Sequence[object],
    *,
    next_cursor: str | None,
    as_of: Micros,
    degraded: Iterable[str],
    **more: object,
) -> Response:
    """The shape of every listing: `data`, `next_cursor`, `as_of`, `degraded`, and what is particular to one."""
    body = {"data": data, "next_cursor": next_cursor, "degraded": sorted(set(degraded)), **more}
    return json_answer(request, body, as_of=as_of)


def page_answer(
    request: Request,
    rows: Sequence[Row],
    limit: int,
    encode: Callable[[Row], object],
    cursor_of: Callable[[Row], str],
    *,
    as_of: Micros,
    degraded: Iterable[str],
) -> Response:
    """One page of a listing: at most `limit` of `rows`, and fewer where they are more than `MAX_ANSWER_BYTES`.

    `rows` holds one row more than `limit` where there is a next page.
    """
    page = fitting(encode(row) for row in rows[:limit])
    cursor = cursor_of(rows[len(page) - 1]) if len(page) < len(rows) else None
    return list_answer(request, page, next_cursor=cursor, as_of=as_of, degraded=degraded)


def fitting(values: Iterable[object], limit_bytes: int = MAX_ANSWER_BYTES) -> list[msgspec.Raw]:
    """The first of `values`, as JSON, that are at most `limit_bytes` together; at least one."""
    encoded = [msgspec.json.encode(value) for value in values]
    sizes = accumulate(len(value) + 1 for value in encoded)
    return [msgspec.Raw(value) for value, size in zip(encoded, sizes, strict=True) if size <= limit_bytes] or [
        msgspec.Raw(value) for value in encoded[:1]
    ]


def _is_known(tag: str, given: Sequence[str]) -> bool:
    """Weak comparison (RFC 9110, 13.1.2)."""
    known = {value.strip().removeprefix("W/") for header in given for value in header.split(",")}
    return "*" in known or tag.removeprefix("W/") in known
