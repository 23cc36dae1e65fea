// Announces a repmgrd that certainly looks after this node's data directory, each one once, and again while it runs: an adopted group must have no second one
// that promotes. Before a group is there, one stands against adopting it (found-problems.ts).
import {
  managerText,
  otherManagers,
  runningProcesses,
  type RunningProcess,
} from '../postgres/other-managers.ts';

/** The whole process table is read. */
const LOOK_EVERY_MS = 20_000;
/** An announcement is shown for an hour. */
const AGAIN_MS = 1_800_000;

export function createRivalWatch(options: {
  readonly dataDirectory: string;
  readonly isInGroup: () => boolean;
  readonly announce: (message: string) => void;
  readonly warn: (message: string) => void;
  readonly withdraw: (message: string) => void;
  readonly nowMs: () => number;
  readonly processes?: () => Promise<Iterable<RunningProcess>>;
}): {
  /** Called with every report, which does not wait for it; looks only now and then. Never throws nor rejects. */
  look(): Promise<void>;
} {
  const { dataDirectory, nowMs, processes = runningProcesses } = options;
  const said = new Map<number, { readonly atMs: number; readonly text: string }>();
  let lookedAtMs = -Infinity;
  let isLooking = false;
  let failure: string | undefined;

  const lookNow = async (): Promise<void> => {
    const found = await otherManagers(await processes(), dataDirectory);
    const rivals = found.filter(({ isCertain }) => isCertain);
    for (const [pid, { text }] of [...said]) {
      if (rivals.some((rival) => rival.pid === pid)) continue;
      said.delete(pid);
      options.withdraw(text);
    }
    for (const rival of rivals) {
      if (nowMs() - (said.get(rival.pid)?.atMs ?? -Infinity) < AGAIN_MS) continue;
      const text = `${managerText(rival)} looks after this node too, and would promote it beside pg-sentinel: stop it, and keep it from being started again`;
      said.set(rival.pid, { atMs: nowMs(), text });
      options.announce(text);
    }
  };

  const tell = (why: string | undefined): void => {
    if (why !== undefined && why !== failure)
      options.warn(`whether another program looks after this node is not known: ${why}`);
    failure = why;
  };

  return {
    async look() {
      if (!options.isInGroup() || nowMs() - lookedAtMs < LOOK_EVERY_MS) return;
      lookedAtMs = nowMs();
      // One that hangs keeps a thread for itself: there is never a second.
      if (isLooking) return tell('the look at the processes of this host does not end');
      isLooking = true;
      try {
        await lookNow();
        tell(undefined);
      } catch (error) {
        tell((error as Error).message);
      } finally {
        isLooking = false;
      }
    },
  };
}
