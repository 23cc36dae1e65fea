// The checker itself: it must find what is wrong, accept what is right, and its two ways of deciding must agree.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Operation } from './history.ts';
import { checkRegister, checkZones, search } from './linearizability.ts';

const write = (value: number, calledAt: number, returnedAt?: number): Operation => ({
  kind: 'write',
  value,
  calledAt,
  returnedAt,
  place: undefined,
});
const read = (value: number, calledAt: number, returnedAt: number): Operation => ({
  kind: 'read',
  value,
  calledAt,
  returnedAt,
  place: undefined,
});

describe('a history of one register', () => {
  test('without operations is linearizable', () => {
    expect(checkRegister([])).toEqual({ kind: 'linearizable' });
  });

  test('whose reads give the last write is linearizable', () => {
    expect(checkRegister([read(0, 1, 2), write(7, 3, 4), read(7, 5, 6)]).kind).toBe('linearizable');
  });

  test('in which a read gives an older value after a newer one was written is not', () => {
    expect(checkRegister([write(1, 1, 2), write(2, 3, 4), read(1, 5, 6)]).kind).toBe('violated');
  });

  test('in which a read gives what nobody wrote is not', () => {
    expect(checkRegister([write(1, 1, 2), read(9, 3, 4)]).kind).toBe('violated');
  });

  test('in which a read gives what is written only after it has ended is not', () => {
    expect(checkRegister([read(1, 1, 2), write(1, 3, 4)]).kind).toBe('violated');
  });

  test('in which two reads, one after the other, see concurrent writes in an order that goes back is not', () => {
    const writes = [write(1, 1, 20), write(2, 2, 21)];
    expect(checkRegister([...writes, read(2, 3, 4), read(1, 5, 6)]).kind).toBe('linearizable');
    expect(checkRegister([...writes, read(2, 3, 4), read(1, 5, 6), read(2, 7, 8)]).kind).toBe('violated');
  });

  test('in which a write of unknown outcome shows later, once, or never, is linearizable', () => {
    expect(checkRegister([write(1, 1), read(0, 2, 3), read(1, 4, 5), read(1, 6, 7)]).kind).toBe(
      'linearizable',
    );
    expect(checkRegister([write(1, 1), read(0, 2, 3), read(0, 4, 5)]).kind).toBe('linearizable');
  });

  test('in which a write of unknown outcome shows and is gone again is not', () => {
    expect(checkRegister([write(1, 1), read(1, 2, 3), read(0, 4, 5)]).kind).toBe('violated');
  });

  test('is not believed because the log says so', () => {
    const stale = [write(1, 1, 2), write(2, 3, 4), read(1, 5, 6)].map((operation, place) => ({
      ...operation,
      place,
    }));
    expect(checkRegister(stale).kind).toBe('violated');
  });

  test('of a thousand concurrent writes is decided, either way', () => {
    const writes = Array.from({ length: 1000 }, (_, place) => write(place + 1, place, 5000 + place));
    expect(checkRegister([...writes, read(500, 7000, 7001), read(500, 7002, 7003)]).kind).toBe(
      'linearizable',
    );
    expect(checkRegister([...writes, read(500, 7000, 7001), read(501, 7002, 7003)]).kind).toBe('violated');
  });
});

/** A history as clients of a register with a delay would have it, some of its reads changed, some outcomes lost. */
const histories = fc
  .array(
    fc.record({
      isRead: fc.boolean(),
      calledAt: fc.integer({ min: 0, max: 60 }),
      lasts: fc.integer({ min: 1, max: 20 }),
      isLost: fc.boolean(),
      value: fc.integer({ min: 0, max: 6 }),
    }),
    { maxLength: 9 },
  )
  .map((plans) =>
    plans.flatMap(({ isRead, calledAt, lasts, isLost, value }, place): Operation[] => {
      const called = calledAt + place / 100;
      if (isRead) return [read(value, called, called + lasts)];
      return [write(place + 1, called, isLost ? undefined : called + lasts)];
    }),
  );

test('the search and the zones agree on every small history', () => {
  fc.assert(
    fc.property(histories, (history) => {
      const read_ = new Set(
        history.flatMap((operation) => (operation.kind === 'read' ? [operation.value] : [])),
      );
      const known = history.filter(
        (operation) => operation.returnedAt !== undefined || read_.has(operation.value),
      );
      expect(search(known, 1_000_000)?.kind).toBe(checkZones(known).kind);
    }),
    { numRuns: 5000 },
  );
});
