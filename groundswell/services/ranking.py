"""The ranking of a question: the legs' answers fused, what says the same collapsed, kept for the pages that follow."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence

import msgspec

from groundswell.core.fusion import Fused, freshness, fuse
from groundswell.core.near_duplicates import group
from groundswell.core.posts import MICROS_PER_SECOND, Micros
from groundswell.ports.vectors import Hit, SearchFilters, Traits

RANKINGS_KEPT = 32
RECENCY_HALF_LIFE_S = 86_400.0


class Question(msgspec.Struct, frozen=True):
    """What is asked, as far as the ranking depends on it."""

    query: str
    like: str | None
    filters: SearchFilters


class Entry(msgspec.Struct, frozen=True):
    """One answer, and how many others of the ranking say the same."""

    fused: Fused
    fingerprint: int
    near: int = 0
    """Near-copies of it in the ranking, that are no copies."""
    copies: int = 0
    """Copies of it in the ranking."""


class Ranking(msgspec.Struct):
    """All that a question has been answered with so far, best first. Deeper pages add to its end."""

    entries: list[Entry]
    legs: list[str]
    degraded: list[str]
    complete: bool
    """Whether the legs have no more to give."""


class Rankings:
    """The latest rankings, so that the pages of one are parts of one list whatever arrives meanwhile."""

    def __init__(self, size: int = RANKINGS_KEPT) -> None:
        self._size = size
        self._kept: OrderedDict[tuple[Question, int, Micros], Ranking] = OrderedDict()

    def get(self, question: Question, up_to_pk: int, as_of: Micros) -> Ranking | None:
        key = (question, up_to_pk, as_of)
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def keep(self, question: Question, up_to_pk: int, as_of: Micros, ranking: Ranking) -> None:
        self._kept[question, up_to_pk, as_of] = ranking
        while len(self._kept) > self._size:
            self._kept.popitem(last=False)


def rank(
    legs: Mapping[str, Sequence[Hit]],
    traits: Mapping[int, Traits],
    as_of: Micros,
    *,
    recency_weight: float,
    before: Sequence[Entry] = (),
    not_like: int | None = None,
) -> list[Entry]:
    """One ranking of the legs' hits. Posts without traits are gone and left out.

    Args:
        before: what has been answered already; it is left out, and what says the same as it.
        not_like: a fingerprint whose copies and near-copies are left out.
    """
    rankings = {name: [hit.pk for hit in hits if hit.pk in traits] for name, hits in legs.items()}
    fresh = {
        pk: freshness((as_of - trait.event_time) / MICROS_PER_SECOND, RECENCY_HALF_LIFE_S)
        for pk, trait in traits.items()
    }
    fused = fuse(rankings, freshness=fresh, recency_weight=recency_weight)
    # The first of a group leads it: what is to be left out comes first.
    leading = [entry.fingerprint for entry in before] + ([] if not_like is None else [not_like])
    prints = leading + [traits[entry.key].fingerprint for entry in fused]
    leaders = group(prints)
    members: dict[int, list[int]] = {}
    for position, leader in enumerate(leaders):
        members.setdefault(leader, []).append(position)
    found: list[Entry] = []
    for position, entry in enumerate(fused, start=len(leading)):
        if leaders[position] != position:
            continue
        same = [prints[other] == prints[position] for other in members[position]]
        found.append(Entry(entry, prints[position], near=same.count(False), copies=same.count(True) - 1))
    return found
