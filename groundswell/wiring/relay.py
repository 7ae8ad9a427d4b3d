"""The relay as a process of its own."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack

from groundswell.adapters.migrations import wait_for_schema
from groundswell.metrics import Metrics
from groundswell.settings_model import RelaySettings
from groundswell.wiring.parts import (
    RELAY_POOL_SIZE,
    SCHEMA_WAIT_S,
    database_pool,
    open_source,
    relay_parts,
    search_models,
)
from groundswell.wiring.together import run_together, writers

log = logging.getLogger(__name__)


async def run_relay(settings: RelaySettings, stop: asyncio.Event) -> None:
    """The relay with its tick and its indexer, over a database and a Qdrant that run elsewhere, until `stop`.

    Raises:
        SchemaMismatch: the database did not get the schema that this version needs in time.
        SourceFailed: the source refuses for good.
    """
    async with AsyncExitStack() as stack:
        pool = await database_pool(stack, settings, settings.database_url.reveal(), size=RELAY_POOL_SIZE, name="relay")
        await wait_for_schema(pool, SCHEMA_WAIT_S, log.info)
        models = await search_models(stack, settings, qdrant_url=settings.qdrant_url)
        source, recording = await open_source(stack, settings, tell=log.info)
        parts = relay_parts(
            settings,
            source=source,
            recording=recording,
            pool=pool,
            models=models,
            broadcaster=_StoredEvents(),
            metrics=Metrics(),
        )
        await run_together(stop, *writers(parts, ends_all=True))


class _StoredEvents:
    """A relay of its own broadcasts by storing: every API process follows the stored events."""

    async def publish(self, events: object) -> None:
        """They are stored already."""
