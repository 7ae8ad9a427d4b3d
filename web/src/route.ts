/** What the page has open; it lives in the address, so that it can be linked to, reloaded and gone back from. */
export type Route =
  | { view: "overview" }
  | { view: "entity"; key: string }
  | { view: "search"; query: string }
  | { view: "like"; post: string };

const ENTITY = "#/e/";
const SEARCH = "#/search?q=";
const LIKE = "#/like/";

export function parseRoute(hash: string): Route {
  if (hash.startsWith(ENTITY)) {
    const key = decoded(hash.slice(ENTITY.length));
    if (/^[a-z]+:./u.test(key)) return { view: "entity", key };
  }
  if (hash.startsWith(SEARCH)) {
    const query = decoded(hash.slice(SEARCH.length)).trim();
    if (query !== "") return { view: "search", query };
  }
  if (hash.startsWith(LIKE)) {
    const post = decoded(hash.slice(LIKE.length));
    if (post !== "") return { view: "like", post };
  }
  return { view: "overview" };
}

export function entityHref(key: string): string {
  return ENTITY + encodeURIComponent(key);
}

export function searchHref(query: string): string {
  return SEARCH + encodeURIComponent(query);
}

/** What is about the same as a post, by its id. */
export function likeHref(post: string): string {
  return LIKE + encodeURIComponent(post);
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return "";
  }
}
