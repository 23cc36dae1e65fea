// Whether the operating system starts a server by itself: at the next boot it would be a primary again, whatever the log says by then.
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';

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

/** The first word that is no comment; `auto` where there is no such file, as Debian has it. */
function startMode(path: string): string {
  if (!existsSync(path)) return 'auto';
  const lines = readFileSync(path, 'utf8').split('\n');
  return lines.map((line) => line.replace(/#.*/, '').trim()).find((line) => line !== '') ?? '';
}

/** Some other unit wants it: a link of its name lies in one of their directories. */
function isEnabled(unit: string, directory: string): boolean {
  try {
    return readdirSync(directory, { withFileTypes: true })
      .filter((entry) => entry.isDirectory() && /\.(wants|requires)$/.test(entry.name))
      .some((entry) => readdirSync(join(directory, entry.name)).includes(unit));
  } catch {
    return false;
  }
}
