"""The read side: what the API asks of Postgres."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from groundswell.core.labels import LabelPhrase
from groundswell.core.posts import Micros
from groundswell.core.series import SeriesPlan, SeriesRequest
from groundswell.ports.storing import Event, MomentumRow, StoredPost
from groundswell.ports.vectors import SearchFilters


class MomentumFilters(msgspec.Struct, frozen=True):
    """All optional; those given are combined with AND."""

    kind: str | None = None
    stage: str | None = None
    min_score: float = 0.0


class SeriesBucket(msgspec.Struct, frozen=True):
    """One bucket of an entity's history. Values are None where nothing was observed at all."""

    start: Micros
    mentions: int | None
    authors: int | None
    """Distinct authors within the bucket."""
    rate: float | None
    """Mentions per observed minute."""
    coverage: float
    """0 to 1: the observed part of what has passed of the bucket."""


class GapRow(msgspec.Struct, frozen=True):
    id: int
    source: str
    cause: str
    detail: str
    started_at: Micros
    ended_at: Micros | None
    backfilled: bool
    opened_at: Micros
    closed_at: Micros | None


class StageChange(msgspec.Struct, frozen=True):
    """An entity entered a stage. `evidence` is a JSON object: the numbers that made it."""

    at: Micros
    """Event time."""
    from_stage: str
    stage: str
    score: float
    evidence: msgspec.Raw


class Series(msgspec.Struct, frozen=True):
    """The history of one entity, in the buckets of its plan."""

    plan: SeriesPlan
    buckets: Sequence[SeriesBucket]
    gaps: Sequence[GapRow]
    """Those that overlap the range, oldest first."""
    stage_changes: Sequence[StageChange] = ()
    """Those within the range, oldest first."""


class SurgeLabel(msgspec.Struct, frozen=True):
    """A label as it is stored."""

    as_of: Micros
    """The end of the window that it was made from."""
    text: str
    phrases: Sequence[LabelPhrase]
    posts: int
    authors: int


class Related(msgspec.Struct, frozen=True):
    """An entity that is named with another more often than chance has it."""

    entity: str
    """Whose posts were looked at."""
    other: str
    as_of: Micros
    posts: int
    authors: int
    npmi: float
    g2: float
    stage: str | None
    """Of `other`; None where it has no momentum."""


class Insight(msgspec.Struct, frozen=True):
    id: int
    kind: str
    title: str
    body: str
    entities: tuple[str, ...]
    post_ids: tuple[str, ...]
    model: str | None
    created_at: Micros


class AlertRule(msgspec.Struct, frozen=True):
    id: int
    entity: str | None
    kind: str | None
    stage: str
    min_score: float
    created_at: Micros


class Alert(msgspec.Struct, frozen=True):
    id: int
    rule_id: int | None
    entity: str
    stage: str
    score: float
    at: Micros
    withdrawn: int
    """Mentions that it rested on and that were withdrawn since."""
    corrected_at: Micros | None
    """When the last of them was; None while it stands as it fired."""
    evidence: msgspec.Raw
    """JSON object."""


class EventPage(msgspec.Struct, frozen=True):
    """Stored broadcast frames in order, and the limits of what is stored."""

    events: Sequence[Event]
    oldest: int
    """The oldest `seq` that is kept; 0 when there is none."""
    newest: int
    """The newest `seq` that is stored; 0 when there is none."""


class SourceMinute(msgspec.Struct, frozen=True):
    """Posts of one source in one minute. `posts` is None where the minute was not watched."""

    source: str
    minute: Micros
    posts: int | None
    coverage: float


class SourceTotal(msgspec.Struct, frozen=True):
    source: str
    posts: int
    since: Micros | None


class Stats(msgspec.Struct, frozen=True):
    sources: Sequence[SourceTotal]
    entities: int
    """Entities with momentum now."""
    alerts: int
    insights: int
    newest_seq: int
    minutes: Sequence[SourceMinute]
    """Oldest first."""


class SourceStatus(msgspec.Struct, frozen=True):
    """How a source is doing, by the database's clock. Ages and lags are in seconds."""

    source: str
    state: Literal["live", "catching-up", "stale", "disconnected", "stopped", "ended"]
    """`stopped`: shut down on purpose; `disconnected`: lost; `ended`: a recording that is not being played any more."""
    age_s: float | None
    """Since anything of it was last committed."""
    lag_s: float | None
    """How far behind the present its event time is."""
    covered_until: Micros | None
    gap: GapRow | None
    """The open one."""


class ComponentStatus(msgspec.Struct, frozen=True):
    """What a running part last said of itself."""

    component: str
    state: str
    since: Micros
    updated_at: Micros
    detail: msgspec.Raw
    """JSON object; its `why`, where there is one, is a sentence for people."""

    @property
    def every_s(self) -> float | None:
        """Seconds between two runs of a part that a schedule calls; None for one that always runs."""
        return msgspec.json.decode(self.detail, type=_Schedule).every_s


class _Schedule(msgspec.Struct, frozen=True):
    """What a detail says of the schedule that its part is called by."""

    every_s: float | None = None


class Status(msgspec.Struct, frozen=True):
    as_of: Micros
    """The database's clock."""
    newest_seq: int
    sources: Sequence[SourceStatus]
    components: Sequence[ComponentStatus]
    degraded: tuple[str, ...]
    """Short words for what is missing or behind: component names, and `source:NAME`."""


class ReadStore(Protocol):
    """The read side of Postgres. Listings are newest (or highest) first and continue strictly after `after`.

    Every method raises `StoreUnavailable`, or `QueryTimeout` where the statement took too long.
    """

    async def now(self) -> Micros:
        """The database's clock."""
        ...

    async def posts(
        self, filters: SearchFilters, limit: int, after: tuple[Micros, int] | None = None
    ) -> Sequence[StoredPost]:
        """`after` is (event_time, pk) of the last post of the page before."""
        ...

    async def post(self, post_id: str, *, signed_in: bool = False) -> StoredPost | None: ...

    async def momentum(
        self, filters: MomentumFilters, limit: int, after: tuple[float, str] | None = None
    ) -> Sequence[MomentumRow]:
        """`after` is (score, entity) of the last row of the page before."""
        ...

    async def momentum_of(self, entity: str) -> MomentumRow | None: ...

    async def labels(self, entities: Sequence[str]) -> Mapping[str, SurgeLabel]:
        """Of those that have one."""
        ...

    async def related(self, entities: Sequence[str]) -> Sequence[Related]:
        """What belongs to these entities: by entity, and of each the most certain first."""
        ...

    async def series(self, entity: str, request: SeriesRequest) -> Series:
        """Raises `InvalidRequest` where the request cannot be answered: see `core.series.plan_series`."""
        ...

    async def horizons(self) -> Mapping[int, Micros | None]:
        """By resolution in seconds, from when on counts can be answered in it; None: from the beginning."""
        ...

    async def stages_then(self, entities: Sequence[str], instant: Micros) -> Mapping[str, tuple[str, Micros]]:
        """The stage that each entity had entered before `instant`, and when; those that never left `dormant` are
        missing."""
        ...

    async def insights(
        self,
        limit: int,
        after: tuple[Micros, int] | None = None,
        *,
        kind: str | None = None,
        entity: str | None = None,
    ) -> Sequence[Insight]: ...

    async def alerts(
        self,
        limit: int,
        after: tuple[Micros, int] | None = None,
        *,
        entity: str | None = None,
        stage: str | None = None,
        since: Micros | None = None,
        until: Micros | None = None,
    ) -> Sequence[Alert]: ...

    async def alert_rules(self) -> Sequence[AlertRule]: ...

    async def gaps(
        self,
        limit: int,
        after: tuple[Micros, int] | None = None,
        *,
        source: str | None = None,
        since: Micros | None = None,
        until: Micros | None = None,
    ) -> Sequence[GapRow]:
        """Gaps that overlap `[since, until)`."""
        ...

    async def events(self, after: int | None, limit: int, *, signed_in: bool = False) -> EventPage:
        """The frames with a `seq` above `after`, oldest first; none for None, which only asks for the limits."""
        ...

    async def stats(self, minutes: int) -> Stats: ...

    async def status(self) -> Status: ...

    async def schema_version(self) -> str | None:
        """The migration that the database is at; None before the first."""
        ...


class AlertRules(Protocol):
    async def add_rule(self, entity: str | None, kind: str | None, stage: str, min_score: float) -> AlertRule: ...

    async def remove_rule(self, rule_id: int) -> bool:
        """Whether there was such a rule."""
        ...


class KeyStore(Protocol):
    async def knows(self, key: str) -> bool:
        """Whether `key` opens the writing routes. Raises `StoreUnavailable`."""
        ...
