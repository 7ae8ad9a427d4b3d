"""The counts of the last hours by the minute, kept at hand so that a tick reads only what is new.

A window holds what is stored, minute by minute, and is told what is stored *now* of the minutes that may have changed.
Every value given replaces the one before, so that being told twice, or of a minute that did not change, does no harm:
whatever the order, a window that was told everything holds what a fresh reading would find.

All minutes are whole minutes since the epoch. A window moves forward only.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import repeat
from typing import Final, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from groundswell.core.detector import MIN_EXPOSURE
from groundswell.core.momentum import BUCKETS, DAY_HOURS, GRID, HISTORY_MINUTES, SPARKLINE_MINUTES, WINDOW_MINUTES

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]

ACTIVE_MENTIONS = 3
"""Mentions of the last `WINDOW_MINUTES` from which on an entity is worth a look."""
COLUMNS: Final = HISTORY_MINUTES + 60
"""Minutes held of an entity: what is looked at, and up to an hour more, so that columns move once an hour."""
MOST = np.iinfo(np.uint16).max
"""Mentions of an entity in one minute of one source that are told apart from more."""
FIRST_CAPACITY = 256
MAX_NAMES = 500_000
"""Names of the last `WINDOW_MINUTES` that are held. Of more, those that were said least and longest ago are forgotten:
some of their mentions are then missing where it is told who is active, and nowhere else."""


class StoredCounts(msgspec.Struct, frozen=True):
    """What is stored of entities in single minutes: columns. Counts may be below zero where a rolled-up post went."""

    entities: Sequence[str]
    sources: Sequence[str]
    minutes: Ints
    mentions: Ints
    voices: Ints


class StoredHours(msgspec.Struct, frozen=True):
    """The same, summed over whole hours (since the epoch)."""

    entities: Sequence[str]
    sources: Sequence[str]
    hours: Ints
    mentions: Ints


class _OfSource:
    """What one source has said: rows are entities."""

    def __init__(self, capacity: int) -> None:
        self.mentions = np.zeros((capacity, COLUMNS), np.uint16)
        self.voices = np.zeros((capacity, COLUMNS), np.uint16)
        self.hours = np.zeros((capacity, DAY_HOURS), np.int32)
        """Of the hours before the columns: each at its number modulo `DAY_HOURS`."""
        self.recent: dict[int, tuple[Ints, Ints]] = {}
        """By minute of the last `WINDOW_MINUTES`: numbers of names, and mentions. Of all entities."""

    def grow(self, capacity: int) -> None:
        for name in ("mentions", "voices", "hours"):
            old = getattr(self, name)
            new = np.zeros((capacity, old.shape[1]), old.dtype)
            new[: len(old)] = old
            setattr(self, name, new)


class CountWindow:
    """Counts up to and with the minute `last`.

    Rows are held of entities that were active in the last `2 * WINDOW_MINUTES`, and of those asked to be kept: about
    2 KB each for every source. Of all others that were mentioned in the last `WINDOW_MINUTES` the name is held, up to
    `MAX_NAMES`.
    """

    def __init__(self, last: int) -> None:
        self.last = last
        self._base = self._base_of(last)
        self._capacity = FIRST_CAPACITY
        self._sources: dict[str, _OfSource] = {}
        self._names: list[str] = []
        self._numbers: dict[str, int] = {}
        self._spare: list[int] = []
        """Numbers without a name: the next names get them, so ever new names take no more than those of a window."""
        self._minutes_went = False
        self._rows: dict[str, int] = {}
        self._free = list(range(self._capacity - 1, -1, -1))
        self._active_at: dict[str, int] = {}

    @staticmethod
    def _base_of(last: int) -> int:
        return (last - HISTORY_MINUTES + 1) // 60 * 60

    @property
    def first(self) -> int:
        """The first minute that is held one by one; hours before it are held as hours."""
        return self._base

    @property
    def first_hour(self) -> int:
        return self.last // 60 - DAY_HOURS + 1

    @property
    def entities(self) -> AbstractSet[str]:
        """Those that a row is held of."""
        return self._rows.keys()

    def move(self, last: int) -> None:
        """Let the window end with a later minute, of which nothing is known yet."""
        if last < self.last:
            raise ValueError(f"a window moves forward: not from minute {self.last} to {last}")
        base = self._base_of(last)
        for own in self._sources.values():
            for minute in [minute for minute in own.recent if minute <= last - WINDOW_MINUTES]:
                del own.recent[minute]
                self._minutes_went = True
            if base > self._base:
                self._drop(own, base)
        self.last, self._base = last, base

    def _drop(self, own: _OfSource, base: int) -> None:
        """Forget the columns before `base`; the sums of their hours stay."""
        for hour in range(self._base // 60, base // 60):
            start = hour * 60 - self._base
            whole = own.mentions[:, start : start + 60].sum(1, dtype=np.int32) if start < COLUMNS else 0
            own.hours[:, hour % DAY_HOURS] = whole
        gone = base - self._base
        for columns in (own.mentions, own.voices):
            columns[:, : max(COLUMNS - gone, 0)] = columns[:, gone:].copy()
            columns[:, max(COLUMNS - gone, 0) :] = 0

    def forget_from(self, minutes: Mapping[str, int]) -> None:
        """By source, the first of the minutes that are about to be told whole: what was known of them does not hold."""
        for source, minute in minutes.items():
            own = self._own(source)
            column = max(minute - self._base, 0)
            own.mentions[:, column:] = 0
            own.voices[:, column:] = 0
            for known in [known for known in own.recent if known >= minute]:
                del own.recent[known]

    def tell(self, counts: StoredCounts) -> None:
        """What is stored of these minutes: of entities without a row only what tells whether they are active."""
        if not len(counts.minutes):
            return
        mentions, voices = (np.clip(column, 0, MOST) for column in (counts.mentions, counts.voices))
        rows = np.fromiter(map(self._rows.get, counts.entities, repeat(-1)), np.int64, len(counts.entities))
        sources = np.asarray(counts.sources, object)
        for source in sorted(set(counts.sources)):
            own, mine = self._own(source), sources == source
            held = mine & (rows >= 0) & (counts.minutes >= self._base) & (counts.minutes <= self.last)
            own.mentions[rows[held], counts.minutes[held] - self._base] = mentions[held]
            own.voices[rows[held], counts.minutes[held] - self._base] = voices[held]
            new = mine & (counts.minutes > self.last - WINDOW_MINUTES) & (counts.minutes <= self.last)
            self._tell_recent(own, counts.entities, counts.minutes, mentions, np.flatnonzero(new))
        if len(self._numbers) > MAX_NAMES:
            self._forget_the_least()

    def _tell_recent(self, own: _OfSource, names: Sequence[str], minutes: Ints, mentions: Ints, at: Ints) -> None:
        numbers = np.fromiter((self._number(names[int(i)]) for i in at), np.int64, len(at))
        minutes, mentions = minutes[at], mentions[at]
        for minute in sorted(set(minutes.tolist())):
            here = minutes == minute
            told, values = numbers[here], mentions[here]
            known = own.recent.get(minute)
            if known is not None:
                stays = ~np.isin(known[0], told)
                told, values = np.concatenate([known[0][stays], told]), np.concatenate([known[1][stays], values])
            own.recent[minute] = told, values

    def forget_hours(self, entities: Collection[str]) -> None:
        """The hours of these are about to be told anew."""
        rows = [self._rows[name] for name in entities]
        for own in self._sources.values():
            own.hours[rows] = 0

    def tell_hours(self, counts: StoredHours) -> None:
        """What is stored of hours before `first`."""
        rows = np.fromiter(map(self._rows.get, counts.entities, repeat(-1)), np.int64, len(counts.entities))
        known = (rows >= 0) & (counts.hours >= self.first_hour) & (counts.hours < self._base // 60)
        for i in np.flatnonzero(known).tolist():
            own = self._own(counts.sources[i])
            own.hours[rows[i], counts.hours[i] % DAY_HOURS] = max(int(counts.mentions[i]), 0)

    # -------------------------------------------------------------- who is active
    def active(self, limit: int) -> list[str]:
        """The most mentioned of the last `WINDOW_MINUTES`, `ACTIVE_MENTIONS` at least; names break ties."""
        numbers, sums = self._said()
        active = np.flatnonzero(sums >= ACTIVE_MENTIONS)
        names = [self._names[i] for i in active]
        if len(active) > limit:
            order = sorted(range(len(active)), key=lambda i: (-sums[active[i]], names[i]))
            names = [names[i] for i in order[:limit]]
        if self._minutes_went:
            self._minutes_went = False
            self._forget_all_but(numbers)
        return names

    def _said(self) -> tuple[Ints, Floats]:
        """Numbers of the names said in the window, some more than once; and by number how often each was."""
        told = [pair for own in self._sources.values() for pair in own.recent.values()]
        if not told:
            return np.zeros(0, np.int64), np.zeros(len(self._names))
        numbers, mentions = (np.concatenate([pair[n] for pair in told]) for n in (0, 1))
        return numbers, np.bincount(numbers, mentions, len(self._names)).astype(float)

    @property
    def names_held(self) -> int:
        """How many names have a number, or a place for one."""
        return len(self._names)

    def _number(self, name: str) -> int:
        number = self._numbers.get(name)
        if number is None:
            if self._spare:
                number = self._spare.pop()
                self._names[number] = name
            else:
                number = len(self._names)
                self._names.append(name)
            self._numbers[name] = number
        return number

    def _forget_the_least(self) -> None:
        """Make room for a tenth of `MAX_NAMES`."""
        said, sums = self._said()
        latest = np.zeros(len(self._names), np.int64)
        for own in self._sources.values():
            for minute, (told, _) in own.recent.items():
                latest[told] = np.maximum(latest[told], minute)
        held = np.unique(said)
        keep = np.zeros(len(self._names), bool)
        keep[held[np.lexsort((latest[held], sums[held]))][-(MAX_NAMES * 9 // 10) :]] = True
        for own in self._sources.values():
            for minute, (told, values) in own.recent.items():
                own.recent[minute] = told[keep[told]], values[keep[told]]
        self._forget_all_but(np.flatnonzero(keep))

    def _forget_all_but(self, mentioned: Ints) -> None:
        """Take their numbers from names that are not mentioned any more."""
        unused = np.ones(len(self._names), bool)
        unused[mentioned] = False
        for number in np.flatnonzero(unused).tolist():
            name, self._names[number] = self._names[number], ""
            if name:
                del self._numbers[name]
                self._spare.append(number)

    # -------------------------------------------------------------- rows
    def hold(self, entities: Sequence[str]) -> None:
        """Begin a row of zeros for each of these: their history is to be told next."""
        for name in entities:
            if name in self._rows:
                continue
            if not self._free:
                self._free = list(range(2 * self._capacity - 1, self._capacity - 1, -1))
                self._capacity *= 2
                for own in self._sources.values():
                    own.grow(self._capacity)
            self._rows[name] = self._free.pop()
            self._active_at[name] = self.last

    def keep(self, entities: Collection[str]) -> None:
        """These are looked at now. Those that were not for `WINDOW_MINUTES` lose their row."""
        self._active_at.update(zip(entities, repeat(self.last)))
        gone = [name for name, at in self._active_at.items() if at <= self.last - WINDOW_MINUTES]
        if not gone:
            return
        rows = [self._rows.pop(name) for name in gone]
        for name in gone:
            del self._active_at[name]
        for own in self._sources.values():
            for columns in (own.mentions, own.voices, own.hours):
                columns[rows] = 0
        self._free += rows

    def _own(self, source: str) -> _OfSource:
        if source not in self._sources:
            self._sources[source] = _OfSource(self._capacity)
        return self._sources[source]

    # -------------------------------------------------------------- reading
    def positions(self, entities: Sequence[str]) -> Ints:
        """Where the rows of these entities are, for the readers below."""
        return np.fromiter((self._rows[name] for name in entities), np.int64, len(entities))

    def minutes(self, rows: Ints) -> Mapping[str, Floats]:
        """Mentions in the last `SPARKLINE_MINUTES`, by source: shape (n, SPARKLINE_MINUTES)."""
        end = self.last + 1 - self._base
        return {
            name: own.mentions[rows, end - SPARKLINE_MINUTES : end].astype(float) for name, own in self._sources.items()
        }

    def buckets(self, rows: Ints, *, voices: bool) -> Mapping[str, Floats]:
        """Mentions or voices in buckets that end with `last`, by source: shape (n, BUCKETS)."""
        end = self.last + 1 - self._base
        found: dict[str, Floats] = {}
        for name, own in self._sources.items():
            whole = own.voices if voices else own.mentions
            part = whole[rows, end - HISTORY_MINUTES : end]
            # Column by column: a sum along so short an axis is many times slower.
            sums = part[:, 0 :: GRID.minutes].astype(np.int32)
            for minute in range(1, GRID.minutes):
                sums += part[:, minute :: GRID.minutes]
            found[name] = sums.astype(float)
        return found

    def hours(self, rows: Ints) -> Mapping[str, Floats]:
        """Mentions in each of the last `DAY_HOURS` hours of the clock, the last one not over: shape (n, DAY_HOURS)."""
        found: dict[str, Floats] = {}
        for name, own in self._sources.items():
            sums = np.zeros((len(rows), DAY_HOURS))
            for n, hour in enumerate(range(self.first_hour, self.last // 60 + 1)):
                start = hour * 60 - self._base
                if start < 0:
                    sums[:, n] = own.hours[rows, hour % DAY_HOURS]
                else:
                    sums[:, n] = own.mentions[rows, start : min(start + 60, self.last + 1 - self._base)].sum(1)
            found[name] = sums
        return found


def summed(counts: Mapping[str, Floats], exposures: Mapping[str, Floats], shape: tuple[int, int]) -> Floats:
    """Counts summed over sources, each divided by its own coverage, times the greatest coverage of any.

    `counts` by source, of that shape; `exposures` by source, of its second part, 0 to 1. What no coverage is known of
    does not count.
    """
    rates = np.zeros(shape)
    for name, exposure in exposures.items():
        own = counts.get(name)
        if own is not None:
            known = exposure >= MIN_EXPOSURE
            rates += own * np.where(known, 1.0 / np.maximum(exposure, MIN_EXPOSURE), 0.0)
    return rates * greatest(exposures, shape[1])


def greatest(exposures: Mapping[str, Floats], width: int) -> Floats:
    """The greatest coverage of any source: shape (width,)."""
    return np.max([*exposures.values(), np.zeros(width)], axis=0)


def exposures_by_bucket(exposures: Mapping[str, Floats]) -> Mapping[str, Floats]:
    """Of the last `HISTORY_MINUTES` minutes, by source, in buckets."""
    return {
        name: exposure[-HISTORY_MINUTES:].reshape(BUCKETS, GRID.minutes).mean(1) for name, exposure in exposures.items()
    }
