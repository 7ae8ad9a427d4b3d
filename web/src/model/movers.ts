import type { Momentum, Stage, StageChange } from "../api/types";

/** How many entities the page follows. */
export const FOLLOWED = 60;

/** From this score on a row is listed among what moves, before its stage is judged or where it rises again. */
const UNUSUAL = 0.9;

/** Whether a row moves: all others are as busy as they usually are. */
export function isMoving(row: Momentum): boolean {
  return row.stage !== "dormant" || row.score >= UNUSUAL;
}

const TREND_MINUTES = 3;
/** A difference below this part of the larger side, or this many mentions a minute, is none. */
const CLEAR_PART = 0.25;
const CLEAR_RATE = 0.5;

/**
 * Where the line beside it goes: its last three whole minutes against the three before.
 *
 * @returns 1, -1, or 0 where there is no clear difference or a minute was not observed
 */
export function trendOf(sparkline: readonly (number | null)[]): -1 | 0 | 1 {
  const whole = sparkline.slice(-2 * TREND_MINUTES - 1, -1);
  if (whole.length < 2 * TREND_MINUTES || whole.includes(null)) return 0;
  const mean = (values: readonly (number | null)[]) =>
    values.reduce<number>((sum, each) => sum + (each ?? 0), 0) / TREND_MINUTES;
  const before = mean(whole.slice(0, TREND_MINUTES));
  const after = mean(whole.slice(TREND_MINUTES));
  const clear = Math.abs(after - before) > Math.max(CLEAR_RATE, CLEAR_PART * Math.max(before, after));
  return clear ? (after > before ? 1 : -1) : 0;
}

const FALLEN_PART = 0.3;

/** The stage to show: stages are judged once a minute, and what has clearly fallen since does not "grow" meanwhile. */
export function shownStage(row: Momentum): Stage {
  if (row.stage !== "rising" && row.stage !== "emerging") return row.stage;
  const whole = row.sparkline.slice(0, -1).map((each) => each ?? 0);
  const fallen = (whole.at(-1) ?? 0) < FALLEN_PART * Math.max(...whole);
  return fallen && trendOf(row.sparkline) === -1 ? "fading" : row.stage;
}

/** Where a longer window goes, by its slope: mentions a minute, a minute. */
export function slopeTrend(acceleration: number, velocity: number): -1 | 0 | 1 {
  if (Math.abs(acceleration) <= 0.02 * Math.max(velocity, 1)) return 0;
  return acceleration > 0 ? 1 : -1;
}

/** Merge fresh rows into the known ones; keep the best `FOLLOWED`, and `keep` whatever its score. */
export function merge(
  known: readonly Momentum[],
  fresh: readonly Momentum[],
  keep: string | null = null,
): Momentum[] {
  const byEntity = new Map(known.map((row) => [row.entity, row]));
  for (const row of fresh) {
    const old = byEntity.get(row.entity);
    if (old === undefined || old.as_of <= row.as_of) byEntity.set(row.entity, labelled(row, old));
  }
  const sorted = [...byEntity.values()].sort(byScore);
  return sorted.filter((row, rank) => rank < FOLLOWED || row.entity === keep);
}

/** Rows after a change of stage. One that is older than what a row says, or of an entity not followed, changes none. */
export function changeStage(known: readonly Momentum[], change: StageChange): readonly Momentum[] {
  const row = known.find(({ entity }) => entity === change.entity);
  if (row === undefined || row.stage === change.stage || change.at < row.as_of) return known;
  const changed = { ...row, stage: change.stage, stage_since: change.at, score: change.score };
  return known.map((each) => (each === row ? changed : each)).sort(byScore);
}

/** A frame says nothing of labels: a row keeps the one it has until a listing says otherwise. */
function labelled(row: Momentum, old: Momentum | undefined): Momentum {
  return row.label === undefined && old?.label !== undefined ? { ...row, label: old.label } : row;
}

function byScore(a: Momentum, b: Momentum): number {
  return b.score - a.score || b.velocity - a.velocity || (a.entity < b.entity ? -1 : 1);
}

/**
 * The order to show rows in. While a person points at the list (`held`), rows that are there keep their places,
 * so that nobody clicks on what just moved under the pointer.
 */
export function ordered(rows: readonly Momentum[], shown: readonly string[], held: boolean): Momentum[] {
  if (!held) return [...rows];
  const byEntity = new Map(rows.map((row) => [row.entity, row]));
  const kept = shown.flatMap((entity) => byEntity.get(entity) ?? []);
  const places = new Set(shown);
  return [...kept, ...rows.filter((row) => !places.has(row.entity))];
}
