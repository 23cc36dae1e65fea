import { describe, expect, test } from 'vitest';
import { peerId, term } from '../base/ids.ts';
import type { Raft } from '../raft/state.ts';
import { DEFAULT_RAFT_SETTINGS } from '../raft/types.ts';
import { BUSY_TICK_MS, nextTickMs } from './next-tick.ts';

type Watched = Parameters<typeof nextTickMs>[0];
const durability = (change: object = {}) =>
  ({ writes: [], stalled: false, ...change }) as unknown as Raft['durability'];
const leading = (change: object = {}) =>
  ({ heartbeatDueMs: 1060, transfer: undefined, reads: [], ...change }) as unknown as Raft['leading'];
const raft = (change: Partial<Watched> = {}): Watched => ({
  role: 'follower',
  electionDeadlineMs: 1700,
  leading: undefined,
  forwardedReads: new Map(),
  durability: durability(),
  settings: DEFAULT_RAFT_SETTINGS,
  ...change,
});

describe('an idle', () => {
  test('follower sleeps until it would stand for election', () => {
    expect(nextTickMs(raft(), 1000)).toBe(700);
  });

  test('leader sleeps until its next heartbeat', () => {
    expect(nextTickMs(raft({ role: 'leader', leading: leading() }), 1000)).toBe(60);
  });

  test('learner, whose deadline is long past, does not spin', () => {
    expect(nextTickMs(raft(), 5000)).toBe(100);
    expect(nextTickMs(raft({ electionDeadlineMs: 5000.4 }), 5000)).toBe(1);
  });
});

describe('a peer is ticked often', () => {
  const write = { ticket: 1, issuedAtMs: 0, lastIndex: 0 };
  test.each<[string, Partial<Watched>]>([
    ['while a write is under way', { durability: durability({ writes: [write] }) }],
    ['while its disk is stalled', { durability: durability({ stalled: true }) }],
    ['while a read waits for the leader', { forwardedReads: new Map([['r', 9]]) }],
    ['while the leader hands over', { leading: leading({ transfer: { to: peerId('b') } }) }],
    ['while the leader confirms a read', { leading: leading({ reads: [{ readId: 'r', term: term(1) }] }) }],
  ])('%s', (_, change) => {
    expect(nextTickMs(raft(change), 1000)).toBe(BUSY_TICK_MS);
  });
});
