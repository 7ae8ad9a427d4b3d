"""Puts a rig together in a scratch directory, and takes it down again."""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
import tempfile
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from groundswell.adapters.embedded_postgres import EmbeddedPostgres
from groundswell.adapters.migrations import migrate
from groundswell.adapters.qdrant_embedded.process import EmbeddedQdrant
from groundswell.adapters.simulator import WATCH_NAMES
from groundswell.drills.harness.feed import Feed
from groundswell.drills.harness.prober import Prober
from groundswell.drills.harness.rig import START_LIMIT_S, DrillSkipped, Rig, Setup, send_signal
from groundswell.drills.harness.services import Service
from groundswell.drills.harness.small_disk import SmallDiskUnavailable, small_disk

DRILL_POSTGRES: Mapping[str, str] = {"shared_buffers": "64MB", "fsync": "off"}
"""Drills kill processes, not machines: durability on a power cut is the one thing they cannot test."""


@asynccontextmanager
async def set_up(setup: Setup, *, say: Callable[[str], None], full: bool, seed: int, keep: bool) -> AsyncGenerator[Rig]:
    """A rig in a scratch directory: everything is started as `setup` says, and everything is stopped in the end.

    Raises:
        DrillSkipped: this machine cannot hold what the drill needs.
    """
    folder = Path(tempfile.mkdtemp(prefix="groundswell-drill-"))
    rig = Rig(setup, folder, say=say, full=full, seed=seed)
    try:
        async with AsyncExitStack() as stack:
            data_dir = await _folder(stack, folder / "data", setup.data_dir_mb)
            await _folder(stack, rig.services_dir, setup.services_dir_mb)
            rig.postgres = EmbeddedPostgres(data_dir, tuning={**DRILL_POSTGRES, **setup.postgres})
            stack.push_async_callback(_take_down, rig)
            if not setup.together:
                await _start_stores(rig, stack)
            rig.feed = Feed(
                posts_per_second=setup.posts_per_second,
                garbage_share=setup.garbage_share,
                seed=seed,
                retention_s=setup.retention_s,
                age_s=setup.age_s,
                world=setup.world,
                sealed=setup.sealed,
            )
            await rig.feed.open(stack, setup.hosts)
            _prepare_services(rig)
            stack.push_async_callback(_end_services, rig)
            if setup.together:
                say("starting the platform")
                await rig.start_together()
            else:
                await _start_services(rig)
            if set(setup.starts) >= {"relay", "api"}:
                await rig.until(rig.as_of_now(), "the platform is up and has caught up", limit_s=START_LIMIT_S)
                say("the platform is up and has caught up")
            yield rig
    finally:
        if not keep:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


async def _start_stores(rig: Rig, stack: AsyncExitStack) -> None:
    rig.say("starting Postgres")
    rig.database_url = await rig.postgres.start()
    if rig.setup.migrated:
        await migrate(rig.database_url)
    if rig.setup.vectors:
        rig.say("starting the vector engine")
        rig.engine = EmbeddedQdrant(rig.folder / "qdrant")
        await rig.engine.start()
        stack.push_async_callback(rig.engine.stop)


async def _start_services(rig: Rig) -> None:
    if "relay" in rig.setup.starts:
        rig.say("starting the relay")
        await rig.start_relay()
    if "api" in rig.setup.starts:
        rig.say("starting the API")
        await rig.start_api()


async def _folder(stack: AsyncExitStack, folder: Path, size_mb: int | None) -> Path:
    """`folder`, on a file system of its own where it has a size."""
    if size_mb is None:
        return folder
    try:
        return await stack.enter_async_context(small_disk(folder, size_mb))
    except SmallDiskUnavailable as reason:
        raise DrillSkipped(str(reason)) from reason


def _address(engine: EmbeddedQdrant) -> dict[str, str]:
    return {"GROUNDSWELL_QDRANT_URL": engine.url, "GROUNDSWELL_QDRANT_API_KEY": engine.api_key}


def _prepare_services(rig: Rig) -> None:
    names = rig.folder / "names.txt"
    names.write_text("\n".join(WATCH_NAMES), "utf-8")
    port = _free_port()
    rig.api_url = f"http://127.0.0.1:{port}"
    rig.prober = Prober(rig.api_url)
    data_dir = rig.postgres.data_dir if rig.setup.together else rig.services_dir
    shared = {
        **({} if rig.setup.together else {"GROUNDSWELL_DATABASE_URL": rig.database_url}),
        "GROUNDSWELL_EMBEDDING_CHAIN": "static:wordllama-256" if rig.setup.vectors else "none",
        "GROUNDSWELL_LOG_FORMAT": "json",
        "GROUNDSWELL_DATA_DIR": str(data_dir),
        **({"GROUNDSWELL_ARCHIVE": str(rig.archive_dir)} if rig.setup.archive else {}),
        **(_address(rig.engine) if rig.engine else {}),
        **rig.setup.environment,
    }
    rig.command_environment = shared
    writing = {
        **shared,
        **rig.feed.variables,
        "GROUNDSWELL_WATCH_LIST": str(names),
        "GROUNDSWELL_BATCH_MAX_POSTS": "100",
        "GROUNDSWELL_MOMENTUM_INTERVAL_S": "1",
        **rig.setup.relay,
    }
    answering = {
        **shared,
        "GROUNDSWELL_API_PORT": str(port),
        "GROUNDSWELL_RATE_LIMIT_PER_MINUTE": "0",
        **rig.setup.api,
    }
    if rig.setup.together:
        platform = Service("platform", folder=rig.folder, arguments=("up",), environment={**writing, **answering})
        rig.relay = rig.api = platform
        rig.services = [platform]
        return
    rig.relay = Service("relay", folder=rig.folder, arguments=("relay",), environment=writing)
    rig.api = Service("api", folder=rig.folder, arguments=("api",), environment=answering)
    rig.services = [rig.relay, rig.api]


async def _end_services(rig: Rig) -> None:
    await rig.stop_probing()
    for service in (*rig.services, *rig.commands):
        if service.alive:
            service.thaw()
            await service.kill()


async def _take_down(rig: Rig) -> None:
    for process in rig.postgres_processes():
        send_signal(process, signal.SIGCONT)
    if rig.setup.together and rig.postgres.running_pid() is not None:
        await rig.postgres.start()  # its platform was killed: adopt it, to stop it
    await rig.postgres.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
