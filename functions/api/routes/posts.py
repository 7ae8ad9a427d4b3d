"""`/v1/posts`: what was said, newest first."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request
from starlette.responses import Response

from functions.api.answers import STEADY_MAX_AGE_S, json_answer, page_answer
from functions.api.keys import ReaderFilters, SignedIn
from functions.api.parameters import Limit, PostId, parse_cursor
from functions.api.routing import JSON, router_of
from functions.api.services import Given
from groundswell.core.frames import post_json
from groundswell.core.paging import TIME_CURSOR, decode_time_cursor, encode_time_cursor
from groundswell.errors import NotFound
from groundswell.ports.archive import ArchivedPost

router = router_of("posts", JSON)


@router.get("/v1/posts", response_model="PostList")
async def list_posts(
    *,
    request: Request,
    api: Given,
    filters: ReaderFilters,
    limit: Limit = 50,
    cursor: Annotated[str | None, Query(pattern=TIME_CURSOR)] = None,
) -> Response:
    """Posts that pass the filters, newest first. Pages do not shift while new posts arrive."""
    after = parse_cursor(decode_time_cursor, cursor)
    rows = await api.services.reads.posts(filters, limit + 1, after)
    status, now = await api.condition.status(), await api.condition.now()
    return page_answer(
        request,
        rows,
        limit,
        lambda row: post_json(row.post),
        lambda row: encode_time_cursor(row.post.event_time, row.pk),
        as_of=now,
        degraded=status.degraded,
    )


@router.get("/v1/posts/{id:path}", response_model="PostAnswer")
async def read_post(
    request: Request,
    api: Given,
    id: PostId,
    signed_in: SignedIn,
) -> Response:
    """One post by its id, wherever it is. `archived`: it is too old for listings and search, and in the archive."""
    found = await api.services.post(id, signed_in=signed_in)
    if found is None:
        raise NotFound(
            "There is no such post: it was never seen, was deleted or is hidden, or its author shows it to signed-in "
            "readers only (send an API key)."
        )
    now = await api.condition.now()
    body = {"data": post_json(found.post), "archived": isinstance(found, ArchivedPost)}
    return json_answer(request, body, as_of=now, max_age_s=STEADY_MAX_AGE_S)
