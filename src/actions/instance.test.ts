// What the instance writes of the rule, and whether that is in force.
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { makeMemberId, nodeId } from '../base/ids.ts';
import { readSettings } from '../postgres/settings.ts';
import type { InstanceOptions } from './instance-options.ts';
import { type Instance, openInstance } from './instance.ts';
import { readLogicalState, settingsOf } from './instance-files.ts';
import { STANDBY, fakeContext } from './testing/context.ts';

const OTHER = makeMemberId(nodeId('c'), '00000001');
const RULE = { kind: 'any', acks: 1, members: [STANDBY] } as const;

let root: string;
let instance: Instance;
let options: InstanceOptions;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'pg-sentinel-instance-'));
  const dataDirectory = join(root, 'data');
  await mkdir(dataDirectory);
  await writeFile(join(dataDirectory, 'pg_sentinel.conf'), "port = '1'\n");
  const { instance: fake } = fakeContext({
    dataDirectory,
    instance: {
      logicalSlots: () => [{}] as never,
      binaries: { version: 17, directory: '/nowhere', has: {} } as never,
    },
  });
  options = { ...fake.options, onChange: () => undefined, mayBeForeign: () => false };
  instance = openInstance(options);
});
afterEach(async () => {
  await instance.close();
  await rm(root, { recursive: true });
});

const limit = async (): Promise<string | undefined> =>
  (await readSettings(options.dataDirectory)).get('synchronized_standby_slots');

test('readers of logical slots wait for the members of the rule, whatever somebody has done to the file', async () => {
  await instance.setSynchronousStandbys(RULE);
  expect(await limit()).toBe(STANDBY);
  const path = join(options.dataDirectory, 'pg_sentinel.conf');
  const text = await readFile(path, 'utf8');
  await writeFile(
    path,
    text.replace(`synchronized_standby_slots = '${STANDBY}'`, "synchronized_standby_slots = ''"),
  );
  const names = `ANY 1 ("${STANDBY}")`;
  await instance.setSynchronousStandbys(RULE, { synchronousStandbyNames: names, readerLimit: STANDBY });
  // In force is what counts.
  expect(await limit()).toBe('');
  await instance.setSynchronousStandbys(RULE, { synchronousStandbyNames: names, readerLimit: '' });
  expect(await limit()).toBe(STANDBY);
});

test('while nobody acknowledges they wait for every other member', async () => {
  await instance.setSynchronousStandbys({ kind: 'nobody', readersWaitFor: [STANDBY, OTHER] });
  expect(await limit()).toBe(`${STANDBY}, ${OTHER}`);
  await instance.setSynchronousStandbys({ kind: 'alone' });
  expect(await limit()).toBe('');
});

test('wal_level stays logical while slots are synchronised, and a cascading standby holds no rows back', async () => {
  const none = { ...options, logicalSlots: () => [] };
  const present = { holdsLogicalSlot: false, syncsSlots: false, isAskedFor: false };
  const level = (more: object, state = present): unknown => {
    const { walLevel, hotStandbyFeedback } = settingsOf({ ...none, ...more }, { kind: 'nobody' }, state);
    return { walLevel, hotStandbyFeedback };
  };
  expect(level({})).toEqual({ walLevel: 'replica', hotStandbyFeedback: false });
  const { logicalSlots } = options;
  expect(level({ logicalSlots })).toEqual({ walLevel: 'logical', hotStandbyFeedback: true });
  expect(level({ logicalSlots, isCascading: () => true })).toEqual({
    ...{ walLevel: 'logical', hotStandbyFeedback: false },
  });
  expect(level({}, { ...present, holdsLogicalSlot: true })).toEqual({
    ...{ walLevel: 'logical', hotStandbyFeedback: false },
  });
  await writeFile(join(options.dataDirectory, 'pg_sentinel.conf'), "sync_replication_slots = 'on'\n");
  expect(level({}, await readLogicalState(options.dataDirectory))).toEqual({
    ...{ walLevel: 'logical', hotStandbyFeedback: true },
  });
});

test.each([
  ["wal_level = 'logical'", 'logical'],
  ['wal_level=LOGICAL # cdc', 'logical'],
  ["wal_level = 'logical'\nwal_level = 'minimal'", 'replica'],
  ["wal_level = 'minimal'", 'replica'],
  ["#wal_level = 'logical'", 'replica'],
])('postgresql.conf with %j makes wal_level %s, and holds no rows back', async (text, walLevel) => {
  await writeFile(join(options.dataDirectory, 'postgresql.conf'), `a = 1\n${text}\n`);
  const state = await readLogicalState(options.dataDirectory);
  const none = { ...options, logicalSlots: () => [] };
  expect(settingsOf(none, { kind: 'nobody' }, state)).toMatchObject({ walLevel, hotStandbyFeedback: false });
});
