"""The writing half of the relay: into the store, in order, or through the spool while the store is away.

While the store answers and the spool is empty, work is committed as it comes. Work that the store does not take goes
to the spool, and so does all that follows, until the drain has emptied it: what comes later is never stored earlier.
Work that neither takes stays in hand; the queue fills, and the source is left unread.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import TypeVar

import msgspec

from groundswell.core.cursor import advance_cursor
from groundswell.core.host_positions import latest_positions
from groundswell.core.instants import rfc3339
from groundswell.core.posts import MICROS_PER_SECOND, Micros, ProfileLabels
from groundswell.core.self_labels import is_restricted
from groundswell.core.session import full_jitter_backoff
from groundswell.crash_points import CrashPoint, reach
from groundswell.errors import StoreUnavailable
from groundswell.metrics import Metrics
from groundswell.ports.live import Broadcaster
from groundswell.ports.sources import Source
from groundswell.ports.spool import Spool, Spooled, SpoolFull, SpoolItem
from groundswell.ports.storing import (
    Batch,
    Event,
    GapCause,
    GapCloses,
    GapOpens,
    GapsFilled,
    PostStore,
    ResumePoint,
    Work,
)
from groundswell.ports.time import Clock
from groundswell.services.relay_state import RelayState

log = logging.getLogger(__name__)
T = TypeVar("T")

WAITING_BATCHES = 2
"""Batches between reader and writer: one being filled while one is committed, and one to spare."""
STORE_RETRY_BASE_S = 0.2
STORE_RETRY_CAP_S = 5.0
MAX_RESTRICTED = 100_000
"""Authors who are known to keep their posts from readers who are not signed in, while the store cannot be asked."""
REMEMBER_EVERY_S = 5.0
"""How often the point to resume from is noted for a start without the store: an older one only repeats more."""


class StoreBehind(Exception):
    """What is spooled does not continue what is stored: the source has to send again what lies between.

    `cause` and the text say what the gap is recorded with.
    """

    def __init__(self, cause: GapCause, detail: str) -> None:
        super().__init__(detail)
        self.cause: GapCause = cause


def later(one: ResumePoint, other: ResumePoint) -> ResumePoint:
    """The point that is further along, in each of its parts."""
    covered = [at for at in (one.covered_until, other.covered_until) if at is not None]
    positions = latest_positions(one.positions, other.positions)
    return ResumePoint(advance_cursor(one.cursor, other.cursor), max(covered, default=None), positions)


def _is_behind(stored: int | None, expected: int | None) -> bool:
    return stored is not None and expected is not None and stored < expected


def after(spooled: Spooled) -> ResumePoint:
    """How far a source is known once this work is stored."""
    return _moved(spooled.before, spooled.work)


def _moved(point: ResumePoint, work: Work) -> ResumePoint:
    if not isinstance(work, Batch):
        return point
    positions = () if work.position is None else (work.position,)
    return later(point, ResumePoint(work.cursor, work.covered_until, positions))


class Writer:
    """Takes the work of one source, in order, and stores it; see the module.

    Args:
        spool: None: what the store does not take stays in hand.
        store_now: the store's clock, as well as it is known.
        on_full: called when neither store nor spool takes more from a source that cannot send it again.
    """

    def __init__(
        self,
        source: Source,
        store: PostStore,
        spool: Spool | None,
        broadcaster: Broadcaster,
        clock: Clock,
        *,
        state: RelayState,
        rng: Random,
        metrics: Metrics,
        on_stored: Callable[[], None],
        on_labels_outdated: Callable[[], None] = lambda: None,
        on_full: Callable[[str], None],
        store_now: Callable[[], Micros],
    ) -> None:
        self._source = source
        self._store = store
        self._spool = spool
        self._broadcaster = broadcaster
        self._clock = clock
        self._state = state
        self._rng = rng
        self._metrics = metrics
        self._on_stored = on_stored
        self._on_labels_outdated = on_labels_outdated
        self._on_full = on_full
        self._store_now = store_now
        self._queue: asyncio.Queue[Work] = asyncio.Queue(WAITING_BATCHES)
        self._spooled = asyncio.Event()
        self._refused = False
        """Whether the store did not take what it was last given."""
        self._settled = asyncio.Event()
        self._settled.set()
        self._room = asyncio.Event()
        self._room.set()
        self._taken = ResumePoint(None, None)
        """How far the source is known with all that was stored or spooled."""
        self._stored = ResumePoint(None, None)
        """How far it is stored, since the store last answered for it."""
        self._verified = False
        self._loss_recorded: Micros | None = None
        """The end of the last loss that was recorded as a gap."""
        self._remembered_at = float("-inf")
        self._restricted: OrderedDict[str, None] = OrderedDict()
        """The newest `MAX_RESTRICTED` authors whose profile says so: what is shown before it is stored goes by it."""

    def begin(self, point: ResumePoint) -> None:
        """Go on from `point`, which the spool leads up to where something is in it."""
        self._queue = asyncio.Queue(WAITING_BATCHES)
        self._taken = point
        self._verified = False
        self._room.set()
        if self._spool is not None and self._spool.depth:
            self._spooled.set()
            self._state.storing = False
        self._settle()

    async def put(self, work: Work) -> None:
        """Waits while the queue is full: this is the back-pressure."""
        await self._queue.put(work)

    async def join(self) -> None:
        """Return once all that was put is committed or spooled."""
        await self._queue.join()

    async def settled(self) -> None:
        """Return once the spool is empty, or as soon as the store refuses: what waits then goes on waiting on disk."""
        await self._settled.wait()

    def _settle(self) -> None:
        if self._refused or self._spool is None or not self._spool.depth:
            self._settled.set()
        else:
            self._settled.clear()

    async def room(self) -> None:
        """Return at once, or when a full spool takes work again."""
        await self._room.wait()

    @property
    def waiting(self) -> int:
        """Work in hand that is neither stored nor spooled."""
        return self._queue.qsize() + 1

    async def run(self) -> None:
        """Until cancelled.

        Raises:
            StoreBehind: the relay has to start anew from what is stored.
        """
        taking = asyncio.create_task(self._take_in())
        draining = asyncio.create_task(self._drain())
        try:
            await asyncio.wait({taking, draining}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            taking.cancel()
            draining.cancel()
            ends = await asyncio.gather(taking, draining, return_exceptions=True)
        for end in ends:
            if isinstance(end, Exception):
                raise end

    # -------------------------------------------------------------- taking in
    async def _take_in(self) -> None:
        while True:
            work = await self._queue.get()
            await self._accept(work)
            self._taken = _moved(self._taken, work)
            self._queue.task_done()

    async def _accept(self, work: Work) -> None:
        """Store the work, or spool it; repeat until one of them takes it."""
        delays = full_jitter_backoff(self._rng, STORE_RETRY_BASE_S, STORE_RETRY_CAP_S)
        while True:
            spool = self._spool
            if (spool is None or not spool.depth) and await self._commit_now(work):
                self._note_room()
                return
            if spool is not None:
                try:
                    await spool.append(Spooled(work, self._taken, self._store_now()))
                except SpoolFull as full:
                    self._note_full(str(full))
                else:
                    self._note_room()
                    self._state.spooled_total += isinstance(work, Batch)
                    self._spooled.set()
                    self._settle()
                    self.measure()
                    await self._preview(work)
                    return
            await self._clock.sleep(next(delays))

    async def _commit_now(self, work: Work) -> bool:
        try:
            await self._store_and_publish(Spooled(work, self._taken, spooled_at=0))
        except StoreUnavailable as error:
            self._note_delay(error)
            return False
        self._note_storing()
        return True

    async def _preview(self, work: Work) -> None:
        """The screens need not wait for the store: what is live is shown now, and comes again once it is stored."""
        if isinstance(work, Batch) and work.live:
            deleted = [deleted.id for deleted in work.deletes if deleted.id is not None]
            hidden = {account.author for account in work.accounts if account.hides}
            self._restrict(work.profiles)
            posts = [
                msgspec.structs.replace(post, restricted=post.restricted or post.author in self._restricted)
                for post in work.posts
                if post.author not in hidden
            ]
            await self._broadcaster.preview(posts, deleted, self._store_now())

    def _note_full(self, why: str) -> None:
        if self._state.spool_full is None:
            log.error("%s is left unread: the database is away and the spool takes no more: %s", self._source.name, why)
            self._room.clear()
            if not self._source.can_replay:
                self._on_full(f"the database was away and the spool took no more: {why}")
        self._state.spool_full = why

    def _note_room(self) -> None:
        """Not before half of the spool is free: a source would be taken up and left again with every segment."""
        if self._spool is not None and self._spool.size > self._spool.max_bytes // 2:
            return
        if self._state.spool_full is not None:
            log.info("%s is read on", self._source.name)
        self._state.spool_full = None
        self._room.set()

    # -------------------------------------------------------------- draining
    async def _drain(self) -> None:
        """Take the spool to the store, oldest first, whenever something is in it."""
        spool = self._spool
        if spool is None:
            return await asyncio.get_running_loop().create_future()
        while True:
            await self._spooled.wait()
            while items := await spool.read():
                for item in items:
                    await self._store_item(item)
                    reach(CrashPoint.RELAY_DRAIN_STORED)
                    spool.done(item)
                    self._refused = False
                    self._settle()
                    self._note_room()
                    self.measure()
            self._spooled.clear()
            self._note_storing()

    async def _store_item(self, item: SpoolItem) -> None:
        spooled = item.spooled
        if spooled is None:
            self._metrics.inc("spool_damaged_total")
            await self.insist(self._verify)
            # A store that has nothing of a source does not know from where it could be asked again.
            if self._source.can_replay and self._stored.cursor is not None:
                raise StoreBehind("spool-damaged", "a part of the spool on disk is damaged: it is asked for again")
            return
        work = spooled.work
        if isinstance(work, Batch):
            # However fresh it was when it came: now it is made up for.
            spooled = msgspec.structs.replace(spooled, work=msgspec.structs.replace(work, live=False))
        await self.insist(lambda: self._store_and_publish(spooled))

    async def discard_into(self, store_point: ResumePoint) -> None:
        """Store the posts that are spooled and no more than that: no cursor, no coverage, no gaps.

        For when the source is read again from `store_point`, which is before them: all else comes from there. Where
        there is no such point, nothing does, and the spool is drained as it is.
        """
        spool, covered = self._spool, store_point.covered_until
        assert spool is not None, "only what was spooled can be ahead of the store"
        if covered is None:
            return
        while items := await spool.read():
            for item in items:
                work = None if item.spooled is None else item.spooled.work
                if isinstance(work, Batch):
                    bare = msgspec.structs.replace(
                        work,
                        cursor=None,
                        covered_from=covered,
                        covered_until=covered,
                        live=False,
                        resent=(),
                        position=None,
                    )
                    await self.insist(lambda bare=bare: self._store_work(bare))
                spool.done(item)
        self._spooled.clear()
        self._settle()

    # -------------------------------------------------------------- storing
    async def _store_and_publish(self, spooled: Spooled) -> None:
        """Raises StoreUnavailable, and StoreBehind where this work does not continue what is stored."""
        work, before = spooled.work, spooled.before
        returned = not self._verified
        await self._verify()
        if self._source.can_replay:
            if _is_behind(self._stored.cursor, before.cursor):
                if returned:
                    raise StoreBehind("start", "the database holds less than it had taken: the rest is asked for again")
                raise StoreBehind("spool-damaged", "a part of the spool on disk is missing: it is asked for again")
        elif isinstance(work, Batch):
            work = await self._record_loss(work, before)
        events = await self._store_work(work)
        reach(CrashPoint.RELAY_AFTER_COMMIT)
        self._stored = _moved(self._stored, work)
        await self._broadcaster.publish(events)
        self._remember()

    async def _verify(self) -> None:
        """Learn how far the source is stored, where the store was away: it may have been restored meanwhile, or be a
        replica that had not got everything. Raises StoreUnavailable.
        """
        if not self._verified:
            self._stored = await self._store.resume_point(self._source.name)
            said = await self._store.restricted_authors(self._source.name, MAX_RESTRICTED)
            self._restricted = OrderedDict.fromkeys(reversed(said))
            self._verified = True

    def _restrict(self, profiles: Sequence[ProfileLabels]) -> None:
        for profile in profiles:
            self._restricted.pop(profile.author, None)
            if is_restricted(profile.labels):
                self._restricted[profile.author] = None
        while len(self._restricted) > MAX_RESTRICTED:
            self._restricted.popitem(last=False)

    async def _record_loss(self, batch: Batch, before: ResumePoint) -> Batch:
        """Where something is missing between what is stored and `batch`, for good: a gap, and no watched time."""
        since = self._stored.covered_until
        if since is None or not (before.covered_until is None or _is_behind(since, before.covered_until)):
            return batch
        until = max(batch.covered_from, before.covered_until or 0)
        if until <= since:
            return batch
        if until != self._loss_recorded:
            name = self._source.name
            cause: GapCause = "start" if before.covered_until is None else "spool-damaged"
            log.error("%s: what came from %s to %s is lost (%s)", name, rfc3339(since), rfc3339(until), cause)
            opened = await self._store.open_gap(name, cause, since, "it could not be kept while storing was delayed")
            closed = await self._store.close_gap(name, until, backfilled=False)
            self._loss_recorded = until
            await self._broadcaster.publish([event for event in (opened, closed) if event is not None])
        return msgspec.structs.replace(batch, covered_from=until)

    async def _store_work(self, work: Work) -> list[Event]:
        name = self._source.name
        if isinstance(work, GapOpens):
            # What was remembered for a start without the store may be a little older than what it holds.
            started_at = max(work.started_at, self._stored.covered_until or 0)
            event = await self._store.open_gap(name, work.cause, started_at, work.detail)
            return [] if event is None else [event]
        if isinstance(work, GapCloses):
            event = await self._store.close_gap(name, work.at, backfilled=work.backfilled)
            return [] if event is None else [event]
        if isinstance(work, GapsFilled):
            return list(await self._store.fill_gaps(name, work.since, work.until))
        started = self._clock.monotonic()
        done = await self._store.commit(work)
        self._restrict(work.profiles)
        seconds = self._clock.monotonic() - started
        self._metrics.observe("commit_seconds", seconds)
        for metric, n in (
            ("posts_stored_total", len(done.created)),
            ("posts_updated_total", done.updated),
            ("posts_deleted_total", done.deleted),
            ("posts_hidden_total", done.hidden),
            ("posts_restored_total", done.restored),
            ("posts_duplicate_total", done.duplicates),
        ):
            self._metrics.inc(metric, n)
        state = self._state
        state.commit_seconds += seconds
        state.batches_total += 1
        state.created_total += len(done.created)
        state.updated_total += done.updated
        state.deleted_total += done.deleted
        state.duplicates_total += done.duplicates
        if done.created or done.updated or done.deleted or done.hidden or done.restored:
            self._on_stored()
        if done.outdates_labels:
            self._on_labels_outdated()
        return list(done.events)

    async def insist(self, attempt: Callable[[], Awaitable[T]], stop: asyncio.Event | None = None) -> T | None:
        """Repeat until the store takes it. Every store operation is idempotent, so a lost answer is no harm.

        None only when `stop` was set first.
        """
        delays = full_jitter_backoff(self._rng, STORE_RETRY_BASE_S, STORE_RETRY_CAP_S)
        while stop is None or not stop.is_set():
            try:
                return await attempt()
            except StoreUnavailable as error:
                self._note_delay(error)
                await self._clock.sleep(next(delays))
        return None

    def _note_delay(self, error: StoreUnavailable) -> None:
        if self._state.storing:
            log.warning("storing is delayed: %s", error)
        self._state.storing = False
        self._verified = False
        self._refused = True
        self._settle()

    def _note_storing(self) -> None:
        if not self._state.storing:
            log.info("storing goes on")
        self._state.storing = True
        self._refused = False

    def _remember(self) -> None:
        now = self._clock.monotonic()
        if self._spool is not None and now - self._remembered_at >= REMEMBER_EVERY_S:
            self._remembered_at = now
            self._spool.remember(self._stored, self._store_now() - self._clock.now())

    # -------------------------------------------------------------- status
    def measure(self) -> dict[str, object] | None:
        """What waits in the spool, for the status; sets the metrics on the way. None without a spool."""
        spool = self._spool
        if spool is None:
            return None
        oldest = spool.oldest
        age_s = 0.0 if oldest is None else max(0.0, (self._store_now() - oldest) / MICROS_PER_SECOND)
        self._metrics.set("spool_batches", spool.depth)
        self._metrics.set("spool_bytes", spool.size)
        self._metrics.set("spool_age_seconds", age_s)
        return {
            "batches": spool.depth,
            "items": spool.items,
            "bytes": spool.size,
            "age_s": round(age_s, 1),
            "full": self._state.spool_full,
        }
