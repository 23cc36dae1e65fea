// Whether a standby can follow directly: its WAL lies on the log's history of timelines, not beyond where one was left.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, test, vi } from 'vitest';
import { makeMemberId, nodeId, timeline } from '../base/ids.ts';
import { lsn } from '../base/lsn.ts';
import type { TimelineBranch } from '../cluster/state.ts';
import type { Upstream } from '../failover/duties.ts';
import type { WalReceiver } from '../postgres/role.ts';
import { carryOutFollow, followObstacle, isFollowing, isReconnecting, strayHistory } from './follow-duty.ts';
import { markOpened } from '../postgres/opened-marker.ts';
import { FOLLOW, fakeContext } from './testing/context.ts';

const at = (on: number, position: number) => ({ timeline: timeline(on), position: lsn(BigInt(position)) });
const branch = (on: number, parent: number, from: number): TimelineBranch => ({
  timeline: timeline(on),
  parent: timeline(parent),
  switchLsn: lsn(BigInt(from)),
});
const upstream = (on: number, from?: ReturnType<typeof at>): Upstream => ({
  node: nodeId('b'),
  host: 'b',
  port: 5432,
  timeline: timeline(on),
  from,
  isReady: from === undefined,
});

/** 1 ─100→ 2 ─150→ 4; timeline 3 was given up. */
const BRANCHES = [branch(2, 1, 100), branch(4, 2, 150)];

describe('a standby can follow', () => {
  test.each([
    ['on the same timeline', at(4, 500)],
    ['from the timeline before, at the switch point', at(2, 150)],
    ['from the timeline before, below it', at(2, 120)],
    ['from further back', at(1, 100)],
  ])('%s', (_, standing) => {
    expect(followObstacle(standing, upstream(4), BRANCHES)).toBeUndefined();
  });

  test('a candidate that is only being promoted, from where that stood', () => {
    expect(followObstacle(at(2, 150), upstream(4, at(2, 150)), [branch(2, 1, 100)])).toBeUndefined();
    expect(followObstacle(at(1, 90), upstream(4, at(2, 150)), [branch(2, 1, 100)])).toBeUndefined();
  });
});

describe('a standby cannot follow', () => {
  test.each([
    [
      'beyond the switch point',
      at(2, 151),
      /its timeline 2, 0\/97 lies beyond 0\/96, where timeline 4 began/,
    ],
    ['beyond an earlier one', at(1, 101), /lies beyond 0\/64, where timeline 2 began/],
    [
      'from a timeline that was given up',
      at(3, 1),
      /its timeline 3, 0\/1 is not on the history of timeline 4/,
    ],
    ['from a timeline above', at(5, 1), /is not on the history of timeline 4/],
  ])('%s', (_, standing, reason) => {
    expect(followObstacle(standing, upstream(4), BRANCHES)).toMatch(reason);
  });

  test('a candidate below it', () => {
    expect(followObstacle(at(1, 101), upstream(2, at(1, 100)), [])).toMatch(/lies beyond/);
  });

  test('where the log does not know a timeline in between', () => {
    expect(followObstacle(at(1, 50), upstream(4), [branch(4, 2, 150)])).toMatch(/not on the history/);
  });
});

describe('a standby whose stream has ended', () => {
  afterEach(() => vi.useRealTimers());

  const following = () => {
    vi.useFakeTimers({ toFake: ['performance'] });
    const context = fakeContext({ dataDirectory: '/nowhere' });
    const postmasterPid = context.instance.postmaster()?.pid ?? 0;
    context.notes.followed = { from: 'b:5432 timeline 4', postmasterPid, lostMs: undefined };
    return context;
  };

  test('is left to connect again by itself, for a while', () => {
    const context = following();
    expect(isReconnecting(context, upstream(4))).toBe(true);
    vi.advanceTimersByTime(1000);
    expect(isReconnecting(context, upstream(4))).toBe(true);
    vi.advanceTimersByTime(600);
    expect(isReconnecting(context, upstream(4))).toBe(false);
  });

  test('is turned at once to another upstream, or to another timeline', () => {
    expect(isReconnecting(following(), { ...upstream(4), port: 5433 })).toBe(false);
    expect(isReconnecting(following(), upstream(5))).toBe(false);
  });

  test('is seen to at once after a start or a cut', () => {
    const restarted = following();
    restarted.notes.followed = { from: 'b:5432 timeline 4', postmasterPid: 1, lostMs: undefined };
    expect(isReconnecting(restarted, upstream(4))).toBe(false);
    const cut = following();
    cut.notes.followed = undefined;
    expect(isReconnecting(cut, upstream(4))).toBe(false);
  });
});

test.each<[string, string | undefined, boolean]>([
  ['as this member', 'c_00000001', true],
  ['as an earlier member', 'c_00000002', false],
  ['without a slot, as one that is left of a fetch of WAL does', undefined, false],
])('whoever streams %s', (_, slotName, follows) => {
  const receiver: WalReceiver = {
    ...{ stream: '7 1.5', status: 'streaming', senderHost: 'b', senderPort: 5432, slotName },
    ...{ receivedTimeline: timeline(1), flushedLsn: lsn(1n) },
  } as WalReceiver;
  const context = { localMember: () => makeMemberId(nodeId('c'), '00000001') };
  expect(isFollowing(context, { receiver }, upstream(1))).toBe(follows);
});

describe('its own history', () => {
  const directory = mkdtempSync(join(tmpdir(), 'pg-sentinel-history-'));
  mkdirSync(join(directory, 'pg_wal'));
  writeFileSync(join(directory, 'pg_wal/00000002.history'), '1\t0/64\tno reason\n');
  afterAll(() => rmSync(directory, { recursive: true }));
  const stray = (branches: readonly TimelineBranch[], to = upstream(2)) =>
    strayHistory(directory, at(2, 120), { upstream: to, branches, inherited: [] });

  test('may be that of the same numbers, and another one all the same', async () => {
    expect(await stray([branch(2, 1, 90)])).toMatch(/timeline 2 began elsewhere than the log says/);
    expect(await stray([], upstream(2, at(1, 90)))).toMatch(/timeline 2 began elsewhere/);
  });

  test('is no obstacle where it says the same, or says nothing', async () => {
    expect(await stray([branch(2, 1, 100)])).toBeUndefined();
    expect(await stray([], upstream(2, at(1, 100)))).toBeUndefined();
    expect(
      await strayHistory(directory, at(3, 120), { upstream: upstream(3), branches: [], inherited: [] }),
    ).toBeUndefined();
  });

  test('is compared with that of the other site, too, and not at all in a group that never followed one', async () => {
    const to = { upstream: upstream(3, at(2, 130)), branches: [] };
    expect(await strayHistory(directory, at(2, 120), { ...to, inherited: [branch(2, 1, 90)] })).toMatch(
      /timeline 2 began elsewhere/,
    );
    expect(
      await strayHistory(directory, at(2, 120), { ...to, branches: [branch(2, 1, 90)] }),
    ).toBeUndefined();
  });
});

test('a node that was opened while its group followed another site is copied anew, however it stands', async () => {
  const dataDirectory = mkdtempSync(join(tmpdir(), 'pg-sentinel-opened-'));
  const member = makeMemberId(nodeId('a'), '00000001');
  const said: string[] = [];
  const context = fakeContext({ dataDirectory });
  const site = { history: undefined, opened: timeline(20) };
  const group = { systemIdentifier: '77', toAdopt: [], phase: { kind: 'running' } };
  Object.assign(context, {
    systemIdentifier: '77',
    dataDirectory: () =>
      Promise.resolve({ kind: 'ready', control: { systemIdentifier: '77' }, member: { memberId: member } }),
    registration: () => ({ member }),
    group: () => ({ ...group, site }),
    activity: (_: string, message: string) => said.push(message),
  });
  const running = { kind: 'standby', walReceiver: undefined, synchronousStandbyNames: 'nobody' };
  Object.assign(context.instance, { readRole: () => Promise.resolve(running) });
  const duty = { ...FOLLOW, upstream: { ...FOLLOW.upstream, isReady: false } };
  const pass = () => carryOutFollow(context, duty, new AbortController().signal).catch(() => undefined);
  try {
    await markOpened({ dataDirectory, member, owner: undefined });
    await pass();
    expect(said).toEqual([expect.stringMatching(/must be cloned \(somebody opened it for writes/)]);
    Object.assign(context, { group: () => group });
    said.length = 0;
    await pass();
    expect(said.join()).not.toMatch(/opened it/);
  } finally {
    rmSync(dataDirectory, { recursive: true });
  }
});
