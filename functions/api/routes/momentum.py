"""`/v1/momentum`: what is moving, and how it came to it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Request
from starlette.responses import Response

from functions.api import models
from functions.api.answers import json_answer, list_answer
from functions.api.parameters import PRINTABLE, Decimal, Kind, Limit, Stage, accepts, parse_cursor
from functions.api.routes.gaps import gap_json
from functions.api.services import Given
from groundswell.core.entities import parse_entity_key
from groundswell.core.frames import momentum_json
from groundswell.core.instants import rfc3339
from groundswell.core.paging import SCORE_CURSOR, decode_score_cursor, encode_score_cursor
from groundswell.errors import NotFound
from groundswell.ports import MomentumFilters, SeriesBucket

router = APIRouter(tags=["momentum"], dependencies=[Depends(accepts("application/json"))])

Window = Literal["15m", "30m", "1h", "3h", "6h", "12h", "1d", "3d", "7d", "30d"]
Bucket = Literal["1m", "5m", "15m", "1h", "6h", "1d"]
SECONDS = {"m": 60, "h": 3600, "d": 86_400}
BUCKETS: tuple[Bucket, ...] = ("1m", "5m", "15m", "1h", "6h", "1d")
MAX_BUCKETS = 1500
CHART_BUCKETS = 240
"""About what a chart can show: how many buckets there are at most where nobody chose their length."""


@router.get("/v1/momentum", response_model=models.MomentumList)
async def list_momentum(
    *,
    request: Request,
    api: Given,
    kind: Annotated[Kind | None, Query(description="Only this kind of entity.")] = None,
    stage: Annotated[Stage | None, Query(description="Only this stage.")] = None,
    min_score: Annotated[float, Query(description="Lowest score.", ge=0, le=1), Decimal] = 0.0,
    limit: Limit = 50,
    cursor: Annotated[str | None, Query(pattern=SCORE_CURSOR)] = None,
) -> Response:
    """Entities by momentum, highest score first."""
    after = parse_cursor(decode_score_cursor, cursor)
    rows = await api.services.reads.momentum(MomentumFilters(kind, stage, min_score), limit + 1, after)
    status, now = await api.condition.status(), await api.condition.now()
    page = rows[:limit]
    return list_answer(
        request,
        [momentum_json(row) for row in page],
        next_cursor=encode_score_cursor(page[-1].score, page[-1].entity) if len(rows) > limit else None,
        as_of=now,
        degraded=status.degraded,
    )


@router.get("/v1/momentum/{kind}/{name:path}", response_model=models.SeriesAnswer)
async def read_momentum(
    *,
    request: Request,
    api: Given,
    kind: Kind,
    name: Annotated[str, Path(max_length=128, pattern=PRINTABLE, examples=["BTC"])],
    window: Annotated[Window, Query(description="How far back.")] = "1h",
    bucket: Annotated[
        Bucket | None,
        Query(description="Length of a bucket; by default one that suits the window. `config` says which it was."),
    ] = None,
) -> Response:
    """One entity: its momentum now, and its history with what was observed of it."""
    try:
        entity = parse_entity_key(f"{kind}:{name}")
    except ValueError as error:
        raise NotFound(f"There can be no such entity: {error}") from error
    window_s = _seconds(window)
    chosen = _bucket(window_s, bucket)
    reads = api.services.reads
    series = await reads.series(entity, window_s, _seconds(chosen))
    current = await reads.momentum_of(entity)
    status, now = await api.condition.status(), await api.condition.now()
    body = {
        "current": None if current is None else momentum_json(current),
        "data": [_bucket_json(b) for b in series.buckets],
        "gaps": [gap_json(gap) for gap in series.gaps],
        "config": {
            "entity": entity,
            "window": window,
            "bucket": chosen,
            "window_s": window_s,
            "bucket_s": series.bucket_s,
            "since": rfc3339(series.since),
            "until": rfc3339(series.until),
        },
        "degraded": sorted(status.degraded),
    }
    return json_answer(request, body, as_of=now)


def _seconds(duration: str) -> int:
    return int(duration[:-1]) * SECONDS[duration[-1]]


def _bucket(window_s: int, asked: Bucket | None) -> Bucket:
    """The bucket to use: the one asked for, or the next longer one that keeps the answer bounded."""
    if asked is None:
        return next(b for b in BUCKETS if window_s <= CHART_BUCKETS * _seconds(b))
    return next(b for b in BUCKETS[BUCKETS.index(asked) :] if window_s <= MAX_BUCKETS * _seconds(b))


def _bucket_json(bucket: SeriesBucket) -> dict[str, Any]:
    return {
        "time": rfc3339(bucket.start),
        "mentions": bucket.mentions,
        "authors": bucket.authors,
        "rate": None if bucket.rate is None else round(bucket.rate, 4),
        "coverage": round(bucket.coverage, 4),
    }
