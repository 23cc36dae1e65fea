import { mkdtemp, readFile, readlink, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { findOsUser, type OsUser } from './os-user.ts';
import { extractTar, parseTarHeader } from './tar.ts';

let root: string;
let user: OsUser;
beforeEach(async () => {
  user = await findOsUser({ configured: undefined });
  root = await mkdtemp(join(tmpdir(), 'pg-sentinel-tar-'));
});
afterEach(() => rm(root, { recursive: true }));

/** An entry as src/port/tar.c writes it. */
function entry(name: string, type: '0' | '2' | '5', content = Buffer.alloc(0), link = ''): Buffer {
  const block = Buffer.alloc(512);
  block.write(name, 0);
  block.write('0000600\0', 100);
  block.write(`${content.length.toString(8).padStart(11, '0')} `, 124);
  block.write(type, 156);
  block.write(link, 157);
  block.write('ustar\0', 257);
  block.fill(' ', 148, 156);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(7, '0')} `, 148);
  return Buffer.concat([block, content, Buffer.alloc((512 - (content.length % 512)) % 512)]);
}

const archive = Buffer.concat([
  entry('base', '5'),
  entry('base/1', '0', Buffer.from('x'.repeat(1300))),
  entry('empty', '0'),
  entry('pg_tblspc/1', '2', Buffer.alloc(0), '/elsewhere'),
  entry('late/global/pg_control', '0', Buffer.alloc(512, 7)),
  Buffer.alloc(1024),
]);

test.each([1, 7, 512, 513, 100_000])('unpacks a stream that comes in pieces of %d bytes', async (size) => {
  const extraction = extractTar({ root, user });
  await import('node:fs/promises').then((fs) => fs.mkdir(join(root, 'pg_tblspc')));
  for (let offset = 0; offset < archive.length; offset += size)
    await extraction.write(archive.subarray(offset, offset + size));
  await extraction.end();
  expect(await readFile(join(root, 'base/1'), 'utf8')).toBe('x'.repeat(1300));
  expect((await stat(join(root, 'empty'))).size).toBe(0);
  expect(await readlink(join(root, 'pg_tblspc/1'))).toBe('/elsewhere');
  expect(await readFile(join(root, 'late/global/pg_control'))).toEqual(Buffer.alloc(512, 7));
});

test('a stream that ends within a file is an error', async () => {
  const extraction = extractTar({ root, user });
  await extraction.write(archive.subarray(0, 1200));
  await expect(extraction.end()).rejects.toThrow(/bytes are missing/);
});

test.each(['../outside', '/etc/passwd', 'a/../../b'])('%s is not written', async (name) => {
  await expect(extractTar({ root, user }).write(entry(name, '0', Buffer.from('x')))).rejects.toThrow(
    /outside the data directory/,
  );
});

test('a damaged header is noticed, and a size beyond 8 GiB read', () => {
  const damaged = entry('a', '0');
  damaged[0] = 0x62;
  expect(() => parseTarHeader(damaged.subarray(0, 512))).toThrow(/damaged/);
  const great = entry('a', '0').subarray(0, 512);
  great.fill(0, 124, 136);
  great[124] = 0x80;
  great.writeUInt32BE(3, 128);
  great.fill(' ', 148, 156);
  const sum = great.reduce((total, byte) => total + byte, 0);
  great.write(`${sum.toString(8).padStart(7, '0')} `, 148);
  expect(parseTarHeader(great)).toMatchObject({ size: 3 * 2 ** 32 });
});
