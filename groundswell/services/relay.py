"""The relay: watches one source and stores what it says, losing nothing and counting nothing twice.

Two loops joined by a short queue. The reader follows the session, decodes and batches; the writer commits, in order,
and repeats a commit until the store takes it. When the writer falls behind the queue fills, the reader stops, the
session's read-ahead fills, and the socket is left unread: that is the back-pressure.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from random import Random
from typing import Literal, TypeAlias, TypeVar

import msgspec

from groundswell.core.batching import Batcher, Taken
from groundswell.core.coverage import CoverageTracker, Resumed
from groundswell.core.cursor import advance_cursor
from groundswell.core.instants import rfc3339
from groundswell.core.jetstream import clamp_event_time
from groundswell.core.posts import MICROS_PER_SECOND, Micros
from groundswell.core.session import full_jitter_backoff
from groundswell.errors import StoreUnavailable
from groundswell.metrics import Metrics
from groundswell.ports import Batch, Broadcaster, Clock, Event, GapCause, PostStore, Source
from groundswell.services.session import Connected, Ended, Frame, Idle, Lost, Session

log = logging.getLogger(__name__)
T = TypeVar("T")

WAITING_BATCHES = 2
"""Batches between reader and writer: one being filled while one is committed, and one to spare."""
DRAIN_S = 20.0
"""What a stopping relay gives its last commits: within the 30 s that Fargate leaves after SIGTERM."""
COMPARE_CLOCKS_EVERY_S = 30.0
STORE_RETRY_BASE_S = 0.2
STORE_RETRY_CAP_S = 5.0

RelayPhase: TypeAlias = Literal[
    "starting", "connecting", "catching-up", "live", "disconnected", "failed", "ended", "stopped"
]


class RelayState(msgspec.Struct):
    """What the relay is doing, for `/v1/status` and metrics. Counters start at zero with the process."""

    phase: RelayPhase = "starting"
    why: str | None = None
    """A sentence, while not all is well."""
    endpoint: str | None = None
    storing: bool = True
    """False while commits wait for the store."""
    frames_total: int = 0
    created_total: int = 0
    updated_total: int = 0
    deleted_total: int = 0
    duplicates_total: int = 0
    reconnects_total: int = 0
    batches_total: int = 0
    decode_seconds: float = 0.0
    commit_seconds: float = 0.0
    ignored_total: Counter[str] = msgspec.field(default_factory=Counter[str])


class _GapOpens(msgspec.Struct, frozen=True):
    cause: GapCause
    started_at: Micros
    detail: str


class _GapCloses(msgspec.Struct, frozen=True):
    at: Micros
    backfilled: bool


_Work: TypeAlias = Batch | _GapOpens | _GapCloses


class Relay:
    """Runs one source into one store until told to stop, or until a finite source ends.

    Args:
        on_stored: called after every commit that created or changed posts; the indexer's `wake`.
        recording: the source is a finite tape, so there is no present to catch up with.
    """

    def __init__(
        self,
        source: Source,
        store: PostStore,
        broadcaster: Broadcaster,
        clock: Clock,
        *,
        batch_max_posts: int,
        batch_max_age_s: float,
        rng: Random,
        metrics: Metrics,
        on_stored: Callable[[], None] = lambda: None,
        recording: bool = False,
    ) -> None:
        self._source = source
        self._store = store
        self._broadcaster = broadcaster
        self._clock = clock
        self._rng = rng
        self._metrics = metrics
        self._on_stored = on_stored
        self._batcher = Batcher(batch_max_posts, batch_max_age_s)
        self._batch_max_age_s = batch_max_age_s
        self._recording = recording
        self._tracker = CoverageTracker(recording=recording)
        self._queue: asyncio.Queue[_Work] = asyncio.Queue(WAITING_BATCHES)
        self._turn = asyncio.Lock()
        self._cursor: int | None = None
        self._covered_until: Micros | None = None
        self._gap_open = False
        self._closing: _GapCloses | None = None
        self._store_ahead_us = 0
        self._connected_at: Micros = 0
        self.state = RelayState()

    @property
    def live(self) -> bool:
        return self._tracker.live

    async def run(self, stop: asyncio.Event) -> None:
        """Watch and store. On `stop`, what was read is committed and the time away is recorded as a gap.

        Raises:
            SourceFailed: the source refuses for good; what had been read is stored.
        """
        if not await self._take_up(stop):
            return
        reading = asyncio.create_task(self._read(stop))
        helpers = [asyncio.create_task(task) for task in (self._keep_pace(), self._keep_time())]
        writing = asyncio.create_task(self._write())
        try:
            await asyncio.wait({reading, writing, *helpers}, return_when=asyncio.FIRST_COMPLETED)
            if reading.done() and not writing.done():
                await self._drain(writing)
        finally:
            for task in (reading, writing, *helpers):
                task.cancel()
            ends = await asyncio.gather(reading, writing, *helpers, return_exceptions=True)
        for end in ends:
            if isinstance(end, Exception):
                raise end

    # -------------------------------------------------------------- start and stop
    async def _take_up(self, stop: asyncio.Event) -> bool:
        """Learn where the last run ended. False when told to stop before the store could be reached."""
        point = await self._insist(lambda: self._store.resume_point(self._source.name), stop)
        now = await self._insist(self._store.now, stop)
        if point is None or now is None:
            return False
        self._cursor, self._covered_until = point.cursor, point.covered_until
        self._store_ahead_us = now - self._monotonic_us()
        await self._open_gap("start", "the relay was not running")
        return True

    async def _drain(self, writing: asyncio.Task[None]) -> None:
        """The reader has ended: store what it left behind, within `DRAIN_S`."""
        emptied = asyncio.create_task(self._finish_queue())
        done, _ = await asyncio.wait({emptied, writing}, timeout=DRAIN_S, return_when=asyncio.FIRST_COMPLETED)
        if emptied not in done:
            emptied.cancel()
            log.error(
                "stopping with %d batches not stored: %s",
                self._queue.qsize() + 1,
                "they are read again from the stored cursor at the next start"
                if self._source.can_replay
                else "the source cannot send them again; the gap is recorded at the next start",
            )

    async def _finish_queue(self) -> None:
        await self._flush()
        self._tracker.lost()
        if self.state.phase != "ended":
            self.state.phase = "stopped"
            await self._open_gap("shutdown", "the relay was stopped")
        await self._queue.join()

    # -------------------------------------------------------------- reading
    async def _read(self, stop: asyncio.Event) -> None:
        session = Session(self._source, self._clock, resume=self._resume, rng=self._rng)
        monotonic, decode, add = self._clock.monotonic, self._source.decode, self._batcher.add
        async with aclosing(session.events(stop)) as events:
            async for event in events:
                if isinstance(event, Frame):
                    started = monotonic()
                    latest = self._tracker.covered_until or self._covered_until
                    decoded = clamp_event_time(decode(event.raw), self._store_now(), latest)
                    if decoded.event_time is not None:
                        self._resumed(self._tracker.frame(decoded.event_time))
                    full = add(decoded, started)
                    self.state.frames_total += 1
                    self.state.decode_seconds += monotonic() - started
                    if full:
                        await self._flush()
                elif isinstance(event, Idle):
                    self._resumed(self._tracker.idle(event.seconds))
                    await self._flush()
                elif isinstance(event, Connected):
                    self._connected(event)
                elif isinstance(event, Lost):
                    await self._lost(event)
                else:
                    assert isinstance(event, Ended)
                    self.state.phase = "ended"

    async def _resume(self) -> int | None:
        return self._cursor

    def _connected(self, event: Connected) -> None:
        self._connected_at = self._store_now()
        replays = self._source.can_replay and event.cursor is not None
        self._tracker.connected(now=self._connected_at, resumed_from=self._covered_until if replays else None)
        self.state.endpoint = event.endpoint
        self.state.why = None
        self.state.phase = "live" if self._tracker.live else "catching-up"
        log.info("%s connected to %s", self._source.name, event.endpoint)

    def _resumed(self, resumed: Resumed | None) -> None:
        """Note how the open gap will be closed."""
        if resumed is not None:
            # What is re-sent is missing until the last of it has come: that gap ends where this connection began.
            at = self._connected_at if resumed.backfilled else resumed.at
            self._closing = _GapCloses(at, resumed.backfilled)
            if resumed.missed_from is not None:
                log.warning(
                    "%s no longer has the %.0f s before %s: they stay a gap",
                    self._source.name,
                    (resumed.at - resumed.missed_from) / MICROS_PER_SECOND,
                    rfc3339(resumed.at),
                )
        if self.state.phase == "catching-up" and self._tracker.live:
            self.state.phase = "live"

    async def _lost(self, event: Lost) -> None:
        await self._flush()
        self._tracker.lost()
        self._closing = None
        self.state.phase = "disconnected"
        self.state.why = event.detail
        self.state.reconnects_total += 1
        self._metrics.inc("reconnects_total", label=self._source.name)
        log.warning(
            "%s lost (%s): %s; next try in %.1f s", self._source.name, event.cause, event.detail, event.retry_in_s
        )
        await self._open_gap(event.cause, event.detail)

    async def _open_gap(self, cause: GapCause, detail: str) -> None:
        if self._covered_until is not None and not self._gap_open and not self._recording:
            self._gap_open = True
            await self._queue.put(_GapOpens(cause, self._covered_until, detail))

    async def _keep_pace(self) -> None:
        """Flush what has grown old while nothing else came to push it out."""
        while True:
            await self._clock.sleep(self._batch_max_age_s / 2)
            if self._batcher.due(self._clock.monotonic()):
                await self._flush()

    async def _flush(self) -> None:
        """Queue what was gathered, with the stretch that was watched meanwhile, and a gap's end that is due."""
        async with self._turn:  # reader and pacer both flush: whoever takes first is queued first
            taken, stretch = self._batcher.take(), self._tracker.stretch
            self._count(taken)
            if stretch is not None and (taken.frames or stretch.covered_until != self._covered_until):
                self._cursor = advance_cursor(self._cursor, taken.cursor)
                self._covered_until = max(self._covered_until or 0, stretch.covered_until)
                await self._queue.put(
                    Batch(
                        source=self._source.name,
                        posts=taken.posts,
                        deletes=taken.deletes,
                        cursor=taken.cursor,
                        covered_from=stretch.covered_from,
                        covered_until=stretch.covered_until,
                        live=stretch.live,
                    )
                )
            closing = self._closing
            if closing is not None and (self._tracker.live or not closing.backfilled):
                self._closing = None
                self._gap_open = False
                await self._queue.put(closing)

    # -------------------------------------------------------------- writing
    async def _write(self) -> None:
        while True:
            work = await self._queue.get()
            started = self._clock.monotonic()
            events = await self._insist(lambda work=work: self._store_work(work))
            self.state.commit_seconds += self._clock.monotonic() - started
            await self._broadcaster.publish(events or ())
            self._queue.task_done()

    async def _store_work(self, work: _Work) -> Sequence[Event]:
        if isinstance(work, Batch):
            started = self._clock.monotonic()
            done = await self._store.commit(work)
            self._metrics.observe("commit_seconds", self._clock.monotonic() - started)
            for name, n in (
                ("posts_stored_total", len(done.created)),
                ("posts_updated_total", done.updated),
                ("posts_deleted_total", done.deleted),
                ("posts_duplicate_total", done.duplicates),
            ):
                self._metrics.inc(name, n)
            state = self.state
            state.batches_total += 1
            state.created_total += len(done.created)
            state.updated_total += done.updated
            state.deleted_total += done.deleted
            state.duplicates_total += done.duplicates
            if done.created or done.updated or done.deleted:
                self._on_stored()
            return done.events
        name = self._source.name
        if isinstance(work, _GapOpens):
            event = await self._store.open_gap(name, work.cause, work.started_at, work.detail)
        else:
            event = await self._store.close_gap(name, work.at, backfilled=work.backfilled)
        return () if event is None else (event,)

    async def _insist(self, attempt: Callable[[], Awaitable[T]], stop: asyncio.Event | None = None) -> T | None:
        """Repeat until the store takes it. Every store operation is idempotent, so a lost answer is no harm.

        None only when `stop` was set first.
        """
        delays = full_jitter_backoff(self._rng, STORE_RETRY_BASE_S, STORE_RETRY_CAP_S)
        while stop is None or not stop.is_set():
            try:
                result = await attempt()
            except StoreUnavailable as error:
                if self.state.storing:
                    log.warning("storing is delayed: %s", error)
                self.state.storing = False
                await self._clock.sleep(next(delays))
            else:
                if not self.state.storing:
                    log.info("storing goes on")
                self.state.storing = True
                return result
        return None

    # -------------------------------------------------------------- time and status
    def status(self) -> tuple[str, dict[str, object]]:
        """State and detail for `/v1/status`."""
        state = self.state
        detail: dict[str, object] = {
            "why": state.why if state.storing else "the database does not take commits: storing is delayed",
            "source": self._source.name,
            "endpoint": state.endpoint,
            "frames": state.frames_total,
            "created": state.created_total,
            "duplicates": state.duplicates_total,
            "reconnects": state.reconnects_total,
            "ignored": dict(state.ignored_total),
            "decode_seconds": round(state.decode_seconds, 3),
            "commit_seconds": round(state.commit_seconds, 3),
        }
        return state.phase if state.storing else "storing-delayed", detail

    def _count(self, taken: Taken) -> None:
        self.state.ignored_total.update(taken.ignored)
        self._metrics.inc("frames_received_total", taken.frames, label=self._source.name)
        for reason, n in taken.ignored.items():
            self._metrics.inc("frames_ignored_total", n, label=reason)

    def _store_now(self) -> Micros:
        """The store's clock, carried forward by this machine's monotonic one."""
        return self._monotonic_us() + self._store_ahead_us

    def _monotonic_us(self) -> int:
        return int(self._clock.monotonic() * MICROS_PER_SECOND)

    async def _keep_time(self) -> None:
        """The two clocks drift apart: look at the store's now and then."""
        while True:
            await self._clock.sleep(COMPARE_CLOCKS_EVERY_S)
            try:
                self._store_ahead_us = await self._store.now() - self._monotonic_us()
            except StoreUnavailable as error:
                log.debug("clocks not compared: %s", error)
