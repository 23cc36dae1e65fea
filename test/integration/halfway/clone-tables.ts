// A standby's clone, its sentineld killed at each step: started again, it completes by itself, or when it is asked for again, and nothing of the
// broken-off one is left.
import { rm } from 'node:fs/promises';
import { expect } from 'vitest';
import { until } from '../../../src/base/clock.ts';
import { runSentinelctl } from '../raft/load.ts';
import { LIMIT_MS, type Scene } from './scene.ts';
import { CLONE } from './steps.ts';
import type { Operation, Steps, Table } from './table.ts';

/** `sentinelctl node reinit`. The copy itself is as in the table above, or in rejoin.test.ts, "cloned". */
const REINIT: Steps = {
  'propose pause': 'alone',
  'applied pause': 'alone',
  'SIGINT to postgres': 'alone',
  'ended postgres': 'alone',
  'write pgdata/pg_sentinel_reinit': 'alone',
  'propose end-pause': 'whole',
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
      await askWhileAside();
      if ((await memberOf()) !== before) return;
      const second = await ask();
      expect(second.exitCode, second.stderr).toBe(0);
      expect(await memberOf()).not.toBe(before);
    },
  };

  /** Broken off while it was set aside, it stays so for some minutes. A person need not wait for that, and asks again. */
  async function askWhileAside(): Promise<void> {
    let said = '';
    const isTaken = async (): Promise<boolean> => {
      const { groups } = await cluster.admin.status();
      const own = groups.flatMap(({ nodes }) => nodes).find(({ node }) => node === standby.node);
      if (own !== undefined && own.paused === undefined) return true;
      const again = await ask();
      said = again.stderr;
      return again.exitCode === 0;
    };
    const options = { what: 'node reinit to be taken again', timeoutMs: LIMIT_MS, everyMs: 500 };
    await until(options, isTaken).catch((error: unknown) => {
      throw new Error(`${(error as Error).message}: ${said}`, { cause: error });
    });
  }
}

export const CLONES: readonly Table[] = [
  { name: 'first', steps: CLONE, prepare: first },
  { name: 'reinit', steps: REINIT, known: CLONE, prepare: reinit },
];
