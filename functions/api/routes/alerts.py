"""`/v1/alerts`: what fired, and the rules that made it fire. Changing the rules needs an API key."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Depends, Path, Query, Request
from starlette.responses import Response

from functions.api.answers import json_answer, list_answer, page_answer
from functions.api.drafts import RuleDraft
from functions.api.keys import need_key
from functions.api.parameters import (
    EntityFilter,
    Limit,
    Since,
    Stage,
    Until,
    Whole,
    entity_key,
    parse_cursor,
    parse_instant,
)
from functions.api.routing import JSON, AnswerRoute, router_of
from functions.api.services import Given
from groundswell.core.frames import alert_json
from groundswell.core.instants import rfc3339
from groundswell.core.paging import TIME_CURSOR, decode_time_cursor, encode_time_cursor
from groundswell.errors import NotFound, PayloadTooLarge, UnsupportedMediaType
from groundswell.ports.reading import AlertRule

MAX_BODY_BYTES = 16 * 1024
MAX_ID = 2**63 - 1


class JsonBodyRoute(AnswerRoute):
    """A route whose body is JSON of bounded size: 415 and 413 come before anything is parsed."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def checked(request: Request) -> Response:
            if request.method == "POST":
                await _require_json(request)
            return await handle(request)

        return checked


async def _require_json(request: Request) -> None:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise UnsupportedMediaType("The body has to be JSON: send it with Content-Type: application/json.")
    size = 0
    chunks: list[bytes] = []
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise PayloadTooLarge(f"The body has more than {MAX_BODY_BYTES} bytes, which no valid request needs.")
        chunks.append(chunk)
    # What request.body() would have remembered, had it been asked without a limit.
    request._body = b"".join(chunks)  # pyright: ignore[reportPrivateUsage]


router = router_of("alerts", JSON, route_class=JsonBodyRoute)


@router.get("/v1/alerts", response_model="AlertList")
async def list_alerts(
    *,
    request: Request,
    api: Given,
    entity: EntityFilter = None,
    stage: Annotated[Stage | None, Query(description="Only this stage.")] = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 50,
    cursor: Annotated[str | None, Query(pattern=TIME_CURSOR)] = None,
) -> Response:
    """Alerts that fired, newest first, each with the numbers that made it."""
    rows = await api.services.reads.alerts(
        limit + 1,
        parse_cursor(decode_time_cursor, cursor),
        entity=None if entity is None else entity_key(entity),
        stage=stage,
        since=parse_instant("since", since),
        until=parse_instant("until", until),
    )
    status, now = await api.condition.status(), await api.condition.now()
    return page_answer(
        request,
        rows,
        limit,
        alert_json,
        lambda alert: encode_time_cursor(alert.at, alert.id),
        as_of=now,
        degraded=status.degraded,
    )


@router.get("/v1/alerts/rules", response_model="RuleList")
async def list_rules(request: Request, api: Given) -> Response:
    """All rules, oldest first."""
    rules = await api.services.reads.alert_rules()
    status, now = await api.condition.status(), await api.condition.now()
    return list_answer(
        request, [_rule_json(rule) for rule in rules], next_cursor=None, as_of=now, degraded=status.degraded
    )


@router.post("/v1/alerts/rules", response_model="RuleAnswer", status_code=201, dependencies=[Depends(need_key)])
async def add_rule(request: Request, api: Given, draft: RuleDraft) -> Response:
    """Fire an alert whenever an entity reaches a stage."""
    entity = None if draft.entity is None else entity_key(draft.entity)
    rule = await api.services.rules.add_rule(entity, draft.kind, draft.stage, draft.min_score)
    return json_answer(request, {"data": _rule_json(rule)}, status_code=201)


@router.delete("/v1/alerts/rules/{id}", status_code=204, response_class=Response, dependencies=[Depends(need_key)])
async def remove_rule(
    api: Given,
    id: Annotated[int, Path(ge=1, le=MAX_ID), Whole],
) -> Response:
    """Alerts that the rule has fired stay."""
    if not await api.services.rules.remove_rule(id):
        raise NotFound(f"There is no alert rule {id}: it may have been deleted already.")
    return Response(status_code=204)


def _rule_json(rule: AlertRule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "entity": rule.entity,
        "kind": rule.kind,
        "stage": rule.stage,
        "min_score": rule.min_score,
        "created_at": rfc3339(rule.created_at),
    }
