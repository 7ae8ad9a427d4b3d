"""What the routes work with, and the state that is refreshed in the background of requests."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Protocol, cast

from fastapi import Depends
from starlette.requests import HTTPConnection

from groundswell.core.posts import MICROS_PER_SECOND, Micros
from groundswell.health import Part, Probe
from groundswell.metrics import Metrics
from groundswell.ports.archive import ArchivedPost, ArchiveReader
from groundswell.ports.live import Hub
from groundswell.ports.reading import AlertRules, KeyStore, ReadStore, Status
from groundswell.ports.search import Searcher
from groundswell.ports.storing import MomentumRow, StoredPost
from groundswell.ports.time import Clock
from groundswell.ports.time_budget import current_budget, one_request

STATUS_TTL_S = 2.0
"""How long an answer about the platform's condition is reused for the `degraded` of every listing."""


class Past(Protocol):
    async def moving(self, as_of: Micros) -> Sequence[MomentumRow]:
        """What was moving then, the highest score first. Raises `InvalidRequest` and `StoreUnavailable`."""
        ...


@dataclass(frozen=True)
class ApiServices:
    """The parts that the API runs on. `wiring` brings them; tests bring their own."""

    reads: ReadStore
    search: Searcher
    past: Past
    rules: AlertRules
    keys: KeyStore
    clock: Clock
    schema_version: str
    """The oldest schema that this build works with."""
    hub: Hub | None = None
    """None where WebSockets are held elsewhere, as on AWS."""
    archive: ArchiveReader | None = None
    """None where nobody looks for posts beyond Postgres."""
    metrics: Metrics = field(default_factory=Metrics)
    probes: Mapping[Part, Probe] = field(default_factory=dict[Part, Probe])
    """What `/readyz` asks besides Postgres and its schema."""

    async def post(self, post_id: str, *, signed_in: bool) -> StoredPost | ArchivedPost | None:
        """A post by its id, wherever it is, if this reader may see it.

        Raises:
            StoreUnavailable: Postgres cannot be reached.
            ArchiveUnavailable, ArchiveDamaged: it is in the archive, and cannot be read there.
        """
        found = await self.reads.post(post_id, signed_in=signed_in)
        if found is None and self.archive is not None:
            # A post that was being restored is missed by both looks.
            found = await self.archive.post(post_id, signed_in=signed_in)
            found = found or await self.reads.post(post_id, signed_in=signed_in)
        return found


class Condition:
    """The platform's condition, read at most every `STATUS_TTL_S`, and the database's time in between."""

    def __init__(self, reads: ReadStore, clock: Clock) -> None:
        self._reads = reads
        self._clock = clock
        self._reading: asyncio.Task[Status] | None = None
        self._status: Status | None = None
        self._read_at = float("-inf")

    async def status(self) -> Status:
        """Raises `StoreUnavailable`."""
        if self._status is not None and self._clock.monotonic() - self._read_at < STATUS_TTL_S:
            return self._status
        # All who find it stale share one reading, and its failure too: asked one after the other, each would wait as
        # long as a missing database lets one wait.
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read())
        budget, began = current_budget(), self._clock.monotonic()
        try:
            return await asyncio.shield(self._reading)
        finally:
            if budget is not None:
                budget.spent_s += self._clock.monotonic() - began

    async def _read(self) -> Status:
        with one_request():  # that who comes first has little time left is not the others' loss
            status = await self._reads.status()
        self._read_at = self._clock.monotonic()
        self._status = status
        return status

    async def now(self) -> Micros:
        """The database's time, carried on by this process's monotonic clock. Raises `StoreUnavailable`."""
        status = await self.status()
        return status.as_of + round((self._clock.monotonic() - self._read_at) * MICROS_PER_SECOND)


@dataclass(frozen=True)
class Api:
    """What a route is given."""

    services: ApiServices
    condition: Condition
    version: str


async def api_of(connection: HTTPConnection) -> Api:
    return cast(Api, connection.app.state.api)


Given = Annotated[Api, Depends(api_of)]
