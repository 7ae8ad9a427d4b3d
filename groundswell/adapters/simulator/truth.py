"""What a reader who missed nothing would have stored: computed from the world itself, not from its frames."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import TypeAlias

import msgspec

from groundswell.adapters.simulator.config import Surge, WorldConfig
from groundswell.adapters.simulator.vocabulary import WATCH_NAMES
from groundswell.adapters.simulator.world import POST, Mark, World
from groundswell.core.posts import MICROS_PER_MINUTE, Micros

Minute: TypeAlias = Micros
"""A minute, as the instant of its second zero."""


class TruePost(msgspec.Struct, frozen=True):
    """A post that still stands at the end."""

    author: str
    event_time: Micros
    """When it was first seen; an update does not move it."""
    rev: str
    entities: tuple[str, ...]

    @property
    def minute(self) -> Minute:
        return self.event_time - self.event_time % MICROS_PER_MINUTE


class Truth(msgspec.Struct, frozen=True):
    """The world's own account of [since, until)."""

    since: Micros
    until: Micros
    posts: dict[str, TruePost]
    """By id: created, not deleted, author not taken down or away; as last updated."""
    gone: frozenset[str]
    """Ids that were deleted or whose author was taken down, seen before or not."""
    takendown: frozenset[str]
    """Accounts."""
    frames: dict[str, int]
    """How many frames there are, by label: a collection, `account`, `identity` or `garbage`."""
    duplicates: int
    surges: tuple[Surge, ...]
    """All that overlap the stretch, spam included."""

    def mentions(self) -> dict[tuple[str, Minute], int]:
        """Posts by (entity key, minute)."""
        return Counter((entity, post.minute) for post in self.posts.values() for entity in post.entities)

    def authors(self) -> dict[tuple[str, Minute], int]:
        """Distinct authors by (entity key, minute)."""
        found: defaultdict[tuple[str, Minute], set[str]] = defaultdict(set)
        for post in self.posts.values():
            for entity in post.entities:
                found[entity, post.minute].add(post.author)
        return {key: len(names) for key, names in found.items()}

    def totals(self) -> dict[Minute, int]:
        """Posts by minute, with or without an entity in them."""
        return Counter(post.minute for post in self.posts.values())


def truth(
    world: World | WorldConfig,
    since: Micros,
    until: Micros,
    *,
    names: Collection[str] = WATCH_NAMES,
    everything: bool = False,
    unseen: Sequence[tuple[Micros, Micros]] = (),
) -> Truth:
    """The truth of [since, until) for a reader who starts with nothing.

    Where the world goes back further than `since`, an update or duplicate of a post from before counts as its first
    sight, as it would for such a reader; a world that `began_at` `since` has no such cases.

    Args:
        names: the watch list; other names are not entities to the reader.
        everything: count the frames of all collections in `frames`, not only posts.
        unseen: stretches whose inside the reader missed; their first and last instants were seen.
    """
    if isinstance(world, WorldConfig):
        world = World(world)
    unwatched = frozenset(f"name:{name}" for name in WATCH_NAMES if name not in names)
    account = _Account(unwatched)
    for second in world.seconds(since, until, everything=everything):
        account.frames.update(second.labels)
        account.read(
            (time, mark)
            for time, mark in zip(second.times, second.marks, strict=True)
            if not any(start < time < end for start, end in unseen)
        )
    return Truth(
        since=since,
        until=until,
        posts=account.posts,
        gone=frozenset(account.deleted) | account.withdrawn,
        takendown=frozenset(account.takendown),
        frames=dict(account.frames),
        duplicates=account.duplicates,
        surges=world.surges(since, until),
    )


class _Account:
    """The reader's state: the newest revision of an id wins, and a delete is a revision too."""

    def __init__(self, unwatched: frozenset[str]) -> None:
        self._unwatched = unwatched
        self._by_author: defaultdict[str, list[str]] = defaultdict(list)
        self.posts: dict[str, TruePost] = {}
        self.deleted: dict[str, str] = {}
        self.withdrawn: set[str] = set()
        self.takendown: set[str] = set()
        self._away: dict[str, dict[str, TruePost]] = {}
        """Posts of accounts that are hidden, by account."""
        self.frames: Counter[str] = Counter()
        self.duplicates = 0

    def read(self, marks: Iterable[tuple[Micros, Mark | None]]) -> None:
        for time_us, mark in marks:
            if mark is None:
                continue
            if mark.does == "takedown":
                self._take_down(mark.did)
                continue
            if mark.does in ("hide", "show", "end"):
                self._change(mark)
                continue
            post_id = f"at://{mark.did}/{POST}/{mark.rkey}"
            if mark.does == "delete":
                self.deleted[post_id] = max(mark.rev, self.deleted.get(post_id, ""))
                self._of(mark.did).pop(post_id, None)
            else:
                self._tell(post_id, time_us, mark)

    def _tell(self, post_id: str, time_us: Micros, mark: Mark) -> None:
        posts = self._of(mark.did)
        known = posts.get(post_id)
        if mark.rev <= (known.rev if known is not None else self.deleted.get(post_id, "")):
            self.duplicates += 1
            return
        assert mark.did not in self.takendown, "nobody posts after a takedown"
        entities = mark.entities
        if self._unwatched and not self._unwatched.isdisjoint(entities):
            entities = tuple(entity for entity in entities if entity not in self._unwatched)
        first_seen = time_us if known is None else known.event_time
        posts[post_id] = TruePost(mark.did, first_seen, mark.rev, entities)
        if known is None:
            self._by_author[mark.did].append(post_id)

    def _of(self, did: str) -> dict[str, TruePost]:
        """The posts that a new one of this account is among."""
        return self._away.get(did, self.posts)

    def _change(self, mark: Mark) -> None:
        did = mark.did
        if mark.does == "show":
            self.posts.update(self._away.pop(did, {}))
            return
        away = self._away.setdefault(did, {})
        mine = self._by_author.get(did, ())
        away.update({post_id: post for post_id in mine if (post := self.posts.pop(post_id, None)) is not None})
        if mark.does == "end":
            self.withdrawn.update(away)
            away.clear()

    def _take_down(self, did: str) -> None:
        self.takendown.add(did)
        for post_id in self._by_author.pop(did, ()):
            if self.posts.pop(post_id, None) is not None:
                self.withdrawn.add(post_id)
