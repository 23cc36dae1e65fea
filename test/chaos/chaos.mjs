// `npm run chaos`: every scenario once, or those whose names match: `npm run chaos -- -t frozen`.
// `npm run chaos -- --soak MINUTES --seed S`: random faults from the same list; the seed decides which, in which order and for how long.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const PROJECT = resolve(fileURLToPath(import.meta.url), '../../..');

const { values } = parseArgs({
  options: {
    soak: { type: 'string' },
    seed: { type: 'string' },
    testNamePattern: { type: 'string', short: 't' },
  },
});
const minutes = Number(values.soak ?? 0);
if (values.soak !== undefined && !(minutes > 0)) throw new Error(`--soak ${values.soak}: expected minutes`);
const seed = values.seed ?? String(Date.now() % 1_000_000);
const vitest = ['run', '--config', 'test/chaos/vitest.config.ts'];
if (values.testNamePattern !== undefined) vitest.push('--testNamePattern', values.testNamePattern);
if (values.soak !== undefined) console.log(`soak of ${minutes} min with --seed ${seed}`);

const startedMs = performance.now();
const child = spawn(join(PROJECT, 'node_modules/.bin/vitest'), vitest, {
  cwd: PROJECT,
  stdio: 'inherit',
  env: {
    ...process.env,
    ...(values.soak === undefined
      ? {}
      : { PG_SENTINEL_CHAOS_SOAK_MINUTES: String(minutes), PG_SENTINEL_CHAOS_SEED: seed }),
  },
});
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal));
const [code] = await once(child, 'close');
const seconds = Math.round((performance.now() - startedMs) / 1000);
console.log(`chaos: ${Math.floor(seconds / 60)} min ${seconds % 60} s, images included`);
process.exitCode = code ?? 1;
