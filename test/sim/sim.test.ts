// The simulator as `npm test` runs it: a fixed set of lives, fresh ones for a minute, and that it is what it claims to be: the same
// life from the same seed, and not blind.
// SIM_SECONDS says for how long fresh seeds are lived; the seed it begins with is printed.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import type { LifeOptions, LifeResult } from './life.ts';
import { build } from './build.mjs';

const PROGRAM = join(import.meta.dirname, 'sim.mjs');
const FRESH_SECONDS = Number(process.env['SIM_SECONDS'] ?? 60);
const TEST_MS = 300_000;

const REQUESTS = [
  ...['fence-node', 'unfence-node', 'pause', 'end-pause', 'remove-node', 'readmit-node'],
  ...['schedule-switchover', 'scheduled-switchover-begun', 'scheduled-switchover-ended'],
  ...['schedule-restart', 'scheduled-restart-begun', 'scheduled-restart-ended'],
  ...['forced-failover', 'node-off'],
];

let runLife: (seed: number, options?: LifeOptions) => LifeResult;

beforeAll(async () => {
  const folder = await build();
  ({ runLife } = (await import(join(folder, 'js/test/sim/life.js'))) as { runLife: typeof runLife });
}, TEST_MS);

function sim(...args: readonly string[]): Promise<{ readonly code: number | null; readonly output: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [PROGRAM, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, output }));
  });
}

const hashOf = (text: string): string => createHash('sha256').update(text).digest('hex');

describe('a cluster with its PostgreSQL under every fault', () => {
  test(
    'keeps every invariant and comes back, in a fixed set of lives',
    async () => {
      const { code, output } = await sim('--runs', '300', '--seed', '1');
      expect(output).toContain('300 passed, 0 failed');
      expect(code).toBe(0);
    },
    TEST_MS,
  );

  test(
    `and in fresh ones for ${FRESH_SECONDS} s`,
    async () => {
      const seed = Math.floor(Date.now() / 1000) * 1000;
      const { code, output } = await sim('--seconds', String(FRESH_SECONDS), '--seed', String(seed));
      console.log(`npm run sim -- --seconds ${FRESH_SECONDS} --seed ${seed}\n${output}`);
      expect(output).toMatch(/^\d+ passed, 0 failed$/m);
      expect(output).not.toContain('fewer than');
      expect(code).toBe(0);
    },
    TEST_MS,
  );
});

describe('the same seed', () => {
  test('gives the same life, line by line, in this process and in another', async () => {
    const before = runLife(11, { trace: true });
    runLife(12);
    const after = runLife(11, { trace: true });
    expect(after.hash).toBe(before.hash);
    expect(hashOf((after.lines ?? []).join('\n'))).toBe(hashOf((before.lines ?? []).join('\n')));
    const { output } = await sim('--runs', '1', '--seed', '11', '--trace');
    expect(output).toContain((before.lines ?? []).join('\n'));
  });

  test('gives the same life whether anybody reads along or not', () => {
    for (let seed = 20; seed < 30; seed += 1)
      expect(runLife(seed, { trace: true }).hash, `seed ${seed}`).toBe(runLife(seed).hash);
  });

  test('gives the same beginning of a life whose trouble ends early', () => {
    const whole = runLife(11, { trace: true }).lines ?? [];
    const short = runLife(11, { trace: true, troubledEventsMax: 2000 }).lines ?? [];
    const same = short.findIndex((line, place) => line !== whole[place]);
    expect(Number(short[same]?.trim().split(' ')[0])).toBeGreaterThanOrEqual(1999);
  });
});

test(
  'a bug is found, and said with the command that replays it',
  async () => {
    const { code, output } = await sim('--mutant', '13-acknowledged-before-fsync', '--runs', '60');
    expect(code).toBe(1);
    const replay = /^replay: npm run sim -- (.*)$/m.exec(output)?.[1]?.split(' ') ?? [];
    expect(output).toMatch(/^--- seed \d+ \([a-z-]+\) failed at event \d+: [A-Za-z]+: /m);
    const again = await sim(...replay);
    expect(again.code).toBe(1);
    expect(again.output).toContain('0 passed, 1 failed');
  },
  TEST_MS,
);

test(
  'what people ask for happens: each kind of request is taken by the log',
  async () => {
    const [requests, adoption] = await Promise.all(
      ['requests', 'adoption'].map((profile) => sim('--runs', '25', '--seed', '1', '--profile', profile)),
    );
    expect(requests?.output).toContain('25 passed, 0 failed');
    expect(adoption?.output).toContain('25 passed, 0 failed');
    for (const kind of REQUESTS) expect(requests?.output).toMatch(new RegExp(`[ ,]${kind} [1-9]`));
    for (const kind of ['adopt-group', 'node-adopted'])
      expect(adoption?.output).toMatch(new RegExp(`[ ,]${kind} [1-9]`));
    expect(requests?.output).toMatch(/writes given up [1-9]/);
  },
  TEST_MS,
);

test('an option that makes no sense is refused', async () => {
  for (const args of [
    ['--runs', '0'],
    ['--profile', 'stormy'],
    ['--mutant', '99-none'],
    ['--sed', '1'],
  ]) {
    const { code, output } = await sim(...args);
    expect(code, args.join(' ')).not.toBe(0);
    expect(output).not.toContain('passed');
  }
});
