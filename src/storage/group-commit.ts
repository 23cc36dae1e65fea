// One write in flight; what arrives meanwhile goes out together as the next. Answers come in order of arrival.
// Must never try again after a failure: what reached the disk is then unknown, so this and every later write is refused.
import { StoreFailedError } from './errors.ts';

export interface GroupCommit<Item> {
  /** Resolves when `item` is durable. */
  write(item: Item): Promise<void>;
  /** Refuses all but the writes in flight because of `error`, which happened beside them, and says so in the error returned. */
  fail(error: unknown): StoreFailedError;
  /** Refuses further writes and resolves when those accepted have ended. */
  close(): Promise<void>;
}

interface Waiting<Item> {
  readonly item: Item;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

export function createGroupCommit<Item>(
  commit: (items: readonly Item[]) => Promise<void>,
): GroupCommit<Item> {
  let waiting: Waiting<Item>[] = [];
  let running: Promise<void> | undefined;
  let failure: StoreFailedError | undefined;
  let isClosed = false;

  const fail = (error: unknown): StoreFailedError => {
    const latest = new StoreFailedError(
      `a write to the Raft log failed, so it is unknown what is durable: ${String(error)}. End the process; the log is checked when it is opened again`,
      { cause: error },
    );
    failure ??= latest;
    return latest;
  };

  const run = async (): Promise<void> => {
    while (waiting.length > 0) {
      const batch = waiting;
      waiting = [];
      try {
        if (failure !== undefined) throw failure;
        await commit(batch.map((entry) => entry.item));
      } catch (error) {
        const reason = failure ?? fail(error);
        for (const entry of [...batch, ...waiting]) entry.reject(reason);
        waiting = [];
        break;
      }
      for (const entry of batch) entry.resolve();
    }
    running = undefined;
  };

  return {
    write: (item) =>
      new Promise<void>((resolve, reject) => {
        if (failure !== undefined || isClosed) {
          reject(failure ?? new StoreFailedError('the Raft log is closed'));
          return;
        }
        waiting.push({ item, resolve, reject });
        running ??= run();
      }),
    fail,
    close: async () => {
      isClosed = true;
      while (running !== undefined) await running;
    },
  };
}
