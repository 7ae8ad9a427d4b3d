"""`/v1/export`: posts in bulk, as newline-delimited JSON or CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter, Query, Request
from starlette.responses import Response, StreamingResponse

from functions.api.edge import HEAD_SCOPE_KEY
from functions.api.parameters import PostFilters, Whole, choose_media_type
from functions.api.services import Given
from groundswell.core.frames import post_json
from groundswell.ports.reading import ReadStore
from groundswell.ports.storing import StoredPost
from groundswell.ports.time_budget import renew_budget
from groundswell.ports.vectors import SearchFilters

router = APIRouter(tags=["posts"])

NDJSON, CSV = "application/x-ndjson", "text/csv"
MAX_POSTS = 100_000
CHUNK_POSTS = 500
COLUMNS = (
    "id", "source", "author", "text", "lang", "created_at", "event_time", "entities", "reply_to", "quote_of", "url",
)  # fmt: skip
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


@router.get(
    "/v1/export",
    response_class=StreamingResponse,
    responses={200: {"content": {NDJSON: {"schema": {"type": "string"}}, CSV: {"schema": {"type": "string"}}}}},
)
async def export_posts(
    *,
    request: Request,
    api: Given,
    filters: PostFilters,
    format: Annotated[Literal["ndjson", "csv"] | None, Query(description="Goes before the Accept header.")] = None,
    limit: Annotated[int, Query(description="Most posts of the answer.", ge=1, le=MAX_POSTS), Whole] = 10_000,
) -> Response:
    """Posts that pass the filters, newest first, one a line. A connection that ends early means a failed export.

    In CSV, cells that a spreadsheet would take for a formula start with an apostrophe.
    """
    media_type = _media_type(request, format)
    encode = _csv_lines if media_type == CSV else _json_lines
    # Before the answer starts, so that a store that is away is a proper 503.
    first = await api.services.reads.posts(filters, min(limit, CHUNK_POSTS))
    wanted = 0 if request.scope.get(HEAD_SCOPE_KEY) else limit
    extension = "csv" if media_type == CSV else "ndjson"
    return StreamingResponse(
        _stream(api.services.reads, filters, wanted, first, encode, header=media_type == CSV),
        media_type=media_type,
        headers={
            "Content-Disposition": f'attachment; filename="posts.{extension}"',
            "Cache-Control": "no-store",
            "Vary": "Accept",
        },
    )


def _media_type(request: Request, asked: str | None) -> str:
    if asked is not None:
        return CSV if asked == "csv" else NDJSON
    return choose_media_type(request, (NDJSON, CSV))


async def _stream(
    reads: ReadStore,
    filters: SearchFilters,
    limit: int,
    posts: Sequence[StoredPost],
    encode: Callable[[Sequence[StoredPost]], bytes],
    *,
    header: bool,
) -> AsyncGenerator[bytes, None]:
    """Chunk by chunk, with no connection held in between: a slow reader costs nobody else."""
    if header:
        yield (",".join(COLUMNS) + "\r\n").encode()
    sent = 0
    while posts and sent < limit:
        yield encode(posts)
        sent += len(posts)
        if len(posts) < CHUNK_POSTS or sent >= limit:
            return
        after = posts[-1].post.event_time, posts[-1].pk
        renew_budget()
        posts = await reads.posts(filters, min(CHUNK_POSTS, limit - sent), after)


def _json_lines(posts: Sequence[StoredPost]) -> bytes:
    return b"".join(msgspec.json.encode(post_json(row.post)) + b"\n" for row in posts)


def _csv_lines(posts: Sequence[StoredPost]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    for row in posts:
        values = {**post_json(row.post), "entities": " ".join(row.post.entities)}
        writer.writerow([_cell(values[column]) for column in COLUMNS])
    return text.getvalue().encode()


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text
