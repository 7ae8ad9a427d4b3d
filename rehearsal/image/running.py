"""Runs an image as Fargate does: as its user, on a read-only root, with only its volumes to write to."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

START_LIMIT_S = 120.0
STOP_LIMIT_S = 60.0
_INSIDE = """
set -e
root=$1 user=$2 folder=$3 disks=$4; shift 4
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
for volume in $disks; do mount --bind "${volume%%=*}" "$root${volume#*=}"; done
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
exec setpriv --no-new-privs chroot --userspec="$user" --groups= "$root" /usr/bin/env -i -C "$folder" "$@"
"""


class Image:
    """A mounted image with its volumes."""

    def __init__(self, root: Path, settings: Mapping[str, Any], disks: Path) -> None:
        self.root = root
        self.settings = settings
        user = str(settings["User"])
        self._user = f"{user}:{user}"
        self.volumes = {path: disks / path.strip("/").replace("/", "-") for path in sorted(settings["Volumes"])}
        for disk in self.volumes.values():
            disk.mkdir(parents=True, exist_ok=True)
            os.chown(disk, int(user), int(user))

    async def start(self, *command: str, log: Path, **environment: str) -> Running:
        """Run a command, or the image's own, with the image's environment and these variables."""
        own = [*self.settings["Env"], *(f"{name}={value}" for name, value in environment.items())]
        disks = " ".join(f"{disk}={path}" for path, disk in self.volumes.items())
        with log.open("ab") as out:
            process = await asyncio.create_subprocess_exec(
                "unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", _INSIDE, "sh",
                str(self.root), self._user, self.settings["WorkingDir"], disks,
                *own, *(command or self.settings["Cmd"]), stdout=out, stderr=out,
            )  # fmt: skip
        return Running(process, log)

    async def run(self, *command: str, log: Path, **environment: str) -> tuple[int, str]:
        """Run a command to its end: its exit code and what it printed."""
        log.unlink(missing_ok=True)
        running = await self.start(*command, log=log, **environment)
        try:
            return await running.ended(START_LIMIT_S), running.said()
        finally:
            await running.kill()


class Running:
    """A command in the image."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log

    @property
    def is_running(self) -> bool:
        return self._process.returncode is None

    def said(self) -> str:
        return self._log.read_text("utf-8", "replace")

    async def ended(self, limit_s: float) -> int:
        return await asyncio.wait_for(self._process.wait(), limit_s)

    async def stop(self) -> int:
        """Send SIGTERM to the first process of the image, as ECS does. Its exit code."""
        outside = self._process.pid
        inside = Path(f"/proc/{outside}/task/{outside}/children").read_text("ascii").split()
        os.kill(int(inside[0]), signal.SIGTERM)
        return await self.ended(STOP_LIMIT_S)

    async def kill(self) -> None:
        if self.is_running:
            self._process.kill()  # --kill-child: what runs inside ends with it
            await self._process.wait()
