export interface Sparkline {
  /** SVG path of the line, broken where nothing was observed. */
  line: string;
  /** SVG path of the area under it. */
  area: string;
  /** Unobserved stretches, as [x, width]. */
  unobserved: [number, number][];
  /** The last observed point, if it is the newest one. */
  tip: { x: number; y: number } | null;
}

/**
 * Geometry of a small chart in a box of width × height. Values are rates; null means unobserved.
 * The scale starts at zero, so that two flat lines of different height are told apart by their numbers only.
 */
export function sparkline(values: readonly (number | null)[], width: number, height: number): Sparkline {
  const step = values.length > 1 ? width / (values.length - 1) : width;
  const top = Math.max(1, ...values.map((value) => value ?? 0));
  const pad = 2;
  const y = (value: number) => round(height - pad - (value / top) * (height - 2 * pad));
  const x = (index: number) => round(index * step);
  let line = "";
  let area = "";
  const unobserved: [number, number][] = [];
  for (const run of runs(values)) {
    const from = run.from;
    const to = run.to - 1;
    if (!run.observed) {
      const left = Math.max(0, (from - 1) * step);
      unobserved.push([round(left), round(Math.min(width, (to + 1) * step) - left)]);
      continue;
    }
    const points: string[] = [];
    for (let i = from; i <= to; i += 1) points.push(`${x(i)} ${y(values[i] ?? 0)}`);
    // One observed minute between two unobserved ones still has to be seen.
    if (points.length === 1) points.push(`${round(x(from) + 0.5)} ${y(values[from] ?? 0)}`);
    line += `M${points.join("L")}`;
    area += `M${x(from)} ${height}L${points.join("L")}L${x(to)} ${height}Z`;
  }
  const last = values.at(-1);
  const tip = last === null || last === undefined ? null : { x: x(values.length - 1), y: y(last) };
  return { line, area, unobserved, tip };
}

function* runs(
  values: readonly (number | null)[],
): Generator<{ from: number; to: number; observed: boolean }> {
  let from = 0;
  for (let i = 1; i <= values.length; i += 1) {
    if (i === values.length || (values[i] === null) !== (values[from] === null)) {
      yield { from, to: i, observed: values[from] !== null };
      from = i;
    }
  }
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
