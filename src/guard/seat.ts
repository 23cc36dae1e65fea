// The one seat of a node's guard: the highest numbered socket in its directory, `7.sock`. Whoever listens on it holds the seat; the
// kernel takes the listener away with its process, so a seat is never held by a dead one. Two must never hold it.
//
// A socket is made under another name and linked to the next free number only when it listens, so that "nobody listens" always means
// "dead", and the link succeeds for one of several only. The highest number is never removed, so numbers never come back.
import { link, mkdir, readdir, rm, writeFile, readFile } from 'node:fs/promises';
import { connect, type Server, type Socket } from 'node:net';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { isAlive, processState } from '../postgres/processes.ts';

export interface Seat {
  readonly number: number;
}

/** Who sat down there, to be told from a process that has its pid by now. */
export interface Sitter {
  readonly pid: number;
  readonly startTicks: number;
}

const socketPath = (directory: string, number: number): string => join(directory, `${number}.sock`);
const sitterPath = (directory: string, number: number): string => join(directory, `${number}.pid`);

/** The longest name in the directory, for a check against the limit of a socket's path. */
export const LONGEST_SOCKET = 'new-1234567-12345678.sock';

/**
 * Sits down with `server`, which does not listen yet; undefined where a living guard holds the seat. `over`: the seat of a guard
 * that has yielded, which may be alive.
 */
export async function takeSeat(
  directory: string,
  server: Server,
  over: number | undefined,
): Promise<Seat | undefined> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const temporary = join(directory, `new-${process.pid}-${randomBytes(4).toString('hex')}.sock`);
  const pidFile = `${temporary}.pid`;
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(temporary, resolve);
  });
  const sitter: Sitter = { pid: process.pid, startTicks: processState(process.pid)?.startTicks ?? 0 };
  try {
    for (;;) {
      const highest = await highestSeat(directory);
      if (highest !== over && highest > 0 && (await isHeld(directory, highest))) return undefined;
      const number = highest + 1;
      await writeFile(pidFile, JSON.stringify(sitter), { mode: 0o600 });
      if (!(await linked(temporary, socketPath(directory, number)))) continue;
      // Whoever found the seat dead long ago may come late, below one that was taken since.
      if ((await highestSeat(directory)) !== number) {
        await rm(socketPath(directory, number), { force: true });
        continue;
      }
      await rm(sitterPath(directory, number), { force: true });
      await link(pidFile, sitterPath(directory, number));
      await removeBelow(directory, number);
      return { number };
    }
  } finally {
    for (const file of [temporary, pidFile]) await rm(file, { force: true });
  }
}

/** 0 where nobody ever sat. */
export async function highestSeat(directory: string): Promise<number> {
  const names = await readdir(directory).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  });
  return Math.max(0, ...names.flatMap((name) => /^(\d+)\.sock$/.exec(name)?.[1] ?? []).map(Number));
}

/** Connects to whoever holds the seat; undefined where nobody does. Throws where that cannot be told. */
export async function connectSeat(directory: string, number: number): Promise<Socket | undefined> {
  const socket = connect({ path: socketPath(directory, number) });
  return new Promise((resolve, reject) => {
    socket.once('connect', () => {
      socket.removeAllListeners('error');
      socket.on('error', () => undefined);
      resolve(socket);
    });
    socket.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNREFUSED' || error.code === 'ENOENT') resolve(undefined);
      else reject(error);
    });
  });
}

/** Undefined where it cannot be told. */
export async function sitterOf(directory: string, number: number): Promise<Sitter | undefined> {
  try {
    return JSON.parse(await readFile(sitterPath(directory, number), 'utf8')) as Sitter;
  } catch {
    return undefined;
  }
}

async function isHeld(directory: string, number: number): Promise<boolean> {
  const socket = await connectSeat(directory, number);
  socket?.destroy();
  return socket !== undefined;
}

async function linked(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

async function removeBelow(directory: string, number: number): Promise<void> {
  for (const name of await readdir(directory)) {
    const found = /^(\d+)\.(?:sock|pid)$/.exec(name)?.[1];
    const isOld = found !== undefined && Number(found) < number;
    // Left by one that was killed while it sat down.
    const maker = /^new-(\d+)-/.exec(name)?.[1];
    const isLeft = maker !== undefined && !isAlive(Number(maker));
    if (isOld || isLeft) await rm(join(directory, name), { force: true });
  }
}
