// `npm run sim`: lives many lives, each from a seed, and says what happened in them. Exit code 1 where any failed.
// Runs can be cut off with Ctrl-C and then say what they have.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Worker, isMainThread, parentPort } from 'node:worker_threads';
import { runLife } from './life.ts';
import { PROFILE_NAMES, type ProfileName } from './profiles.ts';
import { type Batch, type Found, type Task, liveBatch } from './runner/batch.ts';
import { describeFailure } from './runner/failure.ts';
import { type Catalogue, type Sum, addBatch, createSum, describeSum } from './runner/summary.ts';

const HELP = `usage: npm run sim -- [options]
  --runs N       lives (100)
  --seed S       the first seed (1)
  --seconds T    as many lives as fit into so long, instead of --runs
  --jobs J       threads (1)
  --profile P    only lives of that kind: ${PROFILE_NAMES.join(', ')}
  --mutant ID    with this mutation switched on
  --events N     trouble ends after N events of a life
  --trace        every line of what happens (use it with --runs 1)`;

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '100' },
    seed: { type: 'string', default: '1' },
    seconds: { type: 'string' },
    jobs: { type: 'string', default: '1' },
    profile: { type: 'string' },
    mutant: { type: 'string' },
    events: { type: 'string' },
    trace: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});

const BATCH_LIVES = 20;
const FAILURES_TOLD = 3;
const SAY_EVERY_MS = 10_000;

function wholeNumber(name: 'runs' | 'seed' | 'seconds' | 'jobs' | 'events'): number | undefined {
  const text = values[name];
  if (text === undefined) return undefined;
  const value = Number(text);
  if (Number.isSafeInteger(value) && value > 0) return value;
  throw new Error(`--${name} ${text} is not a whole number above 0`);
}

function profileOf(name: string | undefined): ProfileName | undefined {
  const found = PROFILE_NAMES.find((known) => known === name);
  if (name !== undefined && found === undefined)
    throw new Error(`there is no profile ${name}: choose among ${PROFILE_NAMES.join(', ')}`);
  return found;
}

/** Beside the compiled code lies what the build found: marks and mutations. */
function readCatalogue(): Catalogue {
  return JSON.parse(readFileSync(join(import.meta.dirname, '../../catalogue.json'), 'utf8')) as Catalogue;
}

function mutantOf(catalogue: Catalogue): number {
  if (values.mutant === undefined) return 0;
  const found = catalogue.mutations.find(({ id }) => id === values.mutant);
  if (found === undefined) throw new Error(`there is no mutation ${values.mutant}`);
  return found.number;
}

async function main(): Promise<number> {
  if (values.help) {
    console.log(HELP);
    return 0;
  }
  const catalogue = readCatalogue();
  const seed = wholeNumber('seed') ?? 1;
  const options: Task['options'] = {
    mutant: mutantOf(catalogue),
    profile: profileOf(values.profile),
    troubledEventsMax: wholeNumber('events'),
  };
  if (values.trace) return traceAll(seed, wholeNumber('runs') ?? 1, options);
  const seconds = wholeNumber('seconds');
  const sum = await liveAll({
    first: seed,
    count: seconds === undefined ? (wholeNumber('runs') ?? 1) : Number.MAX_SAFE_INTEGER,
    untilMs: seconds === undefined ? Number.POSITIVE_INFINITY : performance.now() + seconds * 1000,
    jobs: wholeNumber('jobs') ?? 1,
    options,
  });
  for (const found of sum.failures.slice(0, FAILURES_TOLD))
    console.log(describeFailure(found, options, values));
  console.log(describeSum(sum, catalogue));
  return sum.failures.length === 0 ? 0 : 1;
}

function traceAll(first: number, count: number, options: Task['options']): number {
  let failures = 0;
  for (let seed = first; seed < first + count; seed += 1) {
    const { lines, standing, failure, profile } = runLife(seed, { ...options, trace: true });
    console.log(`seed ${seed}, ${profile}`);
    console.log([...(lines ?? []), ...standing].join('\n'));
    if (failure !== undefined) {
      console.log(
        failure.property === 'Crash' ? failure.stack : `event ${failure.atEvent}: ${failure.message}`,
      );
      failures += 1;
    }
  }
  console.log(`${count - failures} passed, ${failures} failed`);
  return failures === 0 ? 0 : 1;
}

interface Plan {
  readonly first: number;
  readonly count: number;
  readonly untilMs: number;
  readonly jobs: number;
  readonly options: Task['options'];
}

/** Hands seeds out to the threads, batch by batch, until all are lived, the time is over, or somebody has seen enough. */
async function liveAll({ first, count, untilMs, jobs, options }: Plan): Promise<Sum> {
  const sum = createSum(jobs);
  let next = first;
  let isStopped = false;
  let saidAtMs = performance.now();
  const stop = (): void => {
    if (isStopped) process.exit(130);
    isStopped = true;
    console.error('stopping: what was lived so far follows');
  };
  process.on('SIGINT', stop);
  process.on('SIGTERM', stop);
  const hand = (worker: Worker): boolean => {
    const left = Math.min(BATCH_LIVES, first + count - next);
    if (isStopped || left <= 0 || performance.now() >= untilMs) return false;
    const task: Task = { first: next, count: left, options };
    next += left;
    worker.postMessage(task);
    return true;
  };
  const work = (): Promise<void> =>
    new Promise((resolve, reject) => {
      const worker = new Worker(new URL(import.meta.url), { argv: process.argv.slice(2) });
      worker.on('error', reject);
      worker.on('exit', () => resolve());
      worker.on('message', (batch: Batch) => {
        addBatch(sum, batch);
        if (performance.now() - saidAtMs > SAY_EVERY_MS) {
          saidAtMs = performance.now();
          console.error(`${sum.lives} lives, ${sum.failures.length} failed`);
        }
        if (!hand(worker)) worker.terminate().catch(reject);
      });
      if (!hand(worker)) worker.terminate().catch(reject);
    });
  await Promise.all(Array.from({ length: jobs }, work));
  sum.elapsedMs = performance.now() - sum.beganAtMs;
  const { user, system } = process.cpuUsage();
  sum.processorMs = (user + system) / 1000;
  sum.failures.sort((a: Found, b: Found) => a.seed - b.seed);
  return sum;
}

if (isMainThread) {
  process.exitCode = await main();
} else {
  parentPort?.on('message', (task: Task) => parentPort?.postMessage(liveBatch(task)));
}
