// What durability strict and async, and a person who accepts a loss, change about rules and promotions.
import { describe, expect, test } from 'vitest';
import type { Durability, SyncRule } from './commands.ts';
import { SETTINGS_FEATURE_LEVEL } from './features.ts';
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
  P1,
  P2,
  RULE_BC,
  at,
  fencing,
  newLog,
  promoting,
  recovered,
  running,
  runningAlone,
} from './testing/example.ts';

const LEASED: SyncRule = { members: [], acks: 0, leased: true };
const ONLY_B: SyncRule = { members: [MB], acks: 1 };
const ONLY_C: SyncRule = { members: [MC], acks: 1 };

const wanting = (log: Log, durability: Durability, acks = 1): Log => {
  const wanted = newLog({ ...log.state, featureLevel: SETTINGS_FEATURE_LEVEL });
  const settings = { ...wanted.group.settings, durability, acks };
  wanted.must({ kind: 'change-settings', group: GROUP, settings });
  return wanted;
};
const changing = (log: Log, next: SyncRule): Log => {
  log.must(at(log).change(next));
  return log;
};
const changed = (log: Log, next: SyncRule): Log => {
  changing(log, next).must(at(log).commitRule());
  return log;
};
const leased = (): Log => changed(wanting(running(), 'async'), LEASED);
const begun = (log: Log): Log => fencing(log);

describe('a rule under a lease', () => {
  test('is taken only where the group is asynchronous', () => {
    for (const durability of ['quorum', 'strict'] as const)
      expect(wanting(running(), durability).commit(at(running()).change(LEASED))).toMatch(
        /must not go by a lease/,
      );
    expect(leased().group.rule).toEqual(LEASED);
  });

  test('while it is only pending the rule before it binds', () => {
    const log = begun(changing(wanting(running(), 'async'), LEASED));
    log.must(at(log).cut(B, 100));
    expect(log.commit(at(log).promote(B, 2, LEASED))).toMatch(/1 of 2 members/);
    log.must(at(log).cut(C, 110));
    expect(log.commit(at(log).promote(B, 2, LEASED))).toMatch(/c holds more/);
    log.must(at(log).promote(C, 2, LEASED));
    expect(log.group.rule).toEqual(LEASED);
  });

  test('is not replaced while it is pending: the primary may acknowledge by it already', () => {
    const log = changing(wanting(running(), 'async'), LEASED);
    for (const next of [ONLY_B, RULE_BC, ALONE])
      expect(log.commit(at(log).change(next))).toMatch(/being changed already/);
  });

  test.each<[string, SyncRule | undefined]>([
    ['in force', undefined],
    ['with a change to a rule pending', ONLY_B],
    ['with a change to none pending', ALONE],
  ])('%s needs no report but the candidate’s, the best of those that came', (_, next) => {
    const log = leased();
    if (next !== undefined) changing(log, next);
    begun(log);
    expect(log.commit(at(log).promote(B, 2, LEASED))).toMatch(/has not reported/);
    log.must(at(log).cut(B, 100), at(log).cut(C, 110));
    expect(log.commit(at(log).promote(B, 2, LEASED))).toMatch(/c holds more/);
    log.must(at(log).promote(C, 2, LEASED));
  });

  test('a switchover on purpose of such a group loses nothing: it needs all that the primary has', () => {
    const log = leased();
    log.must(at(log).begin({ kind: 'planned', to: B }));
    log.must(at(log).cut(B, 100));
    expect(log.commit(at(log).promote(B, 2, LEASED))).toMatch(/too few without a/);
    log.must(at(log).cut(A, 120, { stopped: true }));
    expect(log.commit(at(log).promote(B, 2, LEASED))).toMatch(/lacks WAL/);
    log.must(at(log).cut(B, 120), at(log).promote(B, 2, LEASED));
  });

  test('leaves no floor that a later failover would have to keep', () => {
    const log = leased();
    begun(log).must(at(log).cut(B, 100), at(log).promote(B, 2, LEASED));
    log.must(at(log).promoted(B, 2, 100));
    log.must(at(log).down(P1), at(log).down(P2), at(log).begin());
    log.must(at(log).cut(C, 90), at(log).promote(C, 3, LEASED));
    expect(log.group.floor?.before, 'floors do not pile up from lease to lease').toBeUndefined();
  });

  test('keeps the floors of promotions that failed in a row, by which they are counted', () => {
    const log = leased();
    begun(log).must(at(log).cut(B, 100), at(log).promote(B, 2, LEASED));
    log.must(at(log).failed(B), at(log).begin({ kind: 'promotion-failed' }));
    log.must(at(log).cut(B, 100), at(log).promote(B, 3, LEASED));
    expect(log.group.floor).toMatchObject({ timeline: 3, before: { timeline: 2, before: undefined } });
  });

  test('from none to one and back each is a change that the primary confirms', () => {
    const log = wanting(runningAlone(), 'async');
    changing(log, LEASED);
    begun(log).must(at(log).cut(B, 100));
    expect(log.commit(at(log).promote(B, 2, LEASED))).toMatch(/too few without a/);
    const back = changed(wanting(leased(), 'quorum'), ONLY_B);
    expect(back.group.rule).toEqual(ONLY_B);
  });
});

describe('a strict group', () => {
  test('never goes below the acknowledgements that it had, as far as they are wanted', () => {
    const log = changed(wanting(running(), 'strict', 2), { members: [MB, MC], acks: 2 });
    expect(log.commit(at(log).change(ONLY_B))).toMatch(/strict.*2 acknowledgements, not 1/);
    expect(log.commit(at(log).change(ALONE))).toMatch(/strict/);
    changed(wanting(log, 'strict', 1), ONLY_B);
    changed(wanting(log, 'quorum', 2), ONLY_B);
  });

  test('becomes one only once a change to fewer acknowledgements is done: that may be in force already', () => {
    const two = { members: [MB, MC], acks: 2 };
    const log = changed(wanting(running(), 'quorum', 2), two);
    const strict = { kind: 'change-settings', group: GROUP, settings: { durability: 'strict' } } as const;
    for (const [durability, next] of [
      ['quorum', ONLY_B],
      ['quorum', ALONE],
      ['async', LEASED],
    ] as const) {
      const weaker = changing(wanting(log, durability, 2), next);
      expect(weaker.commit(strict)).toMatch(/sync rule .* is being changed to fewer acknowledgements/);
      weaker.must(at(weaker).commitRule(), strict);
    }
    const other = changing(wanting(log, 'quorum', 1), ONLY_B);
    other.must(strict);
  });

  test('begins after a promotion with as many, and then acknowledges nothing where they are not there', () => {
    const two = { members: [MB, MC], acks: 2 };
    const log = begun(changed(wanting(running(), 'strict', 2), two));
    log.must(at(log).cut(B, 100), at(log).cut(C, 90));
    expect(log.commit(at(log).promote(B, 2, ONLY_C))).toMatch(/strict/);
    const hung = { members: [MC], acks: 2 };
    log.must(at(log).promote(B, 2, hung));
    log.must(at(log).promoted(B, 2, 100));
    expect(log.group.rule).toEqual(hung);
    // Nothing was acknowledged since: a failover needs nobody to say so, but the floor holds.
    log.must(at(log).down(P1), at(log).down(P2), at(log).begin());
    const behind = newLog(log.state);
    log.must(at(log).cut(A, 80));
    expect(log.commit(at(log).promote(A, 3, { members: [], acks: 2 }))).toMatch(/below the switch point/);
    behind.must(at(behind).cut(C, 90), at(behind).promote(C, 3, { members: [], acks: 2 }));
  });

  test('whose log was recovered is taken to have had as many as are wanted: nobody knows what its rule was', () => {
    const lost = recovered(wanting(running(), 'strict', 2));
    lost.must(at(lost).cut(A, 100), at(lost).cut(B, 90), at(lost).cut(C, 80));
    expect(lost.commit(at(lost).promote(A, 2, ALONE))).toMatch(/strict.*2 acknowledgements, not 0/);
    expect(lost.commit(at(lost).promote(A, 2, ONLY_B))).toMatch(/strict.*2 acknowledgements, not 1/);
    const loose = newLog(lost.state);
    lost.must(at(lost).promote(A, 2, { members: [MB], acks: 2 }));
    wanting(loose, 'quorum').must(at(loose).promote(A, 2, ALONE));
  });

  test('a group of another durability begins with no more acknowledgements than members', () => {
    const log = begun(running());
    log.must(at(log).cut(B, 100), at(log).cut(C, 90));
    expect(log.commit(at(log).promote(B, 2, { members: [MC], acks: 2 }))).toMatch(/is not a rule/);
  });
});

test('no promotion begins with a member that is fenced', () => {
  const log = begun(wanting(running(), 'quorum'));
  log.must(at(log).cut(B, 100), at(log).cut(C, 90), { kind: 'fence-node', node: C });
  expect(log.commit(at(log).promote(B, 2, ONLY_C))).toMatch(/cannot follow/);
  log.must(at(log).promote(B, 2, ALONE));
});

describe('a failover on a person’s word', () => {
  const forced = (log: Log, to?: typeof B): Log => {
    log.must(at(log).begin({ kind: 'forced', to }));
    return log;
  };
  const off = (log: Log) =>
    ({ kind: 'node-off', group: GROUP, epoch: log.epoch, node: A, by: 'operator' }) as const;

  test.each<[string, () => Log]>([
    ['runs alone', runningAlone],
    ['has too few members that report', running],
    ['is fencing already', () => fencing()],
    ['is being promoted', () => promoting()],
  ])('begins where the group %s', (_, begin) => {
    expect(forced(begin()).group.phase).toMatchObject({ kind: 'fencing', cause: { kind: 'forced' } });
  });

  test('is refused for the primary itself, where it is under way, and where nobody knows who the primary was', () => {
    expect(running().commit(at(running()).begin({ kind: 'forced', to: A }))).toMatch(/primary.*already/);
    const log = forced(running());
    expect(log.commit(at(log).begin({ kind: 'forced', to: undefined }))).toMatch(/on a person's word/);
    log.must(at(log).begin({ kind: 'forced', to: B }));
    const lost = recovered();
    expect(lost.commit(at(lost).begin({ kind: 'forced', to: B }))).toMatch(/was recovered/);
  });

  test('promotes nobody before the former primary is known to be off', () => {
    const log = forced(runningAlone());
    log.must(at(log).cut(B, 100));
    expect(log.commit(at(log).promote(B, 2, ALONE))).toMatch(/nothing proves.* a is stopped/);
    const byWord = newLog(log.state);
    byWord.must(off(byWord), at(byWord).promote(B, 2, ALONE));
    log.must(at(log).cut(A, 120));
    log.must(at(log).promote(B, 2, ALONE));
  });

  test('needs no such proof where the rule proves that the former primary acknowledges nothing more', () => {
    const log = forced(running(), B);
    log.must(at(log).cut(B, 100), at(log).cut(C, 110));
    log.must(at(log).promote(B, 2, ALONE));
  });

  test('leads to nobody else than the node that was named', () => {
    const log = forced(runningAlone(), B);
    log.must(off(log), at(log).cut(C, 100));
    expect(log.commit(at(log).promote(C, 2, ALONE))).toMatch(/asked to lead to b/);
  });

  test('does not lead to a node that was promoted by hand', () => {
    const log = forced(runningAlone());
    log.must(off(log), at(log).cut(B, 100, { timeline: 7 as never }));
    expect(log.commit(at(log).promote(B, 8, ALONE))).toMatch(/never assigned/);
  });

  test('the former primary that reports may be chosen, and loses nothing', () => {
    const log = forced(runningAlone());
    log.must(at(log).cut(A, 120), at(log).cut(B, 100));
    log.must(at(log).promote(A, 2, { members: [MB], acks: 1 }));
    expect(log.group.rule.members).not.toContain(MA);
  });
});
