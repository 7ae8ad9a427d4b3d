import { useEffect, useRef } from "preact/hooks";
import type { App } from "../model/app";
import { counted } from "../text/time";
import { Notice } from "./Notice";
import { PostItem } from "./PostItem";

const SCROLLED_PX = 24;

export function Stream({ app }: { app: App }) {
  const feed = app.feed.value;
  const state = app.feedState.value;
  const filter = app.filter.value;
  const nowMs = app.now.value;
  const paused = app.holds.value.has("button");
  const box = useRef<HTMLElement>(null);

  useEffect(() => {
    // The list scrolls by itself on a wide screen and with the page on a narrow one.
    const onScroll = () => {
      const own = box.current?.scrollTop ?? 0;
      const top = box.current?.getBoundingClientRect().top ?? 0;
      app.hold("scroll", own > SCROLLED_PX || top < -SCROLLED_PX);
    };
    const element = box.current;
    element?.addEventListener("scroll", onScroll, { passive: true });
    window.addEventListener("scroll", onScroll, { passive: true });
    return () => {
      element?.removeEventListener("scroll", onScroll);
      window.removeEventListener("scroll", onScroll);
    };
  }, [app]);

  const showWaiting = () => {
    app.showWaiting();
    box.current?.scrollTo({ top: 0 });
    if ((box.current?.getBoundingClientRect().top ?? 0) < 0) box.current?.scrollIntoView();
  };

  return (
    <section class="stream" aria-labelledby="stream-title">
      <header class="section-head">
        <h2 id="stream-title">Live posts</h2>
        <StreamNote app={app} />
        <button type="button" class="quiet" aria-pressed={paused} onClick={() => app.hold("button", !paused)}>
          {paused ? "Go on" : "Pause"}
        </button>
      </header>
      <StreamFilter app={app} />
      <section
        class="stream-list"
        ref={box}
        // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reachable by keyboard
        tabIndex={0}
        aria-label="Posts, newest first"
        onPointerEnter={(event) => app.hold("pointer", event.pointerType === "mouse")}
        onPointerLeave={() => app.hold("pointer", false)}
        onFocusCapture={() => app.hold("focus", true)}
        onBlurCapture={() => app.hold("focus", false)}
      >
        {feed.arrived > 0 && (
          <button type="button" class="waiting" onClick={showWaiting}>
            {counted(feed.arrived, "new post")}
          </button>
        )}
        {state.state === "loading" && <Notice kind="loading">Reading the latest posts…</Notice>}
        {state.state === "failed" && (
          <Notice kind="error" onRetry={() => app.refresh()}>
            The posts cannot be read: {state.why}
          </Notice>
        )}
        {state.state === "here" && feed.shown.length === 0 && feed.arrived === 0 && (
          <Notice kind="empty">
            {filter === null
              ? "No posts yet. They appear here the moment the source sends them."
              : "No posts about this yet. They appear here the moment somebody writes one."}
          </Notice>
        )}
        {feed.shown.map((post) => (
          <PostItem key={post.id} post={post} nowMs={nowMs} />
        ))}
      </section>
    </section>
  );
}

function StreamNote({ app }: { app: App }) {
  const ratio = Math.round(app.sampled.value);
  if (app.held.value) return <span class="note">held</span>;
  return ratio > 1 ? <span class="note">showing 1 in {ratio}</span> : null;
}

function StreamFilter({ app }: { app: App }) {
  const key = app.entity.value?.key ?? null;
  if (key === null) return null;
  const display = app.display(key);
  const only = app.filter.value === key;
  return (
    <fieldset class="choice">
      <legend class="unseen">Which posts to show</legend>
      <button type="button" aria-pressed={!only} onClick={() => app.filterStream(null)}>
        All
      </button>
      <button type="button" aria-pressed={only} onClick={() => app.filterStream(key)}>
        Only <bdi>{display}</bdi>
      </button>
    </fieldset>
  );
}
