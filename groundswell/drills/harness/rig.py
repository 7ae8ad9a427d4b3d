"""The platform under a drill: a database, a stream, the real services, and somebody who keeps asking the API."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psutil
import psycopg

from groundswell.adapters.embedded_postgres import EmbeddedPostgres, running_url
from groundswell.adapters.qdrant_embedded.process import EmbeddedQdrant
from groundswell.core.posts import Micros
from groundswell.drills.harness.archive import archived_posts
from groundswell.drills.harness.feed import Feed
from groundswell.drills.harness.oracle import reconcile
from groundswell.drills.harness.prober import Prober
from groundswell.drills.harness.services import Service
from groundswell.drills.harness.verdict import Check, Reconciliation, Recovery

START_LIMIT_S = 90.0
RECOVERY_LIMIT_S = 60.0
POLL_S = 0.05


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """What a drill runs on."""

    posts_per_second: float = 60
    garbage_share: float = 0.002
    world: Mapping[str, float] = {}
    """Laid over the usual settings of the simulated world."""
    age_s: float = 0
    """How long ago the stream happens: its clock, and all its times."""
    hosts: int = 1
    """Servers that tell the same stream."""
    sealed: bool = False
    """Whether it is a sealed feed; otherwise it is Jetstream's."""
    retention_s: float = 7200
    vectors: bool = False
    """Whether there is a vector engine and an embedding model."""
    together: bool = False
    """Whether all of it is one `groundswell up`, with its own Postgres and vector engine."""
    starts: tuple[str, ...] = ("relay", "api")
    """What runs when the drill begins."""
    migrated: bool = True
    postgres: Mapping[str, str] = {}
    """Laid over the server's usual settings."""
    data_dir_mb: int | None = None
    """Puts the database on a file system of its own, of this size."""
    services_dir_mb: int | None = None
    """Does the same with what the services keep on disk: the spool, and files on their way to the archive."""
    archive: bool = False
    """Whether there is an archive, in a directory."""
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
        self.commands: list[Service] = []
        """Commands that were run beside the services; those that still run are killed in the end."""
        self.command_environment: Mapping[str, str] = {}
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

    async def run(self, name: str, *arguments: str, **more: str) -> Service:
        """Start `groundswell ARGUMENTS` beside the services, with `more` variables."""
        command = Service(name, folder=self.folder, arguments=arguments, environment=self.command_environment)
        self.commands.append(command)
        await command.start(**more)
        return command

    async def start_together(self) -> None:
        """Start `groundswell up`, and the prober once it answers."""
        await self.relay.start()
        await self.start_probing_when_ready()
        found = running_url(self.postgres.data_dir)
        assert found is not None, "a platform that answers has a database"
        self.database_url = found

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

    @property
    def archive_dir(self) -> Path:
        """Where the archive is, in drills that have one."""
        return self.folder / "archive"

    @property
    def services_dir(self) -> Path:
        """What the services keep on disk."""
        return self.folder / "services"

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
            send_signal(process, signal.SIGKILL)
        await asyncio.to_thread(psutil.wait_procs, family, 10)
        await self.postgres.stop()

    async def start_postgres(self) -> None:
        """Start the server that was killed or stopped, at the address that it had."""
        before = self.database_url
        self.database_url = await self.postgres.start()
        assert self.database_url == before, "a server comes back where it was"

    # ------------------------------------------------------------------ the end
    async def end_the_world(self) -> None:
        """Let nothing happen any more, and wait until all that did is stored."""
        self.feed.end()
        last = await self.feed.last_frame_at()

        async def stored_to_the_end() -> bool:
            rows = await self.ask("SELECT (extract(epoch FROM covered_until) * 1000000)::bigint FROM cursors")
            return bool(rows) and rows[0][0] is not None and rows[0][0] >= last

        self.say("the world ends: waiting for the rest of it to be stored")
        await self.until(stored_to_the_end, "everything that happened is stored")

    async def come_to_rest(self) -> None:
        """End the world, let the rest of it be stored, stop the services, and hold the store against the truth."""
        await self.end_the_world()
        await self.stop_probing()
        running = [service for service in self.services if service.alive]
        codes = await asyncio.gather(*(service.stop() for service in running))
        for service, code in zip(running, codes, strict=True):
            self.check(f"{service.name} stops when it is told to", code == 0, f"exit code {code}", promised="0")
        if self.setup.together:
            self.database_url = await self.postgres.start()  # it stopped with the rest
        archived = await archived_posts(self) if self.setup.archive else ()
        self.reconciliation = await reconcile(self.database_url, self.feed, archived)

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


def send_signal(process: psutil.Process, number: int) -> None:
    try:
        os.kill(process.pid, number)
    except ProcessLookupError:
        return
