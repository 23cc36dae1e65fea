import { describe, expect, test } from 'vitest';
import { membershipOf } from './testing/codec.ts';
import {
  acknowledges,
  at,
  committedIn,
  configEntry,
  effectOf,
  entry,
  leaderUnderTest,
  logOf,
  of,
  P1,
  P2,
  P3,
  P4,
  peerUnderTest,
  sentTo,
} from './testing/peer.ts';
import type { PeerUnderTest } from './testing/peer.ts';
import type { ChangeRefusal, MembershipChange, RaftEffect } from './types.ts';

const ADD_P4: MembershipChange = { kind: 'add-learner', peer: P4, address: 'p4:1' };

const change = (peer: PeerUnderTest, wanted: MembershipChange): RaftEffect[] =>
  peer.step({ kind: 'change-membership', changeId: 'c', change: wanted });
const refused = (reason: ChangeRefusal) => ({ kind: 'change-refused', changeId: 'c', reason });

/** A leader whose first entry is committed. */
function settledLeader(options: Parameters<typeof peerUnderTest>[0] = {}): PeerUnderTest {
  const leader = leaderUnderTest(options);
  const last = leader.raft.leading?.termStartIndex ?? 0;
  for (const voter of leader.raft.membership.voters) if (voter !== P1) acknowledges(leader, voter, last);
  expect(leader.raft.commitIndex).toBe(last);
  return leader;
}

/** Makes the change and has everybody in it acknowledge it. */
function make(leader: PeerUnderTest, wanted: MembershipChange): RaftEffect[] {
  const effects = change(leader, wanted);
  leader.persist();
  const { membershipIndex, membership } = leader.raft;
  for (const peer of [...membership.voters, ...membership.learners]) {
    if (peer !== P1) effects.push(...acknowledges(leader, peer, membershipIndex));
  }
  return effects;
}

describe('a membership change', () => {
  test('is in force at once: the new learner is replicated to, and the entry is written', () => {
    const leader = settledLeader();
    const effects = change(leader, ADD_P4);
    const after = membershipOf([P1, P2, P3], [P4]);
    expect(effectOf(effects, 'membership')?.membership).toEqual(after);
    expect(effectOf(effects, 'persist')?.entries).toEqual([configEntry(2, 1, after)]);
    expect(sentTo(effects, P4)).toMatchObject([
      { kind: 'append-request', prevIndex: 1, entries: [{ index: 2 }] },
    ]);
    expect([leader.raft.membershipIndex, leader.raft.commitIndex]).toEqual([2, 1]);
  });

  test('goes through all its kinds, one after the other', () => {
    const leader = settledLeader();
    make(leader, ADD_P4);
    make(leader, { kind: 'promote', peer: P4 });
    expect(leader.raft.membership).toEqual(membershipOf([P1, P2, P3, P4]));
    make(leader, { kind: 'remove', peer: P2 });
    expect(leader.raft.membership).toEqual(membershipOf([P1, P3, P4]));
    make(leader, { kind: 'move', peer: P3, address: 'elsewhere:7' });
    expect(leader.raft.membership.addresses.get(P3)).toBe('elsewhere:7');
    expect([...(leader.raft.leading?.progress.keys() ?? [])]).toEqual([P3, P4]);
    expect(leader.raft.commitIndex).toBe(leader.raft.membershipIndex);
  });

  test('is refused before the leader has committed an entry of its own term (the bug of 2015)', () => {
    const leader = leaderUnderTest({ log: logOf(1, 1) });
    expect(change(leader, ADD_P4)).toEqual([refused('not-ready')]);
    acknowledges(leader, P2, 3);
    expect(change(leader, ADD_P4)).not.toContainEqual(refused('not-ready'));
  });

  test('is refused while an earlier one is not committed, also one of an earlier leader', () => {
    const leader = settledLeader();
    change(leader, ADD_P4);
    expect(change(leader, { kind: 'remove', peer: P3 })).toEqual([refused('change-pending')]);
    leader.persist();
    acknowledges(leader, P2, 2);
    expect(change(leader, { kind: 'remove', peer: P3 })).not.toContainEqual(refused('change-pending'));

    const log = [entry(1, 1), configEntry(2, 1, membershipOf([P1, P2, P3], [P4]))];
    const heir = leaderUnderTest({ log });
    expect(heir.raft.membershipIndex).toBe(2);
    expect(change(heir, { kind: 'remove', peer: P4 })).toEqual([refused('not-ready')]);
    acknowledges(heir, P2, 3);
    expect(change(heir, { kind: 'remove', peer: P4 })).not.toContainEqual(
      expect.objectContaining(refused('not-ready')),
    );
  });

  test('is refused during a transfer, and by one that does not lead', () => {
    const leader = settledLeader();
    leader.step({ kind: 'transfer', to: P2 });
    expect(change(leader, ADD_P4)).toEqual([refused('transferring')]);
    expect(change(peerUnderTest({}), ADD_P4)).toEqual([refused('not-leader')]);
  });

  test.each<[string, MembershipChange, ChangeRefusal]>([
    ['adding a voter', { kind: 'add-learner', peer: P2, address: 'p2:1' }, 'already-member'],
    ['adding a learner again', { kind: 'add-learner', peer: P4, address: 'p4:2' }, 'already-member'],
    ['promoting a voter', { kind: 'promote', peer: P2 }, 'already-member'],
    ['promoting a stranger', { kind: 'promote', peer: 'p9' as typeof P1 }, 'unknown-peer'],
    ['promoting one that lacks what is committed', { kind: 'promote', peer: P4 }, 'learner-behind'],
    ['removing a stranger', { kind: 'remove', peer: 'p9' as typeof P1 }, 'unknown-peer'],
    ['moving a stranger', { kind: 'move', peer: 'p9' as typeof P1, address: 'a:1' }, 'unknown-peer'],
  ])('is refused where it makes no sense: %s', (_, wanted, reason) => {
    const leader = settledLeader({ learners: [P4] });
    expect(change(leader, wanted)).toEqual([refused(reason)]);
  });

  test('promotes nobody that does not answer, or with whom too few would', () => {
    const leader = settledLeader({ voters: [P1], learners: [P4] });
    leader.persist();
    acknowledges(leader, P4, 1);
    leader.wait(leader.raft.settings.electionMs);
    expect(change(leader, { kind: 'promote', peer: P4 })).toEqual([refused('no-contact')]);
    acknowledges(leader, P4, 1);
    expect(change(leader, { kind: 'promote', peer: P4 })).not.toContainEqual(refused('no-contact'));

    const three = settledLeader({ learners: [P4] });
    acknowledges(three, P4, 1);
    three.wait(three.raft.settings.electionMs - 1);
    acknowledges(three, P4, 1);
    three.wait(1);
    // P2 and P3 are silent: two of four would never commit the entry that makes them four.
    expect(change(three, { kind: 'promote', peer: P4 })).toEqual([refused('no-contact')]);
  });

  test('never removes the last voter, but may remove its learners', () => {
    const leader = settledLeader({ voters: [P1], learners: [P4] });
    expect(change(leader, { kind: 'remove', peer: P1 })).toEqual([refused('last-voter')]);
    make(leader, { kind: 'remove', peer: P4 });
    expect(leader.raft.membership).toEqual(membershipOf([P1]));
  });

  test('gives a single voter a second one', () => {
    const leader = settledLeader({ voters: [P1] });
    leader.persist();
    expect(leader.raft.commitIndex).toBe(1);
    change(leader, ADD_P4);
    leader.persist();
    expect(leader.raft.commitIndex).toBe(2);
    acknowledges(leader, P4, 2);
    change(leader, { kind: 'promote', peer: P4 });
    leader.persist();
    expect(leader.raft.commitIndex).toBe(2);
    acknowledges(leader, P4, 3);
    expect(leader.raft.commitIndex).toBe(3);
  });
});

describe('the majority', () => {
  test('is that of the membership in force: a removal can commit what was waiting', () => {
    const leader = settledLeader({ voters: [P1, P2, P3, P4] });
    leader.step({ kind: 'propose', proposalId: 'a', data: new Uint8Array(1) });
    leader.persist();
    acknowledges(leader, P2, 2);
    expect(leader.raft.commitIndex).toBe(1);
    expect(committedIn(change(leader, { kind: 'remove', peer: P4 }))).toEqual([2]);
    expect(leader.raft.commitIndex).toBe(2);
  });

  test('counts a promoted learner from the moment it is promoted, and no one that was removed', () => {
    const leader = settledLeader({ learners: [P4] });
    acknowledges(leader, P4, 1);
    change(leader, { kind: 'promote', peer: P4 });
    leader.persist();
    acknowledges(leader, P2, 2);
    expect(leader.raft.commitIndex).toBe(1);
    acknowledges(leader, P4, 2);
    expect(leader.raft.commitIndex).toBe(2);
    make(leader, { kind: 'remove', peer: P2 });
    leader.step({ kind: 'propose', proposalId: 'a', data: new Uint8Array(1) });
    leader.persist();
    acknowledges(leader, P2, 4);
    expect(leader.raft.commitIndex).toBe(3);
  });
});

test('answers of a former member of the same name count for nothing', () => {
  const leader = settledLeader();
  make(leader, { kind: 'remove', peer: P3 });
  change(leader, { kind: 'add-learner', peer: P3, address: 'p3:2' });
  const activeAtMs = leader.raft.nowMs;
  leader.wait(10);
  const late = { kind: 'append-reply', term: of(1), round: 1, success: true, matchIndex: at(2) } as const;
  leader.receive(P3, { ...late, hintIndex: at(0), hintTerm: of(0) });
  leader.receive(P3, { kind: 'heartbeat-reply', term: of(1), round: 1 });
  expect(leader.raft.leading?.progress.get(P3)).toMatchObject({ match: 0, activeAtMs, answeredRound: 0 });
  acknowledges(leader, P3, 2);
  expect(leader.raft.leading?.progress.get(P3)).toMatchObject({ match: 2, activeAtMs: activeAtMs + 10 });
});
