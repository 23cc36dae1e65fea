// A table of the steps of a command that is run on the host itself: first that it has no step which the table lacks, then a kill at each. The
// command is run again, and must complete: what it makes is what it makes undisturbed, nothing else has changed, and nothing is left behind.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { until } from '../../../src/base/clock.ts';
import { isAlive } from '../../../src/postgres/processes.ts';
import { compiled } from '../../../harness/programs.ts';
import { type Ended, pictureOf } from '../bad-input/place.ts';
import { besides, type Hosts } from '../local/hosts.ts';
import { createHalting } from './halting.ts';
import { runsOf, type Steps, unknownSteps } from './table.ts';

/** Only catches hangs. */
export const LIMIT_MS = 120_000;

/** A host on which a command makes a data directory. */
export interface LocalScene {
  readonly hosts: Hosts;
  /** In whose directory everything is made; the data directory is `data` in it. */
  readonly peer: 'a' | 'b';
  /** Brings the host to where the command is to be run, from wherever a run before has left it. */
  prepare(): Promise<void>;
  /** Without `--config`. */
  readonly command: readonly string[];
  /** Files whose content is the same each time, by their path below the host's directory. */
  isSame(path: string): boolean;
  /** What comes and goes in the data directory by itself. */
  isFleeting(path: string): boolean;
  /** Of the data directory, beside what is compared; throws where it does not hold. */
  check(): Promise<void>;
  /** What the command must not touch. */
  readonly elsewhere: readonly string[];
}

export interface LocalTable {
  readonly name: string;
  readonly steps: Steps;
  /** The whole table, where `steps` is a part of it. */
  readonly known?: Steps;
  /** Steps that come from what is copied: too many to be in the table, and others with each version of PostgreSQL. */
  readonly received?: RegExp;
  /** Undefined where PostgreSQL's tools are missing. */
  readonly open: () => Promise<(LocalScene & AsyncDisposable) | undefined>;
  /** Of what the last run has made. */
  readonly lastly?: { readonly name: string; readonly check: (scene: LocalScene) => Promise<void> };
}

/** One run of the command; with `orders` it is killed where they say, if it comes there. */
async function runLocal(
  { hosts, peer, command }: LocalScene,
  orders?: { readonly step: string; readonly whole: boolean },
): Promise<Ended & { readonly isKilled: boolean; readonly steps: readonly string[] }> {
  const directory = dirname(hosts.config(peer));
  const halting = createHalting(join(hosts.place.root, 'halts'));
  halting.arm({ directory }, orders);
  const { PG_SENTINEL_PEERS: _, ...env } = process.env;
  const program = compiled('src/cli/sentinelctl.js');
  const child = spawn(process.execPath, [program, ...command, '--config', hosts.config(peer)], {
    cwd: '/',
    env: { ...env, ...halting.environment, PG_SENTINEL_HALTING_HOST: directory },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: LIMIT_MS,
    killSignal: 'SIGKILL',
  });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const exitCode = await new Promise<number | null>((resolve) => child.once('close', resolve));
  const isKilled = halting.isHalted({ directory });
  return { exitCode, stdout, stderr, isKilled, steps: halting.disarm({ directory }) };
}

const NOBODY_CAN_SAY = 3;
const TRIES_MAX = 20;

/** To its end: a machine so busy that its peers have no leader for a moment has a person try again. */
async function complete(scene: LocalScene): Promise<Awaited<ReturnType<typeof runLocal>>> {
  for (let tries = 1; ; tries += 1) {
    const ended = await runLocal(scene);
    if (ended.exitCode === NOBODY_CAN_SAY && tries < TRIES_MAX) continue;
    expect(ended.exitCode, ended.stderr).toBe(0);
    return ended;
  }
}

/** What the command makes where nothing comes in between. */
interface Undisturbed {
  readonly files: Readonly<Record<string, string>>;
  readonly elsewhere: Readonly<Record<string, string>>;
  readonly steps: readonly string[];
}

async function undisturbed(scene: LocalScene): Promise<Undisturbed> {
  await scene.prepare();
  const elsewhere = pictures(scene);
  const { steps } = await complete(scene);
  await scene.check();
  await nothingLeft(scene);
  const files = filesOf(scene);
  expect((await complete(scene)).stdout).toContain('nothing to do');
  expect(filesOf(scene)).toEqual(files);
  return { files, elsewhere, steps };
}

/** Kills the command at the step and runs it again; false where it went through without that step. */
async function killedAt(
  scene: LocalScene,
  orders: { readonly step: string; readonly whole: boolean },
  made: Undisturbed,
): Promise<boolean> {
  let isKilled = false;
  for (let tries = 1; ; tries += 1) {
    await scene.prepare();
    const first = await runLocal(scene, orders);
    isKilled = first.isKilled;
    if (first.exitCode !== NOBODY_CAN_SAY || tries >= TRIES_MAX) break;
  }
  await complete(scene);
  await scene.check();
  await nothingLeft(scene);
  expect(filesOf(scene)).toEqual(made.files);
  expect(pictures(scene)).toEqual(made.elsewhere);
  return isKilled;
}

export function testLocalTables(tables: readonly LocalTable[]): void {
  describe.each(tables.map((table) => ({ ...table })))('$name', (table) => {
    const { name, steps, known = steps, received, lastly } = table;
    let scene: (LocalScene & AsyncDisposable) | undefined;
    let made: Undisturbed | undefined;
    let killCount = 0;
    beforeAll(async () => {
      scene = await table.open();
    }, OPEN_MS);
    afterAll(async () => {
      await scene?.[Symbol.asyncDispose]();
      console.log(`${name}: ${killCount} kills`);
    }, LIMIT_MS);

    test('has no step that is not in the table', { timeout: LIMIT_MS }, async ({ skip }) => {
      if (scene === undefined) return skip(NO_TOOLS);
      made = await undisturbed(scene);
      const own = received === undefined ? made.steps : made.steps.filter((step) => !received.test(step));
      unknownSteps(own, known);
    });

    test.each(runsOf(steps))(
      'killed before: $step ($who)',
      { timeout: 4 * LIMIT_MS },
      async ({ step, who }) => {
        // Said by the first.
        if (scene === undefined) return;
        made ??= await undisturbed(scene);
        const isKilled = await killedAt(scene, { step, whole: who === 'whole' }, made);
        if (isKilled) killCount += 1;
        expect(isKilled || who === 'sometimes', 'it came to that step').toBe(true);
      },
    );

    test.each([lastly ?? []].flat())('$name', { timeout: 4 * LIMIT_MS }, async ({ check }) => {
      if (scene !== undefined) await check(scene);
    });
  });
}

const OPEN_MS = 3 * LIMIT_MS;
const NO_TOOLS = 'PostgreSQL without psql or pg_basebackup';

const pictures = ({ elsewhere }: LocalScene): Record<string, string> =>
  Object.assign({}, ...elsewhere.map(pictureOf)) as Record<string, string>;

/** No work directory beside the data directory, and no program that still works on the host. */
async function nothingLeft({ hosts, peer }: LocalScene): Promise<void> {
  expect(besides(hosts.data(peer))).toEqual([]);
  const directory = dirname(hosts.config(peer));
  const programs = (): string[] =>
    readdirSync('/proc').filter((pid) => /^\d+$/.test(pid) && isAlive(Number(pid)) && names(pid, directory));
  await until({ what: 'its programs to have ended', timeoutMs: 10_000, everyMs: 20 }, () => {
    return programs().length === 0;
  });
}

function names(pid: string, directory: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(`${directory}/`);
  } catch {
    return false;
  }
}

/** Everything in the host's directory: kind, mode, owner, where a link leads, and the content of what is the same each time. */
function filesOf({ hosts, peer, isSame, isFleeting }: LocalScene): Record<string, string> {
  const directory = dirname(hosts.config(peer));
  const found = new Map<string, string[]>();
  const look = (path: string): void => {
    const below = relative(directory, path);
    if (isFleeting(below)) return;
    const stats = lstatSync(path);
    const head = `${stats.mode.toString(8)} ${stats.uid}:${stats.gid}`;
    const content = stats.isSymbolicLink()
      ? ` -> ${withoutRandom(readlinkSync(path))}`
      : stats.isFile() && isSame(below)
        ? ` ${createHash('sha256').update(readFileSync(path)).digest('hex')}`
        : '';
    const name = withoutRandom(below);
    found.set(name, [...(found.get(name) ?? []), `${head}${content}`]);
    if (stats.isDirectory()) for (const each of readdirSync(path).toSorted()) look(join(path, each));
  };
  look(directory);
  return Object.fromEntries([...found].map(([name, all]) => [name, all.join('; ')]));
}

const withoutRandom = (path: string): string =>
  path.replaceAll(/-[0-9a-f]{8}\b/g, '-*').replace(/^(state\/local\/)\d+/, '$1N');
