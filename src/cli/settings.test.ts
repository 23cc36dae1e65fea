// settings get, set, unset, edit and history: what is asked, what is refused, what is printed.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { logIndex } from '../base/ids.ts';
import type { SettingsView } from '../transport/types.ts';
import type { Context } from './context.ts';
import { editText, editedChange } from './settings-edit.ts';
import { fakeAdmin, run } from './testing/fake-context.ts';

const RULE = 'host app app 10.0.0.0/24 scram-sha-256';
const VIEW: SettingsView = {
  group: 'main',
  revision: logIndex(42),
  settings: {
    durability: 'async',
    acks: 1,
    leaseMs: 5432,
    maxLagBytes: 1 << 20,
    maxFailovers: 5,
    sitePolicy: 'ignore',
    failback: 'off',
    failbackAfterMs: 300_000,
    failoverWindowMs: 3_600_000,
    slotRetentionMs: 86_400_000,
    maxSlotWalBytes: 10 * 2 ** 30,
  },
  hba: [RULE],
  hbaPending: [{ node: 'pg2', reason: 'it does not report' }],
  logicalSlots: [
    {
      name: 'cdc',
      wanted: { database: 'app', plugin: 'pgoutput', isTwoPhase: true },
      standing: 'made',
      notes: ['on pg1; a failover to pg2 keeps it'],
    },
  ],
  parameters: [
    { name: 'max_connections', value: '200', pendingRestart: ['pg1', 'pg2'], overrides: [] },
    { name: 'work_mem', value: '64MB', pendingRestart: [], overrides: ['pg3'] },
  ],
  history: [
    {
      index: logIndex(40),
      atMs: Date.UTC(2026, 10, 21, 20, 0),
      by: 'ann@db1',
      differences: [
        { key: 'leaseMs', from: '5000', to: '5432' },
        { key: 'postgresql.work_mem', from: undefined, to: '64MB' },
      ],
      more: 0,
    },
    { index: logIndex(42), atMs: 0, by: '', differences: [{ key: 'acks', from: '2', to: '1' }], more: 3 },
  ],
};
const WHO = expect.stringMatching(/^\S+$/) as unknown;
const showing = (view: SettingsView = VIEW) =>
  fakeAdmin({ settings: () => Promise.resolve({ kind: 'view', view }) });
const asked = (admin: ReturnType<typeof fakeAdmin>): unknown[] =>
  admin.asked.filter((request) => request !== 'closed');

describe('set and unset ask for', () => {
  it.each<[string[], object]>([
    [['set', 'durability=strict', 'acks=2'], { group: undefined, change: { durability: 'strict', acks: 2 } }],
    [
      ['set', 'main', 'lease=2.5s', 'max_lag=16MB', 'failover_window=30min'],
      {
        group: 'main',
        change: { leaseMs: 2500, maxLagBytes: 16 << 20, failoverWindowMs: 1_800_000 },
      },
    ],
    [
      ['set', 'postgresql.Work_Mem=64MB', 'postgresql.auto_explain.log_min_duration=1s', 'acks=2'],
      {
        group: undefined,
        change: { acks: 2 },
        parameters: [
          { name: 'auto_explain.log_min_duration', value: '1s' },
          { name: 'work_mem', value: '64MB' },
        ],
      },
    ],
    [
      ['unset', 'main', 'postgresql.work_mem'],
      { group: 'main', change: {}, parameters: [{ name: 'work_mem', value: undefined }] },
    ],
    [
      ['set', 'acks=2', 'logical_slots.b=app:pgoutput:two_phase', 'logical_slots.a=app:wal2json'],
      {
        group: undefined,
        change: { acks: 2 },
        logicalSlots: [
          { name: 'a', wanted: { database: 'app', plugin: 'wal2json', isTwoPhase: false } },
          { name: 'b', wanted: { database: 'app', plugin: 'pgoutput', isTwoPhase: true } },
        ],
      },
    ],
    [
      ['unset', 'logical_slots.a'],
      { group: undefined, change: {}, logicalSlots: [{ name: 'a', wanted: undefined }] },
    ],
  ])('%j', async (args, request) => {
    const admin = fakeAdmin();
    const { exitCode, stdout } = await run(['settings', ...args], { admin });
    expect(asked(admin)).toEqual([{ kind: 'settings', by: WHO, ...request }]);
    expect(stdout).toMatch(/^done: /);
    expect(exitCode).toBe(0);
  });
});

describe('is refused here already:', () => {
  it.each<[string[], RegExp]>([
    [['set', 'postgresql.work mem=1'], /"work mem" is not the name of a PostgreSQL parameter: expected/],
    [['set', 'postgresql.work_mem=1\n2'], /postgresql\.work_mem: the value "1\\n2" holds a line break/],
    [['set', `postgresql.work_mem=${'x'.repeat(1025)}`], /has 1025 bytes; it may have 1024 at most/],
    [['set', 'postgresql.a=1', 'postgresql.A=2'], /postgresql\.a is given twice/],
    [['set', 'site_policy=near'], /site_policy: "near" is given; expected ignore, prefer or majority/],
    [['set', 'failback=pg1'], /failback: "pg1" is given; expected off, node:NAME or site:NAME/],
    [['set', 'failback=site:'], /failback: "site:" is given/],
    [['set', 'logical_slots.cdc=app'], /logical_slots\.cdc: "app" is given; expected DATABASE:PLUGIN/],
    [['set', 'logical_slots.pg1_0123abcd=app:pgoutput'], /for the physical slots of members/],
    [['unset', 'acks'], /acks always has a value/],
    [['unset', 'work_mem'], /"work_mem" cannot be unset: expected postgresql\.PARAMETER/],
    [['get', 'main', 'speed'], /there is no setting "speed"; there are: durability/],
    [['get', 'main', 'acks', 'lease'], /"lease" is too many/],
  ])('%j', async (args, message) => {
    const admin = showing();
    const { exitCode, stderr } = await run(['settings', ...args], { admin });
    expect([exitCode, asked(admin)]).toEqual([2, []]);
    expect(stderr).toMatch(message);
  });
});

describe('get', () => {
  it.each([
    [
      'durabilty',
      /there is no group durabilty; there are: main; nor is there a setting of that name: did you mean durability\?/,
    ],
    ['shop', /there is no group shop; there are: main; nor is there a setting of that name\n/],
  ])('says of a word alone that it is neither: %s', async (word, stderr) => {
    const reason = `there is no group ${word}; there are: main`;
    const admin = fakeAdmin({ settings: () => Promise.resolve({ kind: 'refused', reason }) });
    const told = await run(['settings', 'get', word], { admin });
    expect(told).toMatchObject({ exitCode: 1, stderr: expect.stringMatching(stderr) as unknown });
  });

  it('shows what may be set, by the same names, and what waits for a restart', async () => {
    const { stdout } = await run(['settings', 'get'], { admin: showing() });
    const lines = stdout.split('\n').filter((line) => /^\S/.test(line));
    expect(lines.slice(0, 14).map((line) => line.split(/\s+/).slice(0, 2).join(' '))).toEqual([
      'SETTING VALUE',
      'durability async',
      'acks 1',
      'lease 5.4s',
      'max_lag 1.0',
      'max_failovers 5',
      'failover_window 60min',
      'slot_retention 24h',
      'max_slot_wal 10',
      'site_policy ignore',
      'failback off',
      'failback_after 5min',
      'postgresql.max_connections 200',
      'postgresql.work_mem 64MB',
    ]);
    expect(stdout).toContain('logical_slots.cdc  app:pgoutput:two_phase\n');
    expect(stdout).toContain('logical_slots.cdc: on pg1; a failover to pg2 keeps it\n');
    expect(stdout).toContain('SETTING          VALUE   MEANING\n');
    expect(stdout).toContain('max_lag          1.0 MB  async: a standby that is known to lack more is not\n');
    expect(Math.max(...stdout.split('\n').map((line) => line.length))).toBeLessThanOrEqual(80);
    expect(stdout).toMatch(/^postgresql\.max_connections: pending restart: pg1, pg2$/m);
    expect(stdout).toMatch(/^postgresql\.work_mem: counts before the configuration file of pg3$/m);
    expect(stdout).toMatch(/^hba +host app app 10\.0\.0\.0\/24 scram-sha-256$/m);
    expect(stdout).toMatch(/^hba: not in force on pg2: it does not report$/m);
    // One that was unset.
    const unset = { ...VIEW, pendingOthers: [{ name: 'wal_buffers', nodes: ['pg1', 'pg3'] }] };
    const later = await run(['settings', 'get'], { admin: showing(unset) });
    expect(later.stdout).toMatch(
      /^postgresql\.wal_buffers: not set for the group; pending restart: pg1, pg3$/m,
    );
    const laterJson = await run(['settings', 'get', '--json'], { admin: showing(unset) });
    expect(JSON.parse(laterJson.stdout)).toMatchObject({
      pendingRestart: { max_connections: ['pg1', 'pg2'], wal_buffers: ['pg1', 'pg3'] },
    });
    const json = await run(['settings', 'get', 'main', '--json'], { admin: showing() });
    expect(JSON.parse(json.stdout)).toEqual({
      ...{ group: 'main', ...VIEW.settings, revision: 42 },
      postgresql: { max_connections: '200', work_mem: '64MB' },
      pendingRestart: { max_connections: ['pg1', 'pg2'] },
      hba: [RULE],
      hbaPending: { pg2: 'it does not report' },
      logicalSlots: {
        cdc: {
          ...{ database: 'app', plugin: 'pgoutput', isTwoPhase: true, standing: 'made' },
          notes: ['on pg1; a failover to pg2 keeps it'],
        },
      },
    });
  });

  it('shows one, in the form in which it is set', async () => {
    const one = async (...args: string[]) => run(['settings', 'get', ...args], { admin: showing() });
    expect((await one('lease')).stdout).toBe('5432ms\n');
    expect((await one('main', 'postgresql.WORK_MEM')).stdout).toBe('64MB\n');
    expect((await one('hba')).stdout).toBe(`${RULE}\n`);
    expect(JSON.parse((await one('max_lag', '--json')).stdout)).toEqual({ max_lag: '1MB' });
    expect(await one('postgresql.shared_buffers')).toMatchObject({
      exitCode: 1,
      stderr: expect.stringMatching(/postgresql\.shared_buffers is not set/) as unknown,
    });
  });

  it('says what is to be named', async () => {
    expect(await run(['settings', 'get'])).toMatchObject({
      exitCode: 1,
      stderr: 'sentinelctl: name the group: main, other\n',
    });
  });
});

it('history tells who changed what and when', async () => {
  const { stdout } = await run(['settings', 'history'], { admin: showing() });
  const flat = stdout.replaceAll(/\s+/g, ' ');
  expect(flat).toContain(
    '40 2026-11-21T20:00:00.000Z ann@db1 lease: 5s -> 5432ms, postgresql.work_mem: (not set) -> 64MB',
  );
  expect(flat).toContain('42 1970-01-01T00:00:00.000Z - acks: 2 -> 1, and 3 more');
  const json = await run(['settings', 'history', '--json'], { admin: showing() });
  expect(JSON.parse(json.stdout)).toMatchObject([
    { revision: 40, by: 'ann@db1', changes: [{ key: 'lease', from: '5000', to: '5432' }, {}] },
    { revision: 42, more: 3 },
  ]);
});

describe('edit', () => {
  const editing = async (change: (text: string) => string, answers: Parameters<typeof fakeAdmin>[0] = {}) => {
    const admin = fakeAdmin({ settings: () => Promise.resolve({ kind: 'view', view: VIEW }), ...answers });
    let discarded = 0;
    const context: Partial<Context> = {
      edit: (text) =>
        Promise.resolve({
          text: change(text),
          kept: '/tmp/x/settings.yaml',
          discard: () => (discarded += 1),
        }),
    };
    const outcome = await run(['settings', 'edit'], { admin, context });
    return { ...outcome, asked: asked(admin), discarded };
  };

  it('asks for the differences alone, against the revision that was shown', async () => {
    const {
      exitCode,
      stderr,
      asked: requests,
      discarded,
    } = await editing((text) =>
      text
        .replace('acks: 1\n', 'acks: 2\n')
        .replace('  work_mem: 64MB\n', '  jit: off\n')
        .replace('connections: 200', 'connections: 300'),
    );
    expect(requests).toEqual([
      {
        ...{ kind: 'settings', group: 'main', by: WHO, change: { acks: 2 }, onlyRevision: 42 },
        parameters: [
          { name: 'jit', value: 'off' },
          { name: 'max_connections', value: '300' },
          { name: 'work_mem', value: undefined },
        ],
      },
    ]);
    expect(stderr).toContain('acks: 1 -> 2\n');
    expect(stderr).toContain('postgresql.jit: (not set) -> off\n');
    expect(stderr).toContain('postgresql.max_connections: 200 -> 300\n');
    expect(stderr).toContain('postgresql.work_mem: 64MB -> (not set)');
    expect([exitCode, discarded]).toEqual([0, 1]);
  });

  it('changes nothing where the text was left as it is', async () => {
    const { exitCode, stdout, asked: requests, discarded } = await editing((text) => text);
    expect([exitCode, requests, stdout, discarded]).toEqual([0, [], 'nothing was changed\n', 1]);
  });

  it.each<[string, (text: string) => string, RegExp]>([
    [
      'a value',
      (text) => text.replace('acks: 1', 'acks: many'),
      /acks: "many" is given; expected a whole number/,
    ],
    ['a name', (text) => text.replace('acks: 1', 'ack: 1'), /there is no setting "ack"/],
    ['no YAML', () => 'acks: [1', /it is not YAML/],
    ['a list', () => '- acks', /it holds no settings/],
    ['a list for a value', (text) => text.replace('acks: 1', 'acks: [1]'), /acks: expected one value/],
  ])('refuses %s, and keeps the text', async (_, change, message) => {
    const { exitCode, stderr, asked: requests, discarded } = await editing(change);
    expect(stderr).toMatch(message);
    expect(stderr).toContain('your text is kept in /tmp/x/settings.yaml');
    expect([exitCode, requests, discarded]).toEqual([2, [], 0]);
  });

  it('keeps the text where the settings were changed meanwhile', async () => {
    const steer = () => Promise.resolve({ kind: 'refused', reason: 'changed meanwhile' } as const);
    const { exitCode, stderr, discarded } = await editing((text) => text.replace('acks: 1', 'acks: 2'), {
      steer,
    });
    expect(stderr).toMatch(/kept in \/tmp\/x\/settings\.yaml\n(.|\n)*refused: changed meanwhile/);
    expect([exitCode, discarded]).toEqual([1, 0]);
  });

  it('needs a terminal', async () => {
    expect(await run(['settings', 'edit'])).toMatchObject({ exitCode: 2 });
  });

  it('takes values as text, whatever they look like', () => {
    const text = editText(VIEW).replace('  work_mem: 64MB\n', '  work_mem: 010\n');
    expect(editedChange(VIEW, text)).toEqual({
      change: {},
      parameters: [{ name: 'work_mem', value: '010' }],
    });
  });
});

describe('rules for pg_hba.conf', () => {
  const set = async (...words: string[]) => {
    const admin = showing();
    const { exitCode, stderr } = await run(['settings', ...words], { admin });
    const [request] = asked(admin) as { hba?: string[] }[];
    return { exitCode, stderr, hba: request?.hba };
  };

  it('are set as lines or from a file, and unset', async () => {
    expect(await set('set', `hba=# mine\n${RULE}\n\nlocal all all peer`)).toMatchObject({
      hba: [RULE, 'local all all peer'],
    });
    const folder = await mkdtemp(join(tmpdir(), 'pg-sentinel-hba-'));
    await writeFile(join(folder, 'rules'), `${RULE}\n`);
    expect(await set('set', `hba=@${join(folder, 'rules')}`)).toMatchObject({ hba: [RULE] });
    await rm(folder, { recursive: true });
    expect(await set('unset', 'hba')).toMatchObject({ hba: [] });
  });

  it.each([
    [`hba=${RULE}\nhost all`, /hba line 2, user: is missing/],
    ['hba=@/nowhere/rules', /hba: cannot read \/nowhere\/rules .*expected a file of pg_hba\.conf lines/],
    ['hba=host all all all ldap ldapbindpasswd=x', /ldapbindpasswd holds a password/],
  ])('are refused before anybody is asked: %s', async (word, reason) => {
    expect(await set('set', word)).toMatchObject({
      ...{ exitCode: 2, hba: undefined },
      stderr: expect.stringMatching(reason) as unknown,
    });
  });

  it('are edited as a list: left out they stay, emptied they go', () => {
    const changed = (from: string, to: string) => editedChange(VIEW, editText(VIEW).replace(from, to));
    expect(changed(`  - ${RULE}\n`, `  - local all all peer\n  - ${RULE}\n`)).toMatchObject({
      hba: ['local all all peer', RULE],
    });
    expect(changed(`hba:\n  - ${RULE}\n`, '')).not.toHaveProperty('hba');
    expect(changed(`hba:\n  - ${RULE}\n`, 'hba:\n')).toMatchObject({ hba: [] });
    expect(changed(RULE, 'host all')).toMatch(/hba line 1, user: is missing/);
    expect(changed(`hba:\n  - ${RULE}\n`, 'hba: {a: b}\n')).toMatch(/expected a list of pg_hba\.conf lines/);
  });
});
