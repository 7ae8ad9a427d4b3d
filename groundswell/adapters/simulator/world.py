"""The world: every second of it is a pure function of the configuration, so any stretch can be told again exactly."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple, TypeAlias

import msgspec
import numpy as np

from groundswell.adapters.simulator.background import (
    OTHER_COLLECTIONS,
    account_frame,
    garbage_frame,
    identity_frame,
    other_frame,
)
from groundswell.adapters.simulator.chance import (
    derive,
    mix,
    mix_all,
    round_by_chance,
    throwaway_did,
    tid,
    unit,
    units,
)
from groundswell.adapters.simulator.config import Surge, WorldConfig
from groundswell.adapters.simulator.surges import Lane, Schedule
from groundswell.adapters.simulator.writing import POST, Draft, Ints, Refs, Writer
from groundswell.core.posts import MICROS_PER_SECOND, Micros

FrameKind: TypeAlias = Literal["commit", "identity", "account", "garbage"]

_DUPLICATES, _UPDATES, _DELETES, _ACCOUNTS, _GARBAGE, _OTHERS, _PLACE, _AWAY = range(1, 9)
_SOONEST_S = 3
"""Nothing happens to a post sooner: its revision must be older than that of what happens."""
_TRIES = 12
_AWAY_S = (20, 120)
"""How long an account is away that comes back."""
_AWAY_STATUSES = ("deactivated", "suspended", "takendown", "deleted", "quarantined", "desynchronized", "throttled")
"""The states of the network, and one that nobody has met."""
_PASSING = frozenset({"desynchronized", "throttled"})
_JITTERED = 100_000
"""Frames of a second whose places can be jittered and still differ by a microsecond."""


class Mark(NamedTuple):
    """What a frame does to a reader's store: what the truth is made of."""

    does: Literal["create", "update", "delete", "takedown", "hide", "show", "end"]
    did: str
    rkey: str = ""
    rev: str = ""
    entities: tuple[str, ...] = ()


class Second(msgspec.Struct, frozen=True):
    """The frames of one second, in order; the lists run in parallel."""

    times: list[Micros]
    """Strictly increasing. Garbage has a place in time too, though not always in its bytes."""
    frames: list[bytes]
    labels: list[str]
    """The collection of a commit; `identity`, `account` or `garbage` otherwise."""
    marks: list[Mark | None]


class _Target(NamedTuple):
    second: int
    lane: int
    place: int


class World:
    """A deterministic social network in Jetstream v1 frames."""

    def __init__(self, config: WorldConfig | None = None) -> None:
        self.config = config or WorldConfig()
        key = derive(0x6720, self.config.seed)
        self._writer = Writer(self.config, key)
        self._schedule = Schedule(self.config, key)
        self._began = -(-self.config.began_at // MICROS_PER_SECOND)

    def usual_rate(self, entity: str) -> float:
        """Mentions a second outside surges, averaged over the day, to first order."""
        return self._schedule.usual_rate(entity)

    def surges(self, since: Micros, until: Micros) -> tuple[Surge, ...]:
        """All surges and spam bursts that overlap [since, until), by start."""
        found = [lane.surge for lane in self._schedule.between(since, until)]
        return tuple(sorted((s for s in found if s.start < until and s.end > since), key=lambda s: (s.start, s.entity)))

    def frames(self, since: Micros, until: Micros, *, everything: bool = False) -> Iterator[tuple[Micros, bytes]]:
        """(time_us, frame) for every frame in [since, until). Without `everything`: posts, accounts, garbage."""
        for part in self.seconds(since, until, everything=everything):
            yield from zip(part.times, part.frames, strict=True)

    def seconds(self, since: Micros, until: Micros, *, everything: bool = False) -> Iterator[Second]:
        """The seconds of [since, until), the first and the last one cut where the stretch begins and ends."""
        first, last = since // MICROS_PER_SECOND, -(-until // MICROS_PER_SECOND)
        for second in range(first, last):
            whole = self.second(second, everything=everything)
            inside = since <= second * MICROS_PER_SECOND and (second + 1) * MICROS_PER_SECOND <= until
            yield whole if inside else _cut(whole, since, until)

    def second(self, second: int, *, everything: bool = False) -> Second:
        """All frames of one second of the Unix epoch. With `everything` also likes, follows and the like;
        the frames that both have are the same bytes at the same times.
        """
        if second < self._began:
            return Second([], [], [], [])
        return _Drawing(self.config, self._writer, self._schedule, second).draw(everything=everything)


class _Drawing:
    """One second in the making."""

    def __init__(self, config: WorldConfig, writer: Writer, schedule: Schedule, second: int) -> None:
        self._config = config
        self._writer = writer
        self._schedule = schedule
        self._second = second
        self._key = writer.second_key(second)
        self._lanes: dict[int, Lane] = {lane.number: lane for lane in schedule.lanes(second)}
        self._frames: list[bytes] = []
        self._labels: list[str] = []
        self._marks: list[Mark | None] = []

    def draw(self, *, everything: bool) -> Second:
        config = self._config
        fresh = self._fresh()
        new = len(fresh.places)
        duplicates = self._targets(_DUPLICATES, self._some(new * config.duplicate_share, _DUPLICATES))
        updates = self._targets(_UPDATES, self._some(new * config.update_share, _UPDATES))
        deletes = self._targets(_DELETES, self._some(new * config.delete_share, _DELETES))
        takedowns = self._takedowns()
        away = self._away()
        accounts = self._some(new * config.account_share, _ACCOUNTS)
        garbage = self._some(new * config.garbage_share, _GARBAGE)
        others = self._some(new * config.others_per_post, _OTHERS)

        told = new + len(duplicates) + len(updates) + len(deletes) + len(takedowns) + len(away) + accounts + garbage
        order, times = self._places(fresh, told + others)
        when = iter(times[np.argsort(order)].tolist())
        self._posts(Refs(*(np.concatenate(pair) for pair in zip(fresh, _refs(duplicates), strict=True))), when)
        self._updates(_refs(updates), when)
        self._deletes(_refs(deletes), when)
        for did in takedowns:
            self._add(account_frame(next(when), did, "takendown"), "account", Mark("takedown", did))
        for did, status in away:
            self._add(account_frame(next(when), did, status), "account", _mark_of(did, status))
        self._accounts(accounts, when)
        for n in range(garbage):
            key = derive(self._key, _GARBAGE, n)
            self._add(garbage_frame(next(when), throwaway_did(self._key, n), key), "garbage", None)
        if everything:
            self._others(others, when)
            chosen = order.tolist()
        else:
            kept = order < told
            chosen, times = order[kept].tolist(), times[kept]
        return Second(
            times.tolist(),
            [self._frames[n] for n in chosen],
            [self._labels[n] for n in chosen],
            [self._marks[n] for n in chosen],
        )

    def _fresh(self) -> Refs:
        """The posts that this second brings forth, ordinary ones first."""
        sizes = [(0, self._writer.ordinary_posts(self._second))]
        sizes += [(number, lane.posts_in(self._second)) for number, lane in self._lanes.items()]
        lanes = np.concatenate([np.full(size, number, dtype=np.int64) for number, size in sizes])
        places = np.concatenate([np.arange(size, dtype=np.int64) for _, size in sizes])
        return Refs(np.full(len(lanes), self._second, dtype=np.int64), lanes, places)

    def _some(self, expected: float, purpose: int) -> int:
        return round_by_chance(expected, derive(self._key, purpose, -1))

    def _places(self, fresh: Refs, total: int) -> tuple[Ints, Ints]:
        """(items in the order of time, their times). Evenly spread with jitter, strictly increasing."""
        rest = np.arange(total - len(fresh.places), dtype=np.uint64) ^ np.uint64(derive(self._key, _PLACE))
        places = np.concatenate([self._writer.positions(fresh), units(mix_all(rest))])
        order = np.argsort(places, kind="stable")
        ranks = np.arange(total, dtype=np.float64)
        jitter = 0.9 * units(mix_all(np.arange(total, dtype=np.uint64) ^ np.uint64(mix(self._key))))
        assert total <= MICROS_PER_SECOND, "a second has room for one frame a microsecond"
        if total > _JITTERED:
            jitter[:] = 0
        within = np.floor((ranks + jitter) * MICROS_PER_SECOND / max(total, 1)).astype(np.int64)
        return order, self._second * MICROS_PER_SECOND + within

    def _posts(self, refs: Refs, when: Iterator[Micros]) -> None:
        for draft in self._writer.write(refs, self._all_lanes(refs)):
            mark = Mark("create", draft.did, draft.rkey, draft.rev, draft.entities)
            self._add(_commit(next(when), draft, "create", draft.rev), POST, mark)

    def _updates(self, refs: Refs, when: Iterator[Micros]) -> None:
        if not len(refs.places):
            return
        for draft in self._writer.write(refs, self._all_lanes(refs), edited=True):
            time_us = next(when)
            rev = tid(time_us - 20_000, 1)
            mark = Mark("update", draft.did, draft.rkey, rev, draft.entities)
            self._add(_commit(time_us, draft, "update", rev), POST, mark)

    def _deletes(self, refs: Refs, when: Iterator[Micros]) -> None:
        if not len(refs.places):
            return
        keys = self._writer.keys(refs, self._all_lanes(refs))
        for did, rkey in zip(keys.dids, keys.rkeys, strict=True):
            time_us = next(when)
            rev = tid(time_us - 20_000, 2)
            frame = (
                f'{{"did":"{did}","time_us":{time_us},"kind":"commit","commit":{{"rev":"{rev}",'
                f'"operation":"delete","collection":"{POST}","rkey":"{rkey}"}}}}'
            )
            self._add(frame.encode(), POST, Mark("delete", did, rkey, rev))

    def _takedowns(self) -> list[str]:
        return [
            throwaway_did(lane.key, number)
            for lane in self._lanes.values()
            for instant, number in lane.takedowns()
            if instant // MICROS_PER_SECOND == self._second
        ]

    def _away(self) -> list[tuple[str, str | None]]:
        """Accounts that are taken away in this second, with why, and those that come back (None)."""
        if not self._config.away_per_minute:
            return []
        found: list[tuple[str, str | None]] = [(did, status) for did, status, _ in self._leaving(self._second)]
        for age in range(*_AWAY_S):
            found += [(did, None) for did, _, back in self._leaving(self._second - age) if back == age]
        return found

    def _leaving(self, second: int) -> list[tuple[str, str, int | None]]:
        """Accounts taken away in a second: which, why, and after how many seconds they are back; None: never."""
        if second < self._config.began_at // MICROS_PER_SECOND:
            return []
        key = derive(self._writer.second_key(second), _AWAY)
        values = [derive(key, n) for n in range(round_by_chance(self._config.away_per_minute / 60, derive(key, -1)))]
        stay = [_AWAY_S[0] + int((_AWAY_S[1] - _AWAY_S[0]) * unit(mix(value))) for value in values]
        return [
            (did, _AWAY_STATUSES[value % len(_AWAY_STATUSES)], None if value >> 8 & 3 == 0 else age)
            for did, value, age in zip(self._authors(values), values, stay, strict=True)
        ]

    def _accounts(self, count: int, when: Iterator[Micros]) -> None:
        for did in self._authors([derive(self._key, _ACCOUNTS, n) for n in range(count)]):
            time_us = next(when)
            if time_us % 2:
                self._add(account_frame(time_us, did, None), "account", None)
            else:
                self._add(identity_frame(time_us, did), "identity", None)

    def _others(self, count: int, when: Iterator[Micros]) -> None:
        values = [derive(self._key, _OTHERS, n) for n in range(count)]
        behind = [self._second - 2 - int(600 * unit(mix(value)) ** 3) for value in values]
        sizes = [max(self._writer.ordinary_posts(second), 1) for second in behind]
        index = [int(unit(value) * size) for value, size in zip(values, sizes, strict=True)]
        keys = self._writer.keys(_refs([_Target(s, 0, i) for s, i in zip(behind, index, strict=True)]), {})
        subjects = zip(keys.dids, keys.rkeys, keys.cids, strict=True)
        for value, did, subject in zip(values, self._authors([mix(v + 1) for v in values]), subjects, strict=True):
            collection = OTHER_COLLECTIONS[value & 15]
            self._add(other_frame(next(when), did, value, subject, collection), collection, None)

    def _authors(self, values: list[int]) -> list[str]:
        return self._writer.authors(np.array(values, dtype=np.uint64)) if values else []

    def _targets(self, purpose: int, count: int) -> list[_Target]:
        """Earlier posts that something happens to in this second."""
        found = (self._target(purpose, derive(self._key, purpose, n)) for n in range(count))
        return [target for target in found if target is not None]

    def _target(self, purpose: int, key: int) -> _Target | None:
        """One earlier post, by rejection: its own hash says what may happen to it, so that no post is edited after
        it is deleted. None where the past is too short.
        """
        reach = 600 if purpose == _DELETES else 117 if purpose == _DUPLICATES else 200
        for _ in range(_TRIES):
            key = mix(key)
            age = _SOONEST_S + int(reach ** unit(key))
            second = self._second - age
            lane, size = self._source(second, mix(key ^ 1))
            if not size:
                continue
            target = _Target(second, lane, int(unit(mix(key ^ 2)) * size))
            value = self._writer.hash_of(*target)
            kind = value >> 60
            is_reply = lane == 0 and (value >> 12) & 0xFFFF < self._writer.reply_limit
            if (
                purpose == _DUPLICATES
                or (purpose == _UPDATES and kind in (6, 7) and not is_reply)
                or (purpose == _DELETES and (kind < 6 or (kind == 7 and age > 250)))
            ):
                return target
        return None

    def _source(self, second: int, value: int) -> tuple[int, int]:
        """(lane, posts in it): mostly the ordinary stream, sometimes a surge. Spam is left to the takedowns."""
        if value & 7 == 0:
            lanes = [
                (lane, size)
                for lane in self._schedule.lanes(second)
                if lane.surge.kind == "story" and (size := lane.posts_in(second))
            ]
            if lanes and second >= self._config.began_at // MICROS_PER_SECOND:
                lane, size = lanes[(value >> 3) % len(lanes)]
                self._lanes.setdefault(lane.number, lane)
                return lane.number, size
        return 0, self._writer.ordinary_posts(second)

    def _all_lanes(self, refs: Refs) -> dict[int, Lane]:
        assert set(refs.lanes.tolist()) <= {0, *self._lanes}, "a lane was referred to before it was found"
        return self._lanes

    def _add(self, frame: bytes, label: str, mark: Mark | None) -> None:
        self._frames.append(frame)
        self._labels.append(label)
        self._marks.append(mark)


def _mark_of(did: str, status: str | None) -> Mark | None:
    if status is None:
        return Mark("show", did)
    if status in _PASSING:
        return None
    return Mark("end" if status == "deleted" else "hide", did)


def _commit(time_us: Micros, draft: Draft, operation: str, rev: str) -> bytes:
    return (
        f'{{"did":"{draft.did}","time_us":{time_us},"kind":"commit","commit":{{"rev":"{rev}",'
        f'"operation":"{operation}","collection":"{POST}","rkey":"{draft.rkey}","record":{draft.record},'
        f'"cid":"{draft.cid}"}}}}'
    ).encode()


def _refs(targets: list[_Target]) -> Refs:
    columns = np.array(targets, dtype=np.int64).reshape(len(targets), 3)
    return Refs(columns[:, 0], columns[:, 1], columns[:, 2])


def _cut(part: Second, since: Micros, until: Micros) -> Second:
    keep = [n for n, time in enumerate(part.times) if since <= time < until]
    return Second(
        [part.times[n] for n in keep],
        [part.frames[n] for n in keep],
        [part.labels[n] for n in keep],
        [part.marks[n] for n in keep],
    )
