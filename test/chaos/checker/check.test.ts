// The checker is what every chaos test rests on: each kind of violation is shown to be found.
import { describe, expect, test } from 'vitest';
import { judge } from './check.ts';
import type { Operation, RegisterStep } from './operation.ts';

let count = 0;
function acked(
  node: string,
  timeline: number,
  startMs: number,
  endMs: number,
  register?: RegisterStep,
): Operation {
  const id = `w:${count++}`;
  return { writer: 'w', id, node, startMs, endMs, outcome: 'acked', timeline, ...(register && { register }) };
}
const unknown = (operation: Operation): Operation => {
  const { timeline: _, ...rest } = operation;
  return { ...rest, outcome: 'unknown' };
};
const cas = (expected: string, value: string, won = true): RegisterStep => ({
  kind: 'compare-and-set',
  key: 'k',
  expected,
  value,
  won,
});
const read = (value: string): RegisterStep => ({ kind: 'read', key: 'k', value });

function violations(
  operations: readonly Operation[],
  final = '0',
  without: readonly string[] = [],
): readonly string[] {
  return judge(operations, {
    ids: operations.map(({ id }) => id).filter((id) => !without.includes(id)),
    registers: [{ key: 'k', initial: '0', final }],
  }).violations;
}

describe('inserts', () => {
  test('every acknowledged write is there exactly once', () => {
    const [one, two] = [acked('pg1', 1, 0, 1), acked('pg1', 1, 2, 3)];
    expect(violations([one, two])).toEqual([]);
    expect(violations([one, two], '0', [two.id])).toEqual([`lost: ${two.id}, acknowledged by pg1`]);
    const twice = judge([one], { ids: [one.id, one.id], registers: [] });
    expect(twice.violations).toEqual([`there twice: ${one.id}`]);
  });

  test('an unknown one may be there or not', () => {
    const one = unknown(acked('pg1', 1, 0, 1));
    expect(violations([one])).toEqual([]);
    expect(violations([one], '0', [one.id])).toEqual([]);
  });
});

describe('epochs', () => {
  test('may follow each other on the same nodes', () => {
    const history = [acked('pg1', 1, 0, 1), acked('pg2', 2, 2, 3), acked('pg1', 3, 4, 5)];
    expect(violations(history)).toEqual([]);
    expect(judge(history, { ids: [], registers: [] }).primaries).toEqual(['pg1', 'pg2', 'pg1']);
  });

  test('must not overlap: an earlier one acknowledges what begins after a later one has', () => {
    const [first, second] = [acked('pg2', 2, 0, 1), acked('pg1', 1, 2, 3)];
    expect(violations([first, second])).toContain(
      `${second.id} was begun and acknowledged by pg1 on timeline 1 after pg2 had acknowledged ${first.id} on 2`,
    );
  });

  test('a late reply to what began before is no overlap', () => {
    expect(violations([acked('pg2', 2, 5, 6), acked('pg1', 1, 0, 9)])).toEqual([]);
  });

  test('a timeline is one node’s', () => {
    expect(violations([acked('pg1', 1, 0, 1), acked('pg2', 1, 0, 1)]).join()).toContain(
      'timeline 1 is acknowledged on by pg1 and by pg2',
    );
  });
});

describe('a register', () => {
  test('is linearizable where the order of its values fits the times', () => {
    const history = [
      acked('pg1', 1, 0, 5, cas('0', 'a')),
      acked('pg1', 1, 1, 2, read('a')),
      acked('pg1', 1, 4, 6, cas('a', 'b')),
      acked('pg1', 1, 5, 7, cas('a', 'c', false)),
      acked('pg1', 1, 6, 9, read('b')),
    ];
    expect(violations(history, 'b')).toEqual([]);
  });

  test('an acknowledged compare-and-set whose value was never held is found', () => {
    const lost = acked('pg1', 1, 0, 1, cas('0', 'a'));
    expect(violations([lost], '0')).toEqual([
      `register k: ${lost.id} set a, which is not among what the register held`,
    ]);
  });

  test('two that replaced the same value are found', () => {
    const [one, two] = [acked('pg1', 1, 0, 1, cas('0', 'a')), acked('pg1', 1, 0, 1, cas('0', 'b'))];
    expect(violations([one, two], 'b').join()).toContain(`${one.id} set a, which is not among`);
  });

  test('one of unknown outcome may have taken effect, later than it ended', () => {
    const hung = unknown(acked('pg1', 1, 0, 1, cas('0', 'a')));
    const before = acked('pg1', 1, 2, 3, read('0'));
    const after = acked('pg1', 1, 4, 5, read('a'));
    expect(violations([hung, before, after], 'a')).toEqual([]);
    expect(violations([hung, before], '0')).toEqual([]);
    expect(violations([hung, after, { ...before, startMs: 6, endMs: 7 }], 'a').join()).toContain(
      'comes after it',
    );
  });

  test('a read of an old value after a newer one was there is found', () => {
    const history = [
      acked('pg1', 1, 0, 1, cas('0', 'a')),
      acked('pg1', 1, 2, 3, cas('a', 'b')),
      acked('pg1', 1, 4, 5, read('a')),
    ];
    expect(violations(history, 'b')).toHaveLength(1);
  });

  test('values that nobody wrote are found, as a read and at the end', () => {
    expect(violations([acked('pg1', 1, 0, 1, read('x'))]).join()).toContain('never held');
    expect(violations([], 'x').join()).toContain('nobody can have written');
  });

  test('one that lost although the value was there all the time is found', () => {
    const history = [acked('pg1', 1, 0, 1, cas('0', 'a')), acked('pg1', 1, 2, 3, cas('a', 'b', false))];
    expect(violations(history, 'a').join()).toContain('but it did all the time');
  });
});
