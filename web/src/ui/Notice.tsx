import type { ComponentChildren } from "preact";

/** What stands where data would be: one sentence, and what can be done about it where there is something. */
export function Notice({
  kind,
  children,
  onRetry,
}: {
  kind: "loading" | "empty" | "error";
  children: ComponentChildren;
  onRetry?: () => void;
}) {
  return (
    <div class={`notice notice-${kind}`} role={kind === "error" ? "alert" : "status"}>
      <p>{children}</p>
      {onRetry !== undefined && (
        <button type="button" class="quiet" onClick={onRetry}>
          Try again
        </button>
      )}
    </div>
  );
}
