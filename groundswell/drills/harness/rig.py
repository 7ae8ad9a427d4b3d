"""The platform under a drill: a database, a stream, the real services, and somebody who keeps asking the API."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psutil
import psycopg

from groundswell.adapters.embedded_postgres import EmbeddedPostgres
from groundswell.adapters.migrations import migrate
from groundswell.adapters.qdrant_embedded.process import EmbeddedQdrant
from groundswell.adapters.simulator import WATCH_NAMES
from groundswell.core.posts import Micros
from groundswell.drills.harness.feed import Feed
from groundswell.drills.harness.oracle import reconcile
from groundswell.drills.harness.prober import Prober
from groundswell.drills.harness.services import Service
from groundswell.drills.harness.small_disk import SmallDiskUnavailable, small_disk
from groundswell.drills.harness.verdict import Check, Reconciliation, Recovery

START_LIMIT_S = 90.0
RECOVERY_LIMIT_S = 60.0
POLL_S = 0.05

DRILL_POSTGRES: Mapping[str, str] = {"shared_buffers": "64MB", "fsync": "off"}
"""Drills kill processes, not machines: durability on a power cut is the one thing they cannot test."""


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """What a drill runs on."""

    posts_per_second: float = 60
    garbage_share: float = 0.002
    hosts: int = 1
    """Servers that tell the same stream."""
    retention_s: float = 7200
    vectors: bool = False
    """Whether there is a vector engine and an embedding model."""
    starts: tuple[str, ...] = ("relay", "api")
    """What runs when the drill begins."""
    migrated: bool = True
    postgres: Mapping[str, str] = {}
    """Laid over the server's usual settings."""
    data_dir_mb: int | None = None
    """Puts the database on a file system of its own, of this size."""
    environment: Mapping[str, str] = {}
    relay: Mapping[str, str] = {}
    api: Mapping[str, str] = {}


class DrillSkipped(Exception):
    """The drill cannot be run on this machine; the text says why."""


class DrillFailed(Exception):
    """The platform did what it must never do, and there is no point in going on."""


class Rig:
    """What a drill works with. Made by `set_up`, which takes it down again."""

    def __init__(self, setup: Setup, folder: Path, *, say: Callable[[str], None], full: bool, seed: int) -> None:
        self.setup = setup
        self.folder = folder
        self.say = say
        self.full = full
        """Whether there is time: the long form of the drill."""
        self.seed = seed
        self.checks: list[Check] = []
        self.recoveries: list[Recovery] = []
        self.reconciliation: Reconciliation | None = None
        self.feed: Feed
        self.postgres: EmbeddedPostgres
        self.database_url: str
        self.engine: EmbeddedQdrant | None = None
        self.relay: Service
        self.api: Service
        self.api_url: str
        self.services: list[Service] = []
        self.prober: Prober
        self._probing: asyncio.Task[None] | None = None

    # ------------------------------------------------------------------ what drills call
    def check(self, what: str, kept: bool, measured: object, *, promised: str = "yes") -> None:
        self.checks.append(Check(what, promised, str(measured), kept))

    async def start_relay(self, **more: str) -> None:
        await self.relay.start(**more)

    async def start_api(self, *, wait: bool = True, **more: str) -> None:
        """Start the API, and the prober with the first start; `wait` until it answers."""
        await self.api.start(**more)
        if wait:
            await self.start_probing_when_ready()

    def probe(self) -> None:
        """Begin to ask the API, if that has not begun yet."""
        if self._probing is None:
            self._probing = asyncio.create_task(self.prober.run())

    async def until(
        self, condition: Callable[[], Awaitable[bool]], what: str, *, limit_s: float = RECOVERY_LIMIT_S
    ) -> float:
        """Wait for `condition`; answers the seconds that took. Raises TimeoutError with `what` it was."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        while not await condition():
            self._raise_early_ends()
            if loop.time() - started > limit_s:
                raise TimeoutError(f"not within {limit_s:g} s: {what}{self.last_words()}")
            await asyncio.sleep(POLL_S)
        return loop.time() - started

    def last_words(self) -> str:
        """What the services said last, for whoever has to find out why."""
        said = [
            f"\n{service.name} (run {service.runs}, exit code {service.exit_code}) last said:\n{service.last_words()}"
            for service in self.services
            if service.runs
        ]
        return "".join(said)

    async def recover(self, after: str, *, limit_s: float = RECOVERY_LIMIT_S) -> None:
        """Wait until all is as before, and note how long that took: call it the moment the fault is over.

        As before is: what had happened up to now is stored, no gap is open, and the API is ready.
        """
        try:
            seconds = await self.until(self.as_of_now(), f"recovery after {after}", limit_s=limit_s)
        except TimeoutError:
            self.recoveries.append(Recovery(after, None, limit_s))
            self.say(f"no recovery after {after} within {limit_s:g} s")
        else:
            self.recoveries.append(Recovery(after, round(seconds, 2), limit_s))
            self.say(f"recovered after {after} in {seconds:.1f} s")

    def as_of_now(self) -> Callable[[], Awaitable[bool]]:
        """Whether all that has happened up to this call is stored, no gap is open, and the API is ready."""
        now = self.feed.now()

        async def well() -> bool:
            return await self.stored_up_to(now) and await self._ready()

        return well

    async def stored_up_to(self, instant: Micros) -> bool:
        """Whether all that happened before `instant` is stored, and no gap is open."""
        rows = await self.ask(
            "SELECT (extract(epoch FROM covered_until) * 1000000)::bigint,"
            " NOT EXISTS (SELECT 1 FROM gaps WHERE closed_at IS NULL) FROM cursors"
        )
        return bool(rows) and rows[0][0] is not None and rows[0][0] >= instant and bool(rows[0][1])

    async def stored_posts(self) -> int:
        rows = await self.ask("SELECT count(*) FROM posts")
        return rows[0][0] if rows else 0

    async def count_gaps(self) -> int:
        rows = await self.ask("SELECT count(*) FROM gaps")
        return rows[0][0] if rows else 0

    async def pause(self, seconds: float) -> None:
        """Let a fault last."""
        await asyncio.sleep(seconds)

    async def start_probing_when_ready(self) -> None:
        await self.until(self._api_answers, "the API answers", limit_s=START_LIMIT_S)
        self.probe()

    async def more_posts(self, posts: int, *, limit_s: float = RECOVERY_LIMIT_S) -> None:
        """Wait until that many more posts than now are stored."""
        goal = await self.stored_posts() + posts

        async def there() -> bool:
            return await self.stored_posts() >= goal

        await self.until(there, f"{posts} more posts are stored", limit_s=limit_s)

    async def ask(self, query: Any, values: Any = None) -> list[tuple[Any, ...]]:
        """The rows of a query, over a connection of its own; none while the database is away."""
        try:
            return await self.query(query, values)
        except psycopg.OperationalError:
            return []

    async def query(self, query: Any, values: Any = None) -> list[tuple[Any, ...]]:
        """As `ask`. Raises psycopg.OperationalError while the database is away."""
        async with await psycopg.AsyncConnection.connect(
            self.database_url, connect_timeout=5, autocommit=True, application_name="groundswell drill"
        ) as conn:
            cursor = await conn.execute(query, values)
            return [] if cursor.description is None else await cursor.fetchall()

    async def get(self, path: str) -> dict[str, Any] | None:
        """The JSON object of an answer of the API, whatever its status; None where there was none."""
        try:
            async with httpx.AsyncClient(base_url=self.api_url, timeout=15, trust_env=False) as client:
                return (await client.get(path)).json()
        except (httpx.TransportError, ValueError):
            return None

    async def get_text(self, path: str) -> str | None:
        """The body of an answer of the API; None where there was none."""
        try:
            async with httpx.AsyncClient(base_url=self.api_url, timeout=15, trust_env=False) as client:
                return (await client.get(path)).text
        except httpx.TransportError:
            return None

    def postgres_processes(self) -> list[psutil.Process]:
        pid = self.postgres.running_pid()
        if pid is None:
            return []
        server = psutil.Process(pid)
        return [server, *server.children(recursive=True)]

    async def kill_postgres(self) -> None:
        """SIGKILL of the whole server."""
        family = self.postgres_processes()
        for process in family:
            _signal(process, signal.SIGKILL)
        await asyncio.to_thread(psutil.wait_procs, family, 10)
        await self.postgres.stop()

    async def start_postgres(self) -> None:
        """Start the server that was killed or stopped, at the address that it had."""
        before = self.database_url
        self.database_url = await self.postgres.start()
        assert self.database_url == before, "a server comes back where it was"

    # ------------------------------------------------------------------ the end
    async def come_to_rest(self) -> None:
        """End the world, let the rest of it be stored, stop the services, and hold the store against the truth."""
        self.feed.end()
        last = await self.feed.last_frame_at()

        async def stored_to_the_end() -> bool:
            rows = await self.ask("SELECT (extract(epoch FROM covered_until) * 1000000)::bigint FROM cursors")
            return bool(rows) and rows[0][0] is not None and rows[0][0] >= last

        self.say("the world ends: waiting for the rest of it to be stored")
        await self.until(stored_to_the_end, "everything that happened is stored")
        await self.stop_probing()
        for service in self.services:
            if service.alive:
                code = await service.stop()
                self.check(f"{service.name} stops when it is told to", code == 0, f"exit code {code}", promised="0")
        self.reconciliation = await reconcile(self.database_url, self.feed)

    async def stop_probing(self) -> None:
        probing, self._probing = self._probing, None
        if probing is not None:
            probing.cancel()
            await asyncio.gather(probing, return_exceptions=True)

    # ------------------------------------------------------------------ inside
    async def _api_answers(self) -> bool:
        answer = await self.get("/healthz")
        return answer is not None

    async def _ready(self) -> bool:
        if not self.api.runs:
            return True
        answer = await self.get("/readyz")
        return answer is not None and answer.get("status") == "ready"

    def _raise_early_ends(self) -> None:
        ended = [service for service in self.services if service.ended_by_itself]
        if ended:
            raise DrillFailed(f"the {ended[0].name} ended by itself{self.last_words()}")
        if self._probing is not None and self._probing.done() and not self._probing.cancelled():
            self._probing.result()


@asynccontextmanager
async def set_up(setup: Setup, *, say: Callable[[str], None], full: bool, seed: int, keep: bool) -> AsyncGenerator[Rig]:
    """A rig in a scratch directory: everything is started as `setup` says, and everything is stopped in the end.

    Raises:
        DrillSkipped: this machine cannot hold what the drill needs.
    """
    folder = _scratch_folder()
    rig = Rig(setup, folder, say=say, full=full, seed=seed)
    try:
        async with AsyncExitStack() as stack:
            say("starting Postgres")
            data_dir = await _data_dir(rig, stack)
            rig.postgres = EmbeddedPostgres(data_dir, tuning={**DRILL_POSTGRES, **setup.postgres})
            rig.database_url = await rig.postgres.start()
            stack.push_async_callback(_take_down, rig)
            if setup.migrated:
                await migrate(rig.database_url)
            qdrant_url = None
            if setup.vectors:
                say("starting the vector engine")
                rig.engine = EmbeddedQdrant(folder / "qdrant")
                qdrant_url = await rig.engine.start()
                stack.push_async_callback(rig.engine.stop)
            rig.feed = Feed(
                posts_per_second=setup.posts_per_second,
                garbage_share=setup.garbage_share,
                seed=seed,
                retention_s=setup.retention_s,
            )
            await rig.feed.open(stack, setup.hosts)
            _prepare_services(rig, qdrant_url)
            stack.push_async_callback(_end_services, rig)
            if "relay" in setup.starts:
                say("starting the relay")
                await rig.start_relay()
            if "api" in setup.starts:
                say("starting the API")
                await rig.start_api()
            if set(setup.starts) >= {"relay", "api"}:
                await rig.until(rig.as_of_now(), "the platform is up and has caught up", limit_s=START_LIMIT_S)
                say("the platform is up and has caught up")
            yield rig
    finally:
        if not keep:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def _scratch_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="groundswell-drill-"))
    folder.chmod(0o755)  # run by root, the database is another user
    return folder


async def _data_dir(rig: Rig, stack: AsyncExitStack) -> Path:
    data_dir = rig.folder / "data"
    if rig.setup.data_dir_mb is None:
        return data_dir
    try:
        return await stack.enter_async_context(small_disk(data_dir, rig.setup.data_dir_mb))
    except SmallDiskUnavailable as reason:
        raise DrillSkipped(str(reason)) from reason


def _prepare_services(rig: Rig, qdrant_url: str | None) -> None:
    names = rig.folder / "names.txt"
    names.write_text("\n".join(WATCH_NAMES), "utf-8")
    port = _free_port()
    rig.api_url = f"http://127.0.0.1:{port}"
    rig.prober = Prober(rig.api_url)
    shared = {
        "GROUNDSWELL_DATABASE_URL": rig.database_url,
        "GROUNDSWELL_EMBEDDING_CHAIN": "static:wordllama-256" if qdrant_url else "none",
        "GROUNDSWELL_LOG_FORMAT": "json",
        "GROUNDSWELL_DATA_DIR": str(rig.folder / "services"),
        **({"GROUNDSWELL_QDRANT_URL": qdrant_url} if qdrant_url else {}),
        **rig.setup.environment,
    }
    rig.relay = Service(
        "relay",
        folder=rig.folder,
        arguments=("relay",),
        environment={
            **shared,
            "GROUNDSWELL_SOURCE": "jetstream",
            "GROUNDSWELL_JETSTREAM_HOSTS": rig.feed.urls,
            "GROUNDSWELL_WATCH_LIST": str(names),
            "GROUNDSWELL_BATCH_MAX_POSTS": "100",
            "GROUNDSWELL_MOMENTUM_INTERVAL_S": "1",
            **rig.setup.relay,
        },
    )
    rig.api = Service(
        "api",
        folder=rig.folder,
        arguments=("api",),
        environment={
            **shared,
            "GROUNDSWELL_API_PORT": str(port),
            "GROUNDSWELL_RATE_LIMIT_PER_MINUTE": "0",
            **rig.setup.api,
        },
    )
    rig.services = [rig.relay, rig.api]


async def _end_services(rig: Rig) -> None:
    await rig.stop_probing()
    for service in rig.services:
        if service.alive:
            service.thaw()
            await service.kill()


async def _take_down(rig: Rig) -> None:
    for process in rig.postgres_processes():
        _signal(process, signal.SIGCONT)
    await rig.postgres.stop()


def _signal(process: psutil.Process, number: int) -> None:
    try:
        os.kill(process.pid, number)
    except ProcessLookupError:
        return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
