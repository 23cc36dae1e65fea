// Files of a server that somebody else has made, wherever that server says they are. Whoever is superuser there names the paths: they are
// read by the server itself and written by a process of the user that it runs as, never with more rights than those.
import { spawn } from 'node:child_process';
import { cleanEnvironment, spawnIds, type OsUser } from './os-user.ts';
import type { QueryOptions, Session } from './session.ts';

const FILE_BYTES_MAX = 1 << 20;

/** Undefined where there is none. Throws as {@link Session.query} does, and for a file that is too large to be a configuration. */
export async function readServerFile(
  session: Pick<Session, 'query'>,
  path: string,
  options: QueryOptions,
): Promise<string | undefined> {
  // Bytes: PostgreSQL refuses a text that is not in the encoding of the database.
  const [row] = await session.query<{ bytes: Uint8Array | null }>(
    'select pg_read_binary_file($1, 0, $2, true) as bytes',
    [path, FILE_BYTES_MAX + 1],
    options,
  );
  const bytes = row?.bytes ?? undefined;
  if (bytes === undefined) return undefined;
  if (bytes.length > FILE_BYTES_MAX)
    throw new Error(`${path} has more than ${FILE_BYTES_MAX} bytes: it cannot be taken over`);
  return Buffer.from(bytes).toString('utf8');
}

/** Written beside it and renamed, so that it is never half there; in place where the user may not write to the directory. */
const PROGRAM = `
const fs = require('node:fs');
const { dirname } = require('node:path');
const [path] = process.argv.slice(1);
const fail = (text) => { process.stderr.write(text); process.exit(1); };
const content = fs.readFileSync(0);
const present = fs.lstatSync(path);
if (!present.isFile()) fail(path + ' is no regular file');
if (present.uid !== process.getuid()) fail(path + ' belongs to another user');
const flush = (file) => { fs.writeSync(file, content, 0, content.length, 0); fs.ftruncateSync(file, content.length); fs.fsyncSync(file); fs.closeSync(file); };
const temporary = path + '.pg_sentinel_new';
let file;
try {
  fs.rmSync(temporary, { force: true });
  file = fs.openSync(temporary, 'wx', present.mode & 0o777);
} catch (error) {
  if (error.code !== 'EACCES' && error.code !== 'EPERM') throw error;
}
if (file === undefined) {
  flush(fs.openSync(path, fs.constants.O_WRONLY | fs.constants.O_NOFOLLOW));
} else {
  fs.fchmodSync(file, present.mode & 0o777);
  flush(file);
  fs.renameSync(temporary, path);
  const directory = fs.openSync(dirname(path), 'r');
  fs.fsyncSync(directory);
}`;

const WRITE_TIMEOUT_MS = 10_000;

/** Replaces a regular file of the user's own, durably. Throws where it is none, or cannot be written. */
export function writeAsUser(user: OsUser, path: string, content: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['-e', PROGRAM, path], {
      ...spawnIds(user),
      cwd: '/',
      env: cleanEnvironment(),
      stdio: ['pipe', 'ignore', 'pipe'],
      timeout: WRITE_TIMEOUT_MS,
      killSignal: 'SIGKILL',
    });
    const failed = (why: string): void =>
      reject(new Error(`cannot write ${path} as ${user.name}: ${why.trim()}`));
    // Before anything that can throw: an error that nobody hears ends the whole process.
    child.once('error', (error) => failed(error.message));
    let said = '';
    child.stderr?.on('data', (chunk: Buffer) => (said = (said + chunk.toString('utf8')).slice(-1000)));
    child.once('close', (code, signal) => {
      if (code === 0) resolve();
      else failed(said === '' ? (signal ?? `exit code ${code}`) : said);
    });
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(content);
  });
}
