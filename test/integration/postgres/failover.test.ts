// The steps of a failover on real PostgreSQL, in the order in which they happen: clone, follow, cut, position, promotion
// to an assigned timeline, the others following across the gap, the old primary coming back.
import { join } from 'node:path';
import { readFile, writeFile } from 'node:fs/promises';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { until } from '../../../src/base/clock.ts';
import { memberId, timeline } from '../../../src/base/ids.ts';
import { cloneStandby } from '../../../src/postgres/clone.ts';
import { readControlData } from '../../../src/postgres/control-data.ts';
import { readCutPosition } from '../../../src/postgres/position.ts';
import { childProcesses, findPostmaster } from '../../../src/postgres/processes.ts';
import { promotePostgres } from '../../../src/postgres/promote.ts';
import { readRole } from '../../../src/postgres/role.ts';
import { checkpoint, createSlot } from '../../../src/postgres/sql.ts';
import { isRewindInterrupted } from '../../../src/postgres/rewind-marker.ts';
import { rewindPostgres } from '../../../src/postgres/rewind.ts';
import { predictTimeline, placeFillers, listHistories } from '../../../src/postgres/timelines.ts';
import {
  cutUpstream,
  followUpstream,
  hasStandbySignal,
  removeStandbySignal,
  writeStandbySignal,
} from '../../../src/postgres/upstream.ts';
import { readWalEnd } from '../../../src/postgres/wal-end.ts';
import { makeDirectory } from '../../../src/postgres/own-directories.ts';
import {
  configure,
  openPlace,
  LIMIT_MS,
  QUERY,
  sql,
  start,
  startPrimary,
  stop,
  withTakenPid,
  upstreamOf,
  type Instance,
  type Place,
  TESTED_VERSIONS,
} from './instances.ts';
import { silentServer } from './silent-server.ts';

const slotOf = (instance: Instance): string => `${instance.name}_slot`;

async function follow(instance: Instance, upstream: Instance): Promise<void> {
  await createSlot(upstream.session, slotOf(instance), QUERY);
  await followUpstream({
    ...instance,
    upstream: upstreamOf(upstream, instance.name),
    slotName: slotOf(instance),
    owner: instance.user.owner,
  });
}

async function clone(
  instance: Instance,
  source: Instance,
  method: 'protocol' | 'pg_basebackup',
): Promise<void> {
  const { systemIdentifier } = await readControlData(source.dataDirectory);
  let last = 0;
  const done = await cloneStandby({
    ...instance,
    source: upstreamOf(source, 'pg_sentinel_clone'),
    systemIdentifier,
    method,
    stallMs: LIMIT_MS,
    maxRateBytes: 1000 << 20,
    onProgress: ({ bytes }) => (last = bytes),
  });
  expect(done).toEqual({ systemIdentifier, method });
  expect(last).toBeGreaterThan(1_000_000);
  await configure(instance);
}

const waitUntil = (what: string, condition: () => Promise<boolean>): Promise<boolean> =>
  until({ what, timeoutMs: LIMIT_MS, everyMs: 20 }, condition) as Promise<boolean>;

const isStreaming = (from: Instance, name: string): Promise<boolean> =>
  waitUntil(`${name} streams from ${from.name}`, async () => {
    const role = await readRole(from.session, QUERY);
    return role.replication.some((row) => row.applicationName === name && row.state === 'streaming');
  });

const hasCaughtUp = async (standby: Instance, primary: Instance): Promise<boolean> => {
  const [row] = await sql<{ lsn: string }>(primary, 'select pg_current_wal_flush_lsn()::text as lsn');
  const replayed = waitUntil(`${standby.name} replayed ${row?.lsn}`, async () => {
    const [at] = await sql<{ done: boolean }>(
      standby,
      `select pg_last_wal_replay_lsn() >= '${row?.lsn}'::pg_lsn as done`,
    );
    return at?.done === true;
  });
  return replayed.catch(async (error: unknown) => {
    for (const { name, logFile } of [primary, standby])
      console.log(`${name}:\n${(await readFile(logFile, 'utf8')).split('\n').slice(-40).join('\n')}`);
    throw error;
  });
};

const cut = (instance: Instance) =>
  cutUpstream({ ...instance, owner: instance.user.owner, timeoutMs: LIMIT_MS });
const positionOf = (instance: Instance) =>
  readCutPosition({ ...instance, superuser: 'sentinel', isRunning: () => true, timeoutMs: LIMIT_MS });

const receivers = (instance: Instance): number => {
  const postmaster = findPostmaster(instance.dataDirectory);
  return postmaster === undefined
    ? 0
    : childProcesses(postmaster.pid).filter((child) => child.kind === 'walreceiver').length;
};

for (const version of TESTED_VERSIONS) {
  const place: Place | undefined = await openPlace(version);
  describe.skipIf(place === undefined)(`PostgreSQL ${version} (needs its binaries)`, () => {
    const at = place as Place;
    let one: Instance;
    let two: Instance;
    let three: Instance;
    const figures: Record<string, number> = {};

    beforeAll(async () => {
      one = await startPrimary(at, 'one');
      await sql(one, 'create table public.kept (id int primary key, text text)');
      two = await at.prepare('two');
      three = await at.prepare('three');
    });
    afterAll(async () => {
      await at.close();
      console.log(`PostgreSQL ${version}`, JSON.stringify(figures));
    });

    test('pg_control read directly agrees with the SQL functions', async () => {
      const [row] = await sql<Record<string, unknown>>(
        one,
        `select s.system_identifier::text as id, c.checkpoint_lsn::text as lsn, c.redo_lsn::text as redo, c.timeline_id as timeline,
           i.bytes_per_wal_segment as segment, i.data_page_checksum_version as checksums
         from pg_control_system() s, pg_control_checkpoint() c, pg_control_init() i`,
      );
      const control = await readControlData(one.dataDirectory);
      expect(control.state).toBe('in production');
      expect(control.systemIdentifier).toBe(row?.['id']);
      expect(control.checkpointTimeline).toBe(row?.['timeline']);
      expect(control.walSegmentBytes).toBe(row?.['segment']);
      expect(control.checksums).toBe(row?.['checksums'] === 1);
      expect(control.maxConnections).toBe(20);
      const { formatLsn } = await import('../../../src/base/lsn.ts');
      expect([formatLsn(control.checkpoint), formatLsn(control.checkpointRedo)]).toEqual([
        row?.['lsn'],
        row?.['redo'],
      ]);
    });

    test('a standby is cloned over the protocol, or with pg_basebackup where there is one, and follows', async () => {
      // The source notes what it is asked for.
      const limitCount = async (): Promise<number> =>
        (await readFile(one.logFile, 'utf8')).match(
          /received replication command: BASE_BACKUP.*MAX_RATE '?1024000\b/g,
        )?.length ?? 0;
      await clone(two, one, 'protocol');
      expect(await limitCount()).toBe(1);
      expect(await hasStandbySignal(two.dataDirectory)).toBe(true);
      await follow(two, one);
      await start(two);
      await isStreaming(one, 'two');
      await clone(three, one, at.binaries.has.pgBasebackup ? 'pg_basebackup' : 'protocol');
      expect(await limitCount()).toBe(2);
      await follow(three, one);
      await start(three);
      await isStreaming(one, 'three');
      await sql(one, "insert into public.kept values (1, 'first')");
      await hasCaughtUp(two, one);
      expect(await sql(two, 'select text from public.kept')).toEqual([{ text: 'first' }]);
      // A source that is a standby, over a directory that is there already.
      await stop(three);
      await clone(three, two, 'protocol');
      await follow(three, one);
      await start(three);
      await isStreaming(one, 'three');
    });

    test('a cut standby acknowledges nothing more, and comes back when it follows again', async () => {
      await configure(one, { synchronousStandbys: { kind: 'any', acks: 1, members: [memberId('two')] } });
      await sql(one, 'select pg_reload_conf()');
      await waitUntil('a rule', async () =>
        (await readRole(one.session, QUERY)).replication.some((row) => row.syncState === 'quorum'),
      );
      await sql(
        one,
        "set synchronous_commit = on; insert into public.kept values (2, 'replicated'); set synchronous_commit = local",
      );
      const result = await cut(two);
      figures['cutMs'] = Math.round(result.tookMs);
      expect(result.running).toBe(true);
      expect(receivers(two)).toBe(0);
      const before = await positionOf(two);
      await sql(one, "insert into public.kept values (3, 'after the cut')");
      expect(await positionOf(two)).toEqual(before);
      expect(before.timeline).toBe(1);
      await follow(two, one);
      await isStreaming(one, 'two');
      await hasCaughtUp(two, one);
      await configure(one, { synchronousStandbys: { kind: 'alone' } });
      await sql(one, 'select pg_reload_conf()');
    });

    test('a walreceiver that is connecting, which pg_stat_wal_receiver does not show, is cut too', async () => {
      const silent = await silentServer();
      try {
        const target = { ...upstreamOf(one, 'two'), port: silent.port };
        await followUpstream({ ...two, upstream: target, slotName: '', owner: two.user.owner });
        await silent.connected;
        const role = await readRole(two.session, QUERY);
        expect(role.kind === 'standby' && role.walReceiver?.status === 'streaming').toBe(false);
        expect(receivers(two)).toBe(1);
        expect((await cut(two)).running).toBe(true);
        expect(receivers(two)).toBe(0);
        await positionOf(two);
      } finally {
        silent.close();
      }
      await follow(two, one);
      await isStreaming(one, 'two');
    });

    test('while replay is paused the cut is done all the same, and the position is after what was received', async () => {
      await sql(two, 'select pg_wal_replay_pause()');
      await waitUntil(
        'a pause',
        async () =>
          (await sql<{ state: string }>(two, 'select pg_get_wal_replay_pause_state() as state'))[0]?.state ===
          'paused',
      );
      await sql(one, "insert into public.kept values (4, 'received while paused')");
      const [written] = await sql<{ lsn: string }>(one, 'select pg_current_wal_flush_lsn()::text as lsn');
      await waitUntil(
        'flushed',
        async () =>
          (
            await sql<{ done: boolean }>(two, `select pg_last_wal_receive_lsn() >= '${written?.lsn}' as done`)
          )[0]?.done === true,
      );
      await cut(two);
      expect(receivers(two)).toBe(0);
      await positionOf(two);
      expect(await sql(two, 'select id from public.kept where id = 4')).toEqual([{ id: 4 }]);
      await follow(two, one);
      await isStreaming(one, 'two');
    });

    test('a cut standby that was killed and started again reports the same position', async () => {
      await sql(one, "insert into public.kept values (5, 'kept over a crash')");
      await hasCaughtUp(two, one);
      await cut(two);
      const before = await positionOf(two);
      await stop(two, 0);
      await start(two);
      expect(await positionOf(two)).toEqual(before);
      expect(receivers(two)).toBe(0);
    });

    test('sessions in conflict with replay are ended, and do not hold the position up', async () => {
      await follow(two, one);
      await isStreaming(one, 'two');
      await hasCaughtUp(two, one);
      const reader = new pg.Client({
        host: two.socketDirectory,
        port: two.port,
        user: 'sentinel',
        database: 'postgres',
      });
      reader.on('error', () => undefined);
      await reader.connect();
      await reader.query('begin isolation level repeatable read; select * from public.kept');
      await sql(one, 'alter table public.kept add column more int');
      await sql(one, "insert into public.kept values (8, 'behind a lock')");
      const [written] = await sql<{ lsn: string }>(one, 'select pg_current_wal_flush_lsn()::text as lsn');
      await waitUntil(
        'flushed',
        async () =>
          (
            await sql<{ done: boolean }>(two, `select pg_last_wal_receive_lsn() >= '${written?.lsn}' as done`)
          )[0]?.done === true,
      );
      await cut(two);
      const startedMs = performance.now();
      await positionOf(two);
      figures['conflictMs'] = Math.round(performance.now() - startedMs);
      expect(await sql(two, 'select id from public.kept where id = 8')).toEqual([{ id: 8 }]);
      await reader.end().catch(() => undefined);
    });

    test('a frozen walreceiver makes the cut fail instead of lie', async () => {
      await follow(two, one);
      await isStreaming(one, 'two');
      const postmaster = findPostmaster(two.dataDirectory);
      const receiver = childProcesses(postmaster?.pid ?? 0).find((child) => child.kind === 'walreceiver');
      process.kill(receiver?.pid ?? 0, 'SIGSTOP');
      await expect(cutUpstream({ ...two, owner: two.user.owner, timeoutMs: 300 })).rejects.toThrow(
        /cannot cut .* stop PostgreSQL instead/,
      );
      process.kill(receiver?.pid ?? 0, 'SIGCONT');
      await cut(two);
      await positionOf(two);
    });

    test('fillers that lead nowhere are removed at the next start, which they would prevent', async () => {
      expect(await predictTimeline(two.dataDirectory, timeline(1))).toBe(2);
      expect(
        await placeFillers({
          dataDirectory: two.dataDirectory,
          current: timeline(1),
          assigned: timeline(4),
          owner: two.user.owner,
        }),
      ).toEqual([2, 3]);
      expect(await predictTimeline(two.dataDirectory, timeline(1))).toBe(4);
      await stop(two);
      await start(two);
      expect(await listHistories(two.dataDirectory)).toEqual([]);
    });

    test('promotion opens the assigned timeline across a gap, and the others follow', async () => {
      await cut(three);
      // While `two` was cut off `three` may have received what PostgreSQL writes by itself every 15 s; it could not follow then.
      await follow(two, one);
      await isStreaming(one, 'two');
      await hasCaughtUp(two, one);
      await cut(two);
      const position = await positionOf(two);
      // Acknowledged by nobody: what makes the old primary diverge.
      await sql(one, "insert into public.kept values (6, 'lost with the old primary')");
      await stop(one, 0);
      const end = await readWalEnd(one);
      expect(end.timeline).toBe(1);
      expect(end.position).toBeGreaterThan(position.position);
      const promotion = await promotePostgres({
        ...two,
        current: timeline(1),
        assigned: timeline(5),
        timeoutMs: LIMIT_MS,
      });
      figures['promoteMs'] = Math.round(promotion.tookMs);
      expect(promotion).toMatchObject({ timeline: 5, parent: 1, switchLsn: position.position });
      expect(await listHistories(two.dataDirectory)).toEqual(
        [2, 3, 4, 5].map((number) => ({ timeline: number, empty: number < 5 })),
      );
      await expect(
        promotePostgres({ ...two, current: timeline(1), assigned: timeline(5), timeoutMs: LIMIT_MS }),
      ).resolves.toMatchObject({ timeline: 5 });
      await configure(two, { synchronousStandbys: { kind: 'alone' } });
      const startedMs = performance.now();
      await follow(three, two);
      await isStreaming(two, 'three');
      figures['followMs'] = Math.round(performance.now() - startedMs);
      await sql(two, "insert into public.kept values (7, 'on timeline 5')");
      await hasCaughtUp(three, two);
      await cut(three);
      expect((await positionOf(three)).timeline).toBe(5);
      await follow(three, two);
      await stop(three);
      await start(three);
      await isStreaming(two, 'three');
    });

    test('the old primary comes back by a rewind, or by a clone where there is no pg_rewind', async () => {
      await checkpoint(two.session, QUERY);
      if (at.binaries.has.pgRewind) {
        // pg_rewind ends the crashed one's recovery in single-user mode, which would refuse.
        const source = upstreamOf(two, 'pg_sentinel_rewind');
        await withTakenPid(one, () => rewindPostgres({ ...one, source, timeoutMs: LIMIT_MS }));
        expect(await isRewindInterrupted(one.dataDirectory)).toBe(false);
        await configure(one);
      } else await clone(one, two, 'protocol');
      await follow(one, two);
      await start(one);
      await isStreaming(two, 'one');
      await hasCaughtUp(one, two);
      const rows = await sql<{ id: number }>(one, 'select id from public.kept order by id');
      expect(rows.map((row) => row.id)).toEqual([1, 2, 3, 4, 5, 7, 8]);
    });

    test("the end of a primary's WAL is read from its files as crash recovery finds it", async () => {
      await sql(
        two,
        'insert into public.kept select g, repeat(md5(g::text), 40) from generate_series(100, 30000) g',
      );
      await sql(two, 'select pg_switch_wal()');
      await sql(two, "insert into public.kept values (9, 'after a switch')");
      await stop(two, 0);
      const crashed = await readWalEnd(two);
      await configure(two);
      await writeStandbySignal(two.dataDirectory, two.user.owner);
      await start(two);
      expect(await positionOf(two)).toEqual(crashed);
      await stop(two);
      await removeStandbySignal(two.dataDirectory);
      await configure(two, { synchronousStandbys: { kind: 'alone' } });
      await start(two);
      await sql(two, "insert into public.kept values (10, 'before a clean stop')");
      await stop(two);
      const clean = await readWalEnd(two);
      expect(clean.timeline).toBe(5);
      await writeStandbySignal(two.dataDirectory, two.user.owner);
      await start(two);
      expect(await positionOf(two)).toEqual(clean);
      await stop(two);
      await expect(readWalEnd(two)).rejects.toThrow(/standby/);
      await removeStandbySignal(two.dataDirectory);
      await start(two);
    });

    test('a promoted node that crashes before its first checkpoint reports its new timeline', async () => {
      await cut(three);
      const { timeline: current } = await positionOf(three);
      const promotion = await promotePostgres({
        ...three,
        current,
        assigned: timeline(9),
        timeoutMs: LIMIT_MS,
      });
      await stop(three, 0);
      const end = await readWalEnd(three);
      expect(end.timeline).toBe(9);
      expect(end.position).toBeGreaterThan(promotion.switchLsn);
    });

    test('a rewind that was interrupted is refused until a clone has replaced the directory', async () => {
      await stop(one);
      // A pg_rewind that takes long, and is killed.
      const directory = join(at.root, 'slow');
      await makeDirectory(at.user, directory);
      await writeFile(join(directory, 'pg_rewind'), '#!/bin/sh\nexec sleep 60\n', { mode: 0o755 });
      const binaries = { ...at.binaries, directory, has: { ...at.binaries.has, pgRewind: true } };
      const abort = new AbortController();
      const rewinding = rewindPostgres({
        ...one,
        binaries,
        source: upstreamOf(two, 'x'),
        timeoutMs: LIMIT_MS,
        signal: abort.signal,
      });
      rewinding.catch(() => undefined);
      await waitUntil('a rewind', () => isRewindInterrupted(one.dataDirectory));
      abort.abort(new Error('killed'));
      await expect(rewinding).rejects.toThrow('killed');
      expect(await isRewindInterrupted(one.dataDirectory)).toBe(true);
      await expect(
        rewindPostgres({ ...one, binaries, source: upstreamOf(two, 'x'), timeoutMs: LIMIT_MS }),
      ).rejects.toThrow(/clone instead/);
      await expect(start(one)).rejects.toThrow(/clone it/);
      await clone(one, two, 'protocol');
      expect(await isRewindInterrupted(one.dataDirectory)).toBe(false);
      expect(await readFile(join(one.dataDirectory, 'pg_wal', '00000005.history'), 'utf8')).toContain('1\t');
    });
  });
}
