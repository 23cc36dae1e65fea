// `npm run matrix [-- --versions 14,18] [-- --all | FILES]`: runs integration tests on one version of PostgreSQL after the other and prints a table.
// Without versions: all that are supported and here; those that are not here are named. Without files a selection, with `--all` each one that goes by
// the version. Exit code 1 where a test failed, where a file ran no test, or where a version that was asked for is not here.
import { execFileSync, spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const PROJECT = resolve(fileURLToPath(import.meta.url), '../..');

/** Start, every step of a failover, commands on a cluster, the cut, the guard, coming back, the archive, logical slots. */
const DEFAULT_FILES = [
  'postgres/versions',
  'postgres/lifecycle',
  'postgres/failover',
  'health/crash',
  'health/answers',
  'commands/commands',
  'dangers/cut',
  'dangers/twins',
  'dangers/crash-restart',
  'guard/cluster',
  'rejoin/cluster',
  'rejoin/diverged',
  'rejoin/kinds',
  'expectations/archive',
  'logical/survival',
].map((name) => `test/integration/${name}.test.ts`);

/** They have versions of their own (Debian's, or what the demo finds), or take an hour on each. */
const NOT_BY_VERSION = ['demo', 'halfway', 'walks'];
/** The part of `halfway` that is short. */
const SAMPLE = 'test/integration/halfway/sample.test.ts';

/** Every file of integration tests that goes by the version. */
function allFiles() {
  const root = 'test/integration';
  const names = readdirSync(join(PROJECT, root), { recursive: true, encoding: 'utf8' }).filter((name) =>
    name.endsWith('.test.ts'),
  );
  const files = names.filter((name) => !NOT_BY_VERSION.includes(name.split('/')[0]));
  return [...files.map((name) => `${root}/${name}`), SAMPLE].toSorted();
}

const { values, positionals } = parseArgs({
  options: { versions: { type: 'string' }, all: { type: 'boolean', default: false } },
  allowPositionals: true,
});
if (values.all && positionals.length > 0)
  throw new Error(
    `usage: npm run matrix [-- --all | FILES]; --all is every file, and ${positionals[0]} is named`,
  );
const asked = values.versions?.split(',').map(Number);
const chosen = values.all ? allFiles() : DEFAULT_FILES;
const files = positionals.length > 0 ? positionals : chosen;
/** Each supported version, with `directory`, or with `obstacle` where it is not here. */
const versions = JSON.parse(
  execFileSync(process.execPath, [join(PROJECT, 'dist/harness/list-postgres.js')], { encoding: 'utf8' }),
);
const supported = versions.map(({ version }) => version);
if (asked?.some((version) => !supported.includes(version)))
  throw new Error(
    `usage: npm run matrix [-- --versions ${supported.join(',')}] [-- FILES]; "${values.versions}" names a version that is not supported`,
  );

/** Runs one test file on one version; resolves to its counts and to what it printed. */
async function run(version, file) {
  const directory = await mkdtemp(join(tmpdir(), 'pg-sentinel-matrix-'));
  const summary = join(directory, 'summary.json');
  const startedMs = performance.now();
  const child = spawn(
    join(PROJECT, 'node_modules/.bin/vitest'),
    ['run', '--config', 'vitest.matrix.config.ts', file],
    {
      cwd: PROJECT,
      env: {
        ...process.env,
        PG_SENTINEL_TEST_POSTGRES: String(version),
        PG_SENTINEL_TEST_SUMMARY: summary,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += chunk));
  const exitCode = await new Promise((done, reject) => child.once('close', done).once('error', reject));
  try {
    const counts = JSON.parse(await readFile(summary, 'utf8').catch(() => '{}'));
    const { passed = 0, failed = 0, skipped = 0, skips = [], failures = [] } = counts;
    const broken = exitCode !== 0 && failed === 0;
    return {
      ...{ version, file, passed, skipped, skips, output },
      failed: failed + (broken || passed + failed + skipped === 0 ? 1 : 0),
      failures: broken ? [...failures, `vitest ended with ${exitCode}`] : failures,
      seconds: Math.round((performance.now() - startedMs) / 1000),
    };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** `12 passed, 1 FAILED, 2 skipped, 31 s`. */
function cell({ passed, failed, skipped, seconds }) {
  const counts = [
    [passed, 'passed'],
    [failed, 'FAILED'],
    [skipped, 'skipped'],
  ];
  const parts = counts.filter(([count]) => count > 0).map(([count, word]) => `${count} ${word}`);
  return [...parts, `${seconds} s`].join(', ');
}

function printTable(rows) {
  const widths = rows[0].map((_, at) => Math.max(...rows.map((row) => row[at].length)));
  for (const row of rows)
    console.log(
      row
        .map((text, at) => text.padEnd(widths[at]))
        .join('  ')
        .trimEnd(),
    );
}

const short = (file) => file.replace(/^test\/integration\//, '').replace(/\.test\.ts$/, '');

const wanted = versions.filter(({ version }) => asked === undefined || asked.includes(version));
for (const { version, directory, obstacle } of wanted)
  console.log(obstacle ?? `PostgreSQL ${version}: ${directory}`);
const here = wanted.filter(({ directory }) => directory !== undefined).map(({ version }) => version);
const missing = wanted.flatMap(({ obstacle }) => obstacle ?? []);
const results = [];
for (const version of here)
  for (const file of files) {
    const result = await run(version, file);
    results.push(result);
    console.log(`${version}  ${short(file)}: ${cell(result)}`);
    if (result.failed > 0) console.log(result.output);
  }
console.log('');
printTable([
  ['', ...here.map((version) => `PostgreSQL ${version}`)],
  ...files.map((file) => [
    short(file),
    ...results.filter((result) => result.file === file).map((result) => cell(result)),
  ]),
]);
const sum = (key) => results.reduce((total, result) => total + result[key], 0);
const said = (key) => results.flatMap((result) => result[key].map((line) => `${result.version}: ${line}`));
const [skips, failures] = [said('skips'), said('failures')];
for (const line of skips) console.log(`skipped on ${line}`);
for (const line of failures) console.log(`FAILED on ${line}`);
for (const line of missing) console.log(line);
const failed = sum('failed') + (asked === undefined ? 0 : missing.length);
console.log(
  `${here.length} versions, ${sum('passed')} passed, ${failed} failed, ${sum('skipped')} skipped, ${sum('seconds')} s`,
);
const summaryFile = process.env.PG_SENTINEL_TEST_SUMMARY;
if (summaryFile !== undefined)
  await writeFile(
    summaryFile,
    JSON.stringify({ passed: sum('passed'), failed, skipped: sum('skipped'), skips, failures }),
  );
process.exitCode = failed > 0 || here.length === 0 ? 1 : 0;
