// Configuration files of a clone's source that lie outside of its data directory, so that no base backup brings them: which they are, and
// copies of them, at the same path on this host or in the clone. Debian keeps a whole configuration in /etc/postgresql; elsewhere
// it is what postgresql.conf includes. Never replaces a file of this host by another one.
import { lstat } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, normalize, relative } from 'node:path';
import {
  type ConfigFileText,
  type ConfigReader,
  UnreadableError,
  includesOf,
  readConfigTree,
  withIncludes,
} from '../postgres/config-files.ts';
import { hbaLines } from '../postgres/foreign-server.ts';
import type { OsUser } from '../postgres/os-user.ts';
import { closeSource, connectSource } from '../postgres/source-connection.ts';
import {
  checkMayMake,
  configReaderOf,
  makeFileAsUser,
  readAsUser,
  replaceFileAsUser,
} from '../postgres/user-files.ts';
import { writeAdoptedHba } from './existing.ts';
import type { CloneSource } from './source.ts';
import { LocalError, refusal } from './request.ts';

export const EXTERNAL_CONFIG_KINDS = ['same-path', 'data-directory'] as const;
export type ExternalConfigKind = (typeof EXTERNAL_CONFIG_KINDS)[number];

export interface ExternalConfig {
  readonly kind: ExternalConfigKind;
  /** With what they hold on the source. */
  readonly files: readonly ConfigFileText[];
  /** The source's data directory. */
  readonly dataDirectory: string;
  /** Of those files, each where it lies outside of the data directory. */
  readonly configFile: string | undefined;
  readonly hbaFile: string | undefined;
  readonly identFile: string | undefined;
}

const ASK_TIMEOUT_MS = 30_000;
const FILE_BYTES_MAX = 1 << 20;

/** In the clone, what `data-directory` copies from elsewhere. */
const FOLDER = 'pg_sentinel_external';

/**
 * What is to be copied, read before the clone begins; undefined: nothing. Throws {@link LocalError} where the clone could not be started
 * on this host without it, or it may not be read.
 */
export async function findExternalConfig(
  source: CloneSource,
  kind: ExternalConfigKind | undefined,
): Promise<ExternalConfig | undefined> {
  const client = await connectSource(source.upstream, ASK_TIMEOUT_MS);
  try {
    const { rows } = await client.query<Record<'data' | 'config' | 'hba' | 'ident', string>>(
      `select current_setting('data_directory') as data, current_setting('config_file') as config,
         current_setting('hba_file') as hba, current_setting('ident_file') as ident`,
    );
    const [row] = rows;
    if (row === undefined) throw refusal(`${source.node} does not say where its configuration is`);
    const reader = sourceReader(async (text, values) => {
      const result = await client.query<Record<string, unknown>>(text, [...values]);
      return result.rows;
    });
    const outside = (path: string): string | undefined => (isWithin(path, row.data) ? undefined : path);
    const [configFile, hbaFile, identFile] = [row.config, row.hba, row.ident].map(outside);
    const own = await readConfigTree(reader, join(row.data, 'postgresql.conf'));
    const trees = [own];
    if (kind !== undefined)
      for (const path of [configFile, hbaFile, identFile])
        if (path !== undefined) trees.push(await readConfigTree(reader, path));
    const unreadable = new Map(trees.flatMap((tree) => [...tree.unreadable]));
    if (kind === undefined) {
      const named = [...unreadable.keys(), ...own.files.flatMap(({ path }) => outside(path) ?? [])];
      await checkPresent(named, source);
      return undefined;
    }
    for (const [path, reason] of unreadable)
      throw refusal(
        `${path} of ${source.node} cannot be read (${reason}): as a superuser there, grant pg_read_server_files to ${source.upstream.user}, and revoke it after the clone`,
      );
    const files = new Map(trees.flatMap((tree) => tree.files.map((file) => [file.path, file] as const)));
    const copied = [...files.values()].filter(({ path }) => outside(path) !== undefined);
    return { kind, files: copied, dataDirectory: row.data, configFile, hbaFile, identFile };
  } finally {
    closeSource(client);
  }
}

/** Throws where a clone would include what is not on this host. */
async function checkPresent(paths: readonly string[], { node }: CloneSource): Promise<void> {
  const missing: string[] = [];
  for (const path of new Set(paths))
    if ((await lstat(path).catch(() => undefined)) === undefined) missing.push(path);
  if (missing.length > 0)
    throw refusal(
      `the configuration of ${node} includes ${missing.join(', ')}, which is not on this host: PostgreSQL would not start on the clone. Give --copy-external-config, or bring it here first`,
    );
}

const isWithin = (path: string, directory: string): boolean => {
  const way = relative(directory, path);
  return way !== '' && !way.startsWith('..') && !isAbsolute(way);
};

/** Reads on the server, as the replication role: within its data directory it may, elsewhere only with pg_read_server_files. */
function sourceReader(
  query: (text: string, values: readonly unknown[]) => Promise<readonly Record<string, unknown>[]>,
): ConfigReader {
  const ask = async (
    text: string,
    values: readonly unknown[],
  ): Promise<readonly Record<string, unknown>[]> => {
    try {
      return await query(text, values);
    } catch (error) {
      if ((error as { code?: string }).code === undefined) throw error;
      throw new UnreadableError((error as Error).message, { cause: error });
    }
  };
  return {
    async read(path) {
      const [row] = await ask('select pg_read_binary_file($1, 0, $2, true) as bytes', [path, FILE_BYTES_MAX]);
      const bytes = row?.['bytes'] as Uint8Array | null | undefined;
      return bytes ? Buffer.from(bytes).toString('utf8') : undefined;
    },
    async list(directory) {
      const rows = await ask('select name from pg_ls_dir($1, true, false) as name', [directory]);
      return rows.map((row) => String(row['name']));
    },
  };
}

/** What is done with them, each a part of a sentence; for a plan. Throws {@link LocalError} where something else is at such a path, or `user` may not write there. */
export async function externalPlan(external: ExternalConfig, user: OsUser): Promise<string[]> {
  if (external.kind === 'data-directory') {
    const names = external.files.map(({ path }) => path).join(', ');
    return external.files.length === 0 ? [] : [`${names} are copied into it`];
  }
  const steps: string[] = [];
  for (const { path, text } of external.files) {
    // The source says where: what is no configuration by its name has no business here.
    if (!isAbsolute(path) || normalize(path) !== path || !/^[^\p{Cc}]+\.conf$/u.test(path))
      throw refusal(
        `${JSON.stringify(path)} of the source is not copied to that path, for its name does not end in .conf: give --copy-external-config=data-directory`,
      );
    const found = await lstat(path).catch((error: unknown) => {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw refusal(`${path} cannot be looked at: ${(error as Error).message}`);
    });
    if (found === undefined) {
      await checkMayMake(user, path).catch((error: unknown) => {
        throw refusal(
          `${path} cannot be made (${(error as Error).message}): give its directory to ${user.name}, or give --copy-external-config=data-directory`,
        );
      });
      steps.push(`${path} is copied`);
      continue;
    }
    const present = await readAsUser(user, path).catch((error: unknown) => {
      throw refusal(`${path} cannot be looked at: ${(error as Error).message}`);
    });
    if (present !== text)
      throw new LocalError(
        'refused',
        `${path} on this host is another one than that of the source: move it away, or give --copy-external-config=data-directory`,
      );
  }
  return steps;
}

/** Writes them: into the clone in `directory`, or to the same paths on this host. May be repeated. */
export async function copyExternalConfig(options: {
  readonly external: ExternalConfig;
  readonly directory: string;
  readonly user: OsUser;
  /** For lines of pg_hba.conf that go behind pg-sentinel's own. */
  readonly adoptedHbaFile: string;
}): Promise<void> {
  const { external, user } = options;
  if (external.kind === 'same-path') {
    await externalPlan(external, user);
    for (const { path, text } of external.files)
      if ((await lstat(path).catch(() => undefined)) === undefined) await makeFileAsUser(user, path, text);
    return;
  }
  await copyInto(options, (path, content) => replaceFileAsUser(user, path, content));
}

async function copyInto(
  { external, directory, user, adoptedHbaFile }: Parameters<typeof copyExternalConfig>[0],
  write: (path: string, content: string) => Promise<void>,
): Promise<void> {
  const { files, configFile, hbaFile, identFile } = external;
  const moved = movedPaths(external);
  const place = (path: string): string | undefined => moved.get(path);
  const inClone = new Map([
    [identFile, 'pg_ident.conf'],
    [configFile, 'postgresql.conf'],
  ]);
  for (const { path, text } of files) {
    if (path === hbaFile) {
      const { kept, problem } = hbaLines(text);
      if (problem !== undefined) throw refusal(problem);
      await writeAdoptedHba(adoptedHbaFile, ['# Taken over with a clone; may be edited.', ...kept, '']);
      continue;
    }
    const name = inClone.get(path);
    // What the clone has of its own was written by pg-sentinel, out of that file.
    const own = join(directory, 'postgresql.conf');
    if (name === 'postgresql.conf' && (await lstat(own).catch(() => undefined)) !== undefined) continue;
    const to = name ?? moved.get(path);
    if (to === undefined) continue;
    await write(join(directory, to), withIncludes(text, path, relativeTo(to, place)));
  }
  await leadInto(directory, { external, user }, place, write);
}

/** Those of the clone's own files that include one from elsewhere include the copy. */
async function leadInto(
  directory: string,
  { external: { dataDirectory }, user }: { readonly external: ExternalConfig; readonly user: OsUser },
  place: (path: string) => string | undefined,
  write: (path: string, content: string) => Promise<void>,
): Promise<void> {
  const tree = await readConfigTree(configReaderOf(user), join(directory, 'postgresql.conf'));
  for (const { path, text } of tree.files) {
    if (!isWithin(path, directory) || isWithin(path, join(directory, FOLDER))) continue;
    const there = join(dataDirectory, relative(directory, path));
    const changed = withIncludes(text, there, relativeTo(relative(directory, path), place));
    if (changed !== text) await write(path, changed);
  }
}

/** A path below the data directory as the file at `from`, which lies there too, names it. */
const relativeTo =
  (from: string, place: (path: string) => string | undefined) =>
  (path: string): string | undefined => {
    const to = place(path);
    return to === undefined ? undefined : relative(dirname(from), to);
  };

/** Each included file and directory gets a place of its own, by the order in which they were found. */
function movedPaths({ files, configFile, hbaFile, identFile }: ExternalConfig): Map<string, string> {
  const moved = new Map<string, string>();
  const named = new Set([configFile, hbaFile, identFile]);
  const directories = new Map<string, string>();
  for (const file of files)
    for (const { directive, path } of includesOf(file.text, file.path))
      if (directive === 'include_dir')
        directories.set(path, join(FOLDER, `${directories.size}-${basename(path)}`));
  for (const [path, to] of directories) moved.set(path, to);
  for (const { path } of files) {
    if (named.has(path)) continue;
    const folder = directories.get(dirname(path));
    moved.set(
      path,
      folder === undefined ? join(FOLDER, `${moved.size}-${basename(path)}`) : join(folder, basename(path)),
    );
  }
  return moved;
}
