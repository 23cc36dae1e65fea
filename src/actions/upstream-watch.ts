// Says in the log of the host itself that the upstream which its configuration names is no node of the group: once, and once more where that
// changes. `status` has it for as long as it lasts.

/** Nodes of a new group are registered one after the other. */
const SAID_AFTER_MS = 30_000;

export function createUpstreamWatch(options: {
  readonly problem: () => string | undefined;
  readonly say: (message: string) => void;
  readonly nowMs: () => number;
}): {
  /** Called with every report; cheap. */
  look(): void;
} {
  let present: { readonly text: string; readonly sinceMs: number } | undefined;
  let said: string | undefined;
  return {
    look() {
      const text = options.problem();
      if (text === undefined) {
        [present, said] = [undefined, undefined];
        return;
      }
      if (present?.text !== text) present = { text, sinceMs: options.nowMs() };
      if (said === text || options.nowMs() - present.sinceMs < SAID_AFTER_MS) return;
      said = text;
      options.say(text);
    },
  };
}
