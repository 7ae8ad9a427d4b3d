import { describe, expect, test } from "vitest";
import { arrive, EMPTY_FEED, type Feed, listing, release, SHOWN, WAITING, withdraw } from "../src/model/feed";
import { changeStage, FOLLOWED, isMoving, merge, ordered, shownStage, trendOf } from "../src/model/movers";
import { retractFromEntity, retractFromSearch } from "../src/model/retract";
import { Sampler } from "../src/model/sampler";
import { reasons } from "../src/model/why";
import { momentum, post } from "./fixtures";

const ids = (feed: Feed) => feed.shown.map(({ id }) => id);
const many = (count: number) => Array.from({ length: count }, (_, i) => post(`p${i}`));

describe("the stream", () => {
  test("shows the newest first", () => {
    expect(ids(arrive(EMPTY_FEED, [post("a"), post("b")], false))).toEqual(["b", "a"]);
  });

  test("never holds more than its bounds, shown or waiting", () => {
    expect(arrive(EMPTY_FEED, many(SHOWN + 50), false).shown).toHaveLength(SHOWN);
    const held = arrive(EMPTY_FEED, many(WAITING + 50), true);
    expect(held.waiting).toHaveLength(WAITING);
    expect(held.arrived).toBe(WAITING + 50);
  });

  test("stands still while it is held, and counts what waits", () => {
    const held = arrive(listing([post("a")]), [post("b"), post("c")], true);
    expect(ids(held)).toEqual(["a"]);
    expect(held.arrived).toBe(2);
    expect(ids(release(held))).toEqual(["c", "b", "a"]);
    expect(release(held).arrived).toBe(0);
  });

  test("shows a post once, however often it arrives, and an edit in its place", () => {
    const feed = arrive(listing([post("a"), post("b")]), [post("b", { text: "edited" })], false);
    expect(ids(feed)).toEqual(["a", "b"]);
    expect(feed.shown[1]?.text).toBe("edited");
  });

  test("takes a deleted post away at once, held or not", () => {
    const held = arrive(listing([post("a"), post("b")]), [post("c"), post("d")], true);
    const after = withdraw(held, ({ id }) => id === "a" || id === "c");
    expect(ids(after)).toEqual(["b"]);
    expect(after.arrived).toBe(1);
    expect(ids(release(after))).toEqual(["d", "b"]);
  });
});

describe("the sampler", () => {
  test("lets everything through that can be read", () => {
    const sampler = new Sampler<number>(4);
    sampler.offer([1, 2]);
    sampler.offer([3]);
    expect(sampler.take()).toEqual({ items: [1, 2, 3], of: 3 });
    expect(sampler.take()).toEqual({ items: [], of: 0 });
  });

  test("keeps the newest of more than can be read, and says of how many", () => {
    const sampler = new Sampler<number>(2);
    sampler.offer([1, 2, 3]);
    sampler.offer([4, 5]);
    expect(sampler.take()).toEqual({ items: [4, 5], of: 5 });
  });

  test("forgets what was deleted before it was shown", () => {
    const sampler = new Sampler<number>(4);
    sampler.offer([1, 2]);
    sampler.withdraw((item) => item === 1);
    expect(sampler.take().items).toEqual([2]);
  });
});

describe("the movers", () => {
  test("keep their label through frames, which say nothing of labels, until a listing says otherwise", () => {
    const labelled = [momentum("hashtag:a", 0.5, { label: "lamps swinging" })];
    const framed = merge(labelled, [momentum("hashtag:a", 0.6)]);
    expect(framed[0]).toMatchObject({ score: 0.6, label: "lamps swinging" });
    expect(merge(framed, [momentum("hashtag:a", 0.6, { label: null })])[0]?.label).toBeNull();
  });

  test("are sorted by score", () => {
    const rows = merge(
      [momentum("hashtag:a", 0.2)],
      [momentum("hashtag:b", 0.9), momentum("hashtag:c", 0.5)],
    );
    expect(rows.map(({ name }) => name)).toEqual(["b", "c", "a"]);
  });

  test("a late update does not replace a newer one", () => {
    const late = momentum("hashtag:a", 0.1, { as_of: "2026-07-04T14:00:00Z" });
    expect(merge([momentum("hashtag:a", 0.8)], [late])[0]?.score).toBe(0.8);
  });

  test("are bounded, but the open one stays whatever its score", () => {
    const crowd = Array.from({ length: FOLLOWED + 20 }, (_, i) => momentum(`hashtag:t${i}`, 0.5));
    const rows = merge(crowd, [momentum("ticker:LOW", 0.01)], "ticker:LOW");
    expect(rows).toHaveLength(FOLLOWED + 1);
    expect(rows.at(-1)?.entity).toBe("ticker:LOW");
  });

  test("keep their places while somebody points at them; newcomers join at the end", () => {
    const rows = [momentum("hashtag:new", 0.9), momentum("hashtag:b", 0.8), momentum("hashtag:a", 0.7)];
    const shown = ["hashtag:a", "hashtag:b", "hashtag:gone"];
    expect(ordered(rows, shown, true).map(({ name }) => name)).toEqual(["a", "b", "new"]);
    expect(ordered(rows, shown, false).map(({ name }) => name)).toEqual(["new", "b", "a"]);
  });
});

describe("a change of stage", () => {
  const at = "2026-07-04T14:39:00Z";
  const change = { entity: "hashtag:a", at, from_stage: "rising", stage: "peaking", score: 0.97 } as const;

  test("is shown at once, with the score that made it, and sorts anew", () => {
    const rows = changeStage([momentum("hashtag:b", 0.9), momentum("hashtag:a", 0.5)], change);
    expect(rows.map(({ name }) => name)).toEqual(["a", "b"]);
    expect(rows[0]).toMatchObject({ stage: "peaking", stage_since: at, score: 0.97 });
  });

  test("that came late, or is of an entity that is not followed, changes nothing", () => {
    const rows = [momentum("hashtag:a", 0.5, { as_of: "2026-07-04T14:45:00Z" })];
    expect(changeStage(rows, change)).toBe(rows);
    const others = [momentum("hashtag:b", 0.9)];
    expect(changeStage(others, change)).toBe(others);
  });
});

describe("why a score is what it is", () => {
  const texts = (parts: object) => reasons(momentum("hashtag:a", 0.9, { parts })).map(({ text }) => text);

  test("is said in what is usual, how far it is from that, and how rare", () => {
    expect(texts({ expected: 12.3, fast: 6.21, slow: 0.2, surprisal: 2, crowd: 1, originality: 1 })).toEqual([
      "about 12, but nothing was observed",
      "6.2 standard deviations above usual",
      "as usual",
      "one day in 100",
    ]);
    expect(texts({ fast: -2, surprisal: 0.01 })).toEqual(["2.0 standard deviations below usual", "any day"]);
    expect(texts({ surprisal: 40 })).toEqual(["one day in more than a million"]);
  });

  test("says what holds it down, and only then", () => {
    expect(texts({ crowd: 0.4, originality: 0.5 })).toEqual([
      "few authors for so many mentions: counts 40%",
      "mostly copies of one another: counts 50%",
    ]);
  });

  test("is nothing where the row says nothing", () => {
    expect(reasons(momentum("hashtag:a", 0.9))).toEqual([]);
  });
});

describe("posts that are withdrawn while they are open", () => {
  const gone = ({ id }: { id: string }) => id === "a";

  test("leave the open entity", () => {
    const open = {
      key: "ticker:BTC",
      series: { state: "loading" as const },
      posts: { state: "here" as const, value: [post("a"), post("b")] },
    };
    const after = retractFromEntity(open, gone);
    expect(after?.posts).toEqual({ state: "here", value: [post("b")] });
    expect(retractFromEntity(after, gone)).toBe(after);
    expect(retractFromEntity(null, gone)).toBeNull();
  });

  test("leave the open search, and posts like another", () => {
    const hit = (id: string) => ({
      post: post(id),
      score: 1,
      similar: 0,
      highlights: [],
      archived: false,
      ranks: null,
    });
    const value = { data: [hit("a"), hit("b")], next_cursor: null, as_of: "", degraded: [], legs: [] };
    const open = { query: "x", answer: { state: "here" as const, value } };
    const after = retractFromSearch(open, gone);
    expect(after?.answer.state === "here" && after.answer.value.data.map((each) => each.post.id)).toEqual([
      "b",
    ]);
    expect(retractFromSearch(after, gone)).toBe(after);
    const loading = { query: "x", answer: { state: "loading" as const } };
    expect(retractFromSearch(loading, gone)).toBe(loading);
  });
});

describe("what moves", () => {
  test("is what surges, or stands far above its usual; the rest is as busy as usual", () => {
    expect(isMoving(momentum("hashtag:a", 0.2))).toBe(true);
    expect(isMoving(momentum("hashtag:a", 0.95, { stage: "dormant" }))).toBe(true);
    expect(isMoving(momentum("hashtag:a", 0.5, { stage: "dormant" }))).toBe(false);
  });

  test("does not grow beside a line that has fallen", () => {
    const row = (...minutes: number[]) =>
      shownStage(
        momentum("hashtag:a", 0.9, { stage: "rising", sparkline: [...Array(23).fill(0), ...minutes] }),
      );
    expect(row(59, 59, 46, 48, 12, 0, 0)).toBe("fading");
    expect(row(40, 45, 50, 30, 25, 20, 0)).toBe("rising");
    expect(row(4, 4, 4, 9, 9, 9, 0)).toBe("rising");
  });

  test("goes where the line beside it goes, by whole minutes alone", () => {
    const line = (...minutes: (number | null)[]) => trendOf([...Array(23).fill(0), ...minutes]);
    expect(line(4, 4, 4, 9, 9, 9, 0)).toBe(1);
    expect(line(59, 59, 46, 48, 12, 0, 0)).toBe(-1);
    expect(line(10, 10, 10, 11, 10, 10, 90)).toBe(0);
    expect(line(0, 0, 0, 0, 0, 1, 0)).toBe(0);
    expect(line(4, 4, null, 9, 9, 9, 0)).toBe(0);
    expect(trendOf([])).toBe(0);
  });
});
