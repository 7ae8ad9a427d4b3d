"""`/v1/events`: the broadcast frames again, for clients that were away."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
from fastapi import Query, Request
from starlette.responses import Response

from functions.api.answers import fitting, list_answer
from functions.api.keys import SignedIn
from functions.api.parameters import Limit
from functions.api.routing import JSON, router_of
from functions.api.services import Given
from groundswell.core.frames import event_frames, split_event
from groundswell.ports.storing import Event

router = router_of("live", JSON)


@router.get("/v1/events", response_model="EventList")
async def list_events(
    request: Request,
    api: Given,
    cursor: Annotated[
        str | None,
        Query(
            description="`seq` of the last frame that you have. Without it, only the limits are told.",
            pattern=r"^[0-9]{1,18}$",
            examples=["42"],
        ),
    ] = None,
    limit: Limit = 100,
    *,
    signed_in: SignedIn,
) -> Response:
    """The frames after `cursor`, oldest first, exactly as the WebSocket sent them.

    `next_cursor` is null once you have everything. `truncated` says that some of what you missed is not kept any more.
    """
    after = None if cursor is None else int(cursor)
    page = await api.services.reads.events(after, limit, signed_in=signed_in)
    status, now = await api.condition.status(), await api.condition.now()
    # An event is read whole or not at all: only its last frame carries the number to go on from.
    frames = [list(_frames(event)) for event in page.events]
    fits = len(fitting(frames))
    last = page.events[fits - 1].seq if fits else None
    # A cursor beyond the newest belongs to another database, such as one that was set up anew.
    truncated = after is not None and (after < page.oldest - 1 or after > page.newest)
    return list_answer(
        request,
        [frame for event in frames[:fits] for frame in event],
        next_cursor=str(last) if last is not None and last < page.newest else None,
        as_of=now,
        degraded=status.degraded,
        oldest_cursor=str(max(page.oldest - 1, 0)),
        newest_cursor=str(page.newest),
        truncated=truncated,
    )


def _frames(event: Event) -> Iterator[Any]:
    items = split_event(event.type, event.data, event.posts)
    for frame in event_frames(event.type, event.data, items, seq=event.seq, ts=event.ts, live=event.live):
        yield msgspec.Raw(frame)
