// What the agent of a node that was taken out does to its PostgreSQL and its data directory, and all that it does not.
import { spawn } from 'node:child_process';
import { copyFile, mkdir, mkdtemp, readdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { makeMemberId, nodeId } from '../base/ids.ts';
import type { Duty } from '../failover/duties.ts';
import { MEMBER_FILE } from '../postgres/member.ts';
import { instanceProcesses } from '../postgres/processes.ts';
import { removeDiscarded, replacedDirectory } from '../postgres/replaced.ts';
import type { AgentContext } from './context.ts';
import type { DataDirectory } from './data-directory.ts';
import { carryOutRemoved } from './removed-duty.ts';
import { PRIMARY } from './testing/context.ts';
import { IN_ARCHIVE_RECOVERY, IN_PRODUCTION, writeControl } from '../postgres/testing/control-file.ts';

const MEMBER = makeMemberId(nodeId('a'), '00000001');
const OTHER = makeMemberId(nodeId('a'), '00000002');
const { group, incarnation, epoch } = PRIMARY;
type RemovedDuty = Extract<Duty, { kind: 'removed' }>;
const duty = (leaving: RemovedDuty['leaving']): RemovedDuty => ({
  ...{ kind: 'removed', leaving, member: MEMBER, reason: 'removed from group main' },
  ...{ group, incarnation, epoch, slots: [] },
});

let directory: string;
let dataDirectory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'removed-'));
  dataDirectory = join(directory, 'data');
  await mkdir(join(dataDirectory, 'pg_tblspc'), { recursive: true });
  await writeFile(join(dataDirectory, 'PG_VERSION'), '15\n');
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const READY: DataDirectory = {
  kind: 'ready',
  control: {} as never,
  member: { node: nodeId('a'), memberId: MEMBER, systemIdentifier: '7' },
};

/** `steps`: everything that was done; the last activity is what status shows. */
function example(
  options: {
    runs?: 'primary' | 'standby' | 'unreachable' | 'foreign';
    found?: DataDirectory;
    isConfirmed?: boolean;
    onLog?: () => void;
  } = {},
) {
  const steps: string[] = [];
  let runs = options.runs;
  const context = {
    timing: { queryTimeoutMs: 1000, cutTimeoutMs: 100 },
    activity: (condition: string | undefined, message: string) => steps.push(`${condition}: ${message}`),
    log: () => options.onLog?.(),
    clearUnexpectedEnd: () => undefined,
    confirms: () => Promise.resolve(options.isConfirmed ?? true),
    once: (key: string) => {
      steps.push(key);
      return Promise.resolve();
    },
    dataDirectory: async () =>
      (await readdir(dataDirectory).catch(() => [])).length === 0
        ? { kind: 'absent' }
        : (options.found ?? READY),
    instance: {
      options: { dataDirectory, passfileDirectory: join(directory, 'pass'), user: { owner: undefined } },
      isForeign: () => runs === 'foreign',
      postmaster: () => (runs === undefined ? undefined : { pid: 7 }),
      readRole: () =>
        runs === 'unreachable' ? Promise.reject(new Error('shutting down')) : Promise.resolve({ kind: runs }),
      stop: () => {
        steps.push('stop');
        runs = undefined;
        return Promise.resolve();
      },
    },
  };
  const carryOut = async (
    leaving: RemovedDuty['leaving'],
    more: { isNoMember?: true; signal?: AbortSignal } = {},
  ): Promise<string[]> => {
    steps.length = 0;
    const signal = more.signal ?? new AbortController().signal;
    const asked = { ...duty(leaving), ...(more.isNoMember === true ? { member: undefined } : {}) };
    await carryOutRemoved(context as unknown as AgentContext, asked, signal);
    return [...steps];
  };
  return { carryOut };
}

describe('leave', () => {
  test('a standby is cut off once, and runs on', async () => {
    const expected = ['removed', 'undefined: removed from group main'];
    expect(await example({ runs: 'standby' }).carryOut('leave')).toEqual(expected);
    expect(await example({ runs: 'unreachable' }).carryOut('leave')).toEqual(expected);
  });

  test('what somebody else has started is left as it is', async () => {
    expect(await example({ runs: 'foreign' }).carryOut('leave')).toEqual([
      'undefined: removed from group main',
    ]);
  });

  test('a primary, which would take writes that are nobody’s, is stopped', async () => {
    expect(await example({ runs: 'primary' }).carryOut('leave')).toContain('stop');
    expect(await example({ runs: 'primary', isConfirmed: false }).carryOut('leave')).toEqual([]);
  });

  test('of what cannot be asked its control file says whether it is one', async () => {
    await writeControl(dataDirectory, IN_PRODUCTION);
    expect(await example({ runs: 'unreachable' }).carryOut('leave')).toContain('stop');
    expect(await example({ runs: 'standby' }).carryOut('leave')).not.toContain('stop');
    await writeControl(dataDirectory, IN_ARCHIVE_RECOVERY);
    expect(await example({ runs: 'unreachable' }).carryOut('leave')).not.toContain('stop');
  });

  test('what is stopped stays so, and its data directory is left', async () => {
    expect(await example().carryOut('leave')).toEqual(['undefined: removed from group main']);
    expect(await readdir(directory)).toEqual(['data']);
  });
});

test('stop: it is stopped, once the log confirms it, and nothing is removed', async () => {
  expect(await example({ runs: 'standby', isConfirmed: false }).carryOut('stop')).toEqual([]);
  expect(await example({ runs: 'standby' }).carryOut('stop')).toEqual([
    'stopping: removed from group main',
    'stop',
    'undefined: removed from group main',
  ]);
  expect(await readdir(directory)).toEqual(['data']);
});

describe('destroy', () => {
  const DONE = 'absent: its data directory was removed; removed from group main';

  test('the data directory is removed with its tablespaces, and the one that it had replaced', async () => {
    const tablespace = join(directory, 'tablespace');
    await mkdir(join(tablespace, 'PG_15_202209061'), { recursive: true });
    await symlink(tablespace, join(dataDirectory, 'pg_tblspc', '16400'));
    await mkdir(replacedDirectory(dataDirectory));
    const { carryOut } = example({ runs: 'standby' });
    expect((await carryOut('destroy')).slice(1)).toEqual(['stop', expect.stringMatching(/removing/), DONE]);
    expect(await readdir(directory)).toEqual(['tablespace']);
    expect(await readdir(tablespace)).toEqual([]);
    expect(await carryOut('destroy')).toEqual([DONE]);
  });

  test('goes on where it was broken off: moved away, and not removed yet', async () => {
    await rm(dataDirectory, { recursive: true });
    await mkdir(join(directory, 'data.pg_sentinel_discarded-0123abcd', 'base'), { recursive: true });
    expect(await example().carryOut('destroy')).toEqual([DONE]);
    expect(await readdir(directory)).toEqual([]);
  });

  const UNFIT: DataDirectory = { kind: 'unfit', reason: 'a pg_rewind was interrupted' };
  const writeMember = (memberId: string): Promise<void> =>
    writeFile(
      join(dataDirectory, MEMBER_FILE),
      JSON.stringify({ node: 'a', memberId, systemIdentifier: '7' }),
    );

  test('what is fit for nothing but to be replaced is removed as well, where it is that member’s', async () => {
    await writeMember(MEMBER);
    expect(await example({ found: UNFIT }).carryOut('destroy')).toContain(DONE);
    expect(await readdir(directory)).toEqual([]);
  });

  test('what is fit for nothing but to be replaced, and another member’s or nobody’s, is left', async () => {
    expect((await example({ found: UNFIT }).carryOut('destroy'))[0]).toMatch(/left as it is/);
    await writeMember(OTHER);
    expect((await example({ found: UNFIT }).carryOut('destroy'))[0]).toMatch(/left as it is/);
    expect(await readdir(dataDirectory)).toContain('PG_VERSION');
    // The log knew of no member when the node was removed.
    expect(await example({ found: UNFIT }).carryOut('destroy', { isNoMember: true })).toContain(DONE);
  });

  test('what a link leads to is left, and said to be', async () => {
    const real = join(directory, 'real');
    await rename(dataDirectory, real);
    await symlink(real, dataDirectory);
    await expect(example().carryOut('destroy')).rejects.toThrow(
      /is a symbolic link to .*real: remove both by hand/,
    );
    expect(await readdir(real)).toContain('PG_VERSION');
    await rm(real, { recursive: true });
    expect(await example().carryOut('destroy')).toEqual([DONE]);
  });

  test('its WAL goes too, where a link leads to it, and nothing else from there', async () => {
    const wal = join(directory, 'wal');
    await mkdir(join(wal, 'archive_status'), { recursive: true });
    for (const name of ['000000010000000000000001', '00000002.history', 'readme'])
      await writeFile(join(wal, name), '');
    await symlink(wal, join(dataDirectory, 'pg_wal'));
    expect(await example().carryOut('destroy')).toContain(DONE);
    expect(await readdir(wal)).toEqual(['readme']);
  });

  test('a server that somebody has started meanwhile keeps its directory', async () => {
    const program = join(directory, 'postgres');
    await copyFile('/bin/sleep', program);
    const server = spawn(program, ['60'], { cwd: dataDirectory, stdio: 'ignore' });
    try {
      await vi.waitFor(() => expect(instanceProcesses(dataDirectory)).toHaveLength(1));
      await expect(example().carryOut('destroy')).rejects.toThrow(/PostgreSQL runs in it/);
      expect(await readdir(dataDirectory)).toContain('PG_VERSION');
    } finally {
      server.kill('SIGKILL');
    }
  });

  test('another duty does not wait for the removal', async () => {
    const changed = new AbortController();
    const { carryOut } = example({ onLog: () => changed.abort(new Error('the duty has changed')) });
    await expect(carryOut('destroy', { signal: changed.signal })).rejects.toThrow('the duty has changed');
    await removeDiscarded(dataDirectory, { name: 'me', uid: 0, gid: 0, owner: undefined });
    expect(await readdir(directory)).toEqual([]);
  });

  test.each<[string, DataDirectory]>([
    ['of another member', { ...READY, member: { ...READY.member, memberId: OTHER } } as DataDirectory],
    ['of no member', { ...READY, member: undefined } as DataDirectory],
    ['of somebody else', { kind: 'foreign', reason: 'not ours' }],
  ])('a data directory %s is never touched', async (_, found) => {
    const [said] = await example({ found }).carryOut('destroy');
    expect(said).toMatch(/^stopped: .* is left as it is: it is not that of a_00000001/);
    expect(await readdir(dataDirectory)).toContain('PG_VERSION');
  });

  test('nothing is removed while the log does not confirm it', async () => {
    const [said] = await example({ isConfirmed: false }).carryOut('destroy');
    expect(said).toMatch(/still there: the log could not be read/);
    expect(await readdir(dataDirectory)).toContain('PG_VERSION');
  });
});
