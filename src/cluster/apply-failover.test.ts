// The failover protocol as the log accepts it (docs/failover.md, step by step).
import { describe, expect, test } from 'vitest';
import { memberId, timeline } from '../base/ids.ts';
import {
  A,
  ALONE,
  B,
  C,
  MA,
  MB,
  MC,
  P1,
  P2,
  P3,
  RULE_BC,
  at,
  fencing,
  promoted,
  promoting,
  registration,
  running,
  runningAlone,
} from './testing/example.ts';

const ONLY_C = { members: [MC], acks: 1 };
const T2 = { timeline: timeline(2) };

describe('begin-failover', () => {
  test('makes the index of its entry the epoch, and keeps rule, pending change and floor in force', () => {
    const log = running();
    log.must(at(log).change({ members: [MB], acks: 1 }));
    const before = log.group;
    fencing(log);
    expect(log.epoch).toBe(log.state.appliedIndex);
    expect(log.group).toMatchObject({
      rule: before.rule,
      next: before.next,
      floor: before.floor,
      phase: { kind: 'fencing', primary: A, reports: [] },
    });
  });

  test('wants a majority of the voters', () => {
    const log = running();
    log.must(at(log).down(P3));
    expect(log.commit(at(log).begin())).toMatch(/fewer than 2 of 3 voters hold a for down/);
    log.must(at(log).down(P1), at(log).begin());
  });

  test('takes over from a switchover whose primary died, with reports begun anew', () => {
    const log = running();
    log.must(at(log).begin({ kind: 'planned', to: B }));
    log.must(at(log).cut(C, 90), at(log).down(P1), at(log).down(P2));
    log.must(at(log).begin());
    expect(log.group.phase).toMatchObject({ kind: 'fencing', cause: { kind: 'down' }, reports: [] });
  });

  test.each([
    ['to the primary itself', A, /a is the primary of group main already/],
    ['to a node that is not there', 'x' as typeof A, /there is no node x/],
  ])('planned %s is refused', (_, to, reason) => {
    const log = running();
    expect(log.commit(at(log).begin({ kind: 'planned', to }))).toMatch(reason);
  });

  test('planned to a standby outside the rule is refused', () => {
    const log = running({ members: [MB], acks: 1 });
    expect(log.commit(at(log).begin({ kind: 'planned', to: C }))).toMatch(/c is not in the sync rule/);
  });

  test('planned is refused while the rule is being changed, and while no standby is in it', () => {
    const log = running();
    log.must(at(log).change({ members: [MB], acks: 1 }));
    expect(log.commit(at(log).begin({ kind: 'planned', to: B }))).toMatch(/is being changed/);
    const alone = runningAlone();
    expect(alone.commit(at(alone).begin({ kind: 'planned', to: undefined }))).toMatch(/no standby/);
  });
});

describe('cut-report', () => {
  test('of another data directory than the registered one is refused', () => {
    const log = fencing();
    expect(log.commit(at(log).cut(B, 100, { member: memberId('b_00000002') }))).toMatch(
      /b is registered as b_00000001, not b_00000002/,
    );
  });

  test('replaces an earlier one of the same node', () => {
    const log = fencing();
    log.must(at(log).cut(B, 100), at(log).cut(B, 101));
    expect(
      log.group.phase.kind === 'fencing' && log.group.phase.reports.map((report) => report.position),
    ).toEqual([101n]);
  });

  test('raises the highest timeline, so that no promotion repeats it', () => {
    const log = fencing();
    log.must(at(log).cut(B, 100, { timeline: timeline(7) }));
    expect(log.group.highestTimeline).toBe(7);
  });

  test('of an earlier epoch is refused', () => {
    const log = fencing();
    const late = at(log).cut(B, 100);
    log.must(at(log).up(P1), at(log).up(P2), at(log).resume());
    expect(log.commit(late)).toMatch(/is running, not fencing/);
    fencing(log);
    expect(log.commit(late)).toMatch(/is at epoch/);
  });
});

describe('promote', () => {
  test('wants enough reports', () => {
    const log = fencing();
    log.must(at(log).cut(B, 100));
    expect(log.commit(at(log).promote(B, 2, ALONE))).toMatch(/1 of 2 members of the sync rule have cut/);
  });

  test('wants the best of them', () => {
    const log = fencing();
    log.must(at(log).cut(B, 100), at(log).cut(C, 101));
    expect(log.commit(at(log).promote(B, 2, ALONE))).toMatch(/c holds more WAL than b/);
  });

  test('wants a timeline above the highest ever assigned or reported', () => {
    const log = fencing();
    log.must(at(log).cut(B, 100), at(log).cut(C, 90));
    expect(log.commit(at(log).promote(B, 1, ONLY_C))).toMatch(/is not higher than 1/);
  });

  test.each([
    ['a member that is behind on another timeline', { members: [MA], acks: 1 }, /a_00000001 cannot follow/],
    ['the candidate itself', { members: [MB], acks: 1 }, /b_00000001 cannot follow/],
    ['more acknowledgements than members', { members: [MC], acks: 2 }, /is not a rule/],
    ['a member named twice', { members: [MC, MC], acks: 2 }, /is not a rule/],
    ['members but no acknowledgement', { members: [MC], acks: 0 }, /is not a rule/],
  ])('refuses a rule with %s', (_, rule, reason) => {
    const log = fencing();
    log.must(at(log).cut(A, 80), at(log).cut(B, 100), at(log).cut(C, 90));
    expect(log.commit(at(log).promote(B, 2, rule))).toMatch(reason);
  });

  test('refuses a candidate that has another data directory by now', () => {
    const log = fencing(running({ members: [MB], acks: 1 }));
    log.must(at(log).cut(B, 100), at(log).cut(C, 100), registration(C, memberId('c_00000002')));
    expect(log.commit(at(log).promote(C, 2, ALONE))).toMatch(/another data directory/);
  });

  test('begins with the new rule, without a pending change, above a floor that remembers the rules before', () => {
    const log = running();
    log.must(at(log).change({ members: [MB], acks: 1 }));
    fencing(log);
    log.must(at(log).cut(B, 100), at(log).cut(C, 90));
    log.must(at(log).promote(B, 2, ONLY_C));
    expect(log.group).toMatchObject({
      phase: { kind: 'promoting', primary: B, previous: A, timeline: 2, failed: undefined },
      rule: ONLY_C,
      next: undefined,
      highestTimeline: 2,
      floor: {
        timeline: 2,
        from: { timeline: 1, position: 100n },
        rule: RULE_BC,
        next: { members: [MB], acks: 1 },
        before: undefined,
      },
    });
  });
});

describe('after a promotion', () => {
  test('promoted runs the group and records where the timeline began', () => {
    const log = promoted();
    expect(log.group).toMatchObject({
      phase: { kind: 'running', primary: B, timeline: 2 },
      branches: [{ timeline: 2, parent: 1, switchLsn: 100n }],
    });
    expect(log.group.floor).toBeDefined();
  });

  test('another timeline or another node than the chosen one is refused', () => {
    const log = promoting();
    expect(log.commit(at(log).promoted(B, 3, 100))).toMatch(/opened timeline 3, not 2/);
    expect(log.commit(at(log).promoted(C, 2, 100))).toMatch(/c is not being promoted/);
  });

  test('a failed one is only recorded; a new epoch begins without a quorum', () => {
    const log = promoting();
    const { epoch } = log;
    log.must(at(log).failed(B));
    expect(log.group).toMatchObject({ epoch, phase: { kind: 'promoting', failed: 'no room' } });
    log.must(at(log).begin({ kind: 'promotion-failed' }));
    expect(log.group).toMatchObject({
      phase: { kind: 'fencing', primary: B, timeline: 2, reports: [] },
      rule: ONLY_C,
    });
    expect(log.epoch).toBeGreaterThan(epoch);
  });

  test('the candidate of an epoch that is over cannot come back', () => {
    const log = promoting();
    const late = at(log).promoted(B, 2, 100);
    log.must(at(log).down(P1, B), at(log).down(P2, B), at(log).begin());
    expect(log.commit(late)).toMatch(/is at epoch/);
  });

  test('floors stand on one another until the switch point is held', () => {
    const log = promoting();
    log.must(at(log).failed(B));
    log.must(at(log).begin({ kind: 'promotion-failed' }));
    log.must(at(log).cut(C, 120, T2));
    log.must(at(log).promote(C, 3, ALONE));
    expect(log.group.floor).toMatchObject({
      timeline: 3,
      rule: ONLY_C,
      before: { timeline: 2, rule: RULE_BC, before: undefined },
    });
    log.must(at(log).promoted(C, 3, 120));
    expect(log.commit(at(log).floorPassed())).toMatch(/has no member that could hold the switch point/);
    log.must(
      registration(B, memberId('b_00000002')),
      at(log).change({ members: [memberId('b_00000002')], acks: 1 }),
    );
    log.must(at(log).commitRule());
    expect(log.group.floor).toBeUndefined();
  });

  test('a standby below the switch point is refused while it is not known to be held', () => {
    const log = promoted();
    log.must(at(log).down(P1), at(log).down(P2));
    log.must(at(log).begin());
    log.must(at(log).cut(C, 90));
    expect(log.commit(at(log).promote(C, 3, ALONE))).toMatch(
      /below the switch point of the promotion to timeline 2/,
    );
    log.must(at(log).cut(C, 100), at(log).promote(C, 3, ALONE));
  });

  test('the former primary does not count as a witness of the rule from before', () => {
    const log = fencing(promoted());
    log.must(at(log).cut(C, 90), at(log).cut(B, 90), at(log).cut(A, 90));
    // "1 of b, c" was the rule before; b may have acknowledged on timeline 2 since.
    expect(log.commit(at(log).promote(C, 3, ALONE))).toMatch(/below the switch point/);
  });

  test('a standby below it is taken when the rule from before is satisfied as well', () => {
    const log = fencing(running(ONLY_C));
    log.must(at(log).cut(B, 100), at(log).cut(C, 90));
    log.must(at(log).promote(B, 2, ONLY_C));
    log.must(at(log).promoted(B, 2, 100));
    fencing(log);
    log.must(at(log).cut(C, 90), at(log).promote(C, 3, ALONE));
  });
});

describe('a planned switchover', () => {
  const handedOver = () => {
    const log = running();
    log.must(at(log).begin({ kind: 'planned', to: B }));
    log.must(at(log).cut(A, 120, { stopped: true }));
    return log;
  };

  test('promotes a target that holds all of it', () => {
    const log = handedOver();
    log.must(at(log).cut(B, 120), at(log).promote(B, 2, ALONE));
  });

  test('does not promote a target that lacks WAL of the old primary, unless the rule is satisfied without it', () => {
    const log = handedOver();
    log.must(at(log).cut(B, 119));
    expect(log.commit(at(log).promote(B, 2, ALONE))).toMatch(/b lacks WAL that the former primary a holds/);
    log.must(at(log).cut(C, 100), at(log).promote(B, 2, ONLY_C));
  });

  test('reinstates the old primary, on a new timeline, when the target is dead', () => {
    const log = handedOver();
    log.must(at(log).promote(A, 2, ALONE));
    expect(log.group.phase).toMatchObject({ kind: 'promoting', primary: A, previous: A, timeline: 2 });
  });
});

describe('a primary that was alone', () => {
  test('is the only one that may be promoted, or who holds all it holds', () => {
    const log = fencing(runningAlone());
    log.must(at(log).cut(B, 100), at(log).cut(C, 100));
    expect(log.commit(at(log).promote(B, 2, ALONE))).toMatch(/too few without a/);
    log.must(at(log).cut(A, 101));
    expect(log.commit(at(log).promote(B, 2, ALONE))).toMatch(/b lacks WAL that the former primary a holds/);
    log.must(at(log).promote(A, 2, RULE_BC));
  });
});

describe('resume', () => {
  const withdrawn = () => {
    const log = fencing();
    log.must(at(log).up(P1));
    return log;
  };

  test('gives the group back at the new epoch, with the same rule', () => {
    const log = withdrawn();
    const { epoch } = log;
    log.must(at(log).cut(B, 100), at(log).resume());
    expect(log.group).toMatchObject({
      epoch,
      phase: { kind: 'running', primary: A, timeline: 1 },
      rule: RULE_BC,
    });
  });

  test('is refused once the primary has stopped and reported', () => {
    const log = withdrawn();
    log.must(at(log).cut(A, 100));
    expect(log.commit(at(log).resume())).toMatch(/it can only be promoted/);
  });

  test('is refused while a majority holds it for down, at whatever epoch it judged', () => {
    expect(fencing().commit({ ...at(fencing()).resume() })).toMatch(/2 voters still hold a for down/);
  });

  test('is refused for a candidate that is not known to have opened its timeline', () => {
    const log = promoting();
    log.must(at(log).failed(B));
    log.must(at(log).begin({ kind: 'promotion-failed' }));
    expect(log.commit(at(log).resume())).toMatch(/b is not known to have opened timeline 2/);
  });

  test('is taken for one that has', () => {
    const log = fencing(promoted());
    log.must(at(log).up(P1), at(log).resume());
    expect(log.group.phase).toMatchObject({ kind: 'running', primary: B, timeline: 2 });
  });
});
