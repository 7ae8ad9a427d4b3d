import type { SearchAnswer, SearchHit } from "../api/types";
import type { App } from "../model/app";
import { degradations } from "../model/health";
import { counted } from "../text/time";
import { Notice } from "./Notice";
import { Panel } from "./Panel";
import { PostItem } from "./PostItem";

const LEGS: Record<string, string> = { lexical: "by words", semantic: "by meaning", id: "by its id" };

export function SearchPanel({ app }: { app: App }) {
  const search = app.search.value;
  if (search === null) return null;
  const { query, answer } = search;
  return (
    <Panel
      id="search-title"
      eyebrow="Search"
      title={query ?? "More like this post"}
      takesFocus={query === null}
    >
      {answer.state === "loading" && <Notice kind="loading">Searching…</Notice>}
      {answer.state === "failed" && (
        <Notice kind="error" onRetry={() => app.retrySearch()}>
          The search did not work: {answer.why}
        </Notice>
      )}
      {answer.state === "here" && <Answer app={app} query={query} answer={answer.value} />}
    </Panel>
  );
}

function Answer({ app, query, answer }: { app: App; query: string | null; answer: SearchAnswer }) {
  const nowMs = app.now.value;
  const byId = answer.legs.includes("id");
  return (
    <>
      <p class="search-note" role="status">
        {counted(answer.data.length, "post")}, found{" "}
        {answer.legs.map((leg) => LEGS[leg] ?? leg).join(" and ")}.
        {!byId && !answer.legs.includes("semantic") && (
          <span class="badge" title={degradations(answer.degraded, app.status.value).join(". ")}>
            lexical only
          </span>
        )}
        {!byId && !answer.legs.includes("lexical") && <span class="badge">semantic only</span>}
      </p>
      {answer.data.length === 0 && (
        <Notice kind="empty">
          {query === null
            ? "Nothing else like this post has been posted."
            : `Nothing like “${query}” has been posted. Fewer or other words may find more.`}
        </Notice>
      )}
      <div class="post-list">
        {answer.data.map((hit) => (
          <PostItem
            key={hit.post.id}
            post={hit.post}
            nowMs={nowMs}
            highlights={hit.highlights}
            similar={hit.similar}
            offersMore={!hit.archived}
            note={hit.archived ? "from the archive" : foundBy(hit)}
          />
        ))}
      </div>
    </>
  );
}

function foundBy(hit: SearchHit): string | undefined {
  const legs = Object.keys(hit.ranks ?? {});
  if (legs.length === 0 || legs[0] === "id") return undefined;
  if (legs.length > 1) return "words and meaning";
  return legs[0] === "semantic" ? "meaning" : "words";
}
