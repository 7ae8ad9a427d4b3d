import { describe, expect, test } from "vitest";
import type { SourceStatus, Status } from "../src/api/types";
import { degradations, headline, postsPerMinute } from "../src/model/health";

function status(state: SourceStatus["state"], fields: Partial<Status> = {}): Status {
  return {
    version: "0.1.0",
    sources: [{ source: "simulator", state, age_s: 90, lag_s: 300 }],
    components: [],
    degraded: [],
    ...fields,
  };
}

describe("the headline", () => {
  test("is Live only when the page, the platform and the source all are", () => {
    expect(headline("live", status("live"), true, 0)).toEqual({ tone: "good", text: "Live" });
    expect(headline("live", null, true, 0).tone).not.toBe("good");
    expect(headline("live", status("live"), false, 40).text).toBe("Not reachable, last heard 40 s ago");
  });

  test("names a source that is behind or gone, with its age", () => {
    expect(headline("live", status("catching-up"), true, 0).text).toBe("Catching up, 5 min behind");
    expect(headline("live", status("stale"), true, 0).text).toBe("Stale, last post 1 min ago");
    expect(headline("polling", status("disconnected"), true, 0).text).toBe(
      "Disconnected, last post 1 min ago",
    );
  });

  test("names polling and reconnecting", () => {
    expect(headline("polling", status("live"), true, 0).text).toBe("Polling");
    expect(headline("connecting", status("live"), true, 0).text).toBe("Reconnecting");
    expect(headline("catching-up", status("live"), true, 0).text).toBe("Catching up");
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
