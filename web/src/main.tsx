import { render } from "preact";
import { Api } from "./api/client";
import { type Config, parseConfig, socketUrl } from "./config";
import { LiveShell } from "./live/shell";
import { App } from "./model/app";
import { Page } from "./ui/Page";
import "./styles/index.css";

async function readConfig(): Promise<Config> {
  try {
    const response = await fetch("/config.json", { cache: "no-cache" });
    return parseConfig(response.ok ? await response.json() : null);
  } catch {
    // Without it the page talks to where it came from, which then says what is wrong.
    return parseConfig(null);
  }
}

const config = await readConfig();
const api = new Api(config.apiUrl);
const app = new App(api);
app.version.value = config.version;
const shell = new LiveShell(socketUrl(config, location.href), app.topics(), {
  onFrames: (frames) => app.framesArrived(frames),
  onLink: (link) => app.linkChanged(link),
  onRefresh: () => app.refresh(),
  fetchEvents: (after) => api.events(after),
});
const root = document.getElementById("app");
if (root === null) throw new Error("index.html has no #app");
render(<Page app={app} />, root);
app.start(shell);
