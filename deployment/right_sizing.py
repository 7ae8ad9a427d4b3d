"""Which part of a deployment is larger than its load, from its own metrics, and what the next size down saves."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from deployment.cost_lines import BASELINE_CORES
from deployment.costs import estimate, prices
from deployment.knobs import FARGATE_MEMORY_MB, Knobs, knobs

BUSY_SHARE = 0.6
"""A smaller size will do where the busiest hours would use at most this share of it."""
ONE_PROCESSOR_MB = 1769
"""Memory with which AWS Lambda gives a function one whole processor; it gives less in proportion."""

PROCESSORS = {"m7g.xlarge": 4, "m7g.2xlarge": 8}
"""Of a class of RDS, where they are not two."""


@dataclass(frozen=True)
class Load:
    """What a service used over the days that were looked at. None where its metrics say nothing yet."""

    relay_cpu: float | None = None
    """Share of the task's CPU in the busiest hours, 0 to 1. The same for memory and for the database."""
    relay_memory: float | None = None
    database_cpu: float | None = None
    database_connections: float | None = None
    """Most connections that were open at once."""
    function_memory_mb: float | None = None
    """Most memory that a run of the API used."""


@dataclass(frozen=True)
class Advice:
    """One line of the report."""

    service: str
    said: str
    saves_usd: float


def advise(chosen: Knobs, load: Load) -> list[Advice]:
    """A line for each service: that its size is right, or the size that would do and what it saves a month."""
    return [_relay(chosen, load), _database(chosen, load), _api(chosen, load)]


def _relay(chosen: Knobs, load: Load) -> Advice:
    if load.relay_cpu is None or load.relay_memory is None:
        return _unknown("relay")
    used = f"uses {load.relay_cpu:.0%} of its CPU and {load.relay_memory:.0%} of its memory when busiest"
    fits: dict[str, object] = {}
    for cpu, (low, high) in FARGATE_MEMORY_MB.items():
        needed = load.relay_memory * chosen.relay_memory_mb / BUSY_SHARE
        memory = max(low, min(high, -(-int(needed) // 512) * 512))
        if cpu <= chosen.relay_cpu and load.relay_cpu * chosen.relay_cpu <= BUSY_SHARE * cpu and needed <= high:
            fits = {"relay_cpu": cpu, "relay_memory_mb": min(memory, max(low, chosen.relay_memory_mb))}
            break
    return _said(chosen, "relay", used, fits)


def _database(chosen: Knobs, load: Load) -> Advice:
    if load.database_cpu is None:
        return _unknown("database")
    used = f"uses {load.database_cpu:.0%} of its CPU when busiest"
    sizes = [str(size) for size in next(knob for knob in knobs() if knob.name == "database_class").choices]
    at = sizes.index(chosen.database_class)
    cores = load.database_cpu * PROCESSORS.get(chosen.database_class, 2)
    baseline = BASELINE_CORES.get(chosen.database_class)
    if baseline is not None and cores > baseline:
        hour = prices().of("rds_credit_hour", cores - baseline)
        share = baseline / PROCESSORS.get(chosen.database_class, 2)
        larger = next(size for size in sizes[at:] if _steady_cores(size) >= cores or size == sizes[-1])
        return Advice(
            "database",
            f"{used}, above the {share:.0%} that a {chosen.database_class} always has: such an hour costs {hour:.3f} "
            f'USD more, and "database_class": "{larger}" would not',
            0.0,
        )
    smaller = sizes[at - 1] if at else None
    if smaller is not None and cores <= _steady_cores(smaller):
        return _said(chosen, "database", used, {"database_class": smaller})
    return _said(chosen, "database", used, {})


def _steady_cores(size: str) -> float:
    """What a class may be used for in its busiest hours: a T class up to its baseline, above which hours are billed."""
    return BASELINE_CORES.get(size, BUSY_SHARE * PROCESSORS.get(size, 2))


def _api(chosen: Knobs, load: Load) -> Advice:
    if load.function_memory_mb is None:
        return _unknown("api")
    used = f"uses {load.function_memory_mb:.0f} of {chosen.api_memory_mb} MB at most"
    # Less memory is less of a processor, and cold starts that people notice.
    fits = max(ONE_PROCESSOR_MB, -(-int(load.function_memory_mb / 0.8) // 64) * 64)
    return _said(chosen, "api", used, {"api_memory_mb": fits} if fits < chosen.api_memory_mb else {})


def _unknown(service: str) -> Advice:
    return Advice(service, "has no metrics yet: ask again when it has run for a day", 0.0)


def _said(chosen: Knobs, service: str, used: str, fits: dict[str, object]) -> Advice:
    changed = {name: value for name, value in fits.items() if value != getattr(chosen, name)}
    if not changed:
        return Advice(service, f"{used}: its size is right", 0.0)
    smaller = dataclasses.replace(chosen, **changed)
    saves = estimate(chosen).total - estimate(smaller).total
    named = ", ".join(
        f'"{name}": "{value}"' if isinstance(value, str) else f'"{name}": {value}' for name, value in changed.items()
    )
    return Advice(service, f"{used}: {named} would do", saves)
