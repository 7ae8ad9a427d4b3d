/** What an author can say of a post that not everybody wants to see at once, in words. */
const FOLDED: Readonly<Record<string, string>> = {
  porn: "adult content",
  sexual: "sexual content",
  nudity: "nudity",
  "graphic-media": "graphic content",
};

/** Why a post is folded, such as "adult content and nudity"; null where it is shown at once. */
export function whyFolded(labels: readonly string[] | undefined): string | null {
  const found = Object.entries(FOLDED)
    .filter(([label]) => labels?.includes(label))
    .map(([, words]) => words);
  const last = found.pop();
  if (last === undefined) return null;
  return found.length > 0 ? `${found.join(", ")} and ${last}` : last;
}
