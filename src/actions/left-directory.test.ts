// A node's database in a data directory that an earlier configuration has named: when a primary may be started in another one.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { timeline } from '../base/ids.ts';
import { readControlData } from '../postgres/control-data.ts';
import { mustBeLatest } from './left-directory.ts';
import { fakeContext } from './testing/context.ts';
import { IN_PRODUCTION, SHUT_DOWN, writeControl } from './testing/control-file.ts';

const ID = 'a_00000001';
let root: string;
let here: string;
let place: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'pg-sentinel-left-'));
  [here, place] = [join(root, 'here'), join(root, 'there')];
  await mkdir(place);
  await writeControl(here, SHUT_DOWN, 0, { checkpoint: 100n });
});
afterEach(() => rm(root, { recursive: true }));

async function left(options: {
  readonly checkpoint?: bigint;
  readonly system?: bigint;
  readonly member?: string;
  readonly isStandby?: boolean;
}): Promise<void> {
  const { checkpoint = 200n, system = 1n, member = ID } = options;
  await writeControl(place, IN_PRODUCTION, 0, { checkpoint, system });
  await writeFile(
    join(place, 'pg_sentinel_member.json'),
    JSON.stringify({ node: 'a', memberId: member, systemIdentifier: `${system}` }),
  );
  if (options.isStandby === true) await writeFile(join(place, 'standby.signal'), '');
}

/** What is said, and whether the guard there hears of leases. */
async function started(
  known: 'by the guard' | 'remembered' = 'by the guard',
  assigned = 1,
): Promise<{ said: string; isAttached: boolean }> {
  const context = fakeContext({ dataDirectory: here });
  let isAttached = false;
  const { databaseFile } = context.instance.options;
  if (known === 'remembered')
    await writeFile(databaseFile, JSON.stringify({ dataDirectory: place, systemIdentifier: '1' }));
  Object.assign(context, {
    guarding: {
      place: () => Promise.resolve(known === 'by the guard' ? place : undefined),
      attach: () => Promise.resolve(void (isAttached = true)),
    },
    group: () => ({ systemIdentifier: '1' }),
    registration: () => ({ member: ID }),
  });
  const control = await readControlData(here);
  const said = await mustBeLatest(context, { control, timeline: timeline(assigned) }).then(
    () => '',
    (error: unknown) => (error as Error).message,
  );
  return { said, isAttached };
}

async function whileRunning<T>(work: () => Promise<T>): Promise<T> {
  const program = join(root, 'postgres');
  await copyFile('/bin/sleep', program);
  const child = spawn(program, ['600'], { cwd: place });
  await once(child, 'spawn');
  await writeFile(join(place, 'postmaster.pid'), `${child.pid}\n${place}\n`);
  try {
    return await work();
  } finally {
    child.kill('SIGKILL');
  }
}

test.each(['by the guard', 'remembered'] as const)(
  'no copy is started while the primary runs where it was, known %s',
  async (known) => {
    // Just copied: it holds all but what is written next.
    await left({ checkpoint: 100n });
    expect(await whileRunning(() => started(known))).toEqual({
      said: expect.stringMatching(/it runs in \S+there \(process \d+\), .*: stop it, and copy it/) as string,
      isAttached: true,
    });
  },
);

test.each(['by the guard', 'remembered'] as const)(
  'nor where what was left holds more, known %s',
  async (known) => {
    await left({});
    expect(await started(known)).toEqual({
      said: expect.stringMatching(
        /there, which .* before, holds more \(until 0\/C8\) than \S+here \(0\/64\)/,
      ) as string,
      isAttached: false,
    });
  },
);

test.each<readonly [string, () => Promise<void>]>([
  ['it was moved', () => rm(place, { recursive: true })],
  ['it was copied once it was shut down', () => left({ checkpoint: 100n })],
  ['what was left is older', () => left({ checkpoint: 99n })],
  ['another database was left', () => left({ system: 2n })],
  ['the node was cloned anew since', () => left({ member: 'a_00000002' })],
  [
    'it is the same place by another name',
    async () => {
      await rm(place, { recursive: true });
      await symlink(here, place);
    },
  ],
])('it is started where %s', async (_, make) => {
  await make();
  expect(await started()).toEqual({ said: '', isAttached: false });
});

test('it is started where what was left is of a timeline before, or a standby that holds no more', async () => {
  await left({});
  expect(await started('by the guard', 2)).toMatchObject({ said: '' });
  await left({ checkpoint: 100n, isStandby: true });
  expect(await whileRunning(() => started())).toMatchObject({ said: '' });
});
