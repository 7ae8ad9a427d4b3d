import type { Momentum, Post } from "../src/api/types";

export function post(id: string, fields: Partial<Post> = {}): Post {
  return {
    id,
    source: "simulator",
    author: "did:plc:author",
    text: `Post ${id}`,
    lang: "en",
    created_at: null,
    event_time: "2026-07-04T14:38:06Z",
    entities: [],
    reply_to: null,
    quote_of: null,
    url: null,
    ...fields,
  };
}

export function momentum(entity: string, score: number, fields: Partial<Momentum> = {}): Momentum {
  const [kind = "", name = ""] = entity.split(":");
  return {
    entity,
    kind,
    name,
    display: name,
    as_of: "2026-07-04T14:38:00Z",
    stage: "rising",
    stage_since: "2026-07-04T14:30:00Z",
    mentions: 10,
    authors: 8,
    velocity: 2,
    acceleration: 0.1,
    surprise: 3,
    score,
    sparkline: [],
    parts: {},
    ...fields,
  };
}
