"""The relay: watches one source and stores what it says, losing nothing and counting nothing twice.

Two loops joined by a short queue. The reader, here, follows the session, decodes and batches; the writer
(`services.writing`) commits, in order, and keeps on disk what the store does not take. When the writer falls behind
the queue fills, the reader stops, the session's read-ahead fills, and the socket is left unread: that is the
back-pressure.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing
from random import Random

from groundswell.core.batching import Batcher, Taken
from groundswell.core.coverage import CoverageTracker, Resumed
from groundswell.core.cursor import advance_cursor, is_plausible
from groundswell.core.instants import rfc3339
from groundswell.core.jetstream import clamp_event_time
from groundswell.core.learning import quarter_of
from groundswell.core.posts import MICROS_PER_SECOND, Decoded, Micros
from groundswell.core.unreadable import UnreadableFrames
from groundswell.errors import StoreUnavailable
from groundswell.metrics import Metrics
from groundswell.ports.live import Broadcaster
from groundswell.ports.sources import HostedSource, Source
from groundswell.ports.spool import Spool
from groundswell.ports.storing import Batch, GapCause, GapCloses, GapOpens, PostStore, ResumePoint
from groundswell.ports.time import Clock
from groundswell.services.host_following import HostFollowing
from groundswell.services.refilling import SEAM_AFTER_S, SEAM_BEFORE_S, Refiller, Stretch
from groundswell.services.relay_state import RelayState
from groundswell.services.session import Connected, Ended, Frame, Idle, Lost, Missed, Session
from groundswell.services.writing import StoreBehind, Writer, after, later

log = logging.getLogger(__name__)

DRAIN_S = 20.0
"""What a stopping relay gives its last commits: within the 30 s that Fargate leaves after SIGTERM."""
COMPARE_CLOCKS_EVERY_S = 30.0
FRAMES_AHEAD = 20
"""So many frames in a row from the future are no accident: the host's clock is wrong."""


class Relay:
    """Runs one source into one store until told to stop, or until a finite source ends.

    Args:
        spool: where work waits while the store is away. None: what the buffers do not hold is left unread.
        on_stored: called after every commit that created or changed posts; the indexer's `wake`.
        on_labels_outdated: called after a commit that withdrew posts which labels were made of.
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
        spool: Spool | None = None,
        on_stored: Callable[[], None] = lambda: None,
        on_labels_outdated: Callable[[], None] = lambda: None,
        recording: bool = False,
    ) -> None:
        self._source = source
        self._store = store
        self._spool = spool
        self._clock = clock
        self._rng = rng
        self._metrics = metrics
        self._batch_max_posts = batch_max_posts
        self._batch_max_age_s = batch_max_age_s
        self._recording = recording
        self._turn = asyncio.Lock()
        self._store_ahead_us = clock.now() - self._monotonic_us()
        self.state = RelayState()
        self._unreadable = UnreadableFrames()
        self._ahead = 0
        """Frames in a row whose time lies in the future."""
        self._writer = Writer(
            source,
            store,
            spool,
            broadcaster,
            clock,
            state=self.state,
            rng=rng,
            metrics=metrics,
            on_stored=on_stored,
            on_labels_outdated=on_labels_outdated,
            on_full=self._cut_off,
            store_now=self._store_now,
        )
        self._start_from(ResumePoint(None, None))

    def _start_from(self, point: ResumePoint) -> None:
        """Forget all that was read and not handed to the writer: it is read again from `point`, or is lost there."""
        self._batcher = Batcher(self._batch_max_posts, self._batch_max_age_s)
        self._tracker = CoverageTracker(recording=self._recording)
        self._session: Session | None = None
        self._cursor = point.cursor
        self._covered_until = point.covered_until
        self._in_step = point.covered_until is not None
        """Whether the source's clock was ever right."""
        self._gap_open = False
        self._closing: GapCloses | None = None
        self._connected_at: Micros = 0
        self._replays = False
        """Whether the connection sends again what was missed."""
        self._following = (
            HostFollowing(self._source, point.positions) if isinstance(self._source, HostedSource) else None
        )
        self._refiller = None if self._following is None else self._refiller_of(self._following)
        self._writer.begin(point)

    def _refiller_of(self, following: HostFollowing) -> Refiller:
        return Refiller(
            self._source.name,
            following,
            self._source.decode,
            self._clock,
            put=self._writer.put,
            covered_until=lambda: self._covered_until,
            store_now=self._store_now,
            batch_max_posts=self._batch_max_posts,
        )

    @property
    def live(self) -> bool:
        """Whether what is stored now is what happens now."""
        return self._tracker.live and self.state.storing

    async def run(self, stop: asyncio.Event) -> None:
        """Watch and store. On `stop`, what was read is committed (or spooled) and the time away is recorded as a gap.

        Raises:
            SourceFailed: the source refuses for good; what had been read is stored.
        """
        started = await self._take_up(stop)
        while started:
            try:
                await self._run(stop)
                started = False
            except StoreBehind as behind:
                log.warning("%s is read again from what is stored: %s", self._source.name, behind)
                started = await self._take_up_anew(behind, stop)

    async def _run(self, stop: asyncio.Event) -> None:
        reading = asyncio.create_task(self._read(stop))
        more = () if self._refiller is None else (self._refiller.run(),)
        helpers = [asyncio.create_task(task) for task in (self._keep_pace(), self._keep_time(), *more)]
        writing = asyncio.create_task(self._writer.run())
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
        """Learn where the last run ended. False when told to stop before that could be known.

        The store knows. While it is away the spool knows what it leads up to, or what the store had taken when it was
        last there. Where neither does, a source that can send again is left alone until the store answers: connecting
        to it anywhere else might skip something. Any other source is connected to at once, since it waits for nobody.
        """
        spooled = None if self._spool is None or self._spool.last is None else after(self._spool.last)
        try:
            point = await self._ask_store()
        except StoreUnavailable as error:
            log.warning("starting without the database: %s", error)
            remembered = None if self._spool is None else self._spool.remembered()
            point = spooled
            if remembered is not None:
                self._store_ahead_us = self._clock.now() + remembered[1] - self._monotonic_us()
                point = spooled or remembered[0]
            if point is None and not self._source.can_replay and self._spool is not None:
                point = ResumePoint(None, None)
            if point is None:
                self.state.why = "it is not known where to go on before the database answers"
                point = await self._writer.insist(self._ask_store, stop)
                if point is None:
                    return False
        if spooled is not None:
            point = later(point, spooled)
        self._start_from(point)
        await self._open_gap("start", "the relay was not running")
        return True

    async def _take_up_anew(self, behind: StoreBehind, stop: asyncio.Event) -> bool:
        """Go on from what is stored, which is less than was taken for stored. False when told to stop first."""
        point = await self._writer.insist(self._ask_store, stop)
        if point is None:
            return False
        self._start_from(point)
        await self._writer.discard_into(point)
        await self._open_gap(behind.cause, str(behind))
        return True

    async def _ask_store(self) -> ResumePoint:
        point = await self._store.resume_point(self._source.name)
        self._store_ahead_us = await self._store.now() - self._monotonic_us()
        return point

    async def _drain(self, writing: asyncio.Task[None]) -> None:
        """The reader has ended: store what it left behind, and what the spool holds, within `DRAIN_S`.

        A task of a cluster leaves its disk behind, so what a store that answers can take is not left in the spool.
        """
        emptied = asyncio.create_task(self._finish_queue())
        settled = asyncio.create_task(self._settle(emptied))
        try:
            await asyncio.wait({settled, writing}, timeout=DRAIN_S, return_when=asyncio.FIRST_COMPLETED)
            if settled.done():
                settled.result()
        finally:
            for task in (settled, emptied):
                task.cancel()
        if emptied.done() and (held := self._spool.depth if self._spool else 0):
            log.warning("stopping with %d batches in the spool: a start with this disk stores them", held)
        elif not emptied.done():
            log.error(
                "stopping with %d batches not stored: %s",
                self._writer.waiting,
                "they are read again from the stored cursor at the next start"
                if self._source.can_replay
                else "the source cannot send them again; the gap is recorded at the next start",
            )

    async def _settle(self, emptied: asyncio.Task[None]) -> None:
        await asyncio.shield(emptied)
        await self._writer.settled()

    async def _finish_queue(self) -> None:
        await self._flush()
        self._tracker.lost()
        if self.state.phase != "ended":
            self.state.phase = "stopped"
            await self._open_gap("shutdown", "the relay was stopped")
        await self._writer.join()

    # -------------------------------------------------------------- reading
    async def _read(self, stop: asyncio.Event) -> None:
        session = self._session = Session(self._source, self._clock, resume=self._resume, rng=self._rng)
        async with aclosing(session.events(stop)) as events:
            async for event in events:
                if isinstance(event, Frame):
                    await self._take(event.raw)
                elif isinstance(event, Idle):
                    if self._batcher.frames:
                        await self._flush()
                    self._resumed(self._tracker.idle(event.seconds))
                    await self._flush()
                elif isinstance(event, Connected):
                    self._connected(event)
                elif isinstance(event, Missed):
                    await self._missed(event)
                elif isinstance(event, Lost):
                    await self._lost(event)
                else:
                    assert isinstance(event, Ended)
                    self.state.phase = "ended"
                    self.state.why = self._unreadable.at_the_end(self._what())
                    if self.state.why is not None:
                        log.warning("%s", self.state.why)

    async def _take(self, raw: bytes) -> None:
        """Take in a frame: when it came, what it says, and the batch that it belongs to."""
        started = self._clock.monotonic()
        latest = self._tracker.covered_until or self._covered_until
        self.state.last_frame_at = now = self._store_now()
        decoded = self._in_time(self._decode(raw), now, latest)
        if latest is not None and quarter_of(decoded.event_time or latest) > quarter_of(latest):
            await self._flush()  # no batch goes from one quarter of an hour into the next
        if decoded.event_time is not None:
            self._resumed(self._tracker.frame(decoded.event_time))
        if self._following is not None:
            decoded = self._following.seen(raw, decoded)
        full = self._batcher.add(decoded, started)
        self.state.frames_total += 1
        self.state.decode_seconds += self._clock.monotonic() - started
        if full:
            await self._flush()

    def _decode(self, raw: bytes) -> Decoded:
        decoded = self._source.decode(raw)
        if self._unreadable.note(raw, decoded):
            log.warning("%s", self._unreadable.lately(self._what()))
        return decoded

    def _in_time(self, decoded: Decoded, now: Micros, latest: Micros | None) -> Decoded:
        """Bring a time in the future back: of one frame to the latest, of a host with a wrong clock to the present."""
        at = decoded.event_time
        if at is None or is_plausible(at, now):
            self._ahead, self._in_step = 0, True
            return decoded
        self._ahead += 1
        stray = self._recording or (self._in_step and self._ahead < FRAMES_AHEAD)
        if self._ahead == FRAMES_AHEAD and not self._recording:
            log.warning(
                "the clock of %s is ahead by %.0f s: its frames count when they come",
                self._what(),
                (at - now) / MICROS_PER_SECOND,
            )
        return clamp_event_time(decoded, now, latest if stray else None)

    def _what(self) -> str:
        """What is read, for a sentence about it."""
        return self.state.endpoint or self._source.name

    async def _resume(self) -> int | None:
        if not self._source.can_replay:
            await self._writer.room()  # what it says meanwhile could not be kept
        if self._following is not None:
            self._following.resume()
        return self._cursor

    def _cut_off(self, why: str) -> None:
        """Nothing more can be kept: end the connection, so that the gap is where it really is."""
        if self._session is not None:
            self._session.cut("spool-full", why)

    def _connected(self, event: Connected) -> None:
        self._connected_at = self._store_now()
        replays = self._replays = self._source.can_replay and event.cursor is not None
        self._tracker.connected(now=self._connected_at, resumed_from=self._covered_until if replays else None)
        self.state.endpoint = event.endpoint
        if self._following is not None:
            source = self._following.source
            self.state.host, self.state.protocol, self.state.version = source.host, source.protocol, source.version
        self.state.why = None
        self.state.phase = "live" if self._tracker.live else "catching-up"
        log.info("%s connected to %s", self._source.name, event.endpoint)

    def _resumed(self, resumed: Resumed | None) -> None:
        """Note how the open gap will be closed."""
        if resumed is not None:
            # What is re-sent is missing until the last of it has come: that gap ends where this connection began.
            at = self._connected_at if resumed.backfilled else resumed.at
            self._closing = GapCloses(at, resumed.backfilled)
            if resumed.missed_from is not None:
                log.warning(
                    "%s no longer has the %.0f s before %s: they stay a gap",
                    self._source.name,
                    (resumed.at - resumed.missed_from) / MICROS_PER_SECOND,
                    rfc3339(resumed.at),
                )
                if self._refiller is not None:
                    self._refiller.ask(Stretch(resumed.missed_from, resumed.at, avoid=self.state.host))
        if self.state.phase == "catching-up" and self._tracker.live:
            self.state.phase = "live"
            self._ask_for_seam()

    def _ask_for_seam(self) -> None:
        """Ask again for the moments in which a replay met the present, of a host that is known to lose events there."""
        if self._refiller is None or self._following is None or not self._replays:
            return
        if self._following.source.loses_at_cutover:
            before, after = round(SEAM_BEFORE_S * MICROS_PER_SECOND), round(SEAM_AFTER_S * MICROS_PER_SECOND)
            self._refiller.ask(Stretch(self._connected_at - before, self._store_now() + after))

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

    async def _missed(self, event: Missed) -> None:
        """A hole in what a connection brings is a gap between its neighbours, though the connection stands."""
        await self._flush()
        closing, watched_until = self._closing, self._tracker.covered_until
        self._tracker.lost()
        if closing is not None and watched_until is not None:
            # What was re-sent up to here has come. The hole must not be closed with it.
            self._closing = None
            self._gap_open = False
            await self._writer.put(GapCloses(min(closing.at, watched_until), closing.backfilled))
        self._metrics.inc("sequence_gaps_total", label=self._source.name)
        log.warning("%s: %s, and will not", self._source.name, event.detail)
        await self._open_gap("sequence", event.detail)
        self._connected_at = self._store_now()
        self._tracker.connected(now=self._connected_at, resumed_from=None)
        self.state.phase = "catching-up"

    async def _open_gap(self, cause: GapCause, detail: str) -> None:
        if self._covered_until is not None and not self._gap_open and not self._recording:
            self._gap_open = True
            await self._writer.put(GapOpens(cause, self._covered_until, detail))

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
            resent = self._tracker.take_resent()
            self._count(taken)
            if stretch is not None and (taken.frames or resent or stretch.covered_until != self._covered_until):
                self._cursor = advance_cursor(self._cursor, taken.cursor)
                self._covered_until = max(self._covered_until or 0, stretch.covered_until)
                await self._writer.put(
                    Batch(
                        source=self._source.name,
                        posts=taken.posts,
                        deletes=taken.deletes,
                        accounts=taken.accounts,
                        profiles=taken.profiles,
                        cursor=taken.cursor,
                        covered_from=stretch.covered_from,
                        covered_until=stretch.covered_until,
                        live=stretch.live,
                        resent=resent,
                        position=None if self._following is None else self._following.position(),
                    )
                )
            closing = self._closing
            if closing is not None and (self._tracker.live or not closing.backfilled):
                self._closing = None
                self._gap_open = False
                await self._writer.put(closing)

    # -------------------------------------------------------------- time and status
    def status(self) -> tuple[str, dict[str, object]]:
        """State and detail for `/v1/status`."""
        state, spool = self.state, self._writer.measure()
        detail: dict[str, object] = {
            "why": state.why if state.storing else self._why_delayed(),
            "source": self._source.name,
            "endpoint": state.endpoint,
            "host": state.host,
            "protocol": state.protocol,
            "version": state.version,
            "last_frame_at": None if state.last_frame_at is None else rfc3339(state.last_frame_at),
            "frames": state.frames_total,
            "created": state.created_total,
            "duplicates": state.duplicates_total,
            "reconnects": state.reconnects_total,
            "ignored": dict(state.ignored_total),
            "decode_seconds": round(state.decode_seconds, 3),
            "commit_seconds": round(state.commit_seconds, 3),
            "spool": spool,
        }
        if self._refiller is not None:
            detail["sent_again"] = {"whole": self._refiller.filled, "missing": self._refiller.missing}
        if not state.storing:
            return "storing-delayed", detail
        if self._unreadable.none_readable or (state.phase == "ended" and not self._unreadable.readable):
            return "unreadable", {**detail, "why": state.why or self._unreadable.lately(self._what())}
        return state.phase, detail

    def _why_delayed(self) -> str:
        spool = self._spool
        if spool is None:
            return "the database does not take commits: storing is delayed"
        waiting = f"storing is delayed: {spool.items} posts and deletes wait on disk"
        if self.state.spool_full is not None:
            return f"{waiting}, and the source is left unread, since the spool takes no more: {self.state.spool_full}"
        return waiting

    def _count(self, taken: Taken) -> None:
        self.state.ignored_total.update(taken.ignored)
        self._metrics.inc("frames_received_total", taken.frames, label=self._source.name)
        for reason, n in taken.ignored.items():
            self._metrics.inc("frames_ignored_total", n, label=reason)
        for change in taken.accounts:
            self._metrics.inc("accounts_changed_total", label=change.status)

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
