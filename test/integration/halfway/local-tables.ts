// `sentinelctl node create` and `node clone` on the host itself: the steps of each. What they work on is in local-scenes.ts.
import { expect } from 'vitest';
import { until } from '../../../src/base/clock.ts';
import { openCloneScene, openCreateScene, openProtocolScene, openTakeScene } from './local-scenes.ts';
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
const PLACES: Steps = {
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
};
const CLONED: Steps = {
  ...PLACES,
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
/** By us: each file that comes is a step, of which some are here. The tablespace comes first, WAL last. */
const RECEIVED: Steps = {
  ...PLACES,
  'write data.clone-*/pg_sentinel_clone_incomplete': 'alone',
  'link data.clone-*/pg_wal': 'alone',
  'make fast/pg_sentinel-*/PG_N_N': 'alone',
  'write fast/pg_sentinel-*/PG_N_N/N/N': 'alone',
  'write data.clone-*/backup_label': 'alone',
  'write data.clone-*/base/N/N #100': 'alone',
  'link data.clone-*/pg_tblspc/N': 'alone',
  'write data.clone-*/pg_sentinel_member.json': 'alone',
  'write data.clone-*/global/pg_control': 'alone',
  'write data.clone-*/pg_wal/SEGMENT': 'alone',
  'remove data.clone-*/pg_sentinel_member.json': 'alone',
  'write data.clone-*/standby.signal': 'alone',
  'write data.clone-*/postgresql.auto.conf #2': 'alone',
  'write data.clone-*/pg_sentinel.conf #2': 'alone',
  'write data.clone-*/pg_sentinel_external/N-own.conf': 'alone',
  'write data.clone-*/postgresql.conf #2': 'alone',
  'write data.clone-*/pg_sentinel_member.json #2': 'alone',
  'remove data.clone-*.parts': 'alone',
  'remove data.clone-*/pg_sentinel_clone_incomplete': 'alone',
  'rename data.clone-* to data': 'alone',
};
const OF_THE_SOURCE =
  /^(make|write) (fast\/pg_sentinel-\*|data\.clone-\*)\/(PG_|base|global|pg_(?!sentinel|tblspc\/)|tablespace_map)/;

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
  {
    name: 'node clone, without pg_basebackup',
    steps: RECEIVED,
    received: OF_THE_SOURCE,
    open: openProtocolScene,
    lastly: { name: 'sentineld follows with it, without a clone of its own', check: follows },
  },
];
