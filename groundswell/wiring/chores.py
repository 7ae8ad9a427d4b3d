"""Parts put together for the chores of the command line, not for a service.

`groundswell migrate`, `keys` and `doctor` need a database or a look at one, whether or not the platform runs.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from groundswell.adapters.data_directory import DirectoryLock
from groundswell.adapters.embedded_postgres import EmbeddedPostgres, running_url
from groundswell.adapters.migrations import REQUIRED_VERSION, migrate, schema_version
from groundswell.adapters.postgres_keys import PostgresKeys
from groundswell.adapters.postgres_pool import Pool, connection, open_pool
from groundswell.adapters.qdrant import QdrantIndex
from groundswell.adapters.system_clock import SystemClock
from groundswell.configuration.secret import Secret
from groundswell.core.embedding_chain import Hardware
from groundswell.core.posts import MICROS_PER_SECOND, Micros
from groundswell.core.recorded_frames import is_frame
from groundswell.core.session import Fatal, verdict
from groundswell.core.unreadable import SHOWN_BYTES, shown
from groundswell.errors import ConfigError, NoPlatform, SourceFailed
from groundswell.ports.vectors import Embedder
from groundswell.services.embeddings import Attempt
from groundswell.settings_model import EmbeddedSettings
from groundswell.wiring.parts import embedding_chain, models_folder

CHORE_POOL_SIZE = 2
CHORE_WAIT_S = 5.0
CHORE_STATEMENT_S = 30.0
SPEED_S = 0.3
SAMPLE_POSTS = [
    f"post number {n}: markets rally on rate cut hopes, says someone at example.com #news" for n in range(64)
]
"""What `doctor` measures a model with."""


@asynccontextmanager
async def database(url: Secret | None, data_dir: Path, *, make: bool = False) -> AsyncGenerator[str, None]:
    """Yield the URL of the database to work on: the given one, the embedded one that runs, or that one started for now.

    Args:
        url: a database of somebody's own; None for the embedded one.
        data_dir: where the embedded one lies.
        make: whether one is made where none lies. A command that asks for what is there must not make it: a mistyped
            directory would be answered with "nothing is wrong" and an empty platform.

    Raises:
        NoPlatform: nothing lies in the data directory.
        DataDirectoryError, StoreUnavailable: as `EmbeddedPostgres.start` does.
    """
    found = url.reveal() if url else await asyncio.to_thread(running_url, data_dir)
    if found:
        yield found
        return
    if not make and not embedded_database_exists(data_dir):
        raise _no_platform(data_dir)
    server = EmbeddedPostgres(data_dir)
    try:
        yield await server.start()
    finally:
        await server.stop()


def _no_platform(data_dir: Path) -> NoPlatform:
    return NoPlatform(
        f"There is no Groundswell at {data_dir.expanduser().absolute()}. Name its directory with --data-dir or "
        "GROUNDSWELL_DATA_DIR; `groundswell up` makes a new one."
    )


async def migrate_database(url: Secret | None, data_dir: Path) -> tuple[str | None, str]:
    """Bring the schema up to date; the versions before and after. Raises as `database` and `migrate` do."""
    async with database(url, data_dir, make=True) as address:
        return await migrate(address)


async def create_key(url: Secret | None, data_dir: Path, name: str) -> str:
    """A new API key, to be shown once. Raises InvalidRequest when the name is taken."""
    async with _keys(url, data_dir) as keys:
        return await keys.create(name)


async def list_keys(url: Secret | None, data_dir: Path) -> list[tuple[str, Micros]]:
    """Name and creation of every API key, oldest first."""
    async with _keys(url, data_dir) as keys:
        return await keys.names()


async def revoke_key(url: Secret | None, data_dir: Path, name: str) -> None:
    """Raises NotFound for a name that no key has."""
    async with _keys(url, data_dir) as keys:
        await keys.revoke(name)


@asynccontextmanager
async def _keys(url: Secret | None, data_dir: Path) -> AsyncGenerator[PostgresKeys, None]:
    async with database(url, data_dir) as address:
        await migrate(address)
        async with _pool(address, "groundswell keys") as pool:
            yield PostgresKeys(pool)


class DatabaseReport(msgspec.Struct, frozen=True):
    server: str
    """For example `PostgreSQL 18.6`."""
    schema: str | None
    required_schema: str
    ahead_s: float
    """How far the database's clock is ahead of ours, in seconds."""
    connections: int
    max_connections: int
    posts: int | None
    """None while there is no schema."""


async def inspect_database(address: str) -> DatabaseReport:
    """Ask a database everything that `doctor` wants to know. Raises StoreUnavailable."""
    clock = SystemClock()
    async with _pool(address, "groundswell doctor") as pool:
        version = await schema_version(pool)
        async with connection(pool) as borrowed:
            before = clock.now()
            row = await (
                await borrowed.execute(
                    "SELECT current_setting('server_version'), extract(epoch FROM clock_timestamp()),"
                    " (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),"
                    " current_setting('max_connections')::int"
                )
            ).fetchone()
            middle = (before + clock.now()) / 2
            assert row is not None
            posts: int | None = None
            if version is not None:
                counted = await (
                    await borrowed.execute("SELECT reltuples::bigint FROM pg_class WHERE oid = 'posts'::regclass")
                ).fetchone()
                posts = max(0, counted[0]) if counted else 0
    return DatabaseReport(
        server=f"PostgreSQL {str(row[0]).split()[0]}",
        schema=version,
        required_schema=REQUIRED_VERSION,
        ahead_s=float(row[1]) - middle / MICROS_PER_SECOND,
        connections=int(row[2]),
        max_connections=int(row[3]),
        posts=posts,
    )


class EmbeddingReport(msgspec.Struct, frozen=True):
    """What `doctor` shows of the embedding chain."""

    hardware: Hardware
    attempts: Sequence[Attempt]
    models_dir: str
    space: str | None
    """Of the model that was chosen; None where none works."""
    posts_per_second: float


async def examine_embeddings(settings: EmbeddedSettings, *, fetch: bool | None) -> EmbeddingReport:
    """Go through the chain as a service does, and measure the model that it ends with.

    Args:
        fetch: whether models may be fetched; None as the settings say.
    """
    # What the chain would log is in the report; without a handler Python would print it as well.
    logging.getLogger("groundswell").addHandler(logging.NullHandler())
    chain = embedding_chain(settings, fetch=fetch)
    try:
        await chain.load()
        assert chain.hardware is not None
        space = None if chain.active is None else chain.active.space.name
        speed = 0.0 if chain.active is None else await asyncio.to_thread(_speed, chain.active)
        folder = models_folder(settings)
        return EmbeddingReport(chain.hardware, tuple(chain.attempts), str(folder), space, speed)
    finally:
        await chain.close()


def _speed(model: Embedder) -> float:
    """Posts a second, from a few of them."""
    clock = SystemClock()
    model.embed(SAMPLE_POSTS)
    started = clock.monotonic()
    rounds = 0
    while clock.monotonic() - started < SPEED_S:
        model.embed(SAMPLE_POSTS)
        rounds += 1
    return rounds * len(SAMPLE_POSTS) / (clock.monotonic() - started)


def platform_running(data_dir: Path) -> int | None:
    """The process id of the platform that uses this data directory; None if none does."""
    return DirectoryLock(data_dir.expanduser().resolve()).holder()


def embedded_database_exists(data_dir: Path) -> bool:
    return (data_dir.expanduser() / "postgres").exists()


async def reach_qdrant(url: str, api_key: Secret | None) -> str:
    """Return the version that a Qdrant at `url` reports, asked as the platform asks it.

    Raises:
        VectorIndexUnavailable: it cannot be reached, refuses the key, is too old, or is no Qdrant.
    """
    index = QdrantIndex(url, api_key=None if api_key is None else api_key.reveal(), timeout_s=5)
    try:
        return await index.check()
    finally:
        await index.close()


async def reach_sealed_feed(settings: EmbeddedSettings) -> bool:
    """Be let in, hear the feed's first word, and leave. Answers whether it can send again what was missed.

    Raises:
        SourceFailed: what went wrong, whether or not time can change it.
        ConfigError: the wallet's key is none.
    """
    from groundswell.wiring.sealed import configured_source

    source = configured_source(settings, None)
    try:
        async with source.connect(None):
            return source.can_replay
    except ConfigError:
        raise
    except Exception as error:
        judged = verdict(error)
        raise SourceFailed(judged.message if isinstance(judged, Fatal) else judged.detail) from error


async def reach_host(host: str, port: int, *, encrypted: bool) -> None:
    """Open and close a connection. Raises OSError or TimeoutError."""
    async with asyncio.timeout(5):
        context = ssl.create_default_context() if encrypted else None
        _, writer = await asyncio.open_connection(host, port, ssl=context)
        writer.close()
        await writer.wait_closed()


@asynccontextmanager
async def _pool(address: str, name: str) -> AsyncGenerator[Pool, None]:
    pool = await open_pool(
        address,
        size=CHORE_POOL_SIZE,
        wait_s=CHORE_WAIT_S,
        statement_timeout_s=CHORE_STATEMENT_S,
        application_name=name,
    )
    try:
        yield pool
    finally:
        await pool.close()


def look_at_recording(path: Path) -> str | None:
    """Return what is wrong with the beginning of a recording; None where it begins with frames.

    Raises:
        SourceFailed: it cannot be opened, or has a form that is not read.
    """
    from groundswell.adapters.replay import first_frames

    frames = first_frames(path)
    if not frames:
        return f"{path} holds no frames: it is empty"
    if not any(is_frame(frame.raw) for frame in frames):
        return f"{path} begins with no frame, but with {shown(frames[0].raw[:SHOWN_BYTES])}"
    return None
