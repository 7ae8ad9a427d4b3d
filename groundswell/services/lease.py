"""Keeps two relays from reading one source at once, and from broadcasting the same events twice."""

from __future__ import annotations

import asyncio
import logging
from typing import Literal, TypeAlias

from groundswell.errors import LeaseLost, StoreUnavailable
from groundswell.metrics import Metrics
from groundswell.ports.lease import SourceLease
from groundswell.ports.time import Clock
from groundswell.services.pausing import pause

log = logging.getLogger(__name__)

ASK_EVERY_S = 1.0
"""How often a relay that waits asks for the lease. A blocking request would hold back the database's vacuum."""
CONFIRM_EVERY_S = 2.0
PATIENCE_S = 15.0
"""How long a source that cannot send anything again waits for a database that does not answer."""

LeaseState: TypeAlias = Literal["waiting", "held", "unconfirmed", "released"]
"""`unconfirmed`: the database does not answer. Whoever held the lease goes on: what it reads waits on its disk."""


class LeaseKeeper:
    """Takes the lease on one source before it is opened, and watches over it until the relay has drained.

    Args:
        held_last: this process has the disk of the relay that read the source last, so that without the database it
            is the one that goes on.
        can_replay: the source can send again what was missed, so that waiting loses nothing.
    """

    def __init__(
        self,
        lease: SourceLease,
        clock: Clock,
        *,
        source: str,
        held_last: bool,
        can_replay: bool,
        metrics: Metrics,
    ) -> None:
        self._lease = lease
        self._clock = clock
        self._source = source
        self._held_last = held_last
        self._can_replay = can_replay
        self._metrics = metrics
        self.state: LeaseState = "waiting"
        self._note("waiting")

    async def acquire(self, stop: asyncio.Event) -> bool:
        """Wait for the lease. False when told to stop first.

        While the database does not answer, the relay that read the source last starts without. So does one whose source
        waits for nobody, after `PATIENCE_S`, unless it has seen that another relay reads.
        """
        began = self._clock.monotonic()
        taken_by_another = False
        while not stop.is_set():
            try:
                if await self._lease.take():
                    self._note("held")
                    return True
                if not taken_by_another:
                    log.info("another relay reads %s: waiting until it has stopped", self._source)
                taken_by_another = True
            except StoreUnavailable as error:
                waited = self._clock.monotonic() - began
                if not taken_by_another and (self._held_last or (not self._can_replay and waited >= PATIENCE_S)):
                    log.warning("reading %s without a lease until the database answers: %s", self._source, error)
                    self._note("unconfirmed")
                    return True
            await pause(self._clock, ASK_EVERY_S, stop)
        return False

    async def keep(self, stop: asyncio.Event) -> None:
        """Confirm the lease again and again, until `stop`.

        Raises:
            LeaseLost: another relay has it: the connection that held it was lost.
        """
        while not stop.is_set():
            await pause(self._clock, CONFIRM_EVERY_S, stop)
            try:
                await self.confirm()
                if self.state != "held":
                    log.info("holding the lease on %s", self._source)
                self._note("held")
            except StoreUnavailable as error:
                if self.state == "held":
                    log.warning("%s", error)
                self._note("unconfirmed")

    async def confirm(self) -> None:
        """Return where this process holds the lease now, so that no other has begun so far.

        Raises:
            LeaseLost: another relay has it.
            StoreUnavailable: the database does not answer.
        """
        if not await self._lease.take():
            self._note("released")
            raise LeaseLost.of(self._source)

    async def release(self) -> None:
        """Let the next relay begin. Call it when everything that was read is stored or spooled."""
        self._note("released")
        await self._lease.release()

    def _note(self, state: LeaseState) -> None:
        self.state = state
        self._metrics.set("source_lease", 1 if state == "held" else 0)
