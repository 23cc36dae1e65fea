// Registering nodes, creating a group, and the subjective judgements.
import { describe, expect, test } from 'vitest';
import { groupId, memberId, nodeId, peerId, timeline } from '../base/ids.ts';
import {
  A,
  ALONE,
  B,
  C,
  GROUP,
  MA,
  MB,
  MC,
  P1,
  P2,
  P3,
  at,
  creating,
  fencing,
  newLog,
  promoted,
  registration,
  running,
  runningAlone,
} from './testing/example.ts';

const FRESH = memberId('b_00000002');

describe('register-node', () => {
  test('is harmless when repeated, and keeps the judgements', () => {
    const log = running();
    log.must(at(log).down(P1, B));
    const before = log.state.nodes;
    log.must(registration(B, MB));
    expect(log.state.nodes).toEqual(before);
  });

  test('takes a new address and a new data directory of a standby outside the rule', () => {
    const log = runningAlone();
    log.must({ ...registration(B, FRESH), host: 'elsewhere' });
    expect(log.state.nodes.get(B)).toMatchObject({ host: 'elsewhere', member: FRESH });
  });

  test.each([
    [
      'another group',
      { ...registration(B, MB), group: groupId('other') },
      /belongs to group main, not other/,
    ],
    ['another peer', { ...registration(B, MB), peer: P3 }, /is managed by peer p2, not p3/],
    [
      "another node's address",
      { ...registration(B, MB), host: 'c' },
      /address c:5432 of node b is that of node c/,
    ],
    [
      'another database',
      { ...registration(B, MB), systemIdentifier: '78' },
      /system identifier 78, group main has 77: it holds another database/,
    ],
    [
      'a new data directory while the old one counts',
      registration(B, FRESH),
      /member b_00000001 is still in the sync rule/,
    ],
    ['no data directory while the old one counts', registration(B), /is still in the sync rule/],
    [
      'a new data directory of the primary',
      registration(A, memberId('a_00000002')),
      /is the primary of group main/,
    ],
  ])('refuses %s', (_, command, reason) => {
    expect(running().commit(command)).toMatch(reason);
  });

  test('refuses a new data directory of a member of the pending rule', () => {
    const log = runningAlone();
    log.must(at(log).change({ members: [MB], acks: 1 }));
    expect(log.commit(registration(B, FRESH))).toMatch(/is still in the sync rule/);
  });

  test('takes a new data directory of a former primary, and of a member that only an older rule names', () => {
    const log = promoted();
    log.must(registration(A, memberId('a_00000002')));
    expect(log.commit(registration(C, memberId('c_00000002')))).toMatch(/is still in the sync rule/);
  });
});

describe('create-group', () => {
  const create = { kind: 'create-group', group: GROUP, primary: A } as const;

  test('makes the index of its entry the first epoch', () => {
    const log = creating();
    expect(log.epoch).toBe(log.state.appliedIndex);
    expect(log.group).toMatchObject({
      phase: { kind: 'creating', primary: A },
      rule: ALONE,
      next: undefined,
      floor: undefined,
    });
  });

  test('refuses a primary that is not registered in the group', () => {
    const log = newLog();
    log.must(registration(B));
    expect(log.commit(create)).toMatch(/node a is not registered in group main/);
  });

  test('takes the one node that has data, and no other', () => {
    const log = newLog();
    log.must(registration(A, MA), registration(B));
    expect(log.commit({ ...create, primary: B })).toMatch(/data exists already on a/);
    log.must(create);
  });

  test('refuses as long as several nodes have data', () => {
    const log = newLog();
    log.must(registration(A, MA), registration(B, MB));
    expect(log.commit(create)).toMatch(/data exists already on a, b/);
    log.must(registration(B), create);
  });
});

test('group-ready starts the group on the timeline that the primary is on, and registers its data directory', () => {
  const log = creating();
  log.must({
    kind: 'group-ready',
    group: GROUP,
    epoch: log.epoch,
    member: MA,
    systemIdentifier: '77',
    timeline: timeline(5),
  });
  expect(log.group).toMatchObject({
    phase: { kind: 'running', primary: A, timeline: 5 },
    highestTimeline: 5,
    systemIdentifier: '77',
  });
  expect(log.state.nodes.get(A)?.member).toBe(MA);
});

describe('subjective judgements', () => {
  test("a peer's later word replaces its earlier one", () => {
    const log = running();
    log.must(at(log).down(P1), {
      kind: 'subjective-down',
      peer: P1,
      node: A,
      epoch: log.epoch,
      evidence: 'no-answer',
    });
    expect(log.state.nodes.get(A)?.subjectiveDown).toEqual([
      { peer: P1, epoch: log.epoch, evidence: 'no-answer', index: log.state.appliedIndex },
    ]);
  });

  test('up takes back the word of that peer only', () => {
    const log = running();
    log.must(at(log).down(P1), at(log).down(P2), at(log).up(P1));
    expect(log.state.nodes.get(A)?.subjectiveDown.map((entry) => entry.peer)).toEqual([P2]);
  });

  test('the word of a witness counts, it is a voter; that of a learner is refused', () => {
    const log = running();
    const learner = peerId('learner');
    expect(log.commit(at(log).down(learner))).toMatch(/peer learner is not a voter/);
    log.must(at(log).down(P2), at(log).down(P3), at(log).begin());
  });

  test('entries of the epoch before do not begin another failover', () => {
    const log = fencing();
    log.must(at(log).cut(B, 100), at(log).cut(C, 90), at(log).promote(B, 2, { members: [MC], acks: 1 }));
    log.must(at(log).promoted(B, 2, 100));
    expect(log.state.nodes.get(A)?.subjectiveDown).toHaveLength(2);
    expect(log.commit(at(log).begin())).toMatch(/fewer than 2 of 3 voters hold b for down/);
  });

  test('what is judged of another node does not count for the primary', () => {
    const log = running();
    log.must(at(log).down(P1, B), at(log).down(P2, C), at(log).down(P3, A));
    expect(log.commit(at(log).begin())).toMatch(/fewer than 2 of 3/);
    expect(log.commit(at(log).down(P1, nodeId('d')))).toMatch(/there is no node d/);
  });
});
