import { describe, expect, test } from "vitest";
import type { SourceStatus, Status } from "../src/api/types";
import {
  degradations,
  freshness,
  headline,
  invented,
  postsPerMinute,
  shownSources,
} from "../src/model/health";

function source(name: string, state: SourceStatus["state"], simulated = true): SourceStatus {
  return { source: name, state, simulated, age_s: 90, lag_s: 300 };
}

function status(state: SourceStatus["state"], fields: Partial<Status> = {}): Status {
  return {
    version: "0.1.0",
    sources: [source("simulator", state)],
    components: [],
    degraded: [],
    ...fields,
  };
}

describe("the headline", () => {
  test("is Live only when the page, the platform and the source all are", () => {
    expect(headline("live", status("live"), true, 0, "fresh")).toEqual({ tone: "good", text: "Live" });
    expect(headline("live", null, true, 0, "fresh").tone).not.toBe("good");
    expect(headline("live", status("live"), false, 40, "fresh").text).toBe(
      "Not reachable, last heard 40 s ago",
    );
  });

  test("names a source that is behind or gone, with its age", () => {
    expect(headline("live", status("catching-up"), true, 0, "fresh").text).toBe("Catching up, 5 min behind");
    expect(headline("live", status("stale"), true, 0, "fresh").text).toBe("Stale, last post 1 min ago");
    expect(headline("polling", status("disconnected"), true, 0, "fresh").text).toBe(
      "Disconnected, last post 1 min ago",
    );
  });

  test("says how long nothing was heard, and then from when what is shown is", () => {
    const { tone, text } = headline("live", status("live"), true, 7, "silent");
    expect([tone, text]).toEqual(["warn", "Silent for 7 s"]);
    expect(headline("live", status("live"), true, 40, "old")).toMatchObject({ tone: "bad" });
    expect(headline("live", status("live"), true, 40, "old").text).toMatch(
      /^Silent for 40 s: what you see is from \d\d:\d\d:\d\d$/,
    );
    expect(headline("live", status("live"), false, 1, "fresh").text).toBe("Not reachable");
  });

  test("names polling and reconnecting", () => {
    expect(headline("polling", status("live"), true, 0, "fresh").text).toBe("Polling");
    expect(headline("connecting", status("live"), true, 0, "fresh").text).toBe("Reconnecting");
    expect(headline("catching-up", status("live"), true, 0, "fresh").text).toBe("Catching up");
  });
});

describe("what is shown", () => {
  test("ages by what is expected to be heard", () => {
    expect([0, 5, 6, 16, 120].map((quiet) => freshness(quiet, 4))).toEqual([
      "fresh",
      "fresh",
      "silent",
      "old",
      "lost",
    ]);
    expect([10, 12, 16].map((quiet) => freshness(quiet, 10))).toEqual(["fresh", "silent", "old"]);
  });

  test("is marked where it is invented, wholly or in part", () => {
    expect(invented(null)).toBeNull();
    expect(invented(status("live"))).toBe("all");
    expect(invented(status("live", { sources: [source("jetstream", "live", false)] }))).toBeNull();
    const mixed = [source("jetstream", "live", false), source("simulator", "stopped")];
    expect(invented(status("live", { sources: mixed }))).toBe("some");
  });

  test("names the sources that run, and others only where none does", () => {
    const mixed = [source("jetstream", "live", false), source("simulator", "stopped")];
    expect(shownSources(status("live", { sources: mixed })).map((each) => each.source)).toEqual([
      "jetstream",
    ]);
    expect(shownSources(status("stopped")).map((each) => each.source)).toEqual(["simulator"]);
  });
});

describe("what is degraded", () => {
  test("is told by what it means, with the part's own reason where it gave one, once each", () => {
    const known = status("live", {
      components: [{ component: "embeddings", state: "disabled", why: "no model was found" }],
    });
    expect(degradations(["embeddings", "embeddings"], known)).toEqual([
      "Search by words only: no model was found",
    ]);
    expect(degradations(["embeddings"], null)).toEqual([
      "Search by words only: no embedding model is loaded",
    ]);
  });

  test("leaves sources to the headline", () => {
    expect(degradations(["source:jetstream"], null)).toEqual([]);
  });

  test("names even a word that the page has never heard", () => {
    expect(degradations(["frobnicator"], null)).toEqual(["Degraded: frobnicator"]);
  });
});

describe("posts a minute", () => {
  test("are summed over sources, divided by what was observed, and unknown where nobody watched", () => {
    const at = (source: string, time: string, posts: number | null, coverage: number) => ({
      source,
      time,
      posts,
      coverage,
    });
    const minutes = [
      at("a", "2026-07-04T14:01:00Z", 10, 0.5),
      at("b", "2026-07-04T14:01:00Z", 5, 1),
      at("a", "2026-07-04T14:00:00Z", null, 0),
    ];
    expect(postsPerMinute({ minutes })).toEqual([null, 25]);
  });
});
