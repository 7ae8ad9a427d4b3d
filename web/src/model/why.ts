import type { Momentum } from "../api/types";

/** One reason for a score, or against it. */
export interface Reason {
  name: string;
  text: string;
}

/** Why a score is what it is, in a reader's words. Empty where the row says nothing of it. */
export function reasons({ parts, sparkline }: Momentum): Reason[] {
  const { expected, fast, slow, surprisal, crowd, originality } = parts;
  const found: Reason[] = [];
  if (expected !== undefined) {
    const unseen = sparkline.slice(-5).every((each) => each === null);
    const usual = expected < 1 ? "less than one mention" : `about ${count(expected)}`;
    found.push({
      name: "usual for five minutes",
      text: unseen ? `${usual}, but nothing was observed` : usual,
    });
  }
  if (fast !== undefined) found.push({ name: "last five minutes", text: deviation(fast) });
  if (slow !== undefined) found.push({ name: "last six hours", text: deviation(slow) });
  if (surprisal !== undefined) found.push({ name: "as rare as", text: rarity(surprisal) });
  if (crowd !== undefined && crowd < 0.995) {
    found.push({ name: "held down", text: `few authors for so many mentions: counts ${percent(crowd)}` });
  }
  if (originality !== undefined && originality < 0.995) {
    found.push({ name: "held down", text: `mostly copies of one another: counts ${percent(originality)}` });
  }
  return found;
}

function deviation(z: number): string {
  if (Math.abs(z) < 0.5) return "as usual";
  const size = Math.abs(z).toFixed(1);
  return z > 0 ? `${size} standard deviations above usual` : `${size} standard deviations below usual`;
}

/** What a day in so many is: surprisal is minus the decimal logarithm of a chance. */
function rarity(surprisal: number): string {
  const days = 10 ** surprisal;
  if (days < 1.5) return "any day";
  if (surprisal >= 6) return "one day in more than a million";
  return `one day in ${count(days)}`;
}

function count(value: number): string {
  return Number(value.toPrecision(2)).toLocaleString("en");
}

function percent(part: number): string {
  return `${Math.round(part * 100)}%`;
}
