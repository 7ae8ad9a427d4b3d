import { type Momentum, SERIES_WINDOWS, type SeriesBucket, type SeriesWindow } from "../api/types";
import { type Bucket, summary } from "../charts/series";
import type { App, OpenEntity } from "../model/app";
import { isMoving, shownStage, slopeTrend, trendOf } from "../model/movers";
import { reasons } from "../model/why";
import { entityHref } from "../route";
import { shortDisplay } from "../text/names";
import { clock, rate } from "../text/time";
import { Trend } from "./Movers";
import { Notice } from "./Notice";
import { Panel } from "./Panel";
import { PostItem } from "./PostItem";
import { SeriesChart } from "./SeriesChart";
import { Stage } from "./Stage";

const KINDS: Record<string, string> = {
  ticker: "Ticker",
  hashtag: "Hashtag",
  mention: "Mention",
  domain: "Domain",
  name: "Name",
};

const WINDOWS: Record<SeriesWindow, string> = { "1h": "1 hour", "6h": "6 hours", "1d": "1 day" };

export function EntityPanel({ app }: { app: App }) {
  const open = app.entity.value;
  if (open === null) return null;
  const row = app.momentumOf(open.key);
  const kind = open.key.slice(0, open.key.indexOf(":"));
  return (
    <Panel
      id="entity-title"
      title={app.display(open.key)}
      eyebrow={
        <>
          {KINDS[kind] ?? kind}
          {row !== null && isMoving(row) && <Stage stage={shownStage(row)} />}
        </>
      }
    >
      {row === null ? (
        <p class="quietly">It is as quiet as usual now: it has no momentum to speak of.</p>
      ) : (
        <>
          <Figures row={row} />
          <Why row={row} />
        </>
      )}
      <About open={open} />
      <History app={app} open={open} />
      <h3>Latest posts</h3>
      <Latest app={app} open={open} />
    </Panel>
  );
}

const SLOPES = ["5m", "15m", "1h", "6h", "24h"];

/** Why its score is what it is, and how fast it went over longer windows. */
function Why({ row }: { row: Momentum }) {
  const found = reasons(row);
  const slopes = SLOPES.flatMap((window) => {
    const slope = row.parts.slopes?.[window];
    return slope?.velocity == null
      ? []
      : [{ window, velocity: slope.velocity, acceleration: slope.acceleration }];
  });
  if (found.length === 0) return null;
  return (
    <details class="why">
      <summary>Why the score is {Math.round(row.score * 100)}</summary>
      <dl>
        {found.map(({ name, text }) => (
          <div key={text}>
            <dt>{name}</dt>
            <dd>{text}</dd>
          </div>
        ))}
        {slopes.map(({ window, velocity, acceleration }) => (
          <div key={window}>
            <dt>over {window}</dt>
            <dd>
              {rate(velocity)} a minute <Trend trend={slopeTrend(acceleration ?? 0, velocity)} />
            </dd>
          </div>
        ))}
      </dl>
    </details>
  );
}

function Figures({ row }: { row: Momentum }) {
  const figures: [string, string][] = [
    ["mentions in 15 min", row.mentions.toLocaleString("en")],
    ["authors in 15 min", row.authors.toLocaleString("en")],
    ["surprise", row.surprise.toFixed(1)],
    ["score", String(Math.round(row.score * 100))],
  ];
  return (
    <dl class="figures">
      <div>
        <dt>mentions a minute</dt>
        <dd>
          {rate(row.velocity)} <Trend trend={trendOf(row.sparkline)} />
        </dd>
      </div>
      {figures.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

/** What its posts say, and what is named with it. */
function About({ open }: { open: OpenEntity }) {
  if (open.series.state !== "here") return null;
  const { label, related } = open.series.value;
  if (label === null && related.length === 0) return null;
  return (
    <dl class="about-it">
      {label !== null && (
        <div>
          <dt>in their words</dt>
          <dd dir="auto">{label.text}</dd>
        </div>
      )}
      {related.length > 0 && (
        <div>
          <dt>named with it</dt>
          <dd>
            <ul class="related">
              {related.map((other) => (
                <li key={other.entity}>
                  <a class="entity" href={entityHref(other.entity)} dir="auto">
                    {shortDisplay(other)}
                  </a>
                  {other.stage !== null && other.stage !== "dormant" && <Stage stage={other.stage} />}
                </li>
              ))}
            </ul>
          </dd>
        </div>
      )}
    </dl>
  );
}

function History({ app, open }: { app: App; open: OpenEntity }) {
  if (open.series.state === "loading") return <Notice kind="loading">Reading its history…</Notice>;
  if (open.series.state === "failed") {
    return <Notice kind="error">Its history cannot be read: {open.series.why}</Notice>;
  }
  const series = open.series.value;
  const buckets = series.data.map(toBucket);
  const step = series.config.bucket_s;
  if (buckets.length === 0) return <Notice kind="empty">It has no history yet.</Notice>;
  const text = summary(buckets, step, clock);
  return (
    <figure class="history">
      <fieldset class="choice">
        <legend class="unseen">How far back</legend>
        {SERIES_WINDOWS.map((window) => (
          <button
            key={window}
            type="button"
            aria-pressed={app.window.value === window}
            onClick={() => app.lookBack(window)}
          >
            {WINDOWS[window]}
          </button>
        ))}
      </fieldset>
      <SeriesChart buckets={buckets} step={step} label={text} />
      <figcaption>
        {text}
        {buckets.some((bucket) => bucket.coverage < 0.98) && (
          <span class="key">
            <svg width="18" height="12" aria-hidden="true">
              <rect width="18" height="12" fill="url(#unobserved)" />
            </svg>
            not, or not fully, observed
          </span>
        )}
      </figcaption>
    </figure>
  );
}

function Latest({ app, open }: { app: App; open: OpenEntity }) {
  const nowMs = app.now.value;
  if (open.posts.state === "loading") return <Notice kind="loading">Reading its posts…</Notice>;
  if (open.posts.state === "failed") {
    return <Notice kind="error">Its posts cannot be read: {open.posts.why}</Notice>;
  }
  if (open.posts.value.length === 0) {
    return <Notice kind="empty">No post about it is stored any more.</Notice>;
  }
  return (
    <div class="post-list">
      {open.posts.value.map((post) => (
        <PostItem key={post.id} post={post} nowMs={nowMs} />
      ))}
    </div>
  );
}

function toBucket(bucket: SeriesBucket): Bucket {
  return { time: Date.parse(bucket.time) / 1000, value: bucket.rate, coverage: bucket.coverage };
}
