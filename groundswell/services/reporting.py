"""Publishes what each running part says of itself, so that `/v1/status` knows it in any process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TypeAlias

from groundswell.errors import StoreUnavailable
from groundswell.ports.storing import PostStore

log = logging.getLogger(__name__)

REPORT_EVERY_S = 2.0

Report: TypeAlias = Callable[[], tuple[str, Mapping[str, object]]]
"""State, and a detail whose `why` is a sentence while not all is well."""


class Reporter:
    """Stores one report for each component every `REPORT_EVERY_S`, and once more when it stops."""

    def __init__(self, store: PostStore, reports: Mapping[str, Report]) -> None:
        self._store = store
        self._reports = reports
        self._failed: set[str] = set()

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await self.report()
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), REPORT_EVERY_S)

    def _ask(self, component: str, ask: Report) -> tuple[str, Mapping[str, object]]:
        """Return what the component says of itself; that it cannot say it concerns no other one."""
        try:
            return ask()
        except Exception as error:
            if component not in self._failed:
                log.exception("the report of %s failed", component)
            self._failed.add(component)
            return "waiting", {"why": f"Its report failed ({type(error).__name__}); the log has it in full."}

    async def report(self) -> None:
        """A database that is away is no news here: every reader of the status finds that out by itself."""
        try:
            for component, ask in self._reports.items():
                state, detail = self._ask(component, ask)
                await self._store.report(component, state, detail)
        except StoreUnavailable as error:
            log.debug("status not reported: %s", error)
