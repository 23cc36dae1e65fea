// What must be the same on every supported version of PostgreSQL although its source differs: the timeline that a promotion opens,
// and settings that only some versions know.
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { timeline } from '../../../src/base/ids.ts';
import { SUPPORTED_VERSIONS, wantedPostgres } from '../../../harness/find-postgres.ts';
import { readCutPosition } from '../../../src/postgres/position.ts';
import { promotePostgres } from '../../../src/postgres/promote.ts';
import { listHistories, readHistory } from '../../../src/postgres/timelines.ts';
import { writeStandbySignal } from '../../../src/postgres/upstream.ts';
import {
  configure,
  LIMIT_MS,
  openPlace,
  sql,
  start,
  startPrimary,
  stop,
  TESTED_VERSION,
  type Instance,
  type Place,
} from './instances.ts';

/** What an adopted database may bring along: each would promote behind our back, hold up a promotion or decoding, or take a member's slot away. */
const FOREIGN = [
  { since: 14, to: 15, name: 'promote_trigger_file', foreign: '/nonexistent/trigger', ours: '' },
  { since: 17, to: Infinity, name: 'sync_replication_slots', foreign: 'on', ours: 'off' },
  { since: 17, to: Infinity, name: 'synchronized_standby_slots', foreign: 'somebody', ours: '' },
  { since: 18, to: Infinity, name: 'idle_replication_slot_timeout', foreign: '1min', ours: '0' },
];

const versions = wantedPostgres().kind === 'any' ? SUPPORTED_VERSIONS : [TESTED_VERSION];
for (const version of versions) {
  const place: Place | undefined = await openPlace(version);
  describe.skipIf(place === undefined)(`PostgreSQL ${version} (needs its binaries)`, () => {
    const at = place as Place;
    let one: Instance;

    beforeAll(async () => {
      one = await startPrimary(at, 'one');
    });
    afterAll(() => at.close());

    const asStandby = async (): Promise<void> => {
      await stop(one);
      await configure(one);
      await writeStandbySignal(one.dataDirectory, one.user.owner);
      await start(one);
    };

    test('a promotion opens the assigned timeline: the next one, one across a gap, and one after another', async () => {
      let current = timeline(1);
      for (const assigned of [timeline(2), timeline(7), timeline(40)]) {
        await asStandby();
        const { timeline: before, position } = await readCutPosition({
          ...one,
          superuser: 'sentinel',
          isRunning: () => true,
          timeoutMs: LIMIT_MS,
        });
        expect(before).toBe(current);
        const promotion = await promotePostgres({ ...one, current, assigned, timeoutMs: LIMIT_MS });
        expect(promotion).toMatchObject({ timeline: assigned, parent: current, switchLsn: position });
        await configure(one, { synchronousStandbys: { kind: 'alone' } });
        await sql(one, 'select pg_reload_conf()');
        await sql(one, 'checkpoint');
        const [row] = await sql<{ id: number; file: string }>(
          one,
          'select timeline_id as id, pg_walfile_name(pg_current_wal_lsn()) as file from pg_control_checkpoint()',
        );
        expect(row?.id).toBe(assigned);
        expect(Number.parseInt(row?.file.slice(0, 8) ?? '', 16)).toBe(assigned);
        expect((await readHistory(one.dataDirectory, assigned))?.at(-1)?.timeline).toBe(current);
        expect((await listHistories(one.dataDirectory)).at(-1)).toEqual({ timeline: assigned, empty: false });
        current = assigned;
      }
    });

    test('settings that this version knows are ours, whatever postgresql.conf says', async () => {
      const path = join(one.dataDirectory, 'postgresql.conf');
      const known = FOREIGN.filter(({ since, to }) => version >= since && version <= to);
      const lines = known.map(({ name, foreign }) => `${name} = '${foreign}'\n`).join('');
      await stop(one);
      await writeFile(path, `${lines}${await readFile(path, 'utf8')}`);
      await start(one);
      for (const { name, ours } of FOREIGN) {
        const rows = await sql<{ setting: string }>(
          one,
          `select setting from pg_settings where name = '${name}'`,
        );
        expect(rows).toEqual(known.some((each) => each.name === name) ? [{ setting: ours }] : []);
      }
    });
  });
}
