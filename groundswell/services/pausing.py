"""How services wait between two rounds of their work, and end what they no longer wait for."""

from __future__ import annotations

import asyncio
from typing import Any

from groundswell.ports.time import Clock


async def pause(clock: Clock, seconds: float | None, *events: asyncio.Event) -> None:
    """Return when one of `events` is set, or when `seconds` have passed; None waits for the events alone."""
    waiters: list[asyncio.Task[object]] = [asyncio.create_task(event.wait()) for event in events]
    if seconds is not None:
        waiters.append(asyncio.create_task(clock.sleep(seconds)))
    try:
        await asyncio.wait(waiters, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for waiter in waiters:
            waiter.cancel()


async def call_off(task: asyncio.Future[Any]) -> None:
    """Cancel, and wait until it is over. What it raised has been looked at by then, or does not matter any more."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()
