// A standby's clone, its sentineld killed at each step: started again, it completes by itself, and nothing of the broken-off one is left.
import { rm } from 'node:fs/promises';
import { expect } from 'vitest';
import { runSentinelctl } from '../raft/load.ts';
import { LIMIT_MS, type Scene } from './scene.ts';
import { type Operation, type Steps, testTables } from './table.ts';

/** Its data directory is not there. */
const FIRST: Steps = {
  'link state/local/N.pid #2': 'alone',
  'remove state/local/N.sock #2': 'alone',
  'propose register-node': 'sometimes',
  'write pgdata.clone-*.parts': 'alone',
  'make pgdata.clone-*': 'alone',
  'write pgdata.clone-*.parts #2': 'alone',
  'write state/passfile/clone.pass': 'alone',
  'start pg_basebackup': 'alone',
  'started pg_basebackup': 'both',
  'ended pg_basebackup': 'alone',
  'write pgdata.clone-*/pg_sentinel_clone_incomplete': 'alone',
  'remove state/passfile/clone.pass': 'alone',
  'remove pgdata.clone-*/pg_sentinel_member.json': 'alone',
  'write pgdata.clone-*/standby.signal': 'alone',
  'write pgdata.clone-*/pg_sentinel_member.json': 'whole',
  'remove pgdata.clone-*.parts': 'both',
  'remove pgdata.clone-*/pg_sentinel_clone_incomplete': 'alone',
  'rename pgdata.clone-* to pgdata': 'both',
  'write pgdata/pg_sentinel.conf': 'alone',
  'propose register-node #2': 'alone',
  'applied register-node #2': 'alone',
  'write state/passfile/upstream-*.pass': 'alone',
  'write pgdata/postgresql.auto.conf': 'alone',
  'write pgdata/pg_sentinel.conf #2': 'whole',
  'remove state/passfile/upstream-*.pass': 'alone',
  'write pgdata/standby.signal': 'alone',
  'start postgres': 'alone',
  'started postgres': 'both',
  'SIGHUP to postgres': 'sometimes',
  'sql pg_create_physical_replication_slot': 'alone',
};

/** `sentinelctl node reinit`. The copy itself is as in the table above, or in rejoin.test.ts, "cloned". */
const REINIT: Steps = {
  'propose pause': 'both',
  'applied pause': 'alone',
  'SIGINT to postgres': 'alone',
  'ended postgres': 'alone',
  'write pgdata/pg_sentinel_reinit': 'both',
  'propose end-pause': 'both',
  'applied end-pause': 'alone',
  'make pgdata.clone-*': 'alone',
  'started pg_basebackup': 'alone',
  'rename pgdata to pgdata.pg_sentinel_replaced': 'whole',
  'rename pgdata.clone-* to pgdata': 'alone',
  'start postgres': 'alone',
  'rename pgdata.pg_sentinel_replaced to pgdata.pg_sentinel_discarded-*': 'alone',
  'remove pgdata.pg_sentinel_discarded-*': 'alone',
};

async function first({ cluster, roles }: Scene): Promise<Operation> {
  const { standby } = await roles();
  await standby.stopAll();
  await rm(standby.dataDirectory, { recursive: true });
  return {
    victim: standby,
    before: () => Promise.resolve(),
    start: () => Promise.resolve(standby.startSentineld()),
    complete: async () => void (await cluster.waitUntilHealthy(LIMIT_MS)),
  };
}

async function reinit({ cluster, roles }: Scene): Promise<Operation> {
  const { standby } = await roles();
  const memberOf = async (): Promise<string | undefined> =>
    (await cluster.waitUntilHealthy(LIMIT_MS)).nodes.find(({ node }) => node === standby.node)?.member;
  const before = await memberOf();
  const addresses = cluster.hosts.map(({ address }) => address).join(',');
  const ask = () => runSentinelctl(['--peers', addresses, 'node', 'reinit', standby.node, '-y']);
  return {
    victim: standby,
    before: () => Promise.resolve(),
    start: ask,
    async complete() {
      if ((await memberOf()) !== before) return;
      const second = await ask();
      expect(second.exitCode, second.stderr).toBe(0);
      expect(await memberOf()).not.toBe(before);
    },
  };
}

testTables('clone', [
  { name: 'first', steps: FIRST, prepare: first },
  { name: 'reinit', steps: REINIT, known: FIRST, prepare: reinit },
]);
