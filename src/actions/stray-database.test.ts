// Servers with another database than the group's in this node's data directory: which are stopped or cut off without asking anybody, and which are
// left alone.
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { epoch, nodeId, peerId } from '../base/ids.ts';
import type { Duty } from '../failover/duties.ts';
import { readSettings } from '../postgres/settings.ts';
import { inspectDataDirectory } from './data-directory.ts';
import { endStray } from './stray-database.ts';
import { FOLLOW, PRIMARY, fakeContext } from './testing/context.ts';
import { IN_ARCHIVE_RECOVERY, IN_PRODUCTION, writeControl } from '../postgres/testing/control-file.ts';

const PEER = peerId('p1');
const SELF = nodeId('a');
/** What writeControl makes, and what a group has that goes on with another one. */
const [HERE, OTHER] = ['1', '2'];

let root: string;
let directory: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'pg-sentinel-stray-'));
  directory = join(root, 'data');
});
afterEach(() => rm(root, { recursive: true }));

interface Scene {
  readonly duty?: Duty;
  readonly isForeign?: boolean;
  readonly hasMember?: boolean;
  /** Whose member file it has. */
  readonly node?: string;
  readonly cluster?: string;
  /** It is reached where ours is. */
  readonly hasOurSocket?: boolean;
  readonly isStandby?: boolean;
  readonly wasPromoted?: boolean;
  readonly cannotBeCut?: boolean;
  readonly systemIdentifier?: string | undefined;
  readonly toAdopt?: readonly (typeof SELF)[];
  readonly peer?: typeof PEER;
  readonly group?: string;
  readonly fence?: number;
  readonly isRunning?: boolean;
}

/** What was done with it. */
async function done(scene: Scene): Promise<'stopped' | 'cut off' | 'nothing'> {
  const isStandby = scene.isStandby === true;
  await writeControl(directory, isStandby ? IN_ARCHIVE_RECOVERY : IN_PRODUCTION);
  const passfiles = join(root, 'passfile');
  await mkdir(passfiles);
  await writeFile(join(directory, 'PG_VERSION'), '15\n');
  const settings = join(directory, 'pg_sentinel.conf');
  if (scene.cannotBeCut === true) await mkdir(settings);
  else
    await writeFile(settings, `primary_conninfo = 'host=there'\ncluster_name = '${scene.cluster ?? 'a'}'\n`);
  if (isStandby) await writeFile(join(directory, 'standby.signal'), '');
  if (scene.hasMember !== false)
    await writeFile(
      join(directory, 'pg_sentinel_member.json'),
      JSON.stringify({ node: scene.node ?? SELF, memberId: 'a_00000001', systemIdentifier: HERE }),
    );
  const context = fakeContext({ dataDirectory: directory, instance: { passfileDirectory: passfiles } });
  context.isRunning = scene.isRunning ?? true;
  const found = await inspectDataDirectory(directory, SELF);
  if (scene.wasPromoted === true) await writeControl(directory, IN_PRODUCTION);
  Object.assign(context.instance, { isForeign: () => scene.isForeign ?? false });
  const { socketDirectory } = context.instance.options;
  await mkdir(socketDirectory);
  const postmaster = { pid: process.pid, ...(scene.hasOurSocket === true ? { socketDirectory } : {}) };
  Object.assign(context.instance, { postmaster: () => (context.isRunning ? postmaster : undefined) });
  const group = {
    id: PRIMARY.group,
    epoch: PRIMARY.epoch,
    systemIdentifier: 'systemIdentifier' in scene ? scene.systemIdentifier : OTHER,
    toAdopt: scene.toAdopt ?? [],
  };
  Object.assign(context, {
    fence: { incarnation: 1, epoch: epoch(scene.fence ?? 3) },
    group: () => group,
    registration: () => ({ node: SELF, peer: scene.peer ?? PEER, group: scene.group ?? PRIMARY.group }),
    confirms: () => expect.unreachable('it was asked whether to stop it'),
    dataDirectory: () => Promise.resolve(found),
    once: (_: string, work: () => Promise<void>) => work(),
  });
  const { signal } = new AbortController();
  const isOver = await endStray(context, scene.duty ?? PRIMARY, { peer: PEER, signal });
  expect(context.stops).toEqual(isOver ? [5000] : []);
  const isCut = scene.cannotBeCut !== true && (await readSettings(directory)).get('primary_conninfo') === '';
  return isOver ? 'stopped' : isCut ? 'cut off' : 'nothing';
}

const NONE = { kind: 'none', reason: 'waiting' } as const;
const HANDS_OFF = { ...PRIMARY, kind: 'hands-off', reason: 'paused' } as const;
const CREATE = { ...PRIMARY, kind: 'create' } as const;
const PROMOTE = { ...PRIMARY, kind: 'promote' } as unknown as Duty;
const HAND_OVER = { ...PRIMARY, kind: 'hand-over' } as const;

test.each<readonly [string, Scene]>([
  ['the primary of the log', {}],
  ['its first primary', { duty: CREATE }],
  ['a node that is to be promoted', { duty: PROMOTE }],
  ['a node that hands over', { duty: HAND_OVER }],
  ['a standby', { duty: FOLLOW }],
  ['a node that waits for the first primary', { duty: NONE }],
  ['a node that is left to a person', { duty: HANDS_OFF }],
  ['a standby that was promoted a moment ago', { duty: FOLLOW, isStandby: true, wasPromoted: true }],
  ['a standby that cannot be cut off', { duty: FOLLOW, isStandby: true, cannotBeCut: true }],
  ['a node that somebody else has started it for', { duty: FOLLOW, isForeign: true }],
  ['one without a member file that is reached as ours', { hasMember: false, hasOurSocket: true }],
])('a primary with another database is stopped at once: %s', async (_, scene) => {
  expect(await done(scene)).toBe('stopped');
});

test.each<readonly [string, Scene]>([
  ['a standby', { duty: FOLLOW }],
  ['a node that waits for the first primary', { duty: NONE }],
  ['a node that is left to a person', { duty: HANDS_OFF }],
])('a standby with another database is cut off, and goes on: %s', async (_, scene) => {
  expect(await done({ ...scene, isStandby: true })).toBe('cut off');
});

test.each<readonly [string, Scene]>([
  ["the group's database", { systemIdentifier: HERE }],
  ['one of a group whose database is not known yet', { systemIdentifier: undefined, duty: CREATE }],
  ["somebody else's, which was never this node's", { isForeign: true, hasMember: false }],
  ["somebody else's standby", { isForeign: true, isStandby: true, hasMember: false }],
  ["the primary of another sentineld's node, which a wrong configuration names", { node: 'crm1' }],
  ["a standby of another sentineld's node", { duty: FOLLOW, isStandby: true, node: 'crm1' }],
  ['that of a node of another cluster, of the same name', { cluster: 'crm' }],
  ['one that has only just begun, and was never a member', { hasMember: false }],
  ['what is being adopted', { toAdopt: [SELF] }],
  ['what another peer manages', { peer: peerId('p2') }],
  ['what another group has', { group: 'other' }],
  ['one that a later log has had made', { fence: 9 }],
  ['one that a later log has had made, of a node without a duty', { fence: 9, duty: NONE }],
  ['what does not run', { isRunning: false }],
])('left alone: %s', async (_, scene) => {
  expect(await done(scene)).toBe('nothing');
});
