// Docker's command line, with a deadline on every call. Only what the chaos tests need; no call is repeated.
import { execFile } from 'node:child_process';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
/** The project's folder. */
export const PROJECT = resolve(fileURLToPath(import.meta.url), '../../../..');
const CALL_TIMEOUT_MS = 60_000;
export const BUILD_TIMEOUT_MS = 1_200_000;

/** A protection that every sentineld leaves out: `no-cut` or `no-rule`. The chaos tests then have to fail. */
const UNSAFE = process.env['PG_SENTINEL_TEST_UNSAFE'];

/** Name of the compose project: containers, networks and volumes begin with it. */
export const COMPOSE_PROJECT = 'pg-sentinel-chaos';

/** What the command printed, without the last line's end. Rejects with what it said on standard error. */
export async function docker(args: readonly string[], timeoutMs = CALL_TIMEOUT_MS): Promise<string> {
  return call('docker', args, timeoutMs);
}

/** `docker compose` or `docker-compose`, whichever there is, on docker/compose.chaos.yaml with the spare host. */
export async function compose(args: readonly string[], timeoutMs = CALL_TIMEOUT_MS): Promise<string> {
  const names = UNSAFE === undefined ? ['compose.chaos.yaml'] : ['compose.chaos.yaml', 'compose.unsafe.yaml'];
  const files = names.flatMap((name) => ['--file', join(PROJECT, 'docker', name)]);
  const project = ['--project-name', COMPOSE_PROJECT, ...files, '--profile', 'spare'];
  return composeWith(project, args, timeoutMs);
}

/** The same on whatever `project` says: files, name, profiles. */
export async function composeWith(
  project: readonly string[],
  args: readonly string[],
  timeoutMs: number,
): Promise<string> {
  const [program, ...first] = await composeProgram();
  return call(program, [...first, ...project, ...args], timeoutMs);
}

type Program = readonly [string, ...string[]];
let found: Promise<Program> | undefined;

function composeProgram(): Promise<Program> {
  found ??= (async (): Promise<Program> => {
    if (await works('docker', ['compose', 'version'])) return ['docker', 'compose'];
    if (await works('docker-compose', ['version'])) return ['docker-compose'];
    throw new Error('the chaos tests need docker compose or docker-compose; neither is there');
  })();
  return found;
}

/** Whether the program is there and ends well. */
export function works(program: string, args: readonly string[]): Promise<boolean> {
  return run(program, args, { timeout: CALL_TIMEOUT_MS }).then(
    () => true,
    () => false,
  );
}

/** What a program printed, without the last line's end; rejects with what it said on standard error. */
export async function call(program: string, args: readonly string[], timeoutMs: number): Promise<string> {
  try {
    const { stdout } = await run(program, args, {
      timeout: timeoutMs,
      maxBuffer: 1 << 26,
      killSignal: 'SIGKILL',
    });
    return stdout.trimEnd();
  } catch (error) {
    const { stderr = '', message } = error as Error & { stderr?: string };
    const said = stderr.trim().split('\n').slice(-8).join(' | ');
    throw new Error(`${program} ${args.join(' ')}: ${said === '' ? message : said}`, { cause: error });
  }
}
