"""When the platform counts as degraded, decided from what its parts and sources last said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

SourceState: TypeAlias = Literal["live", "catching-up", "stale", "disconnected", "stopped", "ended"]

RECORDING_PREFIX: Final = "replay:"
"""What the name of a source begins with that is a recording."""

SIMULATOR: Final = "simulator"
SEALED_SIMULATOR: Final = "sealed-simulator"
SIMULATED: Final = frozenset({SIMULATOR, SEALED_SIMULATOR})
"""Names of the sources whose posts are invented."""

STALE_AFTER_S: Final = 60.0
"""A source of which nothing was stored for this long is stale."""
BEHIND_AFTER_S: Final = 60.0
"""A source whose event time is this far in the past is catching up."""
FORGOTTEN_AFTER_S: Final = 86_400.0
"""A silent source stops counting as missing after this long, where another one is live."""
HEALTHY_STATES: Final = frozenset(
    {"ok", "live", "running", "ready", "idle", "ended", "off", "starting", "connecting", "catching-up"}
)
"""What a component says of itself when nothing is wrong with it.

`ended`: a recording was played to its end; `off`: switched off on purpose. A relay on its way to live does its work:
how far behind its source is, the source says.
"""
SILENT_AFTER_S: Final = 30.0
"""Services report every few seconds; a component that has not for this long is not running."""
RUNS_MISSED: Final = 3
"""A component that reports once a run of a schedule is missing after the time of this many runs."""


def silent_after_s(every_s: float | None) -> float:
    """Return how long a component may be silent that runs `every_s` seconds; None for a service, which always runs."""
    return SILENT_AFTER_S if every_s is None else max(SILENT_AFTER_S, RUNS_MISSED * every_s)


def source_state(age_s: float | None, lag_s: float | None, open_gap_cause: str | None) -> SourceState:
    """How a source is doing: seconds since it was last stored, seconds its event time lags, the open gap's cause."""
    if open_gap_cause is not None:
        return "stopped" if open_gap_cause == "shutdown" else "disconnected"
    if age_s is None or lag_s is None or age_s > STALE_AFTER_S:
        return "stale"
    return "catching-up" if lag_s > BEHIND_AFTER_S else "live"


def recording_state(relay: str | None, relay_age_s: float) -> SourceState:
    """Return how a recording is doing: it is played, or it is not. It has no present to be behind.

    Args:
        relay: what the relay that plays it last said of itself; None where none does.
        relay_age_s: seconds since then.
    """
    playing = relay not in {None, "ended", "unreadable", "failed", "stopped"} and relay_age_s <= SILENT_AFTER_S
    return "live" if playing else "ended"


def degraded_parts(
    sources: Sequence[tuple[str, SourceState, float | None]],
    components: Sequence[tuple[str, str, float]],
    every_s: Mapping[str, float | None] = MappingProxyType({}),
) -> tuple[str, ...]:
    """Short words for what is missing: component names, and `source:NAME`.

    `sources` are (name, state, age in seconds), `components` (name, state, seconds since it reported), `every_s` the
    seconds between two runs of those that a schedule calls. Where one source is live, others that were shut down or
    have been silent for over a day are taken to be retired; so are components silent for over a day, and scheduled ones
    silent for twice as long as they may be.
    """
    any_live = any(state == "live" for _, state, _ in sources)
    missing = list[str]()
    for name, state, age_s in components:
        limit_s = silent_after_s(every_s.get(name))
        retired = age_s > max(FORGOTTEN_AFTER_S, 2 * limit_s)
        silent = age_s > limit_s and state != "ended"
        if (state not in HEALTHY_STATES or silent) and not retired:
            missing.append(name)
    for name, state, age_s in sources:
        retired = any_live and (state == "stopped" or age_s is None or age_s > FORGOTTEN_AFTER_S)
        if state not in {"live", "ended"} and not retired:
            missing.append(f"source:{name}")
    return tuple(sorted(missing))
