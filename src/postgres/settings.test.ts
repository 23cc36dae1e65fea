import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { memberId } from '../base/ids.ts';
import {
  changeParameters,
  changeSettings,
  DEFAULT_SETTINGS,
  mayRestartAfterCrash,
  parseSettings,
  readSettings,
  renderSetting,
  renderSettings,
  renderSynchronousStandbys,
  writeSettings,
  type InstanceSettings,
} from './settings.ts';

const settings: InstanceSettings = {
  ...DEFAULT_SETTINGS,
  version: 15,
  listenAddresses: ['127.0.0.1', '::1'],
  port: 5432,
  socketDirectory: '/run/x',
  clusterName: 'pg1',
  parameters: { work_mem: '8MB' },
};

test('backends are restarted by PostgreSQL itself only where commits wait before the first client is let in', () => {
  expect([14, 15, 16, 17, 18].map(mayRestartAfterCrash)).toEqual([false, true, true, true, true]);
  const text = (restartAfterCrash: boolean): string => renderSettings({ ...settings, restartAfterCrash });
  expect(text(true)).toContain("restart_after_crash = 'on'");
  expect(text(false)).toContain("restart_after_crash = 'off'");
});

test('what only some versions know is held off there, and not written for the others', () => {
  const some = (version: number): string[] =>
    renderSettings({ ...settings, version })
      .split('\n')
      .filter((line) => /^(promote_|sync_rep|synchronized|idle_rep)/.test(line));
  const slots = ["sync_replication_slots = 'off'", "synchronized_standby_slots = ''"];
  for (const old of [14, 15]) expect(some(old)).toEqual(["promote_trigger_file = ''"]);
  expect(some(16)).toEqual([]);
  expect(some(17)).toEqual(slots);
  expect(some(18)).toEqual([...slots, "idle_replication_slot_timeout = '0'"]);
});

test('with logical slots their readers get no further than every member of the rule', () => {
  const of = (more: Partial<InstanceSettings>): string | undefined =>
    parseSettings(renderSettings({ ...settings, version: 17, holdsReadersBack: true, ...more })).get(
      'synchronized_standby_slots',
    );
  const rule = { kind: 'any', acks: 1, members: [memberId('b_1'), memberId('c_1')] } as const;
  expect(of({ synchronousStandbys: rule })).toBe('b_1, c_1');
  expect(of({ synchronousStandbys: rule, holdsReadersBack: false })).toBe('');
  // On a standby: there is nobody to wait for.
  expect(of({ synchronousStandbys: { kind: 'nobody' } })).toBe('');
  // A strict group that lacks members acknowledges nothing: nobody is to read it either.
  const strict = { kind: 'nobody', readersWaitFor: [memberId('b_1'), memberId('c_1')] } as const;
  expect(of({ synchronousStandbys: strict })).toBe('b_1, c_1');
  expect(of({ synchronousStandbys: { kind: 'alone' } })).toBe('');
});

describe('synchronous_standby_names', () => {
  test('names the members of a rule, in quotes', () => {
    const members = [memberId('pg2_00000001'), memberId('pg3_00000002')];
    expect(renderSynchronousStandbys({ kind: 'any', acks: 1, members })).toBe(
      'ANY 1 ("pg2_00000001", "pg3_00000002")',
    );
  });
  test('is empty for a primary alone, and names a standby that does not exist for every other node', () => {
    expect(renderSynchronousStandbys({ kind: 'alone' })).toBe('');
    expect(renderSynchronousStandbys({ kind: 'nobody' })).toBe('ANY 1 ("pg_sentinel_nobody")');
  });
  test.each([0, 2, 1.5])('refuses %d acknowledgements of one member', (acks) => {
    expect(() => renderSynchronousStandbys({ kind: 'any', acks, members: [memberId('a')] })).toThrow(
      /no rule/,
    );
  });
});

describe('the settings file', () => {
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'pg-sentinel-settings-'));
  });
  afterEach(() => rm(directory, { recursive: true }));

  test('names nobody and no upstream by default', () => {
    const parsed = parseSettings(renderSettings(settings));
    expect(parsed.get('synchronous_standby_names')).toBe('ANY 1 ("pg_sentinel_nobody")');
    expect(parsed.get('primary_conninfo')).toBe('');
    expect(parsed.get('listen_addresses')).toBe('127.0.0.1,::1');
    expect(parsed.get('work_mem')).toBe('8MB');
  });
  test.each(['fsync', 'Synchronous_Commit', 'recovery_target_lsn', 'hba_file'])(
    'refuses the user parameter %s',
    (key) => {
      expect(() => renderSettings({ ...settings, parameters: { [key]: 'off' } })).toThrow(/remove it/);
    },
  );
  test.each(["it's", 'back\\slash', "'", '', 'a=b # c'])('reads back %j as it was written', (value) => {
    expect(parseSettings(renderSetting('key', value)).get('key')).toBe(value);
  });
  test('refuses a value with a line break, which could hold another setting', () => {
    expect(() => renderSetting('key', "x'\nfsync = 'off")).toThrow(/line break/);
  });
  test('is included last by postgresql.conf, once, however often it is written', async () => {
    await writeFile(
      join(directory, 'postgresql.conf'),
      "port = 1\ninclude 'pg_sentinel.conf'\nshared_buffers = '1GB'\n",
    );
    for (let round = 0; round < 3; round += 1)
      await writeSettings({ dataDirectory: directory, settings, owner: undefined });
    const text = await readFile(join(directory, 'postgresql.conf'), 'utf8');
    expect(text.match(/include/g)).toHaveLength(1);
    expect(text.trimEnd().endsWith("include 'pg_sentinel.conf'")).toBe(true);
  });
  test('keeps what is not changed', async () => {
    await writeSettings({ dataDirectory: directory, settings, owner: undefined });
    const before = await readSettings(directory);
    await changeSettings({
      dataDirectory: directory,
      changes: { primary_conninfo: "host='a' password=''" },
      owner: undefined,
    });
    expect(await readSettings(directory)).toEqual(before.set('primary_conninfo', "host='a' password=''"));
  });
  test("people's parameters are replaced; ours stay, and so does what a cut has set for a while", async () => {
    await writeSettings({ dataDirectory: directory, settings, owner: undefined });
    const before = await readSettings(directory);
    await changeSettings({
      dataDirectory: directory,
      changes: { wal_init_zero: 'off', recovery_min_apply_delay: '0' },
      owner: undefined,
    });
    const change = (parameters: Record<string, string>) =>
      changeParameters({ dataDirectory: directory, parameters, owner: undefined });
    expect(await change({ jit: 'off' })).toBe(true);
    before.delete('work_mem');
    const expected = before
      .set('jit', 'off')
      .set('wal_init_zero', 'off')
      .set('recovery_min_apply_delay', '0');
    expect(await readSettings(directory)).toEqual(expected);
    expect(await change({ jit: 'off' })).toBe(false);
    await change({ jit: 'off', wal_init_zero: 'on' });
    expect(await readSettings(directory)).toEqual(expected.set('wal_init_zero', 'on'));
  });
  test('a delay that is wanted no more is ended', async () => {
    const { parameters, ...ours } = settings;
    const delayed = { ...parameters, recovery_min_apply_delay: '3600000ms' };
    await writeSettings({
      dataDirectory: directory,
      settings: { ...ours, parameters: delayed },
      owner: undefined,
    });
    const change = (next: Readonly<Record<string, string>>) =>
      changeParameters({ dataDirectory: directory, parameters: next, owner: undefined });
    const delay = async () => (await readSettings(directory)).get('recovery_min_apply_delay');
    expect(await change(delayed)).toBe(false);
    expect(await delay()).toBe('3600000ms');
    expect(await change(parameters)).toBe(true);
    expect(await delay()).toBe('0');
    expect(await change(parameters)).toBe(false);
  });
  test("people's parameters are not written where there is no file of ours", async () => {
    const options = { dataDirectory: directory, parameters: { jit: 'off' }, owner: undefined };
    expect(await changeParameters(options)).toBe(false);
    expect((await readSettings(directory)).size).toBe(0);
  });
});
