import type { Momentum, StageChange } from "../api/types";

/** How many entities the page follows. */
export const FOLLOWED = 60;

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
