"""Everything in one process, on engines of its own: what `groundswell up` runs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random

from groundswell import __version__
from groundswell.adapters.allocator import give_large_blocks_back
from groundswell.adapters.data_directory import make_private
from groundswell.adapters.embedded_postgres import EmbeddedPostgres
from groundswell.adapters.local_hub import LocalHub
from groundswell.adapters.migrations import migrate
from groundswell.adapters.postgres_reads import PostgresReads
from groundswell.adapters.qdrant_embedded.process import EmbeddedQdrant
from groundswell.adapters.supervision import Supervisor
from groundswell.adapters.system_clock import SystemClock
from groundswell.errors import DataDirectoryError, StoreUnavailable, VectorIndexUnavailable
from groundswell.health import Part, Probe
from groundswell.metrics import Metrics
from groundswell.observability import Progress
from groundswell.services.lease import LeaseKeeper
from groundswell.services.reporting import Report
from groundswell.settings_model import EmbeddedSettings
from groundswell.wiring.api import application
from groundswell.wiring.maintenance import open_archive, open_maintenance
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
from groundswell.wiring.serving import listen, serve
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


async def run_embedded(settings: EmbeddedSettings, *, progress: Progress, stop: asyncio.Event) -> None:
    """Everything in this process, on engines of its own, until `stop`.

    Raises:
        DataDirectoryError: the data directory cannot be used.
        ConfigError: an address or a file of the settings cannot.
    """
    give_large_blocks_back()
    async with AsyncExitStack() as stack:
        data_dir = settings.data_dir.expanduser().resolve()
        database: _Database | None = None
        reports: dict[str, Report] = {}
        if settings.database_url is None:
            progress.step("Starting Postgres")
            database = _Database(settings.data_dir)
            url = await database.start(stack)
            reports["postgres"] = database.supervisor.status
        else:
            make_private(data_dir)
            url = settings.database_url.reveal()
        progress.step("Bringing the schema up to date")
        await migrate(url)

        qdrant_url, qdrant_key, qdrant_missing = settings.qdrant_url, None, None
        if qdrant_url is None:
            progress.step("Starting the vector engine")
            engine = EmbeddedQdrant(data_dir / "qdrant")
            qdrant_missing = await _start_engine(engine, stack)
            if qdrant_missing is None:
                qdrant_url, qdrant_key = engine.url, engine.api_key
                reports["engine"] = engine.supervisor.status
            else:
                progress.note(f"Search goes on by words alone. {qdrant_missing}")

        progress.step("Loading the embedding model")
        models = await search_models(
            stack, settings, qdrant_url=qdrant_url, qdrant_key=qdrant_key, qdrant_missing=qdrant_missing
        )
        if (missing := models.chain.why_none()) is not None:
            progress.note(f"Search goes on by words alone: {missing}")

        writing = await database_pool(
            stack, settings, url, size=RELAY_POOL_SIZE, name="relay", answer_statements=RELAY_ANSWER_STATEMENTS
        )
        reading = await database_pool(stack, settings, url, size=settings.database_pool_size, name="api")
        reads = PostgresReads(reading)
        source, recording = await open_source(stack, settings, tell=progress.step, reads=reads)
        metrics = Metrics()
        hub = LocalHub(
            SystemClock(skew=settings.clock_skew),
            version=__version__,
            max_clients=settings.ws_max_connections,
            metrics=metrics,
        )
        spool = open_spool(stack, settings, source=source.name, recording=recording)
        lease = fence = None
        if settings.database_url is not None:
            # Another relay may use somebody's own database. The embedded one is ours alone.
            lease, fence = source_lease(stack, settings, url, source=source, spool=spool, metrics=metrics)
        parts = relay_parts(
            settings,
            source=source,
            recording=recording,
            pool=writing,
            spool=spool,
            models=models,
            maintenance=await open_maintenance(
                stack, settings, url, embedded=settings.database_url is None, index=models.index, metrics=metrics
            ),
            broadcaster=hub,
            metrics=metrics,
            more_reports=reports,
            lease=lease,
            fence=fence,
        )
        hub.start_at((await reads.events(None, 1)).newest)
        hub.degraded = lambda: parts.condition.degraded
        progress.step("Opening the page")
        archive = open_archive(settings.archive, data_dir, embedded=settings.database_url is None)
        app = application(
            settings,
            reading,
            models,
            hub,
            metrics,
            archive=archive,
            more_probes={} if database is None else database.probes,
        )
        listener = listen(settings.api_host, settings.api_port)
        host = "localhost" if settings.api_host in ("127.0.0.1", "0.0.0.0", "::", "::1") else settings.api_host  # noqa: S104
        page = f"http://{host}:{listener.getsockname()[1]}"
        await run_together(
            stop,
            *([] if database is None else [until_stopped(database.supervisor.run)]),
            optional("broadcast", hub.run),
            optional("embeddings", models.chain.run),
            lambda stop: serve(app, listener, stop, ready=lambda: progress.ready(page)),
            *_leased(lease, writers(parts, ends_all=False)),
            *metrics_lines(settings, metrics),
        )


class _Database:
    """The Postgres in the data directory, started again when it dies."""

    def __init__(self, data_dir: Path) -> None:
        self._server = EmbeddedPostgres(data_dir)
        self.supervisor = Supervisor("Postgres", self._server, SystemClock(), rng=Random())  # noqa: S311 -- spreads restarts, guards nothing
        self.probes: Mapping[Part, Probe] = {"data": self._look}

    async def start(self, stack: AsyncExitStack) -> str:
        """Return the URL. The server is stopped with `stack`."""
        url = await self._server.start()
        stack.push_async_callback(self._server.stop)
        return url

    async def _look(self) -> str:
        """Raises DataDirectoryError or StoreUnavailable."""
        if self.supervisor.why is not None:
            raise StoreUnavailable(self.supervisor.why)
        await asyncio.to_thread(self._server.check_in_place)
        return "in place"


async def _start_engine(engine: EmbeddedQdrant, stack: AsyncExitStack) -> str | None:
    """Start the vector engine, which is stopped with `stack`; return why there is none, where it does not start."""
    try:
        await engine.start()
    except (DataDirectoryError, VectorIndexUnavailable) as error:
        return error.detail
    stack.push_async_callback(engine.stop)
    return None


def _leased(lease: LeaseKeeper | None, services: list[Service]) -> list[Service]:
    """The services from the moment on at which the lease is held; at once where none is needed."""
    if lease is None:
        return services
    held = asyncio.Event()
    return [keep_lease(lease, held), *(once(held, service) for service in services)]
