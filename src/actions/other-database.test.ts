// What a data directory with another database has to be like before the group goes on with it, and what is said of one.
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { type Server, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { OfferedDatabase } from './other-database.ts';
import { mustBeDatabaseOfGroup, offerDatabase, otherDatabaseText } from './other-database.ts';
import { inspectDataDirectory } from './data-directory.ts';
import { FOLLOW, PRIMARY, fakeContext } from './testing/context.ts';
import { IN_PRODUCTION, SHUT_DOWN, writeControl } from './testing/control-file.ts';

/** What the group of the context has, and what writeControl makes. */
const [OLD, NEW] = ['7710476986005549374', '1'];

let root: string;
let directory: string;
let server: Server | undefined;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'pg-sentinel-other-'));
  directory = join(root, 'data');
  await mkdir(join(directory, 'base', '1'), { recursive: true });
  await mkdir(join(directory, 'base', '5'));
  await writeFile(join(directory, 'PG_VERSION'), '15\n');
  await writeControl(directory, SHUT_DOWN);
});
afterEach(async () => {
  server?.close();
  server = undefined;
  await rm(root, { recursive: true });
});

function world(more: object = {}, port = 0) {
  const context = {
    ...fakeContext({ dataDirectory: directory, instance: { port } }),
    duty: () => ({ ...PRIMARY, isPaused: true }),
    registration: () => ({ host: '127.0.0.1' }),
    ...more,
  } as unknown as ReturnType<typeof fakeContext>;
  const offered: OfferedDatabase[] = [];
  const propose = (offer: OfferedDatabase): Promise<string> => {
    offered.push(offer);
    return Promise.resolve('done');
  };
  const stopped = { ...context.instance, postmaster: () => undefined };
  const at = { ...context, instance: stopped } as typeof context;
  return {
    context,
    at,
    offered,
    offer: (on = at) => offerDatabase(on, { kind: 'replace-database', propose }),
  };
}

test('one that was left cleanly is offered, with what a person knows it by', async () => {
  const { offer, offered } = world();
  await expect(offer()).resolves.toBe('done');
  expect(offered).toEqual([
    {
      from: OLD,
      to: NEW,
      text: `${directory}, PostgreSQL 15, system identifier 1, 2 databases with the templates`,
    },
  ]);
});

test.each<[string, () => Promise<void>, RegExp]>([
  ['one that crashed', () => writeControl(directory, IN_PRODUCTION), /not shut down cleanly.*in production/],
  ["a standby's", () => writeFile(join(directory, 'standby.signal'), ''), /holds standby\.signal/],
  ['a backup', () => writeFile(join(directory, 'backup_label'), ''), /holds backup_label/],
  [
    'one of another version',
    () => writeFile(join(directory, 'PG_VERSION'), '17\n'),
    /is of PostgreSQL 17, and/,
  ],
  ['what is not there', () => rm(directory, { recursive: true }), /no data directory in/],
  ['what is none', () => rm(join(directory, 'PG_VERSION')), /but no PostgreSQL/],
])('refused: %s', async (_, make, reason) => {
  await make();
  const { offer, offered } = world();
  await expect(offer()).rejects.toThrow(reason);
  expect(offered).toEqual([]);
});

test('refused while PostgreSQL runs, in it or at its port, and where the log says otherwise', async () => {
  await expect(world().offer(world().context)).rejects.toThrow(/runs in .*stop it first/);
  server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server?.once('listening', resolve));
  const { port } = server.address() as { port: number };
  await expect(world({}, port).offer()).rejects.toThrow(/something listens on port/);
  await expect(world({ duty: () => FOLLOW }).offer()).rejects.toThrow(/its part is another by now/);
  await expect(world({ confirms: () => Promise.resolve(false) }).offer()).rejects.toThrow(/nothing was done/);
  await expect(world({ group: () => ({ systemIdentifier: NEW }) }).offer()).rejects.toThrow(
    /the database that the group has already/,
  );
});

test('a group that has a database begins with no other one, and with no empty one', async () => {
  const { context } = world();
  expect(() => mustBeDatabaseOfGroup(context, { kind: 'absent' })).toThrow(/no data directory in/);
  const found = await inspectDataDirectory(directory, context.instance.options.node);
  expect(() => mustBeDatabaseOfGroup(context, found)).toThrow(/node replace-database a$/);
  expect(() =>
    mustBeDatabaseOfGroup(world({ group: () => undefined }).context, { kind: 'absent' }),
  ).not.toThrow();
  expect(otherDatabaseText(context, { systemIdentifier: OLD })).toBeUndefined();
});
