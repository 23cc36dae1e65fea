import { Level } from 'level';
import { describe, expect, test } from 'vitest';
import { logIndex, term } from '../base/ids.ts';
import { CHAIN_START, encodeEntry, HASH_BYTES } from './entry-codec.ts';
import { entryKey } from './keys.ts';
import { encodeWrite, mergeWrites } from './log-write.ts';
import type { LogWrite, MergedWrite, RecordedSnapshot, WriteItem } from './log-write.ts';
import type { HashedPosition, StoreState } from './store-state.ts';
import { entry, hardState, persisted, SELF, texts, withDirectory } from './testing/stores.ts';

const write = (asked: LogWrite): WriteItem => ({ kind: 'write', write: asked });

function position(index: number, ofTerm: number, fill = index): HashedPosition {
  return { index: logIndex(index), term: term(ofTerm), hash: Buffer.alloc(HASH_BYTES, fill) };
}

function recorded(index: number, ofTerm: number, base: number, baseTerm: number): RecordedSnapshot {
  return { file: position(index, ofTerm), base: { index: logIndex(base), term: term(baseTerm) } };
}

describe('several writes merged into one', () => {
  const current = { hardState: hardState(1), lastIndex: logIndex(3), snapshot: undefined };

  test('leave the last hard state, and of the entries those not replaced', () => {
    const merged = mergeWrites(current, [
      write({ hardState: hardState(1), entries: [entry(4, 1), entry(5, 1)] }),
      write({ hardState: hardState(2, 'p2'), entries: [] }),
      write({ hardState: hardState(2, 'p2'), entries: [entry(5, 2)] }),
      write({ hardState: hardState(3), entries: [entry(2, 3)] }),
      write({ hardState: hardState(3), entries: [entry(3, 3)] }),
    ]);
    expect(merged.hardState).toEqual(hardState(3));
    expect(texts(merged.entries)).toEqual(['2/3 entry 2 of term 3', '3/3 entry 3 of term 3']);
  });

  test('leave only what follows the last snapshot that replaces the log', () => {
    const first = persisted(9, 1, { replacesLog: true });
    const last = persisted(20, 2, { replacesLog: true });
    const merged = mergeWrites(current, [
      write({ hardState: hardState(1), entries: [entry(4, 1)] }),
      write({ hardState: hardState(1), entries: [entry(10, 1)], snapshot: first }),
      { kind: 'record', recorded: recorded(10, 1, 9, 1) },
      write({ hardState: hardState(2), entries: [entry(21, 2)], snapshot: last }),
      write({ hardState: hardState(2), entries: [entry(22, 2)] }),
      { kind: 'record', recorded: recorded(19, 1, 9, 1) },
    ]);
    expect(merged.replacement).toBe(last);
    expect(merged.recorded).toBeUndefined();
    expect(texts(merged.entries)).toEqual(['21/2 entry 21 of term 2', '22/2 entry 22 of term 2']);
  });

  test('leave the newest of the recorded snapshots, and none that is not newer than the one in force', () => {
    const inForce = { ...current, snapshot: position(2, 1) };
    const newer = recorded(3, 1, 3, 1);
    expect(
      mergeWrites(inForce, [{ kind: 'record', recorded: recorded(2, 1, 1, 1) }]).recorded,
    ).toBeUndefined();
    expect(
      mergeWrites(current, [
        { kind: 'record', recorded: recorded(1, 1, 1, 1) },
        { kind: 'record', recorded: newer },
        { kind: 'record', recorded: recorded(2, 1, 2, 1) },
      ]).recorded,
    ).toBe(newer);
  });

  test('are refused when they leave a hole or take back a term or vote', () => {
    expect(() => mergeWrites(current, [write({ hardState: hardState(1), entries: [entry(5, 1)] })])).toThrow(
      /entry 5 after entry 3/,
    );
    const voted = write({ hardState: hardState(2, 'p1'), entries: [] });
    expect(() =>
      mergeWrites(current, [voted, write({ hardState: hardState(2, 'p2'), entries: [] })]),
    ).toThrow(/a vote for p2/);
    expect(() => mergeWrites(current, [voted, write({ hardState: hardState(1), entries: [] })])).toThrow(
      /term 1 after term 2/,
    );
  });

  test('are refused when they take back a snapshot, or entries that it stands for', () => {
    const inForce = { ...current, snapshot: position(2, 1) };
    expect(() => mergeWrites(inForce, [write({ hardState: hardState(1), entries: [entry(2, 1)] })])).toThrow(
      /refused to replace entry 2: the snapshot at 2/,
    );
    const older = persisted(2, 1, { replacesLog: true });
    expect(() =>
      mergeWrites(inForce, [write({ hardState: hardState(1), entries: [], snapshot: older })]),
    ).toThrow(/refused to replace the snapshot at 2 by one at 2/);
    const split = persisted(9, 1, { replacesLog: true, base: { index: 8, term: 1 } });
    expect(() =>
      mergeWrites(current, [write({ hardState: hardState(1), entries: [], snapshot: split })]),
    ).toThrow(/its base is 8/);
    const replacing = write({
      hardState: hardState(1),
      entries: [],
      snapshot: persisted(9, 1, { replacesLog: true }),
    });
    expect(() =>
      mergeWrites(current, [replacing, write({ hardState: hardState(1), entries: [entry(9, 1)] })]),
    ).toThrow(/refused to replace entry 9/);
  });
});

describe('the operations of a write', () => {
  /** A log of `count` entries of term 1, as LevelDB and state have it. */
  async function withLog(
    count: number,
    body: (database: Level<Buffer, Buffer>, state: StoreState) => Promise<void>,
  ): Promise<void> {
    await withDirectory(async (directory) => {
      const database = new Level<Buffer, Buffer>(directory, {
        keyEncoding: 'buffer',
        valueEncoding: 'buffer',
      });
      let chainHead = CHAIN_START;
      for (let index = 1; index <= count; index += 1) {
        const { bytes, hash } = encodeEntry(entry(index, 1, ''), chainHead);
        await database.put(entryKey(logIndex(index)), bytes);
        chainHead = hash;
      }
      await body(database, {
        sequence: 7,
        clusterId: 'blue',
        self: SELF,
        storeId: '0123456789abcdef',
        hardState: hardState(1),
        base: { index: logIndex(0), term: term(0), hash: CHAIN_START },
        lastIndex: logIndex(count),
        chainHead,
        snapshot: undefined,
      });
      await database.close();
    });
  }
  const nothing: MergedWrite = {
    hardState: hardState(1),
    replacement: undefined,
    entries: [],
    recorded: undefined,
  };

  test('of a compaction are one, however many entries go', async () => {
    await withLog(2000, async (database, state) => {
      const file = recorded(1990, 1, 1980, 1);
      const { next, operations } = await encodeWrite(
        database,
        state,
        { ...nothing, recorded: file },
        undefined,
      );
      expect(operations).toHaveLength(1);
      expect(next.base.index).toBe(1980);
      expect(next.snapshot).toBe(file.file);
      expect(next.lastIndex).toBe(2000);
      expect(next.chainHead).toBe(state.chainHead);
    });
  });

  test('find the base among the entries of the same write too', async () => {
    await withLog(3, async (database, state) => {
      const fresh = [entry(4, 1), entry(5, 2)];
      const { next } = await encodeWrite(
        database,
        state,
        { ...nothing, entries: fresh, recorded: recorded(5, 2, 4, 1) },
        undefined,
      );
      expect(next.base).toEqual({
        index: 4,
        term: 1,
        hash: encodeEntry(entry(4, 1), state.chainHead).hash,
      });
    });
  });

  test('of a snapshot that replaces the log remove what lies behind it, and chain what follows to its hash', async () => {
    await withLog(6, async (database, state) => {
      const file = position(4, 9);
      const { next, operations } = await encodeWrite(
        database,
        state,
        { ...nothing, replacement: persisted(4, 9, { replacesLog: true }), entries: [entry(5, 9)] },
        file,
      );
      expect(operations.filter(({ type }) => type === 'del').map(({ key }) => key)).toEqual([
        entryKey(logIndex(6)),
      ]);
      expect(next.base).toBe(file);
      expect(next.lastIndex).toBe(5);
      expect(next.chainHead).toEqual(encodeEntry(entry(5, 9), file.hash).hash);
    });
  });

  test.each([
    ['beyond the end of the log', recorded(7, 1, 3, 1), /refused a snapshot at 7/],
    ['of another term than the log', recorded(5, 2, 3, 1), /the log has term 1 there/],
    ['with a base of another term', recorded(5, 1, 3, 2), /the log has term 1 there/],
    ['with a base behind it', recorded(4, 1, 5, 1), /refused a snapshot at 4/],
  ])('are refused for a snapshot %s', async (_, file, message) => {
    await withLog(6, async (database, state) => {
      await expect(encodeWrite(database, state, { ...nothing, recorded: file }, undefined)).rejects.toThrow(
        message,
      );
    });
  });

  test('are refused for a base that falls', async () => {
    await withLog(6, async (database, state) => {
      const compacted = { ...state, base: position(4, 1), snapshot: position(4, 1) };
      await expect(
        encodeWrite(database, compacted, { ...nothing, recorded: recorded(5, 1, 3, 1) }, undefined),
      ).rejects.toThrow(/with base 3: the log holds 4 to 6/);
    });
  });
});
