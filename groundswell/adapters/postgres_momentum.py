"""What the momentum tick reads from Postgres and writes back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from groundswell.adapters.postgres_pool import Connection, Pool, connection
from groundswell.adapters.postgres_store import Fence, append
from groundswell.core.count_window import Floats, StoredCounts, StoredHours, exposures_by_bucket, greatest, summed
from groundswell.core.deltas import minute_of
from groundswell.core.frames import alert_json, momentum_json, stage_json
from groundswell.core.habit import WIDTH, Watched
from groundswell.core.instants import to_datetime
from groundswell.core.learning import HOUR, too_late_for
from groundswell.core.momentum import (
    BUCKETS,
    DAY_HOURS,
    HISTORY_MINUTES,
    SPARKLINE_MINUTES,
    WINDOW_MINUTES,
    Observed,
)
from groundswell.core.posts import MICROS_PER_MINUTE, Micros
from groundswell.ports.momentum import (
    HourCounts,
    MinuteCounts,
    ReadPosition,
    StageDraft,
    StageMemory,
    StoredHabits,
)
from groundswell.ports.reading import Alert
from groundswell.ports.storing import Event, EventDraft, MomentumRow
from groundswell.sql import queries

SQL = queries("momentum")

ROWS_PER_EVENT = 30
"""Keeps a `momentum.update` frame under the 32 KB that API Gateway carries."""
HABITS_KEPT_HOURS = 90 * 24
"""Three half-lives of the slowest memory of a habit."""


class PostgresMomentum:
    """`ports.MomentumStore` over a connection pool.

    Args:
        fence: lets nothing be published by a relay whose lease went to another.
    """

    def __init__(self, pool: Pool, fence: Fence | None = None) -> None:
        self._pool = pool
        self._fence = fence

    async def watermark(self) -> Micros | None:
        async with connection(self._pool) as conn:
            row = await (await conn.execute(SQL["watermark"])).fetchone()
        return None if row is None else row[0]

    async def minute_counts(self, as_of: Micros, limit: int) -> MinuteCounts:
        last = minute_of(as_of)
        window = _window(last)
        sparkline = {**window, "start": to_datetime(last - (SPARKLINE_MINUTES - 1) * MICROS_PER_MINUTE)}
        history = {**window, "start": to_datetime(_first(last))}
        day = {"start": to_datetime(_first_of_day(last)), "until": to_datetime(last + MICROS_PER_MINUTE)}
        async with connection(self._pool) as conn:
            cur = await conn.execute(SQL["active_entities"], {**window, "limit": limit})
            entities = [row[0] for row in await cur.fetchall()]
            minutes = await _fetchone(conn, "minutes_of_entities", {**sparkline, "entity": entities})
            buckets = await _fetchone(conn, "buckets_of_entities", {**history, "entity": entities})
            hours = await _fetchone(conn, "hours_of_entities", {**day, "entity": entities})
        coverage = await self.coverage(last // MICROS_PER_MINUTE)
        authors = await self.authors(entities, last // MICROS_PER_MINUTE)
        until = (last - _first_of_day(last)) // MICROS_PER_MINUTE + 1
        by_minute = {name: exposure[until - SPARKLINE_MINUTES : until] for name, exposure in coverage.items()}
        by_bucket = exposures_by_bucket({name: exposure[:until] for name, exposure in coverage.items()})
        by_hour = {name: exposure.reshape(DAY_HOURS, 60).mean(1) for name, exposure in coverage.items()}
        n = len(entities)
        return MinuteCounts(
            as_of=as_of,
            entities=entities,
            observed=Observed(
                end_minute=last // MICROS_PER_MINUTE + 1,
                counts=summed(_by_source(minutes, 3, (n, SPARKLINE_MINUTES)), by_minute, (n, SPARKLINE_MINUTES)),
                exposure=greatest(by_minute, SPARKLINE_MINUTES),
                mentions=summed(_by_source(buckets, 3, (n, BUCKETS)), by_bucket, (n, BUCKETS)),
                voices=summed(_by_source(buckets, 4, (n, BUCKETS)), by_bucket, (n, BUCKETS)),
                bucket_exposure=greatest(by_bucket, BUCKETS),
                hours=summed(_by_source(hours, 3, (n, DAY_HOURS)), by_hour, (n, DAY_HOURS)),
                hour_exposure=greatest(by_hour, DAY_HOURS),
                authors=authors,
            ),
        )

    async def coverage(self, last: int) -> Mapping[str, Floats]:
        instant = last * MICROS_PER_MINUTE
        span = {"as_of": to_datetime(instant), "start": to_datetime(_first_of_day(instant))}
        async with connection(self._pool) as conn:
            rows = await (await conn.execute(SQL["coverage_of_minutes"], span)).fetchall()
        return _exposures(rows, DAY_HOURS * 60)

    async def authors(self, entities: Sequence[str], last: int) -> Floats:
        values = {**_window(last * MICROS_PER_MINUTE), "entity": list(entities)}
        found = np.zeros(len(entities))
        async with connection(self._pool) as conn:
            for position, distinct in await (await conn.execute(SQL["authors_of_entities"], values)).fetchall():
                found[position] = distinct
        return found

    async def read_position(self) -> ReadPosition:
        async with connection(self._pool) as conn:
            rows = await (await conn.execute(SQL["read_position"])).fetchall()
        if not rows:
            return ReadPosition({}, "0", 0.0)
        return ReadPosition({source: until for source, until, _, _ in rows}, rows[0][2], rows[0][3])

    async def counts_since(self, since: Mapping[str, int], last: int) -> StoredCounts:
        values = {"source": list(since), "since": list(since.values()), "last": last}
        return await self._stored("counts_since", values)

    async def counts_changed_late(self, transaction: str, first: int, last: int) -> StoredCounts:
        values = {"transaction": transaction, "first": first, "last": last}
        return await self._stored("counts_changed_late", values)

    async def counts_of(self, entities: Sequence[str], first: int, last: int) -> StoredCounts:
        return await self._stored("counts_of_entities", {"entity": list(entities), "first": first, "last": last})

    async def hours_of(self, entities: Sequence[str], since: Mapping[str, int], until: int) -> StoredHours:
        values = {"source": list(since), "since": list(since.values()), "entity": list(entities), "until": until}
        async with connection(self._pool) as conn:
            names, sources, *numbers = await _columns_of(conn, "hours_of_sources", values, 4)
        return StoredHours(names, sources, *(np.array(column, np.int64) for column in numbers))

    async def _stored(self, name: str, values: Mapping[str, object]) -> StoredCounts:
        async with connection(self._pool) as conn:
            names, sources, *numbers = await _columns_of(conn, name, values, 5)
        return StoredCounts(names, sources, *(np.array(column, np.int64) for column in numbers))

    async def first_hour(self) -> int | None:
        async with connection(self._pool) as conn:
            row = await _fetchone(conn, "first_hour", {})
        return None if row is None else row[0]

    async def spoken(self, hour: int, first: int, last: int, limit: int) -> tuple[Sequence[str], Sequence[int]]:
        span = {"start": to_datetime(first * MICROS_PER_MINUTE), "as_of": to_datetime(last * MICROS_PER_MINUTE)}
        values = {**span, "too_late": too_late_for(hour), "limit": limit}
        async with connection(self._pool) as conn:
            names, voices = await _columns_of(conn, "spoken", values, 2)
        return names, voices

    async def hour_counts(self, hour: int, entities: Sequence[str]) -> HourCounts:
        last = ((hour + 1) * 60 - 1) * MICROS_PER_MINUTE
        span = {"as_of": to_datetime(last), "start": to_datetime(_first(last))}
        values = {**span, "too_late": too_late_for(hour), "entity": list(entities)}
        async with connection(self._pool) as conn:
            then = {**span, "too_late": values["too_late"]}
            coverage = await (await conn.execute(SQL["coverage_then"], then)).fetchall()
            buckets = await _columns_of(conn, "voices_of_entities", values, 4)
        by_bucket, shape = exposures_by_bucket(_exposures(coverage, HISTORY_MINUTES)), (len(entities), BUCKETS)
        by_source = _by_source(buckets, 3, shape)
        heard = np.zeros(len(entities))
        for counts in by_source.values():
            heard += counts.sum(1)
        spoken = np.flatnonzero(heard)
        voices = summed(by_source, by_bucket, shape)[spoken]
        return HourCounts(hour, [entities[i] for i in spoken.tolist()], voices, greatest(by_bucket, BUCKETS))

    async def learnt_up_to(self, hour: int) -> Sequence[str]:
        async with connection(self._pool) as conn:
            return [row[0] for row in await (await conn.execute(SQL["learnt_up_to"], {"hour": hour})).fetchall()]

    async def watched(self) -> tuple[int, Watched] | None:
        async with connection(self._pool) as conn:
            row = await _fetchone(conn, "watched", {})
        if row is None or len(row[1]) != WIDTH * 8:
            # Written by another version: what it learnt is learnt anew from the counts.
            return None
        kinds = {kind: tuple(numbers) for kind, numbers in row[2].items()}
        return row[0], Watched(np.frombuffer(row[1], "<f8").copy(), kinds)

    async def habits(self, entities: Sequence[str]) -> StoredHabits:
        async with connection(self._pool) as conn:
            rows = await (await conn.execute(SQL["habits"], {"entity": list(entities)})).fetchall()
        known = [row for row in rows if len(row[2]) == WIDTH * 4]
        numbers = np.frombuffer(b"".join(row[2] for row in known), "<f4").reshape(len(known), WIDTH)
        return StoredHabits([row[0] for row in known], [row[1] for row in known], numbers.copy())

    async def save_habits(self, habits: StoredHabits) -> None:
        numbers = [row.tobytes() for row in np.ascontiguousarray(habits.rows, "<f4")]
        values = {"entity": list(habits.entities), "hours": list(habits.hours), "numbers": numbers}
        async with connection(self._pool) as conn:
            await conn.execute(SQL["save_habits"], values)

    async def save_watched(self, hour: int, watched: Watched) -> None:
        async with connection(self._pool) as conn:
            row = np.ascontiguousarray(watched.row, "<f8").tobytes()
            kinds = msgspec.json.encode(watched.kinds).decode()
            await conn.execute(SQL["save_watched"], {"hour": hour, "numbers": row, "kinds": kinds})
            await conn.execute(SQL["forget_habits"], {"before": hour - HABITS_KEPT_HOURS})

    async def prints(
        self, entities: Sequence[str], since: Micros, until: Micros, limit: int
    ) -> Mapping[str, Sequence[int]]:
        values = {"entity": list(entities), "since": to_datetime(since), "until": to_datetime(until), "limit": limit}
        async with connection(self._pool) as conn:
            return dict(await (await conn.execute(SQL["prints_of_entities"], values)).fetchall())

    async def current(self) -> Sequence[tuple[MomentumRow, StageMemory]]:
        async with connection(self._pool) as conn:
            rows = await (await conn.execute(SQL["current_momentum"])).fetchall()
        return [
            (MomentumRow(*row[:12], sparkline=tuple(row[12]), parts=row[13]), StageMemory(row[14], row[15]))
            for row in rows
        ]

    async def publish(
        self,
        rows: Sequence[tuple[MomentumRow, StageMemory]],
        gone: Sequence[str],
        changes: Sequence[StageDraft],
        *,
        live: bool,
    ) -> Sequence[Event]:
        shown = [row for row, _ in rows]
        drafts = [
            EventDraft("momentum.update", _json({"entities": [momentum_json(row) for row in chunk]}), live)
            for chunk in (shown[i : i + ROWS_PER_EVENT] for i in range(0, len(shown), ROWS_PER_EVENT))
        ]
        async with connection(self._pool) as conn, conn.cursor() as cur:
            if rows:
                await cur.execute(SQL["replace_momentum"], _columns(rows))
            if gone:
                await cur.execute(SQL["forget_momentum"], {"entity": list(gone)})
            fresh = await _change_stages(conn, changes)
            drafts += [EventDraft("momentum.stage", _json(stage_json(change)), live) for change in fresh]
            alerts = await _fire(conn, [change for change in fresh if change.stage != "dormant"])
            drafts += [EventDraft("alert.fired", _json(alert), live) for alert in alerts]
            return await append(cur, drafts, fence=self._fence) if drafts else []


async def _fetchone(conn: Connection, name: str, values: Mapping[str, object]) -> tuple[Any, ...] | None:
    return await (await conn.execute(SQL[name], values)).fetchone()


async def _change_stages(conn: Connection, changes: Sequence[StageDraft]) -> list[StageDraft]:
    """Store the changes; answers those that were not stored before."""
    if not changes:
        return []
    cur = await conn.execute(
        SQL["change_stages"],
        {**_change_columns(changes), "from_stage": [change.from_stage for change in changes]},
    )
    stored = {row[0] for row in await cur.fetchall()}
    return [change for change in changes if change.entity in stored]


async def _fire(conn: Connection, changes: Sequence[StageDraft]) -> list[dict[str, object]]:
    if not changes:
        return []
    cur = await conn.execute(
        SQL["fire_alerts"], {**_change_columns(changes), "kind": [change.kind for change in changes]}
    )
    return [
        alert_json(Alert(*row[:-1], evidence=msgspec.Raw(msgspec.json.encode(row[-1])))) for row in await cur.fetchall()
    ]


def _change_columns(changes: Sequence[StageDraft]) -> dict[str, list[object]]:
    columns: dict[str, list[object]] = {
        name: [getattr(change, name) for change in changes] for name in ("entity", "at", "stage", "score")
    }
    columns["evidence"] = [
        msgspec.json.encode({"from_stage": change.from_stage, **change.evidence}).decode() for change in changes
    ]
    return columns


def _columns(rows: Sequence[tuple[MomentumRow, StageMemory]]) -> dict[str, list[object]]:
    columns: dict[str, list[object]] = {
        name: [getattr(row, name) for row, _ in rows] for name in MomentumRow.__struct_fields__
    }
    # An array of arrays would be read as one matrix, so each sparkline travels as its text form.
    columns["sparkline"] = [
        "{" + ",".join("NULL" if rate is None else f"{rate:.3f}" for rate in row.sparkline) + "}" for row, _ in rows
    ]
    columns["parts"] = [msgspec.json.encode(row.parts).decode() for row, _ in rows]
    columns["peak"] = [memory.peak for _, memory in rows]
    columns["told_at"] = [memory.told_at for _, memory in rows]
    return columns


def _window(last: Micros) -> dict[str, object]:
    return {"as_of": to_datetime(last), "window_start": to_datetime(last - WINDOW_MINUTES * MICROS_PER_MINUTE)}


def _first(last: Micros) -> Micros:
    """The first minute of the buckets that end with the minute `last`."""
    return last - (HISTORY_MINUTES - 1) * MICROS_PER_MINUTE


def _first_of_day(last: Micros) -> Micros:
    """The first minute of the `DAY_HOURS` hours of the clock of which the minute `last` is in the last one."""
    return (last // HOUR - DAY_HOURS + 1) * HOUR


def _exposures(coverage: Sequence[tuple[Any, ...]], minutes: int) -> Mapping[str, Floats]:
    """The observed part of each minute, by source."""
    exposures: dict[str, Floats] = {}
    for source, minute, seconds in coverage:
        exposures.setdefault(source, np.zeros(minutes))[minute] = seconds / 60
    return exposures


async def _columns_of(conn: Connection, name: str, values: Mapping[str, object], width: int) -> Sequence[Sequence[Any]]:
    """The columns of a statement that answers one row of parallel arrays."""
    async with conn.cursor(binary=True) as cur:
        row = await (await cur.execute(SQL[name], values)).fetchone()
    return [()] * width if row is None or row[0] is None else row


def _by_source(counted: Sequence[Any] | None, column: int, shape: tuple[int, int]) -> Mapping[str, Floats]:
    """Counts laid out by source, entity and place, none below zero."""
    found: dict[str, Floats] = {}
    if counted is None or counted[0] is None or not len(counted[0]):
        return found
    entity, source, place, values = (np.asarray(counted[n]) for n in (0, 1, 2, column))
    for name in np.unique(source):
        mine = source == name
        counts = found[str(name)] = np.zeros(shape)
        counts[entity[mine], place[mine]] = np.maximum(values[mine], 0)
    return found


def _json(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))
