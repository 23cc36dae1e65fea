// The place that a clone is to take: what was there when the copy began, and that nothing else has come there since. A copy takes hours, and what
// somebody restores or moves there meanwhile must be neither replaced nor, once the clone streams, removed.
import { lstat, mkdir, readFile, readdir, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { MEMBER_FILE } from './member.ts';
import { allGone } from './processes.ts';
import { moveDirectory, takePlace } from './replaced.ts';

/** What is in the place of a data directory. */
export type Place =
  /** Missing, or an empty directory, which a link may lead to. */
  | { readonly kind: 'empty'; readonly isLink: boolean }
  /** `identity` is another one as soon as something else is there, or PostgreSQL has run on it. */
  | { readonly kind: 'taken'; readonly identity: string; readonly names: readonly string[] };

/** The clone was not put into its place, where everything is as somebody has left it. */
export class ChangedPlaceError extends Error {
  override readonly name = 'ChangedPlaceError';
}

/** Throws where a clone cannot take that place: PostgreSQL runs in it, it is a mount point, or a link that leads nowhere. Makes its parent. */
export async function lookAtPlace(dataDirectory: string): Promise<Place> {
  const cannot = `cannot clone into ${dataDirectory}: `;
  const left = allGone({ dataDirectory, sharedMemoryId: undefined });
  if (!left.gone)
    throw new Error(`${cannot}PostgreSQL runs in it (processes ${left.pids.join(', ')}); stop it first`);
  await mkdir(dirname(dataDirectory), { recursive: true, mode: 0o755 });
  const [here, own, parent] = await Promise.all([
    lstat(dataDirectory).catch(unlessMissing),
    stat(dataDirectory).catch(unlessMissing),
    stat(dirname(dataDirectory)),
  ]);
  if (here === undefined) return { kind: 'empty', isLink: false };
  if (own === undefined)
    throw new Error(
      `${cannot}it is a symbolic link that leads nowhere; put back what it led to, or remove it`,
    );
  if (own.dev !== parent.dev)
    throw new Error(
      `${cannot}it is a mount point and cannot be renamed; make the data directory a directory below it`,
    );
  const names = own.isDirectory() ? await readdir(dataDirectory) : [];
  if (own.isDirectory() && names.length === 0) return { kind: 'empty', isLink: here.isSymbolicLink() };
  const parts = [here.dev, here.ino, own.dev, own.ino, await contentOf(dataDirectory)];
  return { kind: 'taken', identity: JSON.stringify(parts), names };
}

/** Tells apart what was there and what was restored into the same directory since: of a PostgreSQL that does not run neither changes. */
async function contentOf(dataDirectory: string): Promise<readonly (string | undefined)[]> {
  const member = await readFile(join(dataDirectory, MEMBER_FILE), 'utf8').catch(() => undefined);
  const control = await stat(join(dataDirectory, 'global/pg_control')).catch(() => undefined);
  return [member, control && `${control.ino} ${control.mtimeMs}`];
}

/** Throws where the place is not empty. */
export async function mustBeEmpty(dataDirectory: string): Promise<void> {
  const place = await lookAtPlace(dataDirectory);
  if (place.kind === 'taken')
    throw new Error(`${dataDirectory} holds files by now${some(place.names)}; nothing was copied`);
}

/**
 * Puts the whole clone in `fresh` into the place, which has to be as it was `before` the copy, or empty. Throws {@link ChangedPlaceError} where it is
 * not: nothing was changed.
 */
export async function putIntoPlace(dataDirectory: string, fresh: string, before: Place): Promise<void> {
  const now = await lookAtPlace(dataDirectory).catch((error: unknown) => {
    throw new ChangedPlaceError((error as Error).message, { cause: error });
  });
  const isSame = now.kind === 'taken' && before.kind === 'taken' && now.identity === before.identity;
  if (now.kind === 'taken' && !isSame) throw changed(dataDirectory, now.names);
  try {
    if (isSame || (now.kind === 'empty' && now.isLink)) await takePlace(dataDirectory, fresh);
    // The kernel puts it in the place of an empty directory only, whoever is at work there just now.
    else await moveDirectory(fresh, dataDirectory);
  } catch (error) {
    if (!OCCUPIED.includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
    throw changed(dataDirectory, await readdir(dataDirectory).catch(() => []));
  }
}

const OCCUPIED = ['ENOTEMPTY', 'EEXIST', 'ENOTDIR'];

const changed = (dataDirectory: string, names: readonly string[]): ChangedPlaceError =>
  new ChangedPlaceError(
    `the clone was not put into ${dataDirectory}: somebody has put something else there while it was copied${some(names)}. That is left as it is, and the copy is given up; where the node is to be cloned all the same, move it away first`,
  );

const some = (names: readonly string[]): string =>
  names.length === 0 ? '' : ` (${[...names].sort().slice(0, 3).join(', ')})`;

function unlessMissing(error: unknown): undefined {
  if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
}
