import { useRef, useState } from "preact/hooks";
import type { Momentum } from "../api/types";
import type { App } from "../model/app";
import { isMoving, ordered, shownStage, trendOf } from "../model/movers";
import { entityHref } from "../route";
import { shortDisplay } from "../text/names";
import { rate } from "../text/time";
import { useGlide } from "./motion";
import { Notice } from "./Notice";
import { Sparkline } from "./Sparkline";
import { Stage } from "./Stage";

const FIRST = 15;

export function Movers({ app }: { app: App }) {
  const movers = app.movers.value;
  return (
    <section class="movers" aria-labelledby="movers-title">
      <header class="section-head">
        <h2 id="movers-title" tabIndex={-1}>
          Moving now
        </h2>
      </header>
      {movers.state === "loading" && <Notice kind="loading">Looking at what is moving…</Notice>}
      {movers.state === "failed" && (
        <Notice kind="error" onRetry={() => app.refresh()}>
          What is moving cannot be read: {movers.why}
        </Notice>
      )}
      {movers.state === "here" && movers.value.length === 0 && (
        <Notice kind="empty">
          Nothing is moving yet. A topic appears here once several people have mentioned it within minutes.
        </Notice>
      )}
      {movers.state === "here" && movers.value.length > 0 && (
        <MoverList rows={movers.value} open={app.entity.value?.key ?? null} />
      )}
    </section>
  );
}

function MoverList({ rows, open }: { rows: readonly Momentum[]; open: string | null }) {
  const [held, setHeld] = useState(false);
  const [all, setAll] = useState(false);
  const shown = useRef<readonly string[]>([]);
  const list = useRef<HTMLOListElement>(null);
  const inOrder = ordered(rows, shown.current, held);
  shown.current = inOrder.map((row) => row.entity);
  const moving = inOrder.filter(isMoving);
  const usual = inOrder.filter((row) => !isMoving(row));
  const visible = all ? moving : moving.slice(0, FIRST);
  useGlide(list, visible.map((row) => row.entity).join(" "));
  return (
    <>
      {moving.length === 0 && (
        <Notice kind="empty">Nothing unusual now. What is talked about as much as usual is below.</Notice>
      )}
      {moving.length > 0 && (
        <div class="mover-columns" aria-hidden="true">
          <span />
          <span>Last 30 minutes</span>
          <span>A minute</span>
          <span>Authors</span>
          <span>Score</span>
        </div>
      )}
      <ol
        ref={list}
        onPointerEnter={(event) => setHeld(event.pointerType === "mouse")}
        onPointerLeave={() => setHeld(false)}
      >
        {visible.map((row) => (
          <Mover key={row.entity} row={row} current={row.entity === open} />
        ))}
      </ol>
      {moving.length > FIRST && (
        <button type="button" class="quiet more" aria-expanded={all} onClick={() => setAll(!all)}>
          {all ? "Show fewer" : `Show all ${moving.length}`}
        </button>
      )}
      {usual.length > 0 && (
        <details class="usual" open={moving.length === 0}>
          <summary>Busy, as usual ({usual.length})</summary>
          <ol>
            {usual.map((row) => (
              <Mover key={row.entity} row={row} current={row.entity === open} />
            ))}
          </ol>
        </details>
      )}
    </>
  );
}

function Mover({ row, current }: { row: Momentum; current: boolean }) {
  const score = Math.round(row.score * 100);
  const moving = isMoving(row);
  return (
    <li class={`mover${current ? " current" : ""}`} data-key={row.entity}>
      <div class="mover-name">
        <a href={entityHref(row.entity)} dir="auto" aria-current={current ? "true" : undefined}>
          {shortDisplay(row)}
        </a>
        {moving && <Stage stage={shownStage(row)} />}
      </div>
      {row.label != null && (
        <p class="mover-label" dir="auto" title={row.label}>
          {row.label}
        </p>
      )}
      <Sparkline values={row.sparkline} label={`Mentions of ${shortDisplay(row)} over the last 30 minutes`} />
      <p class="figure velocity">
        {rate(row.velocity)}
        <Trend trend={trendOf(row.sparkline)} />
        <span class="unit">
          <span class="unseen"> mentions</span> a min
        </span>
      </p>
      <p class="figure authors">
        {row.authors.toLocaleString("en")}
        <span class="unit"> authors</span>
      </p>
      {moving && (
        <p class="figure score">
          <span class="unit">score </span>
          {score}
          <i class="meter" aria-hidden="true" style={{ "--part": `${score}%` }} />
        </p>
      )}
    </li>
  );
}

/** Up, down, or neither: what the line beside it does. */
export function Trend({ trend }: { trend: -1 | 0 | 1 }) {
  if (trend === 0) return <span class="trend" />;
  return trend > 0 ? (
    <span class="trend up">
      <span aria-hidden="true">↑</span>
      <span class="unseen"> and growing,</span>
    </span>
  ) : (
    <span class="trend down">
      <span aria-hidden="true">↓</span>
      <span class="unseen"> and shrinking,</span>
    </span>
  );
}
