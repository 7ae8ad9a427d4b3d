import type { Stage as StageName } from "../api/types";

// Each stage is a place on a swell, so that shape tells it as well as colour does.
const SHAPES: Record<StageName, string> = {
  dormant: "M1 9H19",
  emerging: "M1 9.500C8 9.500 12 9 19 5.500",
  rising: "M1 10C9 10 12 8 19 1.500",
  peaking: "M1 10C5 10 6.500 2 10 2S15 10 19 10",
  fading: "M1 2C8 3 11 10 19 10",
};

/** What a stage is called on the page; the API keeps its own words. */
export const STAGE_WORDS: Record<StageName, string> = {
  dormant: "above usual",
  emerging: "starting",
  rising: "growing",
  peaking: "at its height",
  fading: "going down",
};

const MEANINGS: Record<StageName, string> = {
  dormant: "far above its usual: judged within two minutes, or a return of what surged within a day",
  emerging: "more than usual, from several authors",
  rising: "growing fast, from many authors",
  peaking: "high, and no longer growing",
  fading: "past its peak",
};

export function Stage({ stage }: { stage: StageName }) {
  return (
    <span class={`stage stage-${stage}`} title={MEANINGS[stage]}>
      <svg viewBox="0 0 20 12" width="20" height="12" aria-hidden="true">
        <path d={SHAPES[stage]} />
      </svg>
      {STAGE_WORDS[stage]}
    </span>
  );
}
