// Announces what replication slots keep too much of, each matter once, and again while it lasts.
import { slotWarnings } from '../cluster/slot-warnings.ts';
import type { Upkeep } from '../cluster/report.ts';

/** An announcement is shown for an hour. */
const AGAIN_MS = 1_800_000;

export function createSlotWatch(options: {
  readonly announce: (message: string) => void;
  readonly withdraw: (message: string) => void;
  readonly nowMs: () => number;
}): {
  /** Called with every report; cheap. */
  look(upkeep: Upkeep): void;
} {
  let said: ReadonlyMap<string, { readonly atMs: number; readonly text: string }> = new Map();
  return {
    look(upkeep) {
      // Nothing was read of a PostgreSQL that is being started or promoted: that ends nothing.
      if (upkeep.slots === undefined) return;
      const nowMs = options.nowMs();
      const next = new Map<string, { readonly atMs: number; readonly text: string }>();
      const texts: string[] = [];
      for (const { kind, text } of slotWarnings(upkeep)) {
        const before = said.get(kind);
        const isDue = before === undefined || nowMs - before.atMs >= AGAIN_MS;
        if (isDue) texts.push(text);
        next.set(kind, isDue ? { atMs: nowMs, text } : before);
      }
      const over = [...said].filter(([kind, each]) => next.get(kind) !== each);
      // Before anything is said: an announcement makes a report, which looks here again.
      said = next;
      for (const [, { text }] of over) options.withdraw(text);
      texts.forEach(options.announce);
    },
  };
}
