import type { SourceStatus, Stats, Status } from "../api/types";
import type { Link } from "../live/protocol";
import { age, clockToTheSecond } from "../text/time";

/** What the status strip says first. `tone` picks its colour, `text` says the same in words. */
export interface Headline {
  tone: "good" | "warn" | "bad";
  text: string;
}

/** How old what is on the screen is: a little silence is said, much of it dims the page, and then it says what to do. */
export type Freshness = "fresh" | "silent" | "old" | "lost";

const SILENT_AFTER_S = 5;
const OLD_AFTER_S = 15;
const LOST_AFTER_S = 120;

/**
 * @param quietS seconds since the page last heard anything
 * @param beatS seconds in which it hears something at the latest, where all is well
 */
export function freshness(quietS: number, beatS: number): Freshness {
  if (quietS >= LOST_AFTER_S) return "lost";
  if (quietS > Math.max(OLD_AFTER_S, beatS + SILENT_AFTER_S)) return "old";
  return quietS > Math.max(SILENT_AFTER_S, beatS + 1) ? "silent" : "fresh";
}

/** Which of the stored posts are invented: "all", "some", or null for none. */
export function invented(status: Status | null): "all" | "some" | null {
  const sources = status?.sources ?? [];
  const simulated = sources.filter((source) => source.simulated).length;
  if (simulated === 0) return null;
  return simulated === sources.length ? "all" : "some";
}

/** The sources that run; where none does, those that did. */
export function shownSources(status: Status | null): readonly SourceStatus[] {
  const sources = status?.sources ?? [];
  const running = sources.filter((source) => source.state !== "stopped" && source.state !== "ended");
  return running.length > 0 ? running : sources;
}

/**
 * The state of what is on the screen: the page's own link first, for with no link nothing else is known,
 * then the source behind it.
 *
 * @param quietS seconds since the page last heard anything
 */
export function headline(
  link: Link,
  status: Status | null,
  reachable: boolean,
  quietS: number,
  fresh: Freshness,
): Headline {
  if (!reachable)
    return { tone: "bad", text: `Not reachable${quietS < 3 ? "" : `, last heard ${age(quietS)} ago`}` };
  if (status !== null && fresh !== "fresh") {
    const since =
      fresh === "silent" ? "" : `: what you see is from ${clockToTheSecond(Date.now() - quietS * 1000)}`;
    return { tone: fresh === "silent" ? "warn" : "bad", text: `Silent for ${age(quietS)}${since}` };
  }
  if (link === "connecting" && status === null) return { tone: "warn", text: "Connecting" };
  if (link === "catching-up") return { tone: "warn", text: "Catching up" };
  const worst = worstSource(status);
  if (worst !== null && worst.state !== "live" && worst.state !== "ended") {
    if (worst.state === "catching-up") {
      const behind = worst.lag_s === null ? "" : `, ${age(worst.lag_s)} behind`;
      return { tone: "warn", text: `Catching up${behind}` };
    }
    const since = worst.age_s === null ? "" : `, last post ${age(worst.age_s)} ago`;
    return { tone: "bad", text: `${BAD_STATES[worst.state]}${since}` };
  }
  if (link === "polling") return { tone: "warn", text: "Polling" };
  if (link === "connecting") return { tone: "warn", text: "Reconnecting" };
  return status === null || status.sources.length === 0
    ? { tone: "warn", text: "Waiting for a source" }
    : { tone: "good", text: worst?.state === "ended" ? "Recording ended" : "Live" };
}

const BADNESS = ["ended", "stopped", "live", "catching-up", "stale", "disconnected"];
const BAD_STATES = { stopped: "Stopped", stale: "Stale", disconnected: "Disconnected" };

function worstSource(status: Status | null) {
  const byBadness = [...shownSources(status)].sort(
    (a, b) => BADNESS.indexOf(b.state) - BADNESS.indexOf(a.state),
  );
  return byBadness[0] ?? null;
}

/** What a missing part means for the person at the screen, and why where nothing better is known. */
const MISSING: Record<string, [meaning: string, why: string]> = {
  embeddings: ["Search by words only", "no embedding model is loaded"],
  "vector-index": ["Search by words only", "the vector index does not answer"],
  vectors: ["New posts are found by words only", "the vector index is behind"],
  engine: ["Search by words only", "the vector engine is started again"],
  postgres: ["New posts are delayed", "the database is started again"],
  lexical: ["Search by meaning only", "the database does not answer"],
  relay: ["New posts are delayed", "the relay has gone quiet"],
  momentum: ["Momentum stands still", "it is not being computed"],
};

/** A sentence for each word of a `degraded` list; sources are left to the headline. */
export function degradations(words: readonly string[], status: Status | null): string[] {
  const sentences = words.flatMap((word) => {
    if (word.startsWith("source:")) return [];
    const said = status?.components.find((each) => each.component === word)?.why;
    const [meaning, why] = MISSING[word] ?? ["Degraded", word];
    return [`${meaning}: ${said || why}`];
  });
  return [...new Set(sentences)];
}

/** Posts a minute of all sources together, oldest first; null where no source was watched. */
export function postsPerMinute(stats: Stats): (number | null)[] {
  const byMinute = new Map<string, number | null>();
  for (const { time, posts, coverage } of stats.minutes) {
    const sum = byMinute.get(time) ?? null;
    const rate = posts === null || coverage <= 0 ? null : posts / coverage;
    byMinute.set(time, rate === null ? sum : (sum ?? 0) + rate);
  }
  return [...byMinute.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, posts]) => posts);
}
