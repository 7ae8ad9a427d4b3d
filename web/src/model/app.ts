import { batch, computed, effect, type ReadonlySignal, signal, untracked } from "@preact/signals";
import { type Api, ApiError } from "../api/client";
import type {
  Gap,
  Momentum,
  Post,
  SearchAnswer,
  Series,
  SeriesWindow,
  StageChange,
  Stats,
  Status,
} from "../api/types";
import type { Frame } from "../live/frames";
import type { Link } from "../live/protocol";
import type { LiveShell } from "../live/shell";
import { parseRoute, type Route } from "../route";
import { shortDisplay } from "../text/names";
import { arrive, EMPTY_FEED, type Feed, listing, release, withdraw } from "./feed";
import { type Freshness, freshness } from "./health";
import { changeStage, merge } from "./movers";
import { retractFromEntity, retractFromSearch } from "./retract";
import { Sampler } from "./sampler";

/** Something asked for over REST: on its way, here, or refused with a sentence. */
export type Loaded<T> = { state: "loading" } | { state: "here"; value: T } | { state: "failed"; why: string };

export interface OpenEntity {
  key: string;
  series: Loaded<Series>;
  posts: Loaded<readonly Post[]>;
}

const MOVERS = 50;
const STREAM_START = 40;
const ENTITY_POSTS = 12;
const SEARCH_HITS = 30;
/** At most this many posts join the stream at a time: about five a second is what can be followed. */
const POSTS_PER_BEAT = 4;
const BEAT_MS = 750;
const CLOCK_MS = 1_000;
const STATUS_EVERY_MS = 10_000;
const MOVERS_EVERY_MS = 60_000;
const SERIES_EVERY_MS = 20_000;

const BASE_TOPICS = ["momentum", "status", "gaps"];

/** What was asked, `query` being null where a post is the question, and the answer. */
export interface OpenSearch {
  query: string | null;
  answer: Loaded<SearchAnswer>;
}

/** Everything the page knows, as signals, and what can be done to it. */
export class App {
  readonly link = signal<Link>("connecting");
  readonly reachable = signal(true);
  readonly heardAt = signal(Date.now());
  /** Seconds in which the page hears something at the latest, where all is well. */
  readonly beatS = signal(STATUS_EVERY_MS / 1000);
  /** The platform's time: this machine's, corrected by what the platform's frames say. */
  readonly now = signal(Date.now());
  readonly status = signal<Status | null>(null);
  readonly stats = signal<Stats | null>(null);
  readonly gap = signal<Gap | null>(null);
  readonly degraded = signal<readonly string[]>([]);
  /** What the API said when it last refused to answer; null once it answers again. */
  readonly refusal = signal<string | null>(null);
  readonly version = signal("");

  readonly movers = signal<Loaded<readonly Momentum[]>>({ state: "loading" });
  readonly feed = signal<Feed>(EMPTY_FEED);
  readonly feedState = signal<Loaded<true>>({ state: "loading" });
  /** How many posts arrived for each one shown, over the last beats. */
  readonly sampled = signal(1);
  /** Why the stream stands still: by the button, by the pointer, by the scroll position. */
  readonly holds = signal<ReadonlySet<string>>(new Set());
  readonly held: ReadonlySignal<boolean> = computed(() => this.holds.value.size > 0);
  readonly filter = signal<string | null>(null);

  readonly route = signal<Route>({ view: "overview" });
  readonly entity = signal<OpenEntity | null>(null);
  readonly window = signal<SeriesWindow>("1h");
  readonly search = signal<OpenSearch | null>(null);

  readonly #api: Api;
  readonly #sampler = new Sampler<Post>(POSTS_PER_BEAT);
  #shell: LiveShell | null = null;
  #clockOffsetMs = 0;
  #asked: AbortController | null = null;
  #feedGeneration = 0;

  constructor(api: Api) {
    this.#api = api;
  }

  start(shell: LiveShell): void {
    this.#shell = shell;
    const follow = () => {
      this.route.value = parseRoute(location.hash);
    };
    window.addEventListener("hashchange", follow);
    follow();
    effect(() => {
      const route = this.route.value;
      untracked(() => this.#open(route));
    });
    setInterval(() => this.#beat(), BEAT_MS);
    setInterval(() => {
      this.now.value = Date.now() + this.#clockOffsetMs;
    }, CLOCK_MS);
    whileShown(STATUS_EVERY_MS, () => this.#loadStatus());
    whileShown(MOVERS_EVERY_MS, () => this.#loadMovers());
    whileShown(SERIES_EVERY_MS, () => this.#reloadSeries());
    shell.start();
  }

  /** How old what is on the screen is. Follows the clock. */
  readonly quietS: ReadonlySignal<number> = computed(() => {
    this.now.value;
    return Math.max(0, (Date.now() - this.heardAt.value) / 1000);
  });
  readonly fresh: ReadonlySignal<Freshness> = computed(() => freshness(this.quietS.value, this.beatS.value));

  topics(): string[] {
    const entity = this.filter.value;
    return [...BASE_TOPICS, entity === null ? "posts" : `posts?entity=${encodeURIComponent(entity)}`];
  }

  momentumOf(key: string): Momentum | null {
    const movers = this.movers.value;
    const listed = movers.state === "here" ? movers.value.find((row) => row.entity === key) : undefined;
    if (listed !== undefined) return listed;
    const open = this.entity.value;
    return open?.key === key && open.series.state === "here" ? open.series.value.current : null;
  }

  /** How people write an entity: as the platform says, or from its key until it has said. */
  display(key: string): string {
    const known = this.momentumOf(key);
    if (known !== null) return shortDisplay(known);
    const open = this.entity.value;
    const posts = open?.key === key && open.posts.state === "here" ? open.posts.value : [];
    for (const post of posts) {
      const entity = post.entities.find((each) => each.key === key);
      if (entity !== undefined) return shortDisplay(entity);
    }
    const colon = key.indexOf(":");
    const [kind, name] = [key.slice(0, colon), key.slice(colon + 1)];
    const sign = { ticker: "$", hashtag: "#", mention: "@" }[kind] ?? "";
    return shortDisplay({ kind, name, display: sign + name });
  }

  /** Read everything that the page shows over REST. */
  refresh(): void {
    void this.#loadMovers();
    void this.#loadFeed();
    void this.#loadStatus();
    void this.#loadGap();
  }

  linkChanged(link: Link): void {
    this.link.value = link;
  }

  framesArrived(frames: readonly Frame[]): void {
    batch(() => {
      for (const frame of frames) this.#take(frame);
      this.#heard();
    });
  }

  hold(reason: string, on: boolean): void {
    if (this.holds.value.has(reason) === on) return;
    const holds = new Set(this.holds.value);
    if (on) holds.add(reason);
    else holds.delete(reason);
    this.holds.value = holds;
    if (holds.size === 0) this.feed.value = release(this.feed.value);
  }

  showWaiting(): void {
    this.feed.value = release(this.feed.value);
  }

  filterStream(entity: string | null): void {
    if (this.filter.value === entity) return;
    this.filter.value = entity;
    this.#shell?.setTopics(this.topics());
    // What is about to be shown was let through by the filter before.
    this.#sampler.take();
    this.feed.value = EMPTY_FEED;
    this.feedState.value = { state: "loading" };
    void this.#loadFeed();
  }

  /** Look further back, or less far, in the open entity's history. */
  lookBack(window: SeriesWindow): void {
    this.window.value = window;
    void this.#reloadSeries();
  }

  retrySearch(): void {
    this.#open(this.route.peek());
  }

  #take(frame: Frame): void {
    const { data } = frame;
    switch (frame.type) {
      case "hello":
        this.#clockOffsetMs = Number.isNaN(Date.parse(frame.ts)) ? 0 : Date.parse(frame.ts) - Date.now();
        if (typeof data.version === "string") this.version.value = data.version;
        if (typeof data.heartbeat_interval_s === "number")
          this.beatS.value = Math.min(data.heartbeat_interval_s, STATUS_EVERY_MS / 1000);
        if (Array.isArray(data.degraded)) this.degraded.value = data.degraded.map(String);
        break;
      case "posts.new": {
        const entity = this.filter.value;
        const posts = list<Post>(data.posts);
        this.#sampler.offer(
          entity === null ? posts : posts.filter((post) => post.entities.some(({ key }) => key === entity)),
        );
        break;
      }
      case "posts.deleted": {
        const ids = new Set(list<string>(data.ids));
        const gone = (post: Post) => ids.has(post.id);
        this.#sampler.withdraw(gone);
        this.feed.value = withdraw(this.feed.value, gone);
        this.entity.value = retractFromEntity(this.entity.peek(), gone);
        this.search.value = retractFromSearch(this.search.peek(), gone);
        break;
      }
      case "momentum.update":
        this.#merge(list<Momentum>(data.entities));
        break;
      case "momentum.stage":
        this.#changeStage(data as unknown as StageChange);
        break;
      case "gap":
        this.gap.value = data as unknown as Gap;
        break;
      case "status.update":
        void this.#loadStatus();
        break;
    }
  }

  #merge(rows: readonly Momentum[]): void {
    const known = this.movers.value.state === "here" ? this.movers.value.value : [];
    this.movers.value = { state: "here", value: merge(known, rows, this.entity.peek()?.key) };
  }

  #changeStage(change: StageChange): void {
    const movers = this.movers.value;
    if (movers.state === "here") {
      this.movers.value = { state: "here", value: [...changeStage(movers.value, change)] };
    }
  }

  #beat(): void {
    const { items, of } = this.#sampler.take();
    if (of === 0) return;
    batch(() => {
      // Smoothed, so that the number can be read.
      this.sampled.value += (of / Math.max(1, items.length) - this.sampled.value) / 8;
      this.feed.value = arrive(this.feed.value, items, this.held.value);
      if (this.feedState.value.state !== "here") this.feedState.value = { state: "here", value: true };
    });
  }

  #open(route: Route): void {
    this.#asked?.abort();
    this.#asked = new AbortController();
    const { signal: aborted } = this.#asked;
    const key = route.view === "entity" ? route.key : null;
    if (this.filter.peek() !== null && this.filter.peek() !== key) this.filterStream(null);
    this.entity.value =
      key === null ? null : { key, series: { state: "loading" }, posts: { state: "loading" } };
    const query = route.view === "search" ? route.query : null;
    const searches = route.view === "search" || route.view === "like";
    this.search.value = searches ? { query, answer: { state: "loading" } } : null;
    if (key !== null) this.#loadEntity(key, aborted);
    if (searches) {
      const asked =
        route.view === "search"
          ? this.#api.search(route.query, SEARCH_HITS, aborted)
          : this.#api.similar(route.post, SEARCH_HITS, aborted);
      void loading(asked, aborted, (answer) => {
        this.search.value = { query, answer };
      });
    }
  }

  #loadEntity(key: string, aborted: AbortSignal): void {
    void loading(this.#series(key, aborted), aborted, (series) => this.#patchEntity(key, { series }));
    void loading(
      this.#api.posts({ entity: key, limit: ENTITY_POSTS }, aborted).then((page) => page.data),
      aborted,
      (posts) => this.#patchEntity(key, { posts }),
    );
  }

  async #reloadSeries(): Promise<void> {
    const open = this.entity.peek();
    if (open === null || open.series.state === "loading") return;
    try {
      const window = this.window.peek();
      const series = await this.#series(open.key);
      if (window !== this.window.peek()) return;
      this.#patchEntity(open.key, { series: { state: "here", value: series } });
    } catch (error) {
      // The chart on the screen stays; the status strip says that the platform does not answer.
      this.#failed(error);
    }
  }

  #series(key: string, aborted?: AbortSignal): Promise<Series> {
    const colon = key.indexOf(":");
    return this.#api.series(key.slice(0, colon), key.slice(colon + 1), this.window.peek(), aborted);
  }

  #patchEntity(key: string, fields: Partial<OpenEntity>): void {
    const open = this.entity.peek();
    if (open?.key === key) this.entity.value = { ...open, ...fields };
  }

  async #loadMovers(): Promise<void> {
    try {
      const page = await this.#api.momentum(MOVERS);
      this.movers.value = { state: "here", value: merge([], page.data) };
      this.#heard(page.degraded);
    } catch (error) {
      const why = this.#failed(error);
      if (this.movers.value.state !== "here") this.movers.value = { state: "failed", why };
    }
  }

  async #loadFeed(): Promise<void> {
    this.#feedGeneration += 1;
    const generation = this.#feedGeneration;
    const entity = this.filter.peek();
    try {
      const page = await this.#api.posts(
        entity === null ? { limit: STREAM_START } : { entity, limit: STREAM_START },
      );
      if (generation !== this.#feedGeneration) return;
      const fresh = listing(page.data);
      this.feed.value = this.held.peek()
        ? arrive(this.feed.peek(), [...page.data].reverse(), this.feed.peek().shown.length > 0)
        : fresh;
      this.feedState.value = { state: "here", value: true };
      this.#heard(page.degraded);
    } catch (error) {
      const why = this.#failed(error);
      if (this.feedState.value.state !== "here") this.feedState.value = { state: "failed", why };
    }
  }

  async #loadStatus(): Promise<void> {
    try {
      const [status, stats] = await Promise.all([this.#api.status(), this.#api.stats()]);
      batch(() => {
        this.status.value = status;
        this.stats.value = stats;
        this.#heard(status.degraded);
      });
    } catch (error) {
      this.#failed(error);
    }
  }

  async #loadGap(): Promise<void> {
    try {
      this.gap.value = (await this.#api.gaps(1)).data[0] ?? null;
    } catch (error) {
      this.#failed(error);
    }
  }

  #heard(degraded?: readonly string[]): void {
    this.heardAt.value = Date.now();
    this.reachable.value = true;
    if (degraded === undefined) return;
    this.degraded.value = degraded;
    this.refusal.value = null;
  }

  #failed(error: unknown): string {
    if (!(error instanceof ApiError)) throw error;
    if (error.status === 0) this.reachable.value = false;
    else this.refusal.value = error.message;
    return error.message;
  }
}

async function loading<T>(
  promise: Promise<T>,
  aborted: AbortSignal,
  tell: (loaded: Loaded<T>) => void,
): Promise<void> {
  try {
    const value = await promise;
    if (!aborted.aborted) tell({ state: "here", value });
  } catch (error) {
    if (aborted.aborted) return;
    if (!(error instanceof ApiError)) throw error;
    tell({ state: "failed", why: error.message });
  }
}

function whileShown(everyMs: number, task: () => Promise<void>): void {
  setInterval(() => {
    if (!document.hidden) void task();
  }, everyMs);
}

function list<T>(value: unknown): T[] {
  return Array.isArray(value) ? (value as T[]) : [];
}
