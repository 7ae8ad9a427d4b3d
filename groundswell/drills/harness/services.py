"""Services as real processes: started, killed, frozen and stopped, with what they said kept in files."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from groundswell.settings import foreign_environment

STOP_LIMIT_S = 45.0


def program_environment(folder: Path) -> dict[str, str]:
    """What programs are started with: nothing of the person's own configuration, and compiled code that is kept.

    A drill starts the same programs again and again. Where Python was told not to write what it compiles, each start
    would compile everything anew, which is half of its work; so it goes to `folder`.
    """
    environment = foreign_environment()
    if environment.pop("PYTHONDONTWRITEBYTECODE", None):
        environment.setdefault("PYTHONPYCACHEPREFIX", str(folder / "compiled"))
    return environment


class Service:
    """`groundswell NAME …`, any number of times one after the other, each run with a log file of its own."""

    def __init__(self, name: str, *, folder: Path, environment: Mapping[str, str], arguments: tuple[str, ...]) -> None:
        self.name = name
        self.environment = dict(environment)
        self._arguments = arguments
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None
        self._wanted = False
        self.runs = 0

    @property
    def log(self) -> Path:
        """What the current run, or the last one, has said."""
        return self._folder / "logs" / f"{self.name}-{self.runs}.log"

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def ended_by_itself(self) -> bool:
        """Whether nobody stopped it, and it has ended all the same."""
        return self._wanted and self._process is not None and self._process.returncode is not None

    @property
    def pid(self) -> int:
        assert self._process is not None, "a service has a process once it was started"
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        return None if self._process is None else self._process.returncode

    def said(self, text: str) -> bool:
        return self.log.exists() and text in self.log.read_text("utf-8", "replace")

    def last_words(self, lines: int = 5) -> str:
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-lines:])

    async def start(self, **more: str) -> None:
        """Start it, with `more` variables for this run."""
        assert not self.alive, f"{self.name} runs already"
        self.runs += 1
        self._wanted = True
        self.log.parent.mkdir(exist_ok=True)
        # Nor does a .env file beside the person get in.
        with self.log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "groundswell",
                *self._arguments,
                cwd=self._folder,
                env={**program_environment(self._folder), **self.environment, **more},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    async def kill(self) -> None:
        """SIGKILL: what happens when a machine dies or memory runs out."""
        self._wanted = False
        if self.alive:
            assert self._process is not None
            self._process.kill()
            await self._process.wait()

    def doom(self) -> None:
        """It was told to die: that it ends by itself is no failure."""
        self._wanted = False

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    async def stop(self) -> int | None:
        """SIGTERM, and its exit code; None where it did not end within `STOP_LIMIT_S` and had to be killed."""
        self._wanted = False
        if self._process is None:
            return None
        if self.alive:
            self._process.send_signal(signal.SIGTERM)
        try:
            return await asyncio.wait_for(self._process.wait(), STOP_LIMIT_S)
        except TimeoutError:
            await self.kill()
            return None

    async def ended(self, limit_s: float) -> int:
        """Its exit code, once it has ended by itself. Raises TimeoutError."""
        assert self._process is not None, "a service ends after it was started"
        self._wanted = False
        return await asyncio.wait_for(self._process.wait(), limit_s)
