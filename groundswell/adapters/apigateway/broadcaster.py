"""The broadcaster of the split shape: it sends to clients whose sockets API Gateway holds.

What the clients subscribed to is in the registry, and changes to it are heard as they are made. Frames are gathered,
encoded once for all clients with the same topics, and posted by a fixed number of workers; one client is served by one
worker at a time, so that its frames keep their order. A monthly budget stretches the pause between two flushes.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Sequence
from random import Random

from groundswell.core.fanout import Outgoing, Prepared, frames_for
from groundswell.core.frames import Frame, encode_frame
from groundswell.core.message_budget import Allowance, pause_s, running_mean
from groundswell.core.session import full_jitter_backoff
from groundswell.core.subscriptions import Topic, parse_topic
from groundswell.errors import StoreUnavailable
from groundswell.metrics import Metrics
from groundswell.ports.live import ConnectionRegistry, RemoteClient, RemoteGone, RemoteSender, RemoteThrottled
from groundswell.ports.storing import Event
from groundswell.ports.time import Clock

log = logging.getLogger(__name__)

LAST_SENDS_S = 5.0
"""What a broadcaster that stops gives the messages that wait."""
WORKERS = 64
"""Messages on their way at once. At 10 ms each they carry some thousands a second."""
REMEMBERED_BATCHES = 64
"""Batches kept for clients whose subscription is heard of a moment after it was made."""
PENDING_EVENTS = 5_000
"""Events held back while the budget stretches the pause; the oldest go first, and clients catch up over REST."""
TRIES = 8
REFUSED_PAUSE_S = 30.0
FIRST_RETRY_S = 0.2
LONGEST_RETRY_S = 5.0
SETTLE_EVERY_S = 15.0
"""How often what was sent is added to the month's count."""


class _Client:
    """One connection: what it wants, and what waits to be sent to it."""

    __slots__ = ("last_seq", "listening", "queued", "topics", "waiting")

    def __init__(self, known: RemoteClient) -> None:
        self.waiting: deque[Outgoing] = deque()
        self.queued = False
        """Whether a worker has it, or is about to."""
        self.last_seq = known.greeted_at or 0
        self.topics: frozenset[Topic] = frozenset()
        self.listening = False
        self.know(known)

    def know(self, known: RemoteClient) -> None:
        self.topics = frozenset(parse_topic(text, signed_in=known.signed_in) for text in known.topics)
        self.listening = known.paused_at is None and bool(self.topics)
        if not self.listening:
            self.waiting.clear()


class ApiGatewayBroadcaster:
    """`ports.Broadcaster`. `run` must be running for anything to be sent.

    Args:
        window_s: events are gathered this long, at the least.
        heartbeat_s: as the greeting promises it. Every heartbeat is a message that is paid for.
        backlog_bytes: a client with more than this unsent is told `ConsumerTooSlow` and disconnected.
        messages_per_month: what a month may cost; None for no limit.
    """

    def __init__(
        self,
        registry: ConnectionRegistry,
        sender: RemoteSender,
        clock: Clock,
        *,
        rng: Random,
        window_s: float = 1.0,
        heartbeat_s: float = 300.0,
        max_clients: int = 1000,
        backlog_bytes: int = 1024 * 1024,
        messages_per_month: int | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self._registry = registry
        self._sender = sender
        self._clock = clock
        self._rng = rng
        self._window_s = window_s
        self._heartbeat_s = heartbeat_s
        self._max_clients = max_clients
        self._backlog_bytes = backlog_bytes
        self._budget = messages_per_month
        self._metrics = metrics or Metrics()
        self._clients: dict[str, _Client] = {}
        self._pending: deque[Event] = deque(maxlen=PENDING_EVENTS)
        self._arrived = asyncio.Event()
        self._recent: deque[Outgoing] = deque(maxlen=REMEMBERED_BATCHES)
        self._ready: asyncio.Queue[str] = asyncio.Queue(2 * max_clients)
        self._gone: set[str] = set()
        self._sent = 0
        """Messages that are not in the month's count yet."""
        self._allowance: Allowance | None = None
        self._frames_a_client = 1.0
        self._refused: str | None = None
        """Why API Gateway takes nothing from us at all."""
        self._resume_at = float("-inf")
        """API Gateway asked everybody to wait until then."""

    @property
    def clients(self) -> int:
        return len(self._clients)

    @property
    def pause_s(self) -> float:
        """Seconds between two flushes, as the budget has it now."""
        listening = sum(client.listening for client in self._clients.values())
        return pause_s(
            budget=self._budget,
            allowance=self._allowance,
            clients=listening,
            frames_a_client=self._frames_a_client,
            shortest_s=self._window_s,
        )

    def status(self) -> tuple[str, dict[str, object]]:
        """State and detail for `/v1/status`."""
        pause = self.pause_s
        spent = None if self._allowance is None else self._allowance.spent + self._sent
        stretched = pause > self._window_s
        why = self._refused or f"the month's message budget allows a flush every {pause:.0f} s"
        detail: dict[str, object] = {
            "why": why if stretched or self._refused else None,
            "clients": self.clients,
            "pause_s": round(pause, 2),
            "messages_this_month": spent,
        }
        return ("waiting" if self._refused else "stretched" if stretched else "running"), detail

    def start_at(self, seq: int) -> None:
        """Nothing before `seq` is sent again by this process; greetings are given by others, who ask the store."""
        log.info("broadcasting what comes after event %d", seq)

    async def publish(self, events: Sequence[Event]) -> None:
        for event in events:
            self._metrics.inc("events_published_total", label=event.type)
        if events:
            self._pending.extend(events)
            self._arrived.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Follow the registry and send what is published, until `stop`. Raises for nothing that a client does."""
        services = [
            self._follow(stop),
            self._flush_forever(),
            self._beat_forever(),
            self._settle_forever(),
            *(self._work() for _ in range(WORKERS)),
        ]
        tasks = [asyncio.create_task(service) for service in services]
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({*tasks, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if stop.is_set():
                await self._send_the_rest()
            for task in (*tasks, stopping):
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
        await self._settle()
        for end in ends:
            if isinstance(end, Exception):
                raise end

    async def _send_the_rest(self) -> None:
        """Send what was published and waits: whoever broadcasts next begins after it."""
        self._flush()
        ends_at = self._clock.monotonic() + LAST_SENDS_S
        while any(client.queued for client in self._clients.values()) and self._clock.monotonic() < ends_at:
            await self._clock.sleep(LAST_SENDS_S / 50)

    # -------------------------------------------------------------- who is there
    async def _follow(self, stop: asyncio.Event) -> None:
        async for changed in self._registry.changes(stop):
            try:
                known = await (self._registry.look_up(list(changed)) if changed else self._all())
            except StoreUnavailable as error:
                # The registry asks for everything again once it is back.
                log.warning("clients are sent to as they were last known: %s", error)
                continue
            self._know(known, changed or frozenset(self._clients))
        await stop.wait()

    async def _all(self) -> Sequence[RemoteClient]:
        return await self._registry.greeted(self._max_clients)

    def _know(self, known: Iterable[RemoteClient], asked: frozenset[str]) -> None:
        """Take in what the registry says of the clients that were `asked` about."""
        present: set[str] = set()
        for client in known:
            present.add(client.connection_id)
            mine = self._clients.get(client.connection_id)
            if mine is not None:
                mine.know(client)
                continue
            if len(self._clients) >= self._max_clients:
                log.warning("%d clients are served; one more is left to catch up over REST", self._max_clients)
                continue
            mine = self._clients[client.connection_id] = _Client(client)
            if mine.listening:
                # What passed between the greeting and this moment is made up for.
                mine.waiting.extend(late for late in self._recent if late.last_seq > mine.last_seq)
                self._serve(client.connection_id, mine)
        for connection_id in asked - present:
            self._clients.pop(connection_id, None)
        self._metrics.set("websocket_clients", len(self._clients))

    # -------------------------------------------------------------- what is sent
    async def _flush_forever(self) -> None:
        flushed_at = float("-inf")
        while True:
            await self._arrived.wait()
            # The pause may change while it lasts: clients come and go.
            while (due_in := flushed_at + self.pause_s - self._clock.monotonic()) > 0:
                await self._clock.sleep(min(due_in, SETTLE_EVERY_S))
            flushed_at = self._clock.monotonic()
            self._arrived.clear()
            self._flush()

    def _flush(self) -> None:
        events = sorted(self._pending, key=lambda event: event.seq)
        self._pending.clear()
        if not events:
            return
        outgoing = Outgoing(
            [Prepared(e.type, seq=e.seq, ts=e.ts, live=e.live, data=e.data, posts=e.posts) for e in events]
        )
        self._recent.append(outgoing)
        for connection_id, client in self._clients.items():
            if client.listening:
                client.waiting.append(outgoing)
                self._serve(connection_id, client)

    def _serve(self, connection_id: str, client: _Client) -> None:
        if not client.queued and not self._ready.full():
            client.queued = True
            self._ready.put_nowait(connection_id)

    async def _beat_forever(self) -> None:
        while True:
            await self._clock.sleep(self._heartbeat_s)
            beat = encode_frame(Frame("heartbeat", {}), seq=None, ts=self._clock.now()).decode()
            for connection_id, client in list(self._clients.items()):
                # A client that is served anyway sees that the connection stands.
                if client.listening and not client.queued:
                    await self._deliver(connection_id, beat)

    async def _work(self) -> None:
        """Serve one client after another, each for as long as something waits for it."""
        while True:
            connection_id = await self._ready.get()
            client = self._clients.get(connection_id)
            if client is None:
                continue
            while client.waiting and connection_id in self._clients:
                await self._send_waiting(connection_id, client)
            client.queued = False

    async def _send_waiting(self, connection_id: str, client: _Client) -> None:
        batches = [batch for batch in client.waiting if batch.last_seq > client.last_seq]
        client.waiting.clear()
        if not batches:
            return
        if len(batches) > 1 and sum(batch.size for batch in batches) > self._backlog_bytes:
            await self._send_away(connection_id, client)
            return
        if len(batches) == 1:
            frames = batches[0].frames(client.topics)
        else:
            frames = frames_for(client.topics, [event for batch in batches for event in batch.events])
        for frame in frames:
            if not await self._deliver(connection_id, frame):
                return
        client.last_seq = batches[-1].last_seq
        self._frames_a_client = running_mean(self._frames_a_client, len(frames))

    async def _send_away(self, connection_id: str, client: _Client) -> None:
        self._metrics.inc("websocket_evicted_total")
        message = (
            f"over {self._backlog_bytes} bytes wait to be sent: narrow the topics, then catch up from "
            f"/v1/events?cursor={client.last_seq}"
        )
        error = Frame("error", {"code": "ConsumerTooSlow", "message": message})
        if await self._deliver(connection_id, encode_frame(error, seq=None, ts=self._clock.now()).decode()):
            try:
                await self._sender.disconnect(connection_id)
            except (RemoteGone, RemoteThrottled, OSError) as failure:
                log.info("a client that is too slow could not be disconnected: %s", failure)
        self._forget(connection_id)

    async def _deliver(self, connection_id: str, frame: str) -> bool:
        """Post one frame, and again after failures that pass. False when the client is not served any more."""
        delays = full_jitter_backoff(self._rng, FIRST_RETRY_S, LONGEST_RETRY_S)
        tries = 0
        while connection_id in self._clients:
            if (wait_s := self._resume_at - self._clock.monotonic()) > 0:
                await self._clock.sleep(wait_s)
            try:
                await self._sender.post(connection_id, frame)
            except RemoteGone:
                self._forget(connection_id)
                return False
            except RemoteThrottled as throttled:
                # The limit is the account's, not this client's: everybody waits.
                self._metrics.inc("broadcast_throttled_total")
                wait_s = next(delays) if throttled.retry_after_s is None else throttled.retry_after_s
                self._resume_at = max(self._resume_at, self._clock.monotonic() + wait_s)
            except PermissionError as error:
                # No client's fault, and nothing that time alone mends: clients catch up once somebody has.
                if self._refused is None:
                    log.error("broadcasting stands still: %s", error)  # noqa: TRY400 -- its message says it all
                self._refused = str(error)
                self._resume_at = self._clock.monotonic() + REFUSED_PAUSE_S
            except OSError as error:
                tries += 1
                if tries >= TRIES:
                    log.warning("a client is given up on after %d tries: %s", TRIES, error)
                    self._forget(connection_id)
                    return False
                await self._clock.sleep(next(delays))
            else:
                self._refused = None
                self._sent += 1
                self._metrics.inc("broadcast_messages_total")
                return True
        return False

    # -------------------------------------------------------------- what is remembered
    def _forget(self, connection_id: str) -> None:
        if self._clients.pop(connection_id, None) is not None:
            self._gone.add(connection_id)
            self._metrics.inc("broadcast_gone_total")
            self._metrics.set("websocket_clients", len(self._clients))

    async def _settle_forever(self) -> None:
        while True:
            await self._settle()
            await self._clock.sleep(SETTLE_EVERY_S)

    async def _settle(self) -> None:
        """Tell the store what was sent and who is gone. A store that is away is told the next time."""
        sent, gone = self._sent, frozenset(self._gone)
        try:
            self._allowance = await self._registry.spend(sent)
            self._sent -= sent
            if gone:
                await self._registry.remove(sorted(gone))
                self._gone -= gone
        except StoreUnavailable as error:
            log.warning("the month's count of messages waits for the database: %s", error)
