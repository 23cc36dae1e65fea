// `sentinelctl node create` and `node clone` on the host itself: the steps of each. What they work on is in local-scenes.ts.
import { expect } from 'vitest';
import { until } from '../../../src/base/clock.ts';
import { openCloneScene, openCreateScene, openTakeScene } from './local-scenes.ts';
import { LIMIT_MS, type LocalScene, type LocalTable } from './local-table.ts';
import type { Steps } from './table.ts';

/** Before anything is made: the directories of the agent, and the lock of the data directory. */
const ALONE: Steps = {
  'make state': 'alone',
  'make state/passfile': 'alone',
  'make state/postgresql': 'alone',
  'make state/local': 'alone',
  'link state/local/N.sock': 'alone',
  'link state/local/N.pid': 'alone',
};

/** By initdb, with the WAL elsewhere. */
const INITDB: Steps = {
  ...ALONE,
  'write data.init-*.parts': 'alone',
  'make data.init-*': 'alone',
  'write data.init-*.parts #2': 'alone',
  'make wal': 'alone',
  'make wal/pg_sentinel-*': 'alone',
  'write data.init-*.parts #3': 'alone',
  'start initdb': 'alone',
  'started initdb': 'alone',
  'ended initdb': 'alone',
  'write data.init-*/pg_sentinel_member.json': 'alone',
  'remove data.init-*.parts': 'alone',
  'rename data.init-* to data': 'alone',
};
/** Of a directory that somebody else has made, with its configuration elsewhere. */
const TAKEN: Steps = {
  ...ALONE,
  'write state/NODE.adopted-hba': 'alone',
  'write data/pg_ident.conf': 'alone',
  'write data/postgresql.conf': 'alone',
  'write data/pg_sentinel_member.json': 'alone',
};
/** With a tablespace and the WAL elsewhere. */
const CLONED: Steps = {
  ...ALONE,
  'write data.clone-*.parts': 'alone',
  'make data.clone-*': 'alone',
  'write data.clone-*.parts #2': 'alone',
  'make fast': 'alone',
  'make fast/pg_sentinel-*': 'alone',
  'write data.clone-*.parts #3': 'alone',
  'make wal': 'alone',
  'make wal/pg_sentinel-*': 'alone',
  'write data.clone-*.parts #4': 'alone',
  'write state/passfile/clone.pass': 'alone',
  'start pg_basebackup': 'alone',
  'started pg_basebackup': 'alone',
  'ended pg_basebackup': 'alone',
  'write data.clone-*/pg_sentinel_clone_incomplete': 'alone',
  'remove state/passfile/clone.pass': 'alone',
  'remove data.clone-*/pg_sentinel_member.json': 'alone',
  'write data.clone-*/standby.signal': 'alone',
  'write data.clone-*/postgresql.auto.conf': 'alone',
  'write data.clone-*/pg_sentinel.conf': 'alone',
  'write data.clone-*/pg_sentinel_external/N-own.conf': 'alone',
  'write data.clone-*/postgresql.conf': 'alone',
  'write data.clone-*/pg_sentinel_member.json': 'alone',
  'remove data.clone-*.parts': 'alone',
  'remove data.clone-*/pg_sentinel_clone_incomplete': 'alone',
  'rename data.clone-* to data': 'alone',
};

async function follows({ hosts }: LocalScene): Promise<void> {
  const running = hosts.start('b');
  await hosts.waitFor('pg2', 'streaming');
  expect(running.output()).not.toContain('cloning');
  await until(
    { what: 'the rows', timeoutMs: LIMIT_MS, everyMs: 50 },
    async () => (await hosts.sql('b', 'select count(*) from kept')) === '20000',
  );
}

export const CREATES: readonly LocalTable[] = [
  { name: 'node create, by initdb', steps: INITDB, open: openCreateScene },
  { name: 'node create, of a directory that is there', steps: TAKEN, open: openTakeScene },
];

export const COPIES: readonly LocalTable[] = [
  {
    name: 'node clone',
    steps: CLONED,
    open: openCloneScene,
    lastly: { name: 'sentineld follows with it, without a clone of its own', check: follows },
  },
];
