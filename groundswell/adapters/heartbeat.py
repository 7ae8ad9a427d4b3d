"""A file whose age tells whether a process still turns: for the health check of a container."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from pathlib import Path

from groundswell.core.posts import MICROS_PER_SECOND, Micros

log = logging.getLogger(__name__)

BEAT_EVERY_S = 10.0
STALE_AFTER_S = 60.0


async def beat(path: Path, stop: asyncio.Event) -> None:
    """Touch `path` every `BEAT_EVERY_S` until `stop`. From the loop itself: a loop that hangs must not look alive."""
    while not stop.is_set():
        try:
            path.touch()  # noqa: ASYNC240 -- a local file, every ten seconds
        except OSError as error:
            log.warning("the heartbeat file %s cannot be touched: %s", path, error)
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), BEAT_EVERY_S)


def is_fresh(path: Path, now: Micros) -> bool:
    """Whether the process behind `path` has turned within `STALE_AFTER_S`; `now` is this machine's time."""
    try:
        return now / MICROS_PER_SECOND - path.stat().st_mtime < STALE_AFTER_S
    except OSError:
        return False
