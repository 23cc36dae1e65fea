// The bounded queue: its limits hold after every push, and order is never changed.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createOutbox, type Outbox } from './outbox.ts';

const limits = { countMax: 4, bytesMax: 100, batchBytesMax: 50 };

function push(outbox: Outbox<string>, value: string, bytes = 1, perishable = false, queuedAtMs = 0): boolean {
  return outbox.push({ value, bytes, perishable, queuedAtMs });
}

test('a full queue drops the newest', () => {
  const outbox = createOutbox<string>(limits);
  const taken = ['a', 'b', 'c', 'd', 'e'].map((value) => push(outbox, value));
  expect(taken).toEqual([true, true, true, true, false]);
  expect(outbox.takeBatch()).toEqual(['a', 'b', 'c', 'd']);
  expect(outbox.droppedCount).toBe(1);
});

test('a full queue drops its oldest perishable item before the newest', () => {
  const outbox = createOutbox<string>(limits);
  for (const value of ['a', 'b', 'c', 'd']) push(outbox, value, 1, value === 'b' || value === 'c');
  expect(push(outbox, 'e')).toBe(false);
  expect(outbox.takeBatch()).toEqual(['a', 'c', 'd', 'e']);
});

test('bytes are bounded as well as items', () => {
  const outbox = createOutbox<string>(limits);
  push(outbox, 'a', 60);
  expect(push(outbox, 'b', 60)).toBe(false);
  expect(push(outbox, 'c', 40)).toBe(true);
  expect(outbox.bytes).toBe(100);
});

test('a batch ends before its limit, and a large item is a batch of its own', () => {
  const outbox = createOutbox<string>(limits);
  for (const [value, bytes] of [
    ['a', 20],
    ['b', 20],
    ['c', 55],
    ['d', 1],
  ] as const)
    push(outbox, value, bytes);
  expect([outbox.takeBatch(), outbox.takeBatch(), outbox.takeBatch(), outbox.takeBatch()]).toEqual([
    ['a', 'b'],
    ['c'],
    ['d'],
    [],
  ]);
});

test('old items are forgotten', () => {
  const outbox = createOutbox<string>(limits);
  for (const [index, value] of ['a', 'b', 'c'].entries()) push(outbox, value, 10, false, index * 100);
  outbox.dropOlderThan(100);
  expect(outbox.bytes).toBe(20);
  expect(outbox.takeBatch()).toEqual(['b', 'c']);
});

test('whatever is pushed, the limits hold and what comes out is in order', () => {
  const item = fc.record({ bytes: fc.nat({ max: 120 }), perishable: fc.boolean(), take: fc.boolean() });
  fc.assert(
    fc.property(fc.array(item), (items) => {
      const outbox = createOutbox<number>(limits);
      const out: number[] = [];
      for (const [value, { bytes, perishable, take }] of items.entries()) {
        outbox.push({ value, bytes, perishable, queuedAtMs: value });
        expect(outbox.count).toBeLessThanOrEqual(limits.countMax);
        expect(outbox.bytes).toBeLessThanOrEqual(limits.bytesMax);
        if (take) out.push(...outbox.takeBatch());
      }
      while (outbox.count > 0) out.push(...outbox.takeBatch());
      expect(outbox.bytes).toBe(0);
      expect(out).toEqual(out.toSorted((x, y) => x - y));
      expect(out.length + outbox.droppedCount).toBe(items.length);
    }),
  );
});
