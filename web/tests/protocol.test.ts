import { describe, expect, test } from "vitest";
import { backoffMs } from "../src/live/backoff";
import {
  CATCH_UP_PAGES,
  type Effect,
  HELD_FRAMES,
  LiveProtocol,
  POLL_AFTER_FAILURES,
} from "../src/live/protocol";

const TOPICS = ["momentum", "posts"];

function frame(type: string, seq: number | null, data: object = {}): string {
  return JSON.stringify({ v: 1, type, seq, ts: "2026-07-04T14:38:06Z", live: true, data });
}

function hello(seq: number): string {
  return frame("hello", seq, { heartbeat_interval_s: 10 });
}

function event(seq: number) {
  return { type: "posts.new", seq, ts: "", live: true, data: {} };
}

function page(frames: ReturnType<typeof event>[], next: number | null) {
  return { frames, next, newest: 0, truncated: false };
}

function delivered(effects: Effect[]): (number | null)[] {
  return effects.flatMap((effect) =>
    effect.do === "deliver" ? effect.frames.filter(({ type }) => type !== "hello").map(({ seq }) => seq) : [],
  );
}

function kinds(effects: Effect[]): string[] {
  return effects.map((effect) => effect.do);
}

function connected(seq: number): LiveProtocol {
  const protocol = new LiveProtocol(TOPICS, () => 0.5);
  protocol.started();
  protocol.opened();
  protocol.received(hello(seq));
  return protocol;
}

describe("connecting", () => {
  test("subscribes to its topics as soon as the socket is open", () => {
    const protocol = new LiveProtocol(TOPICS, () => 0.5);
    expect(kinds(protocol.started())).toContain("connect");
    expect(protocol.opened()).toEqual([
      { do: "send", text: '{"action":"subscribe","topics":["momentum","posts"]}' },
    ]);
  });

  test("reads everything once the server has said where the sequence stands", () => {
    const protocol = new LiveProtocol(TOPICS, () => 0.5);
    protocol.started();
    protocol.opened();
    const effects = protocol.received(hello(41));
    expect(kinds(effects)).toContain("refresh");
    expect(protocol.link).toBe("live");
    expect(protocol.seq).toBe(41);
  });

  test("shows what REST knows when the socket takes its time, and only once", () => {
    const protocol = new LiveProtocol(TOPICS, () => 0.5);
    protocol.started();
    expect(kinds(protocol.timerFired("patience"))).toEqual(["refresh"]);
    expect(kinds(protocol.closed())).not.toContain("refresh");
  });

  test("subscribes to what is new and unsubscribes from what is gone when its topics change", () => {
    const protocol = connected(1);
    expect(protocol.topicsChanged(["momentum", "posts?entity=ticker:BTC"])).toEqual([
      { do: "send", text: '{"action":"subscribe","topics":["posts?entity=ticker:BTC"]}' },
      { do: "send", text: '{"action":"unsubscribe","topics":["posts"]}' },
    ]);
  });
});

describe("sequence", () => {
  test("a repeated event is delivered once", () => {
    const protocol = connected(5);
    expect(delivered(protocol.received(frame("posts.new", 6)))).toEqual([6]);
    expect(delivered(protocol.received(frame("posts.new", 6)))).toEqual([]);
    expect(delivered(protocol.received(frame("posts.new", 5)))).toEqual([]);
  });

  test("the parts of a large event are delivered before the part that carries its number", () => {
    const protocol = connected(5);
    expect(delivered(protocol.received(frame("posts.new", null)))).toEqual([null]);
    expect(delivered(protocol.received(frame("posts.new", 6)))).toEqual([6]);
  });

  test("what is not a frame is ignored", () => {
    const protocol = connected(5);
    for (const text of ["", "nonsense", "[]", "null", '{"type":7}', '{"v":2,"type":"posts.new","seq":9}']) {
      expect(delivered(protocol.received(text))).toEqual([]);
    }
    expect(protocol.seq).toBe(5);
  });

  test("a sequence that went backwards is another database, so everything is read again", () => {
    const protocol = connected(500);
    protocol.closed();
    protocol.timerFired("reconnect");
    protocol.opened();
    expect(kinds(protocol.received(hello(3)))).toContain("refresh");
    expect(delivered(protocol.received(frame("posts.new", 4)))).toEqual([4]);
  });
});

describe("catching up", () => {
  function reconnectedAt(seq: number): { protocol: LiveProtocol; effects: Effect[] } {
    const protocol = connected(10);
    protocol.closed();
    protocol.timerFired("reconnect");
    protocol.opened();
    return { protocol, effects: protocol.received(hello(seq)) };
  }

  test("a reconnected client asks for what it missed and nothing else", () => {
    const { protocol, effects } = reconnectedAt(14);
    expect(effects).toContainEqual({ do: "fetch-events", after: 10 });
    expect(kinds(effects)).not.toContain("refresh");
    expect(protocol.link).toBe("catching-up");
  });

  test("frames that arrive meanwhile wait, so that order holds and nothing comes twice", () => {
    const { protocol } = reconnectedAt(13);
    expect(delivered(protocol.received(frame("posts.new", 14)))).toEqual([]);
    expect(delivered(protocol.received(frame("posts.new", 15)))).toEqual([]);
    const first = protocol.eventsLoaded(page([event(11), event(12)], 12));
    expect(delivered(first)).toEqual([11, 12]);
    expect(first).toContainEqual({ do: "fetch-events", after: 12 });
    const last = protocol.eventsLoaded(page([event(13), event(14)], null));
    expect(delivered(last)).toEqual([13, 14, 15]);
    expect(protocol.link).toBe("live");
  });

  test("a client that missed nothing is live at once", () => {
    const { protocol, effects } = reconnectedAt(10);
    expect(protocol.link).toBe("live");
    expect(kinds(effects)).not.toContain("fetch-events");
  });

  test("a client that missed too much reads everything again and goes on from the newest", () => {
    const { protocol } = reconnectedAt(100_000);
    let effects: Effect[] = [];
    for (let i = 1; i <= CATCH_UP_PAGES; i += 1) {
      effects = protocol.eventsLoaded(page([event(10 + i)], 10 + i));
    }
    expect(kinds(effects)).toContain("refresh");
    expect(protocol.seq).toBe(100_000);
    expect(protocol.link).toBe("live");
  });

  test("what waits is bounded: past the bound everything is read again", () => {
    const { protocol } = reconnectedAt(11);
    for (let i = 0; i <= HELD_FRAMES; i += 1) protocol.received(frame("posts.new", 12 + i));
    expect(kinds(protocol.eventsLoaded(page([event(11)], null)))).toContain("refresh");
    expect(protocol.seq).toBe(12 + HELD_FRAMES);
  });

  test("when the missed events are not kept any more, everything is read again", () => {
    const { protocol } = reconnectedAt(900);
    const effects = protocol.eventsLoaded({ frames: [], next: null, newest: 950, truncated: true });
    expect(kinds(effects)).toEqual(["refresh"]);
    expect(protocol.seq).toBe(950);
    expect(protocol.link).toBe("live");
  });

  test("when the missed events cannot be had, everything is read again", () => {
    const { protocol } = reconnectedAt(14);
    expect(kinds(protocol.eventsFailed())).toContain("refresh");
    expect(protocol.link).toBe("live");
  });
});

describe("losing the connection", () => {
  test("a missed heartbeat closes the socket and tries again", () => {
    const protocol = connected(1);
    const effects = protocol.timerFired("watchdog");
    expect(kinds(effects)).toContain("close");
    expect(effects.some((each) => each.do === "set-timer" && each.timer === "reconnect")).toBe(true);
    expect(protocol.link).toBe("connecting");
  });

  test("every frame winds the watchdog up again", () => {
    const protocol = connected(1);
    expect(protocol.received(frame("heartbeat", null))).toContainEqual({
      do: "set-timer",
      timer: "watchdog",
      ms: 25_000,
    });
  });

  test("after several failures in a row it polls, and goes on trying the socket", () => {
    const protocol = new LiveProtocol(TOPICS, () => 0.5);
    protocol.started();
    for (let i = 1; i < POLL_AFTER_FAILURES; i += 1) {
      protocol.closed();
      expect(protocol.link).toBe("connecting");
      protocol.timerFired("reconnect");
    }
    protocol.closed();
    expect(protocol.link).toBe("polling");
    expect(kinds(protocol.timerFired("reconnect"))).toContain("connect");
    expect(protocol.link).toBe("polling");
  });

  test("polling asks for the events after the last one seen", () => {
    const protocol = connected(7);
    let effects: Effect[] = [];
    for (let i = 0; i < POLL_AFTER_FAILURES; i += 1) {
      effects = protocol.closed();
      protocol.timerFired("reconnect");
    }
    expect(effects).toContainEqual({ do: "fetch-events", after: 7 });
    expect(delivered(protocol.eventsLoaded(page([event(8)], null)))).toEqual([8]);
    expect(protocol.timerFired("poll")).toEqual([{ do: "fetch-events", after: 8 }]);
  });

  test("polling without ever having had the socket asks first where the sequence stands", () => {
    const protocol = new LiveProtocol(TOPICS, () => 0.5);
    protocol.started();
    let effects: Effect[] = [];
    for (let i = 0; i < POLL_AFTER_FAILURES; i += 1) {
      effects = protocol.closed();
      protocol.timerFired("reconnect");
    }
    expect(effects).toContainEqual({ do: "fetch-events", after: null });
    const first = protocol.eventsLoaded({ frames: [], next: null, newest: 70, truncated: false });
    expect(kinds(first)).toEqual(["refresh", "set-timer"]);
    expect(protocol.timerFired("poll")).toEqual([{ do: "fetch-events", after: 70 }]);
  });

  test("polling ends when the socket is back", () => {
    const protocol = connected(7);
    for (let i = 0; i < POLL_AFTER_FAILURES; i += 1) {
      protocol.closed();
      protocol.timerFired("reconnect");
    }
    protocol.opened();
    protocol.received(hello(7));
    expect(protocol.link).toBe("live");
    expect(protocol.timerFired("poll")).toEqual([]);
  });

  test("the delay is drawn evenly below a ceiling that doubles up to its cap", () => {
    expect(backoffMs(1, 0)).toBe(0);
    expect(backoffMs(1, 0.999)).toBeLessThan(500);
    expect(backoffMs(4, 0.5)).toBe(2_000);
    expect(backoffMs(50, 0.999)).toBeLessThan(30_000);
  });
});

describe("a hidden tab", () => {
  test("pauses, and catches up when it is shown again", () => {
    const protocol = connected(20);
    expect(protocol.hidden()).toContainEqual({ do: "send", text: '{"action":"pause"}' });
    expect(protocol.link).toBe("asleep");
    const effects = protocol.shown();
    expect(effects).toContainEqual({ do: "send", text: '{"action":"resume"}' });
    expect(effects).toContainEqual({ do: "fetch-events", after: 20 });
  });

  test("does not reconnect until it is shown", () => {
    const protocol = connected(20);
    protocol.hidden();
    expect(protocol.closed().some((each) => each.do === "set-timer")).toBe(false);
    expect(protocol.timerFired("reconnect")).toEqual([]);
    expect(kinds(protocol.shown())).toContain("connect");
  });

  test("has no watchdog: browsers slow a hidden tab's timers down", () => {
    const protocol = connected(20);
    protocol.hidden();
    const effects = protocol.received(frame("heartbeat", null));
    expect(effects.some((each) => each.do === "set-timer")).toBe(false);
  });
});
