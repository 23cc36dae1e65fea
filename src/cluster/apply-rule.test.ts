// Changing the sync rule (docs/failover.md, "Changing the rule"; docs/decisions/0001).
import { describe, expect, test } from 'vitest';
import { logIndex, memberId } from '../base/ids.ts';
import { reportsSuffice } from './quorum.ts';
import {
  ALONE,
  MA,
  MB,
  MC,
  RULE_BC,
  at,
  fencing,
  promoted,
  running,
  runningAlone,
} from './testing/example.ts';

const ONLY_B = { members: [MB], acks: 1 };
const ONLY_C = { members: [MC], acks: 1 };

describe('begin-rule-change', () => {
  test('writes next beside the rule, known by the index of its entry', () => {
    const log = running();
    log.must(at(log).change(ONLY_B));
    expect(log.group).toMatchObject({
      rule: RULE_BC,
      next: { rule: ONLY_B, change: log.state.appliedIndex },
    });
  });

  test.each([
    ['the rule that is in force', RULE_BC, /that is the sync rule already/],
    ['the same in another order', { members: [MC, MB], acks: 1 }, /that is the sync rule already/],
    ['the primary', { members: [MA], acks: 1 }, /a_00000001 is not a standby/],
    ['a stranger', { members: [memberId('x_00000001')], acks: 1 }, /x_00000001 is not a standby/],
    ['more acknowledgements than members', { members: [MB], acks: 2 }, /is not a rule/],
    ['a member twice', { members: [MB, MB], acks: 1 }, /is not a rule/],
    ['no acknowledgement of members', { members: [MB], acks: 0 }, /is not a rule/],
  ])('refuses %s', (_, next, reason) => {
    const log = running();
    expect(log.commit(at(log).change(next))).toMatch(reason);
  });

  test('is not replaced or withdrawn while both rules ask for acknowledgements', () => {
    const log = running();
    log.must(at(log).change(ONLY_B));
    for (const next of [ONLY_C, { ...ALONE, leased: true as const }, { members: [MB, MC], acks: 2 }])
      expect(log.commit(at(log).change(next))).toMatch(/is being changed already/);
  });

  test('gives way to alone then; nobody but the primary can be promoted from that entry on', () => {
    const log = running();
    log.must(at(log).change(ONLY_B));
    const first = log.group.next?.change ?? logIndex(0);
    log.must(at(log).change(ALONE));
    expect(log.group).toMatchObject({ rule: RULE_BC, next: { rule: ALONE } });
    expect(log.commit(at(log).commitRule(first))).toMatch(/no change of the sync rule began at/);
    const { rule, next } = log.group;
    expect(reportsSuffice(rule, next?.rule, new Set([MB, MC]))).toBe(false);
    log.must(at(log).commitRule());
    expect(log.group).toMatchObject({ rule: ALONE, next: undefined });
  });

  test('may be widened then: what satisfied the pending rule satisfies one of more members', () => {
    const log = running();
    log.must(at(log).change(ONLY_B));
    const first = log.group.next?.change ?? logIndex(0);
    log.must(at(log).change(RULE_BC));
    expect(log.group).toMatchObject({ rule: RULE_BC, next: { rule: RULE_BC } });
    expect(log.commit(at(log).commitRule(first))).toMatch(/no change of the sync rule began at/);
    log.must(at(log).commitRule());
    expect(log.group).toMatchObject({ rule: RULE_BC, next: undefined });
  });

  test('a change to alone is not replaced by anything while the rule asks for acknowledgements', () => {
    const log = running();
    log.must(at(log).change(ALONE));
    for (const next of [ONLY_B, ONLY_C, RULE_BC])
      expect(log.commit(at(log).change(next))).toMatch(/is being changed already/);
  });

  test('may be replaced while the primary is alone; the change before cannot be committed any more', () => {
    const log = runningAlone();
    log.must(at(log).change(ONLY_B));
    const first = log.group.next?.change ?? logIndex(0);
    log.must(at(log).change(ONLY_C));
    expect(log.commit(at(log).commitRule(first))).toMatch(/no change/);
    log.must(at(log).commitRule());
    expect(log.group.rule).toEqual(ONLY_C);
  });

  test('may be withdrawn while the primary is alone', () => {
    const log = runningAlone();
    log.must(at(log).change(ONLY_B), at(log).change(ALONE));
    expect(log.group).toMatchObject({ rule: ALONE, next: undefined });
    expect(log.commit(at(log).commitRule())).toMatch(/no change/);
  });
});

describe('commit-rule', () => {
  test('of an earlier epoch has no effect: the fence is up', () => {
    const log = running();
    log.must(at(log).change(ONLY_B));
    const late = at(log).commitRule();
    fencing(log);
    expect(log.commit(late)).toMatch(/is at epoch/);
    expect(log.group.next).toBeDefined();
  });

  test('lifts the floor where the new rule asks for acknowledgements, and keeps it where it does not', () => {
    const log = promoted();
    log.must(at(log).change(ALONE));
    log.must(at(log).commitRule());
    expect(log.group.floor).toBeDefined();
    log.must(at(log).change(ONLY_C));
    log.must(at(log).commitRule());
    expect(log.group.floor).toBeUndefined();
  });
});

describe('floor-passed', () => {
  test('lifts the floor', () => {
    const log = promoted();
    log.must(at(log).floorPassed());
    expect(log.group.floor).toBeUndefined();
  });

  test('is refused where no member could hold the switch point', () => {
    const log = promoted();
    log.must(at(log).change(ALONE));
    log.must(at(log).commitRule());
    expect(log.commit(at(log).floorPassed())).toMatch(/has no member/);
  });
});
