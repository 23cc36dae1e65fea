// The processes of one instance as Linux shows them. "Gone" means every process of it, not only the postmaster: backends
// of a killed postmaster live on for a moment and may still finish a commit (DESIGN §8). Synchronous reads of /proc:
// each takes microseconds, and a signal must not go to a process that changed meanwhile.
import { readdirSync, readFileSync, readlinkSync, realpathSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { delay } from '../base/clock.ts';

/** Names the System V segment that every process of an instance is attached to. Ids alone begin anew with each boot of the host. */
export interface SharedMemoryId {
  /** A signed number of 32 bits, which PostgreSQL makes of the data directory's inode. */
  readonly key: number;
  readonly id: number;
}

/** What `postmaster.pid` says (src/include/utils/pidfile.h). */
export interface PostmasterFile {
  readonly pid: number;
  readonly dataDirectory: string;
  /** Seconds since 1970; undefined where it is not told. */
  readonly startedAtS?: number | undefined;
  readonly port: number | undefined;
  readonly socketDirectory: string | undefined;
  /** The first of `listen_addresses`, `*` for all; undefined where it listens for nobody on the network. */
  readonly listenAddress: string | undefined;
  readonly sharedMemoryId: SharedMemoryId | undefined;
  /** `starting`, `stopping`, `ready`, `standby`. */
  readonly status: string | undefined;
}

/** Reads the text of postmaster.pid, or undefined where it is empty (it is being written). */
export function parsePostmasterFile(text: string): PostmasterFile | undefined {
  const lines = text.split('\n');
  const pid = Math.abs(Number(lines[0]));
  if (!Number.isInteger(pid) || pid === 0) return undefined;
  const memory = /^\s*(\d+)\s+(\d+)/.exec(lines[6] ?? '');
  return {
    pid,
    dataDirectory: lines[1] ?? '',
    startedAtS: Number(lines[2]) || undefined,
    port: lines[3] ? Number(lines[3]) : undefined,
    socketDirectory: lines[4] || undefined,
    listenAddress: lines[5] || undefined,
    sharedMemoryId: memory === null ? undefined : { key: keyOf(memory[1] ?? ''), id: Number(memory[2]) },
    status: lines[7]?.trim() || undefined,
  };
}

/** PostgreSQL prints a negative key as an unsigned number of 64 bits. */
const keyOf = (text: string): number => Number(BigInt.asIntN(32, BigInt(text)));

/** postmaster.pid of a data directory, or undefined where there is none. It may be left over from a killed postmaster. */
export function readPostmasterFile(dataDirectory: string): PostmasterFile | undefined {
  const text = readQuietly(join(dataDirectory, 'postmaster.pid'));
  return text === undefined ? undefined : parsePostmasterFile(text);
}

export interface ProcessState {
  readonly parent: number;
  /** The process group, by the number of the process that began it. */
  readonly group: number;
  /** `R`, `S`, `D`, `T` (stopped), `Z` (zombie), as in proc(5). */
  readonly state: string;
  /** Clock ticks since boot: with the pid, this names a process for good. */
  readonly startTicks: number;
}

/** The state of a process, or undefined where there is none. */
export function processState(pid: number): ProcessState | undefined {
  const text = readQuietly(`/proc/${pid}/stat`);
  if (text === undefined) return undefined;
  // The name stands in parentheses and may hold spaces and parentheses itself.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return {
    state: fields[0] ?? '?',
    parent: Number(fields[1]),
    group: Number(fields[2]),
    startTicks: Number(fields[19]),
  };
}

/** Whether the process exists and still runs code; a zombie does not. */
export function isAlive(pid: number): boolean {
  const state = processState(pid)?.state;
  return state !== undefined && state !== 'Z' && state !== 'X';
}

/**
 * Whether there is a process of that number, though it be a zombie, that can be looked at. PostgreSQL does not mind one that it may not signal, and
 * that is one of another user.
 */
export function mayBeTaken(pid: number): boolean {
  const state = processState(pid)?.state;
  return (
    state !== undefined && (state === 'Z' || state === 'X' || linkQuietly(`/proc/${pid}/cwd`) !== undefined)
  );
}

/** Whether the process is a living `postgres` that works in this data directory: never signal one that is not. */
export function belongsTo(pid: number, dataDirectory: string): boolean {
  return worksIn(pid, realpathQuietly(dataDirectory));
}

/** The working directory first: for nearly every process of the host that one read decides. */
function worksIn(pid: number, realDirectory: string): boolean {
  if (linkQuietly(`/proc/${pid}/cwd`) !== realDirectory) return false;
  const program = linkQuietly(`/proc/${pid}/exe`);
  if (program === undefined || !isPostgres(program) || !isAlive(pid)) return false;
  return !isElsewhere(pid, `/proc/${pid}/cwd`, realDirectory);
}

/**
 * What the process has at `path` is not our `directory`, though it has the same name: it is in a container. A service's private view of the host is a
 * mount namespace too, with the same directory in it. Within our own namespace a name is enough: what was mounted over a directory since does
 * not make a server that works below it somebody else's.
 */
function isElsewhere(pid: number, path: string, directory: string): boolean {
  const [theirs, ours] = [linkQuietly(`/proc/${pid}/ns/mnt`), linkQuietly('/proc/self/ns/mnt')];
  if (theirs === undefined || theirs === ours) return false;
  const [there, here] = [identityOf(path), identityOf(directory)];
  // What cannot be told counts as ours: nobody may take our own server for gone.
  return there === 'absent' || (there !== undefined && here !== undefined && there !== here);
}

/** Of a file, or `absent`; undefined where it cannot be told. */
function identityOf(path: string): string | undefined {
  try {
    const { dev, ino } = statSync(path, { bigint: true });
    return `${dev} ${ino}`;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'absent' : undefined;
  }
}

/** Whether both paths lead to the same directory; false where one of them cannot be told. */
export function isSameDirectory(a: string, b: string): boolean {
  const [one, other] = [identityOf(a), identityOf(b)];
  return one !== undefined && one !== 'absent' && one === other;
}

/** The living postmaster of a data directory, or undefined. */
export function findPostmaster(dataDirectory: string): PostmasterFile | undefined {
  const file = readPostmasterFile(dataDirectory);
  return file !== undefined && belongsTo(file.pid, dataDirectory) ? file : undefined;
}

/**
 * Finds the living postmaster of a data directory again and again. The one that was found is known by pid and start time, which name
 * a process for good: while it lives one small read tells so, and postmaster.pid is not read again.
 */
export function createPostmasterFinder(dataDirectory: string): () => PostmasterFile | undefined {
  let known: { readonly file: PostmasterFile; readonly startTicks: number } | undefined;
  return () => {
    if (known !== undefined && isSameProcess(known.file.pid, known.startTicks)) return known.file;
    known = undefined;
    const file = readPostmasterFile(dataDirectory);
    if (file === undefined) return undefined;
    const startTicks = processState(file.pid)?.startTicks;
    if (startTicks === undefined || !belongsTo(file.pid, dataDirectory)) return undefined;
    // Not before its file is complete, nor if the pid went over to another process between the two reads.
    if (file.status !== undefined && isSameProcess(file.pid, startTicks)) known = { file, startTicks };
    return file;
  };
}

/** Whether the process that began then under that pid still runs code. */
export function isSameProcess(pid: number, startTicks: number): boolean {
  const now = processState(pid);
  return now !== undefined && now.startTicks === startTicks && now.state !== 'Z' && now.state !== 'X';
}

/** Every living process of the instance, the postmaster included, by its working directory. */
export function instanceProcesses(dataDirectory: string): number[] {
  const realDirectory = realpathQuietly(dataDirectory);
  return allPids().filter((pid) => worksIn(pid, realDirectory));
}

/** The living processes of a process group; a signal to the group is taken also where only zombies are left in it. */
export function groupMembers(group: number): number[] {
  return allPids().filter((pid) => {
    const found = processState(pid);
    return found?.group === group && found.state !== 'Z' && found.state !== 'X';
  });
}

/** Whether `NAME=VALUE` stands in the environment that the process was started with; false where it may not be read. */
export function hasInEnvironment(pid: number, entry: string): boolean {
  return (readQuietly(`/proc/${pid}/environ`) ?? '').split('\0').includes(entry);
}

/**
 * How many processes are attached to a shared memory segment; 0 where it is gone. One that is marked for removal while processes are attached
 * has lost its key. Source: /proc/sysvipc/shm.
 */
function attachedProcesses({ key, id }: SharedMemoryId): number {
  const lines = (readQuietly('/proc/sysvipc/shm') ?? '').split('\n').slice(1);
  for (const line of lines) {
    const fields = line.trim().split(/\s+/);
    if (Number(fields[1]) === id && [key, 0].includes(Number(fields[0]))) return Number(fields[6]);
  }
  return 0;
}

/** The data directories of every PostgreSQL that runs on this host and may be looked at, as paths that work from here. */
export function runningDirectories(): string[] {
  const found = new Map<string, string>();
  for (const pid of allPids()) {
    const program = linkQuietly(`/proc/${pid}/exe`);
    if (program === undefined || !isPostgres(program)) continue;
    const path = `/proc/${pid}/cwd`;
    // A container may have another directory at the same path.
    const identity = identityOf(path);
    // Else it has ended meanwhile.
    if (identity !== undefined && identity !== 'absent') found.set(identity, path);
  }
  return [...found.values()];
}

export type Gone =
  | { readonly gone: true }
  | { readonly gone: false; readonly pids: readonly number[]; readonly attached: number };

/** Whether nothing of the instance is left. `sharedMemoryId` comes from postmaster.pid, read while it was there. */
export function allGone(options: {
  readonly dataDirectory: string;
  readonly sharedMemoryId: SharedMemoryId | undefined;
}): Gone {
  const pids = instanceProcesses(options.dataDirectory);
  const attached = options.sharedMemoryId === undefined ? 0 : attachedProcesses(options.sharedMemoryId);
  return pids.length === 0 && attached === 0 ? { gone: true } : { gone: false, pids, attached };
}

/** SIGKILL to every process of the instance. Returns the pids; they are gone only when {@link allGone} says so. */
export function killRemaining(dataDirectory: string): number[] {
  const pids = instanceProcesses(dataDirectory);
  for (const pid of pids) signalProcess(pid, 'SIGKILL');
  return pids;
}

const COPYING = ['pg_basebackup', 'initdb'];
const ENDED_WITHIN_MS = 5000;

/**
 * Ends the programs that fill `directory`: whoever started them was killed, and nobody looks after them any more. Throws where one does
 * not end.
 */
export function endProgramsOn(directory: string): Promise<void> {
  return endPrograms({
    names: COPYING,
    directory,
    isMeant: (args) => args.includes(`--pgdata=${directory}`),
    what: `write to ${directory}`,
  });
}

/**
 * SIGKILL to the programs of those names whose arguments are meant, with what they have started. Throws where one does not end. Those in a
 * container for which `directory`, an absolute path, is another one are nobody's here.
 */
export async function endPrograms(options: {
  readonly names: readonly string[];
  readonly directory: string;
  readonly isMeant: (args: readonly string[]) => boolean;
  /** What they do, for the message. */
  readonly what: string;
}): Promise<void> {
  // Below another root a link with an absolute path would lead back to ours.
  const directory = realpathQuietly(options.directory) ?? options.directory;
  const isAtWork = (pid: number): boolean =>
    options.isMeant((readQuietly(`/proc/${pid}/cmdline`) ?? '').split('\0')) &&
    options.names.includes(basename(linkQuietly(`/proc/${pid}/exe`)?.replace(/ \(deleted\)$/, '') ?? '')) &&
    isAlive(pid) &&
    !isElsewhere(pid, `/proc/${pid}/root${directory}`, directory);
  const deadlineMs = performance.now() + ENDED_WITHIN_MS;
  for (let pids = allPids().filter(isAtWork); pids.length > 0; pids = pids.filter(isAtWork)) {
    for (const pid of pids) {
      // We start each as the first of a process group.
      signalProcess(-pid, 'SIGKILL');
      signalProcess(pid, 'SIGKILL');
    }
    if (performance.now() > deadlineMs)
      throw new Error(`processes ${pids.join(', ')}, which ${options.what}, do not end`);
    await delay(5);
  }
}

/** Sends a signal; false where the process no longer exists. Throws where it may not be sent. */
export function signalProcess(pid: number, signal: NodeJS.Signals): boolean {
  try {
    process.kill(pid, signal);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
    throw new Error(`cannot send ${signal} to process ${pid}: ${(error as Error).message}`);
  }
}

/** A child of the postmaster. `unknown`: forked so recently that it has not yet set its title. */
export interface ChildProcess {
  readonly pid: number;
  readonly kind: 'walreceiver' | 'slotsync' | 'startup' | 'other' | 'unknown';
  readonly title: string;
}

/**
 * The living children of a postmaster. Reads all of /proc: `/proc/PID/task/PID/children` may leave out a child while
 * others exit (proc(5)), and the cut must not miss one.
 */
export function childProcesses(postmasterPid: number): ChildProcess[] {
  const children: ChildProcess[] = [];
  for (const pid of allPids()) {
    const state = processState(pid);
    if (state === undefined || state.parent !== postmasterPid || state.state === 'Z' || state.state === 'X')
      continue;
    const title = (readQuietly(`/proc/${pid}/cmdline`) ?? '').replaceAll('\0', ' ').trim();
    // One that exited between the two reads has no title either; the next scan tells.
    children.push({ pid, kind: classifyTitle(title), title });
  }
  return children;
}

/** What a process title of PostgreSQL 14 to 18 says; `postgres: NAME: walreceiver streaming 0/3000148` with a cluster_name. */
export function classifyTitle(title: string): ChildProcess['kind'] {
  const word = /^postgres: (?:\S+: )?(\S+)/.exec(title)?.[1];
  switch (word) {
    case undefined:
      return 'unknown';
    case 'walreceiver':
      return 'walreceiver';
    case 'slotsync':
      return 'slotsync';
    case 'startup':
      return 'startup';
    default:
      return 'other';
  }
}

function allPids(): number[] {
  const pids: number[] = [];
  for (const name of readdirSync('/proc')) {
    const first = name.charCodeAt(0);
    if (first >= 0x31 && first <= 0x39) pids.push(Number(name));
  }
  return pids;
}

/** `/proc/PID/exe` of a program that was replaced by an upgrade ends in " (deleted)". */
const isPostgres = (program: string): boolean =>
  ['postgres', 'postmaster'].includes(basename(program.replace(/ \(deleted\)$/, '')));

function readQuietly(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

function linkQuietly(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

function realpathQuietly(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}
