"""What the momentum tick reads from Postgres and writes back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from groundswell.adapters.postgres_pool import Connection, Pool, connection
from groundswell.adapters.postgres_store import append
from groundswell.core.deltas import minute_of
from groundswell.core.detector import MIN_EXPOSURE
from groundswell.core.frames import alert_json, momentum_json, stage_json
from groundswell.core.habit import WIDTH, Watched
from groundswell.core.instants import to_datetime
from groundswell.core.momentum import BUCKETS, GRID, SPARKLINE_MINUTES, WINDOW_MINUTES, Observed
from groundswell.core.posts import MICROS_PER_MINUTE, Micros
from groundswell.ports.momentum import HourCounts, MinuteCounts, StageDraft, StageMemory, StoredHabits
from groundswell.ports.reading import Alert
from groundswell.ports.storing import Event, EventDraft, MomentumRow
from groundswell.sql import queries

SQL = queries("momentum")

ROWS_PER_EVENT = 30
"""Keeps a `momentum.update` frame under the 32 KB that API Gateway carries."""
HABITS_KEPT_HOURS = 90 * 24
"""Three half-lives of the slowest memory of a habit."""

Floats: TypeAlias = npt.NDArray[np.float64]


class PostgresMomentum:
    """`ports.MomentumStore` over a connection pool."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def watermark(self) -> Micros | None:
        async with connection(self._pool) as conn:
            row = await (await conn.execute(SQL["watermark"])).fetchone()
        return None if row is None else row[0]

    async def minute_counts(self, as_of: Micros, limit: int) -> MinuteCounts:
        last = minute_of(as_of)
        window = {"as_of": to_datetime(last), "window_start": to_datetime(last - WINDOW_MINUTES * MICROS_PER_MINUTE)}
        sparkline = {**window, "start": to_datetime(last - (SPARKLINE_MINUTES - 1) * MICROS_PER_MINUTE)}
        history = {**window, "start": to_datetime(_first(last))}
        async with connection(self._pool) as conn:
            cur = await conn.execute(SQL["active_entities"], {**window, "limit": limit})
            entities = [row[0] for row in await cur.fetchall()]
            minutes = await _fetchone(conn, "minutes_of_entities", {**sparkline, "entity": entities})
            buckets = await _fetchone(conn, "buckets_of_entities", {**history, "entity": entities})
            authors = await (await conn.execute(SQL["authors_of_entities"], {**window, "entity": entities})).fetchall()
            coverage = await (await conn.execute(SQL["coverage_of_minutes"], history)).fetchall()
        exposures = _exposures(coverage, BUCKETS * GRID.minutes)
        by_minute = {name: exposure[-SPARKLINE_MINUTES:] for name, exposure in exposures.items()}
        by_bucket = _by_bucket(exposures)
        by_author = np.zeros(len(entities))
        for position, distinct in authors:
            by_author[position] = distinct
        shape = (len(entities), BUCKETS)
        return MinuteCounts(
            as_of=as_of,
            entities=entities,
            observed=Observed(
                end_minute=last // MICROS_PER_MINUTE + 1,
                counts=_summed(minutes, 3, by_minute, (len(entities), SPARKLINE_MINUTES)),
                exposure=_greatest(by_minute, SPARKLINE_MINUTES),
                mentions=_summed(buckets, 3, by_bucket, shape),
                voices=_summed(buckets, 4, by_bucket, shape),
                bucket_exposure=_greatest(by_bucket, BUCKETS),
                authors=by_author,
            ),
        )

    async def first_hour(self) -> int | None:
        async with connection(self._pool) as conn:
            row = await _fetchone(conn, "first_hour", {})
        return None if row is None else row[0]

    async def hour_counts(self, hour: int, limit: int) -> HourCounts:
        last = ((hour + 1) * 60 - 1) * MICROS_PER_MINUTE
        span = {"as_of": to_datetime(last), "start": to_datetime(_first(last))}
        async with connection(self._pool) as conn:
            cur = await conn.execute(SQL["entities_of_hours"], {**span, "limit": limit})
            entities = [row[0] for row in await cur.fetchall()]
            buckets = await _fetchone(conn, "buckets_of_entities", {**span, "entity": entities})
            coverage = await (await conn.execute(SQL["coverage_of_minutes"], span)).fetchall()
        by_bucket = _by_bucket(_exposures(coverage, BUCKETS * GRID.minutes))
        voices = _summed(buckets, 4, by_bucket, (len(entities), BUCKETS))
        return HourCounts(hour, entities, voices, _greatest(by_bucket, BUCKETS))

    async def watched(self) -> tuple[int, Watched] | None:
        async with connection(self._pool) as conn:
            row = await _fetchone(conn, "watched", {})
        if row is None or len(row[1]) != WIDTH * 8:
            # Written by another version: what it learnt is learnt anew from the counts.
            return None
        return row[0], Watched(np.frombuffer(row[1], "<f8").copy())

    async def habits(self, entities: Sequence[str]) -> StoredHabits:
        async with connection(self._pool) as conn:
            rows = await (await conn.execute(SQL["habits"], {"entity": list(entities)})).fetchall()
        known = [row for row in rows if len(row[2]) == WIDTH * 4]
        numbers = np.frombuffer(b"".join(row[2] for row in known), "<f4").reshape(len(known), WIDTH)
        return StoredHabits([row[0] for row in known], [row[1] for row in known], numbers.copy())

    async def save_habits(self, habits: StoredHabits, hour: int, watched: Watched) -> None:
        numbers = [row.tobytes() for row in np.ascontiguousarray(habits.rows, "<f4")]
        values = {"entity": list(habits.entities), "hours": list(habits.hours), "numbers": numbers}
        async with connection(self._pool) as conn:
            if numbers:
                await conn.execute(SQL["save_habits"], values)
            row = np.ascontiguousarray(watched.row, "<f8").tobytes()
            await conn.execute(SQL["save_watched"], {"hour": hour, "numbers": row})
            await conn.execute(SQL["forget_habits"], {"before": hour - HABITS_KEPT_HOURS})

    async def texts(self, entity: str, since: Micros, until: Micros, limit: int) -> Sequence[str]:
        values = {"entity": entity, "since": to_datetime(since), "until": to_datetime(until), "limit": limit}
        async with connection(self._pool) as conn:
            return [row[0] for row in await (await conn.execute(SQL["texts_of_entity"], values)).fetchall()]

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
            return await append(cur, drafts) if drafts else []


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


def _first(last: Micros) -> Micros:
    """The first minute of the buckets that end with the minute `last`."""
    return last - (BUCKETS * GRID.minutes - 1) * MICROS_PER_MINUTE


def _exposures(coverage: Sequence[tuple[Any, ...]], minutes: int) -> Mapping[str, Floats]:
    """The observed part of each minute, by source."""
    exposures: dict[str, Floats] = {}
    for source, minute, seconds in coverage:
        exposures.setdefault(source, np.zeros(minutes))[minute] = seconds / 60
    return exposures


def _by_bucket(exposures: Mapping[str, Floats]) -> Mapping[str, Floats]:
    return {name: exposure.reshape(BUCKETS, GRID.minutes).mean(1) for name, exposure in exposures.items()}


def _greatest(exposures: Mapping[str, Floats], width: int) -> Floats:
    return np.max([*exposures.values(), np.zeros(width)], axis=0)


def _summed(
    counted: tuple[Any, ...] | None, column: int, exposures: Mapping[str, Floats], shape: tuple[int, int]
) -> Floats:
    """Counts summed over sources, each divided by its own coverage, times the greatest coverage of any."""
    rates = np.zeros(shape)
    if counted is None or counted[0] is None:
        return rates
    entity, source, place, values = (np.asarray(counted[n]) for n in (0, 1, 2, column))
    for name, exposure in exposures.items():
        mine = source == name
        counts = np.zeros(shape)
        counts[entity[mine], place[mine]] = np.maximum(values[mine], 0)
        rates += np.where(exposure >= MIN_EXPOSURE, counts / np.maximum(exposure, MIN_EXPOSURE), 0.0)
    return rates * _greatest(exposures, shape[1])


def _json(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))
