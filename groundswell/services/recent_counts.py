"""What was said of the active entities in the last hours: read once, then only what is new.

Read from the store are the minutes that were not over at the last reading, notes of changes to older ones, and the
histories of entities that have just become active. The result is what a fresh reading would find.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from groundswell.core.count_window import CountWindow, Floats, StoredCounts, exposures_by_bucket, greatest, summed
from groundswell.core.momentum import BUCKETS, DAY_HOURS, SPARKLINE_MINUTES, WINDOW_MINUTES, Observed
from groundswell.core.news import TOLD
from groundswell.core.posts import MICROS_PER_MINUTE, Micros
from groundswell.ports.momentum import MinuteCounts, MomentumStore, ReadPosition

HISTORIES = 1_000
"""Entities whose histories are read at once."""
NOTES_READ_WITHIN_S = 1_800.0
"""A reading older than this is not gone on from: notes of late changes are swept after `NOTES_KEPT_S`."""
NOTES_KEPT_S = 2 * NOTES_READ_WITHIN_S


class Recent(msgspec.Struct, frozen=True):
    """The voices of everything that is looked at, up to the end of the minute `last`."""

    last: int
    """Minutes since the epoch."""
    entities: Sequence[str]
    """In the order of their names."""
    voices: Floats
    """Shape (n, BUCKETS)."""
    exposure: Floats
    """Shape (BUCKETS,)."""
    stored: Mapping[str, Micros]
    """By source, the instant of event time that it is stored up to."""
    coverage: Mapping[str, Floats]
    """By source: the watched part of each minute of the last `DAY_HOURS` hours of the clock, 0 to 1."""


class RecentCounts:
    """Counts of the last day of what is active, in memory; bounded by `limit` and what is asked for besides."""

    def __init__(self, store: MomentumStore, *, limit: int) -> None:
        self._store = store
        self._limit = limit
        self._window: CountWindow | None = None
        self._position = ReadPosition({}, "0", 0.0)

    async def read(self, last: int, also: Collection[str]) -> Recent:
        """Everything active at the end of the minute `last`, and `also`.

        Raises:
            StoreUnavailable: nothing is taken for known any more; the next reading begins anew.
        """
        try:
            return await self._read(last, also)
        except BaseException:
            self._window = None
            raise

    def of(self, recent: Recent, which: Sequence[int], authors: Floats, as_of: Micros) -> MinuteCounts:
        """All that is known of some of them: `authors` are theirs."""
        assert self._window is not None, "read comes first"
        entities = [recent.entities[i] for i in which]
        rows = self._window.positions(entities)
        by_minute = {name: minutes[: _minutes(recent.last)] for name, minutes in recent.coverage.items()}
        sparkline = {name: minutes[-SPARKLINE_MINUTES:] for name, minutes in by_minute.items()}
        by_bucket = exposures_by_bucket(by_minute)
        by_hour = {name: minutes.reshape(DAY_HOURS, 60).mean(1) for name, minutes in recent.coverage.items()}
        n = len(entities)
        return MinuteCounts(
            as_of=as_of,
            entities=entities,
            observed=Observed(
                end_minute=recent.last + 1,
                counts=summed(self._window.minutes(rows), sparkline, (n, SPARKLINE_MINUTES)),
                exposure=greatest(sparkline, SPARKLINE_MINUTES),
                mentions=summed(self._window.buckets(rows, voices=False), by_bucket, (n, BUCKETS)),
                voices=recent.voices[list(which)],
                bucket_exposure=recent.exposure,
                hours=summed(self._window.hours(rows), by_hour, (n, DAY_HOURS)),
                hour_exposure=greatest(by_hour, DAY_HOURS),
                authors=authors,
            ),
        )

    async def _read(self, last: int, also: Collection[str]) -> Recent:
        position = await self._store.read_position()
        window = self._window
        if window is None or not self._goes_on(window, position, last):
            self._window = window = CountWindow(last)
            for minute in range(last - WINDOW_MINUTES + 1, last + 1):  # one by one: they may hold a great many names
                window.tell(await self._store.counts_since(dict.fromkeys(position.until, minute), minute))
        else:
            await self._go_on(window, last)
        active = window.active(self._limit)
        wanted = sorted({*active, *also})
        held = window.entities
        new = [entity for entity in wanted if entity not in held]
        for start in range(0, len(new), HISTORIES):
            await self._begin(window, new[start : start + HISTORIES], position)
        window.keep(wanted)
        coverage = await self._store.coverage(last)
        self._position = position
        by_bucket = exposures_by_bucket({name: minutes[: _minutes(last)] for name, minutes in coverage.items()})
        voices = summed(window.buckets(window.positions(wanted), voices=True), by_bucket, (len(wanted), BUCKETS))
        return Recent(last, wanted, voices, greatest(by_bucket, BUCKETS), position.until, coverage)

    def _goes_on(self, window: CountWindow, position: ReadPosition, last: int) -> bool:
        return (
            window.last <= last <= window.last + 60
            and position.until.keys() == self._position.until.keys()
            and position.at - self._position.at < NOTES_READ_WITHIN_S
        )

    async def _go_on(self, window: CountWindow, last: int) -> None:
        # What changes in older minutes is noted: see add_mentions in store.sql.
        stored = {
            source: min(until // MICROS_PER_MINUTE, window.last + 1) for source, until in self._position.until.items()
        }
        window.move(last)
        since = {source: max(minute, window.first) for source, minute in stored.items()}
        counts = await self._store.counts_since(since, last)
        late = await self._store.counts_changed_late(self._position.transaction, window.first_hour * 60, last)
        window.forget_from(since)
        window.tell(counts)
        window.tell(late)
        behind = any(window.first_hour * 60 <= minute < window.first for minute in stored.values())
        entities = window.entities if behind else _before(late, window.first) & window.entities
        if entities:
            start = dict.fromkeys(stored, window.first_hour * 60)
            hours = await self._store.hours_of(list(entities), start, window.first)
            window.forget_hours(entities)
            window.tell_hours(hours)

    async def _begin(self, window: CountWindow, entities: Sequence[str], position: ReadPosition) -> None:
        counts = await self._store.counts_of(entities, window.first, window.last)
        start = dict.fromkeys(position.until, window.first_hour * 60)
        hours = await self._store.hours_of(entities, start, window.first)
        window.hold(entities)
        window.tell(counts)
        window.tell_hours(hours)


def _before(counts: StoredCounts, minute: int) -> set[str]:
    return {counts.entities[int(i)] for i in np.flatnonzero(counts.minutes < minute)}


def _minutes(last: int) -> int:
    """Minutes of the last day's hours up to and with `last`."""
    return (DAY_HOURS - 1) * 60 + last % 60 + 1


def likeliest(surprisal: npt.NDArray[np.floating], besides: Collection[int], shown: int) -> list[int]:
    """Whom it pays to look at closely: what may be told, `besides`, and well more than will be shown.

    `surprisal`, shape (n,), is not tempered yet: it can only become less.
    """
    order = np.argsort(-surprisal, kind="stable")
    return sorted({*np.flatnonzero(surprisal >= TOLD).tolist(), *order[: shown + shown // 4].tolist(), *besides})
