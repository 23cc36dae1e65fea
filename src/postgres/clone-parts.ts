// What a copy that is not whole yet consists of beside its own directory: new directories for tablespaces and for WAL. A file beside it
// says so from before the first of them is made until all is whole, so that whatever ends the process in between, the next one finds
// all that is ours, and nothing that is not. While that file is there the copy is not whole, whatever is in it.
import { readFile, rm, rmdir } from 'node:fs/promises';
import { makeNewDirectory } from './clone-room.ts';
import { removeFileDurably, writeFileDurably } from './durable-files.ts';
import type { OsUser } from './os-user.ts';

/** `next` may be made already, or may still be missing; it is empty then. */
interface Parts {
  readonly made: readonly string[];
  readonly next?: string;
}

const SUFFIX = '.parts';

export const partsFile = (copy: string): string => `${copy}${SUFFIX}`;

/** The copy that a file of that name belongs to; undefined where it is no such file. */
export const copyOfPartsFile = (path: string): string | undefined =>
  path.endsWith(SUFFIX) ? path.slice(0, -SUFFIX.length) : undefined;

/** Begins a copy, before its directory is made. */
export const beginParts = (copy: string): Promise<void> => writeParts(copy, { made: [] });

/** Makes them for PostgreSQL's user. Throws where there is anything at one of the paths. */
export async function makeParts(user: OsUser, copy: string, paths: readonly string[]): Promise<void> {
  const made: string[] = [];
  for (const path of paths) {
    await writeParts(copy, { made, next: path });
    try {
      await makeNewDirectory(user, path);
    } catch (error) {
      // What is there is somebody else's.
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') await writeParts(copy, { made });
      throw error;
    }
    made.push(path);
  }
  await writeParts(copy, { made });
}

/** The copy is whole: what belongs to it is found by its links from now on. */
export const endParts = (copy: string): Promise<void> => removeFileDurably(partsFile(copy));

/** Removes what was made for a copy that never became whole. */
export async function removeParts(copy: string): Promise<void> {
  const { made, next } = await readParts(copy);
  for (const path of made) await rm(path, { recursive: true, force: true, maxRetries: 5 });
  if (next !== undefined) await rmdir(next).catch(() => undefined);
  await removeFileDurably(partsFile(copy));
}

const writeParts = (copy: string, parts: Parts): Promise<void> =>
  writeFileDurably({
    path: partsFile(copy),
    content: `${JSON.stringify(parts)}\n`,
    mode: 0o600,
    owner: undefined,
  });

async function readParts(copy: string): Promise<Parts> {
  const text = await readFile(partsFile(copy), 'utf8').catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  });
  return text === undefined ? { made: [] } : (JSON.parse(text) as Parts);
}
