"""How fast the detector is: a tick over very many entities, and a day of a million posts."""

from __future__ import annotations

import time

import numpy as np
import numpy.typing as npt

from groundswell.core.detector import look
from groundswell.core.habit import WIDTH, Grid, Watched, fold_hour, no_habits
from groundswell.core.news import Told, tell
from groundswell.core.recording import score_recording

ENTITIES = 50_000
TICK_GOAL_S = 1.0
POSTS = 1_000_000
DAY_GOAL_S = 60.0
BYTES_GOAL = 200
FIRST_MINUTE = 20_000 * 24 * 60
SEED = 20260704


def speed_rows() -> tuple[list[tuple[str, str, str]], dict[str, object]]:
    """(what, measured, goal) for each measurement, in processor time; and the figures as plain values."""
    tick, fold = _tick()
    day, entities = _day()
    size = WIDTH * np.dtype(np.float32).itemsize
    rows = [
        (f"a tick over {ENTITIES:,} active entities", f"{tick:.2f} s", f"< {TICK_GOAL_S:g} s"),
        (f"learning an hour of {ENTITIES:,} entities, once an hour", f"{fold:.2f} s", ""),
        (f"a day of {POSTS:,} posts about {entities:,} entities", f"{day:.1f} s", f"< {DAY_GOAL_S:g} s"),
        ("what is kept of an entity that is idle", f"{size} bytes", f"< {BYTES_GOAL}"),
    ]
    return rows, {"tick_s": tick, "fold_s": fold, "day_s": day, "day_entities": entities, "state_bytes": size}


def _tick() -> tuple[float, float]:
    grid, rng = Grid(), np.random.default_rng(SEED)
    buckets = grid.scales[1] + grid.hour
    counts = rng.poisson(rng.pareto(1.0, (ENTITIES, 1)) * 0.3, (ENTITIES, buckets)).astype(float)
    exposure = np.ones(buckets)
    hour = FIRST_MINUTE // 60
    started = time.process_time()
    habits, watched = fold_hour(grid, no_habits(ENTITIES), Watched.nothing(), counts, exposure, hour=hour - 1)
    fold = time.process_time() - started
    told = Told.nothing(ENTITIES)
    took: list[float] = []
    for _ in range(3):
        started = time.process_time()
        seen = look(
            grid, habits, watched, counts, exposure, first_minute=FIRST_MINUTE - buckets * grid.minutes, fresh=6
        )
        tell(told, seen.surprisal[:, 0], FIRST_MINUTE * 60_000_000)
        took.append(time.process_time() - started)
    return min(took), fold


def _day() -> tuple[float, int]:
    """A day whose posts are spread over entities as in the simulated network: a few take most of it."""
    grid, rng = Grid(), np.random.default_rng(SEED)
    buckets = 24 * grid.hour
    started = time.process_time()
    entity = rng.zipf(1.3, POSTS)
    names, index = np.unique(entity, return_inverse=True)
    counts: npt.NDArray[np.float64] = np.zeros((len(names), buckets))
    np.add.at(counts, (index, rng.integers(0, buckets, POSTS)), 1.0)
    for start in range(0, len(names), ENTITIES):
        part = counts[start : start + ENTITIES]
        score_recording(grid, part, np.ones(buckets), FIRST_MINUTE)
    return time.process_time() - started, len(names)
