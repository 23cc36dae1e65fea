// Slots of absent members, in the log and in the duties that follow from it: when they may be given up, and that no member of the sync rule ever loses its slot.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type MemberId, type NodeId, groupId } from '../base/ids.ts';
import { duties } from './duties.ts';
import { DEFAULT_GROUP_SETTINGS } from '../cluster/apply-settings.ts';
import { isCounted, isGivenUp } from '../cluster/apply-slots.ts';
import type { Command, SyncRule } from '../cluster/commands.ts';
import { SLOTS_FEATURE_LEVEL } from '../cluster/features.ts';
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
  RULE_BC,
  at,
  fencing,
  memberOfNode,
  newLog,
  registration,
  running,
  runningAlone,
} from '../cluster/testing/example.ts';

const RETENTION_MS = 60_000;
const upgraded = (log: Log = running()): Log => {
  const next = newLog({ ...log.state, featureLevel: SLOTS_FEATURE_LEVEL });
  next.must({ kind: 'change-settings', group: GROUP, settings: { slotRetentionMs: RETENTION_MS } });
  return next;
};
type Kind = 'mark-absent' | 'give-up-slot' | 'mark-present';
const slot = (kind: Kind, member: MemberId = MC): Command => ({ kind, group: GROUP, member });
const commitAt = (log: Log, atMs: number, command: Command) => log.commit(command, { proposedAtMs: atMs });
const slotsOf = (log: Log, node: NodeId): readonly MemberId[] => {
  const duty = duties(log.state, node);
  return 'slots' in duty ? duty.slots : [];
};
/** c is out of the rule. */
const withoutC = (log = upgraded()): Log => {
  log.must(at(log).change({ members: [MB], acks: 1 }));
  log.must(at(log).commitRule());
  return log;
};

describe('is refused', () => {
  test('while a peer might not understand it', () => {
    const log = newLog({ ...running().state, featureLevel: SLOTS_FEATURE_LEVEL - 1 });
    for (const kind of ['mark-absent', 'give-up-slot', 'mark-present'] as const)
      expect(log.commit(slot(kind))).toMatch(/upgrade all of them/);
    // A peer that does not know them passes over its settings, too.
    log.must({ kind: 'change-settings', group: GROUP, settings: { slotRetentionMs: 5000 } });
    expect(log.group.settings).toEqual(DEFAULT_GROUP_SETTINGS);
  });

  test('of what is no member, of the primary, and of a paused node', () => {
    const log = withoutC();
    expect(log.commit(slot('mark-absent', 'x_00000009' as MemberId))).toMatch(/not a member of group main/);
    expect(log.commit(slot('mark-absent', MA))).toMatch(/a is the primary/);
    expect(log.commit({ kind: 'mark-absent', group: groupId('other'), member: MC })).toMatch(/no group/);
    expect(log.commit(slot('mark-present'))).toMatch(/not absent/);
    expect(log.commit(slot('give-up-slot'))).toMatch(/not absent/);
    log.must(slot('mark-absent'), {
      ...{ kind: 'pause', group: GROUP, node: C, isMaintenance: false, untilMs: undefined },
    });
    expect(log.commit(slot('mark-absent'))).toMatch(/c is paused/);
    expect(commitAt(log, RETENTION_MS, slot('give-up-slot'))).toMatch(/c is paused/);
  });

  test('before the time is over, and twice', () => {
    const log = withoutC();
    expect(commitAt(log, 1000, slot('mark-absent'))).toBeUndefined();
    expect(commitAt(log, 2000, slot('mark-absent'))).toMatch(/absent already/);
    expect(commitAt(log, 999 + RETENTION_MS, slot('give-up-slot'))).toMatch(/not absent for 60000 ms yet/);
    expect(commitAt(log, 1000 + RETENTION_MS, slot('give-up-slot'))).toBeUndefined();
    expect(commitAt(log, 1000 + RETENTION_MS, slot('give-up-slot'))).toMatch(/given up already/);
  });

  test.each<[string, (log: Log) => void]>([
    ['in the rule', () => undefined],
    ['in the rule until it has changed', (log) => log.must(at(log).change({ members: [MB], acks: 1 }))],
  ])('of a member that is %s', (_, prepare) => {
    const log = upgraded();
    prepare(log);
    log.must(slot('mark-absent'));
    expect(commitAt(log, RETENTION_MS, slot('give-up-slot'))).toMatch(/in the sync rule/);
    expect(slotsOf(log, A)).toEqual([MB, MC]);
  });

  test('of a member that is about to come into the rule', () => {
    const log = withoutC();
    log.must(slot('mark-absent'), at(log).change(RULE_BC));
    expect(log.group.absent).toEqual([]);
    log.must(slot('mark-absent'));
    expect(commitAt(log, RETENTION_MS, slot('give-up-slot'))).toMatch(/in the sync rule/);
  });

  test('while the group fails over', () => {
    const log = upgraded(fencing());
    log.must(slot('mark-absent'));
    expect(commitAt(log, RETENTION_MS, slot('give-up-slot'))).toMatch(/main is fencing/);
  });
});

test('whoever is promoted, and whoever is in its first rule, is not absent', () => {
  const log = upgraded();
  log.must(slot('mark-absent', MB), slot('mark-absent', MC), at(log).begin({ kind: 'planned', to: B }));
  log.must(...[A, B, C].map((node) => at(log).cut(node, 100)));
  log.must(at(log).promote(B, 2, { members: [MC], acks: 1 }));
  expect(log.group.absent).toEqual([]);
});

describe('a slot that is given up', () => {
  const givenUp = (): Log => {
    const log = withoutC();
    log.must(slot('mark-absent'));
    expect(commitAt(log, RETENTION_MS, slot('give-up-slot'))).toBeUndefined();
    return log;
  };

  test('is kept by no node, and by every one once its member is back', () => {
    const log = givenUp();
    expect([slotsOf(log, A), slotsOf(log, B), slotsOf(log, C)]).toEqual([[MB], [MA], [MA, MB]]);
    log.must(slot('mark-present'));
    expect([slotsOf(log, A), slotsOf(log, B)]).toEqual([
      [MB, MC],
      [MA, MC],
    ]);
    // Its time begins anew.
    expect(commitAt(log, 2 * RETENTION_MS, slot('mark-absent'))).toBeUndefined();
    expect(commitAt(log, 2 * RETENTION_MS + 1, slot('give-up-slot'))).toMatch(/not absent for/);
  });

  test('is made anew as soon as its member is to come into the rule', () => {
    const log = givenUp();
    log.must(at(log).change(RULE_BC));
    expect(slotsOf(log, A)).toEqual([MB, MC]);
  });

  test('counts as kept while its member is in the rule, whatever the log says of it', () => {
    const { group } = givenUp();
    expect(isGivenUp(group, MC)).toBe(true);
    expect(isGivenUp({ ...group, rule: RULE_BC }, MC)).toBe(false);
    const change = group.settingsRevision;
    expect(isGivenUp({ ...group, next: { rule: RULE_BC, change } }, MC)).toBe(false);
  });

  test('says nothing of the data directory that comes after it', () => {
    const log = givenUp();
    const other = 'c_00000002' as MemberId;
    log.must(registration(C, other));
    expect(slotsOf(log, A)).toEqual([MB, other]);
    log.must(slot('mark-absent', other));
    expect(log.group.absent.map(({ member }) => member)).toEqual([other]);
  });
});

test('no node ever drops the slot of a member of the rule, whatever is proposed and when', () => {
  const members = [MA, MB, MC];
  const rules: readonly SyncRule[] = [
    ALONE,
    RULE_BC,
    { members: [MB], acks: 1 },
    { members: [MC], acks: 1 },
    { members: [MA, MB], acks: 1 },
  ];
  const step = fc.oneof(
    { weight: 4, arbitrary: fc.record({ slot: fc.constantFrom<Kind>('mark-absent', 'give-up-slot') }) },
    { weight: 1, arbitrary: fc.record({ slot: fc.constant<Kind>('mark-present') }) },
    { weight: 2, arbitrary: fc.record({ rule: fc.constantFrom(...rules) }) },
    { weight: 2, arbitrary: fc.constant({ rule: 'commit' as const }) },
    { weight: 1, arbitrary: fc.constant({ failover: true as const }) },
  );
  const steps = fc.array(fc.record({ step, member: fc.constantFrom(...members) }), { maxLength: 40 });
  let givenUpCount = 0;
  fc.assert(
    fc.property(steps, (all) => {
      const log = upgraded(runningAlone());
      all.forEach(({ step: each, member }, index) => {
        const ms = index * RETENTION_MS;
        if ('slot' in each) commitAt(log, ms, slot(each.slot, member));
        else if ('rule' in each)
          commitAt(log, ms, each.rule === 'commit' ? at(log).commitRule() : at(log).change(each.rule));
        else failOver(log, ms);
        for (const node of [A, B, C]) {
          const kept = slotsOf(log, node);
          for (const other of members.filter((one) => one !== memberOfNode(node))) {
            if (isGivenUp(log.group, other)) givenUpCount += 1;
            if (isCounted(log.group, other)) expect(kept).toContain(other);
            else expect(kept.includes(other)).toBe(!isGivenUp(log.group, other));
          }
        }
      });
    }),
    { numRuns: 300, seed: 7 },
  );
  expect(givenUpCount).toBeGreaterThan(100);
});

/** To a member of the rule, where there is one. */
function failOver(log: Log, ms: number): void {
  const former = log.group.phase.primary;
  const counted = [A, B, C].find((node) => node !== former && isCounted(log.group, memberOfNode(node)));
  if (counted === undefined) return;
  const onto = log.group.highestTimeline + 1;
  commitAt(log, ms, at(log).begin({ kind: 'planned', to: counted }));
  for (const node of [A, B, C]) commitAt(log, ms, at(log).cut(node, 100));
  commitAt(log, ms, at(log).promote(counted, onto, ALONE));
  commitAt(log, ms, at(log).promoted(counted, onto, 100));
}
