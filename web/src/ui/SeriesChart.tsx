import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { type Bucket, type Plotted, plotted } from "../charts/series";
import { clock, rate } from "../text/time";

const HEIGHT = 220;

/** Mentions a minute over time. Stretches that nobody watched are hatched, and the line does not cross them. */
export function SeriesChart({ buckets, step, label }: { buckets: Bucket[]; step: number; label: string }) {
  const box = useRef<HTMLDivElement>(null);
  const chart = useRef<uPlot | null>(null);
  const data = useRef<Plotted>({ times: [], values: [], unobserved: [] });
  const [readout, setReadout] = useState("");
  const [scheme, setScheme] = useState(0);
  data.current = plotted(buckets, step);

  useEffect(() => {
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const onChange = () => setScheme((count) => count + 1);
    dark.addEventListener("change", onChange);
    return () => dark.removeEventListener("change", onChange);
  }, []);

  useEffect(() => {
    const element = box.current;
    if (element === null) return;
    const plot = new uPlot(
      options(element, () => data.current, setReadout),
      aligned(data.current),
      element,
    );
    chart.current = plot;
    const sizes = new ResizeObserver(() => plot.setSize({ width: element.clientWidth, height: HEIGHT }));
    sizes.observe(element);
    return () => {
      sizes.disconnect();
      plot.destroy();
    };
  }, [scheme]);

  useEffect(() => chart.current?.setData(aligned(data.current)), [buckets]);

  return (
    <>
      <p class="readout" aria-hidden="true">
        {readout || "mentions a minute"}
      </p>
      <div class="chart" ref={box} role="img" aria-label={label} />
    </>
  );
}

function aligned({ times, values }: Plotted): uPlot.AlignedData {
  return [times, values];
}

function options(
  element: HTMLElement,
  data: () => Plotted,
  onReadout: (text: string) => void,
): uPlot.Options {
  const styles = getComputedStyle(element);
  const colour = (name: string) => styles.getPropertyValue(name).trim();
  const axis: uPlot.Axis = {
    stroke: colour("--ink-2"),
    font: `12px ${styles.fontFamily}`,
    grid: { stroke: colour("--line"), width: 1 },
    ticks: { show: false },
  };
  return {
    width: element.clientWidth,
    height: HEIGHT,
    padding: [8, 22, 0, 0],
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false }, points: { size: 7 } },
    scales: { y: { range: (_plot, _low, high) => [0, Math.max(1, high * 1.1)] } },
    axes: [
      { ...axis, size: 28, grid: { show: false }, values: "{HH}:{mm}", space: 64 },
      {
        ...axis,
        size: 40,
        values: (_plot, splits) => splits.map((value) => (value === null ? "" : tick(value))),
      },
    ],
    series: [
      {},
      {
        stroke: colour("--accent"),
        width: 2,
        fill: colour("--accent-wash"),
        spanGaps: false,
        points: { show: false },
      },
    ],
    hooks: {
      drawClear: [(plot) => hatch(plot, data(), colour("--hatch"), colour("--hatch-ground"))],
      setCursor: [(plot) => onReadout(describe(plot, data()))],
    },
  };
}

function tick(value: number): string {
  return Number.isInteger(value) ? String(value) : value.toFixed(1);
}

function describe(plot: uPlot, { times, values, unobserved }: Plotted): string {
  const index = plot.cursor.idx ?? -1;
  const time = times[index];
  if (time === undefined) return "";
  const at = clock(time);
  const value = values[index];
  if (value === null || value === undefined) return `${at}: not observed`;
  const partly = unobserved.some(({ from, to }) => from <= time && time < to);
  return `${at}: ${rate(value)} mentions a minute${partly ? ", partly observed" : ""}`;
}

function hatch(plot: uPlot, { unobserved }: Plotted, line: string, ground: string): void {
  const { ctx } = plot;
  const { left, top, width, height } = plot.bbox;
  const gap = 6 * devicePixelRatio;
  ctx.save();
  ctx.lineWidth = devicePixelRatio;
  for (const { from, to, coverage } of unobserved) {
    const x0 = Math.max(left, plot.valToPos(from, "x", true));
    const x1 = Math.min(left + width, plot.valToPos(to, "x", true));
    if (x1 <= x0) continue;
    ctx.save();
    ctx.globalAlpha = 1 - coverage * 0.7;
    ctx.beginPath();
    ctx.rect(x0, top, x1 - x0, height);
    ctx.clip();
    ctx.fillStyle = ground;
    ctx.fillRect(x0, top, x1 - x0, height);
    ctx.strokeStyle = line;
    ctx.beginPath();
    for (let x = x0 - height; x < x1; x += gap) {
      ctx.moveTo(x, top + height);
      ctx.lineTo(x + height, top);
    }
    ctx.stroke();
    ctx.restore();
  }
  ctx.restore();
}
