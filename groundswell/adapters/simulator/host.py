"""One host of a simulated world: its formats, its lag, its numbers, and the repositories that it had to read anew."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from typing import Literal, TypeAlias

import msgspec

from groundswell.adapters.simulator.chance import tid
from groundswell.adapters.simulator.world import Second, World
from groundswell.adapters.simulator.writing import POST, instant_text
from groundswell.core.instants import to_datetime
from groundswell.core.jetstream_messages import NSID
from groundswell.core.posts import MICROS_PER_SECOND, Micros

Version: TypeAlias = Literal[1, 2]
Format: TypeAlias = Literal["v1", "v1-numbered", "v2"]
"""`v1-numbered`: what a v2 host sends at `/subscribe`, v1 with the number of each event."""

ARCHIVE_BEGAN: Micros = 1_577_836_800 * MICROS_PER_SECOND
"""2020-01-01."""
SEGMENT_S = 3600


class Resync(msgspec.Struct, frozen=True):
    """A repository whose commits the host did not take from `since` to `until`, when it read the repository anew.

    Instants are the world's, on whole seconds. At `until` a v2 host sends a `#sync` and all posts of the author of the
    `reach_s` before, as if they were created then. In the v1 format they never come.
    """

    did: str
    since: Micros
    until: Micros
    reach_s: int = 600


class Host(msgspec.Struct, frozen=True):
    """What distinguishes one host of a world from another."""

    version: Version = 1
    lag_s: int = 0
    """So much later than the world the host sees an event, and stamps it."""
    archive_began: Micros = ARCHIVE_BEGAN
    """Numbers count the microseconds since: they differ from host to host, rise, and leave gaps."""
    segment_s: int = SEGMENT_S
    """Of a v2 host: a cursor that is a time within the segment under way starts at the segment's beginning."""
    xrpc: bool = True
    """Of a v2 host: whether `subscribeEvents` can be reached, or `/subscribe` alone, as behind a proxy."""
    resyncs: tuple[Resync, ...] = ()


class HostView:
    """The world as one host sees it, second by second, in any format."""

    def __init__(self, world: World, host: Host) -> None:
        self._world = world
        self._host = host
        self._lag = host.lag_s * MICROS_PER_SECOND
        self._replacements: dict[Resync, list[tuple[bytes, str]]] = {}

    def seq(self, at: Micros) -> int:
        return at - self._host.archive_began

    def at(self, seq: int) -> Micros:
        return seq + self._host.archive_began

    def second(self, second: int, *, everything: bool, form: Format) -> Second:
        """The frames that the host stamps in this second of the epoch."""
        seen = second - self._host.lag_s
        told = self._world.second(seen, everything=everything)
        for resync in self._host.resyncs:
            start = seen * MICROS_PER_SECOND
            if resync.since <= start < resync.until:
                told = _without(told, resync.did)
            elif start == resync.until and form == "v2":
                told = self._with_replacement(told, resync)
        encode = self._encoder(form)
        return Second(
            [time + self._lag for time in told.times],
            [encode(time, frame) for time, frame in zip(told.times, told.frames, strict=True)],
            told.labels,
            told.marks,
        )

    def _encoder(self, form: Format) -> Callable[[Micros, bytes], bytes]:
        if form == "v1" and not self._lag:
            return lambda _, frame: frame
        if form == "v2":
            return lambda time, frame: message(frame, time + self._lag, self.seq(time + self._lag))
        return lambda time, frame: restamped(
            frame, time, time + self._lag, None if form == "v1" else self.seq(time + self._lag)
        )

    def _with_replacement(self, told: Second, resync: Resync) -> Second:
        rows = self._replacements.get(resync)
        if rows is None:
            rows = self._replacements[resync] = self._rows(resync)
        end = resync.until + MICROS_PER_SECOND
        times = list(range(end - len(rows), end))
        assert not told.times or told.times[-1] < times[0], "the end of a second has room for a repository"
        stamped = [
            row.replace(b'"time_us":0', b'"time_us":%d' % at, 1) for at, (row, _) in zip(times, rows, strict=True)
        ]
        return Second(
            [*told.times, *times],
            [*told.frames, *stamped],
            [*told.labels, *(label for _, label in rows)],
            [*told.marks, *(None for _ in rows)],
        )

    def _rows(self, resync: Resync) -> list[tuple[bytes, str]]:
        """The marker and the posts that stand, as frames without a time."""
        standing: defaultdict[str, bytes] = defaultdict(bytes)
        since = resync.until - resync.reach_s * MICROS_PER_SECOND
        for part in self._world.seconds(since, resync.until):
            for frame, mark in zip(part.frames, part.marks, strict=True):
                if mark is None or mark.did != resync.did:
                    continue
                if mark.does in ("create", "update"):
                    standing[mark.rkey] = frame
                elif mark.does == "delete":
                    standing.pop(mark.rkey, None)
        rev, did = tid(resync.until, 7), resync.did
        sync = (
            f'{{"did":"{did}","time_us":0,"kind":"sync","sync":{{"blocks":{{"$bytes":""}},"did":"{did}","rev":"{rev}",'
            f'"seq":{resync.until // 1000},"time":"{instant_text(resync.until)}"}}}}'
        ).encode()
        rows = [(sync, "sync")]
        for rkey, frame in standing.items():
            commit = _V1.decode(frame).commit
            assert commit is not None, "a post is a commit"
            row = (
                f'{{"did":"{did}","time_us":0,"kind":"commit","commit":{{"rev":"{rev}","operation":"create",'
                f'"collection":"{POST}","rkey":"{rkey}","record":'
            )
            rows.append((row.encode() + bytes(commit.record) + b',"cid":"' + commit.cid.encode() + b'"}}', POST))
        return rows


class _Commit(msgspec.Struct):
    rev: str
    operation: str
    collection: str
    rkey: str
    record: msgspec.Raw = msgspec.Raw()
    cid: str = ""


class _Event(msgspec.Struct):
    did: str
    time_us: int
    kind: str
    commit: _Commit | None = None
    identity: msgspec.Raw = msgspec.Raw()
    account: msgspec.Raw = msgspec.Raw()
    sync: msgspec.Raw = msgspec.Raw()


_V1 = msgspec.json.Decoder(_Event)
_BROKEN_COMMIT = re.compile(rb'\{"did":"([^"]+)","time_us":\d+,"kind":"commit","commit":\{')


def message(frame: bytes, at: Micros, seq: int) -> bytes:
    """Return a frame of v1 in the format of v2. What is broken stays broken."""
    try:
        event = _V1.decode(frame)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        found = _BROKEN_COMMIT.match(frame)
        return frame if found is None else _head("commit", found[1].decode(), at, seq).encode() + frame[found.end() :]
    head = _head(event.kind, event.did, at, seq)
    if event.kind != "commit":
        inner = {"identity": event.identity, "account": event.account, "sync": event.sync}.get(event.kind)
        return frame if not inner else head.encode() + f'"{event.kind}":'.encode() + bytes(inner) + b"}}"
    commit = event.commit
    if commit is None:
        return head.encode()[:-1] + b"}}"
    body = (
        f'"rev":"{commit.rev}","operation":"{commit.operation}","collection":"{commit.collection}",'
        f'"rkey":"{commit.rkey}"'
    )
    record = bytes(commit.record)
    if not record:
        return (head + body).encode() + b"}}"
    cid = f',"cid":"{commit.cid}"' if commit.cid else ""
    return (head + body + cid).encode() + b',"record":' + record + b"}}"


def _head(kind: str, did: str, at: Micros, seq: int) -> str:
    stamp = to_datetime(at).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return (
        f'{{"$type":"message","payload":{{"$type":"{NSID}#{kind}","seq":{seq},"did":"{did}",'
        f'"time":"{stamp}","witnessedAt":"{stamp}",'
    )


def restamped(frame: bytes, was: Micros, at: Micros, seq: int | None) -> bytes:
    """Return a frame of v1 with another time, and with the number of the event if one is given."""
    old = b'"time_us":%d,' % was
    return frame.replace(old, b'"time_us":%d,' % at if seq is None else b'"time_us":%d,"cursor":%d,' % (at, seq), 1)


def _without(told: Second, did: str) -> Second:
    kept = [
        n
        for n, (mark, frame) in enumerate(zip(told.marks, told.frames, strict=True))
        if not (mark.did == did if mark is not None else frame.startswith(f'{{"did":"{did}"'.encode()))
    ]
    return Second(
        [told.times[n] for n in kept],
        [told.frames[n] for n in kept],
        [told.labels[n] for n in kept],
        [told.marks[n] for n in kept],
    )
