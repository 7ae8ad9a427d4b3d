import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";

/** A title of more characters, such as an address, is written smaller. */
const LONG_TITLE = 40;

/** What was opened: takes the focus when its title changes, and is left by its link or Escape. */
export function Panel({
  id,
  eyebrow,
  title,
  takesFocus = true,
  children,
}: {
  id: string;
  eyebrow: ComponentChildren;
  title: string;
  takesFocus?: boolean;
  children: ComponentChildren;
}) {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    if (takesFocus) heading.current?.focus();
  }, [title, takesFocus]);
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      const typing = event.target instanceof HTMLInputElement;
      if (event.key === "Escape" && !typing) location.hash = "#/";
    };
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, []);
  return (
    <section class="panel" aria-labelledby={id}>
      <header class="panel-head">
        <div class="eyebrow">{eyebrow}</div>
        <h2
          id={id}
          ref={heading}
          tabIndex={-1}
          dir="auto"
          class={title.length > LONG_TITLE ? "long" : undefined}
        >
          {title}
        </h2>
        <a class="close" href="#/">
          <span class="unseen">Close</span>
          <svg viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">
            <path d="M3 3L13 13M13 3L3 13" />
          </svg>
        </a>
      </header>
      {children}
    </section>
  );
}
