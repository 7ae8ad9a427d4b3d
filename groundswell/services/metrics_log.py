"""Writes what a process has counted to its log, now and then."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Protocol

from groundswell.metrics import Metrics, Sample

EVERY_S = 60.0


class SampleLog(Protocol):
    def write(self, samples: list[Sample]) -> None: ...


async def log_metrics(metrics: Metrics, log: SampleLog, stop: asyncio.Event) -> None:
    """Every minute until `stop`, and once more then."""
    while not stop.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), EVERY_S)
        log.write(metrics.samples())
