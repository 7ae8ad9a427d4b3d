"""What is published of an assessment: rows, and the evidence of a change of stage."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from groundswell.core.entities import entity_kind, entity_name
from groundswell.core.momentum import Momentum
from groundswell.core.stages import StageState
from groundswell.core.surprise import probability
from groundswell.ports.momentum import MinuteCounts
from groundswell.ports.storing import MomentumRow


def momentum_row(
    i: int, counts: MinuteCounts, now: Momentum, state: StageState, *, original: float = 1.0
) -> MomentumRow:
    """Row `i` of an assessment, as it is published. `original`: how much of what is said is no copy, 0 to 1."""
    entity = counts.entities[i]
    return MomentumRow(
        entity=entity,
        kind=entity_kind(entity),
        name=entity_name(entity),
        as_of=counts.as_of,
        stage=state.stage,
        stage_since=state.since,
        mentions=round(float(now.mentions[i])),
        authors=int(counts.observed.authors[i]),
        velocity=round(float(now.velocity[i]), 3),
        acceleration=round(float(now.acceleration[i]), 4),
        surprise=round(float(now.surprise[i]), 3),
        score=round(float(probability(now.surprisal[i] * original)), 4),
        sparkline=_sparkline(now.rates[i]),
        parts=_parts(i, now, original),
    )


def evidence(row: MomentumRow) -> dict[str, object]:
    """The numbers that made a change of stage."""
    return {
        "mentions": row.mentions,
        "authors": row.authors,
        "velocity": row.velocity,
        "acceleration": row.acceleration,
        "surprise": row.surprise,
        **row.parts,
    }


def _sparkline(rates: npt.NDArray[np.floating]) -> tuple[float | None, ...]:
    rounded: list[float] = np.round(rates, 2).tolist()
    return tuple(None if math.isnan(rate) else rate for rate in rounded)


def _parts(i: int, now: Momentum, original: float) -> dict[str, object]:
    seen = now.seen
    return {
        "expected": round(float(seen.expected[i, 0]), 2),
        "fast": round(float(seen.fast[i, 0]), 2),
        "slow": round(float(seen.slow[i, 0]), 2),
        "surprisal": round(float(seen.surprisal[i, 0]), 3),
        "crowd": round(float(now.crowd[i]), 3),
        "originality": round(original, 3),
        "slopes": {
            name: {"velocity": _number(velocity[i], 3), "acceleration": _number(slope[i], 5)}
            for name, (velocity, slope) in now.slopes.items()
        },
    }


def _number(value: float, digits: int) -> float | None:
    return None if math.isnan(value) else round(float(value), digits)
