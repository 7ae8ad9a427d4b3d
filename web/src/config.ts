/** What the platform tells the page in `/config.json`. Empty addresses mean the page's own origin. */
export interface Config {
  apiUrl: string;
  wsUrl: string;
  version: string;
  /** Where people write to who want their posts removed: an e-mail or https address. Empty where none is set. */
  contact: string;
}

export const SOCKET_PATH = "/v1/ws";

/** Total: whatever is missing or of the wrong type is as if it were empty. */
export function parseConfig(value: unknown): Config {
  const fields = typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
  const text = (name: string) => (typeof fields[name] === "string" ? fields[name] : "");
  return {
    apiUrl: text("apiUrl").replace(/\/+$/u, ""),
    wsUrl: text("wsUrl"),
    version: text("version"),
    contact: text("contact"),
  };
}

export async function readConfig(): Promise<Config> {
  try {
    const response = await fetch("/config.json", { cache: "no-cache" });
    return parseConfig(response.ok ? await response.json() : null);
  } catch {
    // Without it the page talks to where it came from, which then says what is wrong.
    return parseConfig(null);
  }
}

/** The WebSocket's address for a page at `pageUrl`. */
export function socketUrl(config: Config, pageUrl: string): string {
  if (config.wsUrl !== "") return config.wsUrl;
  const url = new URL(SOCKET_PATH, config.apiUrl || pageUrl);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url.href;
}
