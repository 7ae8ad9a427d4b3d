"""Turn the failure of an optional part, whatever its type, into that part's state."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from random import Random
from typing import Final

from groundswell.core.session import full_jitter_backoff
from groundswell.errors import GroundswellError
from groundswell.ports.time import Clock
from groundswell.services.pausing import pause

log = logging.getLogger(__name__)

STABLE_AFTER_S: Final = 60.0
"""A part that ran for this long since its last failure is well again."""
BACKOFF_BASE_S: Final = 1.0
BACKOFF_CAP_S: Final = 60.0


@contextmanager
def failing_as(failure: Callable[[str], GroundswellError], part: str) -> Generator[None]:
    """Raise what nobody foresaw of `part` (a library's own errors, an answer that makes no sense) as `failure`.

    Errors that the platform can explain pass as they are, and so does TimeoutError.
    """
    try:
        yield
    except (GroundswellError, TimeoutError):
        raise
    except Exception as error:
        log.warning("%s failed in an unforeseen way", part, exc_info=True)
        raise failure(
            f"{part} failed in an unforeseen way ({type(error).__name__}); the log has it in full."
        ) from error


class OptionalPart:
    """A service that is started again when it fails, while everything else goes on.

    Args:
        name: as the status calls it.
        service: runs until the event is set. It is called anew after each failure.
    """

    def __init__(
        self, name: str, service: Callable[[asyncio.Event], Awaitable[None]], clock: Clock, *, rng: Random
    ) -> None:
        self.name = name
        self.why: str | None = None
        """A sentence from a failure on until the part has run for `STABLE_AFTER_S`."""
        self.failures = 0
        self._service = service
        self._clock = clock
        self._rng = rng
        self._failed_at = float("-inf")
        self._last = ""

    async def run(self, stop: asyncio.Event) -> None:
        """Run the service until `stop`. Its failures are logged, with a traceback where they differ from the last.

        Raises:
            GroundswellError: one that concerns the whole process, such as LeaseLost.
        """
        delays = full_jitter_backoff(self._rng, BACKOFF_BASE_S, BACKOFF_CAP_S)
        while True:
            try:
                await self._service(stop)
            except Exception as error:
                if isinstance(error, GroundswellError) and error.ends_process:
                    raise
                if self.stable:
                    delays = full_jitter_backoff(self._rng, BACKOFF_BASE_S, BACKOFF_CAP_S)
                self._note(error)
            else:
                return
            await pause(self._clock, next(delays), stop)
            if stop.is_set():
                return

    @property
    def stable(self) -> bool:
        """Whether it has run for long enough since it failed."""
        return self._clock.monotonic() - self._failed_at >= STABLE_AFTER_S

    def report(self, state: str, detail: Mapping[str, object]) -> tuple[str, Mapping[str, object]]:
        """Return what the status shows: the part's own words, or why it waits."""
        if self.why is None or self.stable:
            self.why = None
            return state, detail
        return "waiting", {**detail, "why": self.why, "failures": self.failures}

    def _note(self, error: Exception) -> None:
        self.failures += 1
        self._failed_at = self._clock.monotonic()
        how = f"{type(error).__name__} at {_place(error)}"
        self.why = (
            f"{self.name} failed in an unforeseen way ({how}) and is started again; the rest goes on. "
            "The log has it in full: please report it."
        )
        log.error(
            "%s failed in an unforeseen way (%s); it is started again", self.name, how, exc_info=self._last != how
        )
        self._last = how


def _place(error: Exception) -> str:
    """Return file and line of the failure; its message may quote what it was given, secrets included."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    if frame is None:
        return "an unknown place"
    return f"{frame.tb_frame.f_code.co_filename.replace(chr(92), '/').rpartition('/')[2]}:{frame.tb_lineno}"
