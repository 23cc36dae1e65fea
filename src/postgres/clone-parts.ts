// What a copy that is not whole yet consists of beside its own directory: new directories for tablespaces and for WAL. A file beside it
// says so from before the first of them is made until all is whole, so that whatever ends the process in between, the next one finds
// all that is ours, and nothing that is not. While that file is there the copy is not whole, whatever is in it.
//
// PostgreSQL's user may write to the directory that this file lies in, so it may be forged: what it names is removed with his rights only, and looks
// as what is made here.
import { constants, open, rm } from 'node:fs/promises';
import { isAbsolute, normalize } from 'node:path';
import { OWN_DIRECTORY, makeNewDirectory } from './outside-directories.ts';
import { removeFileDurably, temporaryOf, writeFileDurably } from './durable-files.ts';
import type { OsUser } from './os-user.ts';
import { removeAsUser, removeEmptyAsUser, removeWithinAsUser } from './user-files.ts';
import { OF_TABLESPACE } from './version-directory.ts';

/** `next` may be made already, or may still be missing; it is empty then. */
export interface Parts {
  readonly made: readonly string[];
  readonly next?: string;
}

const SUFFIX = '.parts';

export const partsFile = (copy: string): string => `${copy}${SUFFIX}`;

/** The copy that a file of that name belongs to, also one that was not written to its end; undefined where it is no such file. */
export const copyOfPartsFile = (path: string): string | undefined =>
  [SUFFIX, temporaryOf(SUFFIX)].flatMap((suffix) =>
    path.endsWith(suffix) ? [path.slice(0, -suffix.length)] : [],
  )[0];

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

/** Removes what was made for a copy that never became whole, and then what says so. */
export async function removeParts(user: OsUser, copy: string, { made, next }: Parts): Promise<void> {
  for (const path of made) {
    if (OWN_DIRECTORY.test(path)) await removeAsUser(user, path);
    else {
      await removeWithinAsUser(user, path, OF_TABLESPACE);
      await removeEmptyAsUser(user, path);
    }
  }
  if (next !== undefined) await removeEmptyAsUser(user, next);
  const unwritten = temporaryOf(partsFile(copy));
  // The user may have put a directory into its place.
  await rm(unwritten, { force: true }).catch(() => removeAsUser(user, unwritten));
  await removeFileDurably(partsFile(copy));
}

const writeParts = (copy: string, parts: Parts): Promise<void> =>
  writeFileDurably({
    path: partsFile(copy),
    content: `${JSON.stringify(parts)}\n`,
    mode: 0o600,
    owner: undefined,
  });

const BYTES_MAX = 1 << 20;

/** None where there is no such file. Throws, at once, for what cannot be such a file, or names what is never made for a copy. */
export async function readParts(copy: string): Promise<Parts> {
  const path = partsFile(copy);
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
  const file = await open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  });
  if (file === undefined) return { made: [] };
  try {
    const found = await file.stat();
    if (!found.isFile() || found.size > BYTES_MAX) throw new Error(`${path} is no list of ours`);
    return parse(path, (await file.read({ buffer: Buffer.alloc(found.size) })).buffer.toString('utf8'));
  } finally {
    await file.close();
  }
}

function parse(path: string, text: string): Parts {
  const isPath = (value: unknown): value is string =>
    typeof value === 'string' && isAbsolute(value) && normalize(value) === value && !value.includes('\0');
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    throw new Error(`${path} is no list of ours: ${(error as Error).message}`, { cause: error });
  }
  const { made, next } = (parsed ?? {}) as { readonly made?: unknown; readonly next?: unknown };
  if (!Array.isArray(made) || !made.every(isPath) || (next !== undefined && !isPath(next)))
    throw new Error(`${path} is no list of ours: expected absolute paths`);
  return { made, ...(next === undefined ? {} : { next }) };
}
