// Other kinds of data than rows of ordinary tables, through a crash failover, the way back of the old primary, a clone and a switchover, as
// agents carry them out: prepared transactions, unlogged tables, tablespaces.
import { readdir, readlink, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Host } from '../../../harness/host.ts';
import { until } from '../../../src/base/clock.ts';
import { findOsUser } from '../../../src/postgres/os-user.ts';
import { makeDirectory } from '../../../src/postgres/own-directories.ts';
import { sql } from '../dangers/scene.ts';
import {
  HEALTHY_TIMEOUT_MS,
  LIMIT_MS,
  harmOf,
  startLoadedCluster,
  type LoadedCluster,
} from '../raft/load.ts';

let loaded: LoadedCluster;
let space: string;
beforeAll(async () => {
  loaded = await startLoadedCluster({
    cluster: 'data',
    parameters: () => ({ max_prepared_transactions: 10 }),
  });
  // Below a directory of PostgreSQL's own, where a clone can make another one beside it.
  // Below a directory of PostgreSQL's own, where a clone can make another one beside it.
  const spaces = join(loaded.cluster.directory, 'spaces');
  space = join(spaces, 'space');
  const user = await findOsUser({ configured: undefined });
  for (const path of [spaces, space]) await makeDirectory(user, path);
}, LIMIT_MS);
afterAll(() => loaded?.close());

const healthy = () => loaded.cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
const values = async (host: Host, text: string): Promise<unknown[]> =>
  (await sql<{ value: unknown }>(host, text)).map(({ value }) => value);
const PREPARED = 'select gid as value from pg_prepared_xacts order by 1';
const SPACED = 'select id as value from public.spaced order by 1';

/** Waits for the acknowledgement of a standby, unlike the superuser's other statements here. */
const AWAITED = 'set synchronous_commit = on; ';

async function onAll(text: string, expected: unknown[]): Promise<void> {
  for (const host of loaded.cluster.hosts)
    await until({ what: `${text} on ${host.node}`, timeoutMs: HEALTHY_TIMEOUT_MS, everyMs: 50 }, async () => {
      const found = await values(host, text).catch(() => undefined);
      return JSON.stringify(found) === JSON.stringify(expected);
    });
}

async function crashed(): Promise<Host> {
  const { epoch } = await healthy();
  const former = await loaded.cluster.primary();
  former.killPostmaster();
  await loaded.cluster.waitFor('the failover', HEALTHY_TIMEOUT_MS, (group) => {
    return group.phase === 'running' && group.epoch > epoch && group.primary !== former.node;
  });
  return former;
}

test('are there before', { timeout: LIMIT_MS }, async () => {
  const primary = await loaded.cluster.primary();
  const others = loaded.cluster.hosts.filter((host) => host !== primary);
  // All three are on one machine, where a standby that replays the creation would share the directory: they are cloned, to places of their own.
  for (const { node } of others)
    expect(await loaded.ctl(['fence', node, '-y'])).toMatchObject({ exitCode: 0 });
  await loaded.cluster.waitFor('it to run alone', HEALTHY_TIMEOUT_MS, ({ rule, ruleChange }) => {
    return rule === 'alone' && ruleChange === undefined;
  });
  await sql(primary, `create tablespace apart location '${space}'`);
  await sql(primary, 'create table public.spaced (id int primary key) tablespace apart');
  await sql(primary, 'create unlogged table public.fleeting (id int)');
  await sql(primary, 'insert into public.fleeting values (1)');
  await sql(primary, 'insert into public.spaced values (1)');
  for (const host of others) {
    await rm(host.dataDirectory, { recursive: true });
    await loaded.ctl(['unfence', host.node]);
  }
  await healthy();
  await onAll(SPACED, [1]);
  const targets = await Promise.all(
    loaded.cluster.hosts.map(async ({ dataDirectory }) => {
      const [link] = await readdir(join(dataDirectory, 'pg_tblspc'));
      return readlink(join(dataDirectory, 'pg_tblspc', link ?? ''));
    }),
  );
  expect(new Set(targets).size).toBe(3);
});

test(
  'a crash failover keeps prepared transactions and tablespaces, and empties unlogged tables',
  { timeout: LIMIT_MS },
  async () => {
    const before = await loaded.cluster.primary();
    await sql(
      before,
      "begin; insert into public.spaced values (2); set local synchronous_commit = on; prepare transaction 'one'",
    );
    await sql(
      before,
      "begin; insert into public.spaced values (3); set local synchronous_commit = on; prepare transaction 'two'",
    );
    const verdict = await loaded.writeWhile(async () => {
      await crashed();
      await healthy();
    });
    expect(harmOf(verdict)).toEqual([]);
    const primary = await loaded.cluster.primary();
    expect(await values(primary, PREPARED)).toEqual(['one', 'two']);
    // Their locks hold too.
    await expect(
      sql(primary, "set lock_timeout = '100ms'; insert into public.spaced values (2)"),
    ).rejects.toThrow(/lock timeout/);
    await sql(primary, "commit prepared 'one'");
    expect(await values(primary, 'select id as value from public.fleeting')).toEqual([]);
    await sql(primary, 'insert into public.fleeting values (5)');
    expect(await values(primary, 'select id as value from public.fleeting')).toEqual([5]);
    await onAll(SPACED, [1, 2]);
  },
);

test('a switchover keeps them too, and a clone takes them along', { timeout: LIMIT_MS }, async () => {
  const verdict = await loaded.writeWhile(async () => {
    const outcome = await loaded.cluster.admin.failover({ group: undefined, to: undefined }, 60_000);
    expect(outcome).toMatchObject({ kind: 'done' });
    await healthy();
  });
  expect(harmOf(verdict)).toEqual([]);
  const primary = await loaded.cluster.primary();
  expect(await values(primary, PREPARED)).toEqual(['two']);
  const standby = loaded.cluster.hosts.find(({ node }) => node !== primary.node);
  if (standby === undefined) throw new Error('there is no standby');
  await standby.stopAll();
  await rm(standby.dataDirectory, { recursive: true });
  standby.startSentineld();
  await healthy();
  await sql(primary, "rollback prepared 'two'");
  await sql(primary, `${AWAITED}insert into public.spaced values (4)`);
  await onAll(SPACED, [1, 2, 4]);
  await onAll(PREPARED, []);
});
