"""What storing or removing posts changes in the minute counts. Pure arithmetic over (entity, minute, author)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec

from groundswell.core.posts import MICROS_PER_MINUTE, Micros


class Counted(msgspec.Struct, frozen=True):
    """The part of a post that counts."""

    author: str
    entities: tuple[str, ...]
    event_time: Micros


class CountDeltas(msgspec.Struct, frozen=True):
    """Signed changes of one source; no entry is zero.

    `mentions` is keyed by (entity, minute, author), `posts` by minute; minutes are `Micros` at second zero.
    """

    mentions: dict[tuple[str, Micros, str], int]
    posts: dict[Micros, int]


def minute_of(instant: Micros) -> Micros:
    """The minute that an instant belongs to, as the instant of its second zero."""
    return instant - instant % MICROS_PER_MINUTE


def count_deltas(added: Iterable[Counted], removed: Iterable[Counted] = ()) -> CountDeltas:
    """Add what `added` mentions, subtract what `removed` mentioned. An edit is one of each."""
    mentions: Counter[tuple[str, Micros, str]] = Counter()
    posts: Counter[Micros] = Counter()
    for sign, group in ((1, added), (-1, removed)):
        for post in group:
            minute = minute_of(post.event_time)
            posts[minute] += sign
            for entity in post.entities:
                mentions[entity, minute, post.author] += sign
    return CountDeltas(
        mentions={key: n for key, n in mentions.items() if n},
        posts={minute: n for minute, n in posts.items() if n},
    )
