import { describe, expect, test } from "vitest";
import { plotted, summary } from "../src/charts/series";
import { sparkline } from "../src/charts/sparkline";

describe("a sparkline", () => {
  test("breaks where nothing was observed, and hatches there", () => {
    const shape = sparkline([1, 2, null, null, 4, 5], 100, 20);
    expect(shape.line.match(/M/gu)).toHaveLength(2);
    expect(shape.unobserved).toEqual([[20, 60]]);
    expect(shape.tip).not.toBeNull();
  });

  test("has no tip when the newest minute was not observed", () => {
    expect(sparkline([1, null], 100, 20).tip).toBeNull();
  });

  test("copes with nothing, with one value and with all unobserved", () => {
    expect(sparkline([], 100, 20).line).toBe("");
    expect(sparkline([3], 100, 20).line).not.toContain("NaN");
    expect(sparkline([null, null, null], 100, 20).unobserved).toEqual([[0, 100]]);
  });
});

describe("a series", () => {
  const bucket = (time: number, value: number | null, coverage: number) => ({ time, value, coverage });
  const clock = (seconds: number) => `t${seconds}`;

  test("has no value where nothing was observed, and joins what was not into stretches", () => {
    const drawn = plotted(
      [bucket(0, 5, 1), bucket(60, null, 0), bucket(120, null, 0), bucket(180, 4, 0.5), bucket(240, 3, 1)],
      60,
    );
    expect(drawn.values).toEqual([5, null, null, 4, 3]);
    expect(drawn.unobserved).toEqual([
      { from: 60, to: 180, coverage: 0 },
      { from: 180, to: 240, coverage: 0.5 },
    ]);
  });

  test("is told in a sentence", () => {
    const buckets = [bucket(0, 5, 1), bucket(60, 31, 1), bucket(120, null, 0)];
    expect(summary(buckets, 60, clock)).toBe(
      "t0 to t180: highest at t60 with 31 mentions a minute. 1 min of it were not observed.",
    );
    expect(summary([bucket(0, null, 0)], 60, clock)).toContain("Nothing was observed");
  });
});
