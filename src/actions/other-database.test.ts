// What a data directory with another database has to be like before the group goes on with it, and what is said of one.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { copyFile, mkdir, mkdtemp, readFile, rename, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { type Server, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { rememberDatabase } from './database-before.ts';
import { carryOutCreate } from './primary-duty.ts';
import type { OfferedDatabase } from './other-database.ts';
import { mustBeDatabaseOfGroup, mustNotBeOther, offerDatabase, otherDatabaseText } from './other-database.ts';
import { inspectDataDirectory } from './data-directory.ts';
import { FOLLOW, PRIMARY, fakeContext } from './testing/context.ts';
import {
  IN_ARCHIVE_RECOVERY,
  IN_PRODUCTION,
  SHUT_DOWN,
  writeControl,
} from '../postgres/testing/control-file.ts';

/** What the group of the context has, and what writeControl makes. */
const [OLD, NEW] = ['7710476986005549374', '1'];

/** Volumes that hang: below that, and in a tablespace of that number. */
const [HUNG, HUNG_SPACE] = ['/hung', '16999'];
vi.mock('../postgres/answering.ts', () => ({
  answers: (path: string) => Promise.resolve(path !== '/hung' && !path.includes('/16999/')),
}));

let root: string;
let directory: string;
let server: Server | undefined;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'pg-sentinel-other-'));
  directory = join(root, 'data');
  for (const number of ['1', '4', '5']) {
    await mkdir(join(directory, 'base', number), { recursive: true });
    await writeFile(join(directory, 'base', number, 'PG_VERSION'), '15\n');
  }
  await writeFile(join(directory, 'PG_VERSION'), '15\n');
  await writeControl(directory, SHUT_DOWN);
});
afterEach(async () => {
  server?.close();
  server = undefined;
  await rm(root, { recursive: true });
});

function world(more: object = {}, port = 0, listenAddresses = ['127.0.0.1']) {
  const context = {
    ...fakeContext({ dataDirectory: directory, instance: { port, listenAddresses } }),
    duty: () => ({ ...PRIMARY, isPaused: true }),
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

const isNodes = (node: string, at: string, systemIdentifier: string): Promise<void> =>
  writeFile(
    join(at, 'pg_sentinel_member.json'),
    JSON.stringify({ node, memberId: 'a_00000001', systemIdentifier }),
  );

test('one that was left cleanly is offered, with what a person knows it by', async () => {
  const { offer, offered } = world();
  await expect(offer()).resolves.toBe('done');
  expect(offered).toEqual([
    {
      from: OLD,
      to: NEW,
      text: expect.stringMatching(
        /data, PostgreSQL 15, system identifier 1, 3 databases with the templates; it is not known here where/,
      ) as string,
    },
  ]);
});

test('it is offered too where all nodes are cut off, as after a recovery of the log', async () => {
  const { offer, offered } = world({ duty: () => ({ ...PRIMARY, kind: 'cut', wasPrimary: false }) });
  await expect(offer()).resolves.toBe('done');
  expect(offered).toHaveLength(1);
});

test('one whose tables in a tablespace are gone is refused, and offered once they are there again', async () => {
  const { offer, offered } = world();
  const space = join(root, 'space');
  await mkdir(join(space, 'PG_17_202406281'), { recursive: true });
  await mkdir(join(directory, 'pg_tblspc'));
  await symlink(space, join(directory, 'pg_tblspc', '16400'));
  const missing = new RegExp(
    `data has a tablespace at ${space}, and there is no PG_15_202209061, .*put that back`,
  );
  await expect(offer()).rejects.toThrow(missing);
  await rename(space, `${space}.unmounted`);
  await expect(offer()).rejects.toThrow(missing);
  await mkdir(join(space, 'PG_15_202209061'), { recursive: true });
  // An empty directory of its own is all that a tablespace without tables has.
  await expect(offer()).resolves.toBe('done');
  expect(offered).toHaveLength(1);
});

test('one with a tablespace that does not answer is refused', async () => {
  const { offer } = world();
  await mkdir(join(directory, 'pg_tblspc', HUNG_SPACE), { recursive: true });
  await expect(offer()).rejects.toThrow(/the tablespace at \S+pg_tblspc\/16999 does not answer/);
});

test.each<[string, () => Promise<void>, RegExp]>([
  ['one that crashed', () => writeControl(directory, IN_PRODUCTION), /not shut down cleanly.*in production/],
  [
    "a standby's, as it ended",
    async () => {
      await writeControl(directory, IN_ARCHIVE_RECOVERY);
      await writeFile(join(directory, 'standby.signal'), '');
    },
    /not shut down cleanly.*pg_ctl promote/,
  ],
  ["a standby's", () => writeFile(join(directory, 'standby.signal'), ''), /holds standby\.signal/],
  [
    'what pg_upgrade has not finished',
    () => mkdir(join(directory, 'pg_upgrade_output.d')),
    /pg_upgrade has not ended/,
  ],
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
  await expect(world({}, port, ['*']).offer()).rejects.toThrow(/something listens on port/);
  await expect(world({}, port, ['192.0.2.1']).offer()).rejects.toThrow(/could not listen .*192\.0\.2\.1/);
  await expect(world({ duty: () => FOLLOW }).offer()).rejects.toThrow(/its part is another by now/);
  await expect(world({ confirms: () => Promise.resolve(false) }).offer()).rejects.toThrow(/nothing was done/);
  await expect(world({ group: () => ({ systemIdentifier: NEW }) }).offer()).rejects.toThrow(
    /the database that the group has already/,
  );
});

describe('beside the database before, which this node has run', () => {
  const [THEN, LATER] = [1_700_000_000, 1_700_000_100];
  let place: string;
  const before = (state: number, writtenAtS: number, system = OLD, nextTransactionId = 700n): Promise<void> =>
    writeControl(place, state, 0, { system: BigInt(system), writtenAtS, nextTransactionId });
  const made = (writtenAtS: number, nextTransactionId = 800n): Promise<void> =>
    writeControl(directory, SHUT_DOWN, 0, { writtenAtS, nextTransactionId });
  const template = (atS: number, number = '1'): Promise<void> =>
    utimes(join(directory, 'base', number, 'PG_VERSION'), atS, atS);
  /** As in one whose old one was itself upgraded, to 14 or before. */
  const renumbered = (): Promise<void> =>
    rename(join(directory, 'base', '1'), join(directory, 'base', '16384'));
  /** As `pg_upgrade --link` does at its end. */
  const linked = (): Promise<void> =>
    rename(join(place, 'global', 'pg_control'), join(place, 'global', 'pg_control.old'));
  const remember = (systemIdentifier = OLD, dataDirectory = place, startedAtS = THEN - 100): Promise<void> =>
    writeFile(`${directory}.database.json`, JSON.stringify({ dataDirectory, systemIdentifier, startedAtS }));

  beforeEach(async () => {
    place = join(root, 'before');
    await mkdir(join(place, 'base', '1'), { recursive: true });
    await mkdir(join(place, 'base', '5'));
    await before(SHUT_DOWN, THEN);
    await made(LATER);
    await remember();
  });

  test.each<[string, () => Promise<unknown>, RegExp]>([
    [
      'made after that was shut down',
      () => made(THEN),
      /; made after the database before, in \S+before, was shut/,
    ],
    ['made of its files', linked, /; made from that in \S+before, which cannot be started/],
    [
      'where that is gone',
      () => rm(place, { recursive: true }),
      /is not in \S+before any more, so that nobody/,
    ],
    ['where that is yet another one', () => before(SHUT_DOWN, LATER, '3'), /is not in \S+before any more/],
    ['where this node had another one', () => remember('3'), /it is not known here where/],
    [
      'that ran last, which the log has forgotten',
      () => remember(NEW),
      /; the one that this node has run last/,
    ],
    [
      'made after that, template1 with another number, beside what initdb has made',
      async () => {
        await renumbered();
        await template(THEN - 1000, '4');
        await template(THEN - 1000, '5');
      },
      /; made after the database before, in \S+before, was shut/,
    ],
    [
      'without any that pg_upgrade makes',
      () => rm(join(directory, 'base', '1'), { recursive: true }),
      /; when it was made cannot be told: .*so that nobody can tell/,
    ],
    ['in the same place', () => remember(OLD, directory), /was in this very place, so that nobody/],
    [
      'which the group had before',
      async () => {
        await before(IN_PRODUCTION, LATER);
        await made(THEN);
        await isNodes('a', directory, NEW);
      },
      /one that this node had before, last written at 2023-11-14T22:13:20.000Z: all that was written since is lost/,
    ],
  ])('offered, and said: %s', async (_, make, text) => {
    await make();
    const { offer, offered } = world();
    await offer();
    expect(offered[0]?.text).toMatch(text);
  });

  test.each<[string, () => Promise<unknown>, RegExp]>([
    ['that has run since', () => made(THEN - 1), /has run until .*have pg_upgrade make the new one anew/],
    [
      'that has run since, before the new one was started for a look',
      () => template(THEN - 1),
      /has run until 2023-11-14T22:13:20.000Z, and the new one was made before that \(2023-11-14T22:13:19/,
    ],
    [
      'that has run since, where template1 has another number',
      async () => {
        await renumbered();
        await template(THEN - 1, '16384');
      },
      /has run until 2023-11-14T22:13:20.000Z, and the new one was made before that \(2023-11-14T22:13:19/,
    ],
    [
      'that was started since, before the new one was',
      async () => {
        await template(THEN - 200);
        await rm(place, { recursive: true });
      },
      /was started here at 2023-11-14T22:11:40.000Z, and the new one was made before that/,
    ],
    [
      'that was started since, in the same place',
      () => remember(OLD, directory, LATER + 1),
      /was started here at 2023-11-14T22:15:01.000Z, and the new one was made before that/,
    ],
    [
      'that was not shut down',
      () => before(IN_PRODUCTION, THEN),
      /was not shut down cleanly .*in production/,
    ],
    [
      'that initdb has made',
      () => made(LATER, 699n),
      /fewer transactions \(699\) .*\(700\): pg_upgrade.*\. One that was made in another way is to be a group of its own$/,
    ],
    [
      'whose place does not answer',
      () => remember(OLD, HUNG),
      /^\/hung, where this node has run the database before, does not answer$/,
    ],
    [
      'that initdb has made, beside one that --link has taken apart',
      async () => {
        await linked();
        await made(LATER, 699n);
      },
      /fewer transactions \(699\) .*\(700\): pg_upgrade/,
    ],
  ])('refused: one %s', async (_, make, reason) => {
    await make();
    const { offer, offered } = world();
    await expect(offer()).rejects.toThrow(reason);
    expect(offered).toEqual([]);
  });

  test('it is written down once the group runs with it, and only then', async () => {
    const { context } = world();
    await isNodes('a', directory, NEW);
    const found = await inspectDataDirectory(directory, context.instance.options.node);
    const at = {
      ...context,
      once: (_: string, work: () => Promise<void>): Promise<void> => work(),
      dataDirectory: () => Promise.resolve(found),
    };
    const file = `${directory}.database.json`;
    await rm(file);
    await rememberDatabase(at);
    expect(existsSync(file)).toBe(false);
    const withNew = (toAdopt: readonly string[] = []) => ({
      ...at,
      group: () => ({ ...context.group(), systemIdentifier: NEW, toAdopt }) as never,
    });
    // Somebody has started a copy by hand, which the configuration names by mistake.
    Object.assign(context.instance, { isForeign: () => true });
    await rememberDatabase(withNew());
    expect(existsSync(file)).toBe(false);
    await rememberDatabase(withNew(['a']));
    expect(existsSync(file)).toBe(true);
    await rm(file);
    Object.assign(context.instance, { isForeign: () => false });
    await rememberDatabase(withNew());
    expect(JSON.parse(await readFile(file, 'utf8'))).toEqual({
      dataDirectory: directory,
      systemIdentifier: NEW,
      startedAtS: 0,
    });
  });

  describe('whoever starts that by hand is acknowledged nothing, also where it ran alone', () => {
    const held = /^synchronous_standby_names = 'ANY 1 \("\w+"\)'$[^]*^port = '5'$/m;
    const settings = "cluster_name = 'a'\nsynchronous_standby_names = ''\nport = '5'\n";
    const settingsThere = (): Promise<string> => readFile(join(place, 'pg_sentinel.conf'), 'utf8');
    const noted = async (): Promise<unknown> =>
      JSON.parse(await readFile(`${directory}.database.json`, 'utf8')) as unknown;

    /** The group has the new one by now. */
    async function replaced(member = 'a'): Promise<ReturnType<typeof fakeContext>> {
      await writeFile(join(place, 'pg_sentinel.conf'), settings);
      await isNodes(member, place, OLD);
      await isNodes('a', directory, NEW);
      const { context } = world();
      const found = await inspectDataDirectory(directory, context.instance.options.node);
      return Object.assign(context, {
        once: (_: string, work: () => Promise<void>) => work(),
        group: () => ({ ...PRIMARY, systemIdentifier: NEW }) as never,
        dataDirectory: () => Promise.resolve(found),
      });
    }

    test('once the group runs with the new one', async () => {
      await rememberDatabase(await replaced());
      expect(await settingsThere()).toMatch(held);
    });

    test("but for another node's", async () => {
      await rememberDatabase(await replaced('another'));
      expect(await settingsThere()).toBe(settings);
    });

    test('before the new one is started for the first time: that may take long', async () => {
      const context = await replaced();
      context.isRunning = false;
      let atStart = '';
      const stopped = new Error('started');
      Object.assign(context, { guarding: { prepare: () => Promise.resolve(true) } });
      Object.assign(context.instance, {
        postmaster: () => undefined,
        startAs: async () => {
          atStart = await settingsThere();
          throw stopped;
        },
      });
      const { signal } = new AbortController();
      await expect(carryOutCreate(context, { ...PRIMARY, kind: 'create' }, signal)).rejects.toThrow(stopped);
      expect(atStart).toMatch(held);
    });

    test('also where that could not be done at first, as while somebody compares the two', async () => {
      const context = await replaced();
      const program = join(root, 'postgres');
      await copyFile('/bin/sleep', program);
      const running = spawn(program, ['600'], { cwd: place });
      await once(running, 'spawn');
      await writeFile(join(place, 'postmaster.pid'), `${running.pid}\n${place}\n`);
      await rememberDatabase(context);
      expect(await noted()).toMatchObject({ systemIdentifier: NEW, left: place });
      running.kill('SIGKILL');
      await once(running, 'exit');
      await rememberDatabase(context);
      expect(await settingsThere()).toBe(settings);
      const nowMs = performance.now();
      vi.spyOn(performance, 'now').mockReturnValue(nowMs + 11_000);
      await rememberDatabase(context);
      vi.restoreAllMocks();
      expect(await settingsThere()).toMatch(held);
      expect(await noted()).not.toHaveProperty('left');
    });

    test('where its place does not answer, that is said, and holds nothing up', async () => {
      const context = await replaced();
      const said: string[] = [];
      Object.assign(context, { log: (level: string, text: string) => said.push(`${level} ${text}`) });
      await remember(OLD, HUNG);
      await rememberDatabase(context);
      expect(said).toEqual([
        expect.stringMatching(/^warn \/hung, .*does not answer: see that nobody starts/),
      ]);
      expect(await noted()).toMatchObject({ systemIdentifier: NEW });
    });
  });
});

test('a group that has a database begins with no other one, and with no empty one', async () => {
  const { context } = world();
  expect(() => mustBeDatabaseOfGroup(context, { kind: 'absent' })).toThrow(/no data directory in/);
  const found = await inspectDataDirectory(directory, context.instance.options.node);
  expect(() => mustBeDatabaseOfGroup(context, found)).toThrow(/node replace-database a$/);
  const unfit = { kind: 'unfit', reason: 'its restore was not finished', isRestoring: true } as const;
  expect(() => mustBeDatabaseOfGroup(context, unfit)).toThrow(/its restore was not finished, and the group/);
  expect(() => mustNotBeOther(context, found)).toThrow(/^not reported .*another database/);
  expect(() =>
    mustBeDatabaseOfGroup(world({ group: () => undefined }).context, { kind: 'absent' }),
  ).not.toThrow();
  expect(otherDatabaseText(context, { systemIdentifier: OLD })).toBeUndefined();
});
