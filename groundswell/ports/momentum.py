"""What the detector reads and writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import msgspec

from groundswell.core.co_mentions import CoMention
from groundswell.core.labels import Label
from groundswell.core.posts import Micros
from groundswell.ports.storing import Event, MomentumRow

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from groundswell.core.count_window import Floats, StoredCounts, StoredHours
    from groundswell.core.habit import Watched
    from groundswell.core.momentum import Observed


class MinuteCounts(msgspec.Struct, frozen=True):
    """What was seen of the active entities up to `as_of`, summed over sources."""

    as_of: Micros
    entities: Sequence[str]
    observed: Observed


class ReadPosition(msgspec.Struct, frozen=True):
    """What had been stored when counts were read: what comes later is in minutes after it, or noted as late."""

    until: Mapping[str, Micros]
    """By source, the instant of event time that it is stored up to."""
    transaction: str
    """The oldest transaction that had perhaps not ended."""
    at: float
    """The database's clock, in seconds."""


class HourCounts(msgspec.Struct, frozen=True):
    """What entities had in the seven hours up to the end of `hour`, as it stood when that was settled."""

    hour: int
    """Hours since the epoch."""
    entities: Sequence[str]
    """Those of the entities asked for that were spoken of."""
    voices: npt.NDArray[np.floating]
    """Shape (entities, BUCKETS): mentions in each bucket, each author at most once a minute."""
    exposure: npt.NDArray[np.floating]
    """Shape (BUCKETS,), 0 to 1."""


class StoredHabits(msgspec.Struct, frozen=True):
    """Habits as they were stored: of those of the entities asked for that have any."""

    entities: Sequence[str]
    hours: Sequence[int]
    """Up to which hour of the epoch each is folded."""
    rows: npt.NDArray[np.floating]
    """Shape (entities, WIDTH)."""


class StageDraft(msgspec.Struct, frozen=True):
    """A change of stage, at an instant of event time, with the numbers that made it."""

    entity: str
    kind: str
    at: Micros
    from_stage: str
    stage: str
    score: float
    evidence: Mapping[str, object]


class StageMemory(msgspec.Struct, frozen=True):
    """What the next look at an entity needs to know of the last one."""

    peak: float
    told_at: Micros | None


class MomentumStore(Protocol):
    """What the momentum tick reads and writes. Every method raises `StoreUnavailable`."""

    async def watermark(self) -> Micros | None:
        """The latest instant of event time that any source has been watched to; None before the first post."""
        ...

    async def minute_counts(self, as_of: Micros, limit: int) -> MinuteCounts:
        """The most mentioned entities of the last quarter of an hour, `limit` of them, and all that have momentum."""
        ...

    async def read_position(self) -> ReadPosition: ...

    async def counts_since(self, since: Mapping[str, int], last: int) -> StoredCounts:
        """All counts of the minutes (since the epoch) from `since` on, by source, up to and with `last`."""
        ...

    async def counts_changed_late(self, transaction: str, first: int, last: int) -> StoredCounts:
        """Counts of the minutes from `first` to `last` that were changed, after they were over, by this transaction or
        a later one: zero where nothing is left."""
        ...

    async def counts_of(self, entities: Sequence[str], first: int, last: int) -> StoredCounts:
        """Counts of these entities in the minutes from `first` to `last`."""
        ...

    async def hours_of(self, entities: Sequence[str], since: Mapping[str, int], until: int) -> StoredHours:
        """Counts of these entities in hours, from the minute `since`, by source, to before the minute `until`."""
        ...

    async def coverage(self, last: int) -> Mapping[str, Floats]:
        """By source, the watched part of each minute of the last 24 hours of the clock: shape (24 * 60,), 0 to 1.

        The last of these hours is the one that the minute `last` is in; what comes after `last` is 0.
        """
        ...

    async def authors(self, entities: Sequence[str], last: int) -> Floats:
        """Distinct authors of each in the quarter of an hour up to the end of the minute `last`: shape (n,)."""
        ...

    async def current(self) -> Sequence[tuple[MomentumRow, StageMemory]]: ...

    async def publish(
        self,
        rows: Sequence[tuple[MomentumRow, StageMemory]],
        gone: Sequence[str],
        changes: Sequence[StageDraft],
        *,
        live: bool,
    ) -> Sequence[Event]:
        """Replace `rows`, remove `gone`, store the changes of stage and the alerts that a rule asks for.

        Answers the frames to broadcast. A change that is stored already (same entity, same instant) is not told again.
        """
        ...

    async def prints(
        self, entities: Sequence[str], since: Micros, until: Micros, limit: int
    ) -> Mapping[str, Sequence[int]]:
        """Fingerprints of the latest `limit` posts about each of these, newest first. None: no entry."""
        ...

    async def first_hour(self) -> int | None:
        """The first hour of the epoch of which anything was watched; None before there is one."""
        ...

    async def spoken(self, hour: int, first: int, last: int, limit: int) -> tuple[Sequence[str], Sequence[int]]:
        """Entities and their voices in the minutes from `first` to `last`, the most spoken of first, names break ties.

        As it stood when the hour of the epoch `hour` was settled: see `groundswell.core.learning`.
        """
        ...

    async def hour_counts(self, hour: int, entities: Sequence[str]) -> HourCounts: ...

    async def watched(self) -> tuple[int, Watched] | None:
        """Up to which hour habits are folded, and what they are divided by. None where none are stored."""
        ...

    async def habits(self, entities: Sequence[str]) -> StoredHabits: ...

    async def learnt_up_to(self, hour: int) -> Sequence[str]:
        """Entities whose habits are folded up to this hour of the epoch, or further."""
        ...

    async def save_habits(self, habits: StoredHabits) -> None: ...

    async def save_watched(self, hour: int, watched: Watched) -> None:
        """Store that all habits are folded up to `hour`, and what they are divided by."""
        ...


class SurgePost(msgspec.Struct, frozen=True):
    """A post as the making of labels and links reads it."""

    id: str
    author: str
    text: str
    lang: str | None
    entities: tuple[str, ...]


class SurgeMaterial(msgspec.Struct, frozen=True):
    """What labels and links are made from: one window of event time."""

    as_of: Micros
    """Its end."""
    posts: Mapping[str, Sequence[SurgePost]]
    """By mover, the best first: its latest posts of the window, newest first."""
    mentions: Mapping[str, int]
    """Posts of the window that name an entity: of the movers and of whatever is named with them."""
    total_posts: int
    background: Sequence[SurgePost]
    """Posts from before and within the window, about anything."""


class SurgeAbout(msgspec.Struct, frozen=True):
    """What a mover's posts have in common, and what is named with it."""

    entity: str
    label: Label | None
    related: Sequence[CoMention]


class SurgeStore(Protocol):
    """What the making of labels and links reads and writes. Every method raises `StoreUnavailable`."""

    async def material(
        self, *, window_minutes: int, movers: int, posts_each: int, background_posts: int
    ) -> SurgeMaterial | None:
        """The window that ends with the last full minute that was watched; None before anything was."""
        ...

    async def replace(self, as_of: Micros, surges: Sequence[SurgeAbout]) -> None:
        """Store these in place of all that was stored before."""
        ...


class RollupStore(Protocol):
    """Old counts, in fewer and longer buckets. Raises `StoreUnavailable`."""

    async def bite(self, keep_s: Mapping[int, float], limit: int) -> int:
        """Roll up and forget what is due, about `limit` rows of it, in one short transaction; answers how many.

        `keep_s`: by resolution in seconds, how long its buckets are kept, by the database's clock. A resolution that
        was given up once is not answered again, however long it is to be kept now.
        """
        ...
