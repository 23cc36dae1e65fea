// The WAL that slots reserve, read from files as PostgreSQL writes them (test/integration/expectations/archive.test.ts has real ones).
import { execFileSync } from 'node:child_process';
import {
  chmod,
  chown,
  mkdir,
  mkdtemp,
  readFile,
  readdir,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { crc32c } from './crc32c.ts';
import { findOsUser } from './os-user.ts';
import { holdsLogicalSlot, placeSlot, reservedBySlots, slotStateProblem, snapshotOf } from './slot-files.ts';

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

/** As PostgreSQL writes it, of a logical slot. */
function logicalState(name: string, change: (state: Buffer) => void = () => undefined): Buffer {
  const state = Buffer.alloc(200);
  state.writeUInt32LE(0x1051ca1, 0);
  state.writeUInt32LE(200 - 16, 12);
  state.write(name, 16);
  state.writeUInt32LE(5, 80);
  state.writeBigUInt64LE(0x1_0300_0148n, 96);
  change(state);
  state.writeUInt32LE(crc32c(state.subarray(8)), 4);
  return state;
}

test('a logical slot is put there whole, with the file that it begins to read with', async () => {
  await mkdir(join(root, 'pg_replslot'));
  await mkdir(join(root, 'pg_logical', 'snapshots'), { recursive: true });
  expect(await holdsLogicalSlot(root)).toBe(false);
  await slot('physical', 0x2000000n);
  expect(await holdsLogicalSlot(root)).toBe(false);
  const state = logicalState('cdc');
  const snapshot = { name: snapshotOf(state), content: Buffer.from('snapshot') };
  expect(snapshot.name).toBe('1-3000148.snap');
  // What an earlier try has left is no obstacle.
  await mkdir(join(root, 'pg_replslot', 'cdc.tmp'));
  const user = await findOsUser({ configured: undefined });
  // As it is where sentineld runs as root: PostgreSQL's user owns it all.
  if (user.owner !== undefined)
    for (const path of ['', 'pg_replslot', 'pg_replslot/cdc.tmp', 'pg_logical', 'pg_logical/snapshots'])
      await chown(join(root, path), user.uid, user.gid);
  const given = { user, dataDirectory: root, name: 'cdc', state, snapshot };
  // Given up before it has begun to write.
  const abort = new AbortController();
  const placing = placeSlot({ ...given, signal: abort.signal });
  abort.abort();
  await expect(placing).rejects.toThrow(/aborted/);
  expect(await holdsLogicalSlot(root)).toBe(false);
  await placeSlot({ ...given, signal: new AbortController().signal });
  expect(await readFile(join(root, 'pg_replslot', 'cdc', 'state'))).toEqual(state);
  expect(await readFile(join(root, 'pg_logical', 'snapshots', '1-3000148.snap'), 'utf8')).toBe('snapshot');
  expect(await holdsLogicalSlot(root)).toBe(true);
});

test(
  'a pipe or a link in place of a state file holds nobody up, and is not read',
  { timeout: 10_000 },
  async () => {
    await slot('late', 0x3000148n);
    for (const name of ['pipe', 'link']) await mkdir(join(root, 'pg_replslot', name));
    execFileSync('mkfifo', [join(root, 'pg_replslot', 'pipe', 'state')]);
    await writeFile(join(root, 'elsewhere'), logicalState('link'));
    await symlink(join(root, 'elsewhere'), join(root, 'pg_replslot', 'link', 'state'));
    expect(await holdsLogicalSlot(root)).toBe(false);
    expect(await reservedBySlots(root)).toBe(0x3000148n);
  },
);

test.skipIf(process.getuid?.() !== 0)(
  'nothing is written or given away where a link of another user leads (needs root)',
  async () => {
    const user = await findOsUser({ configured: undefined });
    await mkdir(join(root, 'outside'));
    await mkdir(join(root, 'pg_logical'));
    await symlink(join(root, 'outside'), join(root, 'pg_replslot'));
    await symlink(join(root, 'outside'), join(root, 'pg_logical', 'snapshots'));
    await chmod(root, 0o755);
    const state = logicalState('cdc');
    const snapshot = { name: snapshotOf(state), content: Buffer.from('snapshot') };
    const { signal } = new AbortController();
    const placed = { user, dataDirectory: root, name: 'cdc', state, signal };
    await expect(placeSlot({ ...placed, snapshot })).rejects.toThrow(/EACCES/);
    await expect(placeSlot({ ...placed, snapshot: undefined })).rejects.toThrow(/EACCES/);
    expect(await readdir(join(root, 'outside'))).toEqual([]);
    expect((await stat(join(root, 'outside'))).uid).toBe(0);
  },
);

test.each<[RegExp | undefined, Buffer]>([
  [undefined, logicalState('cdc')],
  [/it is of slot other/, logicalState('other')],
  [/of a physical slot/, logicalState('cdc', (state) => state.writeUInt32LE(0, 80))],
  [/invalidated/, logicalState('cdc', (state) => state.writeUInt32LE(1, 104))],
  [/no state file/, logicalState('cdc', (state) => state.writeUInt32LE(7, 0))],
  [/another length/, logicalState('cdc', (state) => state.writeUInt32LE(7, 12))],
  [/another length/, logicalState('cdc').subarray(0, 190)],
  [/no state file/, Buffer.alloc(0)],
  [/checksum/, Buffer.concat([logicalState('cdc').subarray(0, 199), Buffer.from([1])])],
])('a state file with which PostgreSQL would not start is noticed: %s', (problem, state) => {
  if (problem === undefined) expect(slotStateProblem(state, 'cdc')).toBeUndefined();
  else expect(slotStateProblem(state, 'cdc')).toMatch(problem);
});
