"""The API as a process of its own, and the application that every shape serves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from starlette.types import ASGIApp

from functions.api.app import create_app
from functions.api.services import ApiServices
from groundswell import __version__
from groundswell.adapters.allocator import give_large_blocks_back
from groundswell.adapters.local_hub import LocalHub, follow_events
from groundswell.adapters.migrations import REQUIRED_VERSION, wait_for_schema
from groundswell.adapters.postgres_keys import PostgresKeys
from groundswell.adapters.postgres_pool import Pool
from groundswell.adapters.postgres_reads import PostgresReads
from groundswell.adapters.postgres_rules import PostgresRules
from groundswell.adapters.postgres_search import PostgresSearch
from groundswell.adapters.postgres_spaces import PostgresSpaces
from groundswell.adapters.system_clock import SystemClock
from groundswell.core.posts import Micros
from groundswell.health import Part, Probe
from groundswell.metrics import Metrics
from groundswell.ports.archive import Archive
from groundswell.ports.storing import MomentumRow
from groundswell.ports.vectors import VectorIndex
from groundswell.services.condition import ConditionWatch
from groundswell.services.search import SearchService
from groundswell.services.spaces import ChainSpaces
from groundswell.settings_model import ApiSettings, EmbeddedSettings
from groundswell.wiring.maintenance import archive_reader, open_archive
from groundswell.wiring.parts import Models, database_pool, search_models
from groundswell.wiring.serving import listen, serve
from groundswell.wiring.together import optional, run_together

if TYPE_CHECKING:
    from groundswell.services.time_travel import TimeTravel

log = logging.getLogger(__name__)


async def run_api(settings: ApiSettings, stop: asyncio.Event) -> None:
    """The API and the page over a database that a relay elsewhere writes to, until `stop`.

    Raises:
        SchemaMismatch: the database did not get the schema that this version needs in time.
        ConfigError: the address to listen on is taken.
    """
    give_large_blocks_back()
    async with AsyncExitStack() as stack:
        size = settings.database_pool_size
        pool = await database_pool(stack, settings, settings.database_url.reveal(), size=size, name="api")
        await wait_for_schema(pool, settings.database_schema_wait_s, log.info)
        models = await search_models(stack, settings, qdrant_url=settings.qdrant_url)
        metrics = Metrics()
        hub = LocalHub(
            SystemClock(skew=settings.clock_skew),
            version=__version__,
            max_clients=settings.ws_max_connections,
            metrics=metrics,
        )
        reads = PostgresReads(pool)
        watch = ConditionWatch(reads, store=None, broadcaster=hub)
        hub.degraded = lambda: watch.degraded
        archive = open_archive(settings.archive, settings.data_dir, embedded=False)
        app = application(settings, pool, models, hub, metrics, archive=archive)
        listener = listen(settings.api_host, settings.api_port)
        await run_together(
            stop,
            optional("broadcast", hub.run),
            optional("status", watch.run),
            optional("embeddings", models.chain.run),
            optional("broadcast", lambda stop: follow_events(reads, hub, stop)),
            lambda stop: serve(
                app, listener, stop, ready=lambda: log.info("answering on port %d", listener.getsockname()[1])
            ),
        )


def application(
    settings: ApiSettings | EmbeddedSettings,
    pool: Pool,
    models: Models,
    hub: LocalHub | None,
    metrics: Metrics,
    *,
    archive: Archive | None = None,
    allowed_hosts: Sequence[str] | None = None,
    more_probes: Mapping[Part, Probe] = MappingProxyType({}),
) -> ASGIApp:
    """The FastAPI application over these parts. `hub` is None where sockets are held elsewhere.

    `allowed_hosts` takes the place of the setting. `more_probes` are asked by `/readyz` as well.
    """
    clock = SystemClock(skew=settings.clock_skew)
    probes: dict[Part, Probe] = {**more_probes}
    index = models.index
    if index is not None:
        probes["qdrant"] = lambda: _count_points(index)
    reads = PostgresReads(pool)
    services = ApiServices(
        reads=reads,
        search=SearchService(
            PostgresSearch(pool),
            index,
            None,
            clock,
            spaces=ChainSpaces(models.chain, PostgresSpaces(pool), clock) if models.chain.entries else None,
            metrics=metrics,
        ),
        past=_Past(pool, reads, clock),
        archive=archive_reader(archive, pool, settings.data_dir),
        rules=PostgresRules(pool),
        keys=PostgresKeys(pool),
        clock=clock,
        schema_version=REQUIRED_VERSION,
        hub=hub,
        metrics=metrics,
        probes=probes,
    )
    return create_app(
        services,
        version=__version__,
        public_api_url=settings.public_api_url or "",
        public_ws_url=settings.public_ws_url or "",
        contact=settings.contact or "",
        cors_origins=settings.cors_origins,
        allowed_hosts=settings.allowed_hosts if allowed_hosts is None else allowed_hosts,
        sockets_per_address=settings.ws_max_connections_per_address,
        trusted_proxies=settings.trusted_proxies,
        proxy_header=settings.proxy_header,
        rate_limit_per_minute=settings.rate_limit_per_minute,
        site_dir=_site_dir(),
    )


class _Past:
    """Momentum of the past. What computes it is imported when it is first asked for: few ask, and it takes long."""

    def __init__(self, pool: Pool, reads: PostgresReads, clock: SystemClock) -> None:
        self._pool = pool
        self._reads = reads
        self._clock = clock
        self._made: TimeTravel | None = None

    async def moving(self, as_of: Micros) -> Sequence[MomentumRow]:
        if self._made is None:
            made = await asyncio.to_thread(self._make)
            self._made = self._made or made
        return await self._made.moving(as_of)

    def _make(self) -> TimeTravel:
        from groundswell.adapters.postgres_momentum import PostgresMomentum
        from groundswell.services.time_travel import TimeTravel

        return TimeTravel(PostgresMomentum(self._pool), self._reads, self._clock)


async def _count_points(index: VectorIndex) -> str:
    return f"{await index.count()} points"


def _site_dir() -> Path:
    """Where the built site lies: beside the package in a checkout."""
    return Path(__file__).resolve().parents[2] / "web" / "dist"
