"""What the relay writes, and the store that takes it whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol, TypeAlias

import msgspec

from groundswell.core.host_positions import HostPosition
from groundswell.core.posts import AccountChange, Deleted, Micros, Post, ProfileLabels

GapCause: TypeAlias = Literal[
    "start",
    "disconnect",
    "stall",
    "retention",
    "shutdown",
    "no-replay",
    "sequence",
    "spool-full",
    "spool-damaged",
]


class ResumePoint(msgspec.Struct, frozen=True):
    """How far a source has been stored."""

    cursor: int | None
    covered_until: Micros | None
    positions: tuple[HostPosition, ...] = ()
    """Of a source of several hosts: how far each was read."""


class Batch(msgspec.Struct, frozen=True, tag="batch"):
    """What one transaction stores: the posts and deletes of one source, and how far that brings its cursor.

    `covered_from` to `covered_until` is the stretch of the source's own time that was watched without a break.
    """

    source: str
    posts: Sequence[Post]
    deletes: Sequence[Deleted]
    cursor: int | None
    covered_from: Micros
    covered_until: Micros
    live: bool = True
    resent: tuple[tuple[Micros, Micros], ...] = ()
    """Other stretches that were watched: what the source sent again from before `covered_from`."""
    accounts: Sequence[AccountChange] = ()
    """New states of whole accounts."""
    profiles: Sequence[ProfileLabels] = ()
    """What authors say of all that is theirs."""
    position: HostPosition | None = None
    """Of a source of several hosts: how far the one that sent this has been read."""


class GapOpens(msgspec.Struct, frozen=True, tag="gap-opens"):
    """The source is not watched from `started_at` on."""

    cause: GapCause
    started_at: Micros
    detail: str


class GapCloses(msgspec.Struct, frozen=True, tag="gap-closes"):
    """The source is watched again from `at` on."""

    at: Micros
    backfilled: bool


class GapsFilled(msgspec.Struct, frozen=True, tag="gaps-filled"):
    """What was missed in the gaps from `since` to `until` has been stored, from another host."""

    since: Micros
    until: Micros


Work: TypeAlias = Batch | GapOpens | GapCloses | GapsFilled
"""What the relay hands to the store, in order. Storing the same work twice in a row is storing it once."""


class StoredPost(msgspec.Struct, frozen=True):
    pk: int
    post: Post


class Event(msgspec.Struct, frozen=True):
    """A broadcast frame as stored: `seq` and `ts` are the database's."""

    seq: int
    ts: Micros
    type: str
    live: bool
    data: msgspec.Raw
    """JSON."""
    posts: tuple[Post, ...] = ()
    """For `posts.new`: what the hub filters by."""


class EventDraft(msgspec.Struct, frozen=True):
    type: str
    data: msgspec.Raw
    live: bool = True


class Committed(msgspec.Struct, frozen=True):
    """What a batch changed. `events` are ready to broadcast and already stored."""

    created: Sequence[StoredPost]
    updated: int
    deleted: int
    """Posts that are gone, hidden ones not among them."""
    hidden: int
    """Posts that were hidden with their account, or came while it was."""
    restored: int
    """Posts that came back with their account."""
    duplicates: int
    events: Sequence[Event]
    outdates_labels: bool = False
    """Whether labels or links of entities were made of posts that are withdrawn now."""


class MomentumRow(msgspec.Struct, frozen=True):
    """The current momentum of one entity, as published."""

    entity: str
    kind: str
    name: str
    as_of: Micros
    stage: str
    stage_since: Micros
    mentions: int
    """Mentions in the last 15 minutes."""
    authors: int
    """Distinct authors in the last 15 minutes."""
    velocity: float
    """Mentions a minute over the last 5 observed minutes."""
    acceleration: float
    """Mentions a minute, a minute."""
    surprise: float
    score: float
    """0 to 1."""
    sparkline: tuple[float | None, ...] = ()
    """Mentions a minute over the last 30 minutes, oldest first; None where nothing was observed."""
    parts: Mapping[str, object] = {}
    """What the score is made of: see docs/momentum.md."""


class PostStore(Protocol):
    """The write side of Postgres. Every method raises `StoreUnavailable` when it cannot be reached."""

    async def now(self) -> Micros:
        """The database's clock: the one that decides ages."""
        ...

    async def resume_point(self, source: str) -> ResumePoint: ...

    async def restricted_authors(self, source: str, limit: int) -> Sequence[str]:
        """Authors whose profile asks to be kept from readers who are not signed in, those that said so last first."""
        ...

    async def commit(self, batch: Batch) -> Committed:
        """Store a batch in one transaction: all of it, or nothing. Idempotent: a repeated batch changes nothing."""
        ...

    async def open_gap(self, source: str, cause: GapCause, started_at: Micros, detail: str) -> Event | None:
        """Record that `source` is not being watched from `started_at` on. None if one is open already."""
        ...

    async def close_gap(self, source: str, resumed_at: Micros, *, backfilled: bool) -> Event | None:
        """Close the open gap. `backfilled` when the source re-sent what was missed."""
        ...

    async def fill_gaps(self, source: str, since: Micros, until: Micros) -> Sequence[Event]:
        """Note that the closed gaps within `[since, until]` have been backfilled after all."""
        ...

    async def append_events(self, drafts: Sequence[EventDraft]) -> Sequence[Event]: ...

    async def report(self, component: str, state: str, detail: Mapping[str, object]) -> None:
        """Publish what a component is doing, for `/v1/status` in any process."""
        ...
