"""A file whose age shows whether the loop of a process still turns: `relay_container.check` looks at it."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)

BEAT_EVERY_S = 10.0


async def beat(path: Path, stop: asyncio.Event) -> None:
    """Touch `path` every `BEAT_EVERY_S` until `stop`. From the loop itself: a loop that hangs must not look alive."""
    while not stop.is_set():
        try:
            path.touch()  # noqa: ASYNC240 -- a local file, every ten seconds
        except OSError as error:
            log.warning("the heartbeat file %s cannot be touched: %s", path, error)
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), BEAT_EVERY_S)
