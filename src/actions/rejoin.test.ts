// The way back where it cannot be walked to its end here: what is left behind must allow the next pass to go on.
import { mkdir, mkdtemp, readFile, readdir, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { nodeId, timeline } from '../base/ids.ts';
import { DeadlineError } from '../base/clock.ts';
import { lsn } from '../base/lsn.ts';
import { NoRoomError } from '../postgres/clone-room.ts';
import { MEMBER_FILE } from '../postgres/member.ts';
import { connectReplication, identifySystem } from '../postgres/replication-connection.ts';
import { TakenPlaceError } from '../postgres/rewind-room.ts';
import { rewindPostgres } from '../postgres/rewind.ts';
import { markRewound } from '../postgres/rewound.ts';
import { holderOf, lockDirectory } from './directory-lock.ts';
import { clone, completeRewind, rejoin } from './rejoin.ts';
import { type FakeContext, fakeContext, FOLLOW, STANDBY } from './testing/context.ts';
import { IN_ARCHIVE_RECOVERY, IN_PRODUCTION, writeControl } from '../postgres/testing/control-file.ts';

vi.mock(import('../postgres/replication-connection.ts'), async (original) => {
  const real = await original();
  return {
    ...real,
    connectReplication: vi.fn<typeof real.connectReplication>(real.connectReplication),
    identifySystem: vi.fn<typeof real.identifySystem>(real.identifySystem),
    closeReplication: vi.fn<typeof real.closeReplication>(),
  };
});

vi.mock(import('../postgres/rewind.ts'), async (original) => {
  const real = await original();
  return { ...real, rewindPostgres: vi.fn<typeof real.rewindPostgres>(real.rewindPostgres) };
});

let folder: string;
let dataDirectory: string;
let context: FakeContext;
let conditions: (string | undefined)[];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pg-sentinel-rejoin-'));
  dataDirectory = join(folder, 'data');
  await mkdir(join(dataDirectory, 'global'), { recursive: true });
  await mkdir(join(dataDirectory, 'pg_wal'));
  await writeFile(join(dataDirectory, MEMBER_FILE), '{}');
  conditions = [];
  context = Object.assign(fakeContext({ dataDirectory }), {
    isRunning: false,
    activity: (condition: string | undefined) => conditions.push(condition),
  });
});
afterEach(() => rm(folder, { recursive: true }));

test('a standby whose stop was cut short cannot be rewound, and is cloned', async () => {
  await writeControl(dataDirectory, IN_ARCHIVE_RECOVERY);
  const rejoining = rejoin(context, FOLLOW, 'beyond', new AbortController().signal);
  await expect(rejoining).rejects.toThrow(/ENOENT/);
  expect(conditions).toEqual(['rewinding', 'cloning']);
});

test('nobody else makes or replaces the directory while it is rewound; nor is it rewound while somebody does', async () => {
  await writeControl(dataDirectory, IN_ARCHIVE_RECOVERY);
  const { lockDirectory: lock } = context.instance.options;
  const { signal } = new AbortController();
  let holder: string | undefined;
  vi.mocked(rewindPostgres).mockImplementationOnce(async () => {
    holder = await holderOf(lock);
    throw new NoRoomError('full');
  });
  await expect(rejoin(context, FOLLOW, 'beyond', signal)).rejects.toThrow('full');
  expect(holder).toMatch(/^sentineld, a rewind, process/);
  delete context.notes.noRoom;
  const taken = await lockDirectory(lock, 'somebody');
  conditions = [];
  await rejoin(context, FOLLOW, 'beyond', signal);
  expect(conditions).toEqual([undefined]);
  if (taken.kind === 'held') taken.release();
});

test('a rewind from a standby is not begun: nothing is stopped, and its data directory stays a member', async () => {
  const upstream = { ...FOLLOW.upstream, node: nodeId('c') };
  context.isRunning = true;
  await rejoin(context, { ...FOLLOW, upstream }, 'beyond', new AbortController().signal);
  expect({ conditions, stops: context.stops }).toEqual({ conditions: [undefined], stops: [] });
  expect(await readdir(dataDirectory)).toContain(MEMBER_FILE);
});

test('a directory that goes its own way is no member from the moment on that its writes are saved', async () => {
  await writeControl(dataDirectory, IN_PRODUCTION);
  const from = { timeline: timeline(1), position: lsn(0x100n) };
  const duty = { ...FOLLOW, upstream: { ...FOLLOW.upstream, timeline: timeline(2), from } };
  await expect(clone(context, duty, 'beyond', new AbortController().signal)).rejects.toThrow(/ENOENT/);
  expect(await readdir(dataDirectory)).not.toContain(MEMBER_FILE);
});

test('a directory that is on the history of its group keeps its id until the clone takes its place', async () => {
  await writeControl(dataDirectory, IN_PRODUCTION);
  await expect(clone(context, FOLLOW, 'lost', new AbortController().signal)).rejects.toThrow(/ENOENT/);
  expect(await readdir(dataDirectory)).toContain(MEMBER_FILE);
});

test.each([
  ['strict', /out of the sync rule; strict durability keeps it there .* settings set durability=quorum/],
  ['quorum', /waiting until it is out of the sync rule$/],
] as const)(
  'a member that counts is left as it is, and says what it waits for: %s',
  async (durability, said) => {
    const messages: (string | undefined)[] = [];
    const counted = Object.assign(context, {
      group: () => ({ settings: { durability } }),
      activity: (_condition: string | undefined, message: string | undefined) => messages.push(message),
    });
    const duty = { ...FOLLOW, isCounted: true };
    for (const way of [clone, rejoin])
      await way(counted, duty, 'its slot is lost', new AbortController().signal);
    expect(messages).toEqual([expect.stringMatching(said), expect.stringMatching(said)]);
    expect(await readdir(dataDirectory)).toContain(MEMBER_FILE);
  },
);

describe('a directory that was rewound and has not streamed since', () => {
  const CONTROL = { state: 'in archive recovery' } as const;
  const { signal } = new AbortController();
  let upstreamsAtStart: string[];

  beforeEach(async () => {
    upstreamsAtStart = [];
    await mkdir(`${dataDirectory}.passfile`);
    await writeFile(join(dataDirectory, 'pg_sentinel.conf'), '');
    await markRewound({ dataDirectory, source: timeline(1), owner: undefined });
    await writeControl(dataDirectory, IN_ARCHIVE_RECOVERY);
    const startAs = async (): Promise<void> => {
      const settings = await readFile(join(dataDirectory, 'pg_sentinel.conf'), 'utf8');
      upstreamsAtStart.push(/^primary_conninfo = (.*)$/m.exec(settings)?.[1] ?? 'none');
    };
    Object.assign(context, { localMember: () => STANDBY });
    Object.assign(context.instance, { startAs });
  });

  test('starts with its upstream set, for its own WAL may end before it is consistent', async () => {
    expect(await completeRewind(context, FOLLOW, CONTROL, signal)).toBe(true);
    expect(upstreamsAtStart).toEqual([expect.stringContaining('127.0.0.1')]);
  });

  test('is cloned where another timeline is to be followed now, once it does not count', async () => {
    const upstream = { ...FOLLOW.upstream, timeline: timeline(2) };
    expect(await completeRewind(context, { ...FOLLOW, upstream, isCounted: true }, CONTROL, signal)).toBe(
      true,
    );
    expect(conditions).toEqual(['absent']);
    expect(upstreamsAtStart).toEqual([]);
  });

  describe('and runs', () => {
    const SEGMENT = '000000010000000000000003';
    const PASSES_MAX = 20;
    let startError: Error;

    /** What PostgreSQL says of itself. */
    const setStatus = (status: string): Promise<void> =>
      writeFile(
        join(dataDirectory, 'postmaster.pid'),
        [process.pid, dataDirectory, 0, 1, '', '', '1 2', status].join('\n'),
      );
    const writeWal = async (atMs: number): Promise<void> => {
      await writeFile(join(dataDirectory, 'pg_wal', SEGMENT), '');
      await utimes(join(dataDirectory, 'pg_wal', SEGMENT), atMs / 1000, atMs / 1000);
    };
    const pass = (upstream = FOLLOW.upstream): Promise<boolean> =>
      completeRewind(context, { ...FOLLOW, upstream, isCounted: true }, CONTROL, signal);

    beforeEach(async () => {
      startError = new DeadlineError('start of PostgreSQL');
      vi.mocked(connectReplication).mockRejectedValue(new Error('nobody answers'));
      context.isRunning = true;
      const startAs = context.instance.startAs.bind(context.instance);
      Object.assign(context.instance, {
        startAs: async (...start: Parameters<typeof startAs>) => {
          await startAs(...start);
          throw startError;
        },
      });
      context.notes.cut = { postmasterPid: process.pid } as typeof context.notes.cut;
      await setStatus('starting');
      await writeWal(1000);
    });
    afterEach(() => vi.mocked(connectReplication).mockReset());

    const answers = (): void => {
      vi.mocked(connectReplication).mockResolvedValue({} as never);
      vi.mocked(identifySystem).mockResolvedValue({
        timeline: timeline(1),
        systemIdentifier: context.group()?.systemIdentifier ?? '',
      } as never);
    };

    test('is waited for while WAL comes, however long that takes, with its upstream set once', async () => {
      answers();
      for (let count = 0; count < 3 * PASSES_MAX; count += 1) {
        await writeWal(2000 + count);
        expect(await pass()).toBe(true);
      }
      expect(new Set(conditions)).toEqual(new Set(['starting']));
      expect(new Set(upstreamsAtStart).size).toBe(1);
      expect(context.notes.cut).toBeUndefined();
    });

    test('is cloned where nothing has moved for as long as a start may take, though the upstream answers', async () => {
      answers();
      for (let count = 0; count < PASSES_MAX; count += 1) await pass();
      expect(new Set(conditions)).toEqual(new Set(['starting']));
      await pass();
      // Counted, it waits.
      expect(conditions.at(-1)).toBe('absent');
    });

    test('is waited for where the upstream does not answer, and anew when it does again', async () => {
      for (let count = 0; count <= PASSES_MAX; count += 1) await pass();
      answers();
      for (let count = 1; count < PASSES_MAX; count += 1) await pass();
      expect(new Set(conditions)).toEqual(new Set(['starting']));
    });

    test('is set up anew for another upstream', async () => {
      await pass();
      await pass({ ...FOLLOW.upstream, host: '127.0.0.2' });
      expect(upstreamsAtStart.map((text) => /host=''(\S+)''/.exec(text)?.[1])).toEqual([
        '127.0.0.1',
        '127.0.0.2',
      ]);
    });

    describe('and ends before its time', () => {
      const ENDS_COUNT = 5;
      let nowMs: number;

      beforeEach(() => {
        nowMs = 1000;
        vi.spyOn(performance, 'now').mockImplementation(() => nowMs);
        const { startAs } = context.instance;
        Object.assign(context.instance, {
          startAs: async (...start: Parameters<typeof startAs>) => {
            context.isRunning = startError instanceof DeadlineError;
            if (isRecovering) await writeControl(dataDirectory, IN_ARCHIVE_RECOVERY);
            await startAs(...start);
          },
        });
      });
      afterEach(() => vi.restoreAllMocks());
      let isRecovering: boolean;

      const end = async (when: string): Promise<void> => {
        isRecovering = when !== 'at its settings';
        startError =
          when === 'after a while' ? new DeadlineError('start of PostgreSQL') : new Error('it ended');
        context.isRunning = false;
        await pass().catch((error: unknown) => expect(error).toBe(startError));
      };

      test.each(['at once', 'after a while'])('%s, again and again, is cloned', async (when) => {
        answers();
        await end(when);
        for (let count = 0; count < 2 * ENDS_COUNT; count += 1) await end(when);
        expect(new Set(conditions)).toEqual(new Set(['starting']));
        nowMs += context.timing.startTimeoutMs;
        await end(when);
        expect(conditions.at(-1)).toBe('absent');
        // Another start is tried: a clone may be impossible.
        await end(when);
        expect(conditions.at(-1)).toBe('starting');
      });

      test('is started again where what it stumbles over are its settings, or nobody answers', async () => {
        for (const when of ['at its settings', 'at once']) {
          for (let count = 0; count < 2 * ENDS_COUNT; count += 1) await end(when);
          nowMs += context.timing.startTimeoutMs;
          await end(when);
          answers();
          if (when === 'at its settings') await end(when);
          vi.mocked(connectReplication).mockRejectedValue(new Error('nobody answers'));
        }
        expect(new Set(conditions)).toEqual(new Set(['starting']));
      });

      test('is started again where it came further each time', async () => {
        answers();
        for (let count = 0; count < 2 * ENDS_COUNT; count += 1) {
          await end('after a while');
          nowMs += context.timing.startTimeoutMs;
          const { completing } = context.notes;
          const segment = String(count).padStart(16, '0');
          context.notes.completing = {
            ...(completing as NonNullable<typeof completing>),
            progress: { startupPid: 1, segment, received: lsn(0n), writtenMs: 0 },
          };
        }
        expect(new Set(conditions)).toEqual(new Set(['starting']));
      });
    });

    test('fails the pass where it does not start', async () => {
      startError = new Error('it did not start');
      await expect(pass()).rejects.toThrow('it did not start');
    });

    test('is left to the usual way once it is up, whether it answers or not, on whatever timeline the upstream is', async () => {
      Object.assign(context.instance, { readRole: () => Promise.reject(new Error('no connection slot')) });
      await setStatus('ready');
      for (const newest of [timeline(1), timeline(2)])
        expect(await pass({ ...FOLLOW.upstream, timeline: newest })).toBe(false);
      expect(conditions).toEqual([]);
    });
  });

  test('is completed where it was stopped cleanly, which says nothing of how far it was', async () => {
    expect(await completeRewind(context, FOLLOW, { state: 'shut down in recovery' }, signal)).toBe(true);
    expect(upstreamsAtStart).toEqual([expect.stringContaining('127.0.0.1')]);
  });

  test('is left to the usual way where it was a primary since, or where it was stopped and another timeline is to be followed', async () => {
    const upstream = { ...FOLLOW.upstream, timeline: timeline(2) };
    for (const [duty, state] of [
      [FOLLOW, 'in production'],
      [{ ...FOLLOW, upstream }, 'shut down in recovery'],
    ] as const)
      expect(await completeRewind(context, duty, { state }, signal)).toBe(false);
    expect(upstreamsAtStart).toEqual([]);
  });
});

test('a clone that failed is not tried again at once, and another upstream is', async () => {
  await writeControl(dataDirectory, IN_PRODUCTION);
  const { signal } = new AbortController();
  await expect(clone(context, FOLLOW, 'lost', signal)).rejects.toThrow(/ENOENT/);
  await clone(context, FOLLOW, 'lost', signal);
  expect(conditions).toEqual(['cloning', 'failed']);
  const first = context.notes.failedClone;
  context.notes.failedClone = first && { ...first, untilMs: 0 };
  await expect(clone(context, FOLLOW, 'lost', signal)).rejects.toThrow(/ENOENT/);
  expect(context.notes.failedClone?.pauseMs).toBe(2 * (first?.pauseMs ?? 0));
  const upstream = { ...FOLLOW.upstream, node: nodeId('c') };
  await expect(clone(context, { ...FOLLOW, upstream }, 'lost', signal)).rejects.toThrow(/ENOENT/);
});

test('a rewind without room is not tried again at once; where there still is none later, a clone is tried', async () => {
  await writeControl(dataDirectory, IN_PRODUCTION);
  const rewinds = vi.mocked(rewindPostgres);
  rewinds.mockClear();
  const pass = (): Promise<void> => rejoin(context, FOLLOW, 'beyond', new AbortController().signal);
  rewinds.mockRejectedValueOnce(new NoRoomError('no room'));
  await expect(pass()).rejects.toThrow('no room');
  await pass();
  expect(conditions).toEqual(['rewinding', 'failed']);
  expect(rewinds).toHaveBeenCalledTimes(1);
  context.notes.noRoom = { untilMs: 0, error: '' };
  rewinds.mockRejectedValueOnce(new NoRoomError('no room'));
  await expect(pass()).rejects.toThrow(/ENOENT|ECONNREFUSED/);
  expect(conditions).toEqual(['rewinding', 'failed', 'rewinding', 'cloning']);
});

test('a rewind whose source has a tablespace at a path that is taken here is followed by a clone', async () => {
  await writeControl(dataDirectory, IN_PRODUCTION);
  vi.mocked(rewindPostgres).mockRejectedValueOnce(new TakenPlaceError('taken'));
  await expect(rejoin(context, FOLLOW, 'beyond', new AbortController().signal)).rejects.toThrow(
    /ENOENT|ECONNREFUSED/,
  );
  expect(conditions).toEqual(['rewinding', 'cloning']);
});
