import { useEffect, useRef } from "preact/hooks";
import { sparkline } from "../charts/sparkline";
import type { App } from "../model/app";
import { degradations, headline, invented, postsPerMinute, shownSources } from "../model/health";
import { searchHref } from "../route";
import { age, ago, rate, secondsBetween } from "../text/time";

const DEBOUNCE_MS = 250;

export function Header({ app }: { app: App }) {
  return (
    <header class="masthead">
      <Invented app={app} />
      <div class="masthead-row">
        <h1>
          <a href="#/">Groundswell</a>
        </h1>
        <SearchBox app={app} />
      </div>
      <StatusStrip app={app} />
      <Swell app={app} />
    </header>
  );
}

/** Invented posts are unmistakable: nothing about them may be taken for the world. */
function Invented({ app }: { app: App }) {
  const which = invented(app.status.value);
  if (which === null) return null;
  return (
    <p class="invented">
      {which === "all"
        ? "Simulated network: every person, post and number here is invented."
        : "Some posts here are invented: the simulated network was run with this data directory. Use another one to keep them apart."}
    </p>
  );
}

function SearchBox({ app }: { app: App }) {
  const input = useRef<HTMLInputElement>(null);
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  const route = app.route.value;

  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      const typing = event.target instanceof HTMLInputElement;
      if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      input.current?.focus();
      input.current?.select();
    };
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, []);

  const query = route.view === "search" ? route.query : "";
  useEffect(() => {
    // Another route empties the box; while somebody types in it, it is theirs.
    if (input.current !== null && document.activeElement !== input.current) input.current.value = query;
  }, [query]);

  const go = () => {
    clearTimeout(timer.current);
    const text = input.current?.value.trim() ?? "";
    const target = text === "" ? "#/" : searchHref(text);
    if (text === "" && route.view !== "search") return;
    // Typing refines one search: it is one step of the history, not one for each letter.
    if (app.route.peek().view === "search") history.replaceState(null, "", target);
    else history.pushState(null, "", target);
    window.dispatchEvent(new HashChangeEvent("hashchange"));
  };

  return (
    <search class="search">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          go();
        }}
      >
        <label class="unseen" for="q">
          Search posts
        </label>
        <input
          id="q"
          ref={input}
          type="search"
          placeholder="Search posts by words or meaning"
          autocomplete="off"
          spellcheck={false}
          maxLength={200}
          onInput={() => {
            clearTimeout(timer.current);
            timer.current = setTimeout(go, DEBOUNCE_MS);
          }}
          onKeyDown={(event) => {
            if (event.key !== "Escape") return;
            event.currentTarget.value = "";
            go();
            event.currentTarget.blur();
          }}
        />
        <span class="hint" aria-hidden="true">
          /
        </span>
      </form>
    </search>
  );
}

function StatusStrip({ app }: { app: App }) {
  const status = app.status.value;
  const nowMs = app.now.value;
  const head = headline(app.link.value, status, app.reachable.value, app.quietS.value, app.fresh.value);
  const stats = app.stats.value;
  const perMinute =
    stats === null
      ? null
      : postsPerMinute(stats)
          .slice(-6, -1)
          .filter((n) => n !== null);
  const gap = app.gap.value;
  const refusal = app.refusal.value;
  const missing = degradations(app.degraded.value, status);
  if (refusal !== null) missing.unshift(refusal);
  return (
    <section class="status" aria-label="Status">
      <p class={`headline ${head.tone}`} role="status">
        <i aria-hidden="true" />
        {head.text}
      </p>
      {app.link.value === "polling" && head.text !== "Polling" && <p class="badge">polling</p>}
      {status !== null && status.sources.length > 0 && (
        <p>
          <span class="unseen">Source: </span>
          {shownSources(status)
            .map((source) => source.source)
            .join(", ")}
        </p>
      )}
      {perMinute !== null && perMinute.length > 0 && (
        <p>
          <b>{rate(perMinute.reduce((sum, each) => sum + each, 0) / perMinute.length)}</b> posts a minute
        </p>
      )}
      {gap !== null && <p>{describeGap(gap, nowMs)}</p>}
      {missing.map((sentence) => (
        <p key={sentence} class="missing">
          <span aria-hidden="true">▲</span> {sentence}
        </p>
      ))}
    </section>
  );
}

function describeGap(
  gap: { started_at: string; ended_at: string | null; cause: string; backfilled: boolean },
  nowMs: number,
): string {
  if (gap.ended_at === null) {
    return `Gap open for ${age(secondsBetween(gap.started_at, nowMs))} (${gap.cause})`;
  }
  const length = age((Date.parse(gap.ended_at) - Date.parse(gap.started_at)) / 1000);
  const size = length === "now" ? "under 3 s" : length;
  return `Last gap ${ago(secondsBetween(gap.ended_at, nowMs))}, ${size}${gap.backfilled ? ", filled" : ""}`;
}

const SWELL_WIDTH = 600;
const SWELL_HEIGHT = 40;

/** The whole stream over the last hour, as the line that the masthead stands on. */
function Swell({ app }: { app: App }) {
  const stats = app.stats.value;
  const values = stats === null ? [] : postsPerMinute(stats).slice(0, -1);
  if (values.length < 2) return <div class="swell" />;
  const shape = sparkline(values, SWELL_WIDTH, SWELL_HEIGHT);
  return (
    <svg
      class="swell"
      viewBox={`0 0 ${SWELL_WIDTH} ${SWELL_HEIGHT}`}
      preserveAspectRatio="none"
      role="img"
      aria-label={`All posts over the last ${values.length} minutes`}
    >
      {shape.unobserved.map(([x, width]) => (
        <rect key={x} x={x} y="0" width={width} height={SWELL_HEIGHT} fill="url(#unobserved)" />
      ))}
      <path class="sparkline-area" d={shape.area} />
      <path class="sparkline-line" d={shape.line} vector-effect="non-scaling-stroke" />
    </svg>
  );
}
