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
    """One key of the fused ranking, with the 1-based rank that each ranking gave it."""

    key: int
    score: float
    ranks: dict[str, int]


def fuse(
    rankings: Mapping[str, Sequence[int]],
    *,
    k: int = K,
    newest_first: Sequence[int] = (),
    recency_weight: float = 0.0,
) -> list[Fused]:
    """Merge rankings (keys, best first), best first. Ties go to the greater key, which was stored later.

    Args:
        newest_first: the same keys by age. Counts as one more ranking, with `recency_weight` instead of 1, for keys
            that some ranking holds; it adds no key of its own and no entry in `ranks`.
    """
    scores: dict[int, float] = {}
    ranks: dict[int, dict[str, int]] = {}
    for name, keys in rankings.items():
        for rank, key in enumerate(keys, start=1):
            held = ranks.setdefault(key, {})
            if name in held:
                continue
            held[name] = rank
            scores[key] = scores.get(key, 0.0) + 1.0 / (k + rank)
    if recency_weight:
        known = [key for key in dict.fromkeys(newest_first) if key in scores]
        for rank, key in enumerate(known, start=1):
            scores[key] += recency_weight / (k + rank)
    ordered = sorted(scores, key=lambda key: (-scores[key], -key))
    return [Fused(key, scores[key], ranks[key]) for key in ordered]
