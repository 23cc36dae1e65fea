// `sentinelctl adopt` of a running pair, a sentineld killed at each step until both are taken over: started again, it completes, the primary has
// taken writes all the while, and nothing is left behind.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { until } from '../../../src/base/clock.ts';
import { isAcked } from '../../../harness/attempt.ts';
import { INSERT, readBack } from '../../../harness/clients.ts';
import { checkHistory } from '../../../harness/history.ts';
import type { Host } from '../../../harness/host.ts';
import { type LocalCluster, startLocalCluster } from '../../../harness/local-cluster.ts';
import { compiled } from '../../../harness/programs.ts';
import { CLIENT_DEFAULTS, startStubbornWriter, startWriter, type Writer } from '../../../harness/writer.ts';
import { CLIENT, makeServers } from '../adopt/servers.ts';
import { sql } from '../dangers/scene.ts';
import { harmOf, runSentinelctl } from '../raft/load.ts';
import { createHalting, type Halting } from './halting.ts';
import { LIMIT_MS, TEST_MS, TIDY_MS } from './scene.ts';
import { lastOfLogs, runsOf, type Steps, sureOf, unknownSteps, type Who } from './table.ts';
import { createTidiness, filesOfHealthy } from './tidiness.ts';

/** `asked`: the witness, which `sentinelctl adopt` asks and which proposes it. */
export type Victim = 'primary' | 'standby' | 'asked';

export interface AdoptTable {
  readonly victim: Victim;
  readonly steps: Steps;
  /** Of the whole table, where `steps` is a part of it. */
  readonly known?: Steps;
}

const ASKED: Steps = {
  'propose adopt-group': 'alone',
  'applied adopt-group': 'alone',
};

/** It is stopped, and started as ours. */
const STANDBY: Steps = {
  'write state/NODE.fence': 'alone',
  'write pgdata/postgresql.conf': 'alone',
  'write pgdata/pg_ident.conf': 'alone',
  'write state/NODE.adopted-hba': 'alone',
  'write pgdata/pg_sentinel_member.json': 'both',
  'propose register-node': 'alone',
  'applied register-node': 'alone',
  'SIGINT to postgres': 'whole',
  'write pgdata/postgresql.auto.conf': 'alone',
  'write pgdata/pg_sentinel.conf': 'alone',
  'write pgdata/postgresql.conf #2': 'alone',
  'write pgdata/pg_hba.conf': 'alone',
  'write pgdata/standby.signal': 'whole',
  'start postgres': 'alone',
  'started postgres': 'alone',
  'write state/passfile/upstream-*.pass': 'alone',
  'write pgdata/postgresql.auto.conf #2': 'alone',
  'SIGHUP to postgres': 'alone',
  'sql pg_create_physical_replication_slot': 'alone',
  'propose node-adopted': 'alone',
  'applied node-adopted': 'alone',
};

/** It goes on, with accounts and slots of ours. Where its whole host is lost before its settings were taken over, its owner has to start it once more. */
const PRIMARY: Steps = {
  'write state/NODE.fence': 'alone',
  'write pgdata/postgresql.conf': 'alone',
  'write pgdata/pg_ident.conf': 'alone',
  'write state/NODE.adopted-hba': 'alone',
  'write pgdata/pg_sentinel_member.json': 'both',
  'propose register-node': 'alone',
  'applied register-node': 'alone',
  'start etc/pg_hba.conf': 'alone',
  'started etc/pg_hba.conf': 'alone',
  'ended etc/pg_hba.conf': 'alone',
  'SIGHUP to postgres': 'alone',
  'sql create role': 'alone',
  'sql do': 'alone',
  'sql grant': 'alone',
  'sql pg_create_physical_replication_slot': 'alone',
};

/** What brings a session to the socket of a server that is not ours comes and goes. */
const BESIDE: Steps = {
  'start run/.s.PGSQL.N': 'sometimes',
  'started run/.s.PGSQL.N': 'sometimes',
  'ended run/.s.PGSQL.N': 'sometimes',
};

export const ADOPTIONS: readonly AdoptTable[] = [
  { victim: 'asked', steps: ASKED },
  { victim: 'standby', steps: STANDBY, known: BESIDE },
  { victim: 'primary', steps: PRIMARY, known: BESIDE },
];

/** Generous: a write that waits for a standby that is gone would wait for ever. Nothing of ours stops a write before the switchover. */
const LONGEST_PAUSE_MS = 10_000;
/** Of a server that is lost with its host before it is ours: PostgreSQL removes its socket at a shutdown only. */
const LEFT_BY_OWNERS = ['run/.s.PGSQL.N', 'run/.s.PGSQL.N.lock'];
/** The slot of the standby that its owner had made: to be dropped by him. */
const OWN_SLOT = 'hand_pg2';

interface Adoption {
  readonly cluster: LocalCluster;
  readonly halting: Halting;
  hostOf(victim: Victim): Host;
  /** Asks whoever answers. */
  ctl(line: string): ReturnType<typeof runSentinelctl>;
  /** `sentinelctl adopt`, which asks the witness: a process to be ended. */
  startAdopt(): ChildProcess;
}

interface Orders {
  readonly victim: Victim;
  readonly step: string;
  /** `client`: nothing is ended there but `sentinelctl adopt` itself. */
  readonly who: Exclude<Who, 'both'> | 'client';
}

/** On hosts of its own: a pair is adopted once. `judge` gets the steps of each host where there are no `orders`. */
async function adopt(
  orders: Orders | undefined,
  judge: (cluster: LocalCluster, steps: ReadonlyMap<Victim, readonly string[]>) => Promise<void>,
): Promise<boolean> {
  const halts = await mkdtemp(join(tmpdir(), 'pg-sentinel-halting-'));
  const halting = createHalting(halts);
  const cluster = await startLocalCluster({
    cluster: 'halfway',
    hostCount: 3,
    witnessCount: 1,
    environment: halting.environment,
    prepare: (hosts, tools) => makeServers(tools, hosts.slice(0, 2)),
    signal: AbortSignal.timeout(TEST_MS),
  });
  const adoption = openAdoption(cluster, halting);
  const writers = startWriters(cluster);
  try {
    await writers[0]?.connected(LIMIT_MS);
    await says(adoption, 'adopt --dry-run', /would adopt/);
    const postmaster = cluster.hostOf('pg1').postmasterPid();
    const [isKilled, steps] = await takeOver(adoption, orders);
    if (orders?.who !== 'whole' || orders.victim !== 'primary')
      wentOn(writers, cluster.hostOf('pg1').postmasterPid() === postmaster);
    await switchOver(adoption);
    await judge(cluster, steps);
    await Promise.all(writers.map((writer) => writer.stop()));
    const verdict = checkHistory({
      attempts: writers.flatMap(({ attempts }) => attempts),
      readBack: await readBack(await cluster.primary()),
      primaries: ['pg1', 'pg2'],
    });
    expect(harmOf(verdict)).toEqual([]);
    return isKilled;
  } catch (error) {
    console.log(lastOfLogs(cluster));
    throw error;
  } finally {
    await Promise.all(writers.map((writer) => writer.stop()));
    await cluster.close();
    await rm(halts, { recursive: true, force: true });
  }
}

function openAdoption(cluster: LocalCluster, halting: Halting): Adoption {
  const addresses = cluster.hosts.map(({ address }) => address).join(',');
  return {
    cluster,
    halting,
    hostOf: (victim) => cluster.hostOf({ primary: 'pg1', standby: 'pg2', asked: 'pg3' }[victim]),
    ctl: (line) => runSentinelctl(['--peers', addresses, ...line.split(' ')]),
    startAdopt: () => {
      const args = ['--peers', cluster.hostOf('pg3').address, 'adopt', 'main', '--yes'];
      return spawn(process.execPath, [compiled('src/cli/sentinelctl.js'), ...args], { stdio: 'ignore' });
    },
  };
}

function startWriters(cluster: LocalCluster): Writer[] {
  const common = {
    ...CLIENT_DEFAULTS,
    client: CLIENT,
    insert: INSERT,
    paceMs: 20,
    statementTimeoutMs: undefined,
  };
  const [first, second] = ['pg1', 'pg2'].map((node) => cluster.hostOf(node).target);
  if (first === undefined || second === undefined) throw new Error('there is no pair');
  return [
    startWriter({ ...common, name: 'client', targets: [first, second] }),
    // Stays with the old primary whatever happens: it would be acknowledged by two.
    startStubbornWriter({ ...common, name: 'stubborn', target: first }),
  ];
}

async function says({ ctl }: Adoption, line: string, pattern: RegExp): Promise<void> {
  let last = '';
  await until({ what: `${line} to say ${pattern}`, timeoutMs: LIMIT_MS, everyMs: 300 }, async () => {
    const { stdout, stderr } = await ctl(line);
    // Long lines are broken.
    last = (stdout + stderr).replaceAll(/\s+/g, ' ');
    return pattern.test(last);
  }).catch((error: unknown) => {
    throw new Error(`${(error as Error).message}; it said ${last}`, { cause: error });
  });
}

/**
 * Only the primary is left of those to adopt, and has a member id, without which nobody switches over from it; or it was started again after its
 * host was lost, and is ours by that.
 */
async function isTakenOver({ cluster }: Adoption): Promise<boolean> {
  const status = await cluster.admin.status().catch(() => undefined);
  const [group] = status?.groups ?? [];
  if (status === undefined || group === undefined) return false;
  if (status.warnings.some((warning) => TAKEN_OVER.test(warning)))
    return group.nodes.every(({ member }) => member !== undefined);
  const isHealthy = (): Promise<boolean> =>
    cluster.waitUntilHealthy(50).then(
      () => true,
      () => false,
    );
  return !status.warnings.some((warning) => ADOPTING.test(warning)) && isHealthy();
}

const ADOPTING = /is being adopted|not taken over yet/;
const TAKEN_OVER = /is being adopted and not protected.*sentinelctl failover main ends that, and/;

/** From the command to a standby that is ours and a primary that can be switched over from. */
async function takeOver(
  adoption: Adoption,
  orders: Orders | undefined,
): Promise<[boolean, ReadonlyMap<Victim, readonly string[]>]> {
  const { halting, cluster } = adoption;
  if (orders === undefined) {
    const armed = new Map<Victim, Host>();
    for (const victim of ['asked', 'standby', 'primary'] as const) armed.set(victim, adoption.hostOf(victim));
    for (const host of new Set(armed.values())) halting.arm(host);
    await once(adoption.startAdopt(), 'exit');
    await complete(adoption, /group main exists already/);
    for (const { victim, steps } of ADOPTIONS) {
      const host = armed.get(victim);
      if (host !== undefined) await halting.notedLater(host, sureOf(steps));
    }
    return [false, new Map([...armed].map(([victim, host]) => [victim, halting.disarm(host)]))];
  }
  const host = adoption.hostOf(orders.victim);
  if (orders.who === 'client') {
    halting.arm(host);
    const client = adoption.startAdopt();
    await halting.notedLater(host, [orders.step]);
    client.kill('SIGKILL');
    const isNoted = halting.disarm(host).includes(orders.step);
    await complete(adoption);
    return [isNoted, new Map()];
  }
  halting.arm(host, { step: orders.step, whole: orders.who === 'whole' });
  // Whoever is killed while it is asked may leave it without an answer.
  const client = adoption.startAdopt();
  const ended = once(client, 'exit');
  await until({ what: `the step ${orders.step}`, timeoutMs: LIMIT_MS, everyMs: 20 }, async () => {
    return halting.isHalted(host) || (await isTakenOver(adoption));
  });
  const isKilled =
    halting.isHalted(host) || (orders.who !== 'sometimes' && (await halting.isHaltedLater(host)));
  halting.disarm(host);
  if (isKilled) {
    await host.stopSentineld();
    host.startSentineld();
  }
  await ended;
  await complete(adoption);
  expect(cluster.hosts.map(({ sentineldFailure }) => sentineldFailure)).toEqual([
    undefined,
    undefined,
    undefined,
  ]);
  return [isKilled, new Map()];
}

/** What a person does next, until it is done. */
async function complete(
  adoption: Adoption,
  answer = /is being adopted|group main exists already/,
): Promise<void> {
  await says(adoption, 'adopt main --yes', answer);
  await until({ what: 'the pair to be taken over', timeoutMs: LIMIT_MS, everyMs: 100 }, () =>
    isTakenOver(adoption),
  );
}

/** No write was refused or lost its session, and the primary is the one that it was. */
function wentOn(writers: readonly Writer[], isSameServer: boolean): void {
  expect(isSameServer, 'the primary was not restarted').toBe(true);
  const attempts = writers.flatMap((writer) => writer.attempts);
  expect(attempts.filter((attempt) => !isAcked(attempt))).toEqual([]);
  for (const writer of writers) {
    const ends = writer.attempts.map(({ endMs }) => endMs);
    const pauses = ends.map((endMs, at) => endMs - (ends[at - 1] ?? endMs));
    expect(Math.max(...pauses)).toBeLessThan(LONGEST_PAUSE_MS);
  }
}

async function switchOver(adoption: Adoption): Promise<void> {
  const { cluster } = adoption;
  await until({ what: 'a switchover', timeoutMs: LIMIT_MS, everyMs: 500 }, async () => {
    // Refused until the agent of a sentineld that was just started reports.
    const { exitCode } = await adoption.ctl('failover main --to pg2 --yes');
    if (exitCode !== 0 && (await cluster.primary()).node !== 'pg2') return false;
    await cluster.waitUntilHealthy(LIMIT_MS);
    return (await cluster.primary()).node === 'pg2';
  });
  await sql(cluster.hostOf('pg1'), `select pg_drop_replication_slot('${OWN_SLOT}')`);
}

export function testAdopting(tables: readonly AdoptTable[]): void {
  let healthy: readonly string[] = [];
  let killCount = 0;
  afterAll(() => console.log(`adopt: ${killCount} kills`));

  test('has no step that is not in the tables', { timeout: TEST_MS }, async () => {
    await adopt(undefined, async (cluster, recorded) => {
      healthy = await filesOfHealthy(cluster);
      for (const { victim, steps, known } of tables)
        unknownSteps([...(recorded.get(victim) ?? [])], { ...known, ...steps });
    });
  });

  const killed = async (orders: Orders): Promise<void> => {
    const known = orders.who === 'whole' ? [...healthy, ...LEFT_BY_OWNERS] : healthy;
    const isKilled = await adopt(orders, (cluster) => createTidiness(cluster, known).waitUntilTidy(TIDY_MS));
    if (isKilled) killCount += 1;
    expect(isKilled || orders.who === 'sometimes', `it came to ${orders.step}`).toBe(true);
  };

  // A sample may have nothing of the peer that is asked.
  test.each(tables.filter(({ victim }) => victim === 'asked').slice(0, 1))(
    'sentinelctl is killed once its request has come to a peer',
    { timeout: TEST_MS },
    ({ victim }) => killed({ victim, step: 'propose adopt-group', who: 'client' }),
  );

  describe.each(tables.map((table) => ({ ...table })))('sentineld of the $victim', ({ victim, steps }) => {
    test.each(runsOf(steps))('killed before: $step ($who)', { timeout: TEST_MS }, ({ step, who }) =>
      killed({ victim, step, who }),
    );
  });
}
