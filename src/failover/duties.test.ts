// What the log asks of each node in each phase; and that an agent which reads the log again comes to the same, obeying
// nothing older than its fence.
import { describe, expect, test } from 'vitest';
import { type NodeId, nodeId } from '../base/ids.ts';
import { REMOVAL_FEATURE_LEVEL } from '../cluster/features.ts';
import { listEvents } from '../cluster/event-list.ts';
import {
  A,
  ALONE,
  B,
  C,
  GROUP,
  MA,
  MB,
  MC,
  type Log,
  RULE_BC,
  at,
  creating,
  fencing,
  newLog,
  promoted,
  promoting,
  recovered,
  registration,
  running,
  runningAlone,
} from '../cluster/testing/example.ts';
import { duties } from './duties.ts';

const of = (log: Log, node: NodeId) => duties(log.state, node);
const all = (log: Log) => [A, B, C].map((node) => of(log, node));

const planned = (): Log => {
  const log = running();
  log.must(at(log).begin({ kind: 'planned', to: B }));
  return log;
};
const handedOver = (): Log => {
  const log = planned();
  log.must(at(log).cut(A, 120, { stopped: true }));
  return log;
};
const PHASES: { readonly [phase: string]: readonly [() => Log, readonly string[]] } = {
  creating: [creating, ['create', 'none', 'none']],
  running: [running, ['primary', 'follow', 'follow']],
  fencing: [fencing, ['cut', 'cut', 'cut']],
  'planned, before the hand-over': [planned, ['hand-over', 'follow', 'follow']],
  'planned, after the hand-over': [handedOver, ['hand-over', 'cut', 'cut']],
  promoting: [() => promoting(), ['follow', 'promote', 'follow']],
  'running after a failover': [promoted, ['follow', 'primary', 'follow']],
};

describe.each(Object.keys(PHASES))('%s', (phase) => {
  const [begin, kinds] = PHASES[phase] ?? [creating, []];

  test('asks of a, b and c', () => {
    expect(all(begin()).map((duty) => duty.kind)).toEqual(kinds);
  });

  test('every duty carries the epoch, the group and a slot for each other member', () => {
    const log = begin();
    for (const node of [A, B, C]) {
      const duty = of(log, node);
      if (duty.kind === 'none') continue;
      const others = [MA, MB, MC].filter((member) => log.state.nodes.get(node)?.member !== member);
      const known = others.filter((member) =>
        [...log.state.nodes.values()].some((other) => other.member === member),
      );
      expect(duty).toMatchObject({ group: 'main', incarnation: 1, epoch: log.epoch, slots: known });
    }
  });

  test('reading the log from its beginning again leads to the same duties', () => {
    const log = begin();
    const again = newLog();
    for (const event of listEvents(log.state.events)) again.commit(event.command);
    expect(all(again)).toEqual(all(log));
  });
});

describe('a node', () => {
  test('that is not registered, or whose group is not created, has none', () => {
    expect(of(newLog(), A)).toEqual({ kind: 'none', reason: 'not registered yet' });
    const log = newLog();
    log.must(registration(A));
    expect(of(log, A)).toEqual({ kind: 'none', reason: 'group main is not created yet' });
    expect(of(running(), nodeId('z')).kind).toBe('none');
  });
});

describe('cut', () => {
  test('tells the former primary to stop first', () => {
    const log = fencing();
    expect(of(log, A)).toMatchObject({ wasPrimary: true });
    expect(of(log, B)).toMatchObject({ wasPrimary: false });
  });

  test('after a recovery every node reports at once: who was primary is not known, and all are needed', () => {
    const log = recovered();
    const duty = { kind: 'cut', wasPrimary: false, incarnation: 2, epoch: log.epoch };
    expect(all(log)).toMatchObject([duty, duty, duty]);
  });

  test('after a failed promotion the candidate is the former primary', () => {
    const log = promoting();
    log.must(at(log).failed(B));
    log.must(at(log).begin({ kind: 'promotion-failed' }));
    expect(all(log)).toMatchObject([{ wasPrimary: false }, { wasPrimary: true }, { wasPrimary: false }]);
  });
});

describe('primary', () => {
  test('carries the rule and a pending change', () => {
    const log = running();
    log.must(at(log).change({ members: [MB], acks: 1 }));
    expect(of(log, A)).toMatchObject({
      timeline: 1,
      rule: RULE_BC,
      next: { rule: { members: [MB], acks: 1 }, change: log.group.next?.change },
      floor: undefined,
    });
  });

  test('carries the switch point while the floor stands and members could hold it', () => {
    const log = promoted();
    expect(of(log, B)).toMatchObject({ floor: 100n, timeline: 2 });
    log.must(at(log).floorPassed());
    expect(of(log, B)).toMatchObject({ floor: undefined });
    const alone = promoted();
    alone.must(at(alone).change(ALONE));
    alone.must(at(alone).commitRule());
    expect(of(alone, B)).toMatchObject({ floor: undefined });
  });
});

describe('promote', () => {
  test('carries the timeline, the rule, and where the candidate stood when it was chosen', () => {
    expect(of(promoting(), B)).toMatchObject({
      timeline: 2,
      rule: { members: [MC], acks: 1 },
      from: { timeline: 1, position: 100n },
    });
  });
});

describe('follow', () => {
  test('names the candidate at once, with where its timeline will begin, but no rewind or clone from it yet', () => {
    expect(of(promoting(), C)).toMatchObject({
      upstream: {
        node: B,
        host: 'b',
        port: 5432,
        timeline: 2,
        from: { timeline: 1, position: 100n },
        isReady: false,
      },
      isCounted: true,
    });
  });

  test('a rewind or clone may begin once the members hold the switch point', () => {
    const log = promoted();
    expect(of(log, A)).toMatchObject({ upstream: { node: B, isReady: false }, isCounted: false });
    log.must(at(log).floorPassed());
    expect(of(log, A)).toMatchObject({
      upstream: { node: B, from: undefined, isReady: true },
      branches: [{ timeline: 2, parent: 1, switchLsn: 100n }],
      isCounted: false,
    });
  });

  test('or at once from a primary that is alone', () => {
    const log = promoted();
    log.must(at(log).change(ALONE));
    log.must(at(log).commitRule());
    expect(of(log, A)).toMatchObject({ upstream: { isReady: true } });
  });

  test('not while the old primary hands over', () => {
    expect(of(planned(), B)).toMatchObject({ upstream: { node: A, isReady: false } });
  });

  test('a member counts in the rule and in a pending one', () => {
    const log = runningAlone();
    expect(of(log, B)).toMatchObject({ isCounted: false });
    log.must(at(log).change({ members: [MB], acks: 1 }));
    expect(of(log, B)).toMatchObject({ isCounted: true });
    expect(of(log, C)).toMatchObject({ isCounted: false });
  });
});

describe('an agent that reads the log again after a restart', () => {
  /** The duties it meets on the way, as far as its fence lets it obey. */
  const obeyed = (log: Log, node: NodeId, fence: number): string[] => {
    const again = newLog();
    const met: string[] = [];
    for (const event of listEvents(log.state.events)) {
      again.commit(event.command);
      const duty = of(again, node);
      if (duty.kind !== 'none' && duty.epoch >= fence) met.push(duty.kind);
    }
    return [...new Set(met)];
  };

  test.each([
    ['fencing', fencing, A, ['cut']],
    ['fencing', fencing, B, ['cut']],
    ['promoting', () => promoting(), A, ['cut', 'follow']],
    ['promoting', () => promoting(), B, ['cut', 'promote']],
    ['running after a failover', promoted, A, ['cut', 'follow']],
    ['running after a failover', promoted, C, ['cut', 'follow']],
  ])('in phase %s obeys nothing older than its fence (%#)', (_, begin, node, kinds) => {
    const log = begin();
    expect(obeyed(log, node, log.epoch)).toEqual(kinds);
    expect(obeyed(log, node, log.epoch)).not.toContain('primary');
  });

  test('meets duties of its own epoch that have passed, which is why it first reads through the leader', () => {
    const log = promoted();
    expect(obeyed(log, B, log.epoch)).toEqual(['cut', 'promote', 'primary']);
  });
});

test('a node that was taken out is told what to do, once for all, and the others drop its slots', () => {
  const begun = newLog({ ...runningAlone().state, featureLevel: REMOVAL_FEATURE_LEVEL });
  const remove = (log: Log, node: NodeId): void =>
    log.must({ kind: 'remove-node', group: log.group.id, node, leaving: 'destroy' });
  begun.must(registration(B, MB), registration(C, MC));
  remove(begun, B);
  expect(of(begun, A)).toMatchObject({ kind: 'primary', slots: [MC] });
  expect(of(begun, B)).toMatchObject({
    ...{ kind: 'removed', leaving: 'destroy', member: MB, epoch: begun.epoch, slots: [] },
  });
  begun.must({ kind: 'readmit-node', group: begun.group.id, node: B });
  expect(of(begun, B)).toEqual({ kind: 'none', reason: 'not registered yet' });
  begun.must(registration(B, MB));
  expect(of(begun, B)).toMatchObject({ kind: 'follow', isCounted: false });
});

test('of a group that is not there yet, too', () => {
  const log = newLog({ ...newLog().state, featureLevel: REMOVAL_FEATURE_LEVEL });
  log.must(registration(B, MB), { kind: 'remove-node', group: GROUP, node: B, leaving: 'stop' });
  expect(of(log, B)).toMatchObject({ kind: 'removed', leaving: 'stop', epoch: 0 });
});
