// A cluster of three hosts whose sentinelds are killed in the middle of an operation, one run for each step. A run begins and ends with a
// healthy cluster; writers write all the while, and at the end nothing that was acknowledged is missing and nothing is left behind.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import { until } from '../../../src/base/clock.ts';
import { isAcked } from '../../../harness/attempt.ts';
import { INSERT, prepareClients, readBack } from '../../../harness/clients.ts';
import { clusterAdmin } from '../../../harness/admin.ts';
import { GROUP } from '../../../harness/cluster-config.ts';
import { checkHistory } from '../../../harness/history.ts';
import type { Host } from '../../../harness/host.ts';
import { startLocalCluster, type LocalCluster } from '../../../harness/local-cluster.ts';
import { CLIENT_DEFAULTS, startStubbornWriter, startWriter, type Writer } from '../../../harness/writer.ts';
import type { GroupView } from '../../../src/transport/types.ts';
import { createHalting, type Halting } from './halting.ts';
import { createTidiness, filesOfHealthy, type Tidiness } from './tidiness.ts';

/** Only catches hangs. */
export const LIMIT_MS = 180_000;
/** Slots of a member that is gone are dropped in due course. */
export const TIDY_MS = 60_000;
export const TEST_MS = 600_000;

/** The hosts of a healthy cluster by what they are, the leader of the log being on `other` unless it is said otherwise. */
export interface Roles {
  readonly primary: Host;
  readonly standby: Host;
  /** The other standby, beside which the leader is. */
  readonly leader: Host;
}

export interface Run {
  /** Whose sentineld is killed. */
  readonly victim: Host;
  readonly step: string;
  /** Its PostgreSQL too: every process of the host. */
  readonly whole?: boolean;
  /** It comes each time, be it after all is well again. */
  readonly isSure: boolean;
  /** Started before the kill is awaited; what it throws does not matter, a half-done operation may say anything. */
  operation(): Promise<unknown>;
  /** After the kill, before the victim is started again; by default at once, or with `whole` once the group goes on without it. */
  before?(): Promise<void>;
}

export interface Scene {
  readonly cluster: LocalCluster;
  readonly halting: Halting;
  readonly tidiness: Tidiness;
  /** Waits until all is well; moves the leader where it is on none of the standbys. */
  roles(): Promise<Roles>;
  /** Writes while `work` runs, which begins and ends with a healthy cluster, and judges: nothing lost, nothing left behind. */
  judged(work: () => Promise<void>): Promise<void>;
  /** The steps of one whole operation; also what comes after it, until each of `sure` has come. */
  record(victim: Host, operation: () => Promise<unknown>, sure: readonly string[]): Promise<string[]>;
  /** Kills, starts again. False where the operation went through without that step. */
  kill(run: Run): Promise<boolean>;
  close(): Promise<void>;
}

const PACE_MS = 20;

export async function openScene(name: string): Promise<Scene> {
  const stop = new AbortController();
  const halts = await mkdtemp(join(tmpdir(), 'pg-sentinel-halting-'));
  const halting = createHalting(halts);
  const cluster = await startLocalCluster({
    cluster: name,
    hostCount: 3,
    environment: halting.environment,
    signal: stop.signal,
  });
  let judgedCount = 0;
  const close = async (): Promise<void> => {
    stop.abort(new Error('the test is over'));
    await cluster.close();
    await rm(halts, { recursive: true, force: true });
  };
  try {
    await cluster.waitUntilHealthy(LIMIT_MS);
    const client = await prepareClients(await cluster.primary());
    const tidiness = createTidiness(cluster, await filesOfHealthy(cluster));
    return {
      cluster,
      halting,
      tidiness,
      roles: () => rolesOf(cluster),
      async judged(work) {
        judgedCount += 1;
        const prefix = `${name}${judgedCount}-`;
        const since = (await cluster.admin.events(1)).at(-1)?.index ?? 0;
        const first = await cluster.primary();
        const writers = startWriters(cluster, { client, prefix, first });
        try {
          await writers[0]?.connected(LIMIT_MS);
          await moreAcks(writers, 5);
          await work();
          await moreAcks(writers, 5);
          await tidiness.waitUntilTidy(TIDY_MS);
        } finally {
          await Promise.all(writers.map((writer) => writer.stop()));
        }
        const promoted = (await cluster.admin.events(1000)).filter(
          ({ index, kind, refused }) => index > since && kind === 'promote' && !refused,
        );
        const primaries = [first.node, ...promoted.map(({ text }) => text.split(' ')[0] ?? '')];
        const verdict = checkHistory({
          attempts: writers.flatMap((writer) => writer.attempts),
          readBack: await readBack(await cluster.primary(), prefix),
          primaries,
        });
        expect.soft(verdict.lost, 'acknowledged and lost').toEqual([]);
        expect.soft(verdict.doubles, 'acknowledged after another had taken over').toEqual([]);
        expect.soft(verdict.duplicates, 'there twice').toEqual([]);
      },
      async record(victim, operation, sure) {
        let steps: string[] = [];
        halting.arm(victim);
        try {
          await operation();
          await cluster.waitUntilHealthy(LIMIT_MS);
          await halting.notedLater(victim, sure);
        } finally {
          steps = halting.disarm(victim);
        }
        return steps;
      },
      async kill(run) {
        const { victim } = run;
        halting.arm(victim, { step: run.step, whole: run.whole ?? false });
        let isOver = false;
        const running = run.operation().then(
          () => void (isOver = true),
          () => void (isOver = true),
        );
        const isHalted = await until(
          { what: `the step ${run.step}`, timeoutMs: LIMIT_MS, everyMs: 20 },
          async () => {
            if (halting.isHalted(victim)) return 'halted';
            // Steps come after it as well.
            return isOver && (await isWell(cluster)) ? 'over' : undefined;
          },
        );
        const isKilled = isHalted === 'halted' || (run.isSure && (await halting.isHaltedLater(victim)));
        if (!isKilled && !halting.isHalted(victim)) {
          halting.disarm(victim);
          return false;
        }
        halting.disarm(victim);
        await victim.stopSentineld();
        await (run.before?.() ?? (run.whole === true ? goesOnWithout(cluster, victim) : undefined));
        victim.startSentineld();
        await running;
        return true;
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

async function rolesOf(cluster: LocalCluster): Promise<Roles> {
  const isOff = (primary: string | undefined, leader: string | undefined): boolean =>
    cluster.hosts.some(({ peer, node }) => peer === leader && node !== primary);
  // sentineld moves the leader of the log off the primary's host by itself.
  for (;;) {
    await cluster.waitFor('the leader to be beside a standby', LIMIT_MS, ({ primary }, { leader }) =>
      isOff(primary, leader),
    );
    const { primary } = await cluster.waitUntilHealthy(LIMIT_MS);
    const { leader: peer } = await cluster.admin.status();
    const standbys = cluster.hosts.filter(({ node }) => node !== primary);
    const leader = standbys.find((host) => host.peer === peer);
    const standby = standbys.find((host) => host !== leader);
    if (leader !== undefined && standby !== undefined)
      return { primary: cluster.hostOf(primary ?? ''), standby, leader };
  }
}

async function isWell(cluster: LocalCluster): Promise<boolean> {
  return cluster.waitUntilHealthy(50).then(
    () => true,
    () => false,
  );
}

/** Some other node is primary, and takes writes. */
export async function goesOnWithout(cluster: LocalCluster, victim: Host): Promise<void> {
  const others = cluster.hosts.filter((host) => host !== victim);
  const admin = clusterAdmin(others.map(({ address }) => address));
  const goesOn = ({ phase, primary, nodes }: GroupView): boolean =>
    phase === 'running' &&
    primary !== victim.node &&
    nodes.some(({ node, role }) => node === primary && role === 'primary');
  try {
    await until(
      { what: `the group to go on without ${victim.node}`, timeoutMs: LIMIT_MS, everyMs: 20 },
      async () => {
        const status = await admin.status().catch(() => undefined);
        const group = status?.groups.find((each) => each.group === GROUP);
        return group !== undefined && goesOn(group);
      },
    );
  } finally {
    admin.close();
  }
}

function startWriters(
  cluster: LocalCluster,
  options: {
    readonly client: Awaited<ReturnType<typeof prepareClients>>;
    readonly prefix: string;
    readonly first: Host;
  },
): Writer[] {
  const { client, prefix, first } = options;
  const common = { ...CLIENT_DEFAULTS, client, insert: INSERT, paceMs: PACE_MS };
  return [
    startWriter({ ...common, name: `${prefix}client`, targets: cluster.hosts.map(({ target }) => target) }),
    // Stays with the old primary whatever happens: it would be acknowledged by two.
    startStubbornWriter({
      ...common,
      name: `${prefix}stubborn`,
      statementTimeoutMs: undefined,
      target: first.target,
    }),
  ];
}

async function moreAcks(writers: readonly Writer[], count: number): Promise<void> {
  const acks = (): number => writers.flatMap(({ attempts }) => attempts.filter(isAcked)).length;
  const wanted = acks() + count;
  await until(
    { what: `${count} more acknowledged writes`, timeoutMs: LIMIT_MS, everyMs: 10 },
    () => acks() >= wanted,
  );
}
