// That an observer of many nodes says what concerns it as a whole once. What it judges is tested in evidence.test.ts and tilt.test.ts.
import { type AddressInfo, createServer } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { systemClock, until } from '../base/clock.ts';
import { epoch, nodeId, peerId } from '../base/ids.ts';
import { DEFAULT_HEALTH_SETTINGS, startSpreadMs } from './settings.ts';
import { startHealth, type Health, type Target } from './watch.ts';

let health: Health | undefined;
afterEach(() => health?.close());

test('an observer that abstains, and judges again, says so once, not for each node', async () => {
  const port = await closedPort();
  const lines: string[] = [];
  const note = (_: object, message: string): void => void lines.push(message);
  const judged = new Map<string, string>();
  health = startHealth({
    self: peerId('a'),
    settings: { ...DEFAULT_HEALTH_SETTINGS, downAfterMs: 200, probeIntervalMs: 50 },
    clock: systemClock,
    credentials: { user: 'probe', password: 'secret', database: 'postgres' },
    onJudgement: (node, _epoch, { verdict }) => void judged.set(node, verdict),
    log: { info: note, warn: note },
  });
  const targets = [1, 2, 3].map((at): Target => ({
    node: nodeId(`n${at}`),
    host: `127.0.0.${at}`,
    port,
    epoch: epoch(1),
    expect: 'standby',
    hostPeer: peerId('b'),
  }));
  health.setTargets(targets);
  expect([...judged.values()]).toEqual(['abstain', 'abstain', 'abstain']);
  expect(lines.filter((line) => line.includes('abstain'))).toEqual([
    'this observer abstains: it reaches no quorum of peers',
  ]);
  health.setQuorumReachable(true);
  // Nobody listens there: each is found down by its own, which is news of each.
  await until({ what: 'all three to be down', timeoutMs: 20_000, everyMs: 10 }, () =>
    [...judged.values()].every((verdict) => verdict === 'down'),
  );
  expect(lines.filter((line) => line.includes('judges again'))).toHaveLength(1);
  expect(lines.filter((line) => / down: /.test(line))).toHaveLength(3);
  expect(lines.filter((line) => /^n\d.*(abstain|not answered yet)/.test(line))).toEqual([]);
});

test('however many nodes come to be watched together, the last is asked within one interval of probes', () => {
  const settings = { ...DEFAULT_HEALTH_SETTINGS, probeIntervalMs: 500 };
  expect(startSpreadMs(3, settings)).toBe(4);
  expect(startSpreadMs(0, settings)).toBe(4);
  expect(599 * startSpreadMs(600, settings)).toBeLessThan(500);
  expect(9 * startSpreadMs(10, { ...settings, probeIntervalMs: 20 })).toBeLessThan(20);
});

/** A port that somebody listened on a moment ago. */
function closedPort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(port));
    });
  });
}
