// An adopted primary that has ended before it was ours: when it is left to its owner, and when it is started as ours.
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { makeMemberId, nodeId } from '../base/ids.ts';
import { readControlData } from '../postgres/control-data.ts';
import { type AgentContext, DEFAULT_AGENT_TIMING } from './context.ts';
import { inspectDataDirectory } from './data-directory.ts';
import { carryOutPrimary } from './primary-duty.ts';
import { PRIMARY, fakeContext } from './testing/context.ts';
import { endTakenOver, isTakenOver, writeTakenOver } from './taken-over.ts';
import { IN_PRODUCTION, SHUT_DOWN, writeControl } from '../postgres/testing/control-file.ts';

const NODE = nodeId('a');
const MEMBER = makeMemberId(NODE, '00000001');
const DUTY = { ...PRIMARY, isUnprotected: true, rule: { members: [], acks: 0 } } as const;
/** As long as its owner may take, whatever has ended it. */
const GRACE_MS = DEFAULT_AGENT_TIMING.crashHoldMs + DEFAULT_AGENT_TIMING.restartGraceMs;

let dataDirectory: string;
beforeEach(async () => {
  dataDirectory = join(await mkdtemp(join(tmpdir(), 'pg-sentinel-adopted-stop-')), 'data');
  await mkdir(dataDirectory);
  await writeFile(join(dataDirectory, 'PG_VERSION'), '15\n');
});
afterEach(() => rm(join(dataDirectory, '..'), { recursive: true }));

interface Scene {
  /** How it has ended, so long ago; left out: this process knows of no end. */
  readonly end?: { readonly isClean: boolean; readonly agoMs: number };
  /** This process was started so long ago, and has not seen it run. */
  readonly foundAgoMs?: number;
  /** It has ended by itself just now, and nobody knows how. */
  readonly isEnding?: boolean;
  readonly isPaused?: boolean;
  /** Makes what is in the place of the rules that were taken over; left out: those of this adoption. */
  readonly left?: (path: string) => Promise<void>;
  readonly isRegistered?: boolean;
  readonly state?: number;
}

/** One pass: what was done, and what is said last. */
async function pass(scene: Scene): Promise<{ steps: string[]; said: string }> {
  await writeControl(dataDirectory, scene.state ?? IN_PRODUCTION);
  const { systemIdentifier } = await readControlData(dataDirectory);
  const context = fakeContext({ dataDirectory });
  await scene.left?.(context.instance.options.adoptedHbaFile);
  if (scene.left === undefined) await writeTakenOver(context.instance.options.adoptedHbaFile, []);
  if (scene.isRegistered === true)
    await writeFile(
      join(dataDirectory, 'pg_sentinel_member.json'),
      JSON.stringify({ node: NODE, memberId: MEMBER, systemIdentifier }),
    );
  const steps: string[] = [];
  let said = '';
  const { end, foundAgoMs } = scene;
  context.isRunning = false;
  Object.assign(context, {
    guarding: { prepare: () => Promise.resolve(true), place: () => Promise.resolve(undefined) },
    group: () => ({ systemIdentifier, toAdopt: [NODE] }),
    registration: () => ({ member: scene.isRegistered === true ? MEMBER : undefined }),
    unexpectedEnd: () => end && { atMs: performance.now() - end.agoMs, isClean: end.isClean },
    foundStoppedAtMs: () => (foundAgoMs === undefined ? undefined : performance.now() - foundAgoMs),
    dataDirectory: () => inspectDataDirectory(dataDirectory, NODE),
    registerAgain: () => Promise.resolve(steps.push('registered') < 0),
    activity: (_: unknown, message?: string) => (said = message ?? ''),
  });
  Object.assign(context.instance, {
    isEnding: () => scene.isEnding === true,
    startAs: () => Promise.reject(new Error(`started ${String(steps.push('started'))}`)),
  });
  const work = carryOutPrimary(
    context as AgentContext,
    { ...DUTY, isPaused: scene.isPaused === true },
    new AbortController().signal,
  );
  await work.catch((error: unknown) => {
    if (!(error as Error).message.startsWith('started ')) throw error;
  });
  return { steps, said };
}

const CRASHED = { isClean: false, agoMs: GRACE_MS + 1000 };
const SHUT = { isClean: true, agoMs: GRACE_MS + 1000 };
const isRegistered = true;

test.each([
  ['a crash', CRASHED],
  ['a clean shutdown', SHUT],
])('after %s it is started as ours once its owner has had the time', async (_, end) => {
  expect(await pass({ end, isRegistered })).toMatchObject({ steps: ['started'] });
  const early = await pass({ end: { ...end, agoMs: 1000 }, isRegistered });
  expect(early).toEqual({
    steps: [],
    said: expect.stringMatching(/its owner may start it again/) as unknown,
  });
});

test.each([
  ['a crash', CRASHED],
  ['a clean shutdown', SHUT],
])('while it is paused it is not started after %s, and nothing of it made ours', async (_, end) => {
  for (const known of [true, false])
    expect(await pass({ end, isRegistered: known, isPaused: true })).toEqual({
      steps: [],
      said: expect.stringMatching(/while it is paused it is left so: start it as .*resume/) as unknown,
    });
});

test('its data directory is made known after the time of its owner only, before it is started', async () => {
  expect(await pass({ end: { ...CRASHED, agoMs: 1000 } })).toMatchObject({ steps: [] });
  expect(await pass({ end: CRASHED })).toMatchObject({ steps: ['registered'] });
});

test('one that was handed over is started at once, paused or not: nobody else would', async () => {
  await writeFile(join(dataDirectory, 'standby.signal'), '');
  for (const isPaused of [true, false])
    expect(await pass({ end: { ...CRASHED, agoMs: 0 }, isRegistered, isPaused })).toMatchObject({
      steps: ['started'],
    });
});

test('a sentineld that finds it stopped leaves its owner as much time from then on', async () => {
  const waits = { steps: [], said: expect.stringMatching(/its owner may start it again/) as unknown };
  const { crashHoldMs } = DEFAULT_AGENT_TIMING;
  expect(await pass({ foundAgoMs: 0, isRegistered })).toEqual(waits);
  expect(await pass({ foundAgoMs: crashHoldMs + 1, isRegistered })).toMatchObject({ steps: ['started'] });
  expect(await pass({ foundAgoMs: crashHoldMs + 1, isRegistered, state: SHUT_DOWN })).toEqual(waits);
  expect(await pass({ foundAgoMs: GRACE_MS + 1, isRegistered, state: SHUT_DOWN })).toMatchObject({
    steps: ['started'],
  });
  expect(await pass({ foundAgoMs: GRACE_MS + 1, isRegistered, isPaused: true })).toMatchObject({ steps: [] });
});

test('one that this process has stopped itself is started at once', async () => {
  expect(await pass({ isRegistered })).toMatchObject({ steps: ['started'] });
  // One that has ended by itself is not taken for it before that is known.
  expect(await pass({ isRegistered, isEnding: true })).toEqual({ steps: [], said: 'has just ended' });
});

const RULE = 'host app app 10.0.0.0/24 scram-sha-256';
test.each<readonly [string, (path: string) => Promise<void>]>([
  ['nothing', () => Promise.resolve()],
  [
    'what an earlier adoption has left',
    async (path) => {
      await writeTakenOver(path, [RULE]);
      await endTakenOver(path);
      expect(await readFile(path, 'utf8')).toMatch(/^# .* earlier .*\nhost app app /);
    },
  ],
  [
    'what came with a clone',
    (path) => writeFile(path, `# Taken over with a clone; may be edited.\n${RULE}\n`),
  ],
])('it is not started as ours where %s is taken for its settings', async (_, left) => {
  for (const known of [true, false])
    await expect(pass({ end: CRASHED, isRegistered: known, left })).rejects.toThrow(
      /ended before its settings were taken over: start it \(\S+\) as it was started before/,
    );
  // By then the settings of its owner are not looked for any more.
  await writeFile(join(dataDirectory, 'standby.signal'), '');
  expect(await pass({ end: CRASHED, isRegistered, left })).toMatchObject({ steps: ['started'] });
});

test('what was taken over counts again with the next adoption', async () => {
  const path = join(dataDirectory, 'adopted-hba');
  await endTakenOver(path);
  expect(isTakenOver(path)).toBe(false);
  for (const rules of [[], [RULE]]) {
    await writeTakenOver(path, rules);
    expect(isTakenOver(path)).toBe(true);
    await endTakenOver(path);
    expect(isTakenOver(path)).toBe(false);
  }
});

test('what its owner has set last to decode goes on so, before that is taken out as ours', async () => {
  const block = '# Taken over by pg-sentinel from /etc/p.conf.\nwork_mem = 7MB\n';
  const end = '# End of what pg-sentinel has taken over.\n';
  const [conf, auto] = ['postgresql.conf', 'postgresql.auto.conf'].map((name) => join(dataDirectory, name));
  const after = async (set: string, present: string): Promise<string[]> => {
    await writeFile(conf ?? '', present);
    await writeFile(auto ?? '', set);
    await pass({ end: CRASHED, isRegistered });
    return Promise.all([readFile(conf ?? '', 'utf8'), readFile(auto ?? '', 'utf8')]);
  };
  const set = "wal_level = 'logical'\nshared_buffers = '48MB'\n";
  const kept = "shared_buffers = '48MB'\n";
  expect(await after(set, `${block}${end}# last\n`)).toEqual([
    `${block}wal_level = 'logical'\n${end}# last\n`,
    kept,
  ]);
  expect(await after(set, `wal_level = logical\n`)).toEqual([`wal_level = logical\n`, kept]);
  expect((await after(set, `port = 1\n`))[0]).toMatch(/^port = 1\n[^]*\nwal_level = 'logical'\n/);
  expect(await after("wal_level = 'replica'\n", `${block}${end}`)).toEqual([`${block}${end}`, '']);
});
