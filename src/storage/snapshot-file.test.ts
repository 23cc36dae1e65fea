import { mkdir, readFile, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { logIndex } from '../base/ids.ts';
import type { MembershipCodec, Snapshot } from '../raft/types.ts';
import { listSnapshotFiles, readSnapshotFile, snapshotFileName, writeSnapshotFile } from './snapshot-file.ts';
import { MEMBERSHIP, membershipCodec, persisted, withDirectory } from './testing/stores.ts';

function snapshotOf(index: number, bytes: number): Snapshot {
  const data = new Uint8Array(bytes);
  for (let at = 0; at < bytes; at += 97) data[at] = at % 251;
  return persisted(index, 3, { data }).snapshot;
}

async function withWritten(
  snapshot: Snapshot,
  body: (
    directory: string,
    read: (codec?: MembershipCodec) => ReturnType<typeof readSnapshotFile>,
  ) => Promise<void>,
): Promise<void> {
  await withDirectory(async (directory) => {
    await mkdir(directory);
    const record = await writeSnapshotFile(directory, snapshot, membershipCodec);
    await body(directory, (codec = membershipCodec) => readSnapshotFile(directory, record, codec));
  });
}

describe('a snapshot file', () => {
  test.each([0, 1, (1 << 20) - 1, 1 << 20, (9 << 20) + 7])(
    'comes back as it was, with %i bytes',
    async (bytes) => {
      const snapshot = snapshotOf(17, bytes);
      await withWritten(snapshot, async (directory, read) => {
        const found = await read();
        expect(found.kind).toBe('snapshot');
        if (found.kind !== 'snapshot') return;
        expect({ ...found.snapshot, data: undefined }).toEqual({ ...snapshot, data: undefined });
        expect(found.snapshot.membership).toEqual(MEMBERSHIP);
        expect(Buffer.from(found.snapshot.data).equals(Buffer.from(snapshot.data))).toBe(true);
        expect(found.snapshot.data).not.toBeInstanceOf(Buffer);
        expect(await readdir(directory)).toEqual(['snapshot-0000000000000017']);
        expect((await stat(join(directory, 'snapshot-0000000000000017'))).mode & 0o777).toBe(0o600);
      });
    },
  );

  test('is refused after a change of any byte, cut anywhere, lengthened, and when it is gone', async () => {
    await withWritten(snapshotOf(17, 40), async (directory, read) => {
      const path = join(directory, snapshotFileName(logIndex(17)));
      const whole = await readFile(path);
      const changes: Buffer[] = [Buffer.concat([whole, Buffer.alloc(1)])];
      for (let at = 0; at < whole.length; at += 1) {
        const flipped = Buffer.from(whole);
        flipped.writeUInt8(flipped.readUInt8(at) ^ (1 << (at % 8)), at);
        changes.push(
          flipped,
          whole.subarray(0, at),
          Buffer.concat([whole.subarray(0, at), whole.subarray(at + 1)]),
        );
      }
      for (const changed of changes) {
        await writeFile(path, changed);
        expect((await read()).kind).toBe('damaged');
      }
      await rm(path);
      expect(await read()).toEqual({
        kind: 'damaged',
        reason: 'the file "snapshot-0000000000000017" is missing',
      });
      await writeFile(path, whole);
      expect((await read()).kind).toBe('snapshot');
    });
  });

  test('is refused where another sound one lies in its place', async () => {
    await withWritten(snapshotOf(17, 40), async (directory, read) => {
      await writeSnapshotFile(directory, snapshotOf(16, 40), membershipCodec);
      await rename(
        join(directory, snapshotFileName(logIndex(16))),
        join(directory, snapshotFileName(logIndex(17))),
      );
      expect(await read()).toMatchObject({ kind: 'damaged', reason: expect.stringMatching(/old copy/) });
    });
  });

  test('with a membership that this version cannot read is refused, saying so', async () => {
    await withWritten(snapshotOf(17, 40), async (_, read) => {
      const newer: MembershipCodec = {
        ...membershipCodec,
        decode: () => {
          throw new Error('unknown version 9');
        },
      };
      expect(await read(newer)).toMatchObject({
        kind: 'damaged',
        reason: expect.stringMatching(/membership that cannot be read \(Error: unknown version 9\)/),
      });
    });
  });

  test('is told from other files', async () => {
    await withDirectory(async (directory) => {
      await mkdir(directory);
      for (const name of [
        'hard-state',
        'snapshot-0000000000000002.new',
        'snapshot-0000000000000001',
        'snapshot-1',
      ]) {
        await writeFile(join(directory, name), '');
      }
      expect(await listSnapshotFiles(directory)).toEqual([
        'snapshot-0000000000000001',
        'snapshot-0000000000000002.new',
      ]);
    });
  });
});
