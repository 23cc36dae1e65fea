// The end of the archive is what the archive says, not the first file that it does not give: a timeline after one that was given up belongs to it,
// and a hole is none. And what lies where this node has its tablespaces is left alone. A group of one node is enough for that.
import { readdir, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterAll, afterEach, beforeEach, expect, test } from 'vitest';
import { until } from '../../../src/base/clock.ts';
import { type LocalCluster, startLocalCluster } from '../../../harness/local-cluster.ts';
import { sql } from '../dangers/scene.ts';
import { LIMIT_MS, runSentinelctl } from '../raft/load.ts';
import {
  ALLOWED,
  GO,
  REMAP,
  type Tools,
  archiveOf,
  give,
  goOnPromoted,
  makeBackup,
  scriptOf,
  writeScript,
} from './backup.ts';

let stop: AbortController;
let cluster: LocalCluster | undefined;
beforeEach(() => {
  stop = new AbortController();
});
afterEach(async () => {
  stop.abort(new Error('the test is over'));
  await cluster?.close();
  cluster = undefined;
}, LIMIT_MS);
afterAll(() => cluster?.close());

const placeOf = (directory: string): string => join(directory, 'shop');

/** One node that restores all of the archive. */
async function restoring(prepare: (tools: Tools, directory: string) => Promise<void>): Promise<LocalCluster> {
  cluster = await startLocalCluster({
    cluster: 'restored',
    hostCount: 1,
    signal: stop.signal,
    node: ({ directory }) => ({ tablespaces: { fast: placeOf(dirname(directory)) } }),
    settings: (directory) => ({
      bootstrap: {
        command: [scriptOf(directory)],
        restore_command: `cp ${archiveOf(directory)}/%f %p`,
      },
    }),
    prepare: async ([first], tools) => {
      const directory = dirname(first?.directory ?? '');
      await writeScript(directory);
      await prepare(tools, directory);
      for (const sign of [ALLOWED, GO]) await give(directory, sign);
    },
  });
  return cluster;
}

const ctl = ({ hosts }: LocalCluster, ...args: string[]) =>
  runSentinelctl(['--peers', hosts.map(({ address }) => address).join(','), ...args]);
const told = (of: LocalCluster, text: string) =>
  until({ what: `the status to say "${text}"`, timeoutMs: 180_000, everyMs: 300 }, async () =>
    (await ctl(of, 'status')).stdout.replaceAll(/\s+/g, ' ').includes(text),
  );
const running = (of: LocalCluster) => of.waitFor('a primary', 180_000, (group) => group.phase === 'running');
const answer = (of: LocalCluster, text: string) =>
  until({ what: 'an answer', timeoutMs: 120_000, everyMs: 300 }, () =>
    sql(of.hostOf('pg1'), text).catch(() => undefined),
  );

test(
  'a timeline that comes after a number that is missing is recovered to its end, and not across a hole',
  { timeout: LIMIT_MS },
  async () => {
    let missing = '';
    const of = await restoring(async (tools, directory) => {
      await makeBackup(tools, directory);
      const [, second = ''] = await goOnPromoted(tools, directory, [3000, 3001, 3002]);
      missing = second;
      expect(missing).toMatch(/^00000003/);
      const names = await readdir(archiveOf(directory));
      expect(names).toContain('00000003.history');
      expect(names).not.toContain('00000002.history');
      await rename(join(archiveOf(directory), missing), join(directory, missing));
    });
    await told(of, `${missing} is missing or damaged, though there is WAL after it`);
    expect((await of.admin.status()).groups[0]?.phase).toBe('creating');
    await rename(join(of.directory, missing), join(archiveOf(of.directory), missing));
    const rejoin = await ctl(of, 'node', 'rejoin', 'pg1');
    expect(rejoin.exitCode, rejoin.stderr).toBe(0);
    const group = await running(of);
    expect(group.restore).toMatchObject({ fromTimeline: 3, timeline: 4 });
    expect(await answer(of, 'select array_agg(id order by id) as ids from kept where id >= 1000')).toEqual([
      { ids: [1000, 3000, 3001, 3002] },
    ]);
  },
);

test(
  "a tablespace of a database that was set aside is not recovered into, nor removed; the restored one's own is new",
  { timeout: LIMIT_MS },
  async () => {
    const aside = (directory: string): string => join(placeOf(directory), 'pg_sentinel-aabbccdd');
    let before: string[] = [];
    const of = await restoring(async (tools, directory) => {
      await makeBackup(tools, directory, { tablespace: aside(directory) });
      before = (await readdir(aside(directory), { recursive: true })).sort();
    });
    const untouched = async (): Promise<void> => {
      expect(before.length).toBeGreaterThan(1);
      expect((await readdir(aside(of.directory), { recursive: true })).sort()).toEqual(before);
    };
    await told(of, `it has a tablespace at ${aside(of.directory)}, which may be another server's`);
    await untouched();
    expect(await readdir(placeOf(of.directory))).toEqual(['pg_sentinel-aabbccdd']);
    await give(of.directory, REMAP);
    expect(await ctl(of, 'node', 'rejoin', 'pg1')).toMatchObject({ exitCode: 0 });
    await running(of);
    expect(await answer(of, 'select count(*)::int as count from in_fast')).toEqual([{ count: 10 }]);
    const [row] = (await answer(
      of,
      "select pg_tablespace_location(oid) as path from pg_tablespace where spcname = 'fast'",
    )) as { path: string }[];
    expect(row?.path).toMatch(/\/shop\/pg_sentinel-[0-9a-f]{8}$/);
    expect(row?.path).not.toBe(aside(of.directory));
    await untouched();
  },
);
