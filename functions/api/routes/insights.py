"""`/v1/insights`: what the agents made of it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Query, Request
from starlette.responses import Response

from functions.api.answers import page_answer
from functions.api.parameters import EntityFilter, Limit, entity_key, parse_cursor
from functions.api.routing import JSON, router_of
from functions.api.services import Given
from groundswell.core.instants import rfc3339
from groundswell.core.paging import TIME_CURSOR, decode_time_cursor, encode_time_cursor
from groundswell.ports.reading import Insight

router = router_of("momentum", JSON)


@router.get("/v1/insights", response_model="InsightList")
async def list_insights(
    *,
    request: Request,
    api: Given,
    kind: Annotated[Literal["pulse", "explain", "digest"] | None, Query(description="Only this kind.")] = None,
    entity: EntityFilter = None,
    limit: Limit = 50,
    cursor: Annotated[str | None, Query(pattern=TIME_CURSOR)] = None,
) -> Response:
    """Insights, newest first, each with the posts that it rests on."""
    after = parse_cursor(decode_time_cursor, cursor)
    key = None if entity is None else entity_key(entity)
    rows = await api.services.reads.insights(limit + 1, after, kind=kind, entity=key)
    status, now = await api.condition.status(), await api.condition.now()
    return page_answer(
        request,
        rows,
        limit,
        _insight_json,
        lambda row: encode_time_cursor(row.created_at, row.id),
        as_of=now,
        degraded=status.degraded,
    )


def _insight_json(row: Insight) -> dict[str, Any]:
    return {
        "id": row.id,
        "kind": row.kind,
        "title": row.title,
        "body": row.body,
        "entities": row.entities,
        "post_ids": row.post_ids,
        "model": row.model,
        "created_at": rfc3339(row.created_at),
    }
