"""Which entities are named together more often than chance has it.

For a mover and another entity, two proportions are held against each other: how many of the mover's posts name the
other one, and how many of all other posts do. Whether they differ is told by the log-likelihood ratio (G², Dunning,
"Accurate Methods for the Statistics of Surprise and Coincidence", Computational Linguistics 19(1), 1993), which is at
home with rare events; how closely the two belong together by normalised pointwise mutual information (Bouma,
"Normalized (Pointwise) Mutual Information in Collocation Extraction", GSCL 2009), -1 to 1.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec

MIN_POSTS = 3
MIN_AUTHORS = 3
"""What fewer say together says nothing: one account can always name two things at once."""
MIN_G2 = 15.14
"""Chi-squared with one degree of freedom at 0.0001: a mover is held against dozens of others."""
MIN_NPMI = 0.1
GROUP_NPMI = 0.3
"""From here on two movers are about the same story."""
MAX_RELATED = 8


class Naming(msgspec.Struct, frozen=True):
    """The part of a post that says what belongs together."""

    author: str
    entities: tuple[str, ...]


class CoMention(msgspec.Struct, frozen=True):
    """`other` is named in the mover's posts more often than chance has it."""

    other: str
    posts: int
    """Of the mover's posts that were looked at, those that name both."""
    authors: int
    npmi: float
    g2: float


class Link(msgspec.Struct, frozen=True):
    """Two movers that belong together; the names are in order."""

    one: str
    two: str
    posts: int
    authors: int
    npmi: float
    g2: float


def related(
    mover: str, sample: Sequence[Naming], *, mover_posts: int, mentions: Mapping[str, int], total_posts: int
) -> list[CoMention]:
    """What belongs to `mover`, the most certain first; at most `MAX_RELATED`.

    Args:
        sample: posts of the window that name the mover, copies left out.
        mover_posts: how many posts of the window name it.
        mentions: how many posts of the window name each other entity. What is missing counts as named here alone.
        total_posts: all posts of the window.
    """
    posts: dict[str, int] = defaultdict(int)
    authors: dict[str, set[str]] = defaultdict(set)
    for naming in sample:
        for entity in naming.entities:
            if entity != mover:
                posts[entity] += 1
                authors[entity].add(naming.author)
    found = [
        CoMention(
            other,
            both,
            len(authors[other]),
            npmi=round(_npmi(both / len(sample), mover_posts, mentions.get(other, 0), total_posts), 4),
            g2=round(
                _g2(both, len(sample), *_elsewhere(both / len(sample), mover_posts, other, mentions, total_posts)), 2
            ),
        )
        for other, both in posts.items()
        if both >= MIN_POSTS and len(authors[other]) >= MIN_AUTHORS
    ]
    certain = [each for each in found if each.g2 >= MIN_G2 and each.npmi >= MIN_NPMI]
    return sorted(certain, key=lambda each: (-each.g2, each.other))[:MAX_RELATED]


def links(related_of: Mapping[str, Iterable[CoMention]]) -> list[Link]:
    """The links among movers, each pair once, as the more certain of the two sees it."""
    best: dict[tuple[str, str], CoMention] = {}
    for mover, others in related_of.items():
        for each in others:
            if each.other in related_of:
                pair = (min(mover, each.other), max(mover, each.other))
                if pair not in best or best[pair].g2 < each.g2:
                    best[pair] = each
    return [
        Link(one, two, found.posts, found.authors, found.npmi, found.g2) for (one, two), found in sorted(best.items())
    ]


def groups(movers: Sequence[str], found: Iterable[Link]) -> dict[str, str]:
    """For each mover, the first in `movers` of those that close links lead to: who shares it shares a story."""
    leader = {mover: mover for mover in movers}

    def find(mover: str) -> str:
        while leader[mover] != mover:
            mover = leader[mover]
        return mover

    rank = {mover: n for n, mover in enumerate(movers)}
    for link in found:
        if link.npmi >= GROUP_NPMI and link.one in rank and link.two in rank:
            first, second = sorted((find(link.one), find(link.two)), key=rank.__getitem__)
            leader[second] = first
    return {mover: find(mover) for mover in movers}


def _elsewhere(
    share: float, mover_posts: int, other: str, mentions: Mapping[str, int], total_posts: int
) -> tuple[int, int]:
    """Of the posts without the mover: how many name the other, and how many there are."""
    rest = max(total_posts - mover_posts, 1)
    return min(max(mentions.get(other, 0) - round(share * mover_posts), 0), rest), rest


def _g2(k1: int, n1: int, k2: int, n2: int) -> float:
    """Signed: negative where the first proportion is the smaller one."""
    together = (k1 + k2) / (n1 + n2)
    ratio = 2 * (
        _log_likelihood(k1 / n1, k1, n1)
        + _log_likelihood(k2 / n2, k2, n2)
        - _log_likelihood(together, k1, n1)
        - _log_likelihood(together, k2, n2)
    )
    return math.copysign(max(ratio, 0.0), k1 / n1 - k2 / n2)


def _log_likelihood(p: float, k: int, n: int) -> float:
    hits = k * math.log(p) if k else 0.0
    misses = (n - k) * math.log1p(-p) if n > k else 0.0
    return hits + misses


def _npmi(share: float, mover_posts: int, mentions: int, total_posts: int) -> float:
    """From the probability that a post names both, the mover, and the other."""
    total = max(total_posts, mover_posts, mentions, 1)
    both = share * max(mover_posts, 1) / total
    other = max(mentions / total, both)  # who is named with the mover is named at least there
    if both >= 1:
        return 1.0
    return max(-1.0, min(1.0, math.log(both / (max(mover_posts, 1) / total * other)) / -math.log(both)))
