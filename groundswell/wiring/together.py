"""Running services side by side: they start together, and when one fails or all are told to stop, all of them end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from random import Random
from typing import TypeAlias

from groundswell.adapters.emf import EmfLog
from groundswell.adapters.system_clock import SystemClock
from groundswell.errors import SourceFailed
from groundswell.metrics import Metrics
from groundswell.services.lease import LeaseKeeper
from groundswell.services.metrics_log import log_metrics
from groundswell.services.upkeep.optional_part import OptionalPart
from groundswell.settings_model import EmbeddedSettings, RelaySettings
from groundswell.wiring.parts import RelayParts

log = logging.getLogger(__name__)

Service: TypeAlias = Callable[[asyncio.Event], Awaitable[None]]


def optional(name: str, service: Service) -> Service:
    """Return a service whose failure ends nothing else: see `OptionalPart`."""
    return OptionalPart(name, service, SystemClock(), rng=Random()).run  # noqa: S311 -- spreads restarts, guards nothing


def writers(parts: RelayParts, *, ends_all: bool) -> list[Service]:
    """Return everything that writes, the relay first. Whatever the others run into ends none but themselves.

    `ends_all`: a source that refuses for good ends the process, not the relay alone.
    """

    async def relay(stop: asyncio.Event) -> None:
        try:
            await parts.relay.run(stop)
        except SourceFailed as error:
            if ends_all:
                raise
            # What is stored can still be read: the page stays up and says what is wrong with the source.
            parts.relay.state.phase = "failed"
            parts.relay.state.why = error.detail
            log.error("%s", error)  # noqa: TRY400 -- explained in its message; a traceback says nothing more
        await stop.wait()

    return [relay, *(part.run for part in parts.optional)]


async def run_together(stop: asyncio.Event, *services: Service) -> None:
    """Run every service until `stop`, or until one of them fails; then stop the others and let them finish.

    Raises whatever the first failing service raised.
    """
    tasks = {asyncio.ensure_future(service(stop)) for service in services}
    stopping = asyncio.ensure_future(_told(stop))
    waiting = {*tasks, stopping}
    try:
        while not stopping.done() and not any(_failed(task) for task in tasks if task.done()):
            _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stop.set()
        ends = await asyncio.gather(*tasks, stopping, return_exceptions=True)
    for end in ends:
        if isinstance(end, BaseException):
            raise end


def until_stopped(task: Callable[[], Awaitable[None]]) -> Service:
    """A service that does one thing, and is called off by `stop`."""

    async def run(stop: asyncio.Event) -> None:
        doing, stopping = asyncio.ensure_future(task()), asyncio.ensure_future(_told(stop))
        try:
            await asyncio.wait({doing, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            if not doing.done():
                doing.cancel()
            await asyncio.wait({doing, stopping})
        if not doing.cancelled():
            doing.result()

    return run


def once(ready: asyncio.Event, service: Service) -> Service:
    """The service from the moment on at which `ready` is set."""

    async def run(stop: asyncio.Event) -> None:
        await until_stopped(lambda: _told(ready))(stop)
        if ready.is_set() and not stop.is_set():
            await service(stop)

    return run


def keep_lease(keeper: LeaseKeeper, held: asyncio.Event, first: Callable[[], Awaitable[None]] | None = None) -> Service:
    """A service that sets `held` once this process may read its source, and fails when it may no longer.

    `first`: what is done between the two.
    """

    async def keep(stop: asyncio.Event) -> None:
        if await keeper.acquire(stop):
            if first is not None:
                await first()
            held.set()
            await keeper.keep(stop)

    return keep


async def _told(stop: asyncio.Event) -> None:
    await stop.wait()


def _failed(task: asyncio.Future[None]) -> bool:
    return task.cancelled() or task.exception() is not None


def metrics_lines(settings: RelaySettings | EmbeddedSettings, metrics: Metrics) -> list[Service]:
    """What writes a relay's metrics into its log, where they are wanted there."""
    if settings.metrics_format != "emf":
        return []
    emf = EmfLog("relay")
    return [optional("metrics", lambda stop: log_metrics(metrics, emf, stop))]
