// Who may be promoted. The property is the promise itself: whatever the reports, a node that the rules permit holds every
// write that could have been acknowledged. Whole histories of failovers are in src/failover/protocol.test.ts.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type MemberId, type NodeId, nodeId, timeline } from '../base/ids.ts';
import { lsn } from '../base/lsn.ts';
import { candidateRefusal, comparePositions, followersAtOnce } from './candidate.ts';
import type { CutReport, SyncRule } from './commands.ts';
import type { Floor, GroupState } from './state.ts';
import { A, B, C, MB, MC, RULE_BC, fencing, memberOfNode, report } from './testing/example.ts';

const T2 = { timeline: timeline(2) };
const T3 = { timeline: timeline(3) };

const STATE = fencing().state;
const groupOf = (more: Partial<GroupState> = {}, on = 1): GroupState => {
  const { group } = fencing();
  if (group.phase.kind !== 'fencing') throw new Error(group.phase.kind);
  return { ...group, phase: { ...group.phase, timeline: timeline(on) }, ...more };
};
const refusal = (
  group: GroupState,
  reports: readonly CutReport[],
  candidate: CutReport,
  former: NodeId = A,
): string | undefined => {
  if (group.phase.kind !== 'fencing') throw new Error(group.phase.kind);
  const phase = { ...group.phase, primary: former, reports };
  return candidateRefusal(STATE, { ...group, phase }, phase, candidate);
};

test('positions are ordered by timeline, then by LSN', () => {
  expect(comparePositions(report(B, 90, T2), report(C, 100))).toBeGreaterThan(0);
  expect(comparePositions(report(B, 90), report(C, 100))).toBeLessThan(0);
  expect(comparePositions(report(B, 90), report(C, 90))).toBe(0);
});

describe('without the former primary', () => {
  test('too few reports permit nobody', () => {
    expect(refusal(groupOf(), [report(B, 100)], report(B, 100))).toMatch(/1 of 2 members/);
  });

  test('a node outside the rule may be the best, but does not make up for a member that is missing', () => {
    const d = report(nodeId('d'), 120);
    expect(refusal(groupOf(), [report(B, 100), d], d)).toMatch(/too few/);
    expect(refusal(groupOf(), [report(B, 100), report(C, 90), d], d)).toBeUndefined();
    expect(refusal(groupOf(), [report(B, 100), report(C, 90), d], report(B, 100))).toMatch(
      /d holds more WAL than b/,
    );
  });

  test('while a change is pending the members of both rules are heard', () => {
    const group = groupOf({
      rule: { members: [MB], acks: 1 },
      next: { rule: { members: [MC], acks: 1 }, change: 9 as never },
    });
    expect(refusal(group, [report(B, 100)], report(B, 100))).toMatch(/1 of 2 members/);
    expect(refusal(group, [report(B, 100), report(C, 90)], report(B, 100))).toBeUndefined();
  });

  test("the former primary's own report is left out of the comparison", () => {
    expect(
      refusal(groupOf(), [report(A, 500), report(B, 100), report(C, 90)], report(B, 100)),
    ).toBeUndefined();
  });
});

describe('with the former primary', () => {
  test('it may be chosen again, or who holds all it holds', () => {
    const reports = [report(A, 100), report(B, 100), report(nodeId('d'), 99)];
    expect(refusal(groupOf(), reports, report(A, 100))).toBeUndefined();
    expect(refusal(groupOf(), reports, report(B, 100))).toBeUndefined();
    expect(refusal(groupOf(), reports, report(nodeId('d'), 99))).toMatch(/lacks WAL/);
  });
});

describe('a node on a timeline that the log never assigned', () => {
  const stray = report(B, 200, T2);

  test('is not promoted, although nobody holds more', () => {
    expect(refusal(groupOf(), [stray, report(C, 100)], stray)).toMatch(
      /b is on timeline 2, which the log never assigned/,
    );
  });

  test('neither stands in the way of others nor counts as heard', () => {
    expect(refusal(groupOf(), [stray, report(C, 100)], report(C, 100))).toMatch(/1 of 2 members/);
    expect(
      refusal(groupOf({ rule: { members: [MC], acks: 1 } }), [stray, report(C, 100)], report(C, 100)),
    ).toBeUndefined();
  });

  test('is no former primary to be chosen again', () => {
    expect(refusal(groupOf(), [report(A, 100, T2)], report(A, 100, T2))).toMatch(/never assigned/);
  });
});

describe('a floor', () => {
  const floor: Floor = {
    timeline: timeline(2),
    from: { timeline: timeline(1), position: lsn(100n) },
    rule: RULE_BC,
    next: undefined,
    before: undefined,
  };
  const group = groupOf({ rule: { members: [MC], acks: 1 }, floor }, 2);

  test('is reached at its switch point, or on its timeline', () => {
    expect(refusal(group, [report(C, 100)], report(C, 100))).toBeUndefined();
    expect(refusal(group, [report(C, 1, T2)], report(C, 1, T2))).toBeUndefined();
    expect(refusal(group, [report(C, 99)], report(C, 99))).toMatch(/below the switch point/);
  });

  test('may be passed under when the rule from before is satisfied too, with its pending change', () => {
    expect(refusal(group, [report(C, 99), report(B, 99)], report(C, 99))).toBeUndefined();
    const changing = { ...floor, next: { members: [memberOfNode(nodeId('d'))], acks: 1 } };
    expect(refusal({ ...group, floor: changing }, [report(C, 99), report(B, 99)], report(C, 99))).toMatch(
      /below/,
    );
  });

  test('stands on the floor before it', () => {
    const upper: Floor = {
      timeline: timeline(3),
      from: { timeline: timeline(2), position: lsn(150n) },
      rule: { members: [MC], acks: 1 },
      next: undefined,
      before: floor,
    };
    const nested = groupOf({ rule: { members: [MC], acks: 1 }, floor: upper }, 3);
    expect(refusal(nested, [report(C, 1, T3)], report(C, 1, T3))).toBeUndefined();
    expect(refusal(nested, [report(C, 149, T2)], report(C, 149, T2))).toBeUndefined();
    expect(refusal(nested, [report(C, 99)], report(C, 99))).toMatch(
      /below the switch point of the promotion to timeline 3/,
    );
    expect(refusal(nested, [report(C, 99), report(B, 99)], report(C, 99))).toBeUndefined();
  });
});

test('followers at once are those on the same timeline and not ahead, but neither stopped nor the former primary', () => {
  const d = nodeId('d');
  const candidate = report(B, 100);
  const all = [candidate, report(A, 80), report(C, 100), report(d, 101)];
  expect(followersAtOnce(A, all, candidate)).toEqual([MC]);
  expect(followersAtOnce(A, [candidate, report(C, 90, T2)], candidate)).toEqual([]);
  expect(followersAtOnce(A, [candidate, report(C, 90, { stopped: true })], candidate)).toEqual([]);
});

describe('whoever is permitted holds every acknowledged write', () => {
  const NAMES = ['b', 'c', 'd', 'e'].map(nodeId);
  const aRule = fc.subarray(NAMES, { minLength: 1 }).chain((names) =>
    fc.record({
      members: fc.constant(names.map(memberOfNode)),
      acks: fc.integer({ min: 1, max: names.length }),
    }),
  );
  const positions = fc.tuple(...NAMES.map(() => fc.integer({ min: 0, max: 12 })));
  const heard = fc.subarray(NAMES, { minLength: 1 });
  const held = (at: readonly number[], name: NodeId): number => at[NAMES.indexOf(name)] ?? 0;

  /** The furthest commit that `acks` of the members hold. */
  const acknowledged = (rule: SyncRule, at: ReadonlyMap<MemberId, number>): number =>
    rule.members.map((member) => at.get(member) ?? 0).sort((x, y) => y - x)[rule.acks - 1] ?? 0;

  const scene = fc.record({
    rule: aRule,
    next: fc.option(aRule, { nil: undefined }),
    at: positions,
    heard,
    formerReports: fc.boolean(),
    formerAhead: fc.nat(3),
  });

  test('from one failover, under either of two rules', () => {
    let permitted = 0;
    fc.assert(
      fc.property(scene, ({ rule, next, at, heard: names, formerReports, formerAhead }) => {
        const byMember = new Map(NAMES.map((name) => [memberOfNode(name), held(at, name)]));
        const lost = Math.max(
          acknowledged(rule, byMember),
          next === undefined ? 0 : acknowledged(next, byMember),
        );
        const primaryAt = Math.max(...at) + formerAhead;
        const reports = names.map((name) => report(name, held(at, name)));
        if (formerReports) reports.push(report(A, primaryAt));
        const group = groupOf({
          rule,
          next: next === undefined ? undefined : { rule: next, change: 9 as never },
        });
        for (const candidate of reports) {
          if (refusal(group, reports, candidate) !== undefined) continue;
          permitted += 1;
          expect(Number(candidate.position)).toBeGreaterThanOrEqual(lost);
        }
      }),
      { numRuns: 5000 },
    );
    expect(permitted).toBeGreaterThan(500);
  });

  /** A promotion to timeline 2 that may never have been finished: its candidate was chosen rightly, then wrote and was acknowledged by some. */
  const afterPromotion = fc.record({
    first: scene,
    rule: fc.subarray(NAMES),
    written: fc.nat(3),
    streams: fc.tuple(...NAMES.map(() => fc.nat(4))),
    heard: fc.subarray(NAMES, { minLength: 1 }),
  });

  test('from a second failover while the floor stands', () => {
    let permitted = 0;
    fc.assert(
      fc.property(afterPromotion, ({ first, rule: wanted, written, streams, heard: names }) => {
        const firstReports = first.heard.map((name) => report(name, held(first.at, name)));
        const before = groupOf({
          rule: first.rule,
          next: first.next === undefined ? undefined : { rule: first.next, change: 9 as never },
        });
        const chosen = firstReports.find(
          (candidate) => refusal(before, firstReports, candidate) === undefined,
        );
        if (chosen === undefined) return;
        const byMember = new Map(NAMES.map((name) => [memberOfNode(name), held(first.at, name)]));
        const onOne = Math.max(
          acknowledged(first.rule, byMember),
          first.next === undefined ? 0 : acknowledged(first.next, byMember),
        );
        const able = followersAtOnce(A, firstReports, chosen);
        const members = wanted.map(memberOfNode).filter((member) => able.includes(member));
        const rule: SyncRule = { members, acks: Math.min(1, members.length) };
        if (rule.acks === 0) return;
        // Each follower took 0 to `written` records of timeline 2, or none of what the candidate held before either.
        const switchAt = Number(chosen.position);
        const standing = NAMES.map((name, place): CutReport => {
          const took = streams[place] ?? 0;
          const follows = members.includes(memberOfNode(name)) && took > 0;
          return follows
            ? report(name, switchAt + Math.min(took - 1, written), took > 1 && written > 0 ? T2 : {})
            : report(name, held(first.at, name));
        });
        const onTwo = Math.max(
          0,
          ...standing
            .filter((other) => other.timeline === 2 && rule.members.includes(other.member))
            .map((other) => Number(other.position)),
        );
        const floor: Floor = {
          timeline: timeline(2),
          from: { timeline: timeline(1), position: chosen.position },
          rule: before.rule,
          next: before.next?.rule,
          before: undefined,
        };
        const group = groupOf({ rule, next: undefined, floor }, 2);
        const reports = standing.filter((other) => names.includes(other.node) && other.node !== chosen.node);
        for (const candidate of reports) {
          if (refusal(group, reports, candidate, chosen.node) !== undefined) continue;
          permitted += 1;
          if (onTwo > switchAt)
            expect(candidate.timeline === 2 && Number(candidate.position) >= onTwo).toBe(true);
          const holdsOfOne = candidate.timeline === 2 ? switchAt : Number(candidate.position);
          expect(holdsOfOne).toBeGreaterThanOrEqual(onOne);
        }
      }),
      { numRuns: 6000 },
    );
    expect(permitted).toBeGreaterThan(200);
  });
});
