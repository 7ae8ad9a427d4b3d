"""The relay as a process of its own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from random import Random

from groundswell.adapters.allocator import give_large_blocks_back
from groundswell.adapters.apigateway.broadcaster import ApiGatewayBroadcaster
from groundswell.adapters.apigateway.management import ConnectionsApi
from groundswell.adapters.heartbeat import beat
from groundswell.adapters.local_hub import Follower, follow_events
from groundswell.adapters.migrations import wait_for_schema
from groundswell.adapters.postgres_connections import PostgresConnections
from groundswell.adapters.postgres_pool import Pool
from groundswell.adapters.postgres_reads import PostgresReads
from groundswell.adapters.system_clock import SystemClock
from groundswell.errors import StoreUnavailable
from groundswell.metrics import Metrics
from groundswell.ports.live import Event
from groundswell.ports.reading import EventPage
from groundswell.services.lease import LeaseKeeper
from groundswell.services.reporting import Report
from groundswell.settings_model import RelaySettings
from groundswell.wiring.maintenance import open_maintenance
from groundswell.wiring.parts import (
    RELAY_ANSWER_STATEMENTS,
    RELAY_POOL_SIZE,
    database_pool,
    open_source,
    open_spool,
    relay_parts,
    search_models,
    source_lease,
)
from groundswell.wiring.together import (
    Service,
    keep_lease,
    metrics_lines,
    once,
    optional,
    run_together,
    until_stopped,
    writers,
)

log = logging.getLogger(__name__)


async def run_relay(settings: RelaySettings, stop: asyncio.Event) -> None:
    """The relay with its tick and its indexer, over a database and a Qdrant that run elsewhere, until `stop`.

    With a spool it receives from the start, whether or not the database is there; all else waits for the schema.

    Raises:
        SchemaMismatch: the database did not get the schema that this version needs in time.
        SourceFailed: the source refuses for good.
    """
    give_large_blocks_back()
    async with AsyncExitStack() as stack:
        url = settings.database_url.reveal()
        pool = await database_pool(
            stack, settings, url, size=RELAY_POOL_SIZE, name="relay", answer_statements=RELAY_ANSWER_STATEMENTS
        )
        models = await search_models(stack, settings, qdrant_url=settings.qdrant_url)
        if settings.source == "replay":
            await wait_for_schema(pool, settings.database_schema_wait_s, log.info)
        source, recording = await open_source(stack, settings, tell=log.info, reads=PostgresReads(pool))
        spool = open_spool(stack, settings, source=source.name, recording=recording)
        if spool is None:
            await wait_for_schema(pool, settings.database_schema_wait_s, log.info)
        metrics = Metrics()
        lease, fence = source_lease(stack, settings, url, source=source, spool=spool, metrics=metrics)
        held, own = asyncio.Event(), _OwnEvents(PostgresReads(pool), lease)
        on_the_store: list[Service] = []
        beside_it: list[Service] = []
        reports: dict[str, Report] = {}
        if settings.ws_endpoint is not None:
            remote = await _remote_clients(stack, settings, pool, metrics)
            reports["broadcast"] = remote.status
            on_the_store += own.services(remote)
        beside_it += metrics_lines(settings, metrics)
        heartbeat = settings.heartbeat_file
        if heartbeat is not None:
            beside_it.append(lambda stop: beat(heartbeat, stop))
        parts = relay_parts(
            settings,
            source=source,
            recording=recording,
            pool=pool,
            spool=spool,
            models=models,
            maintenance=await open_maintenance(
                stack, settings, url, embedded=False, index=models.index, metrics=metrics
            ),
            broadcaster=_StoredEvents(),
            metrics=metrics,
            more_reports=reports,
            lease=lease,
            fence=fence,
        )
        relay, *others = writers(parts, ends_all=True)
        migrated = asyncio.Event()

        async def wait_for_database() -> None:
            await wait_for_schema(pool, settings.database_schema_wait_s, log.info, outwait_outages=True)
            migrated.set()

        async def read(stop: asyncio.Event) -> None:
            try:
                await once(held, relay)(stop)
            finally:
                own.drained.set()

        waiting = (once(held, once(migrated, other)) for other in (*others, *on_the_store))
        await run_together(
            stop,
            keep_lease(lease, held, own.begin),
            read,
            optional("embeddings", models.chain.run),
            until_stopped(wait_for_database),
            *beside_it,
            *waiting,
        )


class _OwnEvents:
    """The events that this process has to broadcast: from the lease on until the relay has drained.

    Those before are the earlier relay's, which releases the lease when it has sent them all.
    """

    def __init__(self, reads: PostgresReads, lease: LeaseKeeper) -> None:
        self._reads = reads
        self._lease = lease
        self._remote: Follower
        self._newest: int | None = None
        self._followed = asyncio.Event()
        self.drained = asyncio.Event()

    async def begin(self) -> None:
        """Note the place to begin after, before anything is stored."""
        with suppress(StoreUnavailable):  # then nothing is stored either, and the broadcaster finds out by itself
            self._newest = (await self._reads.events(None, 1)).newest

    async def events(self, after: int | None, limit: int, *, signed_in: bool = False) -> EventPage:
        """Return a page of events, where they are this process's to send.

        Whoever holds the lease after it has read them read nothing that the next holder sends as well. A process that
        was frozen meanwhile finds out here.

        Raises:
            LeaseLost: another relay broadcasts now.
        """
        page = await self._reads.events(after, limit, signed_in=signed_in)
        if page.events:
            await self._lease.confirm()
        return page

    def services(self, remote: ApiGatewayBroadcaster) -> list[Service]:
        self._remote = remote
        following = optional(
            "broadcast",
            lambda drained: follow_events(self, self, drained, after=self._newest, to_the_end=True),
        )

        async def follow(_: asyncio.Event) -> None:
            try:
                await following(self.drained)
            finally:
                self._followed.set()

        sending = optional("broadcast", remote.run)
        return [follow, lambda _: sending(self._followed)]

    def start_at(self, seq: int) -> None:
        self._newest = seq
        self._remote.start_at(seq)

    async def publish(self, events: Sequence[Event]) -> None:
        """Hand on, and note how far: after a failure the broadcast goes on from there."""
        await self._remote.publish(events)
        self._newest = events[-1].seq


async def _remote_clients(
    stack: AsyncExitStack, settings: RelaySettings, pool: Pool, metrics: Metrics
) -> ApiGatewayBroadcaster:
    """The broadcaster to clients whose sockets API Gateway holds."""
    assert settings.ws_endpoint is not None
    sender = await stack.enter_async_context(ConnectionsApi(settings.ws_endpoint))
    return ApiGatewayBroadcaster(
        PostgresConnections(pool),
        sender,
        SystemClock(),
        rng=Random(),  # noqa: S311 -- spreads retries, guards nothing
        heartbeat_s=settings.ws_heartbeat_s,
        max_clients=settings.ws_max_connections,
        messages_per_month=settings.ws_messages_per_month,
        metrics=metrics,
    )


class _StoredEvents:
    """A relay of its own broadcasts by storing: whoever holds or reaches clients follows the stored events."""

    async def publish(self, events: object) -> None:
        """They are stored already."""

    async def preview(self, posts: object, deleted: object, ts: object) -> None:
        """The other processes see what is stored, and nothing before."""
