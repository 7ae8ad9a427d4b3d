"""The read side of Postgres: what the API asks, over a bounded pool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import psycopg

from groundswell.adapters.postgres_pool import Connection, Pool, connection, reading
from groundswell.core.instants import to_datetime
from groundswell.core.labels import LabelPhrase
from groundswell.core.posts import MICROS_PER_SECOND, Micros, Post
from groundswell.core.series import SeriesRequest, plan_series
from groundswell.core.status import RECORDING_PREFIX, degraded_parts, recording_state, source_state
from groundswell.errors import StoreUnavailable
from groundswell.ports.reading import (
    Alert,
    AlertRule,
    ComponentStatus,
    EventPage,
    GapRow,
    Insight,
    MomentumFilters,
    Related,
    Series,
    SeriesBucket,
    SourceMinute,
    SourceStatus,
    SourceTotal,
    StageChange,
    Stats,
    Status,
    SurgeLabel,
)
from groundswell.ports.storing import Event, MomentumRow, StoredPost
from groundswell.ports.vectors import SearchFilters
from groundswell.sql import queries

SQL = queries("reads")

MAX_SERIES_GAPS = 200
MAX_SERIES_CHANGES = 200
MAX_EVENT_POSTS = 1000
"""Posts in one page of events: a page ends early rather than holding up everybody else while it is written."""


class PostgresReads:
    """`ports.ReadStore` over a connection pool."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def now(self) -> Micros:
        return (await self._all("now", {}))[0][0]

    async def posts(
        self, filters: SearchFilters, limit: int, after: tuple[Micros, int] | None = None
    ) -> Sequence[StoredPost]:
        rows = await self._all(
            "posts",
            {
                "entity": filters.entity,
                "author": filters.author,
                "lang": filters.lang,
                "source": filters.source,
                "signed_in": filters.signed_in,
                **_range(filters.since, filters.until),
                "after_time": None if after is None else to_datetime(after[0]),
                "after_pk": None if after is None else after[1],
                "limit": limit,
            },
        )
        return [_stored_post(row) for row in rows]

    async def post(self, post_id: str, *, signed_in: bool = False) -> StoredPost | None:
        rows = await self._all("post", {"id": post_id, "signed_in": signed_in})
        return _stored_post(rows[0]) if rows else None

    async def momentum(
        self, filters: MomentumFilters, limit: int, after: tuple[float, str] | None = None
    ) -> Sequence[MomentumRow]:
        rows = await self._all(
            "momentum",
            {
                "kind": filters.kind,
                "stage": filters.stage,
                "min_score": filters.min_score,
                "after_score": None if after is None else after[0],
                "after_entity": None if after is None else after[1],
                "limit": limit,
            },
        )
        return [_momentum_row(row) for row in rows]

    async def momentum_of(self, entity: str) -> MomentumRow | None:
        rows = await self._all("momentum_of", {"entity": entity})
        return _momentum_row(rows[0]) if rows else None

    async def labels(self, entities: Sequence[str]) -> Mapping[str, SurgeLabel]:
        rows = await self._all("labels", {"entities": list(entities)})
        return {
            entity: SurgeLabel(as_of, text, msgspec.json.decode(phrases, type=list[LabelPhrase]), posts, authors)
            for entity, as_of, text, phrases, posts, authors in rows
        }

    async def related(self, entities: Sequence[str]) -> Sequence[Related]:
        return [Related(*row) for row in await self._all("related", {"entities": list(entities)})]

    async def series(self, entity: str, request: SeriesRequest) -> Series:
        async with connection(self._pool) as conn:
            # One snapshot: what is rolled up meanwhile must not be missing from both sides, or stand on both.
            await conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            ((now,),) = await _fetch(conn, "now", {})
            plan = plan_series(request, now, dict(await _fetch(conn, "horizons", {})))
            span = _range(plan.since, plan.until)
            seen = _range(plan.since, min(plan.until, plan.end))
            asked = {"entity": entity, "bucket_s": plan.bucket_s, "resolution_s": plan.resolution_s}
            buckets = await _fetch(conn, "series", {**asked, **span, "end": to_datetime(plan.end)})
            gaps = await _fetch(
                conn,
                "gaps",
                {"source": None, **seen, "after_time": None, "after_id": None, "limit": MAX_SERIES_GAPS},
            )
            changes = await _fetch(conn, "stage_changes", {"entity": entity, **seen, "limit": MAX_SERIES_CHANGES})
        return Series(
            plan=plan,
            buckets=[SeriesBucket(*row) for row in buckets],
            gaps=[GapRow(*row) for row in reversed(gaps)],
            stage_changes=[StageChange(*row[:-1], evidence=_raw(row[-1])) for row in reversed(changes)],
        )

    async def horizons(self) -> Mapping[int, Micros | None]:
        return dict(await self._all("horizons", {}))

    async def stages_then(self, entities: Sequence[str], instant: Micros) -> Mapping[str, tuple[str, Micros]]:
        rows = await self._all("stages_then", {"entity": list(entities), "until": to_datetime(instant)})
        return {entity: (stage, at) for entity, stage, at in rows}

    async def insights(
        self,
        limit: int,
        after: tuple[Micros, int] | None = None,
        *,
        kind: str | None = None,
        entity: str | None = None,
    ) -> Sequence[Insight]:
        rows = await self._all("insights", {"kind": kind, "entity": entity, **_page(limit, after)})
        return [
            Insight(id_, kind_, title, body, tuple(entities), tuple(post_ids), model, created_at)
            for id_, kind_, title, body, entities, post_ids, model, created_at in rows
        ]

    async def alerts(
        self,
        limit: int,
        after: tuple[Micros, int] | None = None,
        *,
        entity: str | None = None,
        stage: str | None = None,
        since: Micros | None = None,
        until: Micros | None = None,
    ) -> Sequence[Alert]:
        values = {"entity": entity, "stage": stage, **_range(since, until), **_page(limit, after)}
        return [Alert(*row[:-1], evidence=_raw(row[-1])) for row in await self._all("alerts", values)]

    async def alert_rules(self) -> Sequence[AlertRule]:
        return [AlertRule(*row) for row in await self._all("alert_rules", {})]

    async def gaps(
        self,
        limit: int,
        after: tuple[Micros, int] | None = None,
        *,
        source: str | None = None,
        since: Micros | None = None,
        until: Micros | None = None,
    ) -> Sequence[GapRow]:
        values = {"source": source, **_range(since, until), **_page(limit, after)}
        return [GapRow(*row) for row in await self._all("gaps", values)]

    async def events(self, after: int | None, limit: int, *, signed_in: bool = False) -> EventPage:
        async with connection(self._pool) as conn:
            ((oldest, newest),) = await _fetch(conn, "event_limits", {})
            if after is None:
                return EventPage((), oldest, newest)
            rows = await _fetch(conn, "events", {"after": after, "limit": limit})
            rows = _until_enough(rows)
            wanted = {"pks": [pk for row in rows for pk in row[5] or ()], "signed_in": signed_in}
            posts = {row[0]: _stored_post(row).post for row in await _fetch(conn, "posts_by_pk", wanted)}
        events = [
            Event(seq, ts, type_, live, _raw(data), tuple(posts[pk] for pk in carried or () if pk in posts))
            for seq, ts, type_, live, data, carried in rows
        ]
        return EventPage(events, oldest, max([newest, *(event.seq for event in events)]))

    async def stats(self, minutes: int) -> Stats:
        async with connection(self._pool) as conn:
            totals = await _fetch(conn, "source_totals", {})
            ((entities, alerts, insights, newest),) = await _fetch(conn, "table_totals", {})
            series = await _fetch(conn, "source_minutes", {"minutes": minutes})
        return Stats(
            sources=[SourceTotal(*row) for row in totals],
            entities=entities,
            alerts=alerts,
            insights=insights,
            newest_seq=newest,
            minutes=[SourceMinute(*row) for row in series],
        )

    async def status(self) -> Status:
        async with connection(self._pool) as conn:
            ((now,),) = await _fetch(conn, "now", {})
            ((_, newest),) = await _fetch(conn, "event_limits", {})
            rows = await _fetch(conn, "sources", {})
            components = [
                ComponentStatus(*row[:-1], detail=_raw(row[-1])) for row in await _fetch(conn, "components", {})
            ]
        sources = [_source_status(row, _relay_of(str(row[0]), components), now) for row in rows]
        return Status(
            as_of=now,
            newest_seq=newest,
            sources=sources,
            components=components,
            degraded=degraded_parts(
                [(source.source, source.state, source.age_s) for source in sources],
                [(c.component, c.state, (now - c.updated_at) / MICROS_PER_SECOND) for c in components],
                {c.component: c.every_s for c in components},
            ),
        )

    async def schema_version(self) -> str | None:
        try:
            async with connection(self._pool) as conn:
                cur = await conn.execute("SELECT version_num FROM alembic_version")
                row = await cur.fetchone()
        except psycopg.errors.UndefinedTable:
            return None
        return None if row is None else str(row[0])

    async def _all(self, name: str, values: Mapping[str, object]) -> list[tuple[Any, ...]]:
        async with reading(self._pool) as conn:
            return await _fetch(conn, name, values)


async def _fetch(conn: Connection, name: str, values: Mapping[str, object]) -> list[tuple[Any, ...]]:
    try:
        return await (await conn.execute(SQL[name], values, prepare=False)).fetchall()
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn) as error:
        raise StoreUnavailable(
            f"The database lacks what this version reads ({error.diag.message_primary}). Run `groundswell migrate`."
        ) from error


def _range(since: Micros | None, until: Micros | None) -> dict[str, object]:
    return {
        "since": None if since is None else to_datetime(since),
        "until": None if until is None else to_datetime(until),
    }


def _page(limit: int, after: tuple[Micros, int] | None) -> dict[str, object]:
    return {
        "limit": limit,
        "after_time": None if after is None else to_datetime(after[0]),
        "after_id": None if after is None else after[1],
    }


def _until_enough(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The first events that carry `MAX_EVENT_POSTS` posts together; at least one event."""
    posts = 0
    for number, row in enumerate(rows):
        posts += len(row[5] or ())
        if posts > MAX_EVENT_POSTS and number > 0:
            return rows[:number]
    return rows


def _raw(text: str) -> msgspec.Raw:
    return msgspec.Raw(text.encode())


def _stored_post(row: Sequence[Any]) -> StoredPost:
    pk, id_, source, author, text, event_time, rev, created_at, lang, entities, reply_to, quote_of, *said = row
    labels, restricted = said
    return StoredPost(
        pk,
        Post(
            id=id_,
            source=source,
            author=author,
            text=text,
            event_time=event_time,
            rev=rev,
            cursor=0,
            created_at=created_at,
            lang=lang,
            entities=tuple(entities),
            reply_to=reply_to,
            quote_of=quote_of,
            labels=tuple(labels),
            restricted=restricted,
        ),
    )


def _momentum_row(row: Sequence[Any]) -> MomentumRow:
    return MomentumRow(*row[:-2], sparkline=tuple(row[-2]), parts=row[-1])


def _relay_of(source: str, components: Sequence[ComponentStatus]) -> ComponentStatus | None:
    """The relay's report, where it is the one that reads `source`."""
    found = next((part for part in components if part.component == "relay"), None)
    reads = None if found is None else msgspec.json.decode(found.detail, type=_RelayDetail).source
    return found if reads == source else None


class _RelayDetail(msgspec.Struct):
    source: str | None = None


def _source_status(row: Sequence[Any], relay: ComponentStatus | None, now: Micros) -> SourceStatus:
    source, age_s, lag_s, covered_until, *gap = row
    open_gap = None if gap[0] is None else GapRow(*gap)
    if source.startswith(RECORDING_PREFIX):
        said, said_at = (None, now) if relay is None else (relay.state, relay.updated_at)
        state = recording_state(said, (now - said_at) / MICROS_PER_SECOND)
    else:
        state = source_state(age_s, lag_s, None if open_gap is None else open_gap.cause)
    return SourceStatus(
        source=source,
        state=state,
        age_s=None if age_s is None else round(max(age_s, 0.0), 3),
        lag_s=None if lag_s is None else round(max(lag_s, 0.0), 3),
        covered_until=covered_until,
        gap=open_gap,
    )
