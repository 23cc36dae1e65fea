// What somebody else does to our files and settings is put right without weakening what the server still enforces, and without letting
// anybody in who has to stay out.
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { logIndex } from '../base/ids.ts';
import { renderHba } from '../postgres/hba.ts';
import { readSettings, writeSettings } from '../postgres/settings.ts';
import { settingsOf } from './instance-files.ts';
import { createTamperWatch } from './tamper.ts';
import { type FakeContext, fakeContext, FOLLOW, PRIMARY, STANDBY } from './testing/context.ts';

const RULE = `ANY 1 ("${STANDBY}")`;
const NOBODY = 'ANY 1 ("pg_sentinel_nobody")';
const RULE_SETTING = 'synchronous_standby_names';

let folder: string;
let dataDirectory: string;
let inForce: Record<string, string>;
let source: string;
let context: FakeContext;

const path = (name: string): string => join(dataDirectory, name);
const hba = (clients: 'admitted' | 'kept-out'): string => renderHba(context.instance.hba(clients));

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pg-sentinel-tamper-'));
  dataDirectory = join(folder, 'data');
  await mkdir(path('pg_tblspc'), { recursive: true });
  inForce = {
    [RULE_SETTING]: RULE,
    primary_conninfo: '',
    primary_slot_name: '',
    config_file: path('postgresql.conf'),
    hba_file: path('pg_hba.conf'),
  };
  source = 'configuration file';
  context = fakeContext({
    dataDirectory,
    instance: { parameters: { work_mem: '8MB' }, hbaLines: ['host all all all scram-sha-256'] },
    query: (text) =>
      text.includes('from pg_settings')
        ? Object.entries(inForce).map(([name, setting]) => ({ name, setting, source }))
        : [],
  });
  await writeSettings({
    dataDirectory,
    owner: undefined,
    settings: settingsOf(context.instance.options, { kind: 'any', acks: 1, members: [STANDBY] }),
  });
  await writeFile(path('pg_hba.conf'), hba('admitted'));
});
afterEach(() => rm(folder, { recursive: true }));

/** Not that the test, which stands for the postmaster, was started by somebody else. */
const repairs = (): string[] => context.announced.filter((text) => text.startsWith('put right'));

const watchOnce = (
  duty: Parameters<ReturnType<typeof createTamperWatch>['around']>[0] = PRIMARY,
  pass: () => Promise<void> = () => Promise.resolve(),
): Promise<void> => createTamperWatch(context).around(duty, new AbortController().signal, pass);

test('files as a pass has left them are left alone', async () => {
  await watchOnce();
  expect(repairs()).toEqual([]);
});

describe('pg_hba.conf', () => {
  test('of a primary that has not proved itself keeps clients out, whoever has changed it', async () => {
    context.notes.isUnproven = true;
    await writeFile(path('pg_hba.conf'), hba('kept-out'));
    await watchOnce();
    expect(await readFile(path('pg_hba.conf'), 'utf8')).toBe(hba('kept-out'));
    await writeFile(path('pg_hba.conf'), hba('admitted'));
    await watchOnce();
    expect(await readFile(path('pg_hba.conf'), 'utf8')).toBe(hba('kept-out'));
  });

  test('is not opened before this start of PostgreSQL has let clients in', async () => {
    context.doneKeys.clear();
    await writeFile(path('pg_hba.conf'), hba('kept-out'));
    await watchOnce();
    expect(await readFile(path('pg_hba.conf'), 'utf8')).toBe(hba('kept-out'));
  });

  test('is written again once it has', async () => {
    await writeFile(path('pg_hba.conf'), '');
    await watchOnce();
    expect(await readFile(path('pg_hba.conf'), 'utf8')).toBe(hba('admitted'));
  });
});

describe('pg_sentinel.conf', () => {
  test('that was deleted gets the rule in force and the parameters of the user', async () => {
    const whole = await readSettings(dataDirectory);
    await rm(path('pg_sentinel.conf'));
    await watchOnce();
    expect(await readSettings(dataDirectory)).toEqual(whole);
  });

  test('whose rule was edited away gets the one of the log, though it may be in force no more', async () => {
    inForce[RULE_SETTING] = '';
    await writeFile(path('pg_sentinel.conf'), `${RULE_SETTING} = ''\n`);
    await watchOnce();
    expect((await readSettings(dataDirectory)).get(RULE_SETTING)).toBe(RULE);
  });

  test('keeps either rule while one replaces the other, and waits for nobody where neither is to be had', async () => {
    const duty = { ...PRIMARY, next: { rule: { members: [], acks: 0 }, change: logIndex(9) } };
    await writeFile(path('pg_sentinel.conf'), `${RULE_SETTING} = ''\n`);
    await watchOnce(duty);
    expect((await readSettings(dataDirectory)).get(RULE_SETTING)).toBe('');
    inForce[RULE_SETTING] = 'anybody';
    await rm(path('pg_sentinel.conf'));
    await watchOnce(duty);
    expect((await readSettings(dataDirectory)).get(RULE_SETTING)).toBe(NOBODY);
  });
});

test('what the log says of our settings counts, though it was read only after the watch began', async () => {
  const ofLog: { maxSlotWalBytes?: number } = {};
  const options = { ...context.instance.options, maxSlotWalBytes: () => ofLog.maxSlotWalBytes };
  context = { ...context, instance: { ...context.instance, options, parameters: () => undefined } };
  const watch = createTamperWatch(context);
  ofLog.maxSlotWalBytes = 2 ** 30;
  await writeSettings({
    dataDirectory,
    owner: undefined,
    settings: settingsOf(options, { kind: 'any', acks: 1, members: [STANDBY] }),
  });
  await watch.around(PRIMARY, new AbortController().signal, () => Promise.resolve());
  expect(repairs()).toEqual([]);
  expect((await readSettings(dataDirectory)).get('max_slot_wal_keep_size')).toBe('1024MB');
});

test('what ALTER SYSTEM overrides is put right after a pass that failed, too', async () => {
  await writeFile(path('postgresql.auto.conf'), `${RULE_SETTING} = ''\n`);
  const failing = watchOnce(PRIMARY, () => Promise.reject(new Error('no fresh session sees the rule')));
  await expect(failing).rejects.toThrow('no fresh session');
  expect(repairs()).toEqual([expect.stringContaining(`${RULE_SETTING} = '' (ALTER SYSTEM)`)]);
});

test.each([
  ['of our own server is taken out of it', PRIMARY, ''],
  [
    'of one that is being adopted stays: its owner may be starting it again',
    { ...PRIMARY, isUnprotected: true },
    'wal_level',
  ],
] as const)('while PostgreSQL is stopped what ALTER SYSTEM has set %s', async (_, duty, kept) => {
  await writeFile(path('postgresql.auto.conf'), "wal_level = 'logical'\n");
  const stopped = { ...context.instance, postmaster: () => undefined };
  context = { ...context, instance: stopped };
  await watchOnce(duty);
  const left = await readFile(path('postgresql.auto.conf'), 'utf8');
  expect(/wal_level/.exec(left)?.[0] ?? '').toBe(kept);
});

test('a standby whose fsync is about to be switched off is refused as a member until what it wrote is flushed', async () => {
  await writeFile(path('postgresql.auto.conf'), "fsync = 'off'\n");
  const watch = createTamperWatch(context);
  const around = (): Promise<void> =>
    watch.around(FOLLOW, new AbortController().signal, () => Promise.resolve());
  await around();
  expect(watch.refusal()).toMatch(/fsync/);
  expect(repairs()).toEqual([expect.stringContaining("fsync = 'off'")]);
});

describe('a start with the rule overridden on the command line', () => {
  test('is ended though nobody confirms the duty', async () => {
    context.isConfirmed = false;
    source = 'command line';
    inForce = { ...inForce, [RULE_SETTING]: '' };
    await watchOnce();
    expect(context.stops).toHaveLength(1);
  });

  test('is left running, unconfirmed, where what it overrides is not the rule', async () => {
    context.isConfirmed = false;
    source = 'command line';
    await watchOnce();
    expect(context.stops).toEqual([]);
    context.isConfirmed = true;
    await watchOnce();
    expect(context.stops).toHaveLength(1);
  });
});

describe('of a database that is not the group’s nothing is changed', () => {
  const OVERRIDE = "archive_mode = 'on'\nwal_level = 'logical'\n";
  beforeEach(async () => {
    context.systemIdentifier = '1';
    await writeFile(path('postgresql.auto.conf'), OVERRIDE);
  });
  test.each([true, false])('running: %s', async (isRunning) => {
    context.isRunning = isRunning;
    await writeFile(path('pg_hba.conf'), 'its own');
    await watchOnce();
    expect(await readFile(path('postgresql.auto.conf'), 'utf8')).toBe(OVERRIDE);
    expect(await readFile(path('pg_hba.conf'), 'utf8')).toBe('its own');
    expect(context.announced).toEqual([]);
  });
});
