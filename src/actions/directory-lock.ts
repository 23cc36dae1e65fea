// Only one process at a time makes or replaces the data directory of a node: sentineld's agent, or `sentinelctl node create` and `clone` on the
// host itself. Held by the socket of a living process (see seat.ts): the kernel lets go of it with its process, however that ends.
import { mkdir } from 'node:fs/promises';
import { createServer } from 'node:net';
import { settledWithin } from '../base/clock.ts';
import { connectSeat, highestSeat, takeSeat } from '../guard/seat.ts';
import type { AgentContext } from './context.ts';

export type DirectoryLock =
  | { readonly kind: 'held'; release(): void }
  /** `by`: such as `sentinelctl node clone, process 4711`. */
  | { readonly kind: 'taken'; readonly by: string };

const ASK_TIMEOUT_MS = 1000;

/** `directory` is made where it is missing; its parent is there. `what`: who holds it, for others to read. */
export async function lockDirectory(directory: string, what: string): Promise<DirectoryLock> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.end(`${what}, process ${process.pid}`);
  });
  server.unref();
  // Nobody needs it under that name: it is the seat's.
  const release = (): void => void server.close();
  const seat = await takeSeat(directory, server, undefined).catch((error: unknown) => {
    release();
    throw error;
  });
  if (seat === undefined) {
    release();
    return { kind: 'taken', by: (await holderOf(directory)) ?? 'another process' };
  }
  return { kind: 'held', release };
}

/** Who holds it now; undefined where nobody does. Changes nothing. */
export async function holderOf(directory: string): Promise<string | undefined> {
  const number = await highestSeat(directory);
  if (number === 0) return undefined;
  const socket = await connectSeat(directory, number);
  if (socket === undefined) return undefined;
  let text = '';
  socket.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
  await settledWithin(new Promise((resolve) => socket.once('close', resolve)), ASK_TIMEOUT_MS);
  socket.destroy();
  return text === '' ? 'another process' : text;
}

/** For the agent; undefined where another process holds it, which is said. */
export async function lockFor(
  { instance, activity }: Pick<AgentContext, 'instance' | 'activity'>,
  what: string,
): Promise<Extract<DirectoryLock, { readonly kind: 'held' }> | undefined> {
  const { lockDirectory: directory, dataDirectory } = instance.options;
  const lock = await lockDirectory(directory, what);
  if (lock.kind === 'held') return lock;
  activity(undefined, `waiting: ${lock.by} works on ${dataDirectory}`);
  return undefined;
}
