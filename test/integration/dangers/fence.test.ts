// A primary that was replaced while it was away comes back as it was: its fence file, its Raft log and its settings are of the old
// epoch. It must not take writes again, whoever starts what on it.
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { until } from '../../../src/base/clock.ts';
import { findOsUser, spawnIds } from '../../../src/postgres/os-user.ts';
import type { Host } from '../../../harness/host.ts';
import { LIMIT_MS, openScene, sql, TEST_MS, type Load, type Scene } from './scene.ts';

let scene: Scene;

beforeAll(async () => {
  scene = await openScene();
}, TEST_MS);
afterAll(async () => {
  await scene?.close();
});

const fenceOf = (host: Host): number =>
  (JSON.parse(readFileSync(join(host.directory, 'state', `${host.node}.fence`), 'utf8')) as { epoch: number })
    .epoch;

/** The host loses its power; another node takes over and takes writes. Returns the epoch that the host's fence file holds. */
async function loseHost(load: Load): Promise<number> {
  await load.primary.stopAll();
  const old = fenceOf(load.primary);
  await load.event('promoted');
  await load.moreAcks(100, load.standbys);
  const { epoch } = await load.waitFor('the new epoch', ({ phase }) => phase === 'running');
  expect(epoch).toBeGreaterThan(old);
  return old;
}

test(
  'a host that comes back with an old fence file follows, and obeys nothing below the new epoch from then on',
  async () => {
    const { primaries, why, acks } = await scene.underLoad(async (load) => {
      const old = await loseHost(load);
      expect(fenceOf(load.primary)).toBe(old);
      load.primary.startSentineld();
      await until(
        { what: 'a higher fence', timeoutMs: LIMIT_MS, everyMs: 20 },
        () => fenceOf(load.primary) > old,
      );
      await load.moreAcks(50, load.standbys);
    });
    expect(primaries, why).toHaveLength(2);
    expect(acks.at(-1)?.node).toBe(primaries[1]);
  },
  TEST_MS,
);

test(
  'PostgreSQL of the old primary, started by hand without its sentineld, comes up read-write and acknowledges nothing',
  async () => {
    const { primaries, why } = await scene.underLoad(async (load) => {
      await loseHost(load);
      await startByHand(load.primary);
      const [row] = await sql<{ standby: boolean }>(load.primary, 'select pg_is_in_recovery() as standby');
      expect(row?.standby).toBe(false);
      // The writers that are pinned to it have committed there, and wait.
      await until(
        { what: 'writers that wait for its standbys', timeoutMs: LIMIT_MS, everyMs: 20 },
        async () => {
          const waiting = await sql(
            load.primary,
            `select 1 from pg_stat_activity where usename = 'app' and wait_event = 'SyncRep'`,
          );
          return waiting.length > 0;
        },
      );
      await load.moreAcks(100, load.standbys);
      load.primary.startSentineld();
    });
    expect(primaries, why).toHaveLength(2);
  },
  TEST_MS,
);

async function startByHand(host: Host): Promise<void> {
  const user = await findOsUser({ configured: undefined });
  const log = join(host.directory, 'state/postgresql/by-hand.log');
  const program = join(scene.cluster.postgres.directory, 'pg_ctl');
  await promisify(execFile)(program, ['-D', host.dataDirectory, '-w', '-l', log, 'start'], {
    ...spawnIds(user),
    cwd: host.dataDirectory,
    timeout: LIMIT_MS,
  });
}
