/** What the platform tells the page in `/config.json`. Empty addresses mean the page's own origin. */
export interface Config {
  apiUrl: string;
  wsUrl: string;
  version: string;
}

export const SOCKET_PATH = "/v1/ws";

/** Total: whatever is missing or of the wrong type is as if it were empty. */
export function parseConfig(value: unknown): Config {
  const fields = typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
  const text = (name: string) => (typeof fields[name] === "string" ? fields[name] : "");
  return { apiUrl: text("apiUrl").replace(/\/+$/u, ""), wsUrl: text("wsUrl"), version: text("version") };
}

/** The WebSocket's address for a page at `pageUrl`. */
export function socketUrl(config: Config, pageUrl: string): string {
  if (config.wsUrl !== "") return config.wsUrl;
  const url = new URL(SOCKET_PATH, config.apiUrl || pageUrl);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url.href;
}
