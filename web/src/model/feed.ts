import type { Post } from "../api/types";

/** How many posts the stream keeps on the page. */
export const SHOWN = 100;
/** How many it keeps behind the "n new" button; older ones are only counted. */
export const WAITING = 100;

/** The live stream as the page holds it: bounded, newest first. */
export interface Feed {
  readonly shown: readonly Post[];
  readonly waiting: readonly Post[];
  /** Posts that came while the stream was held, those no longer kept included. */
  readonly arrived: number;
}

export const EMPTY_FEED: Feed = { shown: [], waiting: [], arrived: 0 };

/** Add posts (oldest first, as frames bring them). An edit replaces what it edits, where it stands. */
export function arrive(feed: Feed, posts: readonly Post[], held: boolean): Feed {
  const { fresh, shown, waiting } = withEdits(feed, posts);
  if (fresh.length === 0) return { ...feed, shown, waiting };
  const newestFirst = fresh.reverse();
  if (held) {
    return {
      shown,
      waiting: [...newestFirst, ...waiting].slice(0, WAITING),
      arrived: feed.arrived + fresh.length,
    };
  }
  return release({ shown, waiting: [...newestFirst, ...waiting], arrived: 0 });
}

/** Show what was waiting. */
export function release(feed: Feed): Feed {
  if (feed.waiting.length === 0 && feed.arrived === 0) return feed;
  return { shown: [...feed.waiting, ...feed.shown].slice(0, SHOWN), waiting: [], arrived: 0 };
}

/** Take deleted posts off the page at once, held or not. */
export function withdraw(feed: Feed, gone: (post: Post) => boolean): Feed {
  if (!feed.shown.some(gone) && !feed.waiting.some(gone)) return feed;
  const waiting = feed.waiting.filter((post) => !gone(post));
  return {
    shown: feed.shown.filter((post) => !gone(post)),
    waiting,
    arrived: feed.arrived - (feed.waiting.length - waiting.length),
  };
}

/** Replace everything by a listing, newest first. */
export function listing(posts: readonly Post[]): Feed {
  return { shown: posts.slice(0, SHOWN), waiting: [], arrived: 0 };
}

function withEdits(feed: Feed, posts: readonly Post[]): { fresh: Post[]; shown: Post[]; waiting: Post[] } {
  const incoming = new Map(posts.map((post) => [post.id, post]));
  const replaced = (post: Post): Post => {
    const edit = incoming.get(post.id);
    if (edit === undefined) return post;
    incoming.delete(post.id);
    return edit;
  };
  const shown = feed.shown.map(replaced);
  const waiting = feed.waiting.map(replaced);
  return { fresh: [...incoming.values()], shown, waiting };
}
