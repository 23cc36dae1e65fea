// What a primary wrote beyond the point where its group went on without it is saved as lines of JSON before the rewind takes it away.
import { readFile, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { epoch, nodeId } from '../../../src/base/ids.ts';
import { type Lsn, lsn, parseLsn } from '../../../src/base/lsn.ts';
import { DIVERGED_LIMITS, type DivergedLimits, saveDivergedWrites } from '../../../src/postgres/diverged.ts';
import { writeFileDurably } from '../../../src/postgres/durable-files.ts';
import { segmentSuffix } from '../../../src/postgres/timelines.ts';
import { readWalEnd } from '../../../src/postgres/wal-end.ts';
import {
  LIMIT_MS,
  type Instance,
  type Place,
  TESTED_VERSIONS,
  configure,
  openPlace,
  sql,
  start,
  startPrimary,
  stop,
  withTakenPid,
} from '../postgres/instances.ts';

type Line = Record<string, unknown>;

async function walPosition(instance: Instance): Promise<Lsn> {
  const [row] = await sql<{ lsn: string }>(instance, 'select pg_current_wal_flush_lsn()::text as lsn');
  return parseLsn(row?.lsn ?? '');
}

const SEGMENT_BYTES = 16 << 20;

/** The segment that holds the byte at a position, on the first timeline. */
const segmentAt = (position: bigint): string => `00000001${segmentSuffix(lsn(position + 1n), SEGMENT_BYTES)}`;

for (const version of TESTED_VERSIONS) {
  const place: Place | undefined = await openPlace(version);
  describe.skipIf(place === undefined)(`PostgreSQL ${version} (needs its binaries)`, () => {
    const at = place as Place;
    let one: Instance;

    const save = (from: Lsn, number: number, changes: Partial<DivergedLimits> = {}) =>
      saveDivergedWrites({
        ...one,
        directory: join(at.root, 'diverged'),
        node: nodeId('one'),
        epoch: epoch(number),
        from,
        recoveryTimeoutMs: LIMIT_MS,
        limits: { ...DIVERGED_LIMITS, ...changes },
        signal: AbortSignal.timeout(LIMIT_MS),
      });

    const read = async (file: string): Promise<Line[]> =>
      (await readFile(file, 'utf8'))
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as Line);

    beforeAll(async () => {
      one = await startPrimary(at, 'one');
      await configure(one, {
        synchronousStandbys: { kind: 'alone' },
        parameters: { ...one.settings.parameters, max_prepared_transactions: '5' },
      });
      await stop(one);
      await start(one);
    });
    afterAll(() => at.close());

    test('rows of committed transactions are saved, with the keys of those they replaced; nothing else is', async () => {
      await sql(one, 'create table public.account (id int primary key, owner text, balance numeric)');
      await sql(one, 'create table public.log (entry text)');
      await sql(one, "create type public.mood as enum ('sad', 'glad')");
      await sql(one, 'create table public."Odd ""name" (a public.mood, b int[], c jsonb, d bytea)');
      await sql(
        one,
        "insert into public.account select g, 'owner ' || g, g * 1.5 from generate_series(1, 5) g",
      );
      await sql(one, 'create database other');
      const from = await walPosition(one);
      await sql(one, 'insert into public.account values (10, \'tab\there "quoted" \\ back\', 0.10)');
      await sql(one, 'update public.account set balance = 99 where id = 2');
      await sql(one, 'delete from public.account where id = 3');
      await sql(one, "insert into public.log values ('first'), (repeat('long ', 20000))");
      await sql(one, "insert into public.account values (11, 'short-lived', 1)");
      await sql(one, 'delete from public.account where id = 11');
      await sql(one, `insert into public."Odd ""name" values ('glad', '{1,2}', '{"k": 1.10}', '\\xff')`);
      await sql(
        one,
        "insert into pg_sentinel.heartbeat values ('a', 1) on conflict (peer) do update set beat = 2",
      );
      await sql(one, "select pg_logical_emit_message(true, 'pg_sentinel', 'sync check')");
      await sql(
        one,
        "do $$ begin insert into public.log values ('taken back'); raise 'no'; exception when others then null; end $$",
      );
      await expect(
        sql(one, "do $$ begin insert into public.log values ('failed'); raise 'no'; end $$"),
      ).rejects.toThrow('no');
      await sql(
        one,
        "do $$ begin begin insert into public.log values ('of a subtransaction'); exception when others then null; end; end $$",
      );
      await sql(one, 'create table public.made_here (id int)');
      await sql(one, "begin; insert into public.log values ('prepared'); prepare transaction 'my tx'");
      await stop(one, 0);

      const saved = await save(from, 7);
      expect(saved).toMatchObject({ kind: 'saved', transactionCount: 10, rowCount: 9, gaps: [] });
      const file = join(at.root, 'diverged', 'one-7.jsonl');
      expect(saved.kind === 'saved' && saved.file).toBe(file);
      expect((await stat(file)).mode & 0o777).toBe(0o600);
      const lines = await read(file);
      const seen = lines.map(({ kind, table, new: row, old_key: key, name, tables }) => [
        kind,
        table ?? name ?? (tables as string[] | undefined)?.includes('pg_catalog.pg_class') ?? null,
        row,
        key,
      ]);
      const account = 'public.account';
      expect(seen).toEqual([
        ['insert', account, { id: 10, owner: 'tab\there "quoted" \\ back', balance: 0.1 }, undefined],
        ['update', account, { id: 2, owner: 'owner 2', balance: 99 }, { id: 2 }],
        ['delete', account, undefined, { id: 3 }],
        ['insert', 'public.log', { entry: 'first' }, undefined],
        ['insert', 'public.log', { entry: 'long '.repeat(20_000) }, undefined],
        ['insert', account, { id: 11, owner: 'short-lived', balance: 1 }, undefined],
        ['delete', account, undefined, { id: 11 }],
        ['insert', 'public.Odd "name', { a: 'glad', b: [1, 2], c: { k: 1.1 }, d: '\\xff' }, undefined],
        ['insert', 'public.log', { entry: 'of a subtransaction' }, undefined],
        ['catalog', true, undefined, undefined],
        ['prepared', 'my tx', undefined, undefined],
        ['end', null, undefined, undefined],
      ]);
      expect(lines[0]).toMatchObject({
        database: 'postgres',
        commit_time: expect.stringMatching(/^20\d\d-.*Z$/),
        lsn: expect.stringMatching(/^0\/[0-9A-F]+$/),
      });
      expect(lines.at(-1)).toMatchObject({ node: 'one', epoch: 7, complete: true, transactions: 10 });
      expect(await readdir(join(at.root, 'diverged'))).toEqual(['one-7.jsonl']);

      // The attempt to rejoin is made again after a crash of sentineld: what is saved stays as it is.
      expect(await save(from, 7)).toEqual({ kind: 'saved before' });
      expect(await read(file)).toEqual(lines);
    });

    test('rows that a transaction wrote before the point of divergence are found when it committed after it', async () => {
      await start(one);
      await sql(one, 'create table public.early (id int)');
      await sql(one, 'begin');
      await sql(one, 'insert into public.early values (1)');
      await sql(one, 'select pg_switch_wal()');
      const from = await walPosition(one);
      await sql(one, 'insert into public.early values (2)');
      await sql(one, 'commit');
      await stop(one);
      const saved = await save(from, 8);
      expect(saved).toMatchObject({ kind: 'saved', transactionCount: 1, rowCount: 2, gaps: [] });
      const rows = (await read(join(at.root, 'diverged', 'one-8.jsonl'))).map((line) => line['new']);
      expect(rows).toEqual([{ id: 1 }, { id: 2 }, undefined]);
    });

    test('a postmaster.pid whose number is another process by now does not keep rows from being decoded', async () => {
      await start(one);
      const from = await walPosition(one);
      await sql(one, "insert into public.log values ('in time')");
      await stop(one, 0);
      expect(await withTakenPid(one, () => save(from, 6))).toMatchObject({
        kind: 'saved',
        transactionCount: 1,
        rowCount: 1,
        gaps: [],
      });
    });

    test('nothing is saved where there were only heartbeats', async () => {
      await start(one);
      const from = await walPosition(one);
      await sql(one, 'update pg_sentinel.heartbeat set beat = beat + 1');
      await sql(one, 'analyze public.account');
      await stop(one, 0);
      expect(await save(from, 9)).toEqual({ kind: 'nothing' });
    });

    test('what cannot be decoded is saved as WAL segments', async () => {
      await start(one);
      const from = await walPosition(one);
      await sql(one, "insert into public.log values ('undecoded')");
      await stop(one, 0);
      const saved = await save(from, 10, { decodeMs: 0 });
      expect(saved).toMatchObject({ kind: 'raw', directory: join(at.root, 'diverged', 'one-10.wal') });
      const names = await readdir(join(at.root, 'diverged', 'one-10.wal'));
      expect(names.filter((name) => /^[0-9A-F]{24}$/.test(name))).toHaveLength(1);
      expect(await save(from, 10)).toEqual({ kind: 'saved before' });
    });

    test('limits are kept, and said in the last line; ten files are kept', async () => {
      for (let number = 20; number < 32; number += 1)
        await writeFileDurably({
          path: join(at.root, 'diverged', `one-${number}.jsonl`),
          content: '',
          mode: 0o600,
          owner: at.user.owner,
        });
      await start(one);
      const from = await walPosition(one);
      await sql(one, "insert into public.log select 'row ' || g from generate_series(1, 50) g");
      await sql(one, "insert into public.log values ('left out')");
      await stop(one, 0);
      const saved = await save(from, 40, { changesMax: 50 });
      expect(saved).toMatchObject({ kind: 'saved', transactionCount: 1, rowCount: 50 });
      const last = (await read(join(at.root, 'diverged', 'one-40.jsonl'))).at(-1);
      expect(last).toMatchObject({
        complete: false,
        gaps: ['more than 50 row changes: the rest was left out'],
        limits: { changesMax: 50 },
      });
      const names = await readdir(join(at.root, 'diverged'));
      expect(names).toHaveLength(10);
      expect(names).toContain('one-40.jsonl');
    });

    test('what a transaction wrote before the point of divergence is bounded, too, and says what was left out', async () => {
      await start(one);
      await sql(one, 'begin');
      await sql(one, "insert into public.log select 'early ' || g from generate_series(1, 60) g");
      // Flushes it.
      await sql(one, 'select pg_switch_wal()');
      const from = await walPosition(one);
      await sql(one, 'commit');
      await stop(one, 0);
      const saved = await save(from, 41, { changesMax: 50 });
      expect(saved).toMatchObject({ kind: 'saved', transactionCount: 1 });
      const last = (await read(join(at.root, 'diverged', 'one-41.jsonl'))).at(-1);
      expect(last).toMatchObject({
        complete: false,
        gaps: [expect.stringMatching(/^more than 50 row changes before .*: the rest was left out$/)],
      });
    });

    // From here on WAL is taken away, which the tests above would miss.
    test('a missing segment before the point of divergence is said, and what comes after it is found', async () => {
      await start(one);
      await sql(one, 'create table public.holed (id int)');
      await sql(one, 'select pg_switch_wal()');
      // Its record of running transactions shows that ours began later.
      await sql(one, 'checkpoint');
      await sql(one, 'begin');
      for (let id = 1; id <= 4; id += 1) {
        await sql(one, `insert into public.holed values (${id})`);
        await sql(one, 'select pg_switch_wal()');
      }
      const from = await walPosition(one);
      await sql(one, 'insert into public.holed values (5)');
      await sql(one, 'commit');
      await stop(one);
      // One begins the look-back two and four segments before, not three.
      await rm(join(one.dataDirectory, 'pg_wal', segmentAt(from - 3n * BigInt(SEGMENT_BYTES))));
      const saved = await save(from, 11);
      const lines = await read(join(at.root, 'diverged', 'one-11.jsonl'));
      expect(lines.map((line) => line['new'])).toEqual([{ id: 3 }, { id: 4 }, { id: 5 }, undefined]);
      const gaps = [expect.stringContaining('that WAL is not here any more')];
      expect(saved).toMatchObject({ kind: 'saved', transactionCount: 1, rowCount: 3, gaps });
      expect(lines.at(-1)).toMatchObject({ complete: false, gaps });
    });

    test('WAL that is gone at the point of divergence is said, and what is left of it saved', async () => {
      await start(one);
      const from = await walPosition(one);
      await sql(one, "insert into public.log values ('gone')");
      await sql(one, 'select pg_switch_wal()');
      await sql(one, "insert into public.log values ('left')");
      await stop(one);
      const { position } = await readWalEnd(one);
      await rm(join(one.dataDirectory, 'pg_wal', segmentAt(from)));
      const saved = await save(from, 12);
      expect(saved).toMatchObject({ kind: 'raw', directory: join(at.root, 'diverged', 'one-12.wal') });
      const reason = saved.kind === 'raw' ? saved.reason : '';
      expect(reason).toMatch(/^there is no valid WAL at .*; the WAL from .* to .* is missing there$/);
      const names = await readdir(join(at.root, 'diverged', 'one-12.wal'));
      expect(names).toContain(segmentAt(position));
      expect(names).not.toContain(segmentAt(from));
    });

    test('where the WAL ends at or before the point of divergence there is nothing to save', async () => {
      await start(one);
      await stop(one);
      const { position } = await readWalEnd(one);
      expect(await save(position, 13)).toEqual({ kind: 'nothing' });
      expect(await save(lsn(position + BigInt(2 * SEGMENT_BYTES)), 13)).toEqual({ kind: 'nothing' });
    });
  });
}
