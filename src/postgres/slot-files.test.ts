// The WAL that slots reserve, read from files as PostgreSQL writes them (test/integration/expectations/archive.test.ts has real ones).
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { reservedBySlots } from './slot-files.ts';

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'pg-sentinel-slots-'));
});
afterEach(() => rm(root, { recursive: true }));

async function slot(name: string, restartLsn: bigint, magic = 0x1051ca1, invalidated = 0): Promise<void> {
  const state = Buffer.alloc(200);
  state.writeUInt32LE(magic, 0);
  state.write(name, 16);
  state.writeBigUInt64LE(restartLsn, 96);
  state.writeUInt32LE(invalidated, 104);
  await mkdir(join(root, 'pg_replslot', name), { recursive: true });
  await writeFile(join(root, 'pg_replslot', name, 'state'), state);
}

test('the oldest position counts, and none of a slot that reserves nothing or is not readable', async () => {
  expect(await reservedBySlots(root)).toBeUndefined();
  await slot('unused', 0n);
  expect(await reservedBySlots(root)).toBeUndefined();
  await slot('late', 0x3000148n);
  await slot('early', 0x2000000n);
  await slot('strange', 0x1000000n, 7);
  await slot('invalidated', 0x1000000n, undefined, 1);
  await mkdir(join(root, 'pg_replslot', 'empty'));
  expect(await reservedBySlots(root)).toBe(0x2000000n);
});
