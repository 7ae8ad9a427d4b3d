"""The shape of every answer, for OpenAPI and for the tests that hold the answers against it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from functions.api.parameters import Kind, Stage

Time = Annotated[str, Field(json_schema_extra={"format": "date-time"}, examples=["2026-07-04T14:38:06Z"])]


class Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Listed(Answer):
    next_cursor: Annotated[
        str | None, Field(description="Give it back as `cursor` for the next page; null at the end.")
    ]
    as_of: Annotated[Time, Field(description="The database's time of this answer.")]
    degraded: Annotated[
        list[str], Field(description="Short words for what is missing or behind; empty when all is well.")
    ]


class Problem(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: Annotated[int, Field(ge=400, le=599)]
    detail: Annotated[str, Field(description="What happened, what it means, what to do.")]
    instance: str
    field: Annotated[str | None, Field(description="The part of the request at fault, where one is.")] = None


class Entity(Answer):
    key: Annotated[str, Field(examples=["ticker:BTC"])]
    kind: Kind
    name: Annotated[str, Field(examples=["BTC"])]
    display: Annotated[str, Field(examples=["$BTC"])]


class Post(Answer):
    id: Annotated[str, Field(examples=["at://did:plc:abc/app.bsky.feed.post/3k"])]
    source: str
    author: str
    text: str
    lang: str | None
    created_at: Annotated[Time | None, Field(description="What the author claims: untrusted.")]
    event_time: Annotated[Time, Field(description="The source's clock: what momentum counts by.")]
    entities: list[Entity]
    reply_to: str | None
    quote_of: str | None
    url: Annotated[str | None, Field(description="Where a person can read the post.")]
    labels: Annotated[
        list[str],
        Field(description="What the author says of it: `porn`, `sexual`, `nudity`, `graphic-media`, and others."),
    ]


class PostAnswer(Answer):
    data: Post
    archived: Annotated[bool, Field(description="Whether it is in the archive: not listed, and found by its id alone.")]
    as_of: Time


class PostList(Listed):
    data: list[Post]


class SearchHit(Answer):
    post: Post
    score: float
    similar: Annotated[
        int,
        Field(ge=0, description="Further posts that say the same, in these words or nearly. This one stands for them."),
    ]
    highlights: Annotated[
        list[Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=2, max_length=2)]],
        Field(
            description="Where `post.text` says what was asked for: start and end (exclusive), counted in Unicode code "
            "points, in order, apart from each other.",
            examples=[[[0, 7], [21, 25]]],
        ),
    ]
    archived: Annotated[bool, Field(description="Whether it is in the archive, where only its id finds it.")]
    ranks: Annotated[dict[str, int] | None, Field(description="With `explain`: the rank that each leg gave.")] = None
    parts: Annotated[
        dict[str, float] | None,
        Field(description="With `explain`: what each leg, and `recency`, added to the score."),
    ] = None


class SearchList(Listed):
    data: list[SearchHit]
    legs: Annotated[list[str], Field(description="The legs that ran, of `lexical` and `semantic`; or `id`.")]


class Momentum(Answer):
    entity: Annotated[str, Field(examples=["ticker:BTC"])]
    kind: Kind
    name: str
    display: str
    as_of: Time
    stage: Stage
    stage_since: Time
    mentions: Annotated[int, Field(description="Mentions in the last 15 minutes.")]
    authors: Annotated[int, Field(description="Distinct authors in the last 15 minutes.")]
    velocity: Annotated[float, Field(description="Mentions a minute over the last 5 observed minutes.")]
    acceleration: Annotated[float, Field(description="Mentions a minute, a minute.")]
    surprise: Annotated[float, Field(description="Of the last 5 minutes: standard deviations above what is usual.")]
    score: Annotated[float, Field(description="0 to 1: the chance that an ordinary day of it stays below this.")]
    sparkline: Annotated[
        list[float | None],
        Field(description="Mentions a minute over the last 30 minutes, oldest first; null where nothing was observed."),
    ]
    parts: Annotated[dict[str, Any], Field(description="What the score is made of: see the page on momentum.")]


class Mover(Momentum):
    label: Annotated[
        str | None,
        Field(
            description="What its posts have in common, in a few words; null where nothing was found, or for the past."
        ),
    ]


class MomentumList(Listed):
    data: list[Mover]


class LabelPhrase(Answer):
    phrase: str
    authors: Annotated[int, Field(description="Of the posts looked at: who uses it, copies left out.")]
    z: Annotated[float, Field(description="How far it sets these posts apart from others, in standard deviations.")]


class Label(Answer):
    text: Annotated[str, Field(examples=["rate cut · emergency meeting"])]
    phrases: Annotated[list[LabelPhrase], Field(description="The most telling first.")]
    posts: Annotated[int, Field(description="That it was made from: the latest of the hour, copies left out.")]
    authors: int
    as_of: Annotated[Time, Field(description="Event time: the end of that hour.")]


class Related(Answer):
    entity: Annotated[str, Field(examples=["hashtag:fomc"])]
    kind: Kind
    name: str
    display: str
    stage: Annotated[Stage | None, Field(description="Null where it has no momentum.")]
    posts: Annotated[int, Field(description="Of the posts looked at, those that name both; copies left out.")]
    authors: int
    npmi: Annotated[float, Field(ge=-1, le=1, description="Normalised pointwise mutual information.")]
    g2: Annotated[float, Field(description="Log-likelihood ratio: how surely this is no chance.")]


class GraphNode(Answer):
    entity: str
    kind: Kind
    name: str
    display: str
    stage: Stage
    score: float
    velocity: float
    label: str | None
    group: Annotated[
        str, Field(description="The strongest mover of the same story: those who share it belong together.")
    ]


class GraphLink(Answer):
    source: Annotated[str, Field(description="An entity key. Links have no direction; the names are in order.")]
    target: str
    posts: int
    authors: int
    npmi: Annotated[float, Field(ge=-1, le=1)]
    g2: float


class GraphAnswer(Answer):
    nodes: Annotated[list[GraphNode], Field(description="Movers, highest score first.")]
    links: list[GraphLink]
    as_of: Time
    degraded: list[str]


class Bucket(Answer):
    time: Annotated[Time, Field(description="Start of the bucket.")]
    mentions: Annotated[int | None, Field(description="Null where nothing was observed.")]
    authors: Annotated[int | None, Field(description="Distinct within the bucket.")]
    rate: Annotated[float | None, Field(description="Mentions per observed minute.")]
    coverage: Annotated[float, Field(ge=0, le=1, description="The observed part of what has passed of the bucket.")]


class Gap(Answer):
    id: int
    source: str
    cause: str
    detail: str
    started_at: Annotated[Time, Field(description="Event time: the last instant that was seen.")]
    ended_at: Annotated[Time | None, Field(description="Event time: the first instant seen again; null while open.")]
    backfilled: Annotated[bool, Field(description="Whether the source sent later what was missed.")]
    opened_at: Time
    closed_at: Time | None


class StageChange(Answer):
    time: Time
    from_stage: Stage
    stage: Stage
    score: float
    evidence: Annotated[dict[str, Any], Field(description="The numbers that made it.")]


class SeriesConfig(Answer):
    """How the history was answered."""

    entity: str
    window: str
    bucket: str
    window_s: int
    bucket_s: int
    resolution_s: Annotated[int, Field(description="The resolution of the counts that older buckets are made from.")]
    since: Time
    until: Time
    as_of: Annotated[Time | None, Field(description="Time travel: the instant up to which things count; null for now.")]


class SeriesAnswer(Answer):
    current: Annotated[
        Momentum | None, Field(description="Now, or with `as_of` then. Null where the entity has no momentum.")
    ]
    label: Annotated[Label | None, Field(description="What its posts have in common; null where nothing was found.")]
    related: Annotated[
        list[Related], Field(description="Entities named with it more often than chance has it, the surest first.")
    ]
    data: Annotated[list[Bucket], Field(description="Oldest first.")]
    gaps: Annotated[list[Gap], Field(description="Those that overlap the window, oldest first.")]
    stage_changes: Annotated[list[StageChange], Field(description="Those within the window, oldest first.")]
    config: SeriesConfig
    as_of: Time
    degraded: list[str]


class Insight(Answer):
    id: int
    kind: str
    title: str
    body: str
    entities: list[str]
    post_ids: list[str]
    model: Annotated[str | None, Field(description="Null: extractive, no model took part.")]
    created_at: Time


class InsightList(Listed):
    data: list[Insight]


class Correction(Answer):
    at: Annotated[Time, Field(description="When the last of them was withdrawn.")]
    withdrawn: Annotated[int, Field(description="Mentions that the alert rested on and that were withdrawn since.")]


class Alert(Answer):
    id: int
    rule_id: Annotated[int | None, Field(description="Null once the rule was deleted.")]
    entity: str
    kind: Kind
    name: str
    display: str
    stage: Stage
    score: float
    at: Time
    evidence: dict[str, Any]
    corrected: Annotated[
        Correction | None, Field(description="Null while all posts stand that it rested on: 15 minutes before it.")
    ]


class AlertList(Listed):
    data: list[Alert]


class Rule(Answer):
    id: int
    entity: Annotated[str | None, Field(description="Null: any entity.")]
    kind: Annotated[Kind | None, Field(description="Null: any kind.")]
    stage: Stage
    min_score: float
    created_at: Time


class RuleAnswer(Answer):
    data: Rule


class RuleList(Listed):
    data: list[Rule]


class GapList(Listed):
    data: list[Gap]


class BroadcastFrame(Answer):
    v: Literal[1]
    type: str
    seq: Annotated[int | None, Field(description="Null on all but the last part of an event that was sent in parts.")]
    ts: Time
    live: bool
    data: dict[str, Any]


class EventList(Listed):
    data: list[BroadcastFrame]
    oldest_cursor: Annotated[str, Field(description="The earliest `cursor` from which nothing is missing.")]
    newest_cursor: Annotated[str, Field(description="The cursor of the newest event.")]
    truncated: Annotated[
        bool, Field(description="Whether events after `cursor` are not kept any more: read the listings afresh.")
    ]


class SourceTotal(Answer):
    source: str
    posts: int
    since: Time | None


class SourceMinute(Answer):
    source: str
    time: Time
    posts: Annotated[int | None, Field(description="Null where the minute was not watched.")]
    coverage: Annotated[float, Field(ge=0, le=1)]


class Totals(Answer):
    posts: int
    entities: Annotated[int, Field(description="Entities with momentum now.")]
    alerts: int
    insights: int
    events: Annotated[int, Field(description="`seq` of the newest broadcast event.")]


class StatsAnswer(Answer):
    totals: Totals
    sources: list[SourceTotal]
    minutes: Annotated[list[SourceMinute], Field(description="Posts a minute by source, oldest first.")]
    as_of: Time
    degraded: list[str]


class SourceCondition(Answer):
    source: str
    state: Literal["live", "catching-up", "stale", "disconnected", "stopped", "ended"]
    simulated: Annotated[bool, Field(description="Whether its posts are invented.")]
    age_s: Annotated[
        float | None,
        Field(description="Seconds since anything of it was stored, be it that it was watched and said nothing."),
    ]
    last_frame_at: Annotated[
        Time | None, Field(description="When its last frame was received. Null: not since its relay was started.")
    ]
    lag_s: Annotated[float | None, Field(description="Seconds that its event time is behind the present.")]
    covered_until: Time | None
    gap: Annotated[Gap | None, Field(description="The open one.")]


class ComponentCondition(Answer):
    component: str
    state: str
    why: str | None
    since: Time
    updated_at: Time
    detail: dict[str, Any]


class StatusAnswer(Answer):
    version: str
    sources: list[SourceCondition]
    components: list[ComponentCondition]
    as_of: Time
    degraded: list[str]


class Alive(Answer):
    status: Literal["alive"]
    version: str


class Check(Answer):
    name: str
    ok: bool
    why: str | None


class Ready(Answer):
    status: Literal["ready"]
    version: str
    checks: list[Check]


class SiteConfig(Answer):
    apiUrl: str  # noqa: N815 - the site's own spelling
    wsUrl: str  # noqa: N815 - the site's own spelling
    version: str
    contact: str
