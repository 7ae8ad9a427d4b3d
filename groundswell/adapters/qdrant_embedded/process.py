"""Starts the embedded engine as a process of its own, and keeps it running."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import sys
from asyncio.subprocess import PIPE, Process
from collections import deque
from pathlib import Path
from random import Random
from types import TracebackType

import msgspec

from groundswell.adapters.data_directory import DirectoryLock
from groundswell.adapters.private_files import write_private
from groundswell.adapters.supervision import Supervisor, way_of_ending
from groundswell.adapters.system_clock import SystemClock
from groundswell.errors import EX_CONFIG, DataDirectoryError, VectorIndexUnavailable

log = logging.getLogger(__name__)

START_TIMEOUT_S = 60.0
"""A large directory whose log has to be replayed takes seconds to open."""
STOP_TIMEOUT_S = 15.0
API_KEY_VARIABLE = "QDRANT__SERVICE__API_KEY"
"""As a Qdrant server is given its key: not by an argument, which other users of the machine can read."""
ADDRESS_FILE = "address"
"""Where a running engine answers and by which key, for the commands beside the platform. For this user alone."""
KEY_BYTES = 32
LOCK_WAIT_S = 15.0
"""How long an engine whose parent was killed may take to flush and let go of the directory."""


class RunningEngine(msgspec.Struct, frozen=True):
    """An engine that runs, whoever started it."""

    url: str
    api_key: str
    pid: int

    def __repr__(self) -> str:
        return f"RunningEngine({self.url}, process {self.pid})"


class _Address(msgspec.Struct, frozen=True):
    """The content of the address file."""

    url: str
    api_key: str


def running_engine(path: Path) -> RunningEngine | None:
    """Return the engine that runs over `path`; None where none does, or where it is another user's."""
    holder = DirectoryLock(path).holder()
    if holder is None:
        return None
    try:
        address = msgspec.json.decode((path / ADDRESS_FILE).read_bytes(), type=_Address)
    except (OSError, msgspec.DecodeError) as error:
        log.info("a process holds %s, and its address cannot be read: %s", path, error)
        return None
    return RunningEngine(address.url, address.api_key, holder)


class _Told(msgspec.Struct):
    """The engine's one line on standard output."""

    url: str | None = None
    failed: str | None = None


class _Running:
    """A started engine process, whose standard error goes to the log and is kept for messages."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.last_errors: deque[str] = deque(maxlen=8)
        self._relay = asyncio.create_task(self._relay_errors())

    async def told(self) -> _Told:
        assert self.process.stdout is not None
        try:
            line = await asyncio.wait_for(self.process.stdout.readline(), START_TIMEOUT_S)
            return msgspec.json.decode(line, type=_Told) if line else _Told()
        except (TimeoutError, msgspec.DecodeError):
            return _Told()

    async def end(self) -> None:
        """Ask by closing its standard input, then insist."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            await asyncio.wait_for(self.process.wait(), STOP_TIMEOUT_S)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()
        await self._relay

    async def _relay_errors(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            text = line.decode(errors="replace").rstrip()
            self.last_errors.append(text)
            log.warning("vector engine: %s", text)


class EmbeddedQdrant:
    """The engine over `path`: started, restarted when it dies, on the same address, and stopped.

    When this process ends, however it ends, the engine flushes and ends as well.

    Args:
        port: 0 lets the system choose at the first start; restarts keep it.
        seal_at: points that a shard takes before it is indexed; None for the engine's own choice.
        api_key: asked of every request; None for a random one of this object's own, which restarts keep.
        strict: refuse filters on fields without an index, as Qdrant Cloud does.
    """

    def __init__(
        self,
        path: Path,
        *,
        port: int = 0,
        seal_at: int | None = None,
        api_key: str | None = None,
        strict: bool = False,
    ) -> None:
        self.path = path
        self.supervisor = Supervisor("The vector engine", self, SystemClock(), rng=Random())  # noqa: S311 -- spreads restarts, guards nothing
        self._port = port
        self._seal_at = seal_at
        self.api_key = api_key or secrets.token_urlsafe(KEY_BYTES)
        self._strict = strict
        self._url: str | None = None
        self._running: _Running | None = None
        self._supervision: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Where it answers. Known once started."""
        if self._url is None:
            raise RuntimeError("the embedded engine has not been started")
        return self._url

    @property
    def pid(self) -> int | None:
        running = self._running
        return running.process.pid if running is not None and running.process.returncode is None else None

    async def start(self) -> str:
        """The URL, once it answers.

        Raises:
            DataDirectoryError: the directory is damaged, or in use by another process.
            VectorIndexUnavailable: the engine could not be started for another reason.
        """
        await self._launch()
        self._supervision = asyncio.create_task(self.supervisor.run(), name="embedded-qdrant")
        return self.url

    async def stop(self) -> None:
        """Let requests in hand finish, flush, and end the process. Safe to call twice."""
        supervision, self._supervision = self._supervision, None
        if supervision is not None:
            supervision.cancel()
            await asyncio.gather(supervision, return_exceptions=True)
        running, self._running = self._running, None
        if running is not None:
            await running.end()

    async def ended(self) -> str:
        """Wait until the process has ended; return how, as the end of a sentence."""
        assert self._running is not None, "it is waited for once it has been started"
        return way_of_ending(await self._running.process.wait())

    async def restart(self) -> None:
        """Start it again at its address. Raises as `start`."""
        await self._launch()

    async def __aenter__(self) -> EmbeddedQdrant:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _launch(self) -> None:
        deadline = asyncio.get_running_loop().time() + LOCK_WAIT_S
        while True:
            try:
                self._running, self._url = await self._launch_once()
            except DataDirectoryError as error:
                if "is using" not in error.detail or asyncio.get_running_loop().time() > deadline:
                    raise
                await asyncio.sleep(0.25)
            else:
                self._port = int(self._url.rpartition(":")[2])
                address = _Address(self._url, self.api_key)
                await asyncio.to_thread(write_private, self.path / ADDRESS_FILE, msgspec.json.encode(address))
                return

    async def _launch_once(self) -> tuple[_Running, str]:
        command = [sys.executable, "-m", "groundswell.adapters.qdrant_embedded", "--with-parent"]
        command += ["--path", str(self.path), "--port", str(self._port)]
        if self._seal_at is not None:
            command += ["--seal-at", str(self._seal_at)]
        if self._strict:
            command.append("--strict")
        # A key of the user's environment is for another server.
        environment = {name: value for name, value in os.environ.items() if name != API_KEY_VARIABLE}
        environment[API_KEY_VARIABLE] = self.api_key
        running = _Running(
            await asyncio.create_subprocess_exec(
                *command, stdin=PIPE, stdout=PIPE, stderr=PIPE, start_new_session=True, env=environment
            )
        )
        try:
            told = await running.told()
        except BaseException:
            await running.end()
            raise
        if told.url is not None:
            return running, told.url
        await running.end()
        code = running.process.returncode
        if told.failed is not None and code == EX_CONFIG:
            raise DataDirectoryError(told.failed)
        reason = told.failed or "; ".join(running.last_errors) or "no message"
        raise VectorIndexUnavailable(
            f"The embedded vector engine did not start (exit code {code}): {reason}. "
            "Search by meaning is off until it does."
        )
