import type { Frame } from "./frames";
import { type Effect, type EventsPage, type Link, LiveProtocol, type Timer } from "./protocol";

export interface LiveHandlers {
  onFrames(frames: readonly Frame[]): void;
  onLink(link: Link): void;
  /** Read everything again over REST. */
  onRefresh(): void;
  fetchEvents(after: number | null): Promise<EventsPage>;
}

/** Moves the bytes for `LiveProtocol`: one socket, its timers, and the tab's visibility. */
export class LiveShell {
  readonly #protocol: LiveProtocol;
  readonly #timers = new Map<Timer, ReturnType<typeof setTimeout>>();
  #socket: WebSocket | null = null;
  #link: Link | null = null;

  constructor(
    private readonly url: string,
    topics: readonly string[],
    private readonly handlers: LiveHandlers,
  ) {
    this.#protocol = new LiveProtocol(topics, Math.random);
  }

  start(): void {
    document.addEventListener("visibilitychange", () => {
      this.#perform(document.hidden ? this.#protocol.hidden() : this.#protocol.shown());
    });
    // A page kept in the back-forward cache must not keep its socket.
    window.addEventListener("pagehide", () => this.#perform(this.#protocol.hidden()));
    window.addEventListener("pageshow", () => this.#perform(this.#protocol.shown()));
    this.#perform(this.#protocol.started());
    if (document.hidden) this.#perform(this.#protocol.hidden());
  }

  setTopics(topics: readonly string[]): void {
    this.#perform(this.#protocol.topicsChanged(topics));
  }

  #perform(effects: readonly Effect[]): void {
    for (const effect of effects) this.#act(effect);
    if (this.#protocol.link !== this.#link) {
      this.#link = this.#protocol.link;
      this.handlers.onLink(this.#link);
    }
  }

  #act(effect: Effect): void {
    switch (effect.do) {
      case "connect":
        this.#connect();
        break;
      case "close":
        this.#disconnect();
        break;
      case "send":
        if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(effect.text);
        break;
      case "set-timer":
        clearTimeout(this.#timers.get(effect.timer));
        this.#timers.set(
          effect.timer,
          setTimeout(() => this.#perform(this.#protocol.timerFired(effect.timer)), effect.ms),
        );
        break;
      case "clear-timer":
        clearTimeout(this.#timers.get(effect.timer));
        break;
      case "fetch-events":
        this.handlers.fetchEvents(effect.after).then(
          (page) => this.#perform(this.#protocol.eventsLoaded(page)),
          () => this.#perform(this.#protocol.eventsFailed()),
        );
        break;
      case "deliver":
        this.handlers.onFrames(effect.frames);
        break;
      case "refresh":
        this.handlers.onRefresh();
        break;
    }
  }

  #connect(): void {
    this.#disconnect();
    let socket: WebSocket;
    try {
      socket = new WebSocket(this.url);
    } catch {
      // An address the browser refuses, such as ws: from an https: page. Polling takes over.
      this.#perform(this.#protocol.closed());
      return;
    }
    this.#socket = socket;
    const current = (then: () => Effect[]) => () => {
      if (this.#socket === socket) this.#perform(then());
    };
    socket.onopen = current(() => this.#protocol.opened());
    socket.onmessage = (event: MessageEvent<unknown>) => {
      const { data } = event;
      if (this.#socket === socket && typeof data === "string") {
        this.#perform(this.#protocol.received(data));
      }
    };
    socket.onclose = current(() => {
      this.#socket = null;
      return this.#protocol.closed();
    });
  }

  #disconnect(): void {
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
  }
}
