// Room for a clone is asked for on every file system that it comes to, before anything is copied.
import { statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { NoRoomError, checkRoom } from './clone-room.ts';

const EXBIBYTE = 2 ** 60;
const dataDirectory = join(tmpdir(), 'missing', 'data');
const target = join(tmpdir(), 'also-missing', 'space');

test('a small source has room, whether its directories are there yet or not', async () => {
  const tablespaces = [{ name: 'space', location: '/space', target, bytes: 1 }];
  await checkRoom(dataDirectory, { dataBytes: 1, walBytes: 1, tablespaces });
});

test('WAL that the source keeps is not copied: it needs no room', async () => {
  await checkRoom(dataDirectory, { dataBytes: 1, walBytes: EXBIBYTE, tablespaces: [] });
});

test('what is written meanwhile is a tenth of what is copied, and no more than the WAL that there is', async () => {
  const { bavail, bsize } = await statfs(tmpdir());
  const dataBytes = (bavail * bsize) / 1.1;
  await checkRoom(dataDirectory, { dataBytes, walBytes: 0, tablespaces: [] });
  await expect(checkRoom(dataDirectory, { dataBytes, walBytes: EXBIBYTE, tablespaces: [] })).rejects.toThrow(
    NoRoomError,
  );
});

test.each([
  ['databases', { dataBytes: EXBIBYTE, walBytes: 0, tablespaces: [] }],
  [
    'a tablespace',
    {
      dataBytes: 0,
      walBytes: 0,
      tablespaces: [{ name: 'space', location: '/space', target, bytes: EXBIBYTE }],
    },
  ],
])('too little room for %s is said with figures and a way out', async (_, size) => {
  await expect(checkRoom(dataDirectory, size)).rejects.toThrow(
    /^cannot clone to .*: 1154487209165 MiB needed \(the source's databases, WAL that comes meanwhile, and 5 %\), \d+ MiB free; make room, or remove the old data directory$/,
  );
});
