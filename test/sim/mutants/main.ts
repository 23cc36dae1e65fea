// `npm run sim:mutants`: switches on one mutation after the other and looks for a life in which it is caught by an invariant that was
// named for it beforehand. Exit code 1 where any survives.
import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import { type Hunt, type ListedMutation, beginHunt } from './hunt.ts';
import { readFound, writeFound } from './progress-file.ts';
import { TABLE_HEAD, describeHunt, describeSum } from './table.ts';
import type { Progress, Task } from './worker.ts';

const HELP = `usage: npm run sim:mutants -- [options]
  --seeds N      lives for each mutation, at most (2000)
  --first N      the first seed (1)
  --jobs N       threads (2)
  --only ID,...  only mutations whose names begin so, such as 08,31
  --resume FILE  take up what FILE holds of the same build, and write there what is found`;

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '2000' },
    first: { type: 'string', default: '1' },
    jobs: { type: 'string', default: '2' },
    only: { type: 'string' },
    resume: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});

function wholeNumber(name: 'seeds' | 'first' | 'jobs'): number {
  const value = Number(values[name]);
  if (Number.isSafeInteger(value) && value > 0) return value;
  throw new Error(`--${name} ${values[name]} is not a whole number above 0`);
}

async function main(): Promise<number> {
  if (values.help) {
    console.log(HELP);
    return 0;
  }
  const folder = join(import.meta.dirname, '../../..');
  const build = basename(join(folder, '..'));
  const firstSeed = wholeNumber('first');
  const lastSeed = firstSeed + wholeNumber('seeds') - 1;
  const wanted = values.only?.split(',');
  const mutations = listedIn(folder).filter(
    ({ id }) => wanted === undefined || wanted.some((prefix) => id.startsWith(prefix)),
  );
  const found = readFound(values.resume, build, firstSeed);
  console.log(`build ${build}: ${mutations.length} mutations, seeds ${firstSeed} to ${lastSeed}`);
  console.log(TABLE_HEAD);
  await huntAll(mutations, {
    jobs: wholeNumber('jobs'),
    lastSeed,
    huntOf: (id) => (found.hunts[id] ??= beginHunt(id, firstSeed)),
    onProgress: (mutation, hunt, isDone) => {
      found.hunts[hunt.id] = hunt;
      writeFound(values.resume, found);
      if (isDone) console.log(describeHunt(mutation, hunt, firstSeed));
    },
  });
  const all = mutations.map((mutation) => ({ mutation, hunt: found.hunts[mutation.id] as Hunt }));
  console.log(describeSum(all));
  return all.every(({ hunt }) => hunt.kill !== undefined) ? 0 : 1;
}

function listedIn(folder: string): readonly ListedMutation[] {
  const text = readFileSync(join(folder, 'catalogue.json'), 'utf8');
  return (JSON.parse(text) as { readonly mutations: readonly ListedMutation[] }).mutations;
}

interface HuntOptions {
  readonly jobs: number;
  readonly lastSeed: number;
  readonly huntOf: (id: string) => Hunt;
  readonly onProgress: (mutation: ListedMutation, hunt: Hunt, isDone: boolean) => void;
}

/** Each thread takes the next mutation when it has done with one. */
async function huntAll(mutations: readonly ListedMutation[], options: HuntOptions): Promise<void> {
  const left = [...mutations];
  const takeNext = (): ListedMutation | undefined => {
    for (;;) {
      const mutation = left.shift();
      if (mutation === undefined) return undefined;
      const hunt = options.huntOf(mutation.id);
      if (hunt.kill === undefined && hunt.nextSeed <= options.lastSeed) return mutation;
      options.onProgress(mutation, hunt, true);
    }
  };
  const threads = Array.from({ length: options.jobs }, () => huntInThread(takeNext, options));
  await Promise.all(threads);
}

function huntInThread(takeNext: () => ListedMutation | undefined, options: HuntOptions): Promise<void> {
  const worker = new Worker(new URL('./worker.js', import.meta.url));
  return new Promise((resolve, reject) => {
    let mutation = takeNext();
    const ask = (): void => {
      if (mutation === undefined) {
        resolve(worker.terminate().then(() => undefined));
        return;
      }
      const task: Task = { mutation, hunt: options.huntOf(mutation.id), lastSeed: options.lastSeed };
      worker.postMessage(task);
    };
    worker.on('error', reject);
    worker.on('message', ({ hunt, isDone }: Progress) => {
      if (mutation === undefined) return;
      options.onProgress(mutation, hunt, isDone);
      if (!isDone) return;
      mutation = takeNext();
      ask();
    });
    ask();
  });
}

process.exitCode = await main();
