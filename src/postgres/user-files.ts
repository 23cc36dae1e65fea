// Files and directories at paths that PostgreSQL's user, or a server of his, has a say in: touched by a process of that user, so that nobody gets by a
// forged path or a link what he could not do himself. Also where sentineld is that user already: then it is the same work.
import { spawn } from 'node:child_process';
import { lstat, rmdir, unlink } from 'node:fs/promises';
import { type ConfigReader, UnreadableError } from './config-files.ts';
import { type OsUser, cleanEnvironment, spawnIds } from './os-user.ts';

const FILE_BYTES_MAX = 1 << 20;
const TIMEOUT_MS = 10_000;

/** Takes one job as a line of JSON, and ends with its standard input: a removal must not go on without whoever asked for it. */
const PROGRAM = String.raw`
const fs = require('node:fs');
const { dirname, join } = require('node:path');
const { O_RDONLY, O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK } = fs.constants;
const fsp = fs.promises;
const unless = (...codes) => (error) => { if (!codes.includes(error.code)) throw error; };
const absent = unless('ENOENT', 'ENOTDIR');
const noRight = unless('EACCES', 'EPERM', 'EROFS', 'ENOENT', 'ENOTDIR');
const writeNew = async (path, content) => {
  const file = await fsp.open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
  await file.writeFile(content);
  await file.sync();
  await file.close();
};
const sync = async (path) => {
  const directory = await fsp.open(path, 'r');
  await directory.sync();
  await directory.close();
};
const jobs = {
  async remove({ path, only }) {
    const found = await (only === undefined ? fsp.lstat(path) : fsp.stat(path)).catch(absent);
    if (found === undefined) return;
    if (!found.isDirectory()) return only === undefined ? fsp.unlink(path).catch(noRight) : undefined;
    const names = (await fsp.readdir(path).catch(noRight)) ?? [];
    for (const name of names)
      if (only === undefined || new RegExp(only).test(name))
        await fsp.rm(join(path, name), { recursive: true, force: true, maxRetries: 5 });
    if (only === undefined) await fsp.rmdir(path).catch(noRight);
  },
  removeEmpty: ({ path }) => fsp.rmdir(path).catch(unless('EACCES', 'EPERM', 'EROFS', 'ENOENT', 'ENOTDIR', 'ENOTEMPTY', 'EEXIST')),
  async read({ path, max }) {
    const file = await fsp.open(path, O_RDONLY | O_NONBLOCK).catch(absent);
    if (file === undefined) return undefined;
    const found = await file.stat();
    if (!found.isFile()) throw new Error(path + ' is no regular file');
    const buffer = Buffer.alloc(max + 1);
    let size = 0;
    for (let count = 1; count > 0 && size <= max; size += count) count = (await file.read(buffer, size, max + 1 - size, size)).bytesRead;
    if (size > max) throw new Error(path + ' has more than ' + max + ' bytes');
    return buffer.toString('utf8', 0, size);
  },
  makeDirectory: ({ path, mode }) => fsp.mkdir(path, { recursive: true, mode }).then(() => undefined),
  async copy({ path, names, to }) {
    await fsp.rm(to, { recursive: true, force: true });
    await fsp.mkdir(to, { mode: 0o700 });
    for (const name of names) {
      const from = await fsp.open(join(path, name), O_RDONLY | O_NONBLOCK);
      if (!(await from.stat()).isFile()) throw new Error(join(path, name) + ' is no regular file');
      await fsp.copyFile('/proc/self/fd/' + from.fd, join(to, name), fs.constants.COPYFILE_EXCL | fs.constants.COPYFILE_FICLONE);
      await from.close();
      await fsp.chmod(join(to, name), 0o600);
    }
  },
  list: ({ path }) => fsp.readdir(path).catch(absent),
  realPath: ({ path }) => fsp.realpath(path).catch(absent),
  async mayMake({ path }) {
    let at = dirname(path);
    while (at !== dirname(at) && (await fsp.stat(at).catch(absent)) === undefined) at = dirname(at);
    await fsp.access(at, fs.constants.W_OK | fs.constants.X_OK);
  },
  async placeDirectory({ path, ending, files }) {
    const unfinished = path + ending;
    await fsp.rm(unfinished, { recursive: true, force: true });
    await fsp.mkdir(unfinished, { mode: 0o700 });
    for (const [name, content] of Object.entries(files)) await writeNew(join(unfinished, name), Buffer.from(content, 'base64'));
    await sync(unfinished);
    await fsp.rename(unfinished, path);
    await sync(dirname(path));
  },
  async write({ path, content, bytes, isNew }) {
    await fsp.mkdir(dirname(path), { recursive: true, mode: isNew ? 0o755 : 0o700 });
    const temporary = path + '.pg_sentinel_new';
    await fsp.rm(temporary, { force: true });
    await writeNew(temporary, bytes === undefined ? content : Buffer.from(bytes, 'base64'));
    try {
      if (isNew) await fsp.link(temporary, path);
      else await fsp.rename(temporary, path);
    } finally {
      await fsp.rm(temporary, { force: true });
    }
    await sync(dirname(path));
  },
};
const answer = (text) => process.stdout.write(JSON.stringify(text), () => process.exit(0));
let line = '';
process.stdin.setEncoding('utf8');
process.stdin.on('data', (text) => {
  line += text;
  if (!text.includes('\n')) return;
  const { job, ...options } = JSON.parse(line);
  jobs[job](options).then((value) => answer({ value }), (error) => answer({ code: error.code, message: error.message }));
});
process.stdin.on('end', () => process.exit(1));`;

interface Answer {
  readonly value?: unknown;
  readonly code?: string;
  readonly message?: string;
}

/** Throws with the file system's own `code`, where there is one. */
function run(
  user: OsUser,
  job: { readonly job: string; readonly path: string; readonly [key: string]: unknown },
  timeoutMs: number | undefined,
  signal?: AbortSignal,
): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['-e', PROGRAM], {
      ...spawnIds(user),
      cwd: '/',
      env: cleanEnvironment(),
      stdio: ['pipe', 'pipe', 'pipe'],
      killSignal: 'SIGKILL',
      ...(timeoutMs === undefined ? {} : { timeout: timeoutMs }),
      ...(signal === undefined ? {} : { signal }),
    });
    const failed = (why: string, code?: string): void =>
      reject(Object.assign(new Error(`as ${user.name}: ${why.trim()}`), code === undefined ? {} : { code }));
    // Before anything that can throw: an error that nobody hears ends the whole process.
    child.once('error', (error) => failed(`${job.path}: ${error.message}`));
    const said: Buffer[] = [];
    let complaint = '';
    child.stdout?.on('data', (chunk: Buffer) => void said.push(chunk));
    child.stderr?.on(
      'data',
      (chunk: Buffer) => (complaint = (complaint + chunk.toString('utf8')).slice(-1000)),
    );
    child.once('close', (code, signal) => {
      if (code !== 0)
        return failed(`${job.path}: ${complaint === '' ? (signal ?? `exit code ${code}`) : complaint}`);
      const answer = JSON.parse(Buffer.concat(said).toString('utf8')) as Answer;
      if (answer.message === undefined) resolve(answer.value);
      else failed(answer.message, answer.code);
    });
    child.stdin?.on('error', () => undefined);
    child.stdin?.write(`${JSON.stringify(job)}\n`);
  });
}

/**
 * Removes a directory that has no other purpose, whatever is in it, as far as the user may; a link itself, not what it leads to. Empty, it goes also
 * where only this process may remove it from its parent. Throws where it stays.
 */
export async function removeAsUser(user: OsUser, path: string): Promise<void> {
  await run(user, { job: 'remove', path }, undefined);
  const left = await lstat(path).catch((error: unknown) => {
    if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw error;
  });
  if (left === undefined) return;
  if (left.isDirectory()) await rmdir(path);
  else if (left.isSymbolicLink()) await unlink(path);
  else throw new Error(`${path} could not be removed as ${user.name}`);
}

/** Removes what has such a name in the directory, as far as the user may; the directory, which somebody else has made, stays. */
export async function removeWithinAsUser(user: OsUser, path: string, names: RegExp): Promise<void> {
  await run(user, { job: 'remove', path, only: names.source }, undefined);
}

/** Removes the user's directory where it is empty, else leaves it. */
export async function removeEmptyAsUser(user: OsUser, path: string): Promise<void> {
  await run(user, { job: 'removeEmpty', path }, TIMEOUT_MS);
  // Its parent may be another's: a tablespace's is often root's.
  const left = await lstat(path).catch(() => undefined);
  if (left?.isDirectory() === true && left.uid === user.uid) await rmdir(path).catch(() => undefined);
}

/** Undefined where there is none. Throws for one that the user may not read, is no regular file (also a pipe, without waiting) or has more than 1 MiB. */
export const readAsUser = async (user: OsUser, path: string): Promise<string | undefined> =>
  (await run(user, { job: 'read', path, max: FILE_BYTES_MAX }, TIMEOUT_MS)) as string | undefined;

/** With its parents where missing; one that is there stays as it is. Throws where the user may not. */
export async function makeDirectoryAsUser(user: OsUser, path: string, mode: number): Promise<void> {
  await run(user, { job: 'makeDirectory', path, mode }, TIMEOUT_MS);
}

/**
 * Copies these files of a directory into a new one of the user's, `to`, in the place of whatever is there, for nobody else to read. Throws for one that the
 * user may not read or that is no regular file, after `timeoutMs`, and when `signal` aborts.
 */
export async function copyAsUser(
  user: OsUser,
  source: { readonly directory: string; readonly names: readonly string[] },
  to: string,
  limits: { readonly timeoutMs: number; readonly signal: AbortSignal },
): Promise<void> {
  const { directory, names } = source;
  await run(user, { job: 'copy', path: directory, names, to }, limits.timeoutMs, limits.signal);
}

/** Where the links in `path` lead for that user; undefined where there is nothing. */
export const realPathAsUser = async (user: OsUser, path: string): Promise<string | undefined> =>
  (await run(user, { job: 'realPath', path }, TIMEOUT_MS)) as string | undefined;

/** Throws where the user could not make a file of that name, or the directories that it lacks. */
export async function checkMayMake(user: OsUser, path: string): Promise<void> {
  await run(user, { job: 'mayMake', path }, TIMEOUT_MS);
}

/**
 * Writes it durably, and the directories that it lacks, which get mode 0755. Throws where the user may not, and with EEXIST where there is anything
 * at that path.
 */
export async function makeFileAsUser(user: OsUser, path: string, content: string): Promise<void> {
  await run(user, { job: 'write', path, content, isNew: true }, TIMEOUT_MS);
}

/** The same for what may be there and is replaced; directories get mode 0700. */
export async function replaceFileAsUser(user: OsUser, path: string, content: string): Promise<void> {
  await run(user, { job: 'write', path, content, isNew: false }, TIMEOUT_MS);
}

/** The same for what is no text. Throws as well when `signal` aborts. */
export async function replaceBytesAsUser(
  user: OsUser,
  path: string,
  content: Buffer,
  signal: AbortSignal,
): Promise<void> {
  const bytes = content.toString('base64');
  await run(user, { job: 'write', path, bytes, isNew: false }, TIMEOUT_MS, signal);
}

/**
 * Makes a directory of mode 0700 with those files durably: whole or not at all. What there is of it before is at `path` + `ending`. Throws where there
 * is anything but an empty directory at `path`, and when `signal` aborts.
 */
export async function placeDirectoryAsUser(
  user: OsUser,
  path: string,
  ending: string,
  files: Readonly<Record<string, Buffer>>,
  signal: AbortSignal,
): Promise<void> {
  const contents = Object.fromEntries(
    Object.entries(files).map(([name, content]) => [name, content.toString('base64')]),
  );
  await run(user, { job: 'placeDirectory', path, ending, files: contents }, TIMEOUT_MS, signal);
}

/** Reads a configuration with no more rights than the server had that it is of. */
export function configReaderOf(user: OsUser): ConfigReader {
  const attempt = async <T>(work: Promise<T>): Promise<T> => {
    try {
      return await work;
    } catch (error) {
      throw new UnreadableError((error as Error).message, { cause: error });
    }
  };
  return {
    read: (path) => attempt(readAsUser(user, path)),
    list: (path) =>
      attempt(run(user, { job: 'list', path }, TIMEOUT_MS) as Promise<readonly string[] | undefined>),
  };
}
