"""Reciprocal rank fusion: one ranking from several whose scores cannot be compared.

Cormack, Clarke, Büttcher: "Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning Methods",
SIGIR 2009. A post's score is the sum of 1 / (k + rank) over the rankings that hold it, ranks from 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

K = 60
"""The paper's constant: large enough that no single first place outweighs agreement."""


class Fused(msgspec.Struct, frozen=True):
    """One key of the fused ranking."""

    key: int
    score: float
    """The sum of `parts`."""
    ranks: dict[str, int]
    """The 1-based rank that each ranking gave it."""
    parts: dict[str, float]
    """What each ranking, and `recency`, added to the score."""


def fuse(
    rankings: Mapping[str, Sequence[int]],
    *,
    k: int = K,
    freshness: Mapping[int, float] | None = None,
    recency_weight: float = 0.0,
) -> list[Fused]:
    """Merge rankings (keys, best first), best first. Ties go to the greater key, which was stored later.

    Args:
        freshness: 0 to 1 for each key. One that is all fresh gets `recency_weight` of what a first place gives.
    """
    ranks: dict[int, dict[str, int]] = {}
    for name, keys in rankings.items():
        for rank, key in enumerate(keys, start=1):
            ranks.setdefault(key, {}).setdefault(name, rank)
    fused: list[Fused] = []
    for key, held in ranks.items():
        parts = {name: 1.0 / (k + rank) for name, rank in held.items()}
        if freshness is not None and recency_weight:
            parts["recency"] = recency_weight * freshness.get(key, 0.0) / (k + 1)
        fused.append(Fused(key, sum(parts.values()), held, parts))
    return sorted(fused, key=lambda entry: (-entry.score, -entry.key))


def freshness(age_s: float, half_life_s: float) -> float:
    """1 for what is new, or from the future; half of it after each half-life. `age_s` in seconds."""
    return 0.5 ** min(max(age_s, 0.0) / half_life_s, 1_000.0)
