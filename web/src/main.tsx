import { render } from "preact";
import { Api } from "./api/client";
import { readConfig, socketUrl } from "./config";
import { LiveShell } from "./live/shell";
import { App } from "./model/app";
import { Page } from "./ui/Page";
import "./styles/index.css";

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
