// `npm run demo` as a newcomer meets it: the promise, the picture beside it, and nothing left behind however it ends.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { until } from '../../../src/base/clock.ts';
import { lastJson, openPlayground, run, runDemo, type Running } from './programs.ts';
import { openTerminal, type Terminal } from './terminal.ts';

const LIMIT_MS = 200_000;

let playground: Awaited<ReturnType<typeof openPlayground>>;
const terminal: Terminal | undefined = await openTerminal();

beforeAll(async () => {
  playground = await openPlayground();
});
afterAll(async () => {
  await terminal?.close();
  await playground?.close();
});

const address = async (demo: Running): Promise<string> =>
  (await demo.said(/--peers (127\.0\.0\.1:\d+)/))[1] ?? '';

test(
  'the demo loses nothing, says so in JSON, and leaves nothing behind',
  { timeout: LIMIT_MS },
  async () => {
    const demo = runDemo(playground.path, '--json');
    expect(await demo.ended, demo.stderr()).toBe(0);
    const result = lastJson(demo);
    expect(result).toMatchObject({ ok: true, lost: 0, duplicates: 0, doubles: 0, primaryBefore: 'pg1' });
    expect(result['ackedBeforeKill']).toBeGreaterThan(500);
    expect(['pg2', 'pg3']).toContain(result['primaryAfter']);
    expect(demo.stdout().trim().split('\n')).toHaveLength(1);
    const story = demo.stderr();
    const steps = [
      /kill -9 \d+/,
      /holds pg1 for down/,
      /failover begins, epoch \d+/,
      /cut its WAL streams/,
      /chosen for promotion/,
      /is back: a standby/,
    ];
    const places = steps.map((step) => story.search(step));
    expect(places, story).toEqual(places.toSorted((a, b) => a - b));
    expect(Math.min(...places), story).toBeGreaterThan(0);
    expect(await playground.leftovers()).toEqual([]);
  },
);

describe.skipIf(terminal === undefined)('in a terminal (needs tmux)', () => {
  test(
    'the picture fits 80 columns, and `status --watch` beside it shows the phases in order',
    { timeout: LIMIT_MS },
    async () => {
      if (terminal === undefined) return;
      const frames: string[][] = [];
      const demo = await terminal.open(`TMPDIR=${playground.path} LANG=C.UTF-8 node dist/demo/main.js`, {
        columns: 80,
        rows: 45,
      });
      const peers = await until(
        { what: 'the address', timeoutMs: 60_000, everyMs: 50 },
        async () => /--peers (\S+)/.exec(await demo.text())?.[1],
      );
      const watch = await terminal.open(`node dist/src/cli/sentinelctl.js --peers ${peers} status --watch`, {
        columns: 100,
        rows: 40,
      });
      let last = '';
      await until({ what: 'the end of the demo', timeoutMs: LIMIT_MS - 20_000, everyMs: 25 }, async () => {
        const frame = await watch.text();
        if (frame !== last) frames.push(frame.split('\n'));
        last = frame;
        return (await demo.text()).includes('Everything is stopped');
      });
      const picture = await demo.text();
      expect(Math.max(...picture.split('\n').map((line) => line.length))).toBeLessThanOrEqual(80);
      expect(picture).toMatch(/outage +\d+ ms|outage +[\d.]+ s/);
      expect(picture).toMatch(/lost +0 /);

      // The trail keeps every phase with its time, however quickly it passed.
      const trail = (frame: readonly string[]): string[] =>
        frame.flatMap(
          (line) => /^ +\d\d:\d\d:\d\d\.\d{3} .*?(fencing|promoting|running)/.exec(line)?.[1] ?? [],
        );
      const complete = frames.map(trail).findLast((phases) => phases.includes('promoting')) ?? [];
      expect(complete.join(' '), frames.at(-1)?.join('\n')).toMatch(/fencing promoting running$/);
      // What the frames say the group's phase is: those that a frame caught come in this order.
      const phases = frames.flatMap((frame) =>
        frame.flatMap((line) => /^group main: (\w+)/.exec(line)?.[1] ?? []),
      );
      const changes = phases.filter((phase, at) => phase !== phases[at - 1]);
      const order = ['creating', 'running', 'fencing', 'promoting', 'running'];
      let next = 0;
      for (const phase of changes) next = order.indexOf(phase, next) + 1 || Number.NaN;
      expect(next, changes.join(' ')).not.toBeNaN();
      expect(phases.at(-1)).toBe('running');
    },
  );
});

describe('interrupted, the demo leaves no process and no file', () => {
  test.each([
    ['SIGINT while it starts', 'SIGINT', /servers start/, 130],
    ['SIGTERM while it writes', 'SIGTERM', /a client writes/, 143],
    ['SIGINT in the middle of the failover', 'SIGINT', /kill -9 \d+/, 130],
  ] as const)('%s', { timeout: LIMIT_MS }, async (_name, signal, when, exitCode) => {
    const demo = runDemo(playground.path);
    await demo.said(when);
    demo.child.kill(signal);
    expect(await demo.ended, demo.stdout()).toBe(exitCode);
    expect(await playground.leftovers()).toEqual([]);
  });

  test('SIGKILL, which leaves it to the reaper', { timeout: LIMIT_MS }, async () => {
    const demo = runDemo(playground.path);
    await demo.said(/a client writes/);
    demo.child.kill('SIGKILL');
    await demo.ended;
    await until(
      { what: 'everything gone', timeoutMs: 30_000, everyMs: 50 },
      async () => (await playground.leftovers()).length === 0,
    );
  });

  test('the reader of its output goes away', { timeout: LIMIT_MS }, async () => {
    const demo = runDemo(playground.path);
    await address(demo);
    demo.child.stdout?.destroy();
    expect(await demo.ended).toBe(141);
    expect(await playground.leftovers()).toEqual([]);
  });
});

test(
  '--keep leaves the cluster running with commands that work, until it is interrupted',
  { timeout: LIMIT_MS },
  async () => {
    const demo = runDemo(playground.path, '--keep', '--json');
    await demo.said(/Ctrl-C here stops everything/);
    expect(lastJson(demo)).toMatchObject({ ok: true });
    const peers = /PG_SENTINEL_PEERS=(\S+)/.exec(demo.stderr())?.[1];
    for (const [, command = ''] of demo.stderr().matchAll(/^ +node (\S+ (?:events|uri|status --watch))$/gm)) {
      const tried = run(process.execPath, command.replace(' --watch', '').split(' '), {
        PG_SENTINEL_PEERS: peers,
      });
      expect(await tried.ended, tried.stderr()).toBe(0);
    }
    demo.child.kill('SIGINT');
    expect(await demo.ended).toBe(0);
    expect(await playground.leftovers()).toEqual([]);
  },
);

test.each([['--jsn'], ['more']])('wrong use is refused: %s', async (argument) => {
  const demo = runDemo(playground.path, argument);
  expect(await demo.ended).toBe(2);
  expect(demo.stderr()).toMatch(/usage: npm run demo/);
});
