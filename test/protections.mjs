// `npm run protections`: shows that each of the first protections matters. Each danger of test/integration/dangers/protections.test.ts, with
// three seeds, on real PostgreSQL: with the protection it has to pass, without it to fail at the invariant named here, and at no other
// thing. Exit code 1 where it is not so.
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const FILE = 'test/integration/dangers/protections.test.ts';
const SEEDS = (process.argv[2] ?? '1,2,3').split(',').map(Number);
const INVARIANT = /^AssertionError: (NoAcknowledgedWriteLost|AtMostOneAcknowledger|NoWriteTwice): /;

/** `test`: how its name begins. */
const PROTECTIONS = [
  { protection: 'the cut', unsafe: 'no-cut', test: 'cut', invariant: 'NoAcknowledgedWriteLost' },
  { protection: 'the guard (async)', unsafe: 'no-guard', test: 'guard', invariant: 'AtMostOneAcknowledger' },
  { protection: 'the floor', unsafe: 'no-floor', test: 'floor', invariant: 'NoAcknowledgedWriteLost' },
];

if (SEEDS.some((seed) => !Number.isSafeInteger(seed)))
  throw new Error(`usage: npm run protections [-- SEED,...]; ${process.argv[2]} is no list of seeds`);

/** Runs the tests whose names begin so and resolves to the messages of each; undefined for one that did not run. */
async function run(name, unsafe) {
  const directory = await mkdtemp(join(tmpdir(), 'pg-sentinel-protections-'));
  const report = join(directory, 'report.json');
  const environment = { ...process.env, PG_SENTINEL_TEST_SEEDS: SEEDS.join(',') };
  if (unsafe === undefined) delete environment.PG_SENTINEL_TEST_UNSAFE;
  else environment.PG_SENTINEL_TEST_UNSAFE = unsafe;
  const vitest = ['vitest', 'run', '--config', 'vitest.long.config.ts', FILE, '-t', `^${name}`];
  const child = spawn('npx', [...vitest, '--reporter=json', `--outputFile=${report}`], {
    env: environment,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  await new Promise((resolve, reject) => child.once('exit', resolve).once('error', reject));
  try {
    const { testResults } = JSON.parse(await readFile(report, 'utf8'));
    const results = testResults.flatMap(({ assertionResults }) => assertionResults);
    const broken = testResults.map(({ message }) => message).find((text) => text);
    return (test, seed) => {
      const found = results.find(
        ({ title }) => title.startsWith(`${test}: `) && title.endsWith(`(seed ${seed})`),
      );
      if (found === undefined || !['passed', 'failed'].includes(found.status))
        return [broken ?? 'the test did not run'];
      return found.failureMessages;
    };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

const firstLine = (text) => text.split('\n')[0].slice(0, 160);

/** Without the protection: what it says where it failed at that invariant, and only at invariants. */
function judge(messages, invariant) {
  if (messages.length === 0) return { isGood: false, text: 'SURVIVED: it passes' };
  const other = messages.find((message) => !INVARIANT.test(message));
  if (other !== undefined) return { isGood: false, text: `FAILED OTHERWISE: ${firstLine(other)}` };
  const names = [...new Set(messages.map((message) => INVARIANT.exec(message)[1]))];
  return names.includes(invariant)
    ? { isGood: true, text: `fails at ${names.join(', ')}` }
    : { isGood: false, text: `FAILED AT ANOTHER: ${names.join(', ')}` };
}

const startedMs = performance.now();
console.log(`${FILE}, seeds ${SEEDS.join(', ')}; four clusters, several minutes`);
const withAll = await run('', undefined);
const rows = [['left out', 'test', 'invariant', 'seed', 'without', 'with']];
let isGood = true;
for (const { protection, unsafe, test, invariant } of PROTECTIONS) {
  const without = await run(`${test}: `, unsafe);
  for (const seed of SEEDS) {
    const outcome = judge(without(test, seed), invariant);
    const messages = withAll(test, seed);
    const passes = messages.length === 0;
    isGood &&= outcome.isGood && passes;
    const text = passes ? 'passes' : `FAILS: ${firstLine(messages[0])}`;
    rows.push([protection, test, invariant, String(seed), outcome.text, text]);
  }
}
const widths = rows[0].map((_, at) => Math.max(...rows.map((row) => row[at].length)));
for (const row of rows)
  console.log(
    row
      .map((cell, at) => cell.padEnd(widths[at]))
      .join('  ')
      .trimEnd(),
  );
console.log(
  `${isGood ? 'every one of them matters' : 'NOT SHOWN for all of them'}; ${Math.round((performance.now() - startedMs) / 1000)} s`,
);
process.exitCode = isGood ? 0 : 1;
