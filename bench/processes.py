"""Real processes for the benchmarks: started together, watched, and all stopped at the end."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

import psutil


@asynccontextmanager
async def program(
    *arguments: str, environment: Mapping[str, str] | None = None, reads_line: bool = False
) -> AsyncGenerator[tuple[psutil.Process, str]]:
    """`python -m …` until the block ends; with `reads_line`, its first line on standard output."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        *arguments,
        env={**os.environ, **(environment or {})},
        stdout=asyncio.subprocess.PIPE if reads_line else None,
    )
    try:
        line = ""
        if reads_line:
            assert process.stdout is not None
            line = (await asyncio.wait_for(process.stdout.readline(), 30)).decode().strip()
        yield psutil.Process(process.pid), line
    finally:
        await end(process)


async def end(process: asyncio.subprocess.Process) -> None:
    """Ask a process to end, and kill it where it does not within half a minute."""
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), 30)
        except TimeoutError:
            process.kill()
            await process.wait()


def rss_mb(process: psutil.Process) -> float:
    return process.memory_info().rss / 1e6


def cpu_s(process: psutil.Process) -> float:
    """Processor seconds so far, of the process and those it started."""
    family = [process, *process.children(recursive=True)]
    return sum(sum(one.cpu_times()[:2]) for one in family if one.is_running())
