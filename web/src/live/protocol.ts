import { backoffMs } from "./backoff";
import { concernsConnection, type Frame, parseFrame } from "./frames";

/** How the page gets its news. `asleep`: the tab is hidden and nothing is fetched. */
export type Link = "connecting" | "live" | "catching-up" | "polling" | "asleep";

/** `patience`: how long to wait for the socket before showing what REST knows. */
export type Timer = "reconnect" | "watchdog" | "poll" | "patience";

/** What the shell around the protocol has to do. */
export type Effect =
  | { do: "connect" }
  | { do: "close" }
  | { do: "send"; text: string }
  | { do: "set-timer"; timer: Timer; ms: number }
  | { do: "clear-timer"; timer: Timer }
  /** Null only asks where the sequence stands. */
  | { do: "fetch-events"; after: number | null }
  /** Hand these to the page, in order. */
  | { do: "deliver"; frames: Frame[] }
  /** Read everything again over REST: there is nothing yet, or too much was missed to replay. */
  | { do: "refresh" };

export interface EventsPage {
  frames: Frame[];
  /** Where the next page starts; null at the end. */
  next: number | null;
  /** The newest event that is stored. */
  newest: number;
  /** Whether what followed the cursor is not kept any more. */
  truncated: boolean;
}

export const CONNECT_TIMEOUT_MS = 8_000;
export const PATIENCE_MS = 1_500;
export const POLL_MS = 4_000;
export const POLL_AFTER_FAILURES = 3;
export const HELD_FRAMES = 500;
export const CATCH_UP_PAGES = 10;
const DEFAULT_HEARTBEAT_S = 15;
/** A heartbeat may be this much late before the connection counts as dead. */
const HEARTBEAT_GRACE = 2.5;

/**
 * The client's side of the live connection, without any I/O: every method takes what happened and returns what
 * to do about it. `shell.ts` moves the bytes.
 */
export class LiveProtocol {
  #topics: readonly string[];
  readonly #random: () => number;
  #socket: "none" | "opening" | "open" = "none";
  #link: Link = "connecting";
  #seq: number | null = null;
  #failures = 0;
  #hidden = false;
  #refreshed = false;
  #watchdogMs = CONNECT_TIMEOUT_MS;
  #held: Frame[] = [];
  #heldTooMany = false;
  #pages = 0;
  #newest = 0;

  constructor(topics: readonly string[], random: () => number) {
    this.#topics = topics;
    this.#random = random;
  }

  get link(): Link {
    return this.#link;
  }

  /** The last event that was delivered. */
  get seq(): number | null {
    return this.#seq;
  }

  started(): Effect[] {
    return [...this.#connect(), { do: "set-timer", timer: "patience", ms: PATIENCE_MS }];
  }

  opened(): Effect[] {
    this.#socket = "open";
    const effects: Effect[] = [send("subscribe", this.#topics)];
    if (this.#hidden) effects.push(send("pause"));
    return effects;
  }

  received(text: string): Effect[] {
    const frame = parseFrame(text);
    if (frame === null) return [];
    const effects: Effect[] = [];
    if (frame.type === "hello") effects.push(...this.#greeted(frame));
    if (!this.#hidden) effects.push({ do: "set-timer", timer: "watchdog", ms: this.#watchdogMs });
    if (concernsConnection(frame)) return effects;
    if (this.#link === "catching-up") this.#hold(frame);
    else effects.push(...this.#deliver([frame]));
    return effects;
  }

  closed(): Effect[] {
    this.#socket = "none";
    const effects: Effect[] = [{ do: "clear-timer", timer: "watchdog" }];
    if (this.#hidden) return effects;
    this.#failures += 1;
    effects.push({
      do: "set-timer",
      timer: "reconnect",
      ms: backoffMs(this.#failures, this.#random()),
    });
    effects.push(...this.#refreshOnce());
    if (this.#failures < POLL_AFTER_FAILURES) {
      if (this.#link !== "polling") this.#link = "connecting";
    } else if (this.#link !== "polling") {
      this.#link = "polling";
      this.#dropHeld();
      effects.push(...this.#poll());
    }
    return effects;
  }

  timerFired(timer: Timer): Effect[] {
    switch (timer) {
      case "reconnect":
        return this.#socket === "none" && !this.#hidden ? this.#connect() : [];
      case "watchdog":
        return this.#socket === "none" ? [] : [{ do: "close" }, ...this.closed()];
      case "poll":
        return this.#link === "polling" && !this.#hidden ? this.#poll() : [];
      case "patience":
        return this.#refreshOnce();
    }
  }

  eventsLoaded(page: EventsPage): Effect[] {
    if (page.truncated || this.#seq === null) {
      // It may even be another database, whose sequence stands lower than ours.
      this.#seq = null;
      this.#newest = page.newest;
      return this.#skipAhead();
    }
    this.#newest = Math.max(this.#newest, page.newest);
    if (this.#link === "polling") {
      return [
        ...this.#deliver(page.frames),
        page.next === null
          ? { do: "set-timer", timer: "poll", ms: POLL_MS }
          : { do: "fetch-events", after: this.#advance(page.next) },
      ];
    }
    if (this.#link !== "catching-up") return this.#deliver(page.frames);
    const effects = this.#deliver(page.frames);
    this.#pages += 1;
    if (page.next === null) return [...effects, ...this.#caughtUp()];
    if (this.#pages >= CATCH_UP_PAGES) return [...effects, ...this.#skipAhead()];
    return [...effects, { do: "fetch-events", after: this.#advance(page.next) }];
  }

  eventsFailed(): Effect[] {
    if (this.#link === "polling") {
      return [{ do: "refresh" }, { do: "set-timer", timer: "poll", ms: POLL_MS }];
    }
    return this.#link === "catching-up" ? this.#skipAhead() : [];
  }

  topicsChanged(topics: readonly string[]): Effect[] {
    const gone = this.#topics.filter((topic) => !topics.includes(topic));
    const fresh = topics.filter((topic) => !this.#topics.includes(topic));
    this.#topics = topics;
    if (this.#socket !== "open") return [];
    const effects: Effect[] = [];
    if (fresh.length > 0) effects.push(send("subscribe", fresh));
    if (gone.length > 0) effects.push(send("unsubscribe", gone));
    return effects;
  }

  hidden(): Effect[] {
    if (this.#hidden) return [];
    this.#hidden = true;
    this.#link = "asleep";
    this.#dropHeld();
    const effects: Effect[] = [
      { do: "clear-timer", timer: "watchdog" },
      { do: "clear-timer", timer: "reconnect" },
      { do: "clear-timer", timer: "poll" },
    ];
    if (this.#socket === "open") effects.push(send("pause"));
    return effects;
  }

  shown(): Effect[] {
    if (!this.#hidden) return [];
    this.#hidden = false;
    if (this.#socket !== "open") {
      this.#failures = 0;
      return this.#connect();
    }
    const effects: Effect[] = [send("resume"), { do: "set-timer", timer: "watchdog", ms: this.#watchdogMs }];
    if (this.#seq === null) {
      this.#link = "live";
      return [...effects, ...this.#skipAhead()];
    }
    return [...effects, ...this.#startCatchUp(this.#seq)];
  }

  #connect(): Effect[] {
    this.#socket = "opening";
    if (this.#link !== "polling") this.#link = "connecting";
    return [{ do: "connect" }, { do: "set-timer", timer: "watchdog", ms: CONNECT_TIMEOUT_MS }];
  }

  #greeted(hello: Frame): Effect[] {
    this.#failures = 0;
    const interval = hello.data.heartbeat_interval_s;
    const seconds = typeof interval === "number" && interval > 0 ? interval : DEFAULT_HEARTBEAT_S;
    this.#watchdogMs = Math.round(seconds * 1000 * HEARTBEAT_GRACE);
    const head = hello.seq ?? 0;
    this.#newest = head;
    const effects: Effect[] = [
      { do: "deliver", frames: [hello] },
      { do: "clear-timer", timer: "poll" },
      { do: "clear-timer", timer: "patience" },
    ];
    if (this.#hidden) return effects;
    // A sequence that went backwards is another database: nothing of the old one can be replayed from it.
    if (this.#seq === null || head < this.#seq) {
      this.#seq = head;
      this.#link = "live";
      this.#refreshed = true;
      return [...effects, { do: "refresh" }];
    }
    if (head > this.#seq) return [...effects, ...this.#startCatchUp(this.#seq)];
    this.#link = "live";
    return effects;
  }

  #startCatchUp(after: number): Effect[] {
    this.#link = "catching-up";
    this.#pages = 0;
    this.#dropHeld();
    return [{ do: "fetch-events", after }];
  }

  #caughtUp(): Effect[] {
    if (this.#heldTooMany) return this.#skipAhead();
    this.#link = "live";
    const held = this.#held;
    this.#dropHeld();
    return this.#deliver(held);
  }

  /** Give up on replaying: what the page shows is read afresh, and the sequence goes on from its newest. */
  #skipAhead(): Effect[] {
    const held = this.#held;
    const newest = held.reduce((most, frame) => Math.max(most, frame.seq ?? 0), this.#newest);
    if (newest > 0) this.#advance(newest);
    this.#dropHeld();
    if (this.#link === "polling") return [{ do: "refresh" }, { do: "set-timer", timer: "poll", ms: POLL_MS }];
    if (this.#link === "catching-up") this.#link = "live";
    return [{ do: "refresh" }];
  }

  #poll(): Effect[] {
    return [{ do: "fetch-events", after: this.#seq }];
  }

  #refreshOnce(): Effect[] {
    if (this.#refreshed) return [];
    this.#refreshed = true;
    return [{ do: "refresh" }];
  }

  #deliver(frames: readonly Frame[]): Effect[] {
    const fresh: Frame[] = [];
    for (const frame of frames) {
      if (frame.seq === null) {
        fresh.push(frame);
      } else if (this.#seq === null || frame.seq > this.#seq) {
        this.#seq = frame.seq;
        fresh.push(frame);
      }
    }
    return fresh.length === 0 ? [] : [{ do: "deliver", frames: fresh }];
  }

  #hold(frame: Frame): void {
    this.#held.push(frame);
    if (this.#held.length > HELD_FRAMES) {
      this.#held.shift();
      this.#heldTooMany = true;
    }
  }

  #dropHeld(): void {
    this.#held = [];
    this.#heldTooMany = false;
  }

  #advance(seq: number): number {
    this.#seq = Math.max(this.#seq ?? 0, seq);
    return this.#seq;
  }
}

function send(action: string, topics?: readonly string[]): Effect {
  return { do: "send", text: JSON.stringify(topics === undefined ? { action } : { action, topics }) };
}
