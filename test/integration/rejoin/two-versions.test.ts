// A tablespace's location that two versions share, as pg_upgrade leaves it: whichever of the two comes back, is replaced or is removed, the other
// one, which nothing runs on, still has its tables. The tests follow one another.
import { access, readlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { timeline } from '../../../src/base/ids.ts';
import { cloneStandby } from '../../../src/postgres/clone.ts';
import { makeDirectory } from '../../../src/postgres/own-directories.ts';
import { promotePostgres } from '../../../src/postgres/promote.ts';
import { discardDataDirectory, discardReplaced, removeDiscarded } from '../../../src/postgres/replaced.ts';
import { isRewindInterrupted } from '../../../src/postgres/rewind-marker.ts';
import { TakenPlaceError } from '../../../src/postgres/rewind-room.ts';
import { rewindPostgres } from '../../../src/postgres/rewind.ts';
import { checkpoint } from '../../../src/postgres/sql.ts';
import {
  LIMIT_MS,
  QUERY,
  type Instance,
  type Place,
  configure,
  follow,
  openPlace,
  sql,
  start,
  startPrimary,
  stop,
  upstreamOf,
} from '../postgres/instances.ts';

const [older, newer]: (Place | undefined)[] = [await openPlace(15), await openPlace(17)];
const missing = [
  ...(older === undefined ? ['PostgreSQL 15'] : []),
  ...(older?.binaries.has.pgRewind === false ? ['pg_rewind'] : []),
  ...(newer === undefined ? ['PostgreSQL 17'] : []),
];
if (missing.length > 0) for (const place of [older, newer]) await place?.close();

describe.skipIf(missing.length > 0)(
  `two versions in one place (needs ${missing.join(', ') || 'nothing more'})`,
  () => {
    const [at, at17] = [older as Place, newer as Place];
    /** The primary of the older version, its standby, and what pg_upgrade has made beside the first. */
    let one: Instance;
    let two: Instance;
    let upgraded: Instance;
    let space: string;

    async function clone(instance: Instance, source: Instance): Promise<void> {
      await cloneStandby({
        ...instance,
        source: upstreamOf(source, 'pg_sentinel_clone'),
        systemIdentifier: undefined,
        stallMs: LIMIT_MS,
        onNote: (message) => expect.unreachable(message),
      });
      await configure(instance);
    }
    /** `standby` goes on alone, with the row `id`, and `former` has written the row 1000 + `id` that it has not. */
    async function diverge(standby: Instance, former: Instance, at: number, id: number): Promise<void> {
      await stop(standby);
      await sql(former, `insert into public.spaced values (${id + 1000})`);
      await stop(former);
      await writeFile(join(standby.dataDirectory, 'standby.signal'), '');
      await start(standby);
      await promotePostgres({
        ...standby,
        current: timeline(at),
        assigned: timeline(at + 1),
        timeoutMs: LIMIT_MS,
      });
      await configure(standby, { synchronousStandbys: { kind: 'alone' } });
      await sql(standby, 'select pg_reload_conf()');
      await sql(standby, `insert into public.spaced values (${id})`);
      await checkpoint(standby.session, QUERY);
    }
    const spaced = async (instance: Instance): Promise<number[]> =>
      (await sql<{ id: number }>(instance, 'select id from public.spaced order by 1')).map(({ id }) => id);
    /** What the upgraded database has in its tablespaces, read by its own server. */
    async function upgradedHas(): Promise<number[]> {
      await start(upgraded);
      const found = await spaced(upgraded);
      await stop(upgraded);
      return found;
    }
    const rewind = (instance: Instance, source: Instance) =>
      rewindPostgres({
        ...instance,
        source: upstreamOf(source, 'pg_sentinel_rewind'),
        timeoutMs: LIMIT_MS,
      });
    async function locationOf(instance: Instance): Promise<string> {
      const [row] = await sql<{ oid: string }>(
        instance,
        "select oid::text from pg_tablespace where spcname = 'apart'",
      );
      return readlink(join(instance.dataDirectory, 'pg_tblspc', row?.oid ?? ''));
    }

    beforeAll(async () => {
      space = join(at.root, 'space');
      await makeDirectory(at.user, space);
      one = await startPrimary(at, 'one');
      two = await at.prepare('two');
      await sql(one, `create tablespace apart location '${space}'`);
      await sql(one, 'create table public.spaced (id int primary key) tablespace apart');
      await sql(one, 'insert into public.spaced values (1)');
      await clone(two, one);
      await follow(two, one);
      await stop(one);
      await stop(two);
      // As pg_upgrade does: in the same location, beside what the old one has there.
      upgraded = await startPrimary(at17, 'upgraded');
      await sql(upgraded, `create tablespace apart location '${space}'`);
      await sql(upgraded, 'create table public.spaced (id int primary key) tablespace apart');
      await sql(upgraded, 'insert into public.spaced values (17)');
      await stop(upgraded);
      await start(one);
      await start(two);
    });
    afterAll(async () => {
      for (const place of [at, at17]) await place.close();
    });

    test('no rewind is begun that would remove what the other version has there', async () => {
      await diverge(two, one, 1, 2);
      const refused = rewind(one, two);
      await expect(refused).rejects.toThrow(TakenPlaceError);
      await expect(refused).rejects.toThrow(
        /its tablespace at \S+\/space holds more than PG_15_202209061, which pg_rewind would remove \(PG_17_\d+\)/,
      );
      expect(await isRewindInterrupted(one.dataDirectory)).toBe(false);
      expect(await upgradedHas()).toEqual([17]);
    });

    test('a clone takes another place, and what it replaces goes without what is not its own', async () => {
      await clone(one, two);
      await follow(one, two);
      await (
        await discardReplaced(one.dataDirectory, one.user)
      ).removal;
      expect(await locationOf(one)).toMatch(/\/space\.pg_sentinel-[0-9a-f]{8}$/);
      expect(await spaced(one)).toEqual([1, 2]);
      expect(await upgradedHas()).toEqual([17]);
      await start(upgraded);
      const [own, others] = [await locationOf(upgraded), await locationOf(one)];
      expect(own).toBe(space);
      // Now it is upgraded anew, in the place that was made for the clone.
      await sql(upgraded, `create tablespace beside location '${others}'`);
      await sql(upgraded, 'alter table public.spaced set tablespace beside');
      await stop(upgraded);
    });

    test('no rewind is begun from a source that would send what another version has there', async () => {
      await diverge(one, two, 2, 3);
      await expect(rewind(two, one)).rejects.toThrow(
        /the source's tablespace at \S+ holds more than PG_15_202209061, which pg_rewind would copy \(PG_17_\d+\)/,
      );
      expect(await isRewindInterrupted(two.dataDirectory)).toBe(false);
      await start(two);
      expect(await spaced(two)).toContain(1003);
      await stop(two);
    });

    test('where the data directory is removed for good the other version keeps the place, which was made for a clone', async () => {
      const place = await locationOf(one);
      await stop(one);
      await discardDataDirectory(one.dataDirectory);
      await removeDiscarded(one.dataDirectory, one.user);
      await expect(access(one.dataDirectory)).rejects.toThrow(/ENOENT/);
      expect(await upgradedHas()).toEqual([17]);
      await access(place);
    });

    test('one that nobody shares is rewound as ever', async () => {
      const alone = await at.prepare('alone');
      await start(two);
      await clone(alone, two);
      await follow(alone, two);
      await diverge(alone, two, 2, 4);
      await rewind(two, alone);
      await configure(two);
      await follow(two, alone);
      expect(await spaced(two)).toEqual([1, 2, 4, 1003]);
    });
  },
);
