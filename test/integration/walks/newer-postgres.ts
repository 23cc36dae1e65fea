// PostgreSQL 17 as Debian 13 has it, for hosts of a test's own on Debian 12, which has 15: its packages and the libraries they need are fetched
// by apt, with lists of its own, and unpacked, not installed. A host lays them over its own /usr (hosts.ts).
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export const NEWER = 17;
const SUITE = 'trixie';
const MIRROR = process.env['PG_SENTINEL_DEBIAN_MIRROR'] ?? 'http://deb.debian.org/debian';
const KEYS = '/usr/share/keyrings/debian-archive-keyring.gpg';
/** With all that this machine's own release lacks, or has too old, for them. */
const PACKAGES = [
  ...['postgresql-17', 'postgresql-client-17', 'libpq5', 'libc6', 'libgcc-s1', 'libstdc++6', 'libicu76'],
  ...['libssl3t64', 'libldap2', 'libsasl2-2', 'libzstd1', 'libreadline8t64'],
];
const FETCH_MS = 300_000;

/** Unpacks it below `directory`; gives the directory that holds its `usr`, or why it cannot be had here. */
export function unpackNewer(directory: string): { readonly root: string } | { readonly whyNot: string } {
  for (const needed of ['/usr/bin/apt-get', '/usr/bin/dpkg-deb', KEYS])
    if (!existsSync(needed)) return { whyNot: `${needed} is not here, to get PostgreSQL ${NEWER} of Debian` };
  const root = join(directory, 'root');
  const work = mkdtempSync(join(directory, 'apt-'));
  try {
    const apt = (...args: readonly string[]): string =>
      execFileSync('apt-get', ['-q', ...args], {
        cwd: work,
        env: { ...process.env, APT_CONFIG: configure(work) },
        timeout: FETCH_MS,
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'pipe'],
      });
    apt('update', '--error-on=any');
    apt('download', ...PACKAGES);
    for (const name of readdirSync(work).filter((each) => each.endsWith('.deb')))
      execFileSync('dpkg-deb', ['-x', join(work, name), root], { timeout: FETCH_MS });
    // It needs a library of 100 MB, and is used for long queries only.
    rmSync(join(root, `usr/lib/postgresql/${NEWER}/lib/llvmjit.so`), { force: true });
    return { root };
  } catch (error) {
    const { stderr, message } = error as { stderr?: string; message: string };
    const [line] = (stderr ?? '').split('\n').filter((each) => each.startsWith('E: '));
    return { whyNot: `PostgreSQL ${NEWER} of Debian cannot be had from ${MIRROR}: ${line ?? message}` };
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** An apt with lists, cache and sources of its own; gives its configuration file. */
function configure(work: string): string {
  for (const name of ['state/lists/partial', 'cache/archives/partial', 'parts'])
    mkdirSync(join(work, name), { recursive: true });
  const sources = join(work, 'sources.list');
  writeFileSync(sources, `deb [signed-by=${KEYS}] ${MIRROR} ${SUITE} main\n`);
  writeFileSync(join(work, 'status'), '');
  const file = join(work, 'apt.conf');
  writeFileSync(
    file,
    [
      `Dir::State "${work}/state";`,
      `Dir::State::status "${work}/status";`,
      `Dir::Cache "${work}/cache";`,
      `Dir::Etc::SourceList "${sources}";`,
      ...['SourceParts', 'PreferencesParts'].map((name) => `Dir::Etc::${name} "${work}/parts";`),
      'APT::Sandbox::User "root";',
      'Acquire::Languages "none";',
      'Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";',
      'Acquire::Retries "3";',
      '',
    ].join('\n'),
  );
  return file;
}
