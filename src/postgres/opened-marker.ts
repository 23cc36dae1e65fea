// Remembers that somebody opened a data directory for writes while its group followed another site: once it was started as a standby again nothing else
// tells. What it holds beyond is no part of what the other site has written, so that it must never be the one that "holds the most". The file
// names the member that it is about: a clone or a rewind makes another one of the directory.
import { readFile, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { MemberId } from '../base/ids.ts';
import { fsyncDirectory, writeFileDurably, type Owner } from './durable-files.ts';

const OPENED_MARKER = 'pg_sentinel_opened';

export async function markOpened(options: {
  readonly dataDirectory: string;
  readonly member: MemberId;
  readonly owner: Owner | undefined;
}): Promise<void> {
  const { dataDirectory, member, owner } = options;
  if (await isMarkedOpened(dataDirectory, member)) return;
  const path = join(dataDirectory, OPENED_MARKER);
  await writeFileDurably({ path, content: `${member}\n`, mode: 0o600, owner });
}

export async function isMarkedOpened(dataDirectory: string, member: MemberId): Promise<boolean> {
  const text = await readFile(join(dataDirectory, OPENED_MARKER), 'utf8').catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw error;
  });
  return text.trim() === member;
}

/** It is to be promoted on a person's word: what it holds is the group's from then on. */
export async function forgetOpened(dataDirectory: string): Promise<void> {
  await rm(join(dataDirectory, OPENED_MARKER), { force: true });
  await fsyncDirectory(dataDirectory);
}

/** Its control file is the source's, a running primary's. */
export async function isUnstartedClone(dataDirectory: string): Promise<boolean> {
  const names = await readdir(dataDirectory);
  return names.includes('backup_label') && names.includes('standby.signal');
}
