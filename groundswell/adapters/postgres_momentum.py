"""What the momentum tick reads from Postgres and writes back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from groundswell.adapters.postgres_pool import Connection, Pool, connection
from groundswell.adapters.postgres_store import append
from groundswell.core.deltas import minute_of
from groundswell.core.frames import alert_json, momentum_json
from groundswell.core.instants import to_datetime
from groundswell.core.momentum import MIN_EXPOSURE, WINDOW_MINUTES
from groundswell.core.posts import MICROS_PER_MINUTE, Micros
from groundswell.ports import Alert, AlertDraft, Event, EventDraft, MinuteCounts, MomentumRow
from groundswell.sql import queries

SQL = queries("momentum")

ROWS_PER_EVENT = 40
"""Keeps a `momentum.update` frame under the 32 KB that API Gateway carries."""


class PostgresMomentum:
    """`ports.MomentumStore` over a connection pool."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def watermark(self) -> Micros | None:
        async with connection(self._pool) as conn:
            row = await (await conn.execute(SQL["watermark"])).fetchone()
        return None if row is None else row[0]

    async def minute_counts(self, as_of: Micros, minutes: int, limit: int) -> MinuteCounts:
        last = minute_of(as_of)
        span = {
            "as_of": to_datetime(last),
            "start": to_datetime(last - (minutes - 1) * MICROS_PER_MINUTE),
            "window_start": to_datetime(last - WINDOW_MINUTES * MICROS_PER_MINUTE),
        }
        async with connection(self._pool) as conn:
            cur = await conn.execute(SQL["active_entities"], {**span, "limit": limit})
            entities = [row[0] for row in await cur.fetchall()]
            values = {**span, "entity": entities}
            counted = await (await conn.execute(SQL["counts_of_entities"], values)).fetchone()
            authors = await (await conn.execute(SQL["authors_of_entities"], values)).fetchall()
            coverage = await (await conn.execute(SQL["coverage_of_minutes"], span)).fetchall()
        exposures = _exposures(coverage, minutes)
        exposure = np.max([*exposures.values(), np.zeros(minutes)], axis=0)
        by_author = np.zeros(len(entities))
        for position, distinct in authors:
            by_author[position] = distinct
        return MinuteCounts(
            as_of=as_of,
            entities=entities,
            counts=_rates(counted, exposures, (len(entities), minutes)) * exposure,
            exposure=exposure,
            authors=by_author,
        )

    async def current(self) -> Sequence[MomentumRow]:
        async with connection(self._pool) as conn:
            rows = await (await conn.execute(SQL["current_momentum"])).fetchall()
        return [MomentumRow(*row[:-1], sparkline=tuple(row[-1])) for row in rows]

    async def publish(
        self, rows: Sequence[MomentumRow], gone: Sequence[str], alerts: Sequence[AlertDraft], *, live: bool
    ) -> Sequence[Event]:
        drafts = [
            EventDraft("momentum.update", _json({"entities": [momentum_json(row) for row in chunk]}), live)
            for chunk in (rows[i : i + ROWS_PER_EVENT] for i in range(0, len(rows), ROWS_PER_EVENT))
        ]
        async with connection(self._pool) as conn, conn.cursor() as cur:
            if rows:
                await cur.execute(SQL["replace_momentum"], _columns(rows))
            if gone:
                await cur.execute(SQL["forget_momentum"], {"entity": list(gone)})
            drafts += [EventDraft("alert.fired", _json(alert), live) for alert in await _fire(conn, alerts)]
            return await append(cur, drafts) if drafts else []


async def _fire(conn: Connection, alerts: Sequence[AlertDraft]) -> list[dict[str, object]]:
    if not alerts:
        return []
    cur = await conn.execute(
        SQL["fire_alerts"],
        {
            "entity": [a.entity for a in alerts],
            "kind": [a.kind for a in alerts],
            "stage": [a.stage for a in alerts],
            "score": [a.score for a in alerts],
            "at": [a.at for a in alerts],
            "evidence": [msgspec.json.encode(a.evidence).decode() for a in alerts],
        },
    )
    return [
        alert_json(Alert(*row[:-1], evidence=msgspec.Raw(msgspec.json.encode(row[-1])))) for row in await cur.fetchall()
    ]


def _columns(rows: Sequence[MomentumRow]) -> dict[str, list[object]]:
    columns: dict[str, list[object]] = {
        name: [getattr(row, name) for row in rows] for name in MomentumRow.__struct_fields__
    }
    # An array of arrays would be read as one matrix, so each sparkline travels as its text form.
    columns["sparkline"] = [
        "{" + ",".join("NULL" if rate is None else f"{rate:.3f}" for rate in row.sparkline) + "}" for row in rows
    ]
    return columns


def _exposures(coverage: Sequence[tuple[Any, ...]], minutes: int) -> Mapping[str, npt.NDArray[np.float64]]:
    """The observed part of each minute, by source."""
    exposures: dict[str, npt.NDArray[np.float64]] = {}
    for source, minute, seconds in coverage:
        exposures.setdefault(source, np.zeros(minutes))[minute] = seconds / 60
    return exposures


def _rates(
    counted: tuple[Any, ...] | None, exposures: Mapping[str, npt.NDArray[np.float64]], shape: tuple[int, int]
) -> npt.NDArray[np.float64]:
    """Mentions a minute, summed over sources, each divided by its own coverage."""
    rates = np.zeros(shape)
    if counted is None or counted[0] is None:
        return rates
    entity, source, minute, mentions = (np.asarray(column) for column in counted)
    for name, exposure in exposures.items():
        mine = source == name
        counts = np.zeros(shape)
        counts[entity[mine], minute[mine]] = mentions[mine]
        rates += np.where(exposure >= MIN_EXPOSURE, counts / np.maximum(exposure, MIN_EXPOSURE), 0.0)
    return rates


def _json(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))
