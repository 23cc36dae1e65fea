// Servers that a wrong configuration has led this node to: neither its duty nor any look at settings touches them.
import { type ChildProcess, spawn } from 'node:child_process';
import { copyFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import type { Duty } from '../failover/duties.ts';
import { STARTED_BY_US } from '../postgres/lifecycle.ts';
import { carryOutWithLooks } from './carry-out.ts';
import { inspectDataDirectory } from './data-directory.ts';
import { createHbaDuty } from './hba-duty.ts';
import { createParameterDuty } from './parameters-duty.ts';
import { FOLLOW, PRIMARY, fakeContext } from './testing/context.ts';
import { IN_PRODUCTION, SHUT_DOWN, writeControl } from '../postgres/testing/control-file.ts';

/** What writeControl makes, and what another group has. */
const [HERE, OTHER] = ['1', '2'];

/** Stands in for a postmaster that a sentineld has started. */
let started: ChildProcess;
beforeAll(() => {
  started = spawn('sleep', ['3600'], { env: { ...process.env, [STARTED_BY_US]: '1' }, stdio: 'ignore' });
});
afterAll(() => started.kill('SIGKILL'));

let root: string;
let directory: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'pg-sentinel-whose-'));
  directory = join(root, 'data');
});
afterEach(() => rm(root, { recursive: true }));

interface Scene {
  readonly duty?: Exclude<Duty, { kind: 'none' }>;
  /** Whose member file it has; none where that is empty. */
  readonly node?: string;
  readonly cluster?: string;
  /** Of the group. */
  readonly systemIdentifier?: string;
  readonly isForeign?: boolean;
  readonly isByHand?: boolean;
  readonly isUnreadable?: boolean;
  /** Nothing runs, and an earlier configuration has left as much in another place. */
  readonly leftCheckpoint?: bigint;
}

/** What came of a pass, what was called in it, and whether a file has changed. */
async function pass(scene: Scene): Promise<{ said: string; called: string[]; isChanged: boolean }> {
  await writeControl(directory, IN_PRODUCTION);
  await writeFile(join(directory, 'PG_VERSION'), '15\n');
  await writeFile(join(directory, 'pg_hba.conf'), 'local all all trust\n');
  const settings = `cluster_name = '${scene.cluster ?? 'a'}'\nsynchronous_standby_names = 'ANY 1 ("x")'\n`;
  await writeFile(join(directory, 'pg_sentinel.conf'), settings);
  if (scene.node !== '')
    await writeFile(
      join(directory, 'pg_sentinel_member.json'),
      JSON.stringify({ node: scene.node ?? 'a', memberId: 'a_00000001', systemIdentifier: HERE }),
    );
  const context = fakeContext({ dataDirectory: directory });
  const called: string[] = [];
  const seen = (name: string) => () => {
    called.push(name);
    return Promise.reject(new Error(`asked: ${name}`));
  };
  const pid = scene.isByHand === true ? process.pid : started.pid;
  const place = join(root, 'before');
  if (scene.leftCheckpoint !== undefined) {
    await writeControl(place, SHUT_DOWN, 0, { checkpoint: scene.leftCheckpoint });
    await copyFile(join(directory, 'pg_sentinel_member.json'), join(place, 'pg_sentinel_member.json'));
  }
  Object.assign(context.instance, {
    postmaster: () => (scene.leftCheckpoint === undefined ? { pid } : undefined),
    isForeign: () => scene.isForeign === true,
    ...{ readRole: seen('readRole'), writeHba: seen('writeHba'), applyParameters: seen('applyParameters') },
    stop: seen('stop'),
  });
  Object.assign(context, {
    guarding: {
      ...{ isForsaken: () => false, prepare: seen('prepare') },
      place: () => Promise.resolve(scene.leftCheckpoint === undefined ? undefined : place),
    },
    group: () => ({ id: PRIMARY.group, systemIdentifier: scene.systemIdentifier ?? OTHER, toAdopt: [] }),
    registration: () => ({ member: 'a_00000001' }),
    dataDirectory: () => inspectDataDirectory(directory, context.instance.options.node),
  });
  const said = await carryOutWithLooks(context, scene.duty ?? PRIMARY, {
    data: scene.isUnreadable === true ? undefined : await context.dataDirectory(),
    tamper: {
      around: (_duty, _signal, work) => {
        called.push('tamper');
        return work();
      },
    },
    looks: [createParameterDuty(context), createHbaDuty(context)],
    signal: new AbortController().signal,
  }).then(
    () => '',
    (error: unknown) => (error as Error).message,
  );
  const files = [
    await readFile(join(directory, 'pg_sentinel.conf'), 'utf8'),
    await readFile(join(directory, 'pg_hba.conf'), 'utf8'),
  ];
  return { said, called, isChanged: files.join('') !== `${settings}local all all trust\n` };
}

const HANDS_OFF = { ...PRIMARY, kind: 'hands-off', reason: 'paused' } as const;
const STOPPED = { ...PRIMARY, kind: 'stopped', reason: 'fenced' } as const;
const CREATE = { ...PRIMARY, kind: 'create' } as const;
const CUT = { ...PRIMARY, kind: 'cut', wasPrimary: false } as const;
const HAND_OVER = { ...PRIMARY, kind: 'hand-over' } as const;
const PAUSED = { ...PRIMARY, isPaused: true };

test.each<readonly [string, Scene, RegExp]>([
  [
    "another group's primary, by the primary of the log",
    { node: 'crm1', cluster: 'crm' },
    /left alone: .*crm1 of cluster crm/,
  ],
  ["another group's server, by a standby", { duty: FOLLOW, node: 'crm1' }, /left alone: .*is node crm1/],
  ['one of another cluster, of the same name', { cluster: 'crm' }, /is node a of cluster crm, which another/],
  ['the same, by a standby', { duty: FOLLOW, cluster: 'crm' }, /is node a of cluster crm/],
  ['the same, by a node in maintenance', { duty: HANDS_OFF, cluster: 'crm' }, /is node a of cluster crm/],
  ['the same, by a fenced node', { duty: STOPPED, cluster: 'crm' }, /is node a of cluster crm/],
  [
    'another node of the group',
    { node: 'b', systemIdentifier: HERE },
    /^left alone: .* is node b, which another/,
  ],
  [
    'the same, by a standby',
    { duty: FOLLOW, node: 'b', systemIdentifier: HERE },
    /^left alone: .* is node b/,
  ],
  ['the same, by one that is cut', { duty: CUT, node: 'b', systemIdentifier: HERE }, /^left alone: /],
  ['the same, by a first primary', { duty: CREATE, node: 'b', systemIdentifier: HERE }, /^left alone: /],
  ['another database that nobody has named', { node: '' }, /^left alone: .*another database/],
  [
    'another database, by a standby',
    { duty: FOLLOW, node: '' },
    /^cannot make a standby: .*another database/,
  ],
  [
    "somebody else's with another database, while it is being adopted",
    { duty: { ...PRIMARY, isUnprotected: true }, isForeign: true, node: '' },
    /^left alone: .*another database/,
  ],
  [
    'a copy from another cluster that somebody has started, while a person has paused',
    { duty: PAUSED, isByHand: true, cluster: 'b' },
    /^left alone: .*another database/,
  ],
  [
    'an old copy, by one that is cut: it would be taken for all that the node has acknowledged',
    { duty: CUT, systemIdentifier: HERE, leftCheckpoint: 1n },
    /^not reported where it stands: \S+before, which .* before, holds more/,
  ],
  [
    'the same, by one that hands over',
    { duty: HAND_OVER, systemIdentifier: HERE, leftCheckpoint: 1n },
    /holds more/,
  ],
  ['another database, by one that is cut', { duty: CUT }, /^not reported where it stands: /],
  [
    "somebody else's with another database, while a person has paused",
    { duty: PAUSED, isForeign: true, node: '' },
    /^left alone: .*sentinelctl node replace-database a$/,
  ],
])('neither stopped, guarded, asked nor configured: %s', async (_, scene, said) => {
  const { called, ...result } = await pass(scene);
  expect(result).toEqual({ said: expect.stringMatching(said) as string, isChanged: false });
  expect(called).toEqual([]);
});

test.each<readonly [string, Scene, readonly string[]]>([
  ["the group's database", { systemIdentifier: HERE }, ['tamper', 'prepare', 'applyParameters', 'writeHba']],
  [
    'one of a cluster that was given another name',
    { systemIdentifier: HERE, cluster: 'old' },
    ['tamper', 'prepare', 'applyParameters', 'writeHba'],
  ],
  [
    'one that somebody has started on a copy of another node',
    { duty: HANDS_OFF, node: 'b', isByHand: true, systemIdentifier: HERE },
    ['tamper', 'readRole'],
  ],
  ['one that is fenced', { duty: STOPPED }, ['tamper', 'stop']],
  // On the primary's address clients and observers would take it for the primary, and nobody would take over.
  ["somebody else's with another database, on the primary", { isForeign: true, node: '' }, ['stop']],
  [
    'a copy from another cluster that somebody has started with its settings',
    { isByHand: true, cluster: 'b' },
    ['stop'],
  ],
  [
    'all that the node has, by one that is cut, wherever it was before',
    { duty: CUT, systemIdentifier: HERE, leftCheckpoint: 0n },
    ['tamper'],
  ],
  ['one that is fenced, where its disk fails', { duty: STOPPED, isUnreadable: true }, ['tamper', 'stop']],
])('the duty is carried out on %s', async (_, scene, expected) => {
  expect((await pass(scene)).called).toEqual(expected);
});
