// `npm run bench:scale`: many groups on one cluster of three peers. The peers, their log, their probes and the network between them are
// real; the PostgreSQL servers and their agents are simulated (agent-model.ts, servers.ts). Ends everything that it started.
// Exit codes: 0 as promised, 1 not, 2 usage, 128+N by a signal.
import { availableParallelism, loadavg, release } from 'node:os';
import { resolve } from 'node:path';
import { watchInterruption } from '../../harness/interruption.ts';
import { delay } from '../../src/base/clock.ts';
import type { GroupId } from '../../src/base/ids.ts';
import { UsageError } from '../command-line.ts';
import { measureSync, openPlace, type Place } from '../raft/place.ts';
import { burstSize, corePercent, perMinute, rounded, takeTurns, timesOf } from './arithmetic.ts';
import { type ScaleCluster, startScaleCluster } from './cluster.ts';
import { type Load, startLoad, type Strike } from './load.ts';
import { bytesBelow, measureRoundTrip, usageOf } from './measure.ts';
import { type BenchOptions, readOptions, USAGE } from './options.ts';
import {
  brokenPromises,
  type Failovers,
  type Idle,
  lines,
  type Measured,
  ratiosOf,
  type Summary,
} from './report.ts';

/** The log is quiet for so long before a measurement in which it must stay so: LevelDB has then done what it does beside. */
const QUIET_MS = 5000;
/** A group that was just promoted is given time before it can be held for down again (promotionGraceMs). */
const AGAIN_AFTER_MS = 3500;

const print = (text: string): void => void process.stdout.write(`${text}\n`);

interface Bench {
  readonly options: BenchOptions;
  readonly signal: AbortSignal;
  readonly cluster: ScaleCluster;
  readonly load: Load;
}

async function main(options: BenchOptions): Promise<number> {
  const interruption = watchInterruption();
  const failing = new AbortController();
  const signal = AbortSignal.any([interruption.signal, failing.signal]);
  const onFatal = (error: unknown): void => failing.abort(error);
  let code = 1;
  let place: Place | undefined;
  let cluster: ScaleCluster | undefined;
  let load: Load | undefined;
  try {
    place = await openPlace(options.directory);
    const settings = await settingsOf(options, place.directory);
    print('bench:scale');
    for (const [name, value] of Object.entries(settings)) print(`  ${name.padEnd(22)} ${value}`);
    const { directory } = place;
    const { groupCount, nodesPerGroup } = options;
    const profileDirectory = options.profileDirectory && resolve(options.profileDirectory);
    const plan = { directory, groupCount, nodesPerGroup, profileDirectory, signal, onFatal };
    cluster = await startScaleCluster(plan);
    load = startLoad(cluster, signal, onFatal);
    const summary = summaryOf(await measureAll({ options, signal, cluster, load }), settings);
    for (const line of ['', ...lines(summary), '', ...summary.broken]) print(line);
    print(summary.ok ? 'as promised' : 'NOT AS PROMISED');
    if (options.json) print(JSON.stringify(summary));
    code = summary.ok ? 0 : 1;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    process.stderr.write(`bench:scale: ${reason}\n`);
    if (options.json && !interruption.signal.aborted) print(JSON.stringify({ ok: false, error: reason }));
  }
  load?.close();
  await cluster?.close(options.profileDirectory !== undefined);
  await place?.close();
  return interruption.exitCode() ?? code;
}

async function measureAll(bench: Bench): Promise<Measured> {
  const { options, load, cluster } = bench;
  const { groupCount } = options;
  print('\none group');
  await load.addGroups(0, 1);
  const aloneFailovers = await strikeOneByOne(bench, options.aloneRunCount, 1);
  const aloneIdle = await measureIdle(bench, 1);
  print(`${groupCount} groups`);
  const addedMs = await load.addGroups(1, groupCount);
  print(`  added within ${rounded(addedMs / 1000, 1)} s`);
  const idle = await measureIdle(bench, groupCount);
  const failovers = await strikeOneByOne(bench, options.runCount, groupCount);
  const bursts = await strikeManyAtOnce(bench);
  const snapshotBytes = cluster.learner.replica.takeSnapshot().data.length;
  const many = { addedMs, idle, failovers, burstSize: burstSize(groupCount), bursts, snapshotBytes };
  return { alone: { idle: aloneIdle, failovers: aloneFailovers }, many };
}

async function measureIdle({ options, signal, cluster, load }: Bench, groups: number): Promise<Idle> {
  await load.settle(QUIET_MS);
  const read = async () => ({
    atMs: performance.now(),
    counts: await cluster.counts(),
    usages: await Promise.all(cluster.peers.map(({ program }) => usageOf(program.pid ?? 0))),
    bytes: await Promise.all(cluster.peers.map(({ raftDirectory }) => bytesBelow(raftDirectory))),
    growth: cluster.learner.growth(),
  });
  const before = await read();
  await delay(options.idleMs, signal);
  signal.throwIfAborted();
  cluster.assertRunning();
  const after = await read();
  const elapsedMs = after.atMs - before.atMs;
  const leader = cluster.learner.leader();
  const total = ({ counts }: typeof before): number => counts.reads + counts.writes + counts.checks;
  const probes = total(after) - total(before);
  const peers = cluster.peers.flatMap(({ peer }, at) => {
    const [earlier, later] = [before.usages[at], after.usages[at]];
    if (earlier === undefined || later === undefined) return [];
    const residentMb = rounded(later.residentBytes / 1e6, 1);
    return {
      peer,
      isLeader: peer === leader,
      cpuPercent: corePercent(earlier, later, elapsedMs),
      residentMb,
    };
  });
  const idle: Idle = {
    groups,
    nodes: groups * options.nodesPerGroup,
    seconds: rounded(elapsedMs / 1000, 1),
    peers,
    probesPerSecond: rounded((1000 * probes) / elapsedMs / cluster.peers.length, 1),
    entriesPerMinute: perMinute(before.growth.entries, after.growth.entries, elapsedMs),
    bytesPerMinute: perMinute(before.growth.bytes, after.growth.bytes, elapsedMs),
    diskBytes: after.bytes.reduce((sum, bytes, at) => sum + Math.abs(bytes - (before.bytes[at] ?? 0)), 0),
  };
  print(
    `  idle for ${idle.seconds} s: ${peers.map(({ peer, cpuPercent, residentMb }) => `${peer} ${cpuPercent} %, ${residentMb} MB`).join('; ')}`,
  );
  return idle;
}

async function strikeOneByOne(bench: Bench, runCount: number, groupCount: number): Promise<Failovers> {
  const { load, cluster, signal } = bench;
  const turns = groupIds(cluster, groupCount);
  const strikes: Strike[] = [];
  for (let run = 0; run < runCount; run++) {
    const strike = await load.strike(takeTurns(turns, 1));
    strikes.push(strike);
    if (groupCount === 1) await delay(AGAIN_AFTER_MS, signal);
    signal.throwIfAborted();
  }
  const failovers = failoversOf(strikes);
  print(`  ${runCount} crashes, one at a time: ${timesText(failovers)}`);
  return failovers;
}

async function strikeManyAtOnce({ load, cluster, options, signal }: Bench): Promise<Failovers> {
  const { groupCount, burstCount } = options;
  const turns = groupIds(cluster, groupCount);
  const strikes: Strike[] = [];
  for (let burst = 0; burst < burstCount; burst++) {
    await delay(AGAIN_AFTER_MS, signal);
    signal.throwIfAborted();
    strikes.push(await load.strike(takeTurns(turns, burstSize(groupCount))));
  }
  const failovers = failoversOf(strikes);
  print(`  ${burstCount} times ${burstSize(groupCount)} at once: ${timesText(failovers)}`);
  return failovers;
}

const groupIds = ({ groups }: ScaleCluster, count: number): GroupId[] =>
  groups.slice(0, count).flatMap(([first]) => (first === undefined ? [] : [first.group]));

function failoversOf(strikes: readonly Strike[]): Failovers {
  const times = strikes.flatMap(({ openedMs }) => openedMs);
  const mean = (of: (strike: Strike) => number): number =>
    rounded(strikes.reduce((sum, strike) => sum + of(strike), 0) / times.length, 1);
  return {
    openedMs: timesOf(times),
    entries: mean(({ entries }) => entries),
    bytes: mean(({ bytes }) => bytes),
  };
}

function timesText({ openedMs: { median, p99, worst } }: Failovers): string {
  return `median ${median} ms, 99 % ${p99} ms, worst ${worst} ms`;
}

function summaryOf(measured: Measured, settings: Summary['settings']): Summary {
  const broken = brokenPromises(measured);
  const after = { ...settings, 'load average after': loadText() };
  return { ok: broken.length === 0, broken, settings: after, ratios: ratiosOf(measured), ...measured };
}

const loadText = (): string =>
  loadavg()
    .map((value) => value.toFixed(1))
    .join(' ');

async function settingsOf(options: BenchOptions, directory: string): Promise<Summary['settings']> {
  const sync = await measureSync(directory);
  const roundTrip = await measureRoundTrip();
  const { groupCount, nodesPerGroup } = options;
  return {
    machine: `${availableParallelism()} processors, Linux ${release()}, Node ${process.version}`,
    'load average before': loadText(),
    disk: `appended page with fdatasync: median ${sync.median} ms, 99 % ${sync.p99} ms`,
    loopback: `a byte there and back: median ${roundTrip.median} ms, 99 % ${roundTrip.p99} ms`,
    peers: 'three on loopback without a node, fsync on, default settings',
    groups: `${groupCount} of ${nodesPerGroup} simulated nodes, their agents in one learner`,
  };
}

let chosen: BenchOptions | undefined;
try {
  chosen = readOptions(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof UsageError)) throw error;
  process.stderr.write(`bench:scale: ${error.message}\n\n${USAGE}`);
  process.exit(2);
}
if (chosen === undefined) process.stdout.write(USAGE);
else process.exit(await main(chosen));
