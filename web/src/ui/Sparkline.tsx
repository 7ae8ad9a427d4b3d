import { useMemo } from "preact/hooks";
import { sparkline } from "../charts/sparkline";

const WIDTH = 120;
const HEIGHT = 34;

export function Sparkline({ values, label }: { values: readonly (number | null)[]; label: string }) {
  const shape = useMemo(() => sparkline(values, WIDTH, HEIGHT), [values]);
  return (
    <svg
      class="sparkline"
      viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
      preserveAspectRatio="none"
      role="img"
      aria-label={label}
    >
      {shape.unobserved.map(([x, width]) => (
        <rect key={x} x={x} y="0" width={width} height={HEIGHT} fill="url(#unobserved)" />
      ))}
      <path class="sparkline-area" d={shape.area} />
      <path class="sparkline-line" d={shape.line} vector-effect="non-scaling-stroke" />
    </svg>
  );
}

/** The hatching that stands for "not observed" in every small chart; drawn once for the page. */
export function HatchPattern() {
  return (
    <svg class="defs" aria-hidden="true" width="0" height="0">
      <defs>
        <pattern
          id="unobserved"
          width="5"
          height="5"
          patternUnits="userSpaceOnUse"
          patternTransform="rotate(45)"
        >
          <rect class="hatch-ground" width="5" height="5" />
          <line class="hatch-line" x1="0" y1="0" x2="0" y2="5" />
        </pattern>
      </defs>
    </svg>
  );
}
