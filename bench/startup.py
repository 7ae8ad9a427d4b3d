"""From `groundswell up` to the first post that a reader can see: with an empty data directory, and again after that."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import statistics
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from bench.report import publish

GOAL_AGAIN_S = 10
AGAIN = 3
LONGEST_S = 180


async def start(port: int, data_dir: Path) -> float:
    """Seconds from the command to the first post."""
    began = time.monotonic()
    command = ("-m", "groundswell", "up", "--port", str(port), "--data-dir", str(data_dir))
    process = await asyncio.create_subprocess_exec(sys.executable, *command, stderr=asyncio.subprocess.DEVNULL)
    try:
        while True:
            if await asyncio.to_thread(_posts, port):
                return time.monotonic() - began
            if process.returncode is not None or time.monotonic() - began > LONGEST_S:
                raise SystemExit(f"the platform did not show a post (exit code {process.returncode})")
            await asyncio.sleep(0.05)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
        await process.wait()


def _posts(port: int) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/posts?limit=1", timeout=5) as answer:
            return len(json.load(answer)["data"])
    except (urllib.error.URLError, OSError):
        return 0


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="groundswell-bench-") as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        first = asyncio.run(start(port, Path(folder) / "data"))
        again = [asyncio.run(start(port, Path(folder) / "data")) for _ in range(AGAIN)]
    publish(
        "startup",
        "From the command to the first post",
        [
            ("empty data directory, s", f"{first:.1f}", ""),
            (f"again, median of {AGAIN}, s", f"{statistics.median(again):.1f}", f"< {GOAL_AGAIN_S}"),
        ],
        {"first_s": first, "again_s": again},
    )


if __name__ == "__main__":
    main()
