import { describe, expect, test } from "vitest";
import { parseConfig, socketUrl } from "../src/config";
import { entityHref, likeHref, parseRoute, searchHref } from "../src/route";
import { contactOf } from "../src/text/contact";
import { whyFolded } from "../src/text/labels";
import { segments } from "../src/text/segments";
import { ago, counted, rate } from "../src/text/time";
import { pageTitle } from "../src/text/title";

function entity(key: string) {
  const [kind = "", name = ""] = [key.slice(0, key.indexOf(":")), key.slice(key.indexOf(":") + 1)];
  return { key, kind, name };
}

function linked(text: string, ...keys: string[]): [string, string][] {
  return segments(text, keys.map(entity)).flatMap((part) =>
    part.entity === undefined ? [] : [[part.text, part.entity]],
  );
}

describe("a post's text", () => {
  test("links every kind of entity where it is named", () => {
    const text = "Big day for $btc, says @Ann.example: #KCON at https://www.Example.com/live with Nova Labs";
    expect(
      linked(
        text,
        "ticker:BTC",
        "mention:ann.example",
        "hashtag:kcon",
        "domain:example.com",
        "name:nova labs",
      ),
    ).toEqual([
      ["$btc", "ticker:BTC"],
      ["@Ann.example", "mention:ann.example"],
      ["#KCON", "hashtag:kcon"],
      ["https://www.Example.com/live", "domain:example.com"],
      ["Nova Labs", "name:nova labs"],
    ]);
  });

  test("links hashtags of any script", () => {
    expect(linked("今日 ＃東京 と #القاهرة", "hashtag:東京", "hashtag:القاهرة")).toEqual([
      ["＃東京", "hashtag:東京"],
      ["#القاهرة", "hashtag:القاهرة"],
    ]);
  });

  test("links only what the platform found to be an entity", () => {
    expect(linked("$100 for #nothing", "ticker:BTC")).toEqual([]);
    expect(linked("an Applebee is no Apple", "name:apple")).toEqual([["Apple", "name:apple"]]);
  });

  test("is the same text again when its segments are joined, whatever is in it", () => {
    const texts = ["", "<b>$BTC</b> & #a#b", "👩‍👩‍👧 $BTC$BTC ((( [a-z]+", "مرحبا $BTC مرحبا"];
    for (const text of texts) {
      const parts = segments(
        text,
        [entity("ticker:BTC"), entity("name:(((")],
        [
          [0, 2],
          [3, 99],
          [7, 7],
        ],
      );
      expect(parts.map((part) => part.text).join("")).toBe(text);
    }
  });

  test("marks what was searched for, inside links too", () => {
    expect(
      segments(
        "Bitcoin $BTC up",
        [entity("ticker:BTC")],
        [
          [9, 12],
          [13, 15],
        ],
      ),
    ).toEqual([
      { text: "Bitcoin " },
      { text: "$", entity: "ticker:BTC" },
      { text: "BTC", entity: "ticker:BTC", marked: true },
      { text: " " },
      { text: "up", marked: true },
    ]);
  });

  test("counts the places to mark as the API does, an emoji as one", () => {
    expect(segments("🎉🎉 up", [], [[3, 5]])).toEqual([{ text: "🎉🎉 " }, { text: "up", marked: true }]);
  });
});

describe("numbers and times", () => {
  test("are short", () => {
    expect([0, 12, 240, 7_300, 200_000].map(ago)).toEqual([
      "now",
      "12 s ago",
      "4 min ago",
      "2 h ago",
      "2 d ago",
    ]);
    expect([0, 3.14, 12.3, 999, 12_345].map(rate)).toEqual(["0.0", "3.1", "12", "1.0k", "12k"]);
    expect(counted(1, "post")).toBe("1 post");
    expect(counted(1_200, "post")).toBe("1,200 posts");
  });
});

describe("the address", () => {
  test("names what is open, and comes back from it", () => {
    for (const key of ["ticker:BTC", "hashtag:東京", "mention:did:plc:abc", "name:a/b c"]) {
      expect(parseRoute(entityHref(key))).toEqual({ view: "entity", key });
    }
    expect(parseRoute(likeHref("at://did:plc:a/app.bsky.feed.post/1"))).toEqual({
      view: "like",
      post: "at://did:plc:a/app.bsky.feed.post/1",
    });
    expect(parseRoute("#/like/")).toEqual({ view: "overview" });
    expect(parseRoute(searchHref("fire & water"))).toEqual({ view: "search", query: "fire & water" });
  });

  test("is the overview when it makes no sense", () => {
    for (const hash of ["", "#", "#/", "#/e/", "#/e/%ZZ", "#/e/nokind", "#/search?q=", "#else"]) {
      expect(parseRoute(hash)).toEqual({ view: "overview" });
    }
  });
});

describe("config.json", () => {
  test("empty addresses mean the page's own origin", () => {
    const config = parseConfig({ apiUrl: "", wsUrl: "", version: "1.2.3" });
    expect(config.apiUrl).toBe("");
    expect(socketUrl(config, "http://localhost:8000/#/e/x")).toBe("ws://localhost:8000/v1/ws");
    expect(socketUrl(config, "https://example.com/")).toBe("wss://example.com/v1/ws");
  });

  test("given addresses are used", () => {
    expect(parseConfig({ apiUrl: "https://api.example.com/" }).apiUrl).toBe("https://api.example.com");
    const config = parseConfig({ wsUrl: "wss://ws.example.com/prod" });
    expect(socketUrl(config, "https://example.com/")).toBe("wss://ws.example.com/prod");
  });

  test("nonsense is as if it were empty", () => {
    for (const value of [null, 7, "x", [], { apiUrl: 7 }]) {
      expect(parseConfig(value)).toEqual({ apiUrl: "", wsUrl: "", version: "", contact: "" });
    }
  });
});

describe("whom people write to", () => {
  test("is an e-mail address or an https address", () => {
    expect(contactOf(" privacy@example.org ")).toEqual({
      href: "mailto:privacy@example.org",
      text: "privacy@example.org",
    });
    expect(contactOf("https://example.org/x")?.href).toBe("https://example.org/x");
  });

  test("is nothing else that somebody may have set", () => {
    for (const text of ["", "ask me", "javascript:alert(1)", "http://example.org", "a@b", "https://a b"]) {
      expect(contactOf(text)).toBeNull();
    }
  });
});

describe("a post that its author marked", () => {
  test("says why it is folded", () => {
    expect(whyFolded(["porn"])).toBe("adult content");
    expect(whyFolded(["nudity", "graphic-media", "other"])).toBe("nudity and graphic content");
  });

  test("is shown at once where it says nothing of the kind", () => {
    for (const labels of [undefined, [], ["!no-unauthenticated"]]) expect(whyFolded(labels)).toBeNull();
  });
});

describe("the title of the page", () => {
  test("names the view, and says first where everything is invented", () => {
    expect(pageTitle({ view: "overview" }, false)).toBe("Groundswell");
    expect(pageTitle({ view: "entity", key: "hashtag:kcon" }, false)).toBe("#kcon · Groundswell");
    expect(pageTitle({ view: "search", query: "rate cut" }, true)).toBe(
      "[Simulated] Search: rate cut · Groundswell",
    );
    expect(pageTitle({ view: "like", post: "at://x" }, false)).toBe("Similar posts · Groundswell");
  });
});
