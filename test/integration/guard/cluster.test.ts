// The guard in a whole cluster with durability quorum: what happens to sentineld does not reach clients, and a primary that its
// members have left is stopped. One cluster for all; each test leaves it healthy.
import { appendFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { delay, until } from '../../../src/base/clock.ts';
import type { Attempt } from '../../../harness/attempt.ts';
import { INSERT, prepareClients, readBack } from '../../../harness/clients.ts';
import { checkHistory } from '../../../harness/history.ts';
import { type LocalCluster, startLocalCluster } from '../../../harness/local-cluster.ts';
import { freezeBelow, thawBelow } from '../../../harness/processes.ts';
import type { Host } from '../../../harness/host.ts';
import { CLIENT_DEFAULTS, startWriter, type WriterSettings } from '../../../harness/writer.ts';
import { HEALTHY_TIMEOUT_MS, LIMIT_MS, harmOf } from '../raft/load.ts';
import { type Device, guardPid, makeDevice, nextGuard } from './guards.ts';

const PROOF_TIMEOUT_MS = 3000;
/** Of one wait: a test that hangs says for what. */
const STEP_MS = 60_000;

const guardDirectory = (host: Host): string => join(host.directory, 'state', 'guard');
const saidBy = (host: Host): string => readFileSync(join(guardDirectory(host), 'guard.log'), 'utf8');

describe('a guarded cluster', () => {
  const stopping = new AbortController();
  let cluster: LocalCluster;
  let client: WriterSettings['client'];
  let device: Device;
  let runs = 0;

  beforeAll(async () => {
    cluster = await startLocalCluster({ cluster: 'guarded', hostCount: 3, signal: stopping.signal });
    await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
    client = await prepareClients(await cluster.primary());
    device = makeDevice(join(cluster.directory, 'watchdog'));
    for (const host of cluster.hosts) {
      appendFileSync(
        host.configFile,
        `guard:\n  proof_timeout: ${PROOF_TIMEOUT_MS}ms\n  watchdog: ${device.path}\n`,
      );
      await host.stopSentineld('SIGTERM');
      host.startSentineld();
      await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
    }
  }, LIMIT_MS);
  afterAll(async () => {
    stopping.abort(new Error('the tests are over'));
    await cluster?.close();
    device?.close();
  });

  const others = (host: Host): Host[] => cluster.hosts.filter((each) => each !== host);
  const takenUp = (host: Host): Promise<number> =>
    until({ what: 'a guard', timeoutMs: STEP_MS, everyMs: 20 }, () => guardPid(guardDirectory(host)));

  /** Writes all the while `during` runs, wherever the primary is; says what was not acknowledged, and what was lost. */
  const writeWhile = async (during: () => Promise<void>): Promise<{ failures: unknown[]; harm: unknown }> => {
    const name = `writer${(runs += 1)}`;
    const writer = startWriter({
      ...CLIENT_DEFAULTS,
      statementTimeoutMs: 30_000,
      name,
      client,
      insert: INSERT,
      paceMs: 5,
      targets: cluster.hosts.map(({ target }) => target),
    });
    let attempts: Attempt[];
    try {
      await writer.connected(30_000);
      await during();
      const before = writer.attempts.length;
      const what = 'writes to go on';
      await until({ what, timeoutMs: STEP_MS, everyMs: 20 }, () => writer.attempts.length > before + 50);
      attempts = [...writer.attempts];
    } finally {
      await writer.stop();
    }
    return {
      failures: attempts.filter(({ outcome }) => outcome !== 'acked'),
      harm: harmOf(checkHistory({ attempts, readBack: await readBack(await cluster.primary(), `${name}:`) })),
    };
  };
  const UNHARMED = { failures: [], harm: [] };

  test(
    'sentineld killed, frozen for long, and restarted: no write fails, and the guard stays',
    { timeout: LIMIT_MS },
    async () => {
      const host = await cluster.primary();
      const guard = await takenUp(host);
      const postmaster = host.postmasterPid();
      expect(
        await writeWhile(async () => {
          await host.stopSentineld('SIGKILL');
          await delay(PROOF_TIMEOUT_MS + 2000);
          host.startSentineld();
          await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
          process.kill(host.sentineldPid ?? 0, 'SIGSTOP');
          await delay(PROOF_TIMEOUT_MS + 2000);
          process.kill(host.sentineldPid ?? 0, 'SIGCONT');
          await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
          await host.stopSentineld('SIGTERM');
          host.startSentineld();
          await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
        }),
      ).toEqual(UNHARMED);
      expect(await guardPid(guardDirectory(host))).toBe(guard);
      expect(host.postmasterPid()).toBe(postmaster);
    },
  );

  test(
    'every sentineld killed at once: no write fails while they are away',
    { timeout: LIMIT_MS },
    async () => {
      const host = await cluster.primary();
      const guard = await takenUp(host);
      expect(
        await writeWhile(async () => {
          await Promise.all(cluster.hosts.map((each) => each.stopSentineld('SIGKILL')));
          await delay(PROOF_TIMEOUT_MS + 2000);
          for (const each of cluster.hosts) each.startSentineld();
          await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
        }),
      ).toEqual(UNHARMED);
      expect(await guardPid(guardDirectory(host))).toBe(guard);
    },
  );

  test(
    'the guard is killed, with sentineld and then without: another comes, no write fails',
    { timeout: LIMIT_MS },
    async () => {
      const host = await cluster.primary();
      expect(
        await writeWhile(async () => {
          const first = await takenUp(host);
          process.kill(first, 'SIGKILL');
          const second = await nextGuard(guardDirectory(host), first);
          await host.stopSentineld('SIGKILL');
          process.kill(second, 'SIGKILL');
          await nextGuard(guardDirectory(host), second);
          host.startSentineld();
          await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
        }),
      ).toEqual(UNHARMED);
    },
  );

  test(
    'a switchover takes the guard along, and closes the watchdog in order',
    { timeout: LIMIT_MS },
    async () => {
      const before = await cluster.primary();
      await takenUp(before);
      const closed = device.written().split('V').length;
      const { harm } = await writeWhile(async () => {
        const outcome = await cluster.admin.failover({ group: undefined, to: undefined }, 60_000);
        expect(outcome).toMatchObject({ kind: 'done' });
        await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
      });
      expect(harm).toEqual([]);
      const after = await cluster.primary();
      expect(after).not.toBe(before);
      await takenUp(after);
      await until(
        { what: 'the former primary to be unguarded', timeoutMs: STEP_MS, everyMs: 20 },
        async () => (await guardPid(guardDirectory(before))) === undefined,
      );
      expect(device.written().split('V').length).toBeGreaterThan(closed);
      expect(device.written()).toMatch(/\.$/);
    },
  );

  test(
    'standbys frozen and no Raft majority: the primary is stopped, and starts again by the log alone',
    { timeout: LIMIT_MS },
    async () => {
      const host = await cluster.primary();
      await takenUp(host);
      const stops = saidBy(host).split('PostgreSQL stopped').length;
      // Their sentineld too: nobody is left to shrink the rule or to confirm the primary.
      for (const other of others(host)) await freezeBelow(other.directory);
      const serverLog = join(host.directory, 'state', 'postgresql', `${host.node}.log`);
      const giveUps = (): number =>
        readFileSync(serverLog, 'utf8').split('due to replication timeout').length;
      const before = giveUps();
      const frozenMs = performance.now();
      await until(
        { what: 'PostgreSQL to be stopped', timeoutMs: STEP_MS, everyMs: 20 },
        () => host.postmasterPid() === undefined,
      );
      console.log(
        `stopped ${Math.round(performance.now() - frozenMs)} ms after its standbys froze, limit ${PROOF_TIMEOUT_MS} ms`,
      );
      // Until then they still counted as streaming.
      expect(giveUps()).toBe(before);
      await until(
        { what: 'the guard to say so', timeoutMs: STEP_MS, everyMs: 20 },
        () => saidBy(host).split('PostgreSQL stopped').length > stops,
      );
      expect(saidBy(host)).toMatch(/PostgreSQL stopped .*too few members of its rule/);
      await until({ what: 'sentineld to say so', timeoutMs: STEP_MS, everyMs: 20 }, () =>
        readFileSync(host.logFile, 'utf8').includes('PostgreSQL was stopped by its guard'),
      );
      await delay(8000);
      expect(host.postmasterPid()).toBeUndefined();
      for (const other of others(host)) thawBelow(other.directory);
      await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
    },
  );

  test(
    'a primary that crashes without a Raft majority comes back by its members alone',
    { timeout: LIMIT_MS },
    async () => {
      const host = await cluster.primary();
      await takenUp(host);
      for (const other of others(host)) await other.stopSentineld('SIGKILL');
      const { harm } = await writeWhile(async () => {
        const killedMs = performance.now();
        host.killPostmaster();
        await until({ what: 'clients to be let in', timeoutMs: STEP_MS, everyMs: 20 }, () =>
          readFileSync(host.logFile, 'utf8').includes('authority is proved; clients are let in'),
        );
        console.log(`clients were let in ${Math.round(performance.now() - killedMs)} ms after the crash`);
        await delay(1000);
        for (const other of others(host)) other.startSentineld();
        await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
      });
      expect(harm).toEqual([]);
    },
  );
});
