"""A file system that is really small, so that it can really be full."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path


class SmallDiskUnavailable(Exception):
    """This machine does not let us mount one; the text says why."""


@asynccontextmanager
async def small_disk(folder: Path, size_mb: int) -> AsyncGenerator[Path]:
    """`folder` as a file system in memory of `size_mb`, until the block ends.

    Raises:
        SmallDiskUnavailable: it takes root on Linux, outside of a container that forbids mounts.
    """
    if sys.platform != "linux" or os.geteuid() != 0:
        raise SmallDiskUnavailable("a small file system to fill up can only be mounted by root, on Linux")
    await asyncio.to_thread(folder.mkdir, exist_ok=True)
    failure = await _run("mount", "-t", "tmpfs", "-o", f"size={size_mb}m,mode=755", "groundswell-drill", str(folder))
    if failure is not None:
        raise SmallDiskUnavailable(f"a small file system to fill up could not be mounted: {failure}")
    try:
        yield folder
    finally:
        # Lazily: what still holds a file open there must not keep the mount.
        await _run("umount", "-l", str(folder))


async def resize(folder: Path, size_mb: int) -> None:
    """Make room while it is in use."""
    failure = await _run("mount", "-o", f"remount,size={size_mb}m", str(folder))
    assert failure is None, f"a mounted file system can grow: {failure}"


def fill(folder: Path, *, leave_bytes: int = 0) -> Path:
    """Fill it with one file, but for `leave_bytes`; answers the file, to be deleted when there is to be room again."""
    ballast = folder / "ballast"
    free = shutil.disk_usage(folder).free - leave_bytes
    with ballast.open("wb") as file:
        try:
            while free > 0:
                free -= file.write(bytes(min(free, 1 << 20)))
                file.flush()
        except OSError:
            return ballast
    return ballast


async def _run(*command: str) -> str | None:
    """What a command complained about; None where it worked."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
        )
    except OSError as error:
        return str(error)
    _, said = await process.communicate()
    return None if process.returncode == 0 else said.decode(errors="replace").strip() or f"exit {process.returncode}"
