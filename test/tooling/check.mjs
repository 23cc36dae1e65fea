// The gate: `npm run check` runs every static check and says how long each took. All of them run even when one fails,
// two at a time; the output of those that failed comes at the end. `npm run check -- types lint` runs only those named.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const PROJECT = resolve(fileURLToPath(import.meta.url), '../../..');
const BIN = join(PROJECT, 'node_modules/.bin');
const CONCURRENT_MAX = 2;

/** Name, and what returns the output of a failure or an empty string. The slowest come first. */
const STEPS = {
  format: () => run('prettier', ['--check', '--log-level=warn', '--cache', '.']),
  types: () => run('tsc', ['-p', 'tsconfig.json', '--pretty', 'false']),
  unused: () => run('knip', ['--no-progress', '--no-config-hints']),
  lint: () => run('oxlint', ['-c', '.oxlintrc.json']),
  proto: () => run('buf', ['lint']),
  generated: generatedCodeIsCurrent,
};

async function run(command, args) {
  const child = spawn(join(BIN, command), args, {
    cwd: PROJECT,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, PATH: `${BIN}${delimiter}${process.env['PATH'] ?? ''}` },
  });
  let output = '';
  child.stdout.on('data', (chunk) => (output += chunk));
  child.stderr.on('data', (chunk) => (output += chunk));
  const [code, signal] = await once(child, 'close');
  return code === 0 ? '' : `${command} ${args.join(' ')} ended with ${signal ?? code}\n${output}`;
}

async function generatedCodeIsCurrent() {
  const folder = await mkdtemp(join(tmpdir(), 'pg-sentinel-generate-'));
  try {
    const failure = await run('buf', ['generate', '--output', folder]);
    if (failure !== '') return failure;
    const [committed, fresh] = await Promise.all([
      contents(join(PROJECT, 'src/gen')),
      contents(join(folder, 'src/gen')),
    ]);
    const files = [...new Set([...committed.keys(), ...fresh.keys()])];
    const differing = files.filter((file) => committed.get(file) !== fresh.get(file));
    return differing.length === 0
      ? ''
      : `src/gen is not what proto/ generates: ${differing.join(', ')}; run: npm run generate\n`;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Path below `folder` -> text. */
async function contents(folder) {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  return new Map(
    await Promise.all(
      files.map(async (file) => [file.slice(folder.length + 1), await readFile(file, 'utf8')]),
    ),
  );
}

const seconds = (sinceMs) => `${((performance.now() - sinceMs) / 1000).toFixed(1)} s`;

async function main(chosen) {
  const unknown = chosen.filter((name) => !Object.hasOwn(STEPS, name));
  if (unknown.length > 0) {
    console.error(`no step named ${unknown.join(', ')}: choose among ${Object.keys(STEPS).join(', ')}`);
    process.exitCode = 2;
    return;
  }
  const startMs = performance.now();
  const waiting = chosen.length > 0 ? [...chosen] : Object.keys(STEPS);
  const failures = [];
  const worker = async () => {
    for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) {
      const stepMs = performance.now();
      const failure = await STEPS[name]();
      if (failure !== '') failures.push(`\n--- ${name}\n${failure}`);
      console.log(`${failure === '' ? 'ok    ' : 'FAILED'} ${name.padEnd(10)} ${seconds(stepMs)}`);
    }
  };
  await Promise.all(Array.from({ length: CONCURRENT_MAX }, worker));
  for (const failure of failures) console.log(failure);
  console.log(`check: ${failures.length === 0 ? 'ok' : `${failures.length} failed`}, ${seconds(startMs)}`);
  if (failures.length > 0) process.exitCode = 1;
}

await main(process.argv.slice(2));
