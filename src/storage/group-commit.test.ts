import { describe, expect, test } from 'vitest';
import { StoreFailedError } from './errors.ts';
import { createGroupCommit } from './group-commit.ts';

/** A disk whose writes end when the test says so. */
function slowDisk(): {
  readonly batches: string[][];
  commit(items: readonly string[]): Promise<void>;
  finish(error?: Error): Promise<void>;
} {
  const batches: string[][] = [];
  const ends: ((error?: Error) => void)[] = [];
  return {
    batches,
    commit: (items) => {
      batches.push([...items]);
      return new Promise((resolve, reject) =>
        ends.push((error) => (error === undefined ? resolve() : reject(error))),
      );
    },
    finish: async (error) => {
      ends.shift()?.(error);
      await new Promise((resolve) => setImmediate(resolve));
    },
  };
}

describe('group commit', () => {
  test('has one write in flight and lets the next take all that arrived meanwhile, answering in order', async () => {
    const disk = slowDisk();
    const group = createGroupCommit(disk.commit);
    const answered: string[] = [];
    const written = ['a', 'b', 'c'].map((item) => group.write(item).then(() => answered.push(item)));
    expect(disk.batches).toEqual([['a']]);
    await disk.finish();
    expect(answered).toEqual(['a']);
    expect(disk.batches).toEqual([['a'], ['b', 'c']]);
    await disk.finish();
    expect(answered).toEqual(['a', 'b', 'c']);
    expect(disk.batches).toHaveLength(2);
    await Promise.all(written);
  });

  test('refuses the failed write, those that wait, and all later ones, and tries nothing again', async () => {
    const disk = slowDisk();
    const group = createGroupCommit(disk.commit);
    const outcomes = Promise.allSettled([group.write('a'), group.write('b')]);
    await disk.finish(new Error('input/output error'));
    for (const outcome of await outcomes) {
      expect(outcome.status === 'rejected' && outcome.reason).toBeInstanceOf(StoreFailedError);
    }
    await expect(group.write('c')).rejects.toThrow(/input\/output error/);
    expect(disk.batches).toEqual([['a']]);
  });

  test('fails from beside: the write in flight may still end well, no other does, and answers keep their order', async () => {
    const disk = slowDisk();
    const group = createGroupCommit(disk.commit);
    const answered: string[] = [];
    const written = ['a', 'b'].map((item) =>
      group.write(item).then(
        () => answered.push(`${item} written`),
        (error: unknown) => answered.push(`${item} ${String(error)}`),
      ),
    );
    expect(group.fail(new Error('no space left'))).toBeInstanceOf(StoreFailedError);
    expect(group.fail(new Error('again')).message).toMatch(/again/);
    await expect(group.write('c')).rejects.toThrow(/no space left/);
    await disk.finish();
    await Promise.all(written);
    expect(answered).toEqual(['a written', expect.stringMatching(/^b StoreFailedError: .*no space left/)]);
    expect(disk.batches).toEqual([['a']]);
  });

  test('closing waits for what was accepted and refuses what comes later', async () => {
    const disk = slowDisk();
    const group = createGroupCommit(disk.commit);
    const written = [group.write('a'), group.write('b')];
    let isClosed = false;
    const closed = group.close().then(() => (isClosed = true));
    await expect(group.write('c')).rejects.toThrow(/closed/);
    await disk.finish();
    expect(isClosed).toBe(false);
    await disk.finish();
    await Promise.all([...written, closed]);
    expect(disk.batches).toEqual([['a'], ['b']]);
  });
});
