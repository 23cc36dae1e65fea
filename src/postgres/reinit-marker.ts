// Marks a data directory that a person wants replaced by a clone: it is then fit for nothing else. The marker lies within the directory and
// goes with it when a clone has taken its place.
import { join } from 'node:path';
import { writeFileDurably } from './durable-files.ts';
import type { OsUser } from './os-user.ts';

export const REINIT_MARKER = 'pg_sentinel_reinit';

export async function markForReinit(options: {
  readonly dataDirectory: string;
  readonly owner: OsUser['owner'];
}): Promise<void> {
  const { dataDirectory, owner } = options;
  await writeFileDurably({ path: join(dataDirectory, REINIT_MARKER), content: '', mode: 0o600, owner });
}
