/** One bucket of a series answer, in the page's own terms. */
export interface Bucket {
  /** Unix seconds. */
  time: number;
  value: number | null;
  /** The observed part of the bucket, 0 to 1. */
  coverage: number;
}

export interface Plotted {
  /** The middle of each bucket. */
  times: number[];
  values: (number | null)[];
  /** Stretches that were not fully observed, as [from, to] in Unix seconds, with how much of them was seen. */
  unobserved: { from: number; to: number; coverage: number }[];
}

const FULLY_SEEN = 0.98;

/**
 * What to draw: a line that breaks where nothing was seen, and the stretches to hatch.
 *
 * @param step the length of a bucket in seconds
 */
export function plotted(buckets: readonly Bucket[], step: number): Plotted {
  const unobserved: Plotted["unobserved"] = [];
  for (const { time, coverage } of buckets) {
    if (coverage >= FULLY_SEEN) continue;
    const last = unobserved.at(-1);
    if (last !== undefined && last.to === time && (last.coverage === 0) === (coverage === 0)) {
      last.to = time + step;
      last.coverage = Math.max(last.coverage, coverage);
    } else {
      unobserved.push({ from: time, to: time + step, coverage });
    }
  }
  return {
    times: buckets.map((bucket) => bucket.time + step / 2),
    values: buckets.map((bucket) => (bucket.coverage === 0 ? null : bucket.value)),
    unobserved,
  };
}

/** The chart in one sentence, for those who do not see it and those who want the gist. */
export function summary(
  buckets: readonly Bucket[],
  step: number,
  clock: (unixSeconds: number) => string,
): string {
  const seen = buckets.filter((bucket) => bucket.coverage > 0 && bucket.value !== null);
  const blind = buckets.reduce((sum, bucket) => sum + (1 - bucket.coverage) * step, 0);
  const minutes = Math.round(blind / 60);
  const blindText = minutes > 0 ? ` ${minutes} min of it were not observed.` : "";
  const peak = seen.reduce<Bucket | null>(
    (best, bucket) => (best === null || (bucket.value ?? 0) > (best.value ?? 0) ? bucket : best),
    null,
  );
  if (peak === null) return `Nothing was observed in this stretch.${blindText}`;
  const first = buckets[0] ?? peak;
  const last = buckets.at(-1) ?? peak;
  return (
    `${clock(first.time)} to ${clock(last.time + step)}: ` +
    `highest at ${clock(peak.time)} with ${Math.round(peak.value ?? 0)} mentions a minute.${blindText}`
  );
}
