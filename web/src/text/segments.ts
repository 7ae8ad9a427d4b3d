/** A stretch of a post's text; `entity` is the key of what it names, `marked` when a search hit it. */
export interface Segment {
  text: string;
  entity?: string;
  marked?: boolean;
}

export interface NamedEntity {
  key: string;
  kind: string;
  name: string;
}

// Every candidate that a post's text can hold. Which of them are entities is the platform's decision, not ours:
// a candidate counts only when its key is among the post's entities.
const CANDIDATE =
  /(?<![\p{L}\p{N}_$])\$[\p{L}][\p{L}\p{N}._]{0,19}|(?<![\p{L}\p{N}_])[#＃][\p{L}\p{N}\p{M}_]+|(?<![\p{L}\p{N}_])@[\p{L}\p{N}._:-]+|(?:https?:\/\/)?(?:[\p{L}\p{N}-]+\.)+[\p{L}]{2,}(?:\/[^\s<>"]*)?/giu;

/**
 * Cut a post's text where it names one of its entities. Joined, the segments are the text again.
 *
 * @param highlights what to mark: start and end (exclusive), counted in code points as the API counts
 */
export function segments(
  text: string,
  entities: readonly NamedEntity[],
  highlights: readonly (readonly [number, number])[] = [],
): Segment[] {
  const spans = entitySpans(text, entities);
  const marks = highlights.length > 0 ? codeUnitSpans(text, highlights) : [];
  const cuts = new Set([0, text.length]);
  for (const span of [...spans, ...marks]) {
    cuts.add(span.from);
    cuts.add(span.to);
  }
  const edges = [...cuts].sort((a, b) => a - b);
  const result: Segment[] = [];
  for (let i = 0; i + 1 < edges.length; i += 1) {
    const from = edges[i] ?? 0;
    const to = edges[i + 1] ?? from;
    const segment: Segment = { text: text.slice(from, to) };
    const span = spans.find((each) => each.from <= from && to <= each.to);
    if (span !== undefined) segment.entity = span.key;
    if (marks.some((each) => each.from <= from && to <= each.to)) segment.marked = true;
    result.push(segment);
  }
  return result;
}

interface Span {
  from: number;
  to: number;
}

function entitySpans(text: string, entities: readonly NamedEntity[]): (Span & { key: string })[] {
  const known = new Set(entities.map((entity) => entity.key));
  const spans: (Span & { key: string })[] = [];
  for (const match of text.matchAll(CANDIDATE)) {
    const candidate = match[0].replace(/[.:-]+$/u, "");
    const key = keysOf(candidate).find((each) => known.has(each));
    if (key !== undefined) spans.push({ key, from: match.index, to: match.index + candidate.length });
  }
  for (const entity of entities) {
    if (entity.kind !== "name") continue;
    for (const span of wordSpans(text, [entity.name])) {
      if (!spans.some((other) => span.from < other.to && other.from < span.to)) {
        spans.push({ key: entity.key, ...span });
      }
    }
  }
  return spans;
}

function keysOf(candidate: string): string[] {
  const first = candidate[0];
  const rest = candidate.slice(1);
  if (first === "$") return [`ticker:${rest.toUpperCase()}`];
  if (first === "#" || first === "＃") return [`hashtag:${rest.normalize("NFKC").toLowerCase()}`];
  if (first === "@") return [`mention:${rest.toLowerCase()}`];
  const host = candidate.replace(/^https?:\/\//iu, "").split("/")[0] ?? "";
  return [`domain:${host.toLowerCase().replace(/^www\./u, "")}`];
}

/** Code points to the code units that JavaScript slices by: an emoji is one of those and two of these. */
function codeUnitSpans(text: string, spans: readonly (readonly [number, number])[]): Span[] {
  const starts: number[] = [];
  let unit = 0;
  for (const character of text) {
    starts.push(unit);
    unit += character.length;
  }
  const at = (point: number) => starts[point] ?? text.length;
  return spans.map(([from, to]) => ({ from: at(from), to: at(to) })).filter(({ from, to }) => from < to);
}

function wordSpans(text: string, words: readonly string[]): Span[] {
  const spans: Span[] = [];
  const wanted = words.filter((word) => word.length > 0).map(escaped);
  if (wanted.length === 0) return spans;
  const pattern = new RegExp(`(?<![\\p{L}\\p{N}])(?:${wanted.join("|")})(?![\\p{L}\\p{N}])`, "giu");
  for (const match of text.matchAll(pattern)) {
    spans.push({ from: match.index, to: match.index + match[0].length });
  }
  return spans;
}

function escaped(word: string): string {
  return word.replace(/[.*+?^${}()|[\]\\/]/gu, "\\$&");
}
