// A process that writes a history to a store as fast as it can, to be killed, starved or watched. Its one argument is a
// `WriterTask` as JSON. Prints a line for each event, unbuffered: `ack N` after write N was acknowledged, `failed ERROR` for
// each rejected write, `reported ERROR` for a failure told beside the writes, and `disk KIND NAME` where asked to.
import { writeSync } from 'node:fs';
import { observeDisk } from './disk-operations.ts';
import { historyOf } from './history.ts';
import type { HistoryOptions } from './history.ts';
import { open } from './stores.ts';

export interface WriterTask {
  readonly directory: string;
  readonly history: HistoryOptions;
  /** Ends itself with SIGKILL before (or in the middle of) the operation on the disk of this number. */
  readonly kill?: { readonly atOperation: number; readonly inTheMiddle: boolean };
  readonly printsOperations?: boolean;
  /** Waits for each write: otherwise some share a commit. */
  readonly oneByOne?: boolean;
}

const task = JSON.parse(process.argv[2] ?? '') as WriterTask;
const print = (line: string): void => void writeSync(1, `${line}\n`);
// A file larger than `ulimit -f` allows is then an error of the write, as a full disk is, and not the end of the process.
process.on('SIGXFSZ', () => undefined);

let operationCount = 0;
if (task.kill !== undefined || task.printsOperations === true) {
  await observeDisk(async ({ kind, name, half }) => {
    operationCount += 1;
    if (task.printsOperations === true) print(`disk ${kind} ${name}`);
    if (task.kill?.atOperation !== operationCount) return;
    if (task.kill.inTheMiddle) await half();
    process.kill(process.pid, 'SIGKILL');
    await new Promise(() => undefined);
  });
}

let hasFailed = false;
const failed = (error: unknown): void => {
  hasFailed = true;
  print(`failed ${String(error)}`);
};
const writes = historyOf(task.history);
const store = await open(task.directory, { onFailure: (error) => print(`reported ${String(error)}`) });
for (const [position, write] of writes.entries()) {
  const written = store.write(write).then(() => print(`ack ${position + 1}`), failed);
  if (task.oneByOne === true || position % 3 === 0) await written;
  if (!hasFailed) continue;
  // A second one is rejected without being tried.
  await store.write(write).catch(failed);
  break;
}
await store.close();
print('end');
