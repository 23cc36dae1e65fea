// A former primary that comes back, its sentineld killed at each step: started again, it rejoins by itself; what only it had written is saved.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { until } from '../../../src/base/clock.ts';
import { nodeId } from '../../../src/base/ids.ts';
import { rewindMarker } from '../../../src/postgres/rewind-marker.ts';
import type { Host } from '../../../harness/host.ts';
import type { LocalCluster } from '../../../harness/local-cluster.ts';
import { sql } from '../../../harness/superuser.ts';
import { goesOnWithout, LIMIT_MS, type Scene } from './scene.ts';
import { CLONE } from './steps.ts';
import type { Operation, Steps, Table } from './table.ts';

/** It crashed with writes that nobody else has: pg_rewind. */
const REWIND: Steps = {
  'SIGKILL to walsender': 'sometimes',
  'ended postgres': 'sometimes',
  'remove state/guard/instructions.json': 'sometimes',
  'ended the guard': 'sometimes',
  'write state/NODE.fence': 'alone',
  'remove pgdata/pg_sentinel_member.json': 'whole',
  'make state/diverged': 'sometimes',
  'make state/diverged/work-*': 'alone',
  'write pgdata/pg_sentinel_diverged.json': 'alone',
  'write state/diverged/work-*/statements': 'alone',
  'start postgres --single': 'alone',
  'started postgres --single': 'alone',
  'ended postgres --single': 'whole',
  'remove state/diverged/work-*/statements': 'alone',
  'write state/diverged/NODE-N.jsonl': 'alone',
  'write pgdata/pg_sentinel_diverged.json #2': 'alone',
  'remove state/diverged/work-*': 'alone',
  'write pgdata/pg_sentinel.conf': 'alone',
  'write pgdata.rewinding': 'whole',
  'write state/passfile/rewind.pass': 'alone',
  'start pg_rewind': 'alone',
  'started pg_rewind': 'alone',
  'ended pg_rewind': 'alone',
  'write pgdata/standby.signal': 'alone',
  'remove pgdata/pg_sentinel_member.json #2': 'alone',
  'write pgdata/pg_sentinel_member.json': 'alone',
  'write pgdata/pg_sentinel_rewound': 'alone',
  'remove pgdata.rewinding': 'both',
  'remove state/passfile/rewind.pass': 'alone',
  'write pgdata/pg_sentinel.conf #2': 'alone',
  'propose register-node': 'alone',
  'applied register-node': 'alone',
  'write pgdata/pg_sentinel.conf #3': 'alone',
  'write state/passfile/upstream-*.pass': 'alone',
  'write pgdata/postgresql.auto.conf': 'whole',
  'write pgdata/pg_sentinel.conf #4': 'alone',
  'write pgdata/standby.signal #2': 'alone',
  'start postgres': 'alone',
  'started postgres': 'alone',
  'SIGHUP to postgres': 'alone',
  'sql pg_create_physical_replication_slot': 'alone',
  'remove pgdata/pg_sentinel_rewound': 'both',
};

/** It stopped cleanly, and another was promoted: it follows as it is. */
const FOLLOW: Steps = {
  'remove state/guard/instructions.json': 'alone',
  'write pgdata/pg_sentinel.conf': 'alone',
  'write pgdata/standby.signal': 'whole',
  'start postgres': 'alone',
  'started postgres': 'alone',
  'write pgdata/pg_sentinel.conf #2': 'alone',
  'SIGHUP to postgres': 'alone',
  'write state/passfile/upstream-*.pass': 'alone',
  'write pgdata/postgresql.auto.conf': 'whole',
  'write pgdata/pg_sentinel.conf #3': 'alone',
  'SIGHUP to postgres #2': 'alone',
};

/** Its rewind was interrupted: a clone takes its place. The copy itself is killed at each step in clone.test.ts. */
const REPLACED: Steps = {
  'write state/NODE.fence': 'sometimes',
  'remove state/guard/instructions.json': 'sometimes',
  'remove pgdata/pg_sentinel_member.json': 'alone',
  'started pg_basebackup': 'alone',
  'remove pgdata.clone-*.parts': 'alone',
  'remove pgdata.clone-*/pg_sentinel_clone_incomplete': 'whole',
  'write pgdata.pg_sentinel_replaced.rewinding': 'alone',
  'rename pgdata to pgdata.pg_sentinel_replaced': 'alone',
  'remove pgdata.rewinding': 'alone',
  'rename pgdata.clone-* to pgdata': 'both',
  'write pgdata/pg_sentinel.conf': 'alone',
  'start postgres': 'alone',
  'started postgres': 'whole',
  'rename pgdata.pg_sentinel_replaced to pgdata.pg_sentinel_discarded-*': 'alone',
  'remove pgdata.pg_sentinel_replaced.rewinding': 'alone',
  'remove pgdata.pg_sentinel_discarded-*': 'alone',
};

let written = 0;
const DIVERGE_TRIES_MAX = 10;

/** Writes a row that is on `host` alone and kills its PostgreSQL; returns the row. */
async function diverge(host: Host): Promise<string> {
  for (let tries = 1; ; tries += 1) {
    written += 1;
    const row = `only here ${written}`;
    host.stopWalSenders();
    const [before] = await sql(host, 'select pg_current_wal_insert_lsn()::text as lsn');
    await sql(host, 'set synchronous_commit = local', `insert into public.diverged values ('${row}')`);
    // A standby that connects again just now has a walsender that was not stopped.
    const sent = await sql(
      host,
      `select pid from pg_stat_replication where sent_lsn > '${String(before?.['lsn'])}'::pg_lsn`,
    );
    if (sent.length === 0) {
      host.killPostmaster();
      return row;
    }
    expect(tries, 'each row went to a standby at once').toBeLessThan(DIVERGE_TRIES_MAX);
  }
}

/** Nobody has the row any more, but for the file of what has diverged. */
async function isSaved(host: Host, row: string): Promise<void> {
  const directory = join(host.directory, 'state', 'diverged');
  const files = readdirSync(directory).filter((name) => name.endsWith('.jsonl'));
  const saved = files.filter((name) => readFileSync(join(directory, name), 'utf8').includes(row));
  const log = readFileSync(join(host.directory, 'sentineld.log'), 'utf8').split('\n');
  const said = log.filter((line) => /that .* lacks|saved/.test(line)).slice(-5);
  expect(
    saved,
    `the files of ${directory} (${readdirSync(directory).join(', ')}) that hold the row; ${said.join('\n')}`,
  ).toHaveLength(1);
  expect(await sql(host, `select * from public.diverged where item = '${row}'`)).toEqual([]);
}

const makeTable = (host: Host): Promise<unknown> =>
  sql(host, 'create table if not exists public.diverged (item text primary key)');

async function crashed({ cluster, roles }: Scene): Promise<Operation> {
  const { primary: former } = await roles();
  await makeTable(former);
  let row = '';
  return {
    victim: former,
    // It may be killed during the failover, and must not be waited for.
    before: () => Promise.resolve(),
    async start() {
      row = await diverge(former);
      await goesOnWithout(cluster, former);
    },
    async complete() {
      await isStandby(cluster, former);
      await isSaved(former, row);
    },
  };
}

/** Its sentineld is started while the others go on; it ends as a standby. */
const comesBack = (cluster: LocalCluster, former: Host): Operation => ({
  victim: former,
  before: () => Promise.resolve(),
  start: () => Promise.resolve(former.startSentineld()),
  complete: () => isStandby(cluster, former),
});

async function isStandby(cluster: LocalCluster, former: Host): Promise<void> {
  expect((await cluster.waitUntilHealthy(LIMIT_MS)).primary).not.toBe(former.node);
}

/** Its host is lost when it has stopped cleanly for a switchover, and the others have gone on. */
async function stoppedCleanly({ cluster, roles, halting }: Scene): Promise<Operation> {
  const { primary: former, standby } = await roles();
  halting.arm(former, { step: 'applied cut-report', whole: true });
  const request = { group: undefined, to: nodeId(standby.node) };
  const switched = cluster.admin.failover(request, LIMIT_MS).catch(() => undefined);
  await until({ what: 'it to have stopped', timeoutMs: LIMIT_MS, everyMs: 10 }, () =>
    halting.isHalted(former),
  );
  halting.disarm(former);
  await former.stopSentineld();
  await goesOnWithout(cluster, former);
  await switched;
  return comesBack(cluster, former);
}

async function rewindInterrupted({ cluster, roles }: Scene): Promise<Operation> {
  const { primary: former } = await roles();
  await makeTable(former);
  await former.stopSentineld();
  await diverge(former);
  await former.stopAll();
  await goesOnWithout(cluster, former);
  writeFileSync(rewindMarker(former.dataDirectory), '');
  return comesBack(cluster, former);
}

export const REJOIN: readonly Table[] = [
  { name: 'rewound', steps: REWIND, prepare: crashed },
  { name: 'follows', steps: FOLLOW, prepare: stoppedCleanly },
  { name: 'cloned', steps: REPLACED, known: CLONE, prepare: rewindInterrupted },
];
