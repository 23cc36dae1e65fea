// Room for a clone is asked for on every file system that it comes to, before anything is copied.
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { checkRoom } from './clone-room.ts';

const EXBIBYTE = 2 ** 60;
const dataDirectory = join(tmpdir(), 'missing', 'data');
const target = join(tmpdir(), 'also-missing', 'space');

test('a small source has room, whether its directories are there yet or not', async () => {
  const tablespaces = [{ location: '/space', target, bytes: 1 }];
  await checkRoom(dataDirectory, { dataBytes: 1, walBytes: 1, tablespaces });
});

test.each([
  ['databases', { dataBytes: EXBIBYTE, walBytes: 0, tablespaces: [] }],
  ['WAL', { dataBytes: 0, walBytes: EXBIBYTE, tablespaces: [] }],
  [
    'a tablespace',
    { dataBytes: 0, walBytes: 0, tablespaces: [{ location: '/space', target, bytes: EXBIBYTE }] },
  ],
])('too little room for %s is said with figures and a way out', async (_, size) => {
  await expect(checkRoom(dataDirectory, size)).rejects.toThrow(
    /^cannot clone to .*: 1154487209165 MiB needed .*, \d+ MiB free; make room, or remove the old data directory$/,
  );
});
