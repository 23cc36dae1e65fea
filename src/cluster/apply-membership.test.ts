// What a membership that comes into force changes beside who counts: registrations, judgements, and after a recovery the groups.
import { describe, expect, test } from 'vitest';
import { logIndex, memberId, nodeId, peerId, timeline } from '../base/ids.ts';
import { applyMembership } from './apply-membership.ts';
import { emptyState } from './apply.ts';
import { hasUnknownRule } from './state.ts';
import {
  A,
  B,
  C,
  type Log,
  MA,
  MB,
  MC,
  P1,
  P2,
  P3,
  at,
  creating,
  fencing,
  membershipOf,
  newLog,
  opening,
  promoted,
  promoting,
  recovered,
  registration,
  running,
} from './testing/example.ts';

test('a membership is in force where it is applied; a quorum is counted on its voters', () => {
  const log = running();
  log.must(at(log).down(P1), at(log).down(P2));
  const five = membershipOf([P1, P2, P3, peerId('p4'), peerId('p5')]);
  log.change(five);
  expect(log.state).toMatchObject({ membership: five, membershipIndex: log.state.appliedIndex });
  expect(log.commit(at(log).begin())).toMatch(/fewer than 3 of 5 voters/);
});

test('the registration of a peer that leaves goes, that of one that becomes a learner stays', () => {
  const log = newLog();
  for (const peer of [P1, P2, P3]) log.must(opening(log, peer));
  log.change(membershipOf([P1], { learners: [P2] }));
  expect([...log.state.peers.keys()]).toEqual([P1, P2]);
});

test('what a former voter judged does not count when it comes back', () => {
  const log = running();
  log.must(at(log).down(P1), at(log).down(P2));
  log.change(membershipOf([P1, P3]));
  log.change(membershipOf([P1, P2, P3]));
  expect(log.state.nodes.get(A)?.subjectiveDown.map((entry) => entry.peer)).toEqual([P1]);
  expect(log.commit(at(log).begin())).toMatch(/fewer than 2 of 3 voters/);
});

test('a joining peer that is told who takes part has recovered nothing', () => {
  const joining = emptyState({ voters: [], learners: [], addresses: new Map(), incarnation: 0 });
  const state = applyMembership(joining, logIndex(1), membershipOf([P1], { incarnation: 3 }));
  expect(state).toMatchObject({ appliedIndex: 1, membership: { incarnation: 3 } });
});

test('a change within an incarnation leaves the groups as they are', () => {
  const log = running();
  const { group } = log;
  log.change(membershipOf([P1, P2]));
  expect(log.group).toBe(group);
});

describe('after a recovery', () => {
  const from: readonly (readonly [string, () => Log, string, number])[] = [
    ['creating', creating, 'a', 1],
    ['running', running, 'a', 1],
    ['fencing', fencing, 'a', 1],
    ['promoting', promoting, 'b', 2],
    ['promoted', promoted, 'b', 2],
  ];

  test.each(from)(
    'from %s every group is fenced at the new epoch, its rule unknown',
    (_, begin, primary, on) => {
      const log = recovered(begin());
      expect(log.group).toMatchObject({
        epoch: log.state.appliedIndex,
        phase: { kind: 'fencing', primary, timeline: on, cause: { kind: 'recovered' }, reports: [] },
        next: undefined,
        floor: undefined,
      });
      expect(hasUnknownRule(log.group)).toBe(true);
    },
  );

  test('nobody is promoted before every registered node has reported', () => {
    const log = recovered();
    log.must(at(log).cut(B, 100), at(log).cut(C, 90));
    expect(log.commit(at(log).promote(B, 2, { members: [MC], acks: 1 }))).toMatch(
      /all nodes of group main have to report first; not heard of: a/,
    );
    log.must(at(log).cut(A, 80));
    expect(log.commit(at(log).promote(C, 2, { members: [], acks: 0 }))).toMatch(/b holds more WAL than c/);
    log.must(at(log).promote(B, 2, { members: [MC], acks: 1 }));
    expect(log.group).toMatchObject({
      phase: { kind: 'promoting', primary: B, timeline: 2, previous: A },
      rule: { members: [MC], acks: 1 },
      floor: { timeline: 2, rule: { members: [MA, MB, MC], acks: 1 }, before: undefined },
    });
  });

  test('a node that was registered without a data directory is waited for too', () => {
    const log = running();
    log.must({ ...registration(nodeId('d')), host: 'd' });
    recovered(log);
    log.must(at(log).cut(A, 100), at(log).cut(B, 100), at(log).cut(C, 90));
    expect(log.commit(at(log).promote(A, 2, { members: [MC], acks: 1 }))).toMatch(/not heard of: d/);
  });

  test('the former primary is promoted where it holds the most, and must be', () => {
    const log = recovered();
    log.must(at(log).cut(A, 110), at(log).cut(B, 100), at(log).cut(C, 90));
    expect(log.commit(at(log).promote(B, 2, { members: [MC], acks: 1 }))).toMatch(/a holds more WAL than b/);
    log.must(at(log).promote(A, 2, { members: [MB, MC], acks: 1 }));
    expect(log.group.phase).toMatchObject({ kind: 'promoting', primary: A });
  });

  test('a timeline that the lost part of the log assigned counts, and is not assigned again', () => {
    const log = recovered();
    const on = { timeline: timeline(5) };
    log.must(at(log).cut(A, 300), at(log).cut(B, 100, on), at(log).cut(C, 100, on));
    expect(log.commit(at(log).promote(B, 5, { members: [MC], acks: 1 }))).toMatch(/not higher than 5/);
    log.must(at(log).promote(B, 6, { members: [MC], acks: 1 }));
  });

  test('a node that got another data directory in the lost part of the log registers it, and reports that', () => {
    const log = recovered();
    const other = memberId('a_00000002');
    log.must(at(log).cut(A, 100), at(log).cut(B, 100), at(log).cut(C, 90), registration(A, other));
    expect(log.commit(at(log).promote(B, 2, { members: [MC], acks: 1 }))).toMatch(/not heard of: a/);
    log.must(at(log).cut(A, 100, { member: other }), at(log).promote(B, 2, { members: [MC], acks: 1 }));
  });

  test('the group is not given back, nor fenced once more', () => {
    const log = recovered();
    expect(log.commit(at(log).resume())).toMatch(/was recovered: a node of it can only be promoted/);
    log.must(at(log).down(P1));
    expect(log.commit(at(log).begin())).toMatch(/is fencing already/);
  });

  test('what was said at an epoch before it is refused', () => {
    const log = fencing();
    const late = at(log).cut(B, 100);
    recovered(log);
    expect(log.commit(late)).toMatch(/is at epoch/);
  });

  test('the next failover asks for the switch point, or for all nodes again', () => {
    const log = recovered();
    log.must(at(log).cut(A, 80), at(log).cut(B, 100), at(log).cut(C, 90));
    log.must(at(log).promote(B, 2, { members: [MC], acks: 1 }));
    log.must(at(log).promoted(B, 2, 100), at(log).down(P1), at(log).begin());
    log.must(at(log).cut(C, 90));
    expect(log.commit(at(log).promote(C, 3, { members: [], acks: 0 }))).toMatch(
      /c stands below the switch point of the promotion to timeline 2/,
    );
    log.must(at(log).cut(C, 100));
    log.must(at(log).promote(C, 3, { members: [], acks: 0 }));
  });

  test('a group whose creation was not finished learns its system identifier from the candidate', () => {
    const log = recovered(creating());
    log.must(registration(A, MA), registration(B, MB), registration(C, MC));
    log.must(at(log).cut(A, 80), at(log).cut(B, 100), at(log).cut(C, 90));
    log.must(at(log).promote(B, 2, { members: [MC], acks: 1 }));
    expect(log.group.systemIdentifier).toBe('77');
  });
});
