// Whether the operating system starts a server by itself: at the next boot it would be a primary again, whatever the log says by then.
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { isOfOtherServer } from './other-managers.ts';

/** Debian's clusters: a generator of systemd reads `start.conf` at every boot, and no link of systemd's own says so. */
const DEBIAN = /^\/etc\/postgresql\/[^/]+\/[^/]+\/postgresql\.conf$/;
const SYSTEMD = '/etc/systemd/system';

/** What to do so that it does not; undefined where it does not. `root`: of the file system, for tests. */
export function startOfOs(options: {
  readonly configFile: string;
  /** That the server runs in, if any. */
  readonly unit: string | undefined;
  readonly root?: string;
}): string | undefined {
  const { configFile, unit, root = '/' } = options;
  if (DEBIAN.test(configFile)) {
    const path = join(dirname(configFile), 'start.conf');
    if (startMode(join(root, path)) === 'auto')
      return `the operating system starts it by itself, and would make it a primary again: write "manual" to ${path}`;
  }
  if (unit !== undefined && isEnabled(unit, join(root, SYSTEMD)))
    return `systemd starts it by itself, and would make it a primary again: systemctl disable ${unit}`;
  return undefined;
}

const REPMGRD_DEFAULTS = '/etc/default/repmgrd';

/**
 * What to do so that the operating system does not start repmgrd, which promotes standbys by itself, for the server with that data directory;
 * undefined where it does not. Debian's package starts it by what that file says, others by a unit of systemd. `root`: of the file system, for tests.
 */
export async function startOfRepmgrd(dataDirectory: string, root = '/'): Promise<string | undefined> {
  const why =
    'the operating system starts repmgrd by itself, which would promote a standby beside pg-sentinel';
  const defaults = readIfThere(join(root, REPMGRD_DEFAULTS));
  if (/^y/i.test(shellValue(defaults, 'REPMGRD_ENABLED')) && existsSync(join(root, '/etc/init.d/repmgrd'))) {
    const config = shellValue(defaults, 'REPMGRD_CONF');
    if (config !== '' && !(await isOfOtherServer(config, dataDirectory)))
      return `${why}: write REPMGRD_ENABLED=no to ${REPMGRD_DEFAULTS}`;
  }
  const unit = wantedUnits(join(root, SYSTEMD)).find((name) => /^repmgrd?[-_]?\d*\.service$/.test(name));
  return unit === undefined ? undefined : `${why}: systemctl disable ${unit}`;
}

const readIfThere = (path: string): string => (existsSync(path) ? readFileSync(path, 'utf8') : '');

/** The last value that a file of `sh` gives a variable; empty where it has none. */
function shellValue(text: string, name: string): string {
  const values = [...text.matchAll(new RegExp(`^\\s*${name}=["']?([^"'\\s#]*)`, 'gm'))];
  return values.at(-1)?.[1] ?? '';
}

/** The first word that is no comment; `auto` where there is no such file, as Debian has it. */
function startMode(path: string): string {
  if (!existsSync(path)) return 'auto';
  const lines = readFileSync(path, 'utf8').split('\n');
  return lines.map((line) => line.replace(/#.*/, '').trim()).find((line) => line !== '') ?? '';
}

/** Some other unit wants it: a link of its name lies in one of their directories. */
const isEnabled = (unit: string, directory: string): boolean => wantedUnits(directory).includes(unit);

function wantedUnits(directory: string): string[] {
  try {
    return readdirSync(directory, { withFileTypes: true })
      .filter((entry) => entry.isDirectory() && /\.(wants|requires)$/.test(entry.name))
      .flatMap((entry) => readdirSync(join(directory, entry.name)));
  } catch {
    return [];
  }
}
