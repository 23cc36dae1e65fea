// Failures that are none, or only half of one: a hung postmaster must lead to a failover; a killed backend, a stalled observer and
// an administrator's restart must not.
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { delay, until } from '../../../src/base/clock.ts';
import { findOsUser, spawnIds } from '../../../src/postgres/os-user.ts';
import type { Host } from '../../../harness/host.ts';
import {
  connectTo,
  LIMIT_MS,
  openScene,
  TEST_MS,
  type Judged,
  type Load,
  type Scene,
} from '../dangers/scene.ts';
import { postmasterOf } from '../dangers/victims.ts';

let scene: Scene;

beforeAll(async () => {
  scene = await openScene();
}, TEST_MS);
afterAll(async () => {
  await scene?.close();
});

const kindsOf = ({ events }: Judged): string[] => events.map(({ kind }) => kind);

test(
  'a postmaster that hangs, while open sessions go on, is replaced',
  async () => {
    const judged = await scene.underLoad(async (load) => {
      load.stop(postmasterOf(load.primary));
      await load.event('subjective-down', /no answer/);
      await load.event('promoted');
      await load.moreAcks(50, load.standbys);
    });
    expect(judged.primaries, judged.why).toHaveLength(2);
  },
  TEST_MS,
);

describe('no failover', () => {
  /** A backend that sleeps in a session of its own, by pid. */
  async function victim(
    load: Load,
    host: Host,
  ): Promise<{ pid: number; work: (text: string) => Promise<unknown> }> {
    const client = await connectTo(host);
    load.undo(() => client.end().catch(() => undefined));
    const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid');
    return { pid: rows[0]?.pid ?? expect.fail('no backend'), work: (text) => client.query(text) };
  }

  test(
    'when a backend is killed with SIGKILL: the postmaster restarts its backends',
    async () => {
      const judged = await scene.underLoad(async (load) => {
        const postmaster = postmasterOf(load.primary);
        const { pid } = await victim(load, load.primary);
        process.kill(pid, 'SIGKILL');
        await load.moreAcks(50);
        expect(load.primary.postmasterPid()).toBe(postmaster);
      });
      expect(kindsOf(judged)).not.toContain('begin-failover');
    },
    TEST_MS,
  );

  const group = memoryGroup();
  test.skipIf(group === undefined)(
    'when the kernel kills a backend that used too much memory (needs root and a cgroup of memory)',
    async () => {
      const judged = await scene.underLoad(async (load) => {
        const { pid, work } = await victim(load, load.primary);
        const { limit, directory } = group ?? expect.fail('no cgroup');
        mkdirSync(directory);
        load.undo(() => rmdirSync(directory));
        writeFileSync(join(directory, limit), String(32 << 20));
        writeFileSync(join(directory, 'cgroup.procs'), String(pid));
        await expect(
          work(
            `set work_mem = '1GB'; select count(*) from (select array_agg(repeat('x', 1000) || g) from generate_series(1, 1000000) g) big`,
          ),
        ).rejects.toThrow(/terminated|closed|ended/);
        await load.moreAcks(50);
      });
      expect(kindsOf(judged)).not.toContain('begin-failover');
    },
    TEST_MS,
  );

  test(
    'when the observers themselves were stalled, longer than it takes to hold a node for down',
    async () => {
      const judged = await scene.underLoad(async (load) => {
        const pids = load.standbys.map(({ sentineldPid }) => sentineldPid ?? expect.fail('no sentineld'));
        const release = load.stop(...pids);
        await delay(STALL_MS);
        release();
        for (const host of load.standbys)
          await until({ what: `${host.peer} to abstain`, timeoutMs: LIMIT_MS, everyMs: 20 }, () =>
            /observer abstains: it (was stalled|reache[sd] no quorum)/.test(load.logOf(host)),
          );
        await delay(STALL_MS);
        await load.moreAcks(50, [load.primary]);
      });
      expect(kindsOf(judged)).not.toContain('subjective-down');
      expect(kindsOf(judged)).not.toContain('begin-failover');
    },
    TEST_MS,
  );

  test(
    'when an administrator stops PostgreSQL with pg_ctl and starts it within restart_grace',
    async () => {
      const judged = await scene.underLoad(async (load) => {
        const before = postmasterOf(load.primary);
        await pgCtl(load.primary, 'stop', '-m', 'fast');
        await delay(1000);
        await pgCtl(
          load.primary,
          'start',
          '-l',
          join(load.primary.directory, 'state/postgresql/by-hand.log'),
        );
        await load.moreAcks(50, [load.primary]);
        expect(postmasterOf(load.primary)).not.toBe(before);
      });
      expect(kindsOf(judged)).not.toContain('begin-failover');
    },
    TEST_MS,
  );
});

/** Longer than `down_after`, 2 s. */
const STALL_MS = 4000;

async function pgCtl(host: Host, ...args: string[]): Promise<void> {
  const user = await findOsUser({ configured: undefined });
  const program = join(scene.cluster.postgres.directory, 'pg_ctl');
  await promisify(execFile)(program, ['-D', host.dataDirectory, '-w', ...args], {
    ...spawnIds(user),
    cwd: host.dataDirectory,
    timeout: LIMIT_MS,
  });
}

/** Where a group of processes with a memory limit can be made, or undefined. */
function memoryGroup(): { directory: string; limit: string } | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const name = `pg-sentinel-test-${process.pid}`;
  if (existsSync('/sys/fs/cgroup/memory/memory.limit_in_bytes'))
    return { directory: `/sys/fs/cgroup/memory/${name}`, limit: 'memory.limit_in_bytes' };
  const controllers = '/sys/fs/cgroup/cgroup.subtree_control';
  if (existsSync(controllers) && /\bmemory\b/.test(readFileSync(controllers, 'utf8')))
    return { directory: `/sys/fs/cgroup/${name}`, limit: 'memory.max' };
  return undefined;
}
