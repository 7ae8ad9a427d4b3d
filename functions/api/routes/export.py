"""`/v1/export`: posts in bulk, as newline-delimited JSON or CSV."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import Callable
from typing import Annotated, Literal

import msgspec
from fastapi import Query, Request
from starlette.responses import Response

from functions.api.answers import MAX_ANSWER_BYTES
from functions.api.edge import HEAD_SCOPE_KEY
from functions.api.keys import ReaderFilters
from functions.api.parameters import Whole, YesNo, choose_media_type, parse_cursor
from functions.api.routing import router_of
from functions.api.services import Api, Given
from groundswell.core.frames import post_json
from groundswell.core.paging import TIME_CURSOR, decode_time_cursor, encode_time_cursor
from groundswell.core.posts import Micros, Post
from groundswell.ports.time_budget import renew_budget
from groundswell.ports.vectors import SearchFilters

router = router_of("posts")

NDJSON, CSV = "application/x-ndjson", "text/csv"
MAX_POSTS = 100_000
LINES_A_TURN = 50
"""Posts that are encoded in one turn of the event loop, in about a millisecond."""
CHUNK_POSTS = 200
PAGE_S = 10.0
"""A page that took this long to read ends: API Gateway gives an answer 30 seconds."""
COLUMNS = (
    "id", "source", "author", "text", "lang", "created_at", "event_time", "entities", "reply_to", "quote_of", "url",
    "labels",
)  # fmt: skip
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
ENTITY_SEPARATOR = "|"
"""Stands in no entity key, while names of things hold spaces and commas."""
BYTE_ORDER_MARK = "\ufeff".encode()


@router.get(
    "/v1/export",
    response_class=Response,
    responses={
        200: {
            "content": {NDJSON: {"schema": {"type": "string"}}, CSV: {"schema": {"type": "string"}}},
            "headers": {
                "Link": {
                    "description": 'The next page, as `<…>; rel="next"`, relative to this address. Absent at the end.',
                    "schema": {"type": "string"},
                }
            },
        }
    },
)
async def export_posts(
    *,
    request: Request,
    api: Given,
    filters: ReaderFilters,
    format: Annotated[Literal["ndjson", "csv"] | None, Query(description="Goes before the Accept header.")] = None,
    bom: Annotated[
        bool, Query(description="CSV begins with a byte order mark: Excel reads UTF-8 only with it."), YesNo
    ] = False,
    limit: Annotated[int, Query(description="Most posts of the answer.", ge=1, le=MAX_POSTS), Whole] = 10_000,
    cursor: Annotated[str | None, Query(description="From the `Link` of the page before.", pattern=TIME_CURSOR)] = None,
) -> Response:
    """Posts that pass the filters, newest first, one a line. The header `Link` names the next page.

    A page ends after `limit` posts, or before it exceeds 4.5 MB. In CSV each page begins with the names of the columns,
    entities are separated by `|`, and cells that a spreadsheet would take for a formula start with an apostrophe.
    """
    media_type = _media_type(request, format)
    extension = "csv" if media_type == CSV else "ndjson"
    headers = {
        "Content-Disposition": f'attachment; filename="posts.{extension}"',
        "Cache-Control": "no-store",
        "Vary": "Accept",
    }
    after = parse_cursor(decode_time_cursor, cursor)
    if request.scope.get(HEAD_SCOPE_KEY):
        await api.services.reads.posts(filters, 1, after)  # a store that is away is a 503 here too
        return Response(media_type=media_type, headers=headers)
    page = await _read_page(api, filters, limit, after, _csv_line if media_type == CSV else _json_line)
    if page.last is not None:
        url = request.url.include_query_params(cursor=encode_time_cursor(*page.last))
        headers["Link"] = f'<{url.path}?{url.query}>; rel="next"'
    header = b""
    if media_type == CSV:
        header = (BYTE_ORDER_MARK if bom else b"") + (",".join(COLUMNS) + "\r\n").encode()
    return Response(header + b"".join(page.lines), media_type=media_type, headers=headers)


def _media_type(request: Request, asked: str | None) -> str:
    if asked is not None:
        return CSV if asked == "csv" else NDJSON
    return choose_media_type(request, (NDJSON, CSV))


class _Page(msgspec.Struct):
    lines: list[bytes]
    last: tuple[Micros, int] | None = None
    """Where the page ended, if more may follow."""


async def _read_page(
    api: Api,
    filters: SearchFilters,
    limit: int,
    after: tuple[Micros, int] | None,
    encode: Callable[[Post], bytes],
) -> _Page:
    """Read in chunks, with no connection held in between. Each chunk has the time budget of a request."""
    clock = api.services.clock
    began = clock.monotonic()
    page = _Page([])
    size = 0
    while True:
        wanted = min(CHUNK_POSTS, limit + 1 - len(page.lines))
        posts = await api.services.reads.posts(filters, wanted, after)
        for number, row in enumerate(posts):
            if number % LINES_A_TURN == 0:
                await asyncio.sleep(0)  # others come between
            line = encode(row.post)
            size += len(line)
            if len(page.lines) == limit or (page.lines and size > MAX_ANSWER_BYTES):
                page.last = after
                return page
            page.lines.append(line)
            after = row.post.event_time, row.pk
        if len(posts) < wanted:
            return page
        if clock.monotonic() - began > PAGE_S:
            page.last = after
            return page
        renew_budget()


def _json_line(post: Post) -> bytes:
    return msgspec.json.encode(post_json(post)) + b"\n"


def _csv_line(post: Post) -> bytes:
    text = io.StringIO()
    values = {**post_json(post), "entities": ENTITY_SEPARATOR.join(post.entities)}
    values["labels"] = ENTITY_SEPARATOR.join(post.labels)
    csv.writer(text).writerow([_cell(values[column]) for column in COLUMNS])
    return text.getvalue().encode()


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text
