const MINUTE_S = 60;
const HOUR_S = 3_600;
const DAY_S = 86_400;

/** An age in words as short as they can be: "now", "12 s", "3 min", "2 h", "4 d". */
export function age(seconds: number): string {
  if (seconds < 3) return "now";
  if (seconds < MINUTE_S) return `${Math.floor(seconds)} s`;
  if (seconds < HOUR_S) return `${Math.floor(seconds / MINUTE_S)} min`;
  if (seconds < DAY_S) return `${Math.floor(seconds / HOUR_S)} h`;
  return `${Math.floor(seconds / DAY_S)} d`;
}

/** "now", or an age with "ago" behind it. */
export function ago(seconds: number): string {
  const text = age(seconds);
  return text === "now" ? text : `${text} ago`;
}

export function secondsBetween(earlier: string, nowMs: number): number {
  return Math.max(0, (nowMs - Date.parse(earlier)) / 1000);
}

/** The local time of day, as "14:38". */
export function clock(unixSeconds: number): string {
  return timeOfDay(unixSeconds * 1000, {});
}

/** The local time of day to the second, as "14:38:06". */
export function clockToTheSecond(ms: number): string {
  return timeOfDay(ms, { second: "2-digit" });
}

function timeOfDay(ms: number, more: Intl.DateTimeFormatOptions): string {
  return new Date(ms).toLocaleTimeString("en", {
    hour: "2-digit",
    minute: "2-digit",
    hourCycle: "h23",
    ...more,
  });
}

/** A rate a minute, to as many digits as can be read at a glance. */
export function rate(perMinute: number): string {
  if (!Number.isFinite(perMinute)) return "–";
  const size = Math.abs(perMinute);
  if (size >= 9_950) return `${Math.round(perMinute / 1000)}k`;
  if (size >= 995) return `${(perMinute / 1000).toFixed(1)}k`;
  if (size >= 9.95) return String(Math.round(perMinute));
  return perMinute.toFixed(1);
}

/** "3 posts", "1 post". */
export function counted(count: number, noun: string): string {
  return `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
}
