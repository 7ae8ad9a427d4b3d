"""`groundswell api` with an instrument in its event loop: SIGUSR1 prints what the loop's turns took since the last one.

    python -m bench.watched_api

Settings come from the environment, as those of `groundswell api`. It ends at SIGTERM.
"""

from __future__ import annotations

import asyncio
import gc
import json
import signal
import time

import uvloop

from groundswell.observability import configure_logging
from groundswell.settings import load
from groundswell.settings_model import ApiSettings
from groundswell.wiring.api import run_api


class LoopTurns:
    """What one turn of the event loop took at most: in all, and of this thread's processor time.

    A turn runs every callback that is ready. Time that other processes take counts in `wall_s` alone.
    """

    def __init__(self) -> None:
        self.cpu_s = 0.0
        self.wall_s = 0.0
        self.collecting_s = 0.0
        """Of the longest collection of garbage, which is part of a turn."""
        self._collects_since = 0.0
        gc.callbacks.append(self._collect)

    def _collect(self, phase: str, info: dict[str, int]) -> None:
        del info
        if phase == "start":
            self._collects_since = time.thread_time()
        else:
            self.collecting_s = max(self.collecting_s, time.thread_time() - self._collects_since)

    async def watch(self) -> None:
        while True:
            cpu, wall = time.thread_time(), time.perf_counter()
            await asyncio.sleep(0)
            self.cpu_s = max(self.cpu_s, time.thread_time() - cpu)
            self.wall_s = max(self.wall_s, time.perf_counter() - wall)

    def report(self) -> None:
        print(json.dumps({"cpu_s": self.cpu_s, "wall_s": self.wall_s, "collecting_s": self.collecting_s}), flush=True)
        self.cpu_s = self.wall_s = self.collecting_s = 0.0


async def serve() -> None:
    settings = load(ApiSettings)
    configure_logging(level=settings.log_level, style=settings.log_format)
    stop, turns, loop = asyncio.Event(), LoopTurns(), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGUSR1, turns.report)
    watching = asyncio.create_task(turns.watch())
    try:
        await run_api(settings, stop)
    finally:
        watching.cancel()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())
