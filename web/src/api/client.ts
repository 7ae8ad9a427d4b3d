import { toFrame } from "../live/frames";
import type { EventsPage } from "../live/protocol";
import type {
  EventsAnswer,
  Gap,
  Momentum,
  Page,
  Post,
  SearchAnswer,
  Series,
  SeriesWindow,
  Stats,
  Status,
} from "./types";

/** What the API said was wrong (RFC 9457), or what kept it from being asked. Fit to be shown. */
export class ApiError extends Error {
  constructor(
    message: string,
    readonly status: number,
  ) {
    super(message);
  }
}

type Query = Record<string, string | number | undefined>;
type Fetch = (url: string, init: RequestInit) => Promise<Response>;

const TIMEOUT_MS = 15_000;
const EVENTS_PER_PAGE = 200;

/** The REST API, typed. Every method throws `ApiError`; an aborted request throws what the signal says. */
export class Api {
  readonly #base: string;
  readonly #fetch: Fetch;

  constructor(base: string, fetcher: Fetch = (url, init) => fetch(url, init)) {
    this.#base = base;
    this.#fetch = fetcher;
  }

  posts(query: { entity?: string; limit?: number }, signal?: AbortSignal): Promise<Page<Post>> {
    return this.#get("/v1/posts", query, signal);
  }

  momentum(limit: number): Promise<Page<Momentum>> {
    return this.#get("/v1/momentum", { limit });
  }

  series(kind: string, name: string, window: SeriesWindow, signal?: AbortSignal): Promise<Series> {
    const path = `/v1/momentum/${encodeURIComponent(kind)}/${encodeURIComponent(name)}`;
    return this.#get(path, { window }, signal);
  }

  search(q: string, limit: number, signal?: AbortSignal): Promise<SearchAnswer> {
    return this.#get("/v1/search", { q, limit, explain: "true" }, signal);
  }

  similar(post: string, limit: number, signal?: AbortSignal): Promise<SearchAnswer> {
    return this.#get(`/v1/posts/${encodeURIComponent(post)}/similar`, { limit, explain: "true" }, signal);
  }

  gaps(limit: number): Promise<Page<Gap>> {
    return this.#get("/v1/gaps", { limit });
  }

  status(): Promise<Status> {
    return this.#get("/v1/status", {});
  }

  stats(): Promise<Stats> {
    return this.#get("/v1/stats", {});
  }

  /** The broadcast frames after `seq`; without it none, but where the sequence stands. */
  async events(seq: number | null): Promise<EventsPage> {
    const page = await this.#get<EventsAnswer>("/v1/events", {
      cursor: seq ?? undefined,
      limit: EVENTS_PER_PAGE,
    });
    return {
      frames: page.data.flatMap((value) => toFrame(value) ?? []),
      next: page.next_cursor === null ? null : Number(page.next_cursor),
      newest: Number(page.newest_cursor),
      truncated: page.truncated,
    };
  }

  async #get<T>(path: string, query: Query, signal?: AbortSignal): Promise<T> {
    const timeout = AbortSignal.timeout(TIMEOUT_MS);
    let response: Response;
    try {
      response = await this.#fetch(this.#base + path + queryString(query), {
        headers: { accept: "application/json" },
        signal: signal === undefined ? timeout : AbortSignal.any([signal, timeout]),
      });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new ApiError("The platform does not answer: it may be starting, or the network is down.", 0);
    }
    if (!response.ok) throw new ApiError(await problem(response), response.status);
    return (await response.json()) as T;
  }
}

function queryString(query: Query): string {
  const given = Object.entries(query).flatMap(([name, value]) =>
    value === undefined ? [] : [[name, String(value)]],
  );
  return given.length === 0 ? "" : `?${new URLSearchParams(given)}`;
}

async function problem(response: Response): Promise<string> {
  try {
    const body = (await response.json()) as { detail?: unknown; title?: unknown };
    if (typeof body.detail === "string") return body.detail;
    if (typeof body.title === "string") return body.title;
  } catch {
    // Not a problem document: something between us and the platform answered, and the status is all it said.
  }
  return `The platform answered with status ${response.status}.`;
}
