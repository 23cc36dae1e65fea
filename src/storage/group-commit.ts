// One write in flight; what arrives meanwhile goes out together as the next. Answers come in order of arrival.
// Must never try again after a failure: what reached the disk is then unknown, so this and every later write is refused.
import { StoreFailedError } from './errors.ts';

export interface GroupCommit<Item> {
  /** Resolves when `item` is durable. */
  write(item: Item): Promise<void>;
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
  let refusal: StoreFailedError | undefined;

  const run = async (): Promise<void> => {
    while (waiting.length > 0) {
      const batch = waiting;
      waiting = [];
      try {
        await commit(batch.map((entry) => entry.item));
      } catch (error) {
        refusal = new StoreFailedError(
          `a write to the Raft log failed, so it is unknown what is durable: ${String(error)}. End the process; the log is checked when it is opened again`,
          { cause: error },
        );
        for (const entry of [...batch, ...waiting]) entry.reject(refusal);
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
        if (refusal !== undefined) {
          reject(refusal);
          return;
        }
        waiting.push({ item, resolve, reject });
        running ??= run();
      }),
    close: async () => {
      refusal ??= new StoreFailedError('the Raft log is closed');
      while (running !== undefined) await running;
    },
  };
}
