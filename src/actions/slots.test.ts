// Slots of other members: made, made anew where they are lost, dropped where they are nobody's; and what is said of the WAL they keep.
import { describe, expect, test } from 'vitest';
import { makeMemberId, nodeId } from '../base/ids.ts';
import type { Upkeep } from '../cluster/report.ts';
import { slotWarnings } from '../cluster/slot-warnings.ts';
import { createSlotWatch } from './slot-watch.ts';
import { advanceIdleSlots, keepSlots, lookAfterSlots, slotNote } from './slots.ts';
import { STANDBY, fakeContext } from './testing/context.ts';

const OTHER = makeMemberId(nodeId('c'), '00000001');
const row = (name: string, more: object = {}) => ({
  ...{
    slot_name: name,
    active_pid: null,
    restart_lsn: '0/1000000',
    wal_status: 'reserved',
    holds_rows: false,
  },
  ...more,
});

async function kept(rows: readonly object[], room = Infinity) {
  const done: string[] = [];
  let left = room;
  const context = fakeContext({
    dataDirectory: '/nowhere',
    query: (text) => {
      if (text.includes('pg_create_physical')) {
        if (left === 0) throw Object.assign(new Error('all replication slots are in use'), { code: '53400' });
        left -= 1;
        done.push('create');
      }
      if (text.includes('pg_drop_replication_slot')) {
        done.push('drop');
        left += 1;
        return [{}];
      }
      return text.startsWith('select slot_name') ? rows : [];
    },
  });
  const signal = new AbortController().signal;
  const failure = await keepSlots(context, [STANDBY, OTHER], signal).catch((error: unknown) => String(error));
  return { done, announced: context.announced, failure };
}

test('slots that PostgreSQL has no room for are said, and fail no pass', async () => {
  const room = { error: undefined as Error | undefined };
  const context = fakeContext({
    dataDirectory: '/nowhere',
    query: (text) => {
      if (text.includes('pg_create_physical') && room.error !== undefined) throw room.error;
      return [];
    },
  });
  const logged: string[] = [];
  const once = (_key: string, work: () => Promise<void>): Promise<void> => work();
  Object.assign(context, { once, log: (_level: string, text: string) => logged.push(text) });
  let rests = 0;
  const look = (): Promise<void> =>
    lookAfterSlots(context, [STANDBY], new AbortController().signal, () => {
      rests += 1;
      return Promise.resolve();
    });
  room.error = Object.assign(new Error('all replication slots are in use'), { code: '53400' });
  await look();
  await look();
  const problem = 'replication slots of members cannot all be kept: all replication slots are in use';
  expect({ logged, said: context.notes.slotProblem, rests }).toEqual({
    logged: [problem],
    said: problem,
    rests: 2,
  });
  room.error = undefined;
  await look();
  expect(context.notes.slotProblem).toBeUndefined();
  // What it has not said is no state to live with.
  room.error = new Error('no answer');
  await expect(look()).rejects.toThrow('no answer');
  expect(rests).toBe(4);
});

test('where PostgreSQL refuses the list of slots that readers wait for, for want of one, that is said', () => {
  const context = fakeContext({ dataDirectory: '/nowhere', instance: { logicalSlots: () => [{}] as never } });
  const note = (readerLimit: string | undefined, waits = true): string | undefined =>
    slotNote(context, { readerLimit, waits });
  expect(note('')).toBeUndefined();
  context.notes.slotProblem = 'no room';
  expect(note('')).toBe('no room; nothing holds consumers of logical slots back meanwhile');
  expect([note('', false), note(undefined), note(STANDBY)]).toEqual(['no room', 'no room', 'no room']);
});

describe('a slot', () => {
  test('that is there is left alone, one that is missing is made, one that is nobody\u2019s is dropped', async () => {
    expect((await kept([row(STANDBY), row(OTHER)])).done).toEqual([]);
    expect((await kept([row(STANDBY)])).done).toEqual(['create']);
    const gone = makeMemberId(nodeId('c'), '00000002');
    expect((await kept([row(STANDBY), row(OTHER), row(gone)])).done).toEqual(['drop']);
    expect((await kept([row(STANDBY), row(OTHER), row('theirs')])).done).toEqual([]);
    // It ends as ours do, and begins with the name of no node.
    expect((await kept([row(STANDBY), row(OTHER), row('theirs_deadbeef')])).done).toEqual([]);
  });

  test('that is nobody\u2019s makes room for one that is missing', async () => {
    const gone = makeMemberId(nodeId('c'), '00000002');
    expect(await kept([row(gone), row(STANDBY)], 0)).toMatchObject({
      ...{ done: ['drop', 'create'], failure: undefined },
    });
  });

  test('that cannot be made does not keep others from being made and dropped', async () => {
    const gone = makeMemberId(nodeId('c'), '00000002');
    expect(await kept([row(gone)], 0)).toMatchObject({
      ...{ done: ['drop', 'create'], failure: 'Error: all replication slots are in use' },
    });
  });

  test('that is in use is not dropped', async () => {
    const gone = makeMemberId(nodeId('c'), '00000002');
    expect((await kept([row(STANDBY), row(OTHER), row(gone, { active_pid: 7 })])).done).toEqual([]);
  });

  test('that is lost is made anew, which is announced', async () => {
    const lost = row(OTHER, { wal_status: 'lost', restart_lsn: null });
    const { done, announced } = await kept([row(STANDBY), lost]);
    expect(done).toEqual(['drop', 'create']);
    expect(announced).toEqual([expect.stringMatching(/c_00000001 is lost.*max_slot_wal/) as unknown]);
    expect((await kept([row(STANDBY), { ...lost, active_pid: 7 }])).done).toEqual([]);
  });
});

const MB = 2 ** 20;

test('slots that nobody reads are moved on: on a standby to its end, on a primary so that a cascading standby finds some WAL', async () => {
  const advancedTo = async (end: string, only?: readonly string[]) => {
    const to: unknown[] = [];
    const context = fakeContext({ dataDirectory: '/nowhere' });
    const query = (text: string, values: readonly unknown[] = []) => {
      if (text.includes('slot_advance')) to.push(values);
      return Promise.resolve(text.startsWith('select slot_name') ? [row(STANDBY)] : [{ end }]);
    };
    Object.assign(context.instance.session, { query });
    await advanceIdleSlots(context, only === undefined ? {} : { only }, new AbortController().signal);
    return to;
  };
  // The slot stands at 16 MB.
  expect(await advancedTo('0/4FFFFFF')).toEqual([]);
  expect(await advancedTo('0/5000000')).toEqual([[STANDBY, '0/5000000']]);
  expect(await advancedTo('0/8FFFFFF', [STANDBY])).toEqual([]);
  expect(await advancedTo('0/9000000', [STANDBY])).toEqual([[STANDBY, '0/5000000']]);
  expect(await advancedTo('0/9000000', [OTHER])).toEqual([]);
});

test('an idle slot that keeps dead rows for a former follower is made anew; one that is in use, read here or not ours is left', async () => {
  const renewed = async (slots: readonly object[], options: { readers?: string[]; only?: string[] } = {}) => {
    const names: unknown[] = [];
    const context = fakeContext({ dataDirectory: '/nowhere' });
    const query = (text: string, values: readonly unknown[] = []) => {
      if (text.includes('pg_drop_replication_slot')) names.push(values[0]);
      return Promise.resolve(text.startsWith('select slot_name') ? slots : [{ end: '0/1000000' }]);
    };
    Object.assign(context.instance.session, { query });
    await advanceIdleSlots(context, options, new AbortController().signal);
    return names;
  };
  const holding = { holds_rows: true };
  expect(await renewed([row(STANDBY, holding), row(OTHER), row('theirs', holding)])).toEqual([STANDBY]);
  expect(await renewed([row(STANDBY, { ...holding, active_pid: 7 })])).toEqual([]);
  expect(await renewed([row(STANDBY, holding)], { readers: [STANDBY] })).toEqual([]);
  expect(await renewed([row(STANDBY, holding), row(OTHER, holding)], { only: [OTHER] })).toEqual([OTHER]);
});
const upkeep = (slots: Upkeep['slots'], freeBytes = 2 ** 40): Upkeep => ({
  dataDisk: undefined,
  walDisk: { freeBytes, totalBytes: 2 ** 41 },
  slots,
  archiver: undefined,
  readyCount: undefined,
  pendingRestart: undefined,
});

describe('a warning', () => {
  const kinds = (slots: Upkeep['slots'], freeBytes?: number) =>
    [...slotWarnings(upkeep(slots, freeBytes))].map(({ kind }) => kind);

  test.each<[string, Upkeep['slots'], number | undefined, string[]]>([
    ['four fifths of the budget', { keptBytes: 80, most: 'x', safeBytes: 20 }, undefined, ['budget']],
    ['less', { keptBytes: 79, most: 'x', safeBytes: 21 }, undefined, []],
    ['no budget', { keptBytes: 2 ** 30, most: 'x' }, undefined, []],
    ['more than the disk has free', { keptBytes: 512 * MB, most: 'x' }, 512 * MB, ['disk']],
    ['less than the disk has free', { keptBytes: 512 * MB, most: 'x' }, 513 * MB, []],
    ['what PostgreSQL keeps anyway, on a small disk', { keptBytes: 255 * MB, most: 'x' }, MB, []],
    ['beyond it', { keptBytes: 9, most: 'x', safeBytes: 0, unreserved: ['x'] }, undefined, ['unreserved']],
    ['lost', { keptBytes: 0, most: undefined, lost: ['x'] }, undefined, ['lost']],
    ['left on a former primary', { keptBytes: 0, most: undefined, leftLogical: ['x'] }, undefined, ['left']],
    ['nothing known', undefined, undefined, []],
  ])('%s', (_, slots, freeBytes, expected) => expect(kinds(slots, freeBytes)).toEqual(expected));
});

test('each matter is announced once, again after half an hour of it, and at once when it comes back', () => {
  const scene = { nowMs: 0, said: [] as string[], withdrawn: [] as string[] };
  const watch = createSlotWatch({
    // An announcement makes a report, which looks again.
    announce: (message) => {
      scene.said.push(message);
      watch.look(bad);
    },
    withdraw: (message) => void scene.withdrawn.push(message),
    nowMs: () => scene.nowMs,
  });
  const bad = upkeep({ keptBytes: 90, most: 'x', safeBytes: 10 });
  const good = upkeep({ keptBytes: 0, most: 'x', safeBytes: 100 });
  const countAt = (nowMs: number, seen: Upkeep): number => {
    scene.nowMs = nowMs;
    watch.look(seen);
    return scene.said.length;
  };
  expect(countAt(0, good)).toBe(0);
  expect(countAt(1, bad)).toBe(1);
  expect(countAt(2, upkeep({ keptBytes: 91, most: 'x', safeBytes: 9 }))).toBe(1);
  expect(countAt(3, upkeep(undefined))).toBe(1);
  expect(countAt(4, bad)).toBe(1);
  expect(scene.withdrawn).toEqual([]);
  const worse = upkeep({ keptBytes: 95, most: 'x', safeBytes: 5 });
  expect(countAt(1_800_001, worse)).toBe(2);
  // With figures of half an hour ago.
  expect(scene.withdrawn).toEqual(scene.said.slice(0, 1));
  expect(countAt(1_800_002, good)).toBe(2);
  expect(scene.withdrawn).toEqual(scene.said);
  expect(countAt(1_800_003, bad)).toBe(3);
});
