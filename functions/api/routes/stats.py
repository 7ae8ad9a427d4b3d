"""`/v1/stats` and `/v1/status`: how much, and how well."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from fastapi import Query, Request
from starlette.responses import Response

from functions.api.answers import json_answer
from functions.api.parameters import Whole
from functions.api.routes.gaps import gap_json
from functions.api.routing import JSON, router_of
from functions.api.services import Given
from groundswell.core.instants import rfc3339
from groundswell.core.status import SIMULATED
from groundswell.ports.reading import ComponentStatus, SourceStatus

router = router_of("platform", JSON)


@router.get("/v1/stats", response_model="StatsAnswer")
async def read_stats(
    request: Request,
    api: Given,
    minutes: Annotated[int, Query(description="How far back the series goes.", ge=1, le=1440), Whole] = 60,
) -> Response:
    """Totals, and posts a minute by source."""
    stats = await api.services.reads.stats(minutes)
    status, now = await api.condition.status(), await api.condition.now()
    body = {
        "totals": {
            "posts": sum(source.posts for source in stats.sources),
            "entities": stats.entities,
            "alerts": stats.alerts,
            "insights": stats.insights,
            "events": stats.newest_seq,
        },
        "sources": [
            {
                "source": source.source,
                "posts": source.posts,
                "since": None if source.since is None else rfc3339(source.since),
            }
            for source in stats.sources
        ],
        "minutes": [
            {
                "source": minute.source,
                "time": rfc3339(minute.minute),
                "posts": minute.posts,
                "coverage": round(minute.coverage, 4),
            }
            for minute in stats.minutes
        ],
        "degraded": sorted(status.degraded),
    }
    return json_answer(request, body, as_of=now)


@router.get("/v1/status", response_model="StatusAnswer")
async def read_status(request: Request, api: Given) -> Response:
    """How every source and every part is doing, by the database's clock, and what is degraded."""
    status, now = await api.condition.status(), await api.condition.now()
    body = {
        "version": api.version,
        "sources": [_source_json(source, status.components) for source in status.sources],
        "components": [_component_json(component) for component in status.components],
        "degraded": sorted(status.degraded),
    }
    return json_answer(request, body, as_of=now)


def _source_json(source: SourceStatus, components: Sequence[ComponentStatus]) -> dict[str, Any]:
    told = (_detail(component) for component in components)
    frames = [detail.get("last_frame_at") for detail in told if detail.get("source") == source.source]
    return {
        "source": source.source,
        "state": source.state,
        "simulated": source.source in SIMULATED,
        "age_s": source.age_s,
        "lag_s": source.lag_s,
        "last_frame_at": next((frame for frame in frames if isinstance(frame, str)), None),
        "covered_until": None if source.covered_until is None else rfc3339(source.covered_until),
        "gap": None if source.gap is None else gap_json(source.gap),
    }


def _component_json(component: ComponentStatus) -> dict[str, Any]:
    detail = _detail(component)
    why = detail.get("why")
    return {
        "component": component.component,
        "state": component.state,
        "why": why if isinstance(why, str) else None,
        "since": rfc3339(component.since),
        "updated_at": rfc3339(component.updated_at),
        "detail": detail,
    }


def _detail(component: ComponentStatus) -> dict[str, Any]:
    return msgspec.json.decode(component.detail, type=dict[str, Any])
