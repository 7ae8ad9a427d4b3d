"""`/v1/momentum`: what is moving, and how it came to it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import Path, Query, Request
from starlette.responses import Response

from functions.api.answers import json_answer, page_answer
from functions.api.parameters import (
    PRINTABLE,
    Decimal,
    Kind,
    Limit,
    Since,
    Stage,
    Until,
    Whole,
    parse_cursor,
    parse_instant,
)
from functions.api.routes.gaps import gap_json
from functions.api.routing import JSON, router_of
from functions.api.services import Api, Given
from groundswell.core.co_mentions import CoMention, groups, links
from groundswell.core.entities import parse_entity_key
from groundswell.core.frames import entity_fields, momentum_json
from groundswell.core.instants import rfc3339
from groundswell.core.paging import SCORE_CURSOR, decode_score_cursor, encode_score_cursor
from groundswell.core.posts import MICROS_PER_SECOND, Micros
from groundswell.core.series import DURATION, SeriesPlan, SeriesRequest, format_duration, parse_duration
from groundswell.errors import InvalidRequest, NotFound
from groundswell.ports.reading import MomentumFilters, Related, SeriesBucket, StageChange, SurgeLabel
from groundswell.ports.storing import MomentumRow

router = router_of("momentum", JSON)

MAX_NODES = 50
AsOf = Annotated[
    str | None,
    Query(
        description="Time travel: what was moving then (RFC 3339), from what is known now of the time up to then.",
        json_schema_extra={"format": "date-time"},
    ),
]


@router.get("/v1/momentum", response_model="MomentumList")
async def list_momentum(
    *,
    request: Request,
    api: Given,
    kind: Annotated[Kind | None, Query(description="Only this kind of entity.")] = None,
    stage: Annotated[Stage | None, Query(description="Only this stage.")] = None,
    min_score: Annotated[float, Query(description="Lowest score.", ge=0, le=1), Decimal] = 0.0,
    limit: Limit = 50,
    as_of: AsOf = None,
    cursor: Annotated[str | None, Query(pattern=SCORE_CURSOR)] = None,
) -> Response:
    """Entities by momentum, highest score first."""
    after = parse_cursor(decode_score_cursor, cursor)
    then = parse_instant("as_of", as_of)
    filters = MomentumFilters(kind, stage, min_score)
    if then is None:
        rows = await api.services.reads.momentum(filters, limit + 1, after)
    else:
        rows = _page(await api.services.past.moving(then), filters, limit + 1, after)
    # Labels and links are of now: the past has none.
    labels = await api.services.reads.labels([row.entity for row in rows] if then is None else [])
    status, now = await api.condition.status(), await api.condition.now()
    return page_answer(
        request,
        rows,
        limit,
        lambda row: momentum_json(row) | {"label": _label_text(labels, row.entity)},
        lambda row: encode_score_cursor(row.score, row.entity),
        as_of=now,
        degraded=status.degraded,
    )


@router.get("/v1/momentum/graph", response_model="GraphAnswer")
async def read_graph(
    *,
    request: Request,
    api: Given,
    limit: Annotated[int, Query(ge=1, le=MAX_NODES, description="Most movers."), Whole] = MAX_NODES,
) -> Response:
    """The movers, what they are about, and which of them are about the same."""
    reads = api.services.reads
    found = await reads.momentum(MomentumFilters(), limit)
    movers = [row for row in found if row.stage != "dormant"]
    names = [row.entity for row in movers]
    labels = await reads.labels(names)
    related: dict[str, list[CoMention]] = {name: [] for name in names}
    for each in await reads.related(names):
        related[each.entity].append(CoMention(each.other, each.posts, each.authors, each.npmi, each.g2))
    found_links = links(related)
    group_of = groups(names, found_links)
    status, now = await api.condition.status(), await api.condition.now()
    body = {
        "nodes": [
            {
                **entity_fields(row.entity),
                "stage": row.stage,
                "score": row.score,
                "velocity": row.velocity,
                "label": _label_text(labels, row.entity),
                "group": group_of[row.entity],
            }
            for row in movers
        ],
        "links": [
            {
                "source": link.one,
                "target": link.two,
                "posts": link.posts,
                "authors": link.authors,
                "npmi": link.npmi,
                "g2": link.g2,
            }
            for link in found_links
        ],
        "degraded": sorted(status.degraded),
    }
    return json_answer(request, body, as_of=now)


@router.get("/v1/momentum/{kind}/{name:path}", response_model="SeriesAnswer")
async def read_momentum(
    *,
    request: Request,
    api: Given,
    kind: Kind,
    name: Annotated[str, Path(max_length=128, pattern=PRINTABLE, examples=["BTC"])],
    window: Annotated[
        str | None,
        Query(
            description="How far back from the end, such as `90m`, `6h`, `30d`; an hour by default.", pattern=DURATION
        ),
    ] = None,
    bucket: Annotated[
        str | None,
        Query(
            description="Length of a bucket, such as `5m`; by default one that suits. `config` says which it was.",
            pattern=DURATION,
        ),
    ] = None,
    since: Since = None,
    until: Until = None,
    as_of: AsOf = None,
) -> Response:
    """One entity: its momentum, and its history with what was observed of it."""
    try:
        entity = parse_entity_key(f"{kind}:{name}")
    except ValueError as error:
        raise NotFound(f"There can be no such entity: {error}") from error
    asked = SeriesRequest(
        window_s=None if window is None else parse_duration(window),
        since=parse_instant("since", since),
        until=parse_instant("until", until),
        bucket_s=None if bucket is None else parse_duration(bucket),
        as_of=parse_instant("as_of", as_of),
    )
    reads = api.services.reads
    series = await reads.series(entity, asked)
    current = await reads.momentum_of(entity) if asked.as_of is None else await _then(api, entity, asked.as_of)
    present = [entity] if asked.as_of is None else []
    label = (await reads.labels(present)).get(entity)
    related = await reads.related(present)
    status, now = await api.condition.status(), await api.condition.now()
    body = {
        "current": None if current is None else momentum_json(current),
        "label": None if label is None else _label_json(label),
        "related": [_related_json(each) for each in related],
        "data": [_bucket_json(b) for b in series.buckets],
        "gaps": [gap_json(gap) for gap in series.gaps],
        "stage_changes": [_change_json(change) for change in series.stage_changes],
        "config": _config(entity, window, series.plan),
        "degraded": sorted(status.degraded),
    }
    return json_answer(request, body, as_of=now)


async def _then(api: Api, entity: str, as_of: Micros) -> MomentumRow | None:
    """None too where the past is told in longer buckets only, from which there is no momentum to be made."""
    try:
        return next((row for row in await api.services.past.moving(as_of) if row.entity == entity), None)
    except InvalidRequest:
        return None


def _page(
    rows: Sequence[MomentumRow], filters: MomentumFilters, limit: int, after: tuple[float, str] | None
) -> list[MomentumRow]:
    """The rows of `ReadStore.momentum`, from rows that are here already."""
    start = (math.inf, "") if after is None else after
    return [
        row
        for row in rows
        if (filters.kind is None or row.kind == filters.kind)
        and (filters.stage is None or row.stage == filters.stage)
        and row.score >= filters.min_score
        and (-row.score, row.entity) > (-start[0], start[1])
    ][:limit]


def _config(entity: str, window: str | None, plan: SeriesPlan) -> dict[str, Any]:
    window_s = (plan.until - plan.since) // MICROS_PER_SECOND
    return {
        "entity": entity,
        "window": window or format_duration(window_s),
        "bucket": format_duration(plan.bucket_s),
        "window_s": window_s,
        "bucket_s": plan.bucket_s,
        "resolution_s": plan.resolution_s,
        "since": rfc3339(plan.since),
        "until": rfc3339(plan.until),
        "as_of": None if plan.as_of is None else rfc3339(plan.as_of),
    }


def _label_text(labels: Mapping[str, SurgeLabel], entity: str) -> str | None:
    label = labels.get(entity)
    return None if label is None else label.text


def _label_json(label: SurgeLabel) -> dict[str, Any]:
    return {
        "text": label.text,
        "phrases": [{"phrase": each.phrase, "authors": each.authors, "z": each.z} for each in label.phrases],
        "posts": label.posts,
        "authors": label.authors,
        "as_of": rfc3339(label.as_of),
    }


def _related_json(related: Related) -> dict[str, Any]:
    return {
        **entity_fields(related.other),
        "stage": related.stage,
        "posts": related.posts,
        "authors": related.authors,
        "npmi": related.npmi,
        "g2": related.g2,
    }


def _change_json(change: StageChange) -> dict[str, Any]:
    return {
        "time": rfc3339(change.at),
        "from_stage": change.from_stage,
        "stage": change.stage,
        "score": change.score,
        "evidence": change.evidence,
    }


def _bucket_json(bucket: SeriesBucket) -> dict[str, Any]:
    return {
        "time": rfc3339(bucket.start),
        "mentions": bucket.mentions,
        "authors": bucket.authors,
        "rate": None if bucket.rate is None else round(bucket.rate, 4),
        "coverage": round(bucket.coverage, 4),
    }
