// The processes of one node by what they do, for tests that stop exactly one of them.
import { readFileSync } from 'node:fs';
import { until } from '../../../src/base/clock.ts';
import { processState } from '../../../src/postgres/processes.ts';
import type { Host } from '../../../harness/host.ts';
import { processesBelow } from '../../../harness/processes.ts';
import { type Load, LIMIT_MS, sql } from './scene.ts';

/** Every process of the node's PostgreSQL. */
export const allOf = (host: Host): number[] => processesBelow(host.dataDirectory).map(({ pid }) => pid);

/** Those whose title says they are such a one: `checkpointer`, `startup`, `walreceiver`. */
export function processesOf(host: Host, what: string): number[] {
  const title = new RegExp(`^postgres: \\S+: ${what}\\b`);
  return allOf(host).filter((pid) => title.test(titleOf(pid)));
}

/** The only one; throws where there is none or there are several. */
export function processOf(host: Host, what: string): number {
  const found = processesOf(host, what);
  const [pid] = found;
  if (pid === undefined || found.length > 1)
    throw new Error(`${host.node} has ${found.length} processes ${what}, not one`);
  return pid;
}

/** The processes of `primary` that stream to the node. */
export async function walSendersTo(primary: Host, node: string): Promise<number[]> {
  const rows = await sql<{ pid: number }>(
    primary,
    `select pid from pg_stat_replication where application_name ~ '^${node}_[0-9a-f]{8}$'`,
  );
  return rows.map(({ pid }) => pid);
}

export async function walSenderTo(primary: Host, node: string): Promise<number> {
  const [pid] = await walSendersTo(primary, node);
  if (pid === undefined) throw new Error(`${primary.node} streams nothing to ${node}`);
  return pid;
}

export function postmasterOf(host: Host): number {
  const pid = host.postmasterPid();
  if (pid === undefined) throw new Error(`PostgreSQL of ${host.node} does not run`);
  return pid;
}

/**
 * The primary as nobody new can reach it, and as nobody looks after it: its postmaster and its sentineld stand still. Its
 * open sessions and WAL streams go on, so that only the standbys' cut ends its acknowledgements.
 */
export function hang(load: Load): { releasePostgres: () => void; releaseSentineld: () => void } {
  const { primary } = load;
  if (primary.sentineldPid === undefined) throw new Error(`sentineld of ${primary.peer} does not run`);
  const releaseSentineld = load.stop(primary.sentineldPid);
  return { releaseSentineld, releasePostgres: load.stop(postmasterOf(primary)) };
}

/** Waits until SIGSTOP has taken effect: a process in a system call stands still only when it comes out of it. */
export async function standStill(...pids: number[]): Promise<void> {
  await until({ what: `processes ${pids.join(', ')} to stand still`, timeoutMs: LIMIT_MS, everyMs: 2 }, () =>
    pids.every((pid) => processState(pid)?.state === 'T'),
  );
}

function titleOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
  } catch {
    return '';
  }
}
