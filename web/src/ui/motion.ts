import type { RefObject } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";

const GLIDE_MS = 420;

export function calm(): boolean {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}

/**
 * Let the children of a list glide to where a new order puts them (FLIP), each told by its `data-key`.
 * With reduced motion they are simply there.
 */
export function useGlide(list: RefObject<HTMLElement | null>, order: string): void {
  const places = useRef(new Map<string, number>());
  const width = useRef(0);
  useLayoutEffect(() => {
    const before = places.current;
    const after = new Map<string, number>();
    // Another width means another layout: then rows have moved without having changed places.
    const still = calm() || width.current !== list.current?.clientWidth;
    width.current = list.current?.clientWidth ?? 0;
    const rows = [...(list.current?.children ?? [])].filter((row) => row instanceof HTMLElement);
    for (const row of rows) after.set(row.dataset.key ?? "", row.offsetTop);
    for (const row of rows) {
      const key = row.dataset.key ?? "";
      const from = before.get(key);
      const to = after.get(key) ?? 0;
      if (still || from === undefined || from === to) continue;
      row.animate([{ transform: `translateY(${from - to}px)` }, { transform: "none" }], {
        duration: GLIDE_MS,
        easing: "cubic-bezier(0.22, 0.8, 0.24, 1)",
      });
    }
    places.current = after;
  }, [order]);
}
