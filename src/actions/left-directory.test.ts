// A node's database in a data directory that an earlier configuration has named: when the one in another place may be used.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { readControlData } from '../postgres/control-data.ts';
import { mustHoldAll } from './left-directory.ts';
import { fakeContext } from './testing/context.ts';
import {
  IN_ARCHIVE_RECOVERY,
  IN_CRASH_RECOVERY,
  IN_PRODUCTION,
  SHUTTING_DOWN,
  SHUT_DOWN,
  SHUT_DOWN_IN_RECOVERY,
  writeControl,
} from '../postgres/testing/control-file.ts';

const { mountedTwice, silent } = vi.hoisted(() => ({
  mountedTwice: vi.fn<() => boolean | undefined>(),
  silent: vi.fn<() => Promise<boolean> | undefined>(),
}));
vi.mock('../postgres/processes.ts', async (original) => {
  const real = await original<{ isSameDirectory: (a: string, b: string) => boolean }>();
  return {
    ...real,
    isSameDirectory: (a: string, b: string) => mountedTwice() ?? real.isSameDirectory(a, b),
  };
});
vi.mock('../postgres/answering.ts', () => ({ answers: () => silent() ?? Promise.resolve(true) }));

const ID = 'a_00000001';
let root: string;
let here: string;
let place: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'pg-sentinel-left-'));
  [here, place] = [join(root, 'here'), join(root, 'there')];
  await mkdir(place);
  await writeControl(here, SHUT_DOWN, 0, { checkpoint: 100n, timeline: 2 });
});
afterEach(async () => {
  mountedTwice.mockReset();
  silent.mockReset();
  await rm(root, { recursive: true });
});

async function left(options: {
  readonly checkpoint?: bigint;
  readonly system?: bigint;
  readonly member?: string;
  readonly isStandby?: boolean;
  readonly timeline?: number;
  readonly state?: number;
}): Promise<void> {
  const { checkpoint = 200n, system = 1n, member = ID, timeline = 2, state = IN_PRODUCTION } = options;
  await writeControl(place, state, 0, { checkpoint, system, timeline });
  await writeFile(
    join(place, 'pg_sentinel_member.json'),
    JSON.stringify({ node: 'a', memberId: member, systemIdentifier: `${system}` }),
  );
  if (options.isStandby === true) await writeFile(join(place, 'standby.signal'), '');
}

/** What is said, and whether the guard there hears of leases. */
async function started(
  known: 'by the guard' | 'remembered' | 'by nobody' = 'by the guard',
  isLogs = true,
  told = place,
): Promise<{ said: string; isAttached: boolean }> {
  const context = fakeContext({ dataDirectory: here });
  let isAttached = false;
  const { databaseFile } = context.instance.options;
  if (known === 'remembered')
    await writeFile(databaseFile, JSON.stringify({ dataDirectory: place, systemIdentifier: '1' }));
  Object.assign(context, {
    guarding: {
      place: () => Promise.resolve(known === 'by the guard' ? told : undefined),
      attach: () => Promise.resolve(void (isAttached = true)),
    },
    group: () => ({ systemIdentifier: '1' }),
    registration: () => ({ member: ID }),
  });
  const control = await readControlData(here);
  const said = await mustHoldAll(context, { control, isLogs, otherwise: 'not started' }).then(
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
      said: expect.stringMatching(
        /^not started: PostgreSQL runs in \S+there \(process \d+\), .*: stop it, and have that hold/,
      ) as string,
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
  ['it was copied once it was shut down', () => left({ checkpoint: 100n, state: SHUT_DOWN })],
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
  await left({ timeline: 1 });
  expect(await started()).toMatchObject({ said: '' });
  await left({ checkpoint: 100n, isStandby: true, state: IN_ARCHIVE_RECOVERY });
  expect(await whileRunning(() => started())).toMatchObject({ said: '' });
});

test('a timeline that the log does not have was opened by hand; where the log is not asked it may hold more', async () => {
  await left({ checkpoint: 1n, timeline: 3 });
  expect(await started('by the guard', true)).toMatchObject({ said: '' });
  expect(await started('by the guard', false)).toMatchObject({
    said: expect.stringMatching(/^not started: \S+there, which .* before, holds more/) as string,
  });
});

test('nothing is started in a directory in which PostgreSQL runs by another path, as where it is mounted twice', async () => {
  mountedTwice.mockReturnValue(true);
  expect(await started()).toMatchObject({ said: '' });
  expect(await whileRunning(() => started())).toEqual({
    said: expect.stringMatching(/^not started: PostgreSQL runs in \S+there \(process \d+\)/) as string,
    isAttached: true,
  });
});

test('nor while the place before does not answer', async () => {
  silent.mockResolvedValue(false);
  expect(await started()).toMatchObject({
    said: expect.stringMatching(/^not started: \S+there, .* does not answer, .*umount -f -l/) as string,
  });
});

test.each([
  ['a primary that runs on or has crashed', SHUT_DOWN, IN_PRODUCTION],
  ['one that was killed while it shut down', SHUT_DOWN, SHUTTING_DOWN],
  ['one that was killed once more in its recovery', SHUT_DOWN, IN_CRASH_RECOVERY],
  ['a standby', SHUT_DOWN_IN_RECOVERY, IN_ARCHIVE_RECOVERY],
])(
  'nor where what was copied was started again since, its last checkpoint being the same for a while: %s',
  async (_, stateHere, state) => {
    await writeControl(here, stateHere, 0, { checkpoint: 100n, timeline: 2 });
    await left({ checkpoint: 100n, state: stateHere });
    expect(await started()).toMatchObject({ said: '' });
    await left({ checkpoint: 100n, state });
    expect(await started()).toMatchObject({
      said: expect.stringMatching(/there, which .* before, has run since, and may hold more/) as string,
    });
  },
);

test('what was remembered counts though the guard was told of this place: a start there may have failed', async () => {
  await left({});
  await writeFile(`${here}.database.json`, JSON.stringify({ dataDirectory: place, systemIdentifier: '1' }));
  expect(await started('by the guard', true, here)).not.toMatchObject({ said: '' });
});

test('what the guard alone knew is known after it has ended', async () => {
  await left({});
  expect(await started('by the guard')).not.toMatchObject({ said: '' });
  expect(await started('by nobody')).not.toMatchObject({ said: '' });
});
