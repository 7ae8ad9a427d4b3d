import { useEffect } from "preact/hooks";
import type { App } from "../model/app";
import { invented } from "../model/health";
import { pageTitle } from "../text/title";
import { EntityPanel } from "./EntityPanel";
import { Header } from "./Header";
import { Movers } from "./Movers";
import { Notice } from "./Notice";
import { SearchPanel } from "./SearchPanel";
import { HatchPattern } from "./Sparkline";
import { Stream } from "./Stream";

export function Page({ app }: { app: App }) {
  const route = app.route.value;
  const fresh = app.fresh.value;
  const allInvented = invented(app.status.value) === "all";
  useEffect(() => {
    document.title = pageTitle(route, allInvented);
    document
      .querySelector("link[rel=icon]")
      ?.setAttribute("href", allInvented ? "/simulated.svg" : "/favicon.svg");
  }, [route, allInvented]);
  return (
    <>
      <button type="button" class="skip" onClick={() => document.getElementById("movers-title")?.focus()}>
        Skip to what is moving
      </button>
      <HatchPattern />
      <Header app={app} />
      {fresh === "lost" && (
        <div class="lost">
          <Notice kind="error">
            Groundswell has not been heard for minutes. Look whether it still runs and can be reached from
            here. This page goes on by itself as soon as it can.
          </Notice>
        </div>
      )}
      <main
        class={`${route.view === "overview" ? "" : "with-panel"}${fresh === "fresh" || fresh === "silent" ? "" : " aged"}`}
      >
        <SearchPanel app={app} />
        <EntityPanel app={app} />
        <Movers app={app} />
        <Stream app={app} />
      </main>
      <footer class="colophon">
        <p>
          Groundswell {app.version.value} · <a href="/docs">API</a> ·{" "}
          <a href="/people.html">How we treat people's posts</a>
        </p>
      </footer>
    </>
  );
}
