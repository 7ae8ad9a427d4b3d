"""Asks hosts again for stretches that were missed, beside the connection that goes on.

Two kinds: a hole that the host which is read no longer has, and which another host may still have; and the seam where a
replay of Jetstream v1 met the present, at which such hosts lose events without a sign. What comes is stored like
everything that is sent again: once. A gap that is filled is marked as backfilled.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from groundswell.core.batching import Batcher
from groundswell.core.cursor import is_plausible
from groundswell.core.host_positions import HOST_CHANGE_REWIND
from groundswell.core.instants import rfc3339
from groundswell.core.posts import MICROS_PER_SECOND, Decoded, Micros
from groundswell.core.session import PING_TIMEOUT_S, ConnectionLost, verdict
from groundswell.ports.sources import Connection
from groundswell.ports.storing import Batch, GapsFilled, Work
from groundswell.ports.time import Clock
from groundswell.services.host_following import HostFollowing
from groundswell.services.pausing import call_off, pause

log = logging.getLogger(__name__)

QUIET_S = 5.0
"""A host that answers a ping and has sent nothing for so long has nothing more of the stretch."""
SEAM_BEFORE_S = 30.0
SEAM_AFTER_S = 60.0
"""The seam of a replay and the present, around the moments between which it lies."""
SETTLED_S = 15.0
"""So long after the end of a stretch it is asked for: then it is all past, and no seam of its own lies in it."""
MAX_WAITING = 16
_MARGIN = MICROS_PER_SECOND


class Stretch(msgspec.Struct, frozen=True):
    """A part of the source's time to ask for again."""

    since: Micros
    until: Micros
    avoid: str | None = None
    """The host that no longer has it. None: the host that is read is asked first."""


class Refiller:
    """Fills stretches one after the other, the one that can be asked for soonest first.

    Args:
        put: queues work for the store.
        covered_until: how far the source has been read, or None.
        store_now: the store's clock.
    """

    def __init__(
        self,
        name: str,
        following: HostFollowing,
        decode: Callable[[bytes], Decoded],
        clock: Clock,
        *,
        put: Callable[[Work], Awaitable[None]],
        covered_until: Callable[[], Micros | None],
        store_now: Callable[[], Micros],
        batch_max_posts: int,
    ) -> None:
        self._name = name
        self._following = following
        self._decode = decode
        self._clock = clock
        self._put = put
        self._covered_until = covered_until
        self._store_now = store_now
        self._batch_max_posts = batch_max_posts
        self._waiting: list[Stretch] = []
        self._asked = asyncio.Event()
        self.filled = 0
        """Stretches that have come whole."""
        self.missing = 0
        """Stretches that no host has any more, whole."""

    def ask(self, stretch: Stretch) -> None:
        """Have a stretch asked for. Beyond `MAX_WAITING` the newest is left out: it stays a gap where it is one."""
        if len(self._waiting) >= MAX_WAITING:
            log.warning("%s: too many stretches to ask for again; %s is left out", self._name, _span(stretch))
            return
        self._waiting.append(stretch)
        self._waiting.sort(key=lambda waiting: waiting.until)
        self._asked.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._asked.clear()
            if not self._waiting:
                await self._asked.wait()
                continue
            due_s = (self._waiting[0].until - self._store_now()) / MICROS_PER_SECOND + SETTLED_S
            if due_s > 0:
                await pause(self._clock, due_s, self._asked)
                continue
            await self._fill(self._waiting.pop(0))

    async def _fill(self, stretch: Stretch) -> None:
        missing_until = stretch.until
        for host in self._candidates(stretch):
            wanted = Stretch(stretch.since, missing_until)
            try:
                async with self._following.source.connect_to(
                    host, max(0, stretch.since - HOST_CHANGE_REWIND)
                ) as connection:
                    reached = await self._read(connection, wanted)
            except Exception as error:  # noqa: BLE001 -- whatever it is, the stretch stays a gap and the stream goes on
                log.warning("%s: %s was not asked again for %s: %s", self._name, host, _span(wanted), verdict(error))
                continue
            if reached is not None:
                missing_until = min(missing_until, max(reached, stretch.since))
            if missing_until <= stretch.since:
                break
        if missing_until > stretch.since:
            self.missing += 1
            log.warning("%s: no host has %s any more", self._name, _span(Stretch(stretch.since, missing_until)))
            return
        self.filled += 1
        log.info("%s: %s has been sent again", self._name, _span(stretch))
        if stretch.avoid is not None:
            await self._put(GapsFilled(stretch.since - _MARGIN, stretch.until + _MARGIN))

    def _candidates(self, stretch: Stretch) -> Sequence[str]:
        source = self._following.source
        if stretch.avoid is not None:
            return [host for host in source.hosts if host != stretch.avoid]
        return sorted(source.hosts, key=lambda host: host != source.host)

    async def _read(self, connection: Connection, wanted: Stretch) -> Micros | None:
        """Store what comes of a stretch; return the instant from which on it came. None: nothing came at all."""
        batcher = Batcher(self._batch_max_posts, 0)
        enough = min(wanted.until + HOST_CHANGE_REWIND, self._store_now())
        first: Micros | None = None
        while (raw := await self._next(connection)) is not None:
            decoded = self._following.dated(raw, self._decode(raw))
            at = decoded.cursor
            if at is None or not is_plausible(at, self._store_now()):
                continue
            first = at if first is None else first
            if at >= enough:
                break
            if at >= wanted.since - HOST_CHANGE_REWIND and batcher.add(decoded, 0):
                await self._store(batcher)
        await self._store(batcher)
        if first is None:
            return None
        start = max(first, wanted.since)
        if start < wanted.until:
            await self._store(batcher, resent=((start, wanted.until),))
        return first

    async def _next(self, connection: Connection) -> bytes | None:
        """The next frame; None once the host is silent and alive."""
        receiving = asyncio.ensure_future(connection.receive())
        try:
            await asyncio.wait({receiving}, timeout=0)
            if not receiving.done():
                await _first_of(receiving, asyncio.ensure_future(self._clock.sleep(QUIET_S)), keep=receiving)
            if not receiving.done():
                await self._ping(connection)
            return receiving.result() if receiving.done() else None
        finally:
            await call_off(receiving)

    async def _ping(self, connection: Connection) -> None:
        ping = asyncio.ensure_future(connection.ping())
        await _first_of(ping, asyncio.ensure_future(self._clock.sleep(PING_TIMEOUT_S)))
        if ping.cancelled():
            raise ConnectionLost("a ping went unanswered")
        ping.result()

    async def _store(self, batcher: Batcher, *, resent: tuple[tuple[Micros, Micros], ...] = ()) -> None:
        taken, covered = batcher.take(), self._covered_until()
        said = taken.posts or taken.deletes or taken.accounts or taken.profiles
        if covered is None or not (said or resent):
            return
        await self._put(
            Batch(
                source=self._name,
                posts=taken.posts,
                deletes=taken.deletes,
                cursor=None,
                covered_from=covered,
                covered_until=covered,
                live=False,
                resent=resent,
                accounts=taken.accounts,
                profiles=taken.profiles,
            )
        )


async def _first_of(
    one: asyncio.Future[Any], other: asyncio.Future[Any], *, keep: asyncio.Future[Any] | None = None
) -> None:
    """Wait for the first of two, and end the other unless it is to be kept."""
    try:
        await asyncio.wait({one, other}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (one, other):
            if task is not keep and not task.done():
                await call_off(task)


def _span(stretch: Stretch) -> str:
    return f"{rfc3339(stretch.since)} to {rfc3339(stretch.until)}"
