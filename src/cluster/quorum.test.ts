// The two counts: a quorum of peers, and the reports that a rule asks for.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { epoch, logIndex, type MemberId, memberId, type PeerId, peerId } from '../base/ids.ts';
import {
  isObjectivelyDown,
  isRule,
  majority,
  reportsSuffice,
  sameRule,
  standingDownCount,
} from './quorum.ts';
import type { SubjectiveDown } from './state.ts';
import { MA, MB, MC, P1, P2, P3 } from './testing/example.ts';

const down = (peer: PeerId, at: number): SubjectiveDown => ({
  peer,
  epoch: epoch(at),
  evidence: 'refused',
  index: logIndex(1),
});

test.each([
  [1, 1],
  [2, 2],
  [3, 2],
  [4, 3],
  [5, 3],
])('a majority of %i voters is %i', (voters, expected) => {
  expect(majority(voters)).toBe(expected);
});

describe('objectively down', () => {
  const voters = [P1, P2, P3];

  test('with a majority of the voters at this epoch', () => {
    expect(isObjectivelyDown(voters, [down(P1, 7), down(P3, 7)], epoch(7))).toBe(true);
  });

  test('not with entries of another epoch', () => {
    expect(isObjectivelyDown(voters, [down(P1, 7), down(P3, 6)], epoch(7))).toBe(false);
    expect(isObjectivelyDown(voters, [down(P1, 8), down(P3, 8)], epoch(7))).toBe(false);
  });

  test('not with the word of peers that are no voters (learners, former members)', () => {
    expect(isObjectivelyDown(voters, [down(P1, 7), down(peerId('learner'), 7)], epoch(7))).toBe(false);
  });

  test('not with one peer counted twice', () => {
    expect(isObjectivelyDown(voters, [down(P1, 7), down(P1, 7)], epoch(7))).toBe(false);
  });

  test('standing entries count at whatever epoch for giving a group back', () => {
    expect(standingDownCount(voters, [down(P1, 7), down(P3, 6), down(peerId('learner'), 7)])).toBe(2);
  });
});

describe('reports suffice', () => {
  const of = (...members: MemberId[]) => new Set(members);

  test('when fewer than `acks` members are missing', () => {
    expect(reportsSuffice({ members: [MB, MC], acks: 1 }, undefined, of(MB))).toBe(false);
    expect(reportsSuffice({ members: [MB, MC], acks: 1 }, undefined, of(MB, MC))).toBe(true);
    expect(reportsSuffice({ members: [MA, MB, MC], acks: 2 }, undefined, of(MA, MC))).toBe(true);
    expect(reportsSuffice({ members: [MA, MB, MC], acks: 2 }, undefined, of(MA))).toBe(false);
  });

  test('never where the primary may have acknowledged alone', () => {
    expect(reportsSuffice({ members: [], acks: 0 }, undefined, of(MA, MB, MC))).toBe(false);
    expect(reportsSuffice({ members: [MB], acks: 1 }, { members: [], acks: 0 }, of(MB))).toBe(false);
    expect(reportsSuffice({ members: [], acks: 0 }, { members: [MB], acks: 1 }, of(MB))).toBe(false);
  });

  test('for both rules together while one is pending', () => {
    expect(reportsSuffice({ members: [MB], acks: 1 }, { members: [MC], acks: 1 }, of(MB))).toBe(false);
    expect(reportsSuffice({ members: [MB], acks: 1 }, { members: [MC], acks: 1 }, of(MB, MC))).toBe(true);
  });

  const members = fc.uniqueArray(
    fc.nat(5).map((n) => memberId(`m${n}`)),
    { maxLength: 6 },
  );
  const aRule = members.chain((all) =>
    fc.record({
      members: fc.constant(all),
      acks: all.length === 0 ? fc.constant(0) : fc.integer({ min: 1, max: all.length }),
    }),
  );

  test('exactly when every set that could have acknowledged meets the reports, under either rule', () => {
    fc.assert(
      fc.property(aRule, fc.option(aRule, { nil: undefined }), members, (rule, next, heard) => {
        const cut = new Set(heard);
        const canAcknowledgeUnheard = [rule, ...(next === undefined ? [] : [next])].some(
          (binding) => binding.members.filter((member) => !cut.has(member)).length >= binding.acks,
        );
        // Never more than is safe; with one rule, exactly that.
        if (reportsSuffice(rule, next, cut)) expect(canAcknowledgeUnheard).toBe(false);
        if (next === undefined) expect(reportsSuffice(rule, next, cut)).toBe(!canAcknowledgeUnheard);
      }),
      { numRuns: 2000 },
    );
  });
});

test.each([
  [{ members: [], acks: 0 }, true],
  [{ members: [MB], acks: 1 }, true],
  [{ members: [MB, MC], acks: 2 }, true],
  [{ members: [MB], acks: 0 }, false],
  [{ members: [], acks: 1 }, false],
  [{ members: [MB], acks: 2 }, false],
  [{ members: [MB, MB], acks: 2 }, false],
  [{ members: [MB], acks: -1 }, false],
  [{ members: [MB, MC], acks: 1.5 }, false],
])('%j is a rule: %s', (rule, expected) => {
  expect(isRule(rule)).toBe(expected);
});

test('rules are the same whatever the order of their members', () => {
  expect(sameRule({ members: [MB, MC], acks: 1 }, { members: [MC, MB], acks: 1 })).toBe(true);
  expect(sameRule({ members: [MB, MC], acks: 1 }, { members: [MB, MC], acks: 2 })).toBe(false);
  expect(sameRule({ members: [MB], acks: 1 }, { members: [MC], acks: 1 })).toBe(false);
});
