/** The API's answers, as its response models write them. Instants are RFC 3339 texts in UTC. */

export interface Entity {
  key: string;
  kind: string;
  name: string;
  display: string;
}

export interface Post {
  id: string;
  source: string;
  author: string;
  text: string;
  lang: string | null;
  created_at: string | null;
  event_time: string;
  entities: Entity[];
  reply_to: string | null;
  quote_of: string | null;
  url: string | null;
  /** What its author says of it. Absent from an API of an earlier release. */
  labels?: string[];
}

export const STAGES = ["dormant", "emerging", "rising", "peaking", "fading"] as const;
export type Stage = (typeof STAGES)[number];

/** How fast it goes over a window. Null: too little of it was observed. */
export interface Slope {
  /** Mentions a minute. */
  velocity: number | null;
  /** Mentions a minute, a minute. */
  acceleration: number | null;
}

/** What a score is made of; docs/momentum.md says how. Empty for rows that an earlier release wrote. */
export interface Parts {
  /** Voices that are usual in the last five minutes: mentions, each author at most once a minute. */
  expected?: number;
  /** Standard deviations above what is usual: in five minutes, and in six hours. */
  fast?: number;
  slow?: number;
  /** Minus the decimal logarithm of the chance that an ordinary day gets here, before it is tempered. */
  surprisal?: number;
  /** 0 to 1: what it is tempered by where few authors say much, and where posts are copies. */
  crowd?: number;
  originality?: number;
  /** By window: `5m`, `15m`, `1h`, `6h`, `24h`. */
  slopes?: Record<string, Slope>;
}

/** A change of stage, as a `momentum.stage` frame tells it. */
export interface StageChange {
  entity: string;
  at: string;
  from_stage: Stage;
  stage: Stage;
  score: number;
}

export interface Momentum {
  entity: string;
  kind: string;
  name: string;
  display: string;
  as_of: string;
  stage: Stage;
  stage_since: string;
  /** In the last 15 minutes. */
  mentions: number;
  /** Distinct, in the last 15 minutes. */
  authors: number;
  /** Mentions a minute. */
  velocity: number;
  /** Mentions a minute, a minute. */
  acceleration: number;
  surprise: number;
  /** 0 to 1. */
  score: number;
  /** Mentions a minute over the last 30 minutes, oldest first; null where nothing was observed. */
  sparkline: (number | null)[];
  parts: Parts;
  /** What its posts have in common, in a few words. Listings say it, frames do not. */
  label?: string | null;
}

/** An entity that is named together with another more often than chance has it. */
export interface Related {
  entity: string;
  kind: string;
  name: string;
  display: string;
  stage: Stage | null;
  /** Who named both. */
  authors: number;
}

export interface Gap {
  id: number;
  source: string;
  cause: string;
  detail: string;
  started_at: string;
  ended_at: string | null;
  backfilled: boolean;
}

/** A page of a listing. */
export interface Page<T> {
  data: T[];
  next_cursor: string | null;
  as_of: string;
  /** Short words for what was missing while this was answered. */
  degraded: string[];
}

/** The broadcast frames after a cursor, which is a `seq`. */
export interface EventsAnswer extends Page<unknown> {
  newest_cursor: string;
  /** Whether events after the cursor are not kept any more. */
  truncated: boolean;
}

export interface SearchHit {
  post: Post;
  score: number;
  /** Further posts that say the same. */
  similar: number;
  /** Where the text says what was asked for: start and end (exclusive), in Unicode code points. */
  highlights: readonly (readonly [number, number])[];
  /** Whether it is in the archive, where only its id finds it. */
  archived: boolean;
  /** Leg to the rank it gave the post: why it is here. There when the search was asked to explain. */
  ranks: Record<string, number> | null;
}

export interface SearchAnswer extends Page<SearchHit> {
  /** The legs that ran, of `lexical` and `semantic`; or `id`, where the query was a post's. */
  legs: string[];
}

export interface SeriesBucket {
  time: string;
  mentions: number | null;
  authors: number | null;
  /** Mentions per observed minute. */
  rate: number | null;
  /** 0 to 1. */
  coverage: number;
}

/** How far back a series goes: those of the API's choices that the page offers. */
export const SERIES_WINDOWS = ["1h", "6h", "1d"] as const;
export type SeriesWindow = (typeof SERIES_WINDOWS)[number];

export interface Series {
  /** Null while the entity has no momentum. */
  current: Momentum | null;
  label: { text: string; posts: number; authors: number } | null;
  /** The surest first. */
  related: Related[];
  /** Oldest first. */
  data: SeriesBucket[];
  config: { entity: string; window: string; bucket: string; bucket_s: number };
  as_of: string;
  degraded: string[];
}

export interface SourceMinute {
  source: string;
  time: string;
  posts: number | null;
  coverage: number;
}

export interface Stats {
  /** Oldest first. */
  minutes: SourceMinute[];
}

export interface SourceStatus {
  source: string;
  state: "live" | "catching-up" | "stale" | "disconnected" | "stopped" | "ended";
  /** Whether its posts are invented. */
  simulated: boolean;
  /** Seconds since anything of it was stored. */
  age_s: number | null;
  /** Seconds that its event time is behind the present. */
  lag_s: number | null;
}

export interface ComponentStatus {
  component: string;
  state: string;
  why: string | null;
}

export interface Status {
  version: string;
  sources: SourceStatus[];
  components: ComponentStatus[];
  degraded: string[];
}
