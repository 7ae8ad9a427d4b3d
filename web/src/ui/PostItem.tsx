import { useMemo, useState } from "preact/hooks";
import type { Post } from "../api/types";
import { entityHref, likeHref } from "../route";
import { whyFolded } from "../text/labels";
import { languageName, shortAuthor, shortDisplay } from "../text/names";
import { type Segment, segments } from "../text/segments";
import { ago, secondsBetween } from "../text/time";

/** Entities that the text does not spell out, such as a mention's DID or a name's other writing. */
const MOST_ELSEWHERE = 4;

/** One post. Its text comes from anybody and is only ever rendered as text. */
export function PostItem({
  post,
  nowMs,
  highlights,
  similar,
  note,
  offersMore = false,
}: {
  post: Post;
  nowMs: number;
  /** What a search found in the text. */
  highlights?: readonly (readonly [number, number])[];
  /** Further posts that say the same, for which this one stands. */
  similar?: number;
  note?: string | undefined;
  /** Whether to offer posts that are about the same. */
  offersMore?: boolean;
}) {
  const parts = useMemo(() => segments(post.text, post.entities, highlights), [post, highlights]);
  const folded = whyFolded(post.labels);
  const [unfolded, setUnfolded] = useState(false);
  const linked = new Set(parts.map((part) => part.entity));
  const elsewhere = post.entities.filter((entity) => !linked.has(entity.key)).slice(0, MOST_ELSEWHERE);
  const time = (
    <time dateTime={post.event_time} title={new Date(post.event_time).toLocaleString()}>
      {ago(secondsBetween(post.event_time, nowMs))}
    </time>
  );
  return (
    <article class="post">
      <header>
        <span class="author" title={post.author}>
          {shortAuthor(post.author)}
        </span>
        {safeLink(post.url) ? (
          <a class="post-time" href={post.url ?? ""} target="_blank" rel="noopener noreferrer nofollow">
            {time}
            <span class="unseen">, open on its network</span>
          </a>
        ) : (
          time
        )}
        {post.reply_to !== null && <span class="tag">reply</span>}
        {post.lang !== null && (
          <span class="tag lang" title={languageName(post.lang)}>
            {post.lang}
          </span>
        )}
        {similar !== undefined && similar > 0 && (
          <span class="tag" title="Further posts that say the same, in these words or nearly">
            {similar.toLocaleString()} similar
          </span>
        )}
        {note !== undefined && <span class="found-by">{note}</span>}
      </header>
      {folded !== null && (
        <p class="folded">
          Its author marks this as {folded}.{" "}
          <button type="button" aria-expanded={unfolded} onClick={() => setUnfolded(!unfolded)}>
            {unfolded ? "Hide" : "Show"}
          </button>
        </p>
      )}
      {(folded === null || unfolded) && <PostText parts={parts} lang={post.lang} />}
      {(elsewhere.length > 0 || offersMore) && (
        <p class="about">
          {elsewhere.map((entity) => (
            <a key={entity.key} class="entity" href={entityHref(entity.key)} dir="auto">
              {shortDisplay(entity)}
            </a>
          ))}
          {offersMore && (
            <a class="more-like" href={likeHref(post.id)}>
              More like this
            </a>
          )}
        </p>
      )}
    </article>
  );
}

/** The words of a post, with what a search found in them and links to what they name. */
function PostText({ parts, lang }: { parts: readonly Segment[]; lang: string | null }) {
  return (
    <p dir="auto" lang={lang ?? undefined}>
      {parts.map((part, index) => {
        const text = part.marked === true ? <mark>{part.text}</mark> : part.text;
        // Segments have no identity but their place: a post's text is cut anew when it changes.
        const key = `${index}`;
        return part.entity === undefined ? (
          <span key={key}>{text}</span>
        ) : (
          <a key={key} class="entity" href={entityHref(part.entity)}>
            {text}
          </a>
        );
      })}
    </p>
  );
}

function safeLink(url: string | null): boolean {
  return url?.startsWith("https://") === true;
}
