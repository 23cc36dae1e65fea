// Losing sentinelds must not cost a write: PostgreSQL outlives them, and the rule needs no Raft majority.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { delay } from '../../../src/base/clock.ts';
import { INSERT, prepareClients, readBack } from '../../../harness/clients.ts';
import { GROUP } from '../../../harness/cluster-config.ts';
import { checkHistory, largestGap } from '../../../harness/history.ts';
import type { Host } from '../../../harness/host.ts';
import { startLocalCluster, type LocalCluster } from '../../../harness/local-cluster.ts';
import { CLIENT_DEFAULTS, startWriter, type Writer, type WriterSettings } from '../../../harness/writer.ts';

const HEALTHY_TIMEOUT_MS = 120_000;
const LIMIT_MS = 240_000;
/** Far above any stall of a slow disk: it catches writes that hang. How small gaps are is measured by bench:availability. */
const HANG_MS = 10_000;

const stop = new AbortController();
let cluster: LocalCluster;
let client: WriterSettings['client'];

beforeAll(async () => {
  cluster = await startLocalCluster({ cluster: 'availability', hostCount: 3, signal: stop.signal });
  await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
  client = await prepareClients(await cluster.primary());
});

afterAll(async () => {
  stop.abort(new Error('the test is over'));
  await cluster?.close();
});

/** Writes while `during` runs; returns the writer, stopped, with the time `during` began. */
async function writeWhile(
  name: string,
  during: () => Promise<void>,
): Promise<{ writer: Writer; fromMs: number; toMs: number }> {
  const targets = cluster.hosts.map(({ target }) => target);
  const settings = { ...CLIENT_DEFAULTS, statementTimeoutMs: HANG_MS };
  const writer = startWriter({ ...settings, name, client, insert: INSERT, paceMs: 5, targets });
  try {
    await writer.connected(10_000);
    await delay(500);
    const fromMs = performance.now();
    await during();
    const toMs = performance.now();
    return { writer, fromMs, toMs };
  } finally {
    await writer.stop();
  }
}

function sayGap(writer: Writer, fromMs: number, toMs: number): void {
  const ms = largestGap(writer.attempts, fromMs, toMs)?.ms;
  console.log(`largest gap between two acknowledged writes: ${ms?.toFixed(0) ?? 'no write at all'} ms`);
  expect(ms).toBeLessThan(HANG_MS);
}

const epochNow = async (): Promise<number | undefined> =>
  (await cluster.admin.status()).groups.find(({ group }) => group === GROUP)?.epoch;

describe.each(['primary', 'standby'] as const)('SIGKILL to the sentineld of a %s', (role) => {
  test('stops no writes and fails nothing over', { timeout: LIMIT_MS }, async () => {
    const group = await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
    const hosts = cluster.hosts.filter(({ node }) => (node === group.primary) === (role === 'primary'));
    for (const host of hosts) {
      const { writer, fromMs, toMs } = await writeWhile(
        `without-${host.peer}-${performance.now()}`,
        async () => {
          await host.stopSentineld('SIGKILL');
          await delay(5000);
          host.startSentineld();
          await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
        },
      );
      expect(writer.attempts.slice(0, -1).filter(({ outcome }) => outcome !== 'acked')).toEqual([]);
      sayGap(writer, fromMs, toMs);
      expect(await epochNow()).toBe(group.epoch);
    }
  });
});

test(
  'stopping two sentinelds of three stops no writes over 60 s, and nothing fails over',
  { timeout: LIMIT_MS },
  async () => {
    const group = await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
    const stopped: Host[] = [
      cluster.hostOf(group.primary ?? ''),
      ...cluster.hosts.filter(({ node }) => node !== group.primary),
    ].slice(0, 2);
    const { writer, fromMs, toMs } = await writeWhile(`minority-${performance.now()}`, async () => {
      for (const host of stopped) await host.stopSentineld('SIGKILL');
      await delay(60_000);
    });
    for (const host of stopped) host.startSentineld();
    const after = await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
    const during = writer.attempts.filter(({ endMs }) => endMs >= fromMs && endMs <= toMs);
    expect(during.filter(({ outcome }) => outcome === 'acked').length).toBeGreaterThanOrEqual(1000);
    expect(during.filter(({ outcome }) => outcome !== 'acked')).toEqual([]);
    sayGap(writer, fromMs, toMs);
    expect(after.epoch).toBe(group.epoch);
    expect(after.primary).toBe(group.primary);
    const verdict = checkHistory({
      attempts: writer.attempts,
      readBack: await readBack(cluster.hostOf(after.primary ?? ''), `${writer.name}:`),
    });
    expect([...verdict.lost, ...verdict.doubles, ...verdict.duplicates]).toEqual([]);
  },
);

test('a writer goes on through a freeze of the host of a standby', { timeout: LIMIT_MS }, async () => {
  const group = await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
  const standby = cluster.hosts.find(({ node }) => node !== group.primary);
  if (standby === undefined) throw new Error('no standby');
  const { writer } = await writeWhile(`frozen-standby-${performance.now()}`, async () => {
    await standby.freeze();
    await delay(4000);
    standby.thaw();
    await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
  });
  expect(new Set(writer.attempts.map(({ node }) => node))).toEqual(new Set([group.primary]));
  expect(await epochNow()).toBe(group.epoch);
});
