// When a walsender counts as having taken a new sync rule. One that has not may release commits that satisfy neither rule.
import { describe, expect, test } from 'vitest';
import { MB, MC, RULE_BC } from '../cluster/testing/example.ts';
import { hasTaken } from './rule-change.ts';

const SEEN_AT_MS = 1000;
const ONLY_B = { members: [MB], acks: 1 };
const ONLY_C = { members: [MC], acks: 1 };
const ALONE = { members: [], acks: 0 };
const sender = (applicationName: string, syncPriority: number, backendStartMs = 500) => ({
  applicationName,
  syncPriority,
  backendStartMs,
});

describe('a walsender has taken the change', () => {
  test.each([
    ['a member that comes in and has priority', sender(MC, 1), ONLY_B, RULE_BC],
    ['a member that leaves and has none', sender(MC, 0), RULE_BC, ONLY_B],
    ['a member that stays', sender(MB, 1), RULE_BC, ONLY_B],
    ['everybody, when the primary is to run alone', sender(MB, 0), ONLY_B, ALONE],
    ['one that began after a fresh session saw the new value', sender(MC, 1, 1001), RULE_BC, ONLY_B],
    ['a clone or a backup, which never counts', sender('pg_sentinel_clone', 0), RULE_BC, ONLY_B],
  ])('%s', (_, walSender, rule, next) => {
    expect(hasTaken(walSender, rule, next, SEEN_AT_MS)).toBe(true);
  });
});

describe('a walsender has not', () => {
  test.each([
    ['a member that comes in and has no priority yet', sender(MC, 0), ONLY_B, RULE_BC],
    ['a member that leaves and still has priority', sender(MC, 1), RULE_BC, ONLY_B],
    ['one that began in the very millisecond of the check', sender(MC, 1, 1000), RULE_BC, ONLY_B],
    ['the only one, when the primary is to run alone', sender(MB, 1), ONLY_B, ALONE],
    [
      'a member of neither rule that still counts, from a change that was replaced while alone',
      sender(MC, 1),
      ALONE,
      ONLY_B,
    ],
    [
      'a member that stays while the number of acknowledgements changes: its priority does not show it',
      sender(MB, 1),
      RULE_BC,
      { ...RULE_BC, acks: 2 },
    ],
    [
      'a member that may still count by a change to fewer acknowledgements, which was replaced while alone',
      sender(MB, 1),
      ALONE,
      { ...RULE_BC, acks: 2 },
    ],
  ])('%s', (_, walSender, rule, next) => {
    expect(hasTaken(walSender, rule, next, SEEN_AT_MS)).toBe(false);
  });

  test('and one that may count further than is asked is not held for late, nor one that does not count', () => {
    const two = { ...RULE_BC, acks: 2 };
    expect(hasTaken(sender(MB, 1), two, ONLY_B, SEEN_AT_MS)).toBe(true);
    expect(hasTaken(sender('pg_sentinel_clone', 0), RULE_BC, two, SEEN_AT_MS)).toBe(true);
  });

  test('and one that stays is not held for late where only members change', () => {
    expect(hasTaken(sender(MC, 0), ONLY_C, ONLY_B, SEEN_AT_MS)).toBe(true);
  });
});
