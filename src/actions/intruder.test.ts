// Servers that somebody else has started as a primary: which are stopped at once, without asking anybody, and which are not.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { epoch, nodeId, peerId } from '../base/ids.ts';
import type { Duty } from '../failover/duties.ts';
import type { AgentContext } from './context.ts';
import { stopIntruder } from './intruder.ts';
import { FOLLOW, PRIMARY, fakeContext } from './testing/context.ts';
import { IN_ARCHIVE_RECOVERY, IN_PRODUCTION, writeControl } from '../postgres/testing/control-file.ts';

const PEER = peerId('p1');
const [SELF, OTHER] = [nodeId('a'), nodeId('b')];
let dataDirectory: string;
beforeAll(async () => {
  dataDirectory = await mkdtemp(join(tmpdir(), 'pg-sentinel-intruder-'));
});
afterAll(() => rm(dataDirectory, { recursive: true }));

interface Scene {
  readonly duty?: Duty;
  readonly isForeign?: boolean;
  readonly state?: number;
  readonly systemIdentifier?: string;
  readonly primary?: typeof SELF;
  readonly phase?: string;
  readonly toAdopt?: readonly (typeof SELF)[];
  readonly peer?: typeof PEER;
  readonly hasGroup?: boolean;
  readonly fence?: number;
}

async function stopped(scene: Scene): Promise<boolean> {
  await writeControl(dataDirectory, scene.state ?? IN_PRODUCTION);
  const context = fakeContext({ dataDirectory });
  const group = {
    systemIdentifier: scene.systemIdentifier ?? '1',
    phase: { kind: scene.phase ?? 'running', primary: scene.primary ?? OTHER },
    toAdopt: scene.toAdopt ?? [],
  };
  Object.assign(context.instance, { isForeign: () => scene.isForeign ?? true });
  Object.assign(context, {
    fence: { incarnation: 1, epoch: epoch(scene.fence ?? 3) },
    group: () => (scene.hasGroup === false ? undefined : group),
    registration: () => ({ node: SELF, peer: scene.peer ?? PEER }),
    confirms: () => expect.unreachable('it was asked whether to stop it'),
  });
  const signal = new AbortController().signal;
  const wasOne = await stopIntruder(context as AgentContext, scene.duty ?? FOLLOW, { peer: PEER, signal });
  expect(context.stops).toEqual(wasOne ? [0] : []);
  return wasOne;
}

const CUT = { ...PRIMARY, kind: 'cut', wasPrimary: true } as const;
const HANDS_OFF = { ...PRIMARY, kind: 'hands-off', reason: 'paused' } as const;
const NONE = { kind: 'none', reason: 'waiting' } as const;

test.each<readonly [string, Scene]>([
  ['a standby', {}],
  ['a node that is cut', { duty: CUT, phase: 'fencing', primary: SELF }],
  ['a node that is left to a person', { duty: HANDS_OFF }],
  ['a node that waits for its turn', { duty: NONE, toAdopt: [SELF, OTHER] }],
  ['a node whose log is behind its fence', { duty: PRIMARY, fence: 9 }],
])('a foreign primary where the log has %s is stopped at once', async (_, scene) => {
  expect(await stopped(scene)).toBe(true);
});

test.each<readonly [string, Scene]>([
  ['what is ours', { isForeign: false }],
  ['a standby', { state: IN_ARCHIVE_RECOVERY }],
  ['another database', { systemIdentifier: '2' }],
  ['what is in no group', { hasGroup: false }],
  ['what another peer manages', { peer: peerId('p2') }],
  ['the primary of the log, whose own duty looks after it', { duty: PRIMARY, primary: SELF }],
  [
    'a primary that is being adopted, by a log that is behind',
    { duty: PRIMARY, primary: SELF, toAdopt: [SELF], fence: 9 },
  ],
  [
    'one that a person has cut: its duty asks first',
    { duty: CUT, phase: 'fencing', primary: SELF, toAdopt: [SELF] },
  ],
])('%s is not stopped', async (_, scene) => {
  expect(await stopped(scene)).toBe(false);
});
