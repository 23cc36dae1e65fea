// Replication slots of members that are away, on a cluster of real processes: kept for slot_retention, limited by max_slot_wal, and the member is
// whole again by itself afterwards, by a clone where it has to be.
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Host } from '../../../harness/host.ts';
import { until } from '../../../src/base/clock.ts';
import { sql } from '../dangers/scene.ts';
import {
  HEALTHY_TIMEOUT_MS,
  LIMIT_MS,
  type LoadedCluster,
  harmOf,
  startLoadedCluster,
} from '../raft/load.ts';

let loaded: LoadedCluster;
beforeAll(async () => {
  loaded = await startLoadedCluster({ cluster: 'slots', spareCount: 0 });
}, LIMIT_MS);
afterAll(() => loaded?.close());

const set = async (...words: string[]): Promise<void> =>
  expect(await loaded.ctl(['settings', 'set', ...words])).toMatchObject({ exitCode: 0 });
const eventually = (what: string, condition: () => Promise<boolean> | boolean): Promise<unknown> =>
  until({ what, timeoutMs: HEALTHY_TIMEOUT_MS, everyMs: 200 }, condition);
const slotsOf = async (host: Host): Promise<string[]> =>
  (await sql(host, 'select slot_name from pg_replication_slots order by 1')).map((row) =>
    String((row as { slot_name: string }).slot_name),
  );
const events = async (): Promise<string> => (await loaded.ctl(['events'])).stdout;
const placed = async () => {
  const { primary, nodes } = await loaded.cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
  const [lost, other] = loaded.cluster.hosts.filter(({ node }) => node !== primary);
  if (lost === undefined || other === undefined) throw new Error('two standbys are needed');
  const member = nodes.find(({ node }) => node === lost.node)?.member ?? '';
  return { primary: loaded.cluster.hostOf(primary ?? ''), lost, other, member };
};
const memberOf = async (host: Host): Promise<string | undefined> =>
  (await loaded.cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS)).nodes.find(({ node }) => node === host.node)
    ?.member;

describe('a member that is away for longer than slot_retention', () => {
  test(
    'has its slots given up on every node, and made again when it is back',
    { timeout: LIMIT_MS },
    async () => {
      const { primary, lost, other, member } = await placed();
      expect(await slotsOf(primary)).toContain(member);
      expect(await slotsOf(other)).toContain(member);
      await set('slot_retention=2s');
      const verdict = await loaded.writeWhile(async () => {
        await lost.stopAll();
        for (const host of [primary, other])
          await eventually(
            `${host.node} to drop the slot`,
            async () => !(await slotsOf(host)).includes(member),
          );
      });
      expect(harmOf(verdict)).toEqual([]);
      expect(await events()).toMatch(new RegExp(`${lost.node} was absent for slot_retention`));
      // The others keep theirs.
      expect(await slotsOf(primary)).toHaveLength(1);
      lost.startSentineld();
      const now = await memberOf(lost);
      for (const host of [primary, other])
        await eventually(`a slot on ${host.node}`, async () => (await slotsOf(host)).includes(now ?? '-'));
      expect(await events()).toMatch(new RegExp(`${lost.node} is no longer absent`));
      await set('slot_retention=24h');
    },
  );
});

const SEGMENT_MB = 16;

/** Full segments of WAL. */
async function writeSegments(host: Host, count: number): Promise<void> {
  for (let done = 0; done < count; done += 1)
    await sql(host, "select pg_logical_emit_message(true, 'test', 'x'), pg_switch_wal()");
}

describe('max_slot_wal', () => {
  test(
    'is in force on every node, and nobody is taken to have changed it',
    { timeout: LIMIT_MS },
    async () => {
      await set('max_slot_wal=256MB');
      for (const host of loaded.cluster.hosts) {
        await eventually(`256MB on ${host.node}`, async () => {
          const [row] = await sql(host, "select current_setting('max_slot_wal_keep_size') as value");
          return (row as { value: string }).value === '256MB';
        });
      }
      expect(await loaded.ctl(['settings', 'set', 'max_slot_wal=10MB'])).toMatchObject({
        exitCode: 1,
        stderr: expect.stringMatching(
          /max_slot_wal is 10485760 bytes; it must be .* from 268435456/,
        ) as unknown,
      });
      // Somebody else's value is put back, and said.
      const host = await loaded.cluster.primary();
      await sql(host, "alter system set max_slot_wal_keep_size = '-1'");
      const log = (): string => readFileSync(host.logFile, 'utf8');
      expect(log()).not.toMatch(/put right, somebody had changed them/);
      await sql(host, 'select pg_reload_conf()');
      await eventually('it to be put back', () => /put right.*max_slot_wal_keep_size/.test(log()));
    },
  );

  test(
    'ends the slot of a member that is away; that is said before, and the member is cloned',
    { timeout: LIMIT_MS },
    async () => {
      const { primary, lost, member } = await placed();
      const verdict = await loaded.writeWhile(async () => {
        await lost.stopAll();
        await writeSegments(primary, Math.ceil((0.85 * 256) / SEGMENT_MB));
        await eventually('a warning', async () => {
          const { stdout } = await loaded.ctl(['node', 'check', primary.node]);
          return stdout.includes(`replication slot ${member} keeps`);
        });
        expect((await loaded.ctl(['status'])).stdout).toMatch(/is lost beyond/);
        await writeSegments(primary, 5);
        await sql(primary, 'checkpoint');
        await eventually('the loss to be said', () =>
          readFileSync(primary.logFile, 'utf8').includes(`replication slot ${member} is lost`),
        );
        // Said first, then dropped and made anew.
        await eventually('it to be made anew', async () => (await slotsOf(primary)).includes(member));
        lost.startSentineld();
        await eventually('another data directory', async () => {
          const now = (await memberOf(lost)) ?? member;
          return now !== member;
        });
      });
      expect(harmOf(verdict)).toEqual([]);
      await eventually('no slot of the old one', async () => !(await slotsOf(primary)).includes(member));
      expect((await loaded.ctl(['node', 'check', lost.node])).stdout).not.toMatch(/CRITICAL/);
    },
  );
});
