// Docker's command line, with a deadline on every call. Only what the chaos tests need; no call is repeated.
import { execFile } from 'node:child_process';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const PROJECT = resolve(fileURLToPath(import.meta.url), '../../../..');
const CALL_TIMEOUT_MS = 60_000;
const BUILD_TIMEOUT_MS = 1_200_000;

/** Name of the compose project: containers, networks and volumes begin with it. */
export const COMPOSE_PROJECT = 'pg-sentinel-chaos';

/** What the command printed, without the last line's end. Rejects with what it said on standard error. */
export async function docker(args: readonly string[], timeoutMs = CALL_TIMEOUT_MS): Promise<string> {
  return call('docker', args, timeoutMs);
}

/** `docker compose` or `docker-compose`, whichever there is, on docker/compose.chaos.yaml with the spare host. */
export async function compose(args: readonly string[], timeoutMs = CALL_TIMEOUT_MS): Promise<string> {
  const [program, ...first] = await composeProgram();
  const file = join(PROJECT, 'docker/compose.chaos.yaml');
  const project = ['--project-name', COMPOSE_PROJECT, '--file', file, '--profile', 'spare'];
  return call(program, [...first, ...project, ...args], timeoutMs);
}

/** Builds the images; fast where they are current. `PG_SENTINEL_BASE` is the base where it is set. */
export async function buildImages(): Promise<void> {
  const [program, ...first] = await composeProgram();
  const users = ['--file', join(PROJECT, 'docker/compose.yaml')];
  await call(program, [...first, ...users, 'build', 'pg1'], BUILD_TIMEOUT_MS);
  await compose(['build', 'toxiproxy', 'pg1'], BUILD_TIMEOUT_MS);
}

/** The base image: what PG_SENTINEL_BASE names; else one of our own where debootstrap is at hand; else the default is pulled. */
export async function chooseBase(): Promise<void> {
  if (process.env['PG_SENTINEL_BASE'] !== undefined) return;
  const canMake = process.getuid?.() === 0 && (await works('debootstrap', ['--version']));
  if (!canMake) return;
  process.env['PG_SENTINEL_BASE'] = await call(join(PROJECT, 'docker/base-image.sh'), [], BUILD_TIMEOUT_MS);
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

function works(program: string, args: readonly string[]): Promise<boolean> {
  return run(program, args, { timeout: CALL_TIMEOUT_MS }).then(
    () => true,
    () => false,
  );
}

async function call(program: string, args: readonly string[], timeoutMs: number): Promise<string> {
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
