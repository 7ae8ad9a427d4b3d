import type { Post, SearchHit } from "../api/types";
import type { OpenEntity, OpenSearch } from "./app";

type Gone = (post: Post) => boolean;

/** An open entity without posts that are withdrawn; the same object where it shows none of them. */
export function retractFromEntity(open: OpenEntity | null, gone: Gone): OpenEntity | null {
  if (open === null || open.posts.state !== "here" || !open.posts.value.some(gone)) return open;
  return { ...open, posts: { state: "here", value: open.posts.value.filter((post) => !gone(post)) } };
}

/** An open search without posts that are withdrawn; the same object where it shows none of them. */
export function retractFromSearch(open: OpenSearch | null, gone: Gone): OpenSearch | null {
  const answer = open?.answer;
  if (open === null || answer?.state !== "here") return open;
  const data = answer.value.data.filter((hit: SearchHit) => !gone(hit.post));
  if (data.length === answer.value.data.length) return open;
  return { ...open, answer: { state: "here", value: { ...answer.value, data } } };
}
