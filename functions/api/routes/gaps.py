"""`/v1/gaps`: when a source was not being watched, and why."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query, Request
from starlette.responses import Response

from functions.api.answers import page_answer
from functions.api.parameters import Limit, Since, SourceFilter, Until, parse_cursor, parse_instant
from functions.api.routing import JSON, router_of
from functions.api.services import Given
from groundswell.core.instants import rfc3339
from groundswell.core.paging import TIME_CURSOR, decode_time_cursor, encode_time_cursor
from groundswell.ports.reading import GapRow

router = router_of("platform", JSON)


@router.get("/v1/gaps", response_model="GapList")
async def list_gaps(
    *,
    request: Request,
    api: Given,
    source: SourceFilter = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 50,
    cursor: Annotated[str | None, Query(pattern=TIME_CURSOR)] = None,
) -> Response:
    """Gaps that overlap the range asked for, newest first."""
    rows = await api.services.reads.gaps(
        limit + 1,
        parse_cursor(decode_time_cursor, cursor),
        source=source,
        since=parse_instant("since", since),
        until=parse_instant("until", until),
    )
    status, now = await api.condition.status(), await api.condition.now()
    return page_answer(
        request,
        rows,
        limit,
        gap_json,
        lambda gap: encode_time_cursor(gap.started_at, gap.id),
        as_of=now,
        degraded=status.degraded,
    )


def gap_json(gap: GapRow) -> dict[str, Any]:
    return {
        "id": gap.id,
        "source": gap.source,
        "cause": gap.cause,
        "detail": gap.detail,
        "started_at": rfc3339(gap.started_at),
        "ended_at": None if gap.ended_at is None else rfc3339(gap.ended_at),
        "backfilled": gap.backfilled,
        "opened_at": rfc3339(gap.opened_at),
        "closed_at": None if gap.closed_at is None else rfc3339(gap.closed_at),
    }
