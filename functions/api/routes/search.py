"""`/v1/search`: posts by words and by meaning."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from functions.api import models
from functions.api.answers import list_answer
from functions.api.parameters import PRINTABLE, Limit, PostFilters, YesNo, accepts, parse_cursor
from functions.api.services import Given
from groundswell.core.frames import post_json
from groundswell.core.paging import OFFSET_CURSOR, decode_offset_cursor, encode_offset_cursor
from groundswell.ports import SearchAnswer, SearchHit

router = APIRouter(tags=["search"], dependencies=[Depends(accepts("application/json"))])

DEEPEST_RANK = 1000
"""Ranking further down means little and costs much."""


@router.get("/v1/search", response_model=models.SearchList)
async def search(
    *,
    request: Request,
    api: Given,
    filters: PostFilters,
    q: Annotated[
        str, Query(description="What to look for, in any words.", min_length=1, max_length=500, pattern=PRINTABLE)
    ],
    limit: Limit = 20,
    cursor: Annotated[str | None, Query(pattern=OFFSET_CURSOR)] = None,
    explain: Annotated[bool, Query(description="Say which leg ranked each hit where."), YesNo] = False,
) -> Response:
    """The best matches first, by words and by meaning together. `legs` and `degraded` say what took part."""
    offset = parse_cursor(decode_offset_cursor, cursor) or 0
    wanted = min(limit, DEEPEST_RANK - offset)
    if wanted > 0 and q.strip():
        found = await api.services.search.search(q, filters, wanted, offset)
    else:
        found = SearchAnswer(hits=[], legs=[], degraded=[])
    status, now = await api.condition.status(), await api.condition.now()
    reached = offset + len(found.hits)
    more = len(found.hits) == limit and reached < DEEPEST_RANK
    return list_answer(
        request,
        [_hit_json(hit, explain=explain) for hit in found.hits],
        next_cursor=encode_offset_cursor(reached) if more else None,
        as_of=now,
        degraded=[*status.degraded, *found.degraded],
        legs=found.legs,
    )


def _hit_json(hit: SearchHit, *, explain: bool) -> dict[str, Any]:
    body = {"post": post_json(hit.post), "score": hit.score}
    return {**body, "ranks": hit.ranks} if explain else body
