// Too little room for a way back: a rewind is not begun, and a clone takes the room of what an interrupted rewind has left. On a small file
// system of its own.
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { until } from '../../../src/base/clock.ts';
import { timeline } from '../../../src/base/ids.ts';
import { freeBytes } from '../../../src/postgres/clone-room.ts';
import { cloneStandby } from '../../../src/postgres/clone.ts';
import { readControlData } from '../../../src/postgres/control-data.ts';
import { makeDirectory } from '../../../src/postgres/own-directories.ts';
import { promotePostgres } from '../../../src/postgres/promote.ts';
import { isRewindInterrupted, rewindMarker } from '../../../src/postgres/rewind-marker.ts';
import { rewindPostgres } from '../../../src/postgres/rewind.ts';
import { checkpoint } from '../../../src/postgres/sql.ts';
import { followUpstream, hasStandbySignal } from '../../../src/postgres/upstream.ts';
import {
  configure,
  LIMIT_MS,
  openPlace,
  QUERY,
  sql,
  start,
  startPrimary,
  stop,
  upstreamOf,
  type Instance,
  type Place,
} from './instances.ts';

const run = promisify(execFile);
const MIB = 2 ** 20;
const SIZE_MIB = 512;

const place: Place | undefined = await openPlace(15);
const missing = [
  ...(place === undefined ? ['PostgreSQL 15'] : []),
  ...(place?.binaries.has.pgRewind === false ? ['pg_rewind'] : []),
  ...(process.getuid?.() === 0 ? [] : ['root, for a mount']),
];
if (missing.length > 0) await place?.close();

describe.skipIf(missing.length > 0)(`little room (needs ${missing.join(', ') || 'nothing more'})`, () => {
  const at = place as Place;
  let one: Instance;
  let two: Instance;
  let disk: string;
  /** Unmounts also when this process is killed: the other end of its pipe is closed then. */
  let undertaker: ChildProcess | undefined;

  beforeAll(async () => {
    one = await at.prepare('one');
    disk = join(one.dataDirectory, '..');
    await run('mount', ['-t', 'tmpfs', '-o', `size=${SIZE_MIB}m`, 'tmpfs', disk]);
    undertaker = spawn('sh', ['-c', 'trap "" INT TERM HUP; read _; umount -l "$1"', 'sh', disk], {
      detached: true,
      stdio: ['pipe', 'ignore', 'ignore'],
      cwd: '/',
    });
    await makeDirectory(at.user, disk, 0o700);
    two = await startPrimary(at, 'two');
    await sql(two, 'create table public.kept (id int primary key)');
    await clone(one);
    await start(one);
    await sql(two, 'insert into public.kept values (1)');
    await caughtUp();
    // The clone becomes the primary: `two` is the one that goes on, and `one` the former primary that diverges.
    await promotePostgres({ ...one, current: timeline(1), assigned: timeline(3), timeoutMs: LIMIT_MS });
    await stop(one, 0);
    await fallBehind();
  });
  afterAll(async () => {
    if (one !== undefined) await stop(one, 0).catch(() => undefined);
    if (undertaker !== undefined) {
      const ended = once(undertaker, 'exit');
      undertaker.stdin?.end();
      await ended;
    }
    await at.close();
  });

  /** `two` opens a timeline of its own, with much WAL that `one` lacks. */
  async function fallBehind(): Promise<void> {
    await stop(two);
    await writeFile(join(two.dataDirectory, 'standby.signal'), '');
    await start(two);
    await promotePostgres({ ...two, current: timeline(1), assigned: timeline(5), timeoutMs: LIMIT_MS });
    await configure(two, { synchronousStandbys: { kind: 'alone' } });
    await writeSegments(6);
  }

  async function writeSegments(count: number): Promise<void> {
    for (let written = 0; written < count; written++) {
      await sql(two, `insert into public.kept values (${await nextId()})`);
      await sql(two, 'select pg_switch_wal()');
    }
    await checkpoint(two.session, QUERY);
  }
  async function nextId(): Promise<number> {
    const [row] = await sql<{ id: number }>(two, 'select max(id) + 1 as id from public.kept');
    return row?.id ?? 0;
  }

  const notes: string[] = [];
  async function clone(instance: Instance): Promise<void> {
    await cloneStandby({
      ...instance,
      source: upstreamOf(two, 'pg_sentinel_clone'),
      systemIdentifier: undefined,
      stallMs: LIMIT_MS,
      onNote: (message) => notes.push(message),
    });
    await configure(instance);
    await followUpstream({
      ...instance,
      upstream: upstreamOf(two, instance.name),
      slotName: '',
      owner: instance.user.owner,
    });
  }

  async function caughtUp(): Promise<void> {
    const [row] = await sql<{ lsn: string }>(two, 'select pg_current_wal_flush_lsn()::text as lsn');
    await until({ what: 'caught up', timeoutMs: LIMIT_MS, everyMs: 20 }, async () => {
      const [now] = await sql<{ done: boolean }>(
        one,
        `select pg_last_wal_replay_lsn() >= '${row?.lsn}'::pg_lsn as done`,
      );
      return now?.done === true ? true : undefined;
    });
  }

  /** Replays what a rewind has brought, and stops cleanly: only then can it be rewound again. */
  async function complete(): Promise<void> {
    await configure(one);
    const upstream = upstreamOf(two, one.name);
    await followUpstream({ ...one, upstream, slotName: '', owner: one.user.owner });
    await start(one);
    await caughtUp();
    await stop(one);
  }

  /** Leaves so much free. */
  async function fill(leftMib: number): Promise<void> {
    const ballast = Math.floor((await freeBytes(disk)) / MIB) - leftMib;
    await run('fallocate', ['-l', `${ballast}M`, join(disk, 'ballast')]);
  }
  const drain = (): Promise<void> => rm(join(disk, 'ballast'), { force: true });

  const rewind = () =>
    rewindPostgres({ ...one, source: upstreamOf(two, 'pg_sentinel_rewind'), timeoutMs: LIMIT_MS });
  const contents = async (): Promise<string[]> =>
    (await readdir(one.dataDirectory, { recursive: true })).toSorted();

  test('a rewind is not begun where the WAL of its source finds no room, and succeeds later', async () => {
    await fill(64);
    const before = await contents();
    await expect(rewind()).rejects.toThrow(
      /^cannot rewind .* yet: \d+ MiB needed in .*\/pg_wal \(the source's WAL that is not here, and slack\), 6[345] MiB free; make room$/,
    );
    expect(await isRewindInterrupted(one.dataDirectory)).toBe(false);
    expect(await contents()).toEqual(before);
    await drain();
    await rewind();
    expect(await hasStandbySignal(one.dataDirectory)).toBe(true);
  });

  test('where pg_wal is on another file system, room is wanted there', async () => {
    const wal = join(at.root, 'wal');
    const own = join(one.dataDirectory, 'pg_wal');
    await complete();
    await writeSegments(6);
    await run('cp', ['-a', own, wal]);
    await rm(own, { recursive: true });
    await symlink(wal, own);
    await fill(30);
    try {
      await rewind();
      expect(await isRewindInterrupted(one.dataDirectory)).toBe(false);
    } finally {
      await rm(own);
      await drain();
      await run('cp', ['-a', wal, own]);
    }
  });

  test('a source that does not say what WAL it has is no obstacle', async () => {
    await complete();
    await sql(two, 'revoke pg_monitor from replicator');
    try {
      await rewind();
      expect(await isRewindInterrupted(one.dataDirectory)).toBe(false);
    } finally {
      await sql(two, 'grant pg_monitor to replicator');
    }
  });

  test('a clone takes the room of a directory whose rewind was interrupted, and not that of another', async () => {
    // Room for less than a clone beside the old directory.
    await fill(40);
    const { systemIdentifier } = await readControlData(one.dataDirectory);
    await expect(clone(one)).rejects.toThrow(/^cannot clone .* WAL that comes meanwhile/);
    expect((await readControlData(one.dataDirectory)).systemIdentifier).toBe(systemIdentifier);
    await writeFile(rewindMarker(one.dataDirectory), '');
    notes.length = 0;
    await clone(one);
    expect(notes).toEqual([
      `${one.dataDirectory} is removed before the clone, to make room: its rewind was interrupted, so it is of no use`,
    ]);
    expect(await isRewindInterrupted(one.dataDirectory)).toBe(false);
    expect(existsSync(`${one.dataDirectory}.pg_sentinel_replaced`)).toBe(false);
    await start(one);
    await caughtUp();
    await stop(one);
  });

  test('where even that does not suffice the clone is refused, and succeeds once there is room', async () => {
    await drain();
    await fill(0);
    await writeFile(rewindMarker(one.dataDirectory), '');
    await sql(
      two,
      'create table public.large as select g, repeat(md5(g::text), 50) from generate_series(1, 100000) g',
    );
    await checkpoint(two.session, QUERY);
    await expect(clone(one)).rejects.toThrow(/^cannot clone /);
    expect(await isRewindInterrupted(one.dataDirectory)).toBe(false);
    expect(await readdir(disk)).toEqual(['ballast']);
    await drain();
    await clone(one);
    await start(one);
    await caughtUp();
  });
});
