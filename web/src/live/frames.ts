/** A frame of the WebSocket, or an event of `/v1/events`: the two have one shape. */
export interface Frame {
  type: string;
  /** The database's number of the event. Null in frames that only concern this connection. */
  seq: number | null;
  ts: string;
  /** False while the platform is catching up with its source. */
  live: boolean;
  data: Record<string, unknown>;
}

const CONNECTION_ONLY = new Set(["hello", "heartbeat", "info", "error", "pong"]);

/** Whether a frame is about this connection alone: such frames have no place in the sequence. */
export function concernsConnection(frame: Frame): boolean {
  return CONNECTION_ONLY.has(frame.type);
}

/** Total: null for whatever is not a frame of protocol version 1. */
export function parseFrame(text: string): Frame | null {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  return toFrame(value);
}

export function toFrame(value: unknown): Frame | null {
  if (!isRecord(value) || typeof value.type !== "string") return null;
  if (value.v !== undefined && value.v !== 1) return null;
  const seq = value.seq;
  return {
    type: value.type,
    seq: typeof seq === "number" && Number.isSafeInteger(seq) ? seq : null,
    ts: typeof value.ts === "string" ? value.ts : "",
    live: value.live !== false,
    data: isRecord(value.data) ? value.data : {},
  };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
