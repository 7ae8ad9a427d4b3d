"""What it means for a service to be ready, and how that is found out.

*Alive* is that the process answers at all. *Ready* is that every required part answers; an optional part that does
not answer makes the service degraded, and the answer names it (DESIGN, *Degradation*).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal, TypeAlias

import msgspec

from groundswell.errors import GroundswellError

Part: TypeAlias = Literal["postgres", "schema", "data", "qdrant", "embeddings", "source"]
Probe: TypeAlias = Callable[[], Awaitable[str]]
"""Returns what it found, in a few words; raises when the part does not work."""

REQUIRED: Mapping[str, frozenset[Part]] = {
    "api": frozenset({"postgres", "schema", "data"}),
    "relay": frozenset({"postgres", "schema", "data"}),
    "embedded": frozenset({"postgres", "schema", "data"}),
}
"""By service. Everything else is optional: search does without Qdrant and embeddings, readers without the source."""

PROBE_LIMIT_S = 3.0


class PartHealth(msgspec.Struct, frozen=True):
    part: str
    ok: bool
    required: bool
    detail: str


class Health(msgspec.Struct, frozen=True):
    parts: tuple[PartHealth, ...]

    @property
    def ready(self) -> bool:
        return all(part.ok for part in self.parts if part.required)

    @property
    def degraded(self) -> list[str]:
        """The parts that do not work, required or not."""
        return [part.part for part in self.parts if not part.ok]


async def probe(service: str, probes: Mapping[Part, Probe], *, limit_s: float = PROBE_LIMIT_S) -> Health:
    """Ask every part at once; one that does not answer within `limit_s` counts as broken. Never raises for a part."""
    required = REQUIRED[service]
    names: Sequence[Part] = list(probes)
    found = await asyncio.gather(*(_ask(probes[name], limit_s) for name in names))
    return Health(
        tuple(
            PartHealth(part=name, ok=ok, required=name in required, detail=detail)
            for name, (ok, detail) in zip(names, found, strict=True)
        )
    )


async def _ask(ask: Probe, limit_s: float) -> tuple[bool, str]:
    try:
        async with asyncio.timeout(limit_s):
            return True, await ask()
    except TimeoutError:
        return False, f"gave no answer within {limit_s:g} s"
    except GroundswellError as error:
        return False, error.detail
    except Exception as error:  # noqa: BLE001 -- whatever a probe raises is its finding
        return False, f"{type(error).__name__}: {error}"
