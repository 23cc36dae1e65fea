// One host of the local cluster: a sentineld and the PostgreSQL it manages, with the handles that faults need. PostgreSQL
// outlives its sentineld by design, so stopping one never stops the other here.
import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { until } from '../src/base/clock.ts';
import { findPostmaster, isAlive, signalProcess } from '../src/postgres/processes.ts';
import {
  configFile,
  dataDirectory,
  postgresLogFile,
  raftDirectory,
  socketDirectory,
  type HostPlan,
} from './cluster-config.ts';
import { endEverythingBelow } from './place.ts';
import { freezeBelow, processesBelow, signalAll, thawBelow } from './processes.ts';
import type { Cable } from './network.ts';
import type { Target } from './session.ts';

export interface Host {
  readonly peer: string;
  readonly node: string;
  /** The group of its node. */
  readonly group: string;
  /** A peer without a PostgreSQL. */
  readonly isWitness: boolean;
  /** Pulled to cut the host off; only where the cluster has a network of its own. */
  readonly cable: Cable | undefined;
  /** Where PostgreSQL writes its log. */
  readonly postgresLogFile: string;
  /** Where sentineld listens, for admin clients. */
  readonly address: string;
  /** Where PostgreSQL listens. */
  readonly target: Target;
  readonly directory: string;
  readonly socketDirectory: string;
  readonly dataDirectory: string;
  /** Of the Raft log. */
  readonly raftDirectory: string;
  /** What sentineld was configured with. */
  readonly configFile: string;
  readonly logFile: string;
  /** Undefined when sentineld is not running (any more). */
  readonly sentineldPid: number | undefined;
  /** How sentineld ended by itself, for messages; undefined while it runs or when it was ended from here. */
  readonly sentineldFailure: string | undefined;
  startSentineld(): void;
  /** Sends the signal (SIGKILL by default) and resolves when the process is gone. */
  stopSentineld(signal?: NodeJS.Signals): Promise<void>;
  /** The postmaster's pid, or undefined when PostgreSQL is not running. */
  postmasterPid(): number | undefined;
  /** SIGKILL to the postmaster; returns its pid. Throws where there is none. */
  killPostmaster(): number;
  /** SIGKILL to every process of the host at once, as if its power were gone; resolves when none is left. */
  kill(): Promise<void>;
  /** Ends sentineld and PostgreSQL, the hard way. */
  stopAll(): Promise<void>;
  /** SIGSTOP to every process of the host; resolves when all stand still. */
  freeze(): Promise<void>;
  /** SIGCONT to every process of the host, or to PostgreSQL's alone. */
  thaw(which?: 'all' | 'postgres'): void;
  /** SIGSTOP to the walsenders of this host: it goes on, and what it commits reaches no standby. */
  stopWalSenders(): void;
}

const STOP_TIMEOUT_MS = 15_000;

export function createHost(
  plan: HostPlan,
  sentineld: { readonly program: string; readonly environment: Readonly<Record<string, string>> },
): Host {
  const data = dataDirectory(plan);
  const logFile = `${plan.directory}/sentineld.log`;
  let child: ChildProcess | undefined;
  let isWanted = false;
  let failure: string | undefined;

  const startSentineld = (): void => {
    if (child !== undefined)
      throw new Error(`sentineld of peer ${plan.peer} already runs with pid ${child.pid}`);
    failure = undefined;
    isWanted = true;
    const log = openSync(logFile, 'a');
    // A session of its own: a Ctrl-C in the terminal is for the owner of the cluster, who ends this one in order.
    const command = [process.execPath, sentineld.program, '--config', configFile(plan)];
    const [program = '', ...args] = [...(plan.cable?.enter ?? []), ...command];
    const started = spawn(program, args, {
      cwd: plan.directory,
      detached: true,
      env: { ...process.env, ...sentineld.environment },
      stdio: ['ignore', log, log],
    });
    closeSync(log);
    child = started;
    const ended = (how: string): void => {
      if (child !== started) return;
      child = undefined;
      if (isWanted) failure = `sentineld of peer ${plan.peer} ended (${how}): ${lastLines(logFile)}`;
    };
    started.once('exit', (code, signal) => ended(signal ?? `exit code ${code}`));
    started.once('error', (error) => ended(error.message));
  };

  const stopSentineld = async (signal: NodeJS.Signals = 'SIGKILL'): Promise<void> => {
    const pid = child?.pid;
    isWanted = false;
    failure = undefined;
    if (pid === undefined) return;
    signalProcess(pid, signal);
    const what = `sentineld of peer ${plan.peer} (pid ${pid}) to end on ${signal}`;
    await until({ what, timeoutMs: STOP_TIMEOUT_MS, everyMs: 2 }, () => child === undefined || !isAlive(pid));
    child = undefined;
  };

  const postmasterPid = (): number | undefined => findPostmaster(data)?.pid;
  return {
    peer: plan.peer,
    node: plan.node,
    group: plan.group,
    isWitness: plan.isWitness,
    cable: plan.cable,
    postgresLogFile: postgresLogFile(plan),
    address: `${plan.address}:${plan.peerPort}`,
    target: { node: plan.node, host: plan.address, port: plan.nodePort },
    directory: plan.directory,
    socketDirectory: socketDirectory(plan),
    dataDirectory: data,
    raftDirectory: raftDirectory(plan),
    configFile: configFile(plan),
    logFile,
    get sentineldPid() {
      return child?.pid;
    },
    get sentineldFailure() {
      return failure;
    },
    startSentineld,
    stopSentineld,
    postmasterPid,
    killPostmaster() {
      const pid = postmasterPid();
      if (pid === undefined) throw new Error(`cannot kill the postmaster of ${plan.node}: it does not run`);
      signalProcess(pid, 'SIGKILL');
      return pid;
    },
    async kill() {
      const ending = stopSentineld('SIGKILL');
      const what = `every process of host ${plan.peer} to end on SIGKILL`;
      await until({ what, timeoutMs: STOP_TIMEOUT_MS, everyMs: 2 }, () => {
        const pids = processesBelow(plan.directory).map(({ pid }) => pid);
        signalAll(pids, 'SIGKILL');
        return pids.length === 0;
      });
      await ending;
    },
    async stopAll() {
      await stopSentineld();
      await endEverythingBelow({
        directory: plan.directory,
        dataDirectories: [data],
        timeoutMs: STOP_TIMEOUT_MS,
      });
    },
    freeze: async () => void (await freezeBelow(plan.directory)),
    thaw: (which = 'all') => thawBelow(plan.directory, ({ cwd }) => which === 'all' || cwd.startsWith(data)),
    stopWalSenders: () => signalAll(walSenders(data), 'SIGSTOP'),
  };
}

function walSenders(data: string): number[] {
  const processes = processesBelow(data);
  return processes.map(({ pid }) => pid).filter((pid) => / walsender /.test(title(pid)));
}

function title(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
  } catch {
    return '';
  }
}

/** The end of a log, short enough for a message. */
function lastLines(file: string): string {
  try {
    return (
      readFileSync(file, 'utf8').trim().split('\n').slice(-3).join(' | ').slice(-600) || 'its log is empty'
    );
  } catch {
    return 'it has no log';
  }
}
