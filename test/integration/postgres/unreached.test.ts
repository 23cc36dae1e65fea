// What a standby has begun to fetch of a timeline whose primary was lost: it goes where nothing of it had come, and stays where a record had.
import {
  copyFile,
  open,
  readFile,
  readdir,
  rename,
  rm,
  symlink,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { timeline } from '../../../src/base/ids.ts';
import { parseLsn } from '../../../src/base/lsn.ts';
import { readControlData } from '../../../src/postgres/control-data.ts';
import { promotePostgres } from '../../../src/postgres/promote.ts';
import { readHistory, segmentSuffix } from '../../../src/postgres/timelines.ts';
import { removeUnreached } from '../../../src/postgres/unreached.ts';
import { writeStandbySignal } from '../../../src/postgres/upstream.ts';
import {
  LIMIT_MS,
  TESTED_VERSIONS,
  type Instance,
  type Place,
  openPlace,
  sql,
  start,
  startPrimary,
  stop,
} from './instances.ts';

const BEGUN_BYTES = 65_536;

/** A standby that has replayed some hundred kB of a segment, and stands on timeline 1. */
async function startStandby(place: Place, name: string): Promise<Instance> {
  const one = await startPrimary(place, name);
  await sql(one, "create table public.filled as select repeat('x', 100) from generate_series(1, 5000)");
  await stop(one);
  await writeStandbySignal(one.dataDirectory, one.user.owner);
  await start(one);
  return one;
}

const promote = (one: Instance, assigned: number) =>
  promotePostgres({
    ...one,
    current: timeline(1),
    assigned: timeline(assigned),
    timeoutMs: LIMIT_MS,
  });
const beganWith = (names: readonly string[], number: string): string[] =>
  names.filter((name) => name.startsWith(number)).sort();

for (const version of TESTED_VERSIONS) {
  const place: Place | undefined = await openPlace(version);
  describe.skipIf(place === undefined)(`PostgreSQL ${version} (needs its binaries)`, () => {
    afterAll(() => place?.close());

    test('the beginning of a timeline that was not reached goes, and the node is promoted from where it stands', async () => {
      const one = await startStandby(place as Place, 'lost');
      const wal = join(one.dataDirectory, 'pg_wal');
      const [row] = await sql<{ lsn: string }>(one, 'select pg_last_wal_replay_lsn() as lsn');
      await stop(one);
      const { walSegmentBytes } = await readControlData(one.dataDirectory);
      const end = parseLsn(row?.lsn ?? expect.fail('it has replayed nothing'));
      expect(Number(end % BigInt(walSegmentBytes))).toBeGreaterThan(BEGUN_BYTES);
      const suffix = segmentSuffix(end, walSegmentBytes);
      const begun = join(wal, `00000002${suffix}`);
      await copyFile(join(wal, `00000001${suffix}`), begun);
      await truncate(begun, BEGUN_BYTES);
      await truncate(begun, walSegmentBytes);
      await writeFile(join(wal, '00000002.history'), `1\t${row?.lsn}\tno recovery target specified\n`);
      await writeFile(join(wal, 'archive_status', '00000002.history.done'), '');
      expect(await removeUnreached(one.dataDirectory)).toEqual([2]);
      expect(beganWith(await readdir(wal), '00000002')).toEqual([]);
      expect(await readdir(join(wal, 'archive_status'))).toEqual([]);
      expect(await removeUnreached(one.dataDirectory)).toEqual([]);
      await start(one);
      expect(await promote(one, 3)).toMatchObject({ timeline: 3, parent: 1 });
    });

    test('one that a record of its own begins stays, whatever pg_control knows of it', async () => {
      const one = await startStandby(place as Place, 'reached');
      const wal = join(one.dataDirectory, 'pg_wal');
      const control = join(one.dataDirectory, 'global', 'pg_control');
      await stop(one);
      const before = await readFile(control);
      await start(one);
      await promote(one, 2);
      await sql(one, "create table public.more as select repeat('x', 100) from generate_series(1, 1000)");
      await stop(one, 0);
      expect(await removeUnreached(one.dataDirectory)).toEqual([]);
      // As of a standby that was killed before it had written down any of it.
      const file = await open(control, 'r+');
      await file.write(before);
      await file.close();
      expect((await readControlData(one.dataDirectory)).state).toBe('shut down in recovery');
      expect(await removeUnreached(one.dataDirectory)).toEqual([]);
      expect(beganWith(await readdir(wal), '00000002')).toContain('00000002.history');
      const segment = beganWith(await readdir(wal), '000000020')[0] ?? expect.fail('no segment');
      const path = join(wal, segment);
      // Damaged: its other pages are there.
      const whole = await readFile(path);
      const { switchLsn } =
        (await readHistory(one.dataDirectory, timeline(2)))?.at(-1) ?? expect.fail('none');
      const damaged = Buffer.from(whole);
      const at = Number(switchLsn % BigInt(whole.length));
      damaged.fill(0xff, at, at + 32);
      await writeFile(path, damaged);
      expect(await removeUnreached(one.dataDirectory)).toEqual([]);
      // Not to be opened.
      await rename(path, `${path}.aside`);
      await symlink(path, path);
      await expect(removeUnreached(one.dataDirectory)).rejects.toThrow(/ELOOP/);
      await rm(path);
      expect(await removeUnreached(one.dataDirectory)).toEqual([2]);
    });
  });
}
