// A network of its own for a local cluster, so that a host can vanish as hosts do: no refusal, no reset, no answer. Each host
// gets a network namespace with one cable to a bridge; the programs' owner, with its clients, sits on the bridge. Needs Linux and
// root. All of it is held by processes alone: it ends with them, whatever happens, and the machine's own network is not touched.
import { execFile, spawn } from 'node:child_process';
import { readlinkSync } from 'node:fs';
import { constants } from 'node:os';
import { promisify } from 'node:util';
import { until } from '../src/base/clock.ts';

const run = promisify(execFile);

/** Set in a process that {@link runInOwnNetwork} started. */
const MARK = 'PG_SENTINEL_OWN_NETWORK';
const BRIDGE = 'pgs-lan';
const START_TIMEOUT_MS = 10_000;

export const hasOwnNetwork = (): boolean => process.env[MARK] === 'yes';

/** Runs this very program once more, in a network namespace of its own; resolves with its exit code. Throws where that is not allowed. */
export async function runInOwnNetwork(): Promise<number> {
  if (process.getuid?.() !== 0)
    throw new Error('cutting a host off the network takes network namespaces: run this as root, on Linux');
  const [script = '', ...args] = process.argv.slice(1);
  const child = spawn('unshare', ['--net', '--', process.execPath, script, ...args], {
    stdio: 'inherit',
    env: { ...process.env, [MARK]: 'yes' },
  });
  for (const signal of ['SIGHUP', 'SIGINT', 'SIGTERM'] as const)
    process.on(signal, () => void child.kill(signal));
  return new Promise((resolve, reject) => {
    child.once('error', (error) =>
      reject(new Error(`cannot run unshare (of util-linux): ${error.message}`, { cause: error })),
    );
    child.once('exit', (code, signal) =>
      resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal])),
    );
  });
}

/** One host's place in the network. */
export interface Cable {
  /** The host's address, for clients on the bridge and for the other hosts. */
  readonly address: string;
  /** What to put before a command so that it runs on this host. */
  readonly enter: readonly string[];
  /** Pulls the cable: nothing gets in or out any more, in either direction; processes go on. */
  cut(): Promise<void>;
  heal(): Promise<void>;
}

/** Clients that may log in: everybody on the bridge. */
export const LAN = '10.77.0.0/24';
const addressOf = (at: number): string => `10.77.0.${at + 1}`;
const BRIDGE_ADDRESS = '10.77.0.254/24';

/**
 * Makes the bridge and `count` cables. The process that holds a host's namespace works in `directory`: whoever ends what is below
 * that ends the namespace. Throws outside {@link runInOwnNetwork}.
 */
export async function layCables(directory: string, count: number): Promise<Cable[]> {
  if (!hasOwnNetwork()) throw new Error('cables are laid only in a network of our own; see runInOwnNetwork');
  await ip('link', 'set', 'lo', 'up');
  await ip('link', 'add', BRIDGE, 'type', 'bridge', 'forward_delay', '0');
  await ip('address', 'add', BRIDGE_ADDRESS, 'dev', BRIDGE);
  await ip('link', 'set', BRIDGE, 'up');
  return Promise.all(Array.from({ length: count }, (_, at) => layCable(directory, at)));
}

async function layCable(directory: string, at: number): Promise<Cable> {
  const pid = await holdNamespace(directory);
  const enter = ['nsenter', `--net=/proc/${pid}/ns/net`, '--'];
  const [ours, theirs] = [`pgs-host${at}`, 'cable'];
  await ip('link', 'add', ours, 'type', 'veth', 'peer', 'name', theirs, 'netns', String(pid));
  await ip('link', 'set', ours, 'master', BRIDGE, 'up');
  const inside = (...args: readonly string[]) => run('nsenter', [...enter.slice(1), 'ip', ...args]);
  await inside('link', 'set', 'lo', 'up');
  await inside('address', 'add', `${addressOf(at)}/24`, 'dev', theirs);
  await inside('link', 'set', theirs, 'up');
  return {
    address: addressOf(at),
    enter,
    cut: () => ip('link', 'set', ours, 'down'),
    heal: () => ip('link', 'set', ours, 'up'),
  };
}

/** A namespace lives as long as a process in it: here one that ends when this one does. Returns its pid. */
async function holdNamespace(directory: string): Promise<number> {
  const child = spawn('unshare', ['--net', '--', 'cat'], {
    cwd: directory,
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  child.stdin.on('error', () => undefined);
  let failure: string | undefined;
  child.once('error', (error) => (failure = error.message));
  child.once('exit', (code, signal) => (failure = `it ended with ${signal ?? `exit code ${code}`}`));
  child.unref();
  const outside = readlinkSync('/proc/self/ns/net');
  const what = 'a network namespace';
  return until({ what, timeoutMs: START_TIMEOUT_MS, everyMs: 5 }, () => {
    if (failure !== undefined || child.pid === undefined)
      throw new Error(`cannot make a network namespace by unshare: ${failure ?? 'it has not started'}`);
    return namespaceOf(child.pid) === outside ? undefined : child.pid;
  });
}

/** That of this process while `pid` has not left it yet. */
function namespaceOf(pid: number): string {
  try {
    return readlinkSync(`/proc/${pid}/ns/net`);
  } catch {
    return readlinkSync('/proc/self/ns/net');
  }
}

async function ip(...args: readonly string[]): Promise<void> {
  await run('ip', args);
}
