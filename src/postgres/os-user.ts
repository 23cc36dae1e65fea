// Who PostgreSQL runs as. PostgreSQL refuses to run as root, so a root sentineld starts it as another user, and gives
// that user the files it writes; an ordinary sentineld runs PostgreSQL as itself and changes no owner.
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { lchown, readFile } from 'node:fs/promises';
import type { Owner } from './durable-files.ts';

export interface OsUser {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  /** Set only when sentineld is root: files are given to this owner and processes are started as it. */
  readonly owner: Owner | undefined;
}

/**
 * As root: the configured user, else `postgres`, else `nobody`. Otherwise the user sentineld runs as.
 * Throws when the configured user does not exist, is root, or is another one than the user of an ordinary sentineld.
 */
export async function findOsUser(options: {
  readonly configured: string | undefined;
  readonly passwdPath?: string;
}): Promise<OsUser> {
  const entries = parsePasswd(await readFile(options.passwdPath ?? '/etc/passwd', 'utf8'));
  const ownUid = process.getuid?.() ?? -1;
  const own = [...entries.values()].find((entry) => entry.uid === ownUid);
  if (ownUid !== 0) {
    const name = own?.name ?? String(ownUid);
    if (options.configured !== undefined && options.configured !== name) {
      throw new Error(
        `cannot run PostgreSQL as "${options.configured}": sentineld runs as "${name}" and only root can change users; ` +
          `run sentineld as root or as "${options.configured}", or leave os_user out`,
      );
    }
    return { name, uid: ownUid, gid: process.getgid?.() ?? -1, owner: undefined };
  }
  const wanted = options.configured === undefined ? ['postgres', 'nobody'] : [options.configured];
  const found = wanted.map((name) => entries.get(name)).find((entry) => entry !== undefined);
  if (found === undefined) {
    throw new Error(
      `cannot run PostgreSQL: no OS user ${wanted.join(' or ')} in /etc/passwd; create one or set os_user`,
    );
  }
  if (found.uid === 0)
    throw new Error(
      `cannot run PostgreSQL as "${found.name}": PostgreSQL refuses to run as root; set os_user`,
    );
  return { ...found, owner: { uid: found.uid, gid: found.gid } };
}

/** The users of an /etc/passwd by name: `name:password:uid:gid:...`. */
export function parsePasswd(text: string): Map<string, { name: string; uid: number; gid: number }> {
  const users = new Map<string, { name: string; uid: number; gid: number }>();
  for (const line of text.split('\n')) {
    const [name, , uid, gid] = line.split(':');
    if (name === undefined || name === '' || uid === undefined || gid === undefined) continue;
    users.set(name, { name, uid: Number(uid), gid: Number(gid) });
  }
  return users;
}

/** For `spawn`: the ids to change to, empty for an ordinary user. */
export function spawnIds(user: OsUser): { uid?: number; gid?: number } {
  return user.owner === undefined ? {} : { uid: user.uid, gid: user.gid };
}

/** Gives `path` to the user (not what is below it, nor what a link leads to). Does nothing for an ordinary user. */
export async function giveTo(user: OsUser, path: string): Promise<void> {
  if (user.owner !== undefined) await lchown(path, user.uid, user.gid);
}

/** What a finished program said. `output` is the last 16 KiB of stdout and stderr together, `stdout` that of stdout alone. */
export interface ProgramResult {
  readonly exitCode: number | undefined;
  readonly signal: string | undefined;
  readonly output: string;
  readonly stdout: string;
}

const OUTPUT_BYTES_MAX = 16_384;
/** What has ended has written all it had to: only something that it left behind keeps its pipes open any longer. */
const DRAIN_MS = 200;
/** What was killed is gone by then, unless the kernel holds it or it has left the process group. */
const KILLED_MS = 1000;

/**
 * Runs a program as the user with `LC_ALL=C`, and kills it, with its process group, when `signal` aborts or `timeoutMs` passes: with SIGTERM
 * first where there is a `graceMs`. Settles when the program ends, or soon after the kill, whatever it has left behind: a process that holds
 * its pipes open, or one that cannot be killed. What a program that ended well leaves behind lives on, as under a shell.
 * A failing program is a result; only one that cannot be started throws.
 */
export function runProgram(options: {
  readonly user: OsUser;
  readonly program: string;
  readonly arguments: readonly string[];
  readonly cwd: string;
  readonly environment?: Readonly<Record<string, string>>;
  /** A file that it reads from; nothing where left out. */
  readonly input?: string;
  readonly timeoutMs: number;
  readonly graceMs?: number;
  readonly signal?: AbortSignal | undefined;
  readonly onOutput?: (text: string) => void;
  /** Told once it runs: the id of its process, and of its process group. */
  readonly onStart?: ((pid: number) => void) | undefined;
}): Promise<ProgramResult> {
  return new Promise((resolve, reject) => {
    const input = options.input === undefined ? undefined : openSync(options.input, 'r');
    let child: ChildProcess;
    try {
      child = spawn(options.program, options.arguments, {
        ...spawnIds(options.user),
        cwd: options.cwd,
        env: { ...cleanEnvironment(), ...options.environment },
        stdio: [input ?? 'ignore', 'pipe', 'pipe'],
        // A process group of its own, so that a kill reaches what it forked: pg_basebackup's receiver, pg_rewind's postgres.
        detached: true,
      });
    } finally {
      if (input !== undefined) closeSync(input);
    }
    // Before anything that can throw: an error that nobody hears ends the whole process.
    child.once('error', (error) => {
      release();
      reject(new Error(`cannot start ${options.program} as ${options.user.name}: ${error.message}`));
    });
    if (child.pid !== undefined) options.onStart?.(child.pid);
    // There are none where it could not be started for want of descriptors.
    const pipes = [child.stdout, child.stderr].flatMap((pipe) => pipe ?? []);
    let output = '';
    let stdout = '';
    for (const pipe of pipes) {
      pipe.on('data', (chunk: Buffer) => {
        const text = chunk.toString('utf8');
        output = (output + text).slice(-OUTPUT_BYTES_MAX);
        if (pipe === child.stdout) stdout = (stdout + text).slice(-OUTPUT_BYTES_MAX);
        options.onOutput?.(text);
      });
    }
    const timers: NodeJS.Timeout[] = [];
    const after = (ms: number, work: () => void): void => void timers.push(setTimeout(work, ms));
    const release = (): void => {
      for (const timer of timers) clearTimeout(timer);
      options.signal?.removeEventListener('abort', end);
      for (const pipe of pipes) pipe.destroy();
      child.unref();
    };
    const settle = (): void => {
      // What a program that failed or was killed has left behind must not go on with its work.
      if (isEnding || child.exitCode !== 0) signalGroup('SIGKILL');
      release();
      const endedBy = child.signalCode ?? (child.exitCode === null ? 'SIGKILL' : undefined);
      resolve({ exitCode: child.exitCode ?? undefined, signal: endedBy, output, stdout });
    };
    let isEnding = false;
    let isKilled = false;
    const signalGroup = (name: 'SIGTERM' | 'SIGKILL'): void => {
      try {
        if (child.pid !== undefined) process.kill(-child.pid, name);
      } catch {
        // All of it has ended.
      }
    };
    const kill = (): void => {
      isKilled = true;
      signalGroup('SIGKILL');
      after(KILLED_MS, settle);
    };
    const end = (): void => {
      if (isEnding) return;
      isEnding = true;
      if (options.graceMs === undefined) return kill();
      signalGroup('SIGTERM');
      after(options.graceMs, kill);
    };
    after(options.timeoutMs, end);
    options.signal?.addEventListener('abort', end, { once: true });
    if (options.signal?.aborted === true) end();
    // What was killed keeps its pipes open until all of it is gone, and only then is nobody left who writes.
    child.once('exit', () => !isKilled && after(DRAIN_MS, settle));
    child.once('close', settle);
  });
}

/** The environment for PostgreSQL's programs: no libpq settings, no systemd socket, messages in English. */
export function cleanEnvironment(): Record<string, string> {
  const environment: Record<string, string> = {};
  for (const [name, value] of Object.entries(process.env)) {
    if (
      value === undefined ||
      name.startsWith('PG') ||
      name.startsWith('LC_') ||
      name === 'LANG' ||
      name === 'LANGUAGE'
    )
      continue;
    if (name === 'NOTIFY_SOCKET' || name === 'LISTEN_FDS' || name === 'LISTEN_PID' || name === 'NODE_OPTIONS')
      continue;
    environment[name] = value;
  }
  return { ...environment, LC_ALL: 'C' };
}
