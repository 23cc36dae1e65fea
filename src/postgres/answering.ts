// Whether a file system answers at all. A volume that hangs (NFS, iSCSI) holds a synchronous call up for good, and this whole process with it: before one is
// made in a directory that nothing depends on, such as that of an earlier configuration, it is asked here.
import { stat } from 'node:fs/promises';
import { settledWithin } from '../base/clock.ts';

const ANSWERS_MS = 2000;

/** By path: each that does not answer keeps a thread of the few there are, so it is not asked again before it does. */
const pending = new Map<string, Promise<void>>();

/** Whether there is an answer within two seconds, also that nothing is there. */
export async function answers(path: string, ms = ANSWERS_MS): Promise<boolean> {
  const asked =
    pending.get(path) ??
    stat(path)
      .then(
        () => undefined,
        () => undefined,
      )
      .finally(() => pending.delete(path));
  pending.set(path, asked);
  let isAnswered = false;
  await settledWithin(
    asked.then(() => (isAnswered = true)),
    ms,
  );
  return isAnswered;
}
