"""`/v1/search` and `/v1/posts/{id}/similar`: posts by words and by meaning."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import Query, Request
from starlette.responses import Response

from functions.api.answers import fitting, list_answer
from functions.api.keys import ReaderFilters
from functions.api.parameters import Limit, PostId, YesNo, parse_cursor
from functions.api.routing import JSON, router_of
from functions.api.services import Api, Given
from groundswell.core.frames import post_json
from groundswell.core.paging import SEARCH_CURSOR, decode_search_cursor, encode_search_cursor
from groundswell.core.queries import post_named
from groundswell.ports.archive import ArchivedPost
from groundswell.ports.search import SearchAnswer, SearchHit, SearchPlace
from groundswell.ports.storing import StoredPost
from groundswell.ports.vectors import SearchFilters

router = router_of("search", JSON)

MAX_QUERY_CHARACTERS = 10_000
EVERY_POST = (SearchFilters(), SearchFilters(signed_in=True))
ID = "id"
"""The leg of a search that names a post."""


Cursor = Annotated[str | None, Query(pattern=SEARCH_CURSOR)]
Explain = Annotated[
    bool, Query(description="Say which leg ranked each hit where, and what that added to its score."), YesNo
]


@router.get("/v1/search", response_model="SearchList")
async def search(
    *,
    request: Request,
    api: Given,
    filters: ReaderFilters,
    q: Annotated[
        str,
        Query(
            description="What to look for, in any words; the newest posts where there are none.",
            max_length=MAX_QUERY_CHARACTERS,
            examples=['"rate cut" -crypto $BTC'],
        ),
    ],
    limit: Limit = 20,
    cursor: Cursor = None,
    explain: Explain = False,
) -> Response:
    """The best matches first, by words and by meaning together; one post stands for its copies.

    `legs` and `degraded` say what took part. Pages do not shift while new posts arrive. Where `q` is a post's id or its
    address, that post is the answer, also if it is archived.
    """
    named = post_named(q)
    if named is not None and filters in EVERY_POST and cursor is None:
        post = await api.services.post(named, signed_in=filters.signed_in)
        if post is not None:
            return await _answer(request, api, _only(post), explain=explain)
    found = await _fitting_page(api, q, filters, limit, after=_place(cursor), explain=explain)
    return await _answer(request, api, found, explain=explain)


@router.get("/v1/posts/{id:path}/similar", response_model="SearchList")
async def similar(
    *,
    request: Request,
    api: Given,
    id: PostId,
    filters: ReaderFilters,
    limit: Limit = 20,
    cursor: Cursor = None,
    explain: Explain = False,
) -> Response:
    """What is about the same as a post: by its meaning, and by the entities it shares. Without its copies."""
    found = await _fitting_page(api, "", filters, limit, like=id, after=_place(cursor), explain=explain)
    return await _answer(request, api, found, explain=explain)


async def _fitting_page(
    api: Api,
    q: str,
    filters: SearchFilters,
    limit: int,
    *,
    after: SearchPlace | None,
    explain: bool,
    like: str | None = None,
) -> SearchAnswer:
    """A page of a search, with fewer hits than `limit` where those would be more than one answer carries."""
    found = await api.services.search.search(q, filters, limit, like=like, after=after)
    fits = len(fitting(_hit_json(hit, explain=explain) for hit in found.hits))
    if fits == len(found.hits):
        return found
    # The ranking is remembered: this tells where the shorter page ends.
    return await api.services.search.search(q, filters, fits, like=like, after=after)


def _only(found: StoredPost | ArchivedPost) -> SearchAnswer:
    archived = isinstance(found, ArchivedPost)
    hit = SearchHit(found.pk, found.post, 1.0, {ID: 1}, {ID: 1.0}, archived=archived)
    return SearchAnswer(hits=[hit], legs=[ID], degraded=[])


def _place(cursor: str | None) -> SearchPlace | None:
    """Raises `InvalidRequest`."""
    place = parse_cursor(decode_search_cursor, cursor)
    return None if place is None else SearchPlace(*place)


async def _answer(request: Request, api: Given, found: SearchAnswer, *, explain: bool) -> Response:
    status, now = await api.condition.status(), await api.condition.now()
    return list_answer(
        request,
        [_hit_json(hit, explain=explain) for hit in found.hits],
        next_cursor=None if found.next is None else encode_search_cursor(*msgspec.structs.astuple(found.next)),
        as_of=now,
        degraded=[*status.degraded, *found.degraded],
        legs=found.legs,
    )


def _hit_json(hit: SearchHit, *, explain: bool) -> dict[str, Any]:
    body = {
        "post": post_json(hit.post),
        "score": hit.score,
        "similar": hit.similar,
        "highlights": hit.highlights,
        "archived": hit.archived,
    }
    return {**body, "ranks": hit.ranks, "parts": hit.parts} if explain else body
