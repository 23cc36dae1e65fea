// The clients of one scenario: inserts of unique ids and steps on registers by clients that follow the failover, elsewhere and beside
// the hosts, and one stubborn writer beside each host that stays with its node, also inside of an isolated side. Afterwards reads
// back what is there.
import { delay, until } from '../../../src/base/clock.ts';
import { openSession, type Target } from '../../../harness/session.ts';
import { judge, type ChaosVerdict } from '../checker/check.ts';
import type { Operation } from '../checker/operation.ts';
import type { ChaosCluster } from '../cluster/cluster.ts';
import type { ChaosHost } from '../cluster/host.ts';
import { startClient, type Statement, type WorkloadClient } from './client.ts';

export interface Workload {
  /** Everything so far, of all clients. */
  operations(): Operation[];
  /** Waits for an acknowledgement, begun after this call, by a client that follows the failover; returns the node. */
  acknowledged(options?: { readonly notBy?: ChaosHost; readonly timeoutMs?: number }): Promise<string>;
  /** Whether any client was given an acknowledgement by the node that began after `sinceMs`. */
  wasAcknowledgedBy(host: ChaosHost, sinceMs: number): boolean;
  stop(): Promise<void>;
  /** After {@link stop}, on a cluster that has converged: what is to be said of the history. */
  judge(): Promise<ChaosVerdict>;
}

const WAL = 'pg_walfile_name(pg_current_wal_insert_lsn()) AS wal';
const INSERT = `INSERT INTO writes (id) VALUES ($1) RETURNING ${WAL}`;
// The insert makes each step wait for its acknowledgement, one that changes nothing too: no primary that is cut off can answer it.
const READ = `INSERT INTO writes (id) VALUES ($1) RETURNING (SELECT value FROM register WHERE key = $2), ${WAL}`;
const COMPARE_AND_SET = `WITH won AS (UPDATE register SET value = $4 WHERE key = $2 AND value = $3 RETURNING 1)
INSERT INTO writes (id) SELECT $1 FROM (SELECT count(*) FROM won) AS counted
RETURNING (SELECT count(*) FROM won) AS won, ${WAL}`;

const KEYS = ['x', 'y'] as const;
const INITIAL = 'initial';
const FOLLOW = { statementTimeoutMs: 3000, retryMs: 50 } as const;
const STUBBORN = { statementTimeoutMs: undefined, retryMs: 250 } as const;
const PACE_MS = 20;

let workloads = 0;

export async function startWorkload(cluster: ChaosCluster): Promise<Workload> {
  const prefix = `${process.pid}-${workloads++}`;
  const keys = KEYS.map((key) => `${prefix}-${key}`);
  const primary = await cluster.primary();
  for (const key of keys) await primary.sql(`INSERT INTO register VALUES ('${key}', '${INITIAL}')`);

  // A host that takes part later is known to who looks for a session then.
  const beside = (): readonly Target[] => cluster.hosts.map((host) => host.besideTarget());
  const elsewhere = (): readonly Target[] => cluster.elsewhereTargets();
  const base = { settings: cluster.client, paceMs: PACE_MS };
  const insert = (): Statement => ({ text: INSERT, values: [] });
  const follower = (name: string, targets: () => readonly Target[], next: () => Statement): WorkloadClient =>
    startClient({
      ...base,
      ...FOLLOW,
      name: `${prefix}-${name}`,
      targets: () => atLeastOne(targets()),
      next,
    });
  const followers = [
    follower('elsewhere', elsewhere, insert),
    follower('beside', beside, insert),
    ...keys.flatMap((key) => [
      follower(`${key}-elsewhere`, elsewhere, registerSteps(`${key}-elsewhere`, key)),
      follower(`${key}-beside`, beside, registerSteps(`${key}-beside`, key)),
    ]),
  ];
  const stubborn = beside().map((target) =>
    startClient({
      ...base,
      ...STUBBORN,
      name: `${prefix}-on-${target.node}`,
      targets: () => [target],
      next: insert,
    }),
  );
  const clients = [...followers, ...stubborn];
  const operations = (): Operation[] => clients.flatMap((client) => client.operations);

  const workload: Workload = {
    operations,
    acknowledged({ notBy, timeoutMs = 60_000 } = {}) {
      const sinceMs = performance.now();
      const what = `an acknowledged write${notBy === undefined ? '' : ` by another node than ${notBy.node}`}`;
      return until(
        { what, timeoutMs, everyMs: 50 },
        () =>
          followers
            .map((client) =>
              client.operations.findLast(
                ({ outcome, startMs, node }) =>
                  outcome === 'acked' && startMs >= sinceMs && node !== notBy?.node,
              ),
            )
            .find((operation) => operation !== undefined)?.node,
      );
    },
    wasAcknowledgedBy: (host, sinceMs) =>
      operations().some(
        ({ outcome, startMs, node }) => outcome === 'acked' && startMs >= sinceMs && node === host.node,
      ),
    stop: async () => void (await Promise.all(clients.map((client) => client.stop()))),
    async judge() {
      const ids = await queryPrimary(
        cluster,
        'SELECT id AS item FROM writes WHERE starts_with(id, $1)',
        prefix,
      );
      const registers = await Promise.all(
        keys.map(async (key) => {
          const [final = 'nothing'] = await queryPrimary(
            cluster,
            'SELECT value AS item FROM register WHERE key = $1',
            key,
          );
          return { key, initial: INITIAL, final };
        }),
      );
      return judge(operations(), { ids, registers });
    },
  };
  await workload.acknowledged();
  return workload;
}

function atLeastOne(targets: readonly Target[]): readonly [Target, ...Target[]] {
  const [first, ...rest] = targets;
  if (first === undefined) throw new Error('a client needs a node to go to');
  return [first, ...rest];
}

/** Reads and compare-and-sets by turns, from what it last saw: sometimes out of date, so that some are lost. Values are its own. */
function registerSteps(name: string, key: string): () => Statement {
  let seen = INITIAL;
  let count = 0;
  return () => {
    const turn = count++;
    if (turn % 2 === 0)
      return {
        text: READ,
        values: [key],
        register: (row) => {
          if (row !== undefined) seen = String(row['value']);
          return { kind: 'read', key, value: seen };
        },
      };
    const expected = seen;
    const value = `${name}:${turn}`;
    return {
      text: COMPARE_AND_SET,
      values: [key, expected, value],
      register: (row) => {
        const won = Number(row?.['won'] ?? 0) === 1;
        if (won) seen = value;
        return { kind: 'compare-and-set', key, expected, value, won };
      },
    };
  };
}

async function queryPrimary(cluster: ChaosCluster, text: string, value: string): Promise<string[]> {
  const primary = await cluster.primary();
  const settings = { ...cluster.client, applicationName: 'chaos-judge' };
  const session = await openSession(primary.besideTarget(), settings);
  try {
    const { rows } = await session.query(text, [value], 60_000);
    return (rows as { item: string }[]).map(({ item }) => item);
  } finally {
    session.destroy();
  }
}

/** What a proxy still held of a client that has gone may be committed between two readings; standbys that differ for so long do differ. */
const DIFFERING_MS = 20_000;

/** Waits until every standby has replayed what the primary holds, and says on which the tables differ from the primary's for good. */
export async function differingStandbys(cluster: ChaosCluster): Promise<string[]> {
  const endMs = performance.now() + DIFFERING_MS;
  for (;;) {
    const differing = await compareStandbys(cluster);
    if (differing.length === 0 || performance.now() > endMs) return differing;
    await delay(1000);
  }
}

async function compareStandbys(cluster: ChaosCluster): Promise<string[]> {
  const primary = await cluster.primary();
  const place = await primary.sql('SELECT pg_current_wal_flush_lsn()');
  const digest =
    "SELECT count(*) || ' ' || coalesce(md5(string_agg(id, ',' ORDER BY id COLLATE \"C\")), '') FROM writes";
  const expected = await primary.sql(digest);
  const differing: string[] = [];
  for (const host of cluster.hosts.filter(({ number }) => number !== primary.number)) {
    await until(
      { what: `${host.node} to replay up to ${place}`, timeoutMs: 60_000, everyMs: 200 },
      async () => {
        const reached = `SELECT pg_last_wal_replay_lsn() >= '${place}'`;
        return (await host.sql(reached)) === 't';
      },
    );
    const found = await host.sql(digest);
    if (found !== expected) differing.push(`${host.node} holds ${found}, ${primary.node} ${expected}`);
  }
  return differing;
}
