// Sessions: every proposal counts once, whatever is sent twice, late or out of order; and the level of features.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { logIndex, peerId } from '../base/ids.ts';
import type { Command } from './commands.ts';
import { SESSION_EXPIRED } from './apply-peers.ts';
import { lastEvent, listEvents } from './event-list.ts';
import { type ClusterState, DONE_COUNT_MAX, type PeerState } from './state.ts';
import {
  A,
  ALONE,
  B,
  type Log,
  MB,
  P1,
  P2,
  P3,
  at,
  fencing,
  membershipOf,
  newLog,
  opening,
  registration,
  running,
} from './testing/example.ts';

const P4 = peerId('p4');
const RUN1 = 'p1-run1';
const opened = (): Log => {
  const log = newLog();
  log.must(opening(log));
  return log;
};
const stateOf = (log: Log, peer = P1): PeerState | undefined => log.state.peers.get(peer);
/** What the log holds beside what it remembers of the peers and what it tells people. */
const effects = ({ groups, nodes, featureLevel }: ClusterState) => ({ groups, nodes, featureLevel });

describe('opening a session', () => {
  test('registers the peer with its store', () => {
    const log = opened();
    expect(stateOf(log)).toEqual({
      peer: P1,
      store: 'p1-store',
      session: RUN1,
      openedAt: 1,
      floor: 1,
      done: [],
      features: 1,
    });
  });

  test('of a later run replaces the one before, whose proposals are refused from then on', () => {
    const log = opened();
    log.must(opening(log, P1, { session: 'p1-run2' }));
    expect(stateOf(log)).toMatchObject({ session: 'p1-run2', openedAt: 2, floor: 1 });
    const before = log.state;
    expect(log.commit(registration(A), { session: RUN1, sequence: 1 })).toBe(SESSION_EXPIRED);
    expect(log.state).toEqual({ ...before, appliedIndex: 3 });
    expect(log.commit(registration(A), { session: 'p1-run2', sequence: 1 })).toBeUndefined();
  });

  test('again, while it is the present one, changes nothing', () => {
    const log = opened();
    log.must(registration(A));
    log.commit(registration(B), { session: RUN1, sequence: 1 });
    const before = stateOf(log);
    expect(log.commit(opening(log))).toBeUndefined();
    expect(stateOf(log)).toBe(before);
  });

  test('that was replaced does not come back with a late copy: its proposals could count twice', () => {
    const log = newLog();
    const late = opening(log);
    log.must(late);
    log.commit(registration(A), { session: RUN1, sequence: 1 });
    log.must(opening(log, P1, { session: 'p1-run2' }));
    expect(log.commit(late)).toMatch(/before the present session of p1 was known/);
    expect(stateOf(log)?.session).toBe('p1-run2');
  });

  test('is refused to a peer with another store, until it was removed and added again', () => {
    const log = opened();
    const wiped = opening(log, P1, { session: 'p1-run2', store: 'new' });
    expect(log.commit(wiped)).toMatch(/disk was replaced.*remove it and add it again/);
    expect(stateOf(log)?.store).toBe('p1-store');
    log.change(membershipOf([P2, P3]));
    expect(log.commit(wiped)).toMatch(/p1 is not a member/);
    log.change(membershipOf([P2, P3], { learners: [P1] }));
    expect(log.commit(wiped), 'a copy from before').toMatch(/before the present session/);
    log.must({ ...wiped, seenIndex: log.state.appliedIndex });
    expect(stateOf(log)).toMatchObject({ store: 'new', session: 'p1-run2' });
  });

  test('is for members only', () => {
    const log = newLog();
    expect(log.commit(opening(log, P4))).toMatch(/p4 is not a member/);
    log.change({ learners: [P4] });
    log.must(opening(log, P4));
  });

  test('is refused to a version that lacks a level in use', () => {
    const log = newLog();
    for (const peer of [P1, P2, P3]) log.must(opening(log, peer, { features: 2 }));
    log.must({ kind: 'set-feature-level', level: 2 });
    expect(log.commit(opening(log, P1, { session: 'p1-run2' }))).toMatch(/level 2 is in use: upgrade it/);
  });
});

describe('a proposal', () => {
  const change = (log: Log): Command => at(log).change({ members: [MB], acks: 1 });

  test('that comes twice counts once, and is not told again', () => {
    const log = running();
    log.must(opening(log));
    log.commit(change(log), { session: RUN1, sequence: 1 });
    const after = log.state;
    expect(log.commit(at(log).change(ALONE), { session: RUN1, sequence: 1 })).toBeUndefined();
    expect(log.state).toEqual({ ...after, appliedIndex: after.appliedIndex + 1 });
  });

  test('is not taken the second time where it was refused the first time', () => {
    const log = fencing();
    log.must(opening(log));
    expect(log.commit(at(log).resume(), { session: RUN1, sequence: 1 })).toMatch(/for down/);
    log.must(at(log).up(P1), at(log).up(P2));
    log.commit(at(log).resume(), { session: RUN1, sequence: 1 });
    expect(log.group.phase.kind).toBe('fencing');
  });

  test('that overtakes others is remembered until they have come', () => {
    const log = opened();
    for (const sequence of [3, 2, 5]) log.commit(registration(A), { session: RUN1, sequence });
    expect(stateOf(log)).toMatchObject({ floor: 1, done: [2, 3, 5] });
    log.commit(registration(A), { session: RUN1, sequence: 1 });
    expect(stateOf(log)).toMatchObject({ floor: 4, done: [5] });
    log.commit(registration(A), { session: RUN1, sequence: 4 });
    expect(stateOf(log)).toMatchObject({ floor: 6, done: [] });
  });

  test('that its proposer gave up has no effect any more', () => {
    const log = opened();
    log.commit(registration(A), { session: RUN1, sequence: 4, answeredBelow: 3 });
    expect(stateOf(log)).toMatchObject({ floor: 3, done: [4] });
    const before = effects(log.state);
    for (const sequence of [1, 2]) log.commit(registration(B), { session: RUN1, sequence });
    expect(effects(log.state)).toEqual(before);
    log.commit(registration(B), { session: RUN1, sequence: 3 });
    expect(log.state.nodes.size).toBe(2);
  });

  test('is refused where too many came before one that is still waited for', () => {
    const log = opened();
    for (let sequence = 2; sequence < 2 + DONE_COUNT_MAX; sequence += 1)
      log.commit(registration(A), { session: RUN1, sequence });
    expect(stateOf(log)?.done).toHaveLength(DONE_COUNT_MAX);
    const sequence = 2 + DONE_COUNT_MAX;
    expect(log.commit(registration(B), { session: RUN1, sequence })).toMatch(/more than 1000 proposals/);
    expect(log.state.nodes.has(B)).toBe(false);
    expect(log.commit(registration(B), { session: RUN1, sequence, answeredBelow: 3 })).toBeUndefined();
    expect(stateOf(log)).toMatchObject({ floor: sequence + 1, done: [] });
  });

  test('of no session, from before there were any, is applied as often as it comes', () => {
    const log = newLog();
    expect(log.commit(registration(A))).toBeUndefined();
    expect(log.commit(registration(A))).toBeUndefined();
    expect(listEvents(log.state.events)).toHaveLength(2);
  });

  test('counts exactly once, in whatever order and however often its copies come', () => {
    const copies = fc.array(fc.integer({ min: 1, max: 12 }), { maxLength: 60 });
    fc.assert(
      fc.property(copies, (sequences) => {
        const log = opened();
        const counted: number[] = [];
        for (const sequence of sequences) {
          const before = listEvents(log.state.events).length;
          log.commit(registration(A), { session: RUN1, sequence });
          if (listEvents(log.state.events).length > before) counted.push(sequence);
        }
        expect(counted).toEqual([...new Set(sequences)]);
      }),
    );
  });
});

describe('the feature level', () => {
  test('rises by one once every voter and learner is known to understand it', () => {
    const log = newLog();
    log.change({ learners: [P4] });
    const raise = (level = 2) => log.commit({ kind: 'set-feature-level', level });
    for (const peer of [P1, P2]) log.must(opening(log, peer, { features: 3 }));
    log.must(opening(log, P3, { features: 1 }));
    expect(raise()).toMatch(/not known to understand feature level 2: p3, p4/);
    log.must(opening(log, P3, { session: 'p3-run2', features: 2 }), opening(log, P4, { features: 2 }));
    expect(raise(3)).toMatch(/the next is not 3/);
    expect(raise()).toBeUndefined();
    expect(log.state.featureLevel).toBe(2);
    expect(raise()).toMatch(/is 2: the next is not 2/);
    expect(raise(3)).toMatch(/level 3: p3, p4/);
    expect(lastEvent(log.state.events)).toMatchObject({ index: logIndex(log.state.appliedIndex) });
  });
});
