import type { Route } from "../route";
import { shortDisplay } from "./names";

const SIGNS: Record<string, string> = { ticker: "$", hashtag: "#", mention: "@" };

/** What the browser's tab says: the view, and before all else whether it is invented. */
export function pageTitle(route: Route, allInvented: boolean): string {
  const place = placeOf(route);
  return `${allInvented ? "[Simulated] " : ""}${place === "" ? "" : `${place} · `}Groundswell`;
}

function placeOf(route: Route): string {
  switch (route.view) {
    case "entity": {
      const colon = route.key.indexOf(":");
      const kind = route.key.slice(0, colon);
      const name = route.key.slice(colon + 1);
      return shortDisplay({ kind, name, display: `${SIGNS[kind] ?? ""}${name}` });
    }
    case "search":
      return `Search: ${route.query}`;
    case "like":
      return "Similar posts";
    case "overview":
      return "";
  }
}
