"""Planted surges and decoys whose truth is known: recall, delay, and false surges by size and by usual rate."""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt
from rich.table import Table

from groundswell.core.detector import SURGE
from groundswell.core.habit import Grid
from groundswell.core.recording import score_recording
from groundswell.core.surprise import probability
from groundswell.wiring.planted import rhythm, surge_curve

SEED = 20260704
RATES = (0.2, 2.0, 20.0, 200.0)
"""Usual mentions a minute."""
SIZES = (1.5, 2.0, 3.0, 5.0, 10.0, 50.0)
"""Mentions at the peak, as a multiple of the usual."""
STREAMS = 12
"""For each size and rate."""
LEARNING_DAYS, QUIET_DAYS = 14, 12
DAYS = LEARNING_DAYS + QUIET_DAYS + 2
"""One day for the decoy, one for the surge."""
BUCKET_S = 300
PER_DAY = 86_400 // BUCKET_S
FIRST_MINUTE = 20_000 * 24 * 60
SUDDEN = {"ramp_s": 60.0, "duration_s": 7200.0}
SLOW = {"ramp_s": 3600.0, "duration_s": 10800.0}
FALSE_GOAL = 0.01
PEOPLE = 5000
"""Authors that a mention may come from; in a spam burst a handful."""


class Cell(msgspec.Struct, frozen=True):
    """What became of the streams of one size and rate."""

    rate: float
    size: float
    found: int
    delays: tuple[int, ...]
    """In buckets, from the one the surge begins in; 0 means within it."""
    decoys: int
    false: int
    quiet_days: int


def measure_cell(rng: np.random.Generator, rate: float, size: float, shape: dict[str, float]) -> Cell:
    """`STREAMS` streams: two weeks to learn, twelve days in which nothing happens, a spam burst, and a surge."""
    curve = surge_curve(**shape, bucket_s=BUCKET_S)
    usual = 5 * rate * rhythm(PER_DAY * DAYS, BUCKET_S)
    mentions = rng.poisson(usual, (STREAMS, len(usual))).astype(float)
    authors = _distinct(rng, mentions, PEOPLE)
    surges = rng.integers(PER_DAY * (DAYS - 1), PER_DAY * DAYS - len(curve) - 1, STREAMS)
    decoys = rng.integers(PER_DAY * (DAYS - 2), PER_DAY * (DAYS - 2) + PER_DAY // 2, STREAMS)
    burst = surge_curve(ramp_s=15.0, duration_s=600.0, bucket_s=BUCKET_S)
    for n in range(STREAMS):
        surge = slice(surges[n], surges[n] + len(curve))
        extra = rng.poisson(usual[surge] * (size - 1) * curve)
        mentions[n, surge] += extra
        authors[n, surge] += _distinct(rng, extra, PEOPLE)
        spam = slice(decoys[n], decoys[n] + len(burst))
        # The strongest burst of the table at least: a decoy has to tempt.
        extra = rng.poisson(np.maximum(usual[spam] * max(size, 10.0), 40.0) * burst)
        mentions[n, spam] += extra
        authors[n, spam] += _distinct(rng, extra, int(rng.integers(2, 6)))

    scores = score_recording(Grid(), mentions, np.ones(len(usual)), FIRST_MINUTE, authors).anomaly
    alarms = scores >= probability(np.array(SURGE))
    delays = [_first(alarms[n, surges[n] : surges[n] + len(curve)]) for n in range(STREAMS)]
    taken_in = [bool(alarms[n, decoys[n] : decoys[n] + len(burst)].any()) for n in range(STREAMS)]
    quiet = alarms[:, PER_DAY * LEARNING_DAYS : PER_DAY * (LEARNING_DAYS + QUIET_DAYS)]
    found = tuple(delay for delay in delays if delay is not None)
    return Cell(rate, size, len(found), found, sum(taken_in), int(quiet.sum()), STREAMS * QUIET_DAYS)


def _distinct(rng: np.random.Generator, mentions: npt.NDArray[np.generic], people: int) -> npt.NDArray[np.float64]:
    """How many of `people` so many mentions come from, each mention from anyone: the expectation, rounded by chance."""
    expected = -people * np.expm1(mentions.astype(np.float64) * float(np.log1p(-1.0 / people)))
    return np.floor(expected + rng.random(expected.shape))


def _first(alarms: npt.NDArray[np.bool_]) -> int | None:
    return int(alarms.argmax()) if alarms.any() else None


def surge_tables() -> tuple[list[Table], dict[str, object]]:
    """A table for sudden surges and one for slow ones, and the figures as plain values."""
    rng = np.random.default_rng(SEED)
    tables: list[Table] = []
    values: dict[str, object] = {}
    everything: list[Cell] = []
    for name, shape in (("sudden", SUDDEN), ("slow", SLOW)):
        table = Table(
            title=f"{name.capitalize()} surges: found, and median delay in buckets of {BUCKET_S // 60} minutes",
            title_justify="left",
        )
        table.add_column("Usual a minute")
        for size in SIZES:
            table.add_column(f"{size:g}x", justify="right")
        cells = [[measure_cell(rng, rate, size, shape) for size in SIZES] for rate in RATES]
        for rate, row in zip(RATES, cells, strict=True):
            table.add_row(f"{rate:g}", *(_shown(cell) for cell in row))
        tables.append(table)
        flat = [cell for row in cells for cell in row]
        everything += flat
        values[name] = msgspec.to_builtins(flat)
    found, decoys, false = (sum(getattr(cell, name) for cell in everything) for name in ("found", "decoys", "false"))
    days = sum(cell.quiet_days for cell in everything)
    streams = STREAMS * len(everything)
    summary = Table(title="Both together", title_justify="left")
    for heading in ("What", "Measured", "Goal"):
        summary.add_column(heading)
    summary.add_row("surges found", f"{found} of {streams}", "")
    summary.add_row("precision", f"{found / max(found + decoys + false, 1):.3f}", "")
    summary.add_row("spam bursts taken for surges", f"{decoys} of {streams}", "0")
    summary.add_row("false surges an entity a day", f"{false / days:.4f}", f"< {FALSE_GOAL}")
    tables.append(summary)
    return tables, values | {
        "found": found, "streams": streams, "decoys": decoys, "false_per_entity_day": false / days
    }  # fmt: skip


def _shown(cell: Cell) -> str:
    if not cell.found:
        return "–"
    return f"{cell.found / STREAMS:.0%}, {np.median(cell.delays):.0f}"
