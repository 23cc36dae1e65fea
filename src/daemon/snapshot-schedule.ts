// When a snapshot of the replicated state is due: after so many entries or bytes were applied since the last one.
// Never by time: an idle cluster writes nothing.
import type { Entry } from '../raft/types.ts';

export interface SnapshotSchedule {
  applied(entries: readonly Entry[]): void;
  /** One is needed now, however little was applied. */
  demand(): void;
  isDue(): boolean;
  /** One was taken, or installed: counting begins anew. */
  taken(): void;
}

export interface SnapshotLimits {
  readonly entryCountMax: number;
  readonly bytesMax: number;
}

/** An entry without data still costs the log this much. */
const ENTRY_OVERHEAD_BYTES = 64;

export function createSnapshotSchedule(limits: SnapshotLimits): SnapshotSchedule {
  let [entryCount, bytes] = [0, 0];
  let isDemanded = false;
  return {
    applied(entries) {
      entryCount += entries.length;
      for (const entry of entries) bytes += entry.data.length + ENTRY_OVERHEAD_BYTES;
    },
    demand() {
      isDemanded = true;
    },
    isDue: () => isDemanded || entryCount >= limits.entryCountMax || bytes >= limits.bytesMax,
    taken() {
      [entryCount, bytes] = [0, 0];
      isDemanded = false;
    },
  };
}
