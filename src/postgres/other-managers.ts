// Programs that look after servers of this host beside us, and would fail over on their own: found in the process table. Changes nothing.
// Must not hold up whoever asks: to read the words of a process may wait for that process, and a configuration may lie on a disk that does not answer.
import { constants, readFileSync } from 'node:fs';
import { type FileHandle, open, readFile, readdir, realpath, stat } from 'node:fs/promises';
import { isAbsolute } from 'node:path';

export interface RunningProcess {
  readonly pid: number;
  readonly words: readonly string[];
}

export interface OtherManager {
  readonly name: string;
  readonly pid: number;
  /** Where its configuration says that it looks after this data directory, and no other. */
  readonly isCertain: boolean;
}

const NAMES = ['repmgrd', 'patroni', 'pg_autoctl', 'pglookout', 'stolon-keeper'];
/** Where repmgrd looks without being told. */
const REPMGR_CONF = '/etc/repmgr.conf';

/** By name and process. A repmgrd whose configuration names another data directory is somebody else's business. */
export async function otherManagers(
  processes: Iterable<RunningProcess>,
  dataDirectory: string,
): Promise<OtherManager[]> {
  const found: OtherManager[] = [];
  for (const { pid, words } of processes) {
    const programs = words.slice(0, 3).map((word) => word.split('/').at(-1) ?? '');
    const name = NAMES.find((each) => programs.includes(each) || programs.includes(`${each}.py`));
    if (name === undefined) continue;
    const named = name === 'repmgrd' ? await dataDirectoryOf(configOf(words)) : undefined;
    const isCertain = named !== undefined && (await isSameDirectory(named, dataDirectory));
    if (named === undefined || isCertain) found.push({ name, pid, isCertain });
  }
  return found.sort((a, b) => a.name.localeCompare(b.name) || a.pid - b.pid);
}

/** Such as `repmgrd (process 4711)`. */
export const managerText = ({ name, pid }: OtherManager): string => `${name} (process ${pid})`;

/** What it would do, and what to do about it. `unit`: of systemd, that it runs in; undefined: none is known. */
export function stopItText(manager: OtherManager, unit = unitOfManager(manager)): string {
  const who = `${managerText(manager)} runs on this host`;
  const how = unit === undefined ? '' : ` (systemctl disable --now ${unit})`;
  switch (manager.name) {
    case 'repmgrd':
      return `${who}, and would promote a standby beside pg-sentinel: stop it, and keep it from being started again${how}`;
    case 'patroni':
      return `${who}: patronictl pause, so that PostgreSQL goes on without it, then stop it, and keep it from being started again${how}`;
    default:
      return `${who}: stop it, but not PostgreSQL with it, and keep it from being started again`;
  }
}

function unitOfManager({ pid, name }: OtherManager): string | undefined {
  try {
    const unit = /([^/\n]+\.service)$/m.exec(readFileSync(`/proc/${pid}/cgroup`, 'utf8'))?.[1];
    // One that was started by hand runs in the unit of a session or of something else.
    return unit?.includes(name.replace(/d$/, '')) === true ? unit : undefined;
  } catch {
    return undefined;
  }
}

/** Whether that repmgr.conf is of a server with another data directory. */
export async function isOfOtherServer(configPath: string, dataDirectory: string): Promise<boolean> {
  const named = await dataDirectoryOf(configPath);
  return named !== undefined && !(await isSameDirectory(named, dataDirectory));
}

/** As repmgrd is told it: `-f FILE`, `-fFILE`, `--config-file FILE`, `--config-file=FILE`. */
function configOf(words: readonly string[]): string {
  for (const [at, word] of words.entries()) {
    const [, given] = /^(?:--config-file=|-f)(.+)$/.exec(word) ?? [];
    if (given !== undefined) return given;
    if (word === '-f' || word === '--config-file') return words[at + 1] ?? REPMGR_CONF;
  }
  return REPMGR_CONF;
}

/** Undefined where it cannot be told. */
async function dataDirectoryOf(configPath: string): Promise<string | undefined> {
  // One that is relative is so to a directory that repmgrd may have left.
  const text = isAbsolute(configPath) ? await readSmallFile(configPath) : undefined;
  const [, quoted, plain] = /^\s*data_directory\s*=\s*(?:'([^']*)'|([^\s'#]+))/m.exec(text ?? '') ?? [];
  return quoted ?? plain;
}

const CONFIG_BYTES_MAX = 65_536;

/** Whoever runs a process chooses what it names: no device that minds being opened, no pipe that is waited for, no endless file. */
async function readSmallFile(path: string): Promise<string | undefined> {
  let file: FileHandle | undefined;
  try {
    if (!(await stat(path)).isFile()) return undefined;
    file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    if (!(await file.stat()).isFile()) return undefined;
    const bytes = Buffer.alloc(CONFIG_BYTES_MAX);
    const { bytesRead } = await file.read(bytes, 0, CONFIG_BYTES_MAX, 0);
    return bytes.toString('utf8', 0, bytesRead);
  } catch {
    return undefined;
  } finally {
    await file?.close();
  }
}

async function isSameDirectory(a: string, b: string): Promise<boolean> {
  if (a.replace(/\/+$/, '') === b) return true;
  try {
    return (await realpath(a)) === (await realpath(b));
  } catch {
    return false;
  }
}

/** Every process of the host. */
export async function runningProcesses(): Promise<RunningProcess[]> {
  const found: RunningProcess[] = [];
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    // None: it has ended.
    const words = await readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => undefined);
    if (words !== undefined) found.push({ pid: Number(name), words: words.split('\0') });
  }
  return found;
}
