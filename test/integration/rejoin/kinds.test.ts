// What a failover, a rewind and a clone must carry along besides ordinary rows: archived WAL, prepared transactions, unlogged tables,
// tablespaces. Two nodes on one host, so that a tablespace's path on one is taken on the other.
import {
  access,
  appendFile,
  mkdir,
  readdir,
  readlink,
  rename,
  rm,
  rmdir,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { until } from '../../../src/base/clock.ts';
import { timeline } from '../../../src/base/ids.ts';
import { cloneStandby, finishInterruptedClone } from '../../../src/postgres/clone.ts';
import { readControlData } from '../../../src/postgres/control-data.ts';
import { giveTo } from '../../../src/postgres/os-user.ts';
import { makeDirectory } from '../../../src/postgres/own-directories.ts';
import { readCutPosition } from '../../../src/postgres/position.ts';
import { promotePostgres } from '../../../src/postgres/promote.ts';
import { rewindPostgres } from '../../../src/postgres/rewind.ts';
import { discardInterrupted, discardReplaced } from '../../../src/postgres/replaced.ts';
import { isRewindInterrupted, rewindMarker } from '../../../src/postgres/rewind-marker.ts';
import { TakenPlaceError } from '../../../src/postgres/rewind-room.ts';
import { checkpoint } from '../../../src/postgres/sql.ts';
import { cutUpstream } from '../../../src/postgres/upstream.ts';
import {
  LIMIT_MS,
  QUERY,
  type Instance,
  type Place,
  TESTED_VERSIONS,
  configure,
  follow,
  openPlace,
  sql,
  start,
  startPrimary,
  stop,
  upstreamOf,
} from '../postgres/instances.ts';

const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );

const waitUntil = (what: string, condition: () => Promise<boolean>): Promise<boolean> =>
  until({ what, timeoutMs: LIMIT_MS, everyMs: 50 }, condition);

for (const version of TESTED_VERSIONS) {
  const place: Place | undefined = await openPlace(version);
  describe.skipIf(place === undefined)(`PostgreSQL ${version} (needs its binaries)`, () => {
    const at = place as Place;
    let one: Instance;
    let two: Instance;
    let restored: Instance;
    let archive: string;
    let space: string;

    const parametersOf = (instance: Instance): Record<string, string> => ({
      ...instance.settings.parameters,
      max_prepared_transactions: '5',
      archive_mode: 'on',
      archive_command: `test ! -f ${archive}/%f && cp %p ${archive}/%f`,
    });

    const clone = async (instance: Instance, source: Instance): Promise<void> => {
      const { systemIdentifier } = await readControlData(source.dataDirectory);
      await cloneStandby({
        ...instance,
        source: upstreamOf(source, 'pg_sentinel_clone'),
        systemIdentifier,
        stallMs: LIMIT_MS,
        onNote: (message) => expect.unreachable(message),
      });
      await configure(instance, { parameters: parametersOf(instance) });
    };

    const caughtUp = async (standby: Instance, primary: Instance): Promise<void> => {
      const [row] = await sql<{ lsn: string }>(primary, 'select pg_current_wal_flush_lsn()::text as lsn');
      await waitUntil(`${standby.name} replayed ${row?.lsn}`, async () => {
        const text = `select pg_last_wal_replay_lsn() >= '${row?.lsn}'::pg_lsn as done`;
        return (await sql<{ done: boolean }>(standby, text))[0]?.done === true;
      });
    };

    const cut = (instance: Instance) =>
      cutUpstream({ ...instance, owner: instance.user.owner, timeoutMs: LIMIT_MS });
    const positionOf = (instance: Instance) =>
      readCutPosition({ ...instance, superuser: 'sentinel', isRunning: () => true, timeoutMs: LIMIT_MS });
    const column = async (instance: Instance, text: string): Promise<unknown[]> =>
      (await sql<{ value: unknown }>(instance, text)).map((row) => row.value);
    const prepared = (instance: Instance) =>
      column(instance, 'select gid as value from pg_prepared_xacts order by 1');
    const spaced = (instance: Instance) =>
      column(instance, 'select id as value from public.spaced order by 1');

    beforeAll(async () => {
      [archive, space] = [join(at.root, 'archive'), join(at.root, 'space')];
      for (const path of [archive, space]) await makeDirectory(at.user, path);
      one = await startPrimary(at, 'one');
      two = await at.prepare('two');
      restored = await at.prepare('restored');
      await stop(one);
      await configure(one, { synchronousStandbys: { kind: 'alone' }, parameters: parametersOf(one) });
      await start(one);
      await sql(one, `create tablespace apart location '${space}'`);
      await sql(one, 'create table public.spaced (id int primary key) tablespace apart');
      await sql(one, 'insert into public.spaced values (1)');
      await sql(one, 'create unlogged table public.fleeting (id int)');
      await sql(one, 'insert into public.fleeting values (1)');
      await sql(one, "begin; insert into public.spaced values (2); prepare transaction 'kept'");
    });
    afterAll(() => at.close());

    test('a clone takes tablespaces along, to a place of its own where their path is taken', async () => {
      await clone(restored, one);
      await clone(two, one);
      const [link] = await readdir(join(two.dataDirectory, 'pg_tblspc'));
      const target = await readlink(join(two.dataDirectory, 'pg_tblspc', link ?? ''));
      expect(target).toMatch(new RegExp(`^${space}.pg_sentinel-[0-9a-f]{8}$`));
      await follow(two, one);
      await caughtUp(two, one);
      expect(await spaced(two)).toEqual([1]);
    });

    test('a restore_command that somebody has set does not feed a standby that is cut off', async () => {
      // Written by the server, as ALTER SYSTEM does on a standby.
      await sql(two, `alter system set restore_command = 'cp ${archive}/%f %p'`);
      await sql(two, 'select pg_reload_conf()');
      await caughtUp(two, one);
      await cut(two);
      const before = await positionOf(two);
      await sql(one, 'insert into public.spaced values (3)');
      const [row] = await sql<{ name: string }>(one, 'select pg_walfile_name(pg_current_wal_lsn()) as name');
      await sql(one, 'select pg_switch_wal()');
      await waitUntil('the segment is archived', () => exists(join(archive, row?.name ?? '')));
      expect(await positionOf(two)).toEqual(before);
      // It would be read at the next start, too.
      await stop(two);
      await start(two);
      expect(await positionOf(two)).toEqual(before);
      expect(
        await column(two, "select setting as value from pg_settings where name = 'restore_command'"),
      ).toEqual(['']);
      await stop(two);
      await follow(two, one);
      await caughtUp(two, one);
    });

    test('a promotion keeps prepared transactions and tablespaces, and empties unlogged tables', async () => {
      // So that the old timeline ends within a segment.
      await sql(one, 'insert into public.spaced values (4)');
      await caughtUp(two, one);
      await cut(two);
      const { timeline: current } = await positionOf(two);
      await sql(one, 'insert into public.spaced values (100)');
      await sql(one, 'insert into public.fleeting values (100)');
      await sql(one, "begin; insert into public.spaced values (101); prepare transaction 'lost'");
      await stop(one, 0);
      await configure(two, { synchronousStandbys: { kind: 'alone' }, parameters: parametersOf(two) });
      await promotePostgres({ ...two, current, assigned: timeline(5), timeoutMs: LIMIT_MS });
      expect(await prepared(two)).toEqual(['kept']);
      await sql(two, "commit prepared 'kept'");
      expect(await spaced(two)).toEqual([1, 2, 3, 4]);
      expect(await column(two, 'select id as value from public.fleeting')).toEqual([]);
      await sql(two, 'insert into public.fleeting values (5)');
    });

    test('the new primary archives its history and the last part of the old timeline, under names that clash with nobody', async () => {
      await waitUntil('history and part are archived', async () => {
        const names = await readdir(archive);
        return names.includes('00000005.history') && names.some((name) => /^00000001.*\.partial$/.test(name));
      });
      const [stats] = await sql<{ failed: string }>(
        two,
        'select failed_count::text as failed from pg_stat_archiver',
      );
      expect(stats?.failed).toBe('0');
    });

    test('the old primary comes back by a rewind with its tablespaces, or by a clone where there is no pg_rewind', async () => {
      await checkpoint(two.session, QUERY);
      if (at.binaries.has.pgRewind) {
        await rewindPostgres({ ...one, source: upstreamOf(two, 'pg_sentinel_rewind'), timeoutMs: LIMIT_MS });
        await configure(one, { parameters: parametersOf(one) });
      } else await clone(one, two);
      await follow(one, two);
      await caughtUp(one, two);
      expect(await spaced(one)).toEqual([1, 2, 3, 4]);
      expect(await prepared(one)).toEqual([]);
      await sql(two, 'insert into public.spaced values (6)');
      await caughtUp(one, two);
      expect(await spaced(one)).toEqual([1, 2, 3, 4, 6]);
      await (
        await discardReplaced(one.dataDirectory, one.user)
      ).removal;
    });

    test('a clone that does not pass its check leaves everything as it was', async () => {
      await stop(one);
      const before = await readdir(at.root);
      const { systemIdentifier } = await readControlData(two.dataDirectory);
      const failing = cloneStandby({
        ...one,
        source: upstreamOf(two, 'pg_sentinel_clone'),
        systemIdentifier,
        stallMs: LIMIT_MS,
        finish: () => Promise.reject(new Error('it is not what it should be')),
      });
      await expect(failing).rejects.toThrow('it is not what it should be');
      await finishInterruptedClone(one);
      expect(await readdir(at.root)).toEqual(before);
      expect(await readdir(dirname(one.dataDirectory))).toEqual(['data']);
      await start(one);
      await caughtUp(one, two);
    });

    test('a clone keeps the directory that it replaces, with its tablespaces, until it is said to work', async () => {
      const old = `${one.dataDirectory}.pg_sentinel_replaced`;
      await stop(one);
      const [link] = await readdir(join(one.dataDirectory, 'pg_tblspc'));
      const before = await readlink(join(one.dataDirectory, 'pg_tblspc', link ?? ''));
      await writeFile(join(one.dataDirectory, 'of-the-old-one'), '');
      await clone(one, two);
      expect(await exists(join(old, 'of-the-old-one'))).toBe(true);
      expect((await readdir(before)).filter((name) => name.startsWith('PG_'))).toHaveLength(1);
      // A restart of sentineld does not take it for rubbish.
      await finishInterruptedClone(one);
      expect(await exists(join(old, 'of-the-old-one'))).toBe(true);
      // One that never worked is replaced by the next clone; the oldest is kept.
      await clone(one, two);
      expect(await exists(join(old, 'of-the-old-one'))).toBe(true);
      await follow(one, two);
      await caughtUp(one, two);
      await (
        await discardReplaced(one.dataDirectory, one.user)
      ).removal;
      expect(await exists(old)).toBe(false);
      expect((await readdir(before).catch(() => [])).filter((name) => name.startsWith('PG_'))).toEqual([]);
      expect(await spaced(one)).toEqual([1, 2, 3, 4, 6]);
      const own = (await readdir(at.root)).filter((name) => name.startsWith('space.pg_sentinel-'));
      expect(own).toHaveLength(3);
    });

    test('a clone leaves alone the directory that somebody moves back while it is copied', async () => {
      await stop(one);
      const { dataDirectory } = one;
      const aside = `${dataDirectory}-aside`;
      await rename(dataDirectory, aside);
      const { systemIdentifier } = await readControlData(two.dataDirectory);
      const failing = cloneStandby({
        ...one,
        source: upstreamOf(two, 'pg_sentinel_clone'),
        systemIdentifier,
        stallMs: LIMIT_MS,
        finish: () => rename(aside, dataDirectory),
      });
      await expect(failing).rejects.toThrow(/somebody has put something else there .*move it away first/);
      expect(await readdir(dirname(dataDirectory))).toEqual(['data']);
      await start(one);
      await caughtUp(one, two);
    });

    test('a clone that fails leaves alone what another node puts where a tablespace could have gone', async () => {
      await stop(one);
      await makeDirectory(at.user, space);
      const before = await readdir(at.root);
      const others = join(space, 'PG_15_202209061');
      const failing = cloneStandby({
        ...one,
        source: upstreamOf(two, 'pg_sentinel_clone'),
        systemIdentifier: undefined,
        stallMs: LIMIT_MS,
        finish: async () => {
          await mkdir(others, { recursive: true });
          throw new Error('it is not what it should be');
        },
      });
      await expect(failing).rejects.toThrow('it is not what it should be');
      expect(await exists(others)).toBe(true);
      expect(await readdir(at.root)).toEqual(before);
      await rmdir(others);
      await start(one);
      await caughtUp(one, two);
    });

    test('an old directory comes back where no clone has come into its place, unfit if it was unfit', async () => {
      await stop(one);
      const old = `${one.dataDirectory}.pg_sentinel_replaced`;
      const marker = `${one.dataDirectory}.rewinding`;
      await writeFile(marker, '');
      await clone(one, two);
      expect(await isRewindInterrupted(one.dataDirectory)).toBe(false);
      await rm(one.dataDirectory, { recursive: true });
      await finishInterruptedClone(one);
      expect(await exists(old)).toBe(false);
      expect(await exists(join(one.dataDirectory, 'PG_VERSION'))).toBe(true);
      expect(await isRewindInterrupted(one.dataDirectory)).toBe(true);
      await clone(one, two);
      await follow(one, two);
      await (
        await discardReplaced(one.dataDirectory, one.user)
      ).removal;
      expect(await isRewindInterrupted(one.dataDirectory)).toBe(false);
    });

    test('the archive restores a backup from before the failover to the timeline after it', async () => {
      await sql(two, 'insert into public.spaced values (7)');
      const [row] = await sql<{ name: string }>(two, 'select pg_walfile_name(pg_current_wal_lsn()) as name');
      await sql(two, 'select pg_switch_wal()');
      await waitUntil('the last segment is archived', () => exists(join(archive, row?.name ?? '')));
      await rm(join(restored.dataDirectory, 'standby.signal'));
      const signalFile = join(restored.dataDirectory, 'recovery.signal');
      await writeFile(signalFile, '');
      await giveTo(at.user, signalFile);
      await appendFile(
        join(restored.dataDirectory, 'postgresql.auto.conf'),
        `restore_command = 'cp ${archive}/%f %p'\nrecovery_target_timeline = '5'\narchive_mode = off\n`,
      );
      await start(restored);
      await waitUntil('it is open', async () => {
        const [found] = await sql<{ open: boolean }>(restored, 'select not pg_is_in_recovery() as open');
        return found?.open === true;
      });
      expect(await spaced(restored)).toEqual([1, 2, 3, 4, 6, 7]);
    });

    test('a tablespace that the source has on this host is neither rewound into nor removed with what links to it', async () => {
      const apart = join(at.root, 'apart');
      await makeDirectory(at.user, apart);
      await start(one);
      await caughtUp(one, two);
      await promotePostgres({ ...one, current: timeline(5), assigned: timeline(8), timeoutMs: LIMIT_MS });
      await stop(one);
      await sql(two, `create tablespace late location '${apart}'`);
      await sql(two, 'create table public.late (id int) tablespace late');
      await checkpoint(two.session, QUERY);
      if (at.binaries.has.pgRewind) {
        const source = upstreamOf(two, 'pg_sentinel_rewind');
        await expect(rewindPostgres({ ...one, source, timeoutMs: LIMIT_MS })).rejects.toThrow(
          TakenPlaceError,
        );
        expect(await isRewindInterrupted(one.dataDirectory)).toBe(false);
      }
      // As pg_rewind leaves it where it is begun all the same.
      const [oid] = await column(two, "select oid::text as value from pg_tablespace where spcname = 'late'");
      await symlink(apart, join(one.dataDirectory, 'pg_tblspc', String(oid)));
      await writeFile(rewindMarker(one.dataDirectory), '');
      expect(await discardInterrupted(one)).toBe(true);
      expect(await exists(one.dataDirectory)).toBe(false);
      expect((await readdir(apart)).filter((name) => name.startsWith('PG_'))).toHaveLength(1);
    });
  });
}
