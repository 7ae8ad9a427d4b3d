"""From stored events to the frames that each client wants, encoding every post and every row once.

Events that follow one another and are of one type become one frame. Of an entity that moved several times, only the
latest row is sent: momentum is a state, not a log.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final

import msgspec

from groundswell.core.frames import LIST_KEYS, list_frames, plain_frame, split_event
from groundswell.core.posts import Micros, Post
from groundswell.core.subscriptions import Topic

TOPIC_OF: Final = {
    "posts.new": "posts",
    "posts.deleted": "posts",
    "momentum.update": "momentum",
    "momentum.stage": "momentum",
    "alert.fired": "alerts",
    "alert.corrected": "alerts",
    "gap": "gaps",
    "status.update": "status",
    "insight.new": "insights",
}
"""The topic that each type of event belongs to. Types that a newer version may add go to nobody."""
ABOUT_ONE_ENTITY: Final = frozenset({"alert.fired", "alert.corrected", "momentum.stage"})


class _About(msgspec.Struct):
    entity: str = ""


class Prepared:
    """One event, encoded once for everybody."""

    __slots__ = ("_by_entity", "_posts", "data", "items", "keys", "live", "seq", "size", "topic", "ts", "type")

    def __init__(
        self, type_: str, *, seq: int | None, ts: Micros, live: bool, data: msgspec.Raw, posts: Sequence[Post] = ()
    ) -> None:
        """`seq` None: a preview of what is not stored yet."""
        self.type = type_
        self.topic = TOPIC_OF.get(type_)
        self.seq = seq
        self.ts = ts
        self.live = live
        self.data = bytes(data)
        self.items = split_event(type_, data, posts)
        self.keys: list[str] = []
        """Momentum and alerts: the entity of each item, or of the whole."""
        self._posts = posts
        self._by_entity: dict[str, list[int]] = {}
        if type_ == "posts.new":
            self._by_entity = _positions(posts)
        elif type_ == "momentum.update":
            self.keys = [msgspec.json.decode(item, type=_About).entity for item in self.items]
        elif type_ in ABOUT_ONE_ENTITY:
            self.keys = [msgspec.json.decode(data, type=_About).entity]
        self.size = sum(map(len, self.items)) or len(self.data)

    def wanted(self, topics: Iterable[Topic]) -> list[int] | None:
        """Positions of the items that any of `topics` wants; for an event without items, [] when wanted. Else None."""
        mine = [topic for topic in topics if topic.name == self.topic]
        if not mine:
            return None
        if self.type == "posts.new":
            found = sorted({at for topic in mine for at in self._matching(topic)})
            return found or None
        if self.type == "momentum.update":
            found = [at for at, key in enumerate(self.keys) if any(topic.wants_entity(key) for topic in mine)]
            return found or None
        if self.type in ABOUT_ONE_ENTITY and not any(topic.wants_entity(self.keys[0]) for topic in mine):
            return None
        # What a deleted post was about is not known any more: all who watch posts are told.
        return list(range(len(self.items)))

    def _matching(self, topic: Topic) -> Iterator[int]:
        places = range(len(self._posts)) if topic.entity is None else self._by_entity.get(topic.entity, ())
        return (at for at in places if topic.wants_post(self._posts[at]))


def _positions(posts: Sequence[Post]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for at, post in enumerate(posts):
        for key in post.entities:
            found[key].append(at)
    return dict(found)


class Outgoing:
    """A batch of events on its way to many clients. Clients with equal topics share the very same frames."""

    __slots__ = ("_cache", "events", "last_seq", "size")

    def __init__(self, events: Sequence[Prepared]) -> None:
        """`events` in the order of their `seq`, previews anywhere between, at least one."""
        self.events = events
        self.last_seq = max((event.seq for event in events if event.seq is not None), default=0)
        """0 where all are previews."""
        self.size = sum(event.size for event in events)
        self._cache: dict[frozenset[Topic], list[str]] = {}

    def frames(self, topics: frozenset[Topic]) -> list[str]:
        """The frames for a client with these topics, in order; each within the frame limit."""
        frames = self._cache.get(topics)
        if frames is None:
            frames = self._cache[topics] = frames_for(topics, self.events)
        return frames


def frames_for(topics: Collection[Topic], events: Sequence[Prepared]) -> list[str]:
    """The frames that carry what any of `topics` wants of `events`."""
    chosen = [(event, wanted) for event in events if (wanted := event.wanted(topics)) is not None]
    _keep_latest(chosen)
    frames: list[bytes] = []
    for (type_, live, _), run in groupby(chosen, key=lambda pair: (pair[0].type, pair[0].live, pair[0].seq is None)):
        group = list(run)
        last = group[-1][0]
        if type_ in LIST_KEYS:
            items = [event.items[at] for event, wanted in group for at in wanted]
            frames += list_frames(type_, items, seq=last.seq, ts=last.ts, live=live)
        else:
            frames += [plain_frame(type_, e.data, seq=e.seq, ts=e.ts, live=live) for e, _ in group]
    return [frame.decode() for frame in frames]


def _keep_latest(chosen: list[tuple[Prepared, list[int]]]) -> None:
    """Drop, in place, the momentum rows that a later event of `chosen` replaces."""
    seen: set[str] = set()
    for event, wanted in reversed(chosen):
        if event.type == "momentum.update":
            wanted[:] = [at for at in wanted if event.keys[at] not in seen]
            seen.update(event.keys[at] for at in wanted)
