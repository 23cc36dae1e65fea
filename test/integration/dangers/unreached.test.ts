// A candidate is lost right after it has opened its timeline, of which the standbys have read the history and the first bytes: PostgreSQL would
// read the segment in which it begins from there, and end by a PANIC when it is promoted. Another one takes over all the same.
import { chown, copyFile, readFile, rename, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { until } from '../../../src/base/clock.ts';
import { timeline } from '../../../src/base/ids.ts';
import { parseLsn } from '../../../src/base/lsn.ts';
import { readControlData } from '../../../src/postgres/control-data.ts';
import { highestTimelineAt, historyFileName, segmentSuffix } from '../../../src/postgres/timelines.ts';
import type { Host } from '../../../harness/host.ts';
import { LIMIT_MS, TEST_MS, openScene, sql, type Scene } from './scene.ts';
import { allOf, standStill } from './victims.ts';

const BEGUN_BYTES = 8192;

let scene: Scene;
beforeAll(async () => {
  scene = await openScene();
}, TEST_MS);
afterAll(() => scene?.close());

/** As a walreceiver leaves them whose primary is lost then. */
async function beginTimeline(host: Host): Promise<void> {
  const wal = join(host.dataDirectory, 'pg_wal');
  const { walSegmentBytes } = await readControlData(host.dataDirectory);
  const position = await until(
    { what: 'replay to stand still', timeoutMs: LIMIT_MS, everyMs: 200 },
    async () => {
      const read = async (): Promise<string> =>
        (await sql<{ lsn: string }>(host, 'select pg_last_wal_replay_lsn() as lsn'))[0]?.lsn ?? '';
      const [before, after] = [await read(), await read()];
      return before === after && before !== '' ? before : undefined;
    },
  );
  const end = parseLsn(position);
  expect(Number(end % BigInt(walSegmentBytes))).toBeGreaterThan(2 * BEGUN_BYTES);
  const suffix = segmentSuffix(end, walSegmentBytes);
  const at = await highestTimelineAt({
    dataDirectory: host.dataDirectory,
    position: end,
    walSegmentBytes,
  });
  const current = at ?? expect.fail('no segment');
  const next = timeline(current + 1);
  const owner = await stat(join(host.dataDirectory, 'PG_VERSION'));
  const fileOf = (number: number): string =>
    join(wal, `${historyFileName(timeline(number)).slice(0, 8)}${suffix}`);
  const begun = join(wal, 'begun');
  await copyFile(fileOf(current), begun);
  await truncate(begun, BEGUN_BYTES);
  await truncate(begun, walSegmentBytes);
  await chown(begun, owner.uid, owner.gid);
  await rename(begun, fileOf(next));
  const history = await readFile(join(wal, historyFileName(current)), 'utf8').catch(() => '');
  await writeFile(begun, `${history}${current}\t${position}\tno recovery target specified\n`);
  await chown(begun, owner.uid, owner.gid);
  await rename(begun, join(wal, historyFileName(next)));
}

test(
  'a standby that has begun to fetch a timeline that nobody has any more is promoted',
  async () => {
    const judged = await scene.underLoad(async (load) => {
      await sql(load.primary, "select pg_logical_emit_message(false, 'pg_sentinel', repeat('x', 100000))");
      const pids = [...allOf(load.primary), load.primary.sentineldPid ?? expect.fail('no sentineld')];
      load.stop(...pids);
      await standStill(...pids);
      for (const standby of load.standbys) await beginTimeline(standby);
      await load.event('promoted');
      for (const standby of load.standbys)
        expect(load.logOf(standby)).toContain('timelines that were not reached');
      await load.moreAcks(50, load.standbys);
      const others = load.standbys.map(({ node }) => node);
      await load.waitFor('the other one to stream', ({ nodes }) =>
        nodes.some(({ node, state }) => others.includes(node) && state === 'streaming'),
      );
    });
    expect(judged.primaries, judged.why).toHaveLength(2);
  },
  TEST_MS,
);
