"""Which spaces a query is embedded in, which posts are embedded anew, and which spaces have had their time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

ENOUGH: Final = 0.99
"""The share of all posts that one space must hold for a query to be asked of it alone."""
MOST_SPACES: Final = 3
"""No query is embedded more often than this."""


class Choice(msgspec.Struct, frozen=True):
    """Spaces to ask, the preferred one first."""

    spaces: tuple[str, ...]
    covered: float
    """The share of all embedded posts that they hold together."""


def choose_spaces(posts: Mapping[str, int], readable: Sequence[str]) -> Choice:
    """The spaces to ask.

    Args:
        posts: how many posts each space holds.
        readable: those that this process can embed a query in, the preferred one first.
    """
    total = sum(posts.values())
    if not readable:
        return Choice((), 0.0 if total else 1.0)
    if not total:
        return Choice((readable[0],), 1.0)
    shares = {space: posts.get(space, 0) / total for space in readable}
    enough = next((space for space in readable if shares[space] >= ENOUGH), None)
    if enough is not None:
        return Choice((enough,), shares[enough])
    held = sorted((space for space in readable if shares[space] > 0), key=lambda space: -shares[space])[:MOST_SPACES]
    chosen = tuple(space for space in readable if space in held)
    return Choice(chosen, sum(shares[space] for space in chosen))


def merge_by_share(rankings: Sequence[tuple[Sequence[int], float]]) -> list[int]:
    """One ranking of several over disjoint parts of the posts, whose scores cannot be compared. Positions in it.

    Where a space holds a tenth of the posts, its best is taken to be as good as the tenth best of all.

    Args:
        rankings: keys, best first, and the share of all posts that the ranking is over.
    """
    placed = [
        (rank / max(share, 1e-9), number, key)
        for number, (keys, share) in enumerate(rankings)
        for rank, key in enumerate(keys, start=1)
    ]
    return [key for _, _, key in sorted(placed)]


def to_embed_anew(posts: Mapping[str, int], active: str, chain: Sequence[str]) -> list[str]:
    """Spaces whose posts belong into the active one: those that the chain prefers less, or knows no more.

    What a better model embedded is left alone while a fallback is in use.
    """
    better = set(chain[: chain.index(active)]) if active in chain else set[str]()
    return sorted(space for space, count in posts.items() if count > 0 and space != active and space not in better)


def retired(spaces: Sequence[str], posts: Mapping[str, int], chain: Sequence[str]) -> list[str]:
    """Spaces that hold no post and that no model of the chain would fill."""
    return [space for space in spaces if space not in chain and posts.get(space, 0) <= 0]
