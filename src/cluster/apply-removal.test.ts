// Nodes that a person takes out, in the log: who may be, that they do not come back by themselves, and what is forgotten of them.
import { describe, expect, test } from 'vitest';
import { type NodeId, nodeId } from '../base/ids.ts';
import type { Command, Leaving } from './commands.ts';
import { REMOVAL_FEATURE_LEVEL } from './features.ts';
import {
  A,
  ALONE,
  B,
  C,
  GROUP,
  type Log,
  MA,
  MB,
  MC,
  P2,
  at,
  creating,
  fencing,
  newLog,
  promoting,
  recovered,
  registration,
  running,
} from './testing/example.ts';

const upgraded = (log: Log = running()): Log => newLog({ ...log.state, featureLevel: REMOVAL_FEATURE_LEVEL });
const remove = (node: NodeId = B, leaving: Leaving = 'stop'): Command => ({
  kind: 'remove-node',
  group: GROUP,
  node,
  leaving,
});
const readmit = (node: NodeId = B): Command => ({ kind: 'readmit-node', group: GROUP, node });
/** B has left the rule. */
const withoutB = (): Log => {
  const log = upgraded();
  log.must(at(log).change({ members: [MC], acks: 1 }));
  log.must(at(log).commitRule());
  return log;
};

test('is refused while a peer might not understand it', () => {
  const log = newLog({ ...withoutB().state, featureLevel: REMOVAL_FEATURE_LEVEL - 1 });
  expect(log.commit(remove())).toMatch(/upgrade all of them/);
});

describe('a node that is taken out', () => {
  test('is in the log no more, and its slots are nobody’s', () => {
    const log = withoutB();
    for (const member of [MB, MC]) log.must({ kind: 'mark-absent', group: GROUP, member });
    log.must({ kind: 'fence-node', node: B });
    log.must({ kind: 'pause', group: GROUP, node: C, isMaintenance: false, untilMs: undefined });
    log.must(remove());
    expect([...log.state.nodes.keys()]).toEqual([A, C]);
    expect(log.group).toMatchObject({ fenced: [], pausedNodes: [{ node: C }], absent: [{ member: MC }] });
    expect(log.state.removed.get(B)).toEqual({
      node: B,
      group: GROUP,
      peer: P2,
      member: MB,
      leaving: 'stop',
      isDoubtful: false,
    });
  });

  test('is waited for by no adoption: those after it have their turn, and the group gets a rule', () => {
    const log = withoutB();
    const adopting = { ...log.group, toAdopt: [B, C, A] };
    const next = newLog({ ...log.state, groups: new Map([[GROUP, adopting]]) });
    next.must(remove());
    expect(next.group.toAdopt).toEqual([C, A]);
  });

  test('does not register itself again, with whatever data directory, until it is readmitted', () => {
    const log = withoutB();
    log.must(remove());
    for (const member of [MB, MC, undefined])
      expect(log.commit(registration(B, member))).toMatch(/b was removed: sentinelctl node register b/);
    expect(log.commit({ ...registration(B, MB), peer: A as never } as Command)).toMatch(/b was removed/);
    log.must(readmit());
    log.must(registration(B, MB));
    expect(log.state.removed.size).toBe(0);
  });

  test('can be told to do more, and not less', () => {
    const log = withoutB();
    log.must(remove(B, 'leave'), remove(B, 'stop'), remove(B, 'destroy'));
    expect(log.state.removed.get(B)?.leaving).toBe('destroy');
    for (const leaving of ['leave', 'stop', 'destroy'] as const)
      expect(log.commit(remove(B, leaving))).toMatch(/removed already/);
    expect(log.state.removed.get(B)?.leaving).toBe('destroy');
    const elsewhere = { kind: 'readmit-node', group: 'other', node: B } as unknown as Command;
    expect(log.commit(elsewhere)).toMatch(/no node b was removed from group other/);
  });
});

describe('nobody is taken out', () => {
  test('who is the primary', () => {
    const log = upgraded();
    log.must(at(log).change(ALONE));
    log.must(at(log).commitRule());
    expect(log.commit(remove(A))).toMatch(/a is the primary of group main: fail over first/);
    const begun = upgraded(creating());
    expect(begun.commit(remove(A))).toMatch(/a is the primary/);
    begun.must(remove(B));
  });

  test('whom an acknowledged commit may rest on, by the rule or by the one to come', () => {
    const log = upgraded();
    expect(log.commit(remove(B))).toMatch(/b is in the sync rule of group main/);
    log.must(at(log).change({ members: [MC], acks: 1 }));
    expect(log.commit(remove(B))).toMatch(/b is in the sync rule/);
    expect(log.commit(remove(C))).toMatch(/c is in the sync rule/);
    log.must(at(log).commitRule(), remove(B));
    const coming = upgraded();
    coming.must(at(coming).change(ALONE));
    coming.must(at(coming).commitRule(), at(coming).change({ members: [MB], acks: 1 }));
    expect(coming.commit(remove(B))).toMatch(/b is in the sync rule/);
    coming.must(remove(C));
  });

  test('who was of the rule before a promotion, until the new members hold its switch point', () => {
    const log = upgraded(fencing());
    log.must(at(log).cut(B, 100), at(log).cut(C, 90));
    log.must(at(log).promote(B, 2, { members: [MC], acks: 1 }));
    log.must(at(log).promoted(B, 2, 100));
    // Only the rule of the floor names it: whoever is promoted below the switch point rests on its report.
    const third = { ...log.group.floor, rule: { members: [MA, MB], acks: 1 } } as typeof log.group.floor;
    const under = (floor: typeof third): Log =>
      newLog({ ...log.state, groups: new Map([[GROUP, { ...log.group, floor }]]) });
    for (const floor of [
      third,
      { ...third, rule: ALONE, next: { members: [MA], acks: 1 } } as typeof third,
      { ...third, rule: ALONE, before: third } as typeof third,
    ]) {
      const held = under(floor);
      expect(held.commit(remove(A))).toMatch(/what a holds may still be needed: .* switch point/);
      held.must(at(held).floorPassed(), remove(A));
    }
    const alone = under(third);
    alone.must(at(alone).change(ALONE));
    alone.must(at(alone).commitRule(), remove(A));
  });

  test.each<[string, () => Log]>([
    ['fencing', fencing],
    ['promoting', () => promoting()],
  ])('while the group is %s', (phase, begin) => {
    const log = upgraded(begin());
    const other = [B, C].find((node) => node !== log.group.phase.primary) ?? B;
    const free = { ...log.group, rule: ALONE, next: undefined };
    const loose = newLog({ ...log.state, groups: new Map([[GROUP, free]]) });
    expect(loose.commit(remove(other))).toMatch(new RegExp(`group main is ${phase}; wait`));
  });

  test('to whom a switchover is scheduled, and who is not there', () => {
    const log = withoutB();
    log.must({ kind: 'schedule-switchover', group: GROUP, at: { atMs: 5, to: B } });
    expect(log.commit(remove())).toMatch(/a switchover to b is scheduled/);
    expect(log.commit(remove(nodeId('z')))).toMatch(/there is no node z in group main/);
    const other = { kind: 'remove-node', group: 'other', node: B, leaving: 'stop' } as unknown as Command;
    expect(log.commit(other)).toMatch(/there is no node b in group other/);
    expect(log.commit(readmit())).toMatch(/no node b was removed/);
  });
});

test('of a group that is not there yet', () => {
  const log = upgraded(newLog());
  log.must(registration(A), registration(B, MB), remove());
  expect([...log.state.nodes.keys()]).toEqual([A]);
});

describe('after a recovery of the log', () => {
  const accepting = (node: NodeId, leaving: Leaving = 'leave'): Command => ({
    ...(remove(node, leaving) as Extract<Command, { kind: 'remove-node' }>),
    acceptsLoss: true,
  });
  /** b was removed before; who knows whether it was let in again. */
  const doubted = (): Log => {
    const log = withoutB();
    log.must(remove(B, 'destroy'));
    recovered(log).must(at(log).cut(A, 100), at(log).cut(C, 90));
    return log;
  };

  test('a removed node is only cut off, and waited for: it may have been the primary since', () => {
    const log = doubted();
    expect(log.state.removed.get(B)).toMatchObject({ leaving: 'leave', isDoubtful: true });
    expect(log.commit(at(log).promote(A, 2, ALONE))).toMatch(/not heard of: b$/);
    log.must(readmit(), registration(B, MB));
    expect(log.commit(at(log).promote(A, 2, ALONE))).toMatch(/not heard of: b$/);
    log.must(at(log).cut(B, 120));
    expect(log.commit(at(log).promote(A, 2, ALONE))).toMatch(/b holds more WAL than a/);
    log.must(at(log).promote(B, 2, ALONE));
  });

  test('a person can remove it once more, and has to say that what it may hold is given up', () => {
    const log = doubted();
    expect(log.commit(remove(B, 'destroy'))).toMatch(/recovered since b was removed.*--accept-data-loss/);
    log.must(accepting(B));
    expect(log.state.removed.get(B)).toMatchObject({ leaving: 'leave', isDoubtful: false });
    log.must(remove(B, 'stop'), at(log).promote(A, 2, ALONE));
  });

  test('a node that never reports can be removed in the same way, whoever was the primary; one that has cannot', () => {
    const log = recovered(upgraded());
    log.must(at(log).cut(B, 100), at(log).cut(C, 90));
    expect(log.commit(remove(A))).toMatch(/waits for a to report.*--accept-data-loss/);
    expect(log.commit(accepting(B))).toMatch(/b has reported/);
    expect(log.commit(at(log).promote(B, 2, ALONE))).toMatch(/not heard of: a$/);
    log.must(accepting(A, 'destroy'), at(log).promote(B, 2, { members: [MC], acks: 1 }));
    log.must(at(log).promoted(B, 2, 100));
  });

  test('a loss that is accepted takes out nobody else', () => {
    expect(upgraded().commit(accepting(B))).toMatch(/b is in the sync rule/);
    expect(upgraded().commit(accepting(A))).toMatch(/a is the primary/);
    expect(upgraded(fencing()).commit(accepting(C))).toMatch(/fencing; wait/);
  });
});
