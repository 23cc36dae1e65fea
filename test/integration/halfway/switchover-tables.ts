// A switchover that is broken off at each of its steps, on each of the three hosts: the second `sentinelctl failover` completes it.
import { expect } from 'vitest';
import { clusterAdmin } from '../../../harness/admin.ts';
import { until } from '../../../src/base/clock.ts';
import { nodeId } from '../../../src/base/ids.ts';
import { runSentinelctl } from '../raft/load.ts';
import { LIMIT_MS, type Roles, type Scene } from './scene.ts';
import type { Operation, Steps, Table } from './table.ts';

/** Its sentineld stops PostgreSQL and has it follow. */
const OLD_PRIMARY: Steps = {
  'write state/NODE.fence': 'alone',
  'sql checkpoint': 'alone',
  'SIGINT to postgres': 'both',
  'ended postgres': 'both',
  'propose cut-report': 'whole',
  'applied cut-report': 'whole',
  'remove state/guard/instructions.json': 'alone',
  'ended the guard': 'sometimes',
  'write pgdata/pg_sentinel.conf': 'alone',
  'write pgdata/standby.signal': 'alone',
  'start postgres': 'alone',
  'started postgres': 'alone',
  'write pgdata/pg_sentinel.conf #2': 'alone',
  'SIGHUP to postgres': 'alone',
  'write state/passfile/upstream-*.pass': 'whole',
  'write pgdata/postgresql.auto.conf': 'alone',
  'write pgdata/pg_sentinel.conf #3': 'alone',
  'SIGHUP to postgres #2': 'whole',
};

/** Its sentineld promotes it. */
const TARGET: Steps = {
  'write state/NODE.fence': 'alone',
  'remove state/passfile/upstream-*.pass': 'alone',
  'write pgdata/pg_sentinel.conf': 'alone',
  'SIGHUP to postgres': 'whole',
  // Where the stream does not end soon enough.
  'SIGTERM to walreceiver': 'sometimes',
  'propose cut-report': 'whole',
  'applied cut-report': 'whole',
  // The first time that it is primary.
  'make state/guard': 'sometimes',
  'write state/guard/instructions.json': 'alone',
  'start the guard': 'alone',
  'started the guard': 'whole',
  'write pgdata/pg_sentinel.conf #2': 'alone',
  'SIGHUP to postgres #2': 'alone',
  'sql pg_wal_replay_resume': 'alone',
  'write pgdata/promote.pg_sentinel': 'alone',
  'rename pgdata/promote.pg_sentinel to pgdata/promote': 'alone',
  'SIGUSR1 to postgres': 'both',
  'propose promoted': 'both',
  'applied promoted': 'alone',
  'SIGHUP to postgres #3': 'alone',
  'propose floor-passed': 'alone',
  'applied floor-passed': 'alone',
  'sql checkpoint': 'alone',
  'write state/guard/instructions.json #2': 'alone',
  'write pgdata/pg_sentinel.conf #3': 'alone',
  'SIGHUP to postgres #4': 'whole',
  'propose commit-rule': 'both',
  'applied commit-rule': 'alone',
  'write state/guard/instructions.json #3': 'sometimes',
  // It began alone, and waits until a commit was seen to wait.
  'sql pg_logical_emit_message': 'sometimes',
};

/** Beside the leader of the log, which decides; its own node is the other standby. */
const LEADER: Steps = {
  'propose begin-failover': 'whole',
  'applied begin-failover': 'alone',
  'write state/NODE.fence': 'whole',
  'remove state/passfile/upstream-*.pass': 'alone',
  'write pgdata/pg_sentinel.conf': 'alone',
  'SIGHUP to postgres': 'alone',
  // Where the stream does not end soon enough.
  'SIGTERM to walreceiver': 'sometimes',
  'propose cut-report': 'alone',
  'applied cut-report': 'sometimes',
  'propose promote': 'both',
  'applied promote': 'alone',
  'write state/passfile/upstream-*.pass': 'alone',
  'write pgdata/postgresql.auto.conf': 'whole',
  'write pgdata/pg_sentinel.conf #2': 'alone',
  'SIGHUP to postgres #2': 'alone',
  'propose begin-rule-change': 'alone',
  'applied begin-rule-change': 'alone',
};

const TRIES_MAX = 3;

const ofRole =
  (role: keyof Roles) =>
  async ({ roles, cluster }: Scene): Promise<Operation> => {
    const { standby: target, leader, ...rest } = await roles();
    const first = clusterAdmin([leader.address]);
    const addresses = cluster.hosts.map(({ address }) => address).join(',');
    return {
      victim: { standby: target, leader, ...rest }[role],
      start: () =>
        first.failover({ group: undefined, to: nodeId(target.node) }, LIMIT_MS).finally(() => first.close()),
      async complete() {
        await cluster.waitUntilHealthy(LIMIT_MS);
        for (let tries = 1; (await cluster.primary()).node !== target.node; tries += 1) {
          const second = await runSentinelctl(['--peers', addresses, 'failover', '--to', target.node, '-y']);
          // On a machine so busy that the target does not answer in time, the old primary goes on: a person tries again.
          expect(tries < TRIES_MAX || second.exitCode === 0, second.stderr).toBe(true);
          await cluster.waitUntilHealthy(LIMIT_MS);
        }
      },
    };
  };

/** Its sentineld stays away until the switchover is called off; PostgreSQL runs on, and takes writes all the while. */
async function abandoned(scene: Scene): Promise<Operation> {
  const { cluster } = scene;
  const operation = await ofRole('primary')(scene);
  const others = cluster.hosts.filter((host) => host !== operation.victim);
  const since = (await cluster.admin.events(1)).at(-1)?.index ?? 0;
  return {
    ...operation,
    async before() {
      const admin = clusterAdmin(others.map(({ address }) => address));
      const isCalledOff = async (): Promise<boolean> => {
        const events = await admin.events(100).catch(() => []);
        return events.some(({ index, kind, refused }) => index > since && kind === 'resume' && !refused);
      };
      await until(
        { what: 'the switchover to be called off', timeoutMs: LIMIT_MS, everyMs: 100 },
        isCalledOff,
      ).finally(() => admin.close());
    },
  };
}

export const SWITCHOVER: readonly Table[] = [
  { name: 'sentineld of the old primary', steps: OLD_PRIMARY, prepare: ofRole('primary') },
  { name: 'sentineld of the target', steps: TARGET, prepare: ofRole('standby') },
  {
    name: 'sentineld of the old primary, which stays away',
    steps: { 'SIGINT to postgres': 'alone' },
    known: OLD_PRIMARY,
    prepare: abandoned,
  },
  { name: 'sentineld beside the leader of the log', steps: LEADER, prepare: ofRole('leader') },
];
