import { mkdir, open as openFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { logIndex, term } from '../base/ids.ts';
import { CHAIN_START } from './entry-codec.ts';
import { createSideFile, openSideFile } from './side-file.ts';
import type { StoreState } from './store-state.ts';
import { hardState, SELF, withDirectory } from './testing/stores.ts';

const stateOf = (sequence: number): StoreState => ({
  sequence,
  clusterId: 'blue',
  self: SELF,
  storeId: '0123456789abcdef',
  base: { index: logIndex(0), term: term(0), hash: CHAIN_START },
  snapshot: undefined,
  hardState: hardState(sequence),
  lastIndex: logIndex(sequence),
  chainHead: CHAIN_START,
});

async function withSideFile(lastSequence: number, body: (path: string) => Promise<void>): Promise<void> {
  await withDirectory(async (directory) => {
    await mkdir(directory);
    const path = join(directory, 'hard-state');
    const file = await createSideFile(path, stateOf(1));
    for (let sequence = 2; sequence <= lastSequence; sequence += 1) await file.write(stateOf(sequence));
    await file.close();
    expect(await readdir(directory)).toEqual(['hard-state']);
    await body(path);
  });
}

async function overwrite(path: string, offset: number, bytes: Buffer): Promise<void> {
  const handle = await openFile(path, 'r+');
  await handle.write(bytes, 0, bytes.length, offset);
  await handle.close();
}

async function sequenceIn(path: string): Promise<number | undefined> {
  const file = await openSideFile(path);
  await file?.close();
  return file?.state?.sequence;
}

describe('the side file', () => {
  test.each([1, 2, 3, 8])('gives back the newest of %i writes', async (count) => {
    await withSideFile(count, async (path) => expect(await sequenceIn(path)).toBe(count));
  });

  test('gives back the write before one that was torn', async () => {
    await withSideFile(4, async (path) => {
      await overwrite(path, 20, Buffer.alloc(4000, 0xff));
      expect(await sequenceIn(path)).toBe(3);
    });
  });

  test('has no state when both slots are spoilt, and is absent where there is none', async () => {
    await withSideFile(4, async (path) => {
      await overwrite(path, 0, Buffer.alloc(8192));
      expect(
        (await openSideFile(path).then(async (file) => ({ ...file, closed: await file?.close() }))).state,
      ).toBeUndefined();
      expect(await openSideFile(`${path}-elsewhere`)).toBeUndefined();
    });
  });
});
