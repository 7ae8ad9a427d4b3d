"""What the services need from the world, as Protocols. Adapters fulfil them; `wiring` brings the two together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from groundswell.core.co_mentions import CoMention
from groundswell.core.embedding_chain import Device, Hardware, ModelEntry
from groundswell.core.habit import Watched
from groundswell.core.labels import Label, LabelPhrase
from groundswell.core.message_budget import Allowance
from groundswell.core.momentum import Observed
from groundswell.core.posts import Decoded, Deleted, Micros, Post
from groundswell.core.queries import ParsedQuery
from groundswell.core.retention import ArchiveRow, Authors, Contents, Manifest
from groundswell.core.series import SeriesPlan, SeriesRequest


# ------------------------------------------------------------------ time
class Clock(Protocol):
    """The only way to learn the time. Local clocks serve durations and display; ages are the database's to judge."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never steps."""
        ...

    def now(self) -> Micros:
        """This machine's idea of the time. Never compare it with a stored instant."""
        ...

    async def sleep(self, seconds: float) -> None: ...


# ------------------------------------------------------------------ sources
class SourceEnded(Exception):
    """A finite source (a recording) has no more frames."""


class Connection(Protocol):
    """One open connection to a source."""

    endpoint: str
    """Where it leads, fit for a log line: never with a secret in it."""

    async def receive(self) -> bytes:
        """The next frame, decompressed.

        Raises:
            SourceEnded: the source is finite and done.
            Exception: anything else; `core.session.verdict` decides what it means.
        """
        ...

    async def ping(self) -> None:
        """Return once the far end has answered. Sources without pings return at once."""
        ...


class Source(Protocol):
    """A stream of posts. `decode` is pure and total; `connect` does the I/O."""

    name: str
    """The value of `Post.source`; also the key of cursor, coverage and gaps."""
    can_replay: bool
    """Whether `connect(cursor)` re-sends what came since `cursor`."""
    quiet_after_s: float | None
    """The receive watchdog: this long without a frame means the connection is dead. None where silence is normal."""

    def connect(self, cursor: int | None) -> AbstractAsyncContextManager[Connection]: ...

    def decode(self, raw: bytes) -> Decoded:
        """Never raises on upstream bytes."""
        ...


# ------------------------------------------------------------------ stores
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


class GapOpens(msgspec.Struct, frozen=True, tag="gap-opens"):
    """The source is not watched from `started_at` on."""

    cause: GapCause
    started_at: Micros
    detail: str


class GapCloses(msgspec.Struct, frozen=True, tag="gap-closes"):
    """The source is watched again from `at` on."""

    at: Micros
    backfilled: bool


Work: TypeAlias = Batch | GapOpens | GapCloses
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
    duplicates: int
    events: Sequence[Event]


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

    async def commit(self, batch: Batch) -> Committed:
        """Store a batch in one transaction: all of it, or nothing. Idempotent: a repeated batch changes nothing."""
        ...

    async def open_gap(self, source: str, cause: GapCause, started_at: Micros, detail: str) -> Event | None:
        """Record that `source` is not being watched from `started_at` on. None if one is open already."""
        ...

    async def close_gap(self, source: str, resumed_at: Micros, *, backfilled: bool) -> Event | None:
        """Close the open gap. `backfilled` when the source re-sent what was missed."""
        ...

    async def append_events(self, drafts: Sequence[EventDraft]) -> Sequence[Event]: ...

    async def report(self, component: str, state: str, detail: Mapping[str, object]) -> None:
        """Publish what a component is doing, for `/v1/status` in any process."""
        ...


class SpoolFull(Exception):
    """The spool takes nothing more for now; the text says whether its own limit or the disk is the reason."""


class Spooled(msgspec.Struct, frozen=True):
    """Work that waits for the store."""

    work: Work
    before: ResumePoint
    """How far the source was known when this work came: what comes before it in the spool leads up to here."""
    spooled_at: Micros
    """By the relay's idea of the store's clock."""


class SpoolItem(msgspec.Struct, frozen=True):
    """One step of draining. `spooled` is None where the spool is damaged: what stood there cannot be read."""

    spooled: Spooled | None
    segment: int
    end: int
    items: int = 0


class Spool(Protocol):
    """Work kept on disk, in order, until the store takes it: bounded, and whole again after any kill."""

    @property
    def max_bytes(self) -> int: ...

    @property
    def depth(self) -> int:
        """Records that wait."""
        ...

    @property
    def items(self) -> int:
        """Posts and deletes in them."""
        ...

    @property
    def size(self) -> int:
        """Bytes on disk."""
        ...

    @property
    def oldest(self) -> Micros | None:
        """`spooled_at` of the record that is next; None when nothing waits or it is not known yet."""
        ...

    @property
    def first(self) -> Spooled | None:
        """As found when the spool was opened: the oldest record that can be read."""
        ...

    @property
    def last(self) -> Spooled | None:
        """As found when the spool was opened: the newest one."""
        ...

    async def append(self, spooled: Spooled) -> None:
        """Return once it is on disk and survives a power cut. Raises `SpoolFull`, and has then kept nothing."""
        ...

    async def read(self) -> Sequence[SpoolItem]:
        """The next items, oldest first; none when nothing waits. Reading again gives what is not `done` again."""
        ...

    def done(self, item: SpoolItem) -> None:
        """The store has taken everything up to and with `item`."""
        ...

    def remember(self, point: ResumePoint, clock_ahead_us: int) -> None:
        """Note what the store has taken, for a start without it. `clock_ahead_us`: its clock before this machine's."""
        ...

    def remembered(self) -> tuple[ResumePoint, int] | None:
        """What was noted last, maybe by an earlier process."""
        ...


class OutboxItem(msgspec.Struct, frozen=True):
    """A post that the vector index has not caught up with. `post` is None when it has to be removed there."""

    id: int
    pk: int
    post: Post | None
    fingerprint: int | None = None
    """Of the post's text; None where it is not known yet."""


class Outbox(Protocol):
    async def claim(self, limit: int, after: int = 0) -> Sequence[OutboxItem]:
        """The oldest items with an id above `after`. Claiming changes nothing: an item stays until it is marked done.

        Ids are not given in the order of commits: start from 0 again now and then.
        """
        ...

    async def done(self, items: Sequence[OutboxItem], *, space: str | None) -> None:
        """They are in the index, and those that have a post are in `space`, which is None where none has."""
        ...

    async def depth(self) -> int: ...

    async def start_anew(self) -> int:
        """The index turned out to be empty: queue every post that it once held. Answers how many."""
        ...


class IndexedPosts(Protocol):
    """The posts, for what keeps search in step with them. Every method raises `StoreUnavailable`."""

    async def oldest(self) -> Micros | None:
        """The event time of the oldest post; None where there is none."""
        ...

    async def queue_before(self, instant: Micros) -> int:
        """Queue the posts whose event time is before `instant` for the vector index; answers how many."""
        ...

    async def cut(self, limit: int) -> int:
        """Bring the terms of up to `limit` posts up to date; answers how many."""
        ...


# ------------------------------------------------------------------ search
class Space(msgspec.Struct, frozen=True):
    """A named vector of the collection: one per embedding model, never mixed."""

    name: str
    dimensions: int


class Vector(msgspec.Struct, frozen=True, eq=False, gc=False):
    """One text in one space. There is no vector without its space, and none of another size than its space's.

    Raises:
        ValueError: the values do not have the space's dimensions.
    """

    space: Space
    values: npt.NDArray[np.float32]
    """Shape (dimensions,), unit length."""

    def __post_init__(self) -> None:
        if self.values.shape != (self.space.dimensions,):
            raise ValueError(f"a vector of {self.space} cannot have the shape {self.values.shape}")


class Vectors(msgspec.Struct, frozen=True, eq=False):
    """Texts in one space, in order.

    Raises:
        ValueError: the rows do not have the space's dimensions.
    """

    space: Space
    rows: npt.NDArray[np.float32]
    """Shape (texts, dimensions), unit length in every row."""

    def __post_init__(self) -> None:
        if self.rows.ndim != 2 or self.rows.shape[1] != self.space.dimensions:
            raise ValueError(f"vectors of {self.space} cannot have the shape {self.rows.shape}")

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Vector]:
        return (Vector(self.space, row) for row in self.rows)

    def __getitem__(self, number: int) -> Vector:
        return Vector(self.space, self.rows[number])


class SearchFilters(msgspec.Struct, frozen=True):
    """All optional; those given are combined with AND."""

    entity: str | None = None
    """Entity key, for example `ticker:BTC`."""
    author: str | None = None
    lang: str | None = None
    source: str | None = None
    since: Micros | None = None
    """Inclusive, by event time."""
    until: Micros | None = None
    """Exclusive, by event time."""


class Within(msgspec.Struct, frozen=True):
    """What a search narrows its legs down to, besides the filters that people give. Combined with them by AND."""

    up_to_pk: int | None = None
    """Posts that were stored later are left out: the moment at which a listing was begun."""
    entities: tuple[str, ...] = ()
    """Entity keys, all of which a post must carry."""
    not_entities: tuple[str, ...] = ()
    """None of which it may carry."""
    not_fingerprints: tuple[int, ...] = ()
    """Texts that have been seen often enough."""


EVERYTHING = Within()


class VectorPoint(msgspec.Struct, frozen=True):
    pk: int
    vector: Vector
    payload: Mapping[str, object]


class Hit(msgspec.Struct, frozen=True):
    """One answer of one leg, best first within its list."""

    pk: int
    score: float


class VectorIndex(Protocol):
    """Every method raises `VectorIndexUnavailable` when the engine cannot be reached."""

    async def ensure(self, space: Space) -> None:
        """Create the collection, the space and the payload indexes where they are missing. Idempotent."""
        ...

    async def upsert(self, points: Sequence[VectorPoint]) -> None:
        """Store each point in its vector's space, in place of what it had before, in whatever space that was."""
        ...

    async def delete(self, pks: Sequence[int]) -> None:
        """Absent ones are no error."""
        ...

    async def delete_before(self, instant: Micros) -> None:
        """Remove every post whose event time is before `instant`."""
        ...

    async def search(
        self, vector: Vector, filters: SearchFilters, limit: int, within: Within = EVERYTHING
    ) -> list[Hit]:
        """The nearest posts of the vector's own space."""
        ...

    async def clear(self) -> None:
        """Remove everything, with how it was kept; `ensure` makes it anew. Nothing there: no error."""
        ...

    async def drop(self, space: str) -> None:
        """Remove a space and what is left in it. Absent: no error. Points themselves stay."""
        ...

    async def spaces(self) -> list[Space]:
        """The spaces that the index has. None before the collection is made."""
        ...

    async def count(self) -> int: ...

    async def pks(self, after: int, limit: int) -> list[int]:
        """The points above `after`, ascending, at most `limit`. None before the collection is made."""
        ...

    async def close(self) -> None: ...


class Embedder(Protocol):
    """Turns texts into unit vectors of its own space. Its methods block: call them in a thread.

    Both raise `EmbeddingUnavailable` when the model has stopped working; the same texts can be tried again later.
    """

    @property
    def space(self) -> Space: ...

    def embed(self, texts: Sequence[str]) -> Vectors:
        """One row for each text, in order. Any text has a vector: empty ones, and ones beyond the model's length."""
        ...

    def embed_query(self, text: str) -> Vector:
        """As `embed`, with what this model wants in front of a question, where it wants anything."""
        ...


class Traits(msgspec.Struct, frozen=True):
    """What ranking asks of a post."""

    event_time: Micros
    fingerprint: int
    """Of its text, see `core.near_duplicates`."""


class LoadedModel(Embedder, Protocol):
    """An embedding model that has been loaded and proven."""

    @property
    def device(self) -> Device: ...

    @property
    def about(self) -> str:
        """Precision and where it came from, in a few words."""
        ...

    def close(self) -> None:
        """Let go of what it holds. Blocks for a moment; safe to call twice."""
        ...


class ModelLoader(Protocol):
    """Looks at the machine and loads models. Its methods block: call them in a thread."""

    def probe(self, *, with_cuda: bool) -> Hardware:
        """Never raises. CUDA is tried only where asked for."""
        ...

    def load(self, entry: ModelEntry, device: Device, hardware: Hardware) -> LoadedModel:
        """Bounded in time and memory.

        Raises:
            EmbeddingUnavailable: with what stood in the way.
        """
        ...

    def interrupt(self) -> None:
        """End whatever is loading or loaded, at once: the program stops."""
        ...


class Requeued(msgspec.Struct, frozen=True):
    posts: int
    lowest_pk: int | None
    """Of those posts; None where there were none."""


class SpaceStore(Protocol):
    """Which space each post is embedded in. Every method raises `StoreUnavailable`."""

    async def posts_by_space(self) -> dict[str, int]:
        """The spaces that hold posts."""
        ...

    async def queue_again(self, space: str, before: int | None, limit: int) -> Requeued:
        """Put the newest posts of `space` with a key below `before` into the outbox, to be embedded anew."""
        ...

    async def forget(self, space: str) -> None:
        """A space that holds nothing is not counted any more."""
        ...


class LexicalSearch(Protocol):
    """Search in Postgres, and what it knows of posts that were found elsewhere. Raises `StoreUnavailable`."""

    async def lexical(
        self, query: ParsedQuery, filters: SearchFilters, limit: int, within: Within = EVERYTHING
    ) -> list[Hit]:
        """Full-text matches, best first. Without terms: the newest posts."""
        ...

    async def related(self, post: Post, filters: SearchFilters, limit: int, within: Within = EVERYTHING) -> list[Hit]:
        """Posts that share entities with `post`, those that share most first, then newest first."""
        ...

    async def horizon(self) -> tuple[int, Micros]:
        """The greatest key of all posts, 0 before the first, and the time by the database's clock."""
        ...

    async def traits(self, pks: Sequence[int]) -> dict[int, Traits]:
        """Of those that still exist."""
        ...

    async def copies(
        self, prints: Sequence[int], filters: SearchFilters, within: Within = EVERYTHING
    ) -> dict[int, int]:
        """How many posts that pass the filters have each fingerprint, counted up to a bound of the adapter."""
        ...

    async def posts_by_pk(self, pks: Sequence[int]) -> dict[int, Post]: ...

    async def post_by_id(self, post_id: str) -> StoredPost | None: ...


# ------------------------------------------------------------------ broadcast
class Broadcaster(Protocol):
    """Where frames leave for the screens: the local hub, or API Gateway."""

    async def publish(self, events: Sequence[Event]) -> None:
        """Hand the events over. Never blocks on a slow client and never raises for one."""
        ...

    async def preview(self, posts: Sequence[Post], deleted: Sequence[str], ts: Micros) -> None:
        """Show what is not stored yet, because the store is away. It is published again once it is stored."""
        ...


# ------------------------------------------------------------------ momentum
class MinuteCounts(msgspec.Struct, frozen=True):
    """What was seen of the active entities up to `as_of`, summed over sources."""

    as_of: Micros
    entities: Sequence[str]
    observed: Observed


class HourCounts(msgspec.Struct, frozen=True):
    """What the entities that were mentioned in the seven hours up to the end of `hour` had in them."""

    hour: int
    """Hours since the epoch."""
    entities: Sequence[str]
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

    async def texts(self, entity: str, since: Micros, until: Micros, limit: int) -> Sequence[str]:
        """What the latest posts about an entity say, newest first."""
        ...

    async def first_hour(self) -> int | None:
        """The first hour of the epoch of which anything was watched; None before there is one."""
        ...

    async def hour_counts(self, hour: int, limit: int) -> HourCounts: ...

    async def watched(self) -> tuple[int, Watched] | None:
        """Up to which hour habits are folded, and what they are divided by. None where none are stored."""
        ...

    async def habits(self, entities: Sequence[str]) -> StoredHabits: ...

    async def save_habits(self, habits: StoredHabits, hour: int, watched: Watched) -> None:
        """Store what one more hour made of habits, and that they are folded up to `hour`: in one transaction."""
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


# ------------------------------------------------------------------ search answers
class SearchHit(msgspec.Struct, frozen=True):
    """One answer of the fused search, best first within its list: the best ranked of all that say the same."""

    pk: int
    post: Post
    score: float
    """The sum of `parts`."""
    ranks: dict[str, int]
    """Leg name to the 1-based rank that leg gave the post: why it is here."""
    parts: dict[str, float] = {}
    """What each leg, and `recency`, added to the score."""
    highlights: tuple[tuple[int, int], ...] = ()
    """Where the text says what was asked for: start and end (exclusive), in Unicode code points."""
    similar: int = 0
    """Further posts that say the same, in these words or nearly."""


class SearchPlace(msgspec.Struct, frozen=True):
    """Where a page of a search ended, and the moment at which its first page was made."""

    up_to_pk: int
    as_of: Micros
    position: int
    """How many answers have been given, or left out since they are gone."""


class SearchAnswer(msgspec.Struct, frozen=True):
    hits: list[SearchHit]
    legs: list[str]
    """The legs that ran, of `lexical` and `semantic`."""
    degraded: list[str]
    """What was missing while this was answered, as short words such as `embeddings`."""
    next: SearchPlace | None = None
    """Where the next page begins; None at the end."""


class Searcher(Protocol):
    async def search(
        self,
        query: str,
        filters: SearchFilters,
        limit: int,
        *,
        like: str | None = None,
        after: SearchPlace | None = None,
    ) -> SearchAnswer:
        """At most `limit` fused hits, from the beginning or `after` an earlier page.

        Args:
            like: the id of a post; the answer is what is about the same, and `query` is not looked at.

        Raises:
            StoreUnavailable: Postgres, which holds the posts themselves, cannot be reached.
            NotFound: there is no post `like`.
        """
        ...


# ------------------------------------------------------------------ the read side: what the API asks of Postgres
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
    state: Literal["live", "catching-up", "stale", "disconnected", "stopped"]
    """`stopped`: shut down on purpose; `disconnected`: lost."""
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

    async def post(self, post_id: str) -> StoredPost | None: ...

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

    async def events(self, after: int | None, limit: int) -> EventPage:
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


# ------------------------------------------------------------------ the archive
class StoredObject(msgspec.Struct, frozen=True):
    name: str
    """Below the root, with forward slashes."""
    bytes: int


class Archive(Protocol):
    """Where files of old posts lie: a directory, or a bucket. Names are relative, with forward slashes.

    Every method raises `ArchiveUnavailable` where the archive cannot be reached or has no room.
    """

    where: str
    """For people: the directory, or `s3://bucket/prefix`."""

    async def put(self, name: str, file: Path, *, sha256: str) -> None:
        """Store a whole file under a name, or nothing: nobody ever sees a part of it. Replaces what was there.

        Raises:
            ArchiveUnavailable: also where what arrived is not what `sha256` says.
        """
        ...

    async def get(self, name: str, into: Path) -> None:
        """Raises `ArchiveDamaged` where there is no such file."""
        ...

    async def delete(self, name: str) -> None:
        """Also what a `put` of this name left behind when it was cut short. An absent file is no error."""
        ...

    def objects(self, prefix: str) -> AsyncIterator[StoredObject]:
        """All whose name begins with `prefix`, in any order."""
        ...

    def local(self, name: str) -> Path | None:
        """Where the file of that name lies on this machine, if it does: it need not be fetched then."""
        ...


class PostFiles(Protocol):
    """Posts as files, and back. Nothing here knows where the files end up."""

    suffix: str

    async def write(self, pages: AsyncIterator[Sequence[ArchiveRow]], path: Path) -> Contents:
        """Write every row, pages in the order of `pk`. Raises `ArchiveUnavailable` where the disk is full."""
        ...

    def read(self, path: Path) -> AsyncIterator[Sequence[ArchiveRow]]:
        """All rows in the order of `pk`. Raises `ArchiveDamaged` for what cannot be read as such a file."""
        ...

    async def find(self, path: Path, post_id: str) -> ArchiveRow | None:
        """One post. Raises `ArchiveDamaged`."""
        ...


class Claim(msgspec.Struct, frozen=True):
    """Posts of one source and day that one mover is archiving, until its lease runs out."""

    file_id: int
    name: str
    """The file's name in the archive, never used by another claim."""
    source: str
    day: str
    rows: int


class Released(msgspec.Struct, frozen=True):
    """One post as it was written: what has to be unchanged for it to leave Postgres."""

    pk: int
    rev: str
    key: bytes
    author_key: int


class ClaimStore(Protocol):
    """The mover's side of Postgres. Every method raises `StoreUnavailable`."""

    async def claim(self, *, hot_s: float, limit: int, lease_s: float) -> Claim | None:
        """Claim posts of the oldest day that is over and past the hot window, by the database's clock.

        Two movers never claim the same post. None when there is nothing to archive.
        """
        ...

    def claimed(self, claim: Claim) -> AsyncIterator[Sequence[ArchiveRow]]:
        """The claimed posts as they are now, in the order of `pk`."""
        ...

    async def release(self, claim: Claim, manifest: Manifest, posts: Sequence[Released]) -> bool:
        """Take archived posts out of Postgres, in one transaction that makes the file the place where they are.

        False, and the claim is given up, where a post has changed since it was read or the lease had run out.
        """
        ...

    async def give_up(self, claim: Claim) -> bool:
        """The posts are free again, and the file is left to be discarded. False where the claim was lost already."""
        ...

    async def expire(self) -> int:
        """Give up the claims whose lease has run out; answers how many there were."""
        ...

    async def discarded(self) -> Sequence[tuple[int, str]]:
        """Files that are in nobody's use, as id and name: to be deleted from the archive."""
        ...

    async def forget(self, file_id: int) -> None:
        """A discarded file was deleted. Its row goes once no mover can still be writing it."""
        ...


class ArchivedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of the archive as Postgres knows it."""

    id: int
    manifest: Manifest
    withdrawn: int
    """Posts in it that must not be shown any more."""


class ArchivedPost(msgspec.Struct, frozen=True):
    pk: int
    post: Post
    file: str
    """The name of the file that holds it."""


class ArchiveReader(Protocol):
    async def post(self, post_id: str) -> ArchivedPost | None:
        """An archived post that may still be shown.

        Raises:
            StoreUnavailable: Postgres, which knows where it is, cannot be reached.
            ArchiveUnavailable: the file cannot be fetched, or is damaged.
        """
        ...


class Withdrawal(msgspec.Struct, frozen=True):
    """What has been withdrawn of one file since it was archived and is still counted."""

    file: ArchivedFile
    revs: Mapping[bytes, str]
    """By key of the post, the revision of its deletion."""
    authors: Authors


class ArchiveIndex(Protocol):
    """Which post is in which file, and what has been withdrawn. Every method raises `StoreUnavailable`."""

    async def files(
        self, *, since: str | None = None, until: str | None = None, source: str | None = None
    ) -> Sequence[ArchivedFile]:
        """Oldest day first. `since` is the first day, `until` the last."""
        ...

    async def file_of(self, post_id: str) -> ArchivedFile | None: ...

    async def withdrawn(self, file_ids: Sequence[int]) -> tuple[Mapping[int, frozenset[bytes]], Authors]:
        """What must not be shown of these files: keys of posts by file, and accounts."""
        ...

    async def names(self) -> frozenset[str]:
        """Of every file that is archived, being written or waiting to be deleted."""
        ...

    async def pending(self, after: int = 0) -> Withdrawal | None:
        """The first file with an id above `after` of which something withdrawn is still counted; None for none."""
        ...

    async def settle(self, withdrawal: Withdrawal, gone: Sequence[ArchiveRow], kept: Sequence[bytes]) -> int:
        """In one transaction: subtract what `gone` counted, each post once however often this is called.

        `kept` are keys whose post is newer than its deletion, and stays. Answers how many posts were subtracted.
        """
        ...

    async def restore(self, file: ArchivedFile, rows: Sequence[ArchiveRow]) -> int | None:
        """Bring these posts of a file back into Postgres, in one transaction that discards the file.

        Answers how many came back, 0 for a file that is in use no longer. None, and nothing has happened, where
        withdrawals have to be settled first.
        """
        ...


# ------------------------------------------------------------------ cleanup
class Sweep(Protocol):
    """Something that is only kept for a while, or that has to be mended now and then."""

    name: str
    """A fixed word: it labels a metric."""

    async def sweep(self) -> int:
        """One bounded bite, in a transaction of its own; answers how much it dealt with, 0 when nothing is left.

        Raises:
            StoreUnavailable, VectorIndexUnavailable: it goes on another time.
        """
        ...


class VectorLedger(Protocol):
    """What Postgres knows of the points in the vector index. Every method raises `StoreUnavailable`."""

    async def indexed(self, after: int, until: int | None, limit: int) -> Sequence[int]:
        """Posts that have a point, with `after < pk <= until`, ascending."""
        ...

    async def ownerless(self, pks: Sequence[int]) -> Sequence[int]:
        """Those that belong to no post, and of which nothing waits in the outbox."""
        ...

    async def index_again(self, pks: Sequence[int]) -> int:
        """Queue these posts as if they had never been indexed."""
        ...


# ------------------------------------------------------------------ live clients
class ClientGone(Exception):
    """The client closed its socket or lost its connection."""


class ClientSocket(Protocol):
    """One accepted WebSocket, whatever server holds it."""

    async def receive(self) -> str:
        """The next text frame. Raises `ClientGone`."""
        ...

    async def send(self, text: str) -> None:
        """Returns once the transport has taken it, so a slow client makes it wait. Raises `ClientGone`."""
        ...

    async def close(self, code: int, reason: str) -> None: ...


class RemoteClient(msgspec.Struct, frozen=True):
    """A client whose socket is held elsewhere, as the registry knows it."""

    connection_id: str
    topics: tuple[str, ...] = ()
    paused_at: int | None = None
    """The `seq` up to which everything had been sent when it paused; None while it is not paused."""
    greeted_at: int | None = None
    """The newest `seq` when it was greeted; None before its first frame."""


class ConnectionRegistry(Protocol):
    """Who is connected where sockets are held elsewhere. Every method raises `StoreUnavailable`."""

    async def add(self, connection_id: str) -> None: ...

    async def remove(self, connection_ids: Sequence[str]) -> None: ...

    async def update(self, connection_id: str, change: Callable[[RemoteClient, int], RemoteClient]) -> None:
        """Store what `change` makes of the client, given the newest `seq`. Frames of one client come one by one.

        A client that is not known yet is added: its connecting may have been lost.
        """
        ...

    async def greeted(self, limit: int) -> Sequence[RemoteClient]:
        """Everybody who has been greeted, the longest connected first."""
        ...

    async def look_up(self, connection_ids: Sequence[str]) -> Sequence[RemoteClient]:
        """Those of the given who are there and have been greeted."""
        ...

    def changes(self, stop: asyncio.Event) -> AsyncIterator[frozenset[str]]:
        """The ids of clients that have changed, as soon as they do, until `stop`. An empty set asks to read all.

        Begins with an empty set, and yields one again after every interruption: changes may have been missed.
        """
        ...

    async def spend(self, messages: int) -> Allowance:
        """Add to what this month has cost; answers the sum and how long the month lasts."""
        ...


class RemoteGone(Exception):
    """The far end says that there is no such connection any more."""


class RemoteThrottled(Exception):
    """The far end takes no more for now. `retry_after_s` is None where it does not say for how long."""

    def __init__(self, retry_after_s: float | None = None) -> None:
        super().__init__("too many messages for the moment")
        self.retry_after_s = retry_after_s


class RemoteSender(Protocol):
    """Sends to sockets that are held elsewhere, over connections that are kept alive."""

    async def post(self, connection_id: str, frame: str) -> None:
        """Return once the far end has taken the frame.

        Raises:
            RemoteGone: nobody is there any more.
            RemoteThrottled: too many messages.
            OSError: it could not be reached, or answered with a failure of its own.
        """
        ...

    async def disconnect(self, connection_id: str) -> None:
        """Close the client's socket. Raises as `post` does."""
        ...


class Hub(Broadcaster, Protocol):
    """A broadcaster that holds the clients' sockets itself."""

    @property
    def full(self) -> bool:
        """Whether it takes no more clients for now."""
        ...

    async def attend(self, socket: ClientSocket) -> None:
        """Serve one client until it leaves or is sent away. Never raises for what the client does."""
        ...
