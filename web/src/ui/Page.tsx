import type { App } from "../model/app";
import { EntityPanel } from "./EntityPanel";
import { Header } from "./Header";
import { Movers } from "./Movers";
import { SearchPanel } from "./SearchPanel";
import { HatchPattern } from "./Sparkline";
import { Stream } from "./Stream";

export function Page({ app }: { app: App }) {
  const view = app.route.value.view;
  return (
    <>
      <button type="button" class="skip" onClick={() => document.getElementById("movers-title")?.focus()}>
        Skip to what is moving
      </button>
      <HatchPattern />
      <Header app={app} />
      <main class={view === "overview" ? "" : "with-panel"}>
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
