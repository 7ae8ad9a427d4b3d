"""How services wait between two rounds of their work."""

from __future__ import annotations

import asyncio

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
