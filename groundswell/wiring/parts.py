"""The parts of every shape: built from settings, closed with the stack they are entered on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from importlib import resources
from pathlib import Path
from random import Random
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec

from groundswell.adapters.embedding_models import EmbeddingModels
from groundswell.adapters.migrations import require_schema
from groundswell.adapters.postgres_lease import PostgresLease
from groundswell.adapters.postgres_outbox import PostgresOutbox
from groundswell.adapters.postgres_pool import Pool, open_pool
from groundswell.adapters.postgres_reads import PostgresReads
from groundswell.adapters.postgres_spaces import PostgresSpaces
from groundswell.adapters.postgres_store import Fence, PostgresStore
from groundswell.adapters.postgres_sweeps import PostgresVectorLedger
from groundswell.adapters.system_clock import SystemClock
from groundswell.core.embedding_chain import parse_chain
from groundswell.core.entities import EntityExtractor
from groundswell.core.status import RECORDING_PREFIX, SIMULATOR
from groundswell.errors import ConfigError
from groundswell.metrics import Metrics
from groundswell.ports.live import Broadcaster
from groundswell.ports.sources import Source
from groundswell.ports.storing import ResumePoint
from groundswell.ports.vectors import VectorIndex
from groundswell.services.condition import ConditionWatch
from groundswell.services.embeddings import EmbeddingChain
from groundswell.services.indexer import Indexer
from groundswell.services.lease import LeaseKeeper
from groundswell.services.orphan_vectors import OrphanVectors
from groundswell.services.outdated_vectors import OutdatedVectors
from groundswell.services.reembed import Reembedder
from groundswell.services.relay import Relay
from groundswell.services.reporting import Report, Reporter
from groundswell.services.upkeep.optional_part import OptionalPart
from groundswell.services.vector_census import VectorCensus
from groundswell.settings_model import ApiSettings, EmbeddedSettings, RelaySettings
from groundswell.wiring.maintenance import Maintenance, renewal
from groundswell.wiring.vectors import vector_index

if TYPE_CHECKING:
    from groundswell.adapters.disk_spool import DiskSpool

log = logging.getLogger(__name__)

RELAY_POOL_SIZE = 5
"""The writer, the tick, the surges, the indexer and the reports each need one connection at a time."""

RELAY_ANSWER_STATEMENTS = 3
"""A commit is a dozen statements, and may take the time limit of this many in all before its connection is given up."""

WAITING_FOR_EACH_CONNECTION = 4
"""Requests that may wait for each connection of a pool. Those beyond are told at once to come back later, rather than
after a wait that would be in vain.
"""


class Models(msgspec.Struct, frozen=True):
    """What search by meaning needs; either may be missing, with the reason in words."""

    chain: EmbeddingChain
    index: VectorIndex | None
    index_missing: str | None = None


class RelayParts(msgspec.Struct, frozen=True):
    """Everything that writes, ready to run."""

    relay: Relay
    condition: ConditionWatch
    optional: tuple[OptionalPart, ...]
    """What may fail without ending the rest."""


async def database_pool(
    stack: AsyncExitStack,
    settings: RelaySettings | ApiSettings | EmbeddedSettings,
    url: str,
    *,
    size: int,
    name: str,
    answer_statements: float | None = None,
) -> Pool:
    """A pool as the settings say. `answer_statements`: a transaction may take the time limit of that many statements;
    where it is not given, that of one and a little more.
    """
    limit_s = settings.database_statement_timeout_s
    pool = await open_pool(
        url,
        size=size,
        wait_s=settings.database_pool_wait_s,
        statement_timeout_s=limit_s,
        answer_limit_s=None if answer_statements is None else answer_statements * limit_s,
        application_name=f"groundswell {name}",
        max_waiting=size * WAITING_FOR_EACH_CONNECTION,
        renew=renewal(settings.database_url),
    )
    stack.push_async_callback(pool.close)
    return pool


async def agents_pool(stack: AsyncExitStack, settings: ApiSettings | EmbeddedSettings, url: str) -> Pool:
    """The share of the database that agents have: small, with a time limit of its own, and apart from everybody's."""
    pool = await open_pool(
        url,
        size=settings.agents_pool_size,
        wait_s=settings.database_pool_wait_s,
        statement_timeout_s=settings.agents_statement_timeout_s,
        application_name="groundswell agents",
        max_waiting=settings.agents_pool_size * WAITING_FOR_EACH_CONNECTION,
        variables="GROUNDSWELL_AGENTS",
        renew=renewal(settings.database_url),
    )
    stack.push_async_callback(pool.close)
    return pool


async def search_models(
    stack: AsyncExitStack,
    settings: RelaySettings | ApiSettings | EmbeddedSettings,
    *,
    qdrant_url: str | None,
    qdrant_key: str | None = None,
    qdrant_missing: str | None = None,
    prepared: bool = True,
) -> Models:
    """The embedding models and the vector index. Neither being there is no reason not to start.

    A model, and what the index is reached with, take a second or two to load. They are loaded here, unless not
    `prepared`: then the first search waits for them, and other requests do not.

    Args:
        qdrant_key: the key of an engine of this platform's own; None for the key of the settings.
    """
    chain = embedding_chain(settings)
    stack.push_async_callback(chain.close)
    if prepared:
        await chain.start()
    index = None
    if qdrant_url is not None:
        index = vector_index(qdrant_url, settings, own_key=qdrant_key)
        stack.push_async_callback(index.close)
        if prepared:
            await index.prepare()
    elif qdrant_missing is None:
        qdrant_missing = "GROUNDSWELL_QDRANT_URL is not set"
    return Models(
        chain=chain,
        index=index,
        index_missing=None if index is not None else qdrant_missing,
    )


class _MigratedStore(PostgresStore):
    """Whoever asks where to go on learns first whether the schema is the one that this version writes to."""

    def __init__(self, pool: Pool, fence: Fence | None) -> None:
        super().__init__(pool, fence)
        self._checked_pool = pool

    async def resume_point(self, source: str) -> ResumePoint:
        await require_schema(self._checked_pool)
        return await super().resume_point(source)


def open_spool(
    stack: AsyncExitStack, settings: RelaySettings | EmbeddedSettings, *, source: str, recording: bool
) -> DiskSpool | None:
    """Where a source's frames wait while the database is away. A recording needs none: it can wait itself.

    Raises:
        DataDirectoryError: the spool cannot be used.
    """
    if not settings.spool_max_mb or recording:
        return None
    from groundswell.adapters.disk_spool import DiskSpool

    folder = settings.data_dir.expanduser().resolve() / "spool" / quote(source, safe="")
    spool = DiskSpool(folder, max_bytes=settings.spool_max_mb * 1_000_000)
    stack.callback(spool.close)
    return spool


def source_lease(
    stack: AsyncExitStack,
    settings: RelaySettings | EmbeddedSettings,
    url: str,
    *,
    source: Source,
    spool: DiskSpool | None,
    metrics: Metrics,
) -> tuple[LeaseKeeper, Fence]:
    """The right to read the source, released as the last but the pools: when everything that writes has ended.

    With it comes what keeps a process that has lost it from writing.
    """
    held = PostgresLease(url, source.name, renew=renewal(settings.database_url))
    lease = LeaseKeeper(
        held,
        SystemClock(),
        source=source.name,
        held_last=spool is not None and (spool.last is not None or spool.remembered() is not None),
        can_replay=source.can_replay,
        metrics=metrics,
    )
    stack.push_async_callback(lease.release)
    return lease, held.require


def embedding_chain(
    settings: RelaySettings | ApiSettings | EmbeddedSettings, *, fetch: bool | None = None
) -> EmbeddingChain:
    """The chain, nothing loaded yet. `fetch` overrides whether models may be fetched."""
    loader = EmbeddingModels(
        models_dir=models_folder(settings),
        fetch=settings.model_fetch == "allowed" if fetch is None else fetch,
        memory_bytes=settings.embedding_memory_mb * 2**20,
        load_timeout_s=settings.embedding_load_timeout_s,
    )
    return EmbeddingChain(parse_chain(settings.embedding_chain), loader, SystemClock())


def models_folder(settings: RelaySettings | ApiSettings | EmbeddedSettings) -> Path:
    """Where embedding models lie, and where fetched ones are kept."""
    return (settings.model_dir or settings.data_dir / "models").expanduser().resolve()


def relay_parts(
    settings: RelaySettings | EmbeddedSettings,
    *,
    source: Source,
    recording: bool,
    pool: Pool,
    spool: DiskSpool | None,
    models: Models,
    maintenance: Maintenance,
    broadcaster: Broadcaster,
    metrics: Metrics,
    more_reports: Mapping[str, Report] = MappingProxyType({}),
    lease: LeaseKeeper | None = None,
    fence: Fence | None = None,
) -> RelayParts:
    """Everything that writes, over one pool."""
    # What computes is imported here: an API starts without it.
    from groundswell.adapters.postgres_momentum import PostgresMomentum
    from groundswell.adapters.postgres_surges import PostgresSurges
    from groundswell.services.momentum import MomentumTicker
    from groundswell.services.surges import SurgeTeller

    clock = SystemClock(skew=settings.clock_skew)
    store = _MigratedStore(pool, fence)
    indexer = reembedder = census = None
    if models.index is not None:
        embedder = models.chain.current if models.chain.entries else None
        outbox, spaces, ledger = PostgresOutbox(pool), PostgresSpaces(pool), PostgresVectorLedger(pool)
        indexer = Indexer(outbox, models.index, embedder, clock)
        census = VectorCensus(
            spaces.posts_by_space,
            models.index,
            OrphanVectors(models.index, ledger),
            outbox,
            clock,
            wake=indexer.wake,
        )
        reembedder = Reembedder(
            models.chain,
            spaces,
            outbox,
            models.index,
            clock,
            posts_per_s=settings.reembed_posts_per_s,
            metrics=metrics,
            wake=indexer.wake,
            outdated=OutdatedVectors(models.index, ledger),
        )
    surges = SurgeTeller(PostgresSurges(pool), clock, interval_s=settings.surges_interval_s, metrics=metrics)
    relay = Relay(
        source,
        store,
        broadcaster,
        clock,
        batch_max_posts=settings.batch_max_posts,
        batch_max_age_s=settings.batch_max_age_ms / 1000,
        rng=Random(),  # noqa: S311 -- spreads retries, guards nothing
        metrics=metrics,
        spool=spool,
        on_stored=indexer.wake if indexer is not None else lambda: None,
        on_labels_outdated=surges.wake,
        recording=recording,
    )
    ticker = MomentumTicker(
        PostgresMomentum(pool, fence),
        broadcaster,
        clock,
        interval_s=settings.momentum_interval_s,
        metrics=metrics,
        is_live=lambda: relay.live,
    )
    reports: Mapping[str, Report] = {
        "relay": relay.status if lease is None else lambda: _with_lease(relay.status(), lease.state),
        "momentum": ticker.status,
        "embeddings": lambda: _embeddings_report(models.chain, reembedder),
        "vectors": lambda: _vectors_report(models, indexer, census, metrics),
        **more_reports,
        **maintenance.reports,
    }
    condition = ConditionWatch(PostgresReads(pool), store=store, broadcaster=broadcaster)
    services = [
        ("momentum", ticker.run),
        ("momentum", surges.run),
        ("status", condition.run),
        *([] if indexer is None else [("vectors", indexer.run)]),
        *([] if census is None else [("vectors", census.run)]),
        *([] if reembedder is None else [("embeddings", reembedder.run)]),
        *([] if maintenance.cleanup is None else [("cleanup", maintenance.cleanup.run)]),
        *([] if maintenance.mover is None else [("mover", maintenance.mover.run)]),
    ]
    rng = Random()  # noqa: S311 -- spreads restarts, guards nothing
    optional = [OptionalPart(name, service, clock, rng=rng) for name, service in services]
    reporter = Reporter(store, {name: _with_failures(name, ask, optional) for name, ask in reports.items()})
    return RelayParts(
        relay=relay,
        condition=condition,
        optional=(*optional, OptionalPart("status", reporter.run, clock, rng=rng)),
    )


def _with_failures(component: str, ask: Report, parts: Sequence[OptionalPart]) -> Report:
    """What a component says of itself, or why it waits after one of its services failed."""
    of_it = [part for part in parts if part.name == component]

    def report() -> tuple[str, Mapping[str, object]]:
        state, detail = ask()
        for part in of_it:
            state, detail = part.report(state, detail)
        return state, detail

    return report


def _with_lease(status: tuple[str, Mapping[str, object]], lease: str) -> tuple[str, Mapping[str, object]]:
    return status[0], {**status[1], "lease": lease}


def _embeddings_report(chain: EmbeddingChain, reembedder: Reembedder | None) -> tuple[str, Mapping[str, object]]:
    state, detail = chain.status()
    return state, {**detail, **({} if reembedder is None else reembedder.detail())}


def _vectors_report(
    models: Models, indexer: Indexer | None, census: VectorCensus | None, metrics: Metrics
) -> tuple[str, Mapping[str, object]]:
    if indexer is None or census is None:
        return "disabled", {"why": models.index_missing}
    state = indexer.state
    metrics.set("outbox_depth", state.depth or 0)
    metrics.set("vectors_indexed_total", state.indexed_total)
    why = state.last_error
    if state.phase == "disabled":
        why = models.chain.why_none()
    healthy = state.phase in ("idle", "indexing")
    phase = "running" if healthy else state.phase
    if healthy and census.state.phase == "rebuilding":
        phase = "rebuilding"
        why = (
            f"The index lacked {census.state.missing} posts, which something else than this platform has removed. They "
            "are indexed again; searches by meaning find less until then."
        )
    return phase, {
        "why": why,
        "indexed_again": census.state.queued_total,
        "outbox": state.depth,
        "indexed": state.indexed_total,
        "removed": state.removed_total,
        **{f"{stage}_seconds": round(seconds, 3) for stage, seconds in state.seconds.items()},
    }


# ------------------------------------------------------------------ sources
async def open_source(
    stack: AsyncExitStack,
    settings: RelaySettings | EmbeddedSettings,
    *,
    tell: Callable[[str], None],
    reads: PostgresReads,
) -> tuple[Source, bool]:
    """The configured source, and whether it is a recording. The simulator's server is started on the way.

    `reads`: where a recording is looked for that was stored under another name.
    """
    if settings.source == "replay":
        from groundswell.adapters.replay import ReplaySource, recording_name

        file = settings.replay_file
        assert file is not None, "settings refuse a replay without a file"
        speed = None if settings.replay_speed == "max" else settings.replay_speed
        stored = [source.source for source in (await reads.status()).sources]
        name = await asyncio.to_thread(recording_name, file, stored)
        if not name.startswith(f"{RECORDING_PREFIX}{file.name}@"):
            tell(f"{file} is the recording that is stored as {name}: it goes on from there")
        return ReplaySource(file, speed=speed, extractor=_extractor(settings), name=name), True
    if settings.source == "sealed":
        try:
            from groundswell.wiring.sealed import open_sealed_source
        except ModuleNotFoundError as error:
            raise ConfigError(
                [f"GROUNDSWELL_SOURCE: sealed needs {error.name}, which is not installed. Install groundswell[sealed]."]
            ) from error
        return await open_sealed_source(stack, settings, extractor=_extractor, tell=tell), False
    from groundswell.adapters.jetstream import JetstreamSource

    if settings.source == "jetstream":
        hosts = JetstreamSource(
            name="jetstream",
            hosts=settings.jetstream_hosts,
            wanted_collections=settings.jetstream_collections,
            compress=settings.jetstream_compression == "zstd",
            extractor=_extractor(settings),
        )
        return hosts, False

    from groundswell.adapters.simulator import WATCH_NAMES, SimulatorServer, World, WorldConfig

    tell("Starting the simulated feed")
    world = World(WorldConfig(seed=settings.simulator_seed, posts_per_second=settings.simulator_rate))
    server = SimulatorServer(world, clock=SystemClock(), history_s=settings.simulator_history_minutes * 60)
    await stack.enter_async_context(server)
    extractor = _extractor(settings, WATCH_NAMES)
    return JetstreamSource(name=SIMULATOR, hosts=[server.url], extractor=extractor), False


def _extractor(settings: RelaySettings | EmbeddedSettings, more: Sequence[str] = ()) -> EntityExtractor:
    """The entity extractor with the given watch list, or with the one that comes with Groundswell and `more`.

    Raises:
        ConfigError: the file cannot be read, or a line of it cannot work.
    """
    watch_list = settings.watch_list
    try:
        if watch_list is None:
            text = resources.files("groundswell").joinpath("watch_list.txt").read_text("utf-8")
            lines = [*text.splitlines(), *more]
        else:
            lines = watch_list.read_text("utf-8").splitlines()
        return EntityExtractor(lines)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            [f"GROUNDSWELL_WATCH_LIST: {watch_list} cannot be read ({error}). Name a UTF-8 text file."]
        ) from error
    except ValueError as error:
        raise ConfigError([f"GROUNDSWELL_WATCH_LIST: {problem}" for problem in str(error).splitlines()]) from error
