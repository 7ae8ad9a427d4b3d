"""Keeps one source connected: reads ahead a little, notices a dead link, comes back, and says what happened."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any, TypeAlias

import msgspec

from groundswell.core.session import (
    PING_EVERY_S,
    PING_TIMEOUT_S,
    STABLE_AFTER_S,
    Fatal,
    full_jitter_backoff,
    verdict,
)
from groundswell.errors import SourceFailed
from groundswell.ports.sources import Connection, FramesMissed, Source, SourceEnded
from groundswell.ports.storing import GapCause
from groundswell.ports.time import Clock
from groundswell.services.pausing import call_off

READ_AHEAD_FRAMES = 1024
READ_AHEAD_BYTES = 8 * 1024 * 1024
"""Past either, the socket is left unread until the consumer has caught up: this is the back-pressure."""
TICK_S = 1.0
"""How often liveness is looked at, and the least silence worth an `Idle`."""
HICCUP_S = 2.0
"""A tick this late means that this process was held up: silence in that time says nothing about the far end."""


class Connected(msgspec.Struct, frozen=True):
    """A connection stands; `cursor` is what `resume` answered for it."""

    endpoint: str
    cursor: int | None


class Frame(msgspec.Struct, frozen=True, gc=False):
    raw: bytes


class Idle(msgspec.Struct, frozen=True):
    """`seconds` have passed since the last frame (or since `Connected`), and the far end was alive at their end."""

    seconds: float


class Missed(msgspec.Struct, frozen=True):
    """Something that was sent between the frame before and the next one never came. The connection goes on."""

    detail: str


class Lost(msgspec.Struct, frozen=True):
    """The connection ended, or could not be opened; the next attempt starts in `retry_in_s`. May repeat."""

    cause: GapCause
    detail: str
    retry_in_s: float


class Ended(msgspec.Struct, frozen=True):
    """A finite source has given all it has. Nothing follows."""


SessionEvent: TypeAlias = Connected | Frame | Idle | Missed | Lost | Ended


class _Stalled(Exception):
    """The far end is connected and dead."""


class _Cut(Exception):
    """The consumer wants no more of this connection."""

    def __init__(self, cause: GapCause, detail: str) -> None:
        super().__init__(detail)
        self.cause: GapCause = cause


class _Inbox:
    """What the connection has read and the consumer has not: a bounded queue that costs no task and no future a frame.

    Of a run of `Idle`s only the last is kept, so a slow consumer finds no pile of them.
    """

    def __init__(self) -> None:
        self._items: deque[bytes | Connected | Idle | Missed] = deque()
        self._bytes = 0
        self._consumer: asyncio.Future[None] | None = None
        self._producer: asyncio.Future[None] | None = None
        self.received = 0
        self.end: BaseException | None = None

    @property
    def blocked(self) -> bool:
        """Whether the reader waits for the consumer."""
        return self._producer is not None

    async def put_frame(self, raw: bytes) -> None:
        self._items.append(raw)
        self._bytes += len(raw)
        self.received += 1
        self.wake()
        if len(self._items) >= READ_AHEAD_FRAMES or self._bytes >= READ_AHEAD_BYTES:
            self._producer = asyncio.get_running_loop().create_future()
            try:
                await self._producer
            finally:
                self._producer = None

    def put(self, event: Connected | Idle | Missed) -> None:
        if isinstance(event, Idle) and self._items and isinstance(self._items[-1], Idle):
            self._items.pop()
        if isinstance(event, Missed):
            self.received += 1  # the silence before it was none
        self._items.append(event)
        self.wake()

    def finish(self, end: BaseException) -> None:
        """No more will come, because of `end`. The first reason given stands."""
        if self.end is None:
            self.end = end
        self.wake()

    def wake(self) -> None:
        if self._consumer is not None and not self._consumer.done():
            self._consumer.set_result(None)

    def take(self) -> bytes | Connected | Idle | Missed | None:
        if not self._items:
            return None
        item = self._items.popleft()
        if isinstance(item, bytes):
            self._bytes -= len(item)
        if (
            self._producer is not None
            and not self._producer.done()
            and len(self._items) <= READ_AHEAD_FRAMES // 2
            and self._bytes <= READ_AHEAD_BYTES // 2
        ):
            self._producer.set_result(None)
        return item

    def rest(self) -> Iterator[Frame | Connected | Idle | Missed]:
        while (item := self.take()) is not None:
            yield Frame(item) if isinstance(item, bytes) else item

    async def wait(self) -> None:
        """Return when something was put, finished, or woken."""
        if self._items or self.end is not None:
            return
        self._consumer = asyncio.get_running_loop().create_future()
        try:
            await self._consumer
        finally:
            self._consumer = None


class Session:
    """Yields what a source sends, across any number of connections.

    Args:
        resume: asked before every attempt for the cursor to resume from; the source itself moves it a little early.
        stable_after_s: a connection that stood this long makes the next wait short again.
        ping_every_s, ping_timeout_s: liveness of a busy connection. A quiet one is pinged every tick, because only
            an answered ping tells silence from a dead link; that is what makes an `Idle`.
        tick_s: how often liveness is looked at.
    """

    def __init__(
        self,
        source: Source,
        clock: Clock,
        *,
        resume: Callable[[], Awaitable[int | None]],
        rng: Random,
        stable_after_s: float = STABLE_AFTER_S,
        ping_every_s: float = PING_EVERY_S,
        ping_timeout_s: float = PING_TIMEOUT_S,
        tick_s: float = TICK_S,
    ) -> None:
        self._source = source
        self._clock = clock
        self._resume = resume
        self._rng = rng
        self._stable_after_s = stable_after_s
        self._ping_every_s = ping_every_s
        self._ping_timeout_s = ping_timeout_s
        self._tick_s = tick_s
        self._cut: Callable[[_Cut], None] | None = None

    def cut(self, cause: GapCause, detail: str) -> None:
        """Close the connection at once, if there is one. What was read of it still comes, then `Lost` with `cause`."""
        if self._cut is not None:
            self._cut(_Cut(cause, detail))

    async def events(self, stop: asyncio.Event) -> AsyncGenerator[SessionEvent]:
        """Connect, and reconnect, until `stop` is set or a finite source ends.

        Per connection: `Connected`, then `Frame`s, `Idle`s and `Missed`s in order, then `Lost` or `Ended`. All that
        was read before a loss comes before its `Lost`. A consumer that does not ask for more stops the socket after
        a bounded read-ahead. Once `stop` is set the socket is closed and the iteration ends; what was read ahead is
        then still yielded if the source could not send it again. Leave early only through `contextlib.aclosing`.

        Raises:
            SourceFailed: trying again cannot help; the message says why.
        """
        delays = full_jitter_backoff(self._rng)
        stopping = asyncio.ensure_future(stop.wait())
        try:
            while not stop.is_set():
                stood_since: float | None = None
                async with self._reading(stopping) as inbox:
                    while not stop.is_set():
                        item = inbox.take()
                        if isinstance(item, bytes):
                            yield Frame(item)
                        elif item is not None:
                            if isinstance(item, Connected):
                                stood_since = self._clock.monotonic()
                            yield item
                        elif inbox.end is None:
                            await inbox.wait()
                        else:
                            break
                if stop.is_set():
                    for item in inbox.rest() if not self._source.can_replay else ():
                        yield item
                    return
                assert inbox.end is not None, "the loop above ends on stop or on the connection's end"
                if isinstance(inbox.end, SourceEnded):
                    yield Ended()
                    return
                if stood_since is not None and self._clock.monotonic() - stood_since >= self._stable_after_s:
                    delays = full_jitter_backoff(self._rng)
                lost = self._lost(inbox.end, next(delays))
                yield lost
                await self._pause(lost.retry_in_s, stopping)
        finally:
            await call_off(stopping)

    @asynccontextmanager
    async def _reading(self, stopping: asyncio.Task[Any]) -> AsyncGenerator[_Inbox]:
        """The inbox of one connection, which is open (or on its way) inside the block and closed after it."""
        inbox = _Inbox()

        def wake(_: object) -> None:
            inbox.wake()

        stopping.add_done_callback(wake)
        connection = asyncio.create_task(self._connect_and_read(inbox))
        connection.add_done_callback(lambda task: inbox.finish(_end_of(task)))

        def cut(why: _Cut) -> None:
            inbox.finish(why)
            connection.cancel()

        self._cut = cut
        try:
            yield inbox
        finally:
            self._cut = None
            stopping.remove_done_callback(wake)
            await call_off(connection)

    def _lost(self, end: BaseException, retry_in_s: float) -> Lost:
        if isinstance(end, _Stalled):
            return Lost("stall", str(end), retry_in_s)
        if isinstance(end, _Cut):
            return Lost(end.cause, str(end), retry_in_s)
        judged = verdict(end)
        if isinstance(judged, Fatal):
            raise SourceFailed(f"Source {self._source.name} failed for good: {judged.message}") from end
        return Lost("disconnect", judged.detail, retry_in_s)

    async def _pause(self, seconds: float, stopping: asyncio.Task[Any]) -> None:
        sleeping = asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            await asyncio.wait({sleeping, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await call_off(sleeping)

    async def _connect_and_read(self, inbox: _Inbox) -> None:
        cursor = await self._resume()
        async with self._source.connect(cursor) as connection:
            inbox.put(Connected(connection.endpoint, cursor))
            watchdog = asyncio.create_task(self._watch(connection, inbox))
            # A watchdog that was called off says nothing: the connection ended first, and its own end is the reason.
            watchdog.add_done_callback(lambda task: task.cancelled() or inbox.finish(_end_of(task)))
            try:
                while True:
                    try:
                        await inbox.put_frame(await connection.receive())
                    except FramesMissed as missed:
                        inbox.put(Missed(str(missed)))
            finally:
                await call_off(watchdog)

    async def _watch(self, connection: Connection, inbox: _Inbox) -> None:
        """Look at the connection every tick; raise `_Stalled` when it is dead, or what its ping raises."""
        monotonic = self._clock.monotonic
        quiet_after_s = self._source.quiet_after_s
        looked_at = quiet_since = pinged_at = monotonic()
        received = received_at_ping = inbox.received
        ping: asyncio.Future[None] | None = None
        try:
            while True:
                await self._clock.sleep(self._tick_s)
                now = monotonic()
                if inbox.received != received or inbox.blocked or now - looked_at > self._tick_s + HICCUP_S:
                    received = inbox.received
                    quiet_since = now
                looked_at = now
                quiet_s = now - quiet_since

                if quiet_after_s is not None and quiet_s >= quiet_after_s:
                    raise _Stalled(f"nothing came for {quiet_s:.0f} s, and this source is never that quiet")
                if ping is not None and ping.done():
                    ping.result()
                    ping = None
                    if received_at_ping == inbox.received and pinged_at > quiet_since:
                        inbox.put(Idle(pinged_at - quiet_since))
                elif ping is not None and now - max(pinged_at, quiet_since) >= self._ping_timeout_s:
                    raise _Stalled(f"a ping went unanswered for {now - pinged_at:.0f} s")
                if ping is None and (quiet_s > 0 or now - pinged_at >= self._ping_every_s):
                    pinged_at, received_at_ping = now, inbox.received
                    ping = asyncio.ensure_future(connection.ping())
        finally:
            if ping is not None:
                await call_off(ping)


def _end_of(task: asyncio.Task[None]) -> BaseException:
    if task.cancelled():
        return asyncio.CancelledError()
    return task.exception() or EOFError("the connection ended")
