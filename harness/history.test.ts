import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Attempt } from './attempt.ts';
import { checkHistory, largestGap, outageOf } from './history.ts';

let count = 0;
const attempt = (
  node: string,
  startMs: number,
  endMs: number,
  outcome: Attempt['outcome'] = 'acked',
): Attempt => ({
  writer: 'w',
  id: `w:${count++}`,
  node,
  startMs,
  endMs,
  outcome,
});
const ids = (attempts: readonly Attempt[]): string[] => attempts.map(({ id }) => id);

describe('the checker finds', () => {
  test('nothing in a clean failover', () => {
    const attempts = [
      attempt('pg1', 0, 1),
      attempt('pg1', 2, 3, 'unknown'),
      attempt('pg2', 9, 10),
      attempt('pg2', 11, 12),
    ];
    const verdict = checkHistory({ attempts, readBack: ids(attempts) });
    expect(verdict).toMatchObject({
      acked: 3,
      failed: 0,
      unknown: 1,
      lost: [],
      duplicates: [],
      doubles: [],
      lateReplies: [],
    });
  });

  test('an acknowledged write that is not there', () => {
    const attempts = [attempt('pg1', 0, 1), attempt('pg1', 2, 3), attempt('pg2', 9, 10)];
    const readBack = ids(attempts).filter((_, at) => at !== 1);
    expect(checkHistory({ attempts, readBack }).lost).toEqual([attempts[1]]);
  });

  test('an id that is there twice', () => {
    const attempts = [attempt('pg1', 0, 1), attempt('pg2', 9, 10)];
    const readBack = [...ids(attempts), ...ids(attempts).slice(0, 1)];
    expect(checkHistory({ attempts, readBack }).duplicates).toEqual([attempts[0]?.id]);
  });

  test('two nodes that acknowledge side by side', () => {
    const attempts = [
      attempt('pg1', 0, 1),
      attempt('pg2', 5, 6),
      attempt('pg1', 6.5, 7),
      attempt('pg2', 8, 9),
      attempt('pg1', 9, 10),
    ];
    expect(checkHistory({ attempts, readBack: ids(attempts) }).doubles).toEqual([attempts[2], attempts[4]]);
  });

  test('an overlap of a write that began before the takeover and is not there', () => {
    const attempts = [attempt('pg1', 0, 1), attempt('pg1', 2, 20), attempt('pg2', 9, 10)];
    const verdict = checkHistory({ attempts, readBack: ids(attempts).filter((_, at) => at !== 1) });
    expect(verdict.doubles).toEqual([attempts[1]]);
    expect(verdict.lost).toEqual([attempts[1]]);
  });

  test('a reply that came late, which is no double', () => {
    const attempts = [attempt('pg1', 0, 1), attempt('pg1', 2, 20), attempt('pg2', 9, 10)];
    const verdict = checkHistory({ attempts, readBack: ids(attempts) });
    expect(verdict.doubles).toEqual([]);
    expect(verdict.lateReplies).toEqual([attempts[1]]);
  });

  test('no double when a node becomes primary again, if the epochs say so', () => {
    const attempts = [attempt('pg1', 0, 1), attempt('pg2', 5, 6), attempt('pg1', 9, 10)];
    const readBack = ids(attempts);
    expect(checkHistory({ attempts, readBack, primaries: ['pg1', 'pg2', 'pg1'] }).doubles).toEqual([]);
    expect(checkHistory({ attempts, readBack }).doubles).toEqual([attempts[2]]);
  });

  test('a double by a node that was never primary', () => {
    const attempts = [attempt('pg1', 0, 1), attempt('pg3', 5, 6)];
    expect(checkHistory({ attempts, readBack: ids(attempts), primaries: ['pg1', 'pg2'] }).doubles).toEqual([
      attempts[1],
    ]);
  });

  test('no loss in a write of unknown outcome, there or not', () => {
    const attempts = [attempt('pg1', 0, 1), attempt('pg1', 2, 3, 'unknown'), attempt('pg1', 4, 5, 'failed')];
    expect(checkHistory({ attempts, readBack: ids(attempts).slice(0, 1) }).lost).toEqual([]);
    expect(checkHistory({ attempts, readBack: ids(attempts).slice(0, 2) }).lost).toEqual([]);
  });
});

/** A history of stints, one node after the other, one writer with one insert in flight. */
const stints = fc.array(fc.tuple(fc.constantFrom('pg1', 'pg2', 'pg3'), fc.integer({ min: 1, max: 8 })), {
  minLength: 1,
  maxLength: 6,
});
function historyOf(plan: readonly (readonly [string, number])[]): {
  attempts: Attempt[];
  primaries: string[];
} {
  let nowMs = 0;
  const attempts = plan.flatMap(([node, writes]) =>
    Array.from({ length: writes }, () => attempt(node, ++nowMs, ++nowMs)),
  );
  return { attempts, primaries: plan.map(([node]) => node) };
}

describe('for any history', () => {
  test('one primary after the other is never a double, in whatever order the attempts are listed', () => {
    fc.assert(
      fc.property(stints, fc.nat(), (plan, rotation) => {
        const { attempts, primaries } = historyOf(plan);
        const at = rotation % attempts.length;
        const listed = [...attempts.slice(at), ...attempts.slice(0, at)];
        const verdict = checkHistory({ attempts: listed, readBack: ids(attempts), primaries });
        expect([...verdict.doubles, ...verdict.lost, ...verdict.lateReplies]).toEqual([]);
      }),
    );
  });

  test('exactly the acknowledged writes that are left out count as lost', () => {
    fc.assert(
      fc.property(stints, fc.infiniteStream(fc.boolean()), (plan, keep) => {
        const { attempts, primaries } = historyOf(plan);
        const kept = new Set(ids(attempts).filter(() => keep.next().value === true));
        const verdict = checkHistory({ attempts, readBack: [...kept], primaries });
        expect(verdict.lost).toEqual(attempts.filter(({ id }) => !kept.has(id)));
      }),
    );
  });

  test('an acknowledgement by a former primary is always found', () => {
    fc.assert(
      fc.property(stints, (plan) => {
        const { attempts } = historyOf([['old', 2], ...plan]);
        const stray = attempt('old', 10_000, 10_001);
        const primaries = ['old', ...plan.map(([node]) => node)];
        const verdict = checkHistory({
          attempts: [...attempts, stray],
          readBack: [...ids(attempts), stray.id],
          primaries,
        });
        expect(verdict.doubles).toEqual([stray]);
      }),
    );
  });
});

describe('the outage', () => {
  const steady = (node: string, fromMs: number, toMs: number): Attempt[] =>
    Array.from({ length: (toMs - fromMs) / 10 }, (_, at) =>
      attempt(node, fromMs + at * 10, fromMs + at * 10 + 5),
    );

  test('is the time from the last acknowledgement before to the first after', () => {
    const attempts = [
      ...steady('pg1', 0, 100),
      attempt('pg1', 100, 350, 'unknown'),
      ...steady('pg2', 300, 500),
    ];
    expect(outageOf(attempts, 100)).toMatchObject({
      fromMs: 95,
      toMs: 305,
      ms: 210,
      fromNode: 'pg1',
      toNode: 'pg2',
    });
  });

  test('includes a stall soon after the takeover, not one long before the event', () => {
    const attempts = [
      ...steady('pg1', 0, 50),
      ...steady('pg1', 900, 1000),
      ...steady('pg2', 1100, 1200),
      ...steady('pg2', 1600, 1700),
    ];
    expect(outageOf(attempts, 1000)?.ms).toBe(410);
  });

  test('is not known before another node has acknowledged', () => {
    expect(outageOf(steady('pg1', 0, 100), 50)).toBeUndefined();
  });

  test('the largest gap of an interval, and none where there are no acknowledgements', () => {
    const attempts = [...steady('pg1', 0, 100), ...steady('pg1', 250, 300)];
    expect(largestGap(attempts, 0, 400)?.ms).toBe(160);
    expect(largestGap(attempts, 500, 600)).toBeUndefined();
  });
});
