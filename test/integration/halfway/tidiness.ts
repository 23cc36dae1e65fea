// What an operation may leave behind on a host: nothing that was not there before. Files, slots and processes, each named by what it is, so
// that one that a kill has left is seen.
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { DeadlineError, until } from '../../../src/base/clock.ts';
import { processState } from '../../../src/postgres/processes.ts';
import { parseHistory } from '../../../src/postgres/timelines.ts';
import type { Host } from '../../../harness/host.ts';
import type { LocalCluster } from '../../../harness/local-cluster.ts';
import { processesBelow } from '../../../harness/processes.ts';
import { asSuperuser } from '../../../harness/superuser.ts';

const GUARD_MS = 30_000;

export interface Tidiness {
  /** Waits until nothing is left behind on any host; says what is. The cluster is healthy. */
  waitUntilTidy(timeoutMs: number): Promise<void>;
}

/** Of a guard that has come up, beside its primary: a process of its own, which takes its time on a busy machine. */
const OF_GUARD = ['state/guard/N.pid', 'state/guard/N.sock'];

/** What is there on a healthy cluster, with the primary's guard, is no leftover later on. */
export async function filesOfHealthy(cluster: LocalCluster): Promise<readonly string[]> {
  const { node } = await cluster.primary();
  const files = (): string[] => filesOf(cluster.hostOf(node));
  await until({ what: `the guard of ${node}`, timeoutMs: GUARD_MS, everyMs: 100 }, () =>
    Promise.resolve(OF_GUARD.every((name) => files().includes(name))),
  );
  return cluster.hosts.flatMap((host) => (host.isWitness ? [] : filesOf(host)));
}

/** Beside what is `known` nothing may be there. */
export function createTidiness(cluster: LocalCluster, healthy: readonly string[]): Tidiness {
  const known = new Set([...healthy, ...MAY_COME]);
  const leftovers = async (): Promise<string[]> => {
    const found: string[] = [];
    const { primary = '', nodes } = await cluster.waitUntilHealthy(1000);
    for (const host of cluster.hosts.filter(({ isWitness }) => !isWitness)) {
      found.push(...filesOf(host).flatMap((name) => (known.has(name) ? [] : [`${host.node}: ${name}`])));
      found.push(...strays(host, host.node === primary).map((name) => `${host.node}: process ${name}`));
      const wanted = nodes.flatMap(({ node, member }) => (node === host.node ? [] : [member ?? '']));
      const { slots = [], isPrimary } = (await look(host)) ?? {};
      if (isPrimary !== (host.node === primary)) found.push(`${host.node}: takes writes: ${isPrimary}`);
      found.push(...slots.flatMap((slot) => (wanted.includes(slot) ? [] : [`${host.node}: slot ${slot}`])));
      found.push(
        ...wanted.flatMap((slot) => (slots.includes(slot) ? [] : [`${host.node}: no slot ${slot}`])),
      );
    }
    return found;
  };
  return {
    async waitUntilTidy(timeoutMs) {
      let last = 'nothing was looked at';
      await until({ what: 'nothing to be left behind', timeoutMs, everyMs: 200 }, async () => {
        const found = await leftovers().catch((error: unknown) => [(error as Error).message]);
        last = found.join('; ');
        return found.length === 0;
      }).catch((error: unknown) => {
        throw error instanceof DeadlineError ? new Error(`left behind: ${last}`) : error;
      });
    },
  };
}

/** PostgreSQL's own, and what docs/rejoin.md promises to keep. */
const MAY_COME = [
  'pgdata/backup_label.old',
  'pgdata/tablespace_map.old',
  'pgdata/standby.signal',
  'pgdata/pg_wal/TIMELINE.history',
  // The number of a promotion that was given up, below a later one: it stays, for standbys ask for each in between (docs/failover.md).
  'pgdata/pg_wal/FILLER.history',
  'state/postgresql/NODE.database.json',
  'state/diverged/',
  'state/diverged/NODE-N.jsonl',
];

/** Below these is what PostgreSQL or the Raft log keeps: not listed, with the one exception of `pg_wal`'s histories. */
const CLOSED = /^(state\/raft|state\/socket|s|pgdata\/(?!pg_wal$)[^/]+)$/;

const KEPT = /(TIMELINE|FILLER)\.history$|^state\/(diverged|guard|local)\/|^pgdata\/base/;

/** Every file of the host that may be ours, without what differs from run to run. */
function filesOf(host: Host): string[] {
  const counts = new Map<string, number>();
  const list = (below: string): void => {
    for (const entry of readdirSync(join(host.directory, below), { withFileTypes: true })) {
      const path = below === '' ? entry.name : `${below}/${entry.name}`;
      if (/^pgdata\/pg_wal\/(?!.*\.(history|new|tmp))/.test(path)) continue;
      const name = named(host, path, entry.isDirectory());
      counts.set(name, (counts.get(name) ?? 0) + 1);
      if (entry.isDirectory() && !CLOSED.test(path)) list(path);
    }
  };
  list('');
  // Two where one would do are one too many, but for what is numbered and kept.
  return [...counts].map(([name, count]) =>
    count === 1 || KEPT.test(name) ? name : `${name}, ${count} of them`,
  );
}

function named(host: Host, path: string, isDirectory: boolean): string {
  const name = path
    .replaceAll(/\b[0-9A-F]{8}\.history\b/g, (file) => historyKind(join(host.directory, dirname(path)), file))
    .replaceAll(/\bpg\d+\b/g, 'NODE')
    .replaceAll(/-[0-9a-f]{8,16}\b/g, '-*')
    .replaceAll(/\d+/g, 'N');
  return isDirectory ? `${name}/` : name;
}

const HISTORY = /^[0-9A-F]{8}\.history$/;

/**
 * An empty one is a filler where the log has given up its number: the latest timeline is above it, and does not descend from it. One that it does
 * descend from has lost what it said; one above every real one keeps PostgreSQL from starting as a standby.
 */
function historyKind(
  directory: string,
  file: string,
): 'TIMELINE.history' | 'FILLER.history' | 'EMPTY.history' {
  if (textOf(join(directory, file)).trim() !== '') return 'TIMELINE.history';
  const names = readdirSync(directory).filter((name) => HISTORY.test(name));
  const latest = names.toSorted().findLast((name) => textOf(join(directory, name)).trim() !== '');
  if (latest === undefined || latest < file) return 'EMPTY.history';
  const number = Number.parseInt(file, 16);
  const ancestors = parseHistory(textOf(join(directory, latest)));
  return ancestors.some(({ timeline }) => timeline === number) ? 'EMPTY.history' : 'FILLER.history';
}

/** What is gone by now was no empty one. */
function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '# gone';
  }
}

/** The processes of a host that are neither sentineld, nor PostgreSQL and its children, nor a primary's guard. */
function strays(host: Host, isPrimary: boolean): string[] {
  const postmaster = host.postmasterPid();
  return processesBelow(host.directory).flatMap(({ pid }) => {
    if (pid === host.sentineldPid || pid === postmaster) return [];
    if (postmaster !== undefined && processState(pid)?.parent === postmaster) return [];
    const title = titleOf(pid);
    if (title === '' || (isPrimary && title.includes('guard'))) return [];
    // One of sentineld's own, at work just now: pg_controldata and the like end by themselves.
    return [title];
  });
}

function titleOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
  } catch {
    return '';
  }
}

interface Looked {
  readonly slots: string[];
  readonly isPrimary: boolean;
}

async function look(host: Host): Promise<Looked | undefined> {
  const text = `select array(select slot_name::text from pg_replication_slots) as slots, not pg_is_in_recovery() as "isPrimary"`;
  const { rows } = await asSuperuser(host, (client) => client.query<Looked>(text), { queryTimeoutMs: 5000 });
  return rows[0];
}
