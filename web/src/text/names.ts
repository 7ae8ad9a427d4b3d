/** An author as briefly as they can still be told apart: a handle as it is, a DID by its ends. */
export function shortAuthor(author: string): string {
  const bare = author.replace(/^did:[a-z]+:/u, "");
  return bare.length > 22 ? `${bare.slice(0, 8)}…${bare.slice(-4)}` : bare;
}

/** An entity as people write it; a mention that is only known by its DID is cut short. */
export function shortDisplay(entity: { kind: string; name: string; display: string }): string {
  const isDid = entity.kind === "mention" && entity.name.startsWith("did:");
  return isDid ? `@${shortAuthor(entity.name)}` : entity.display;
}

/** What a language tag stands for, in English; the tag where nobody knows. */
export function languageName(tag: string): string {
  try {
    return new Intl.DisplayNames(["en"], { type: "language" }).of(tag) ?? tag;
  } catch {
    // Not a language tag at all: authors can write anything there.
    return tag;
  }
}
