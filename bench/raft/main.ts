// `npm run bench:raft`: our consensus, log store and transport beside etcd, on the same disk, under the same load of the same
// generator (this process). Three members each, on loopback, with fsync. Ends everything that it started.
// Exit codes: 0 as promised, 1 not, 2 usage, 3 etcd is missing, 128+N by a signal. A ratio that is missed is no failure.
import { mkdir } from 'node:fs/promises';
import { availableParallelism, loadavg, release } from 'node:os';
import { watchInterruption } from '../../harness/interruption.ts';
import { compare, LATENCY_LOADS, THROUGHPUT_LOADS, type Load, type LoadResult } from './compare.ts';
import { type ElectionResult, measureElections } from './elections.ts';
import { EtcdMissingError, findEtcd, startEtcdCluster } from './etcd-cluster.ts';
import { waitUntilWhole, watchMembers, type Watchers } from './leader.ts';
import { UsageError } from '../command-line.ts';
import { readOptions, USAGE, type BenchOptions } from './options.ts';
import { measureSync, openPlace, type Place } from './place.ts';
import * as report from './report.ts';
import { type SentinelCluster, startSentinelCluster } from './sentinel-cluster.ts';
import { measureSnapshot, type SnapshotResult } from './snapshot.ts';
import { measureStalls, type StallResult } from './stall.ts';
import { runSteady, type SteadyResult } from './steady.ts';

const ETCD_MISSING_CODE = 3;

const print = (text: string): void => void process.stdout.write(`${text}\n`);
const printAll = (lines: readonly string[]): void => lines.forEach(print);

interface Bench {
  readonly options: BenchOptions;
  readonly signal: AbortSignal;
  readonly cluster: SentinelCluster;
  readonly ours: Watchers;
  readonly theirs: Watchers | undefined;
}

async function main(options: BenchOptions): Promise<number> {
  const interruption = watchInterruption();
  const { signal } = interruption;
  let code = 1;
  let place: Place | undefined;
  try {
    const etcdVersion = options.withEtcd ? await findEtcd() : undefined;
    place = await openPlace(options.directory);
    const settings = await settingsOf(options, etcdVersion, place.directory);
    print('bench:raft');
    printAll(report.settingLines(settings));
    const cluster = await startSentinelCluster({ directory: place.directory, nodeOptions: [] });
    const etcd = options.withEtcd ? await startEtcdCluster(place.directory) : undefined;
    const theirs = etcd === undefined ? undefined : watchMembers(etcd);
    const bench: Bench = { options, signal, cluster, ours: watchMembers(cluster), theirs };
    const summary = await measureAll(bench, settings);
    printAll(['', ...summary.broken]);
    print(summary.ok ? 'as promised' : 'NOT AS PROMISED');
    if (options.json) print(JSON.stringify(summary));
    code = summary.ok ? 0 : 1;
  } catch (error) {
    const reason = reasonOf(error);
    process.stderr.write(`bench:raft: ${reason}\n`);
    if (options.json && !signal.aborted) print(JSON.stringify({ ok: false, error: reason }));
    if (error instanceof EtcdMissingError) code = ETCD_MISSING_CODE;
  }
  await place?.close();
  return interruption.exitCode() ?? code;
}

async function measureAll(bench: Bench, settings: report.Summary['settings']): Promise<report.Summary> {
  const { options, signal, ours, theirs } = bench;
  await waitUntilWhole(ours, signal);
  if (theirs !== undefined) await waitUntilWhole(theirs, signal);
  const loads = await compareLoads(bench);
  printAll(['', ...report.loadLines(loads)]);
  const elections = options.parts.has('elections') ? await measureBothElections(bench) : undefined;
  printAll(report.electionLines(elections));
  const steady = options.parts.has('steady') ? await steadyRuns(bench) : [];
  printAll(report.steadyLines(steady));
  const stalls = options.parts.has('stall') ? await stallRuns(bench) : [];
  printAll(report.stallLines(stalls));
  const snapshot = options.parts.has('snapshot') ? await snapshotRun(bench) : undefined;
  printAll(report.snapshotLines(snapshot));
  const measured = { loads, elections, steady, stalls, snapshot };
  const broken = report.brokenPromises(measured);
  return {
    ok: broken.length === 0,
    broken,
    settings: {
      ...settings,
      'load average after': loadavg()
        .map((value) => value.toFixed(1))
        .join(' '),
    },
    ...measured,
  };
}

async function compareLoads({ options, signal, ours, theirs }: Bench): Promise<LoadResult[]> {
  const loads: readonly Load[] = [
    ...(options.parts.has('latency') ? LATENCY_LOADS : []),
    ...(options.parts.has('throughput') ? THROUGHPUT_LOADS : []),
  ];
  if (loads.length === 0) return [];
  print(`\n${report.ROUND_TITLE}`);
  return compare(ours, theirs, {
    loads,
    roundCount: options.roundCount,
    windowMs: options.windowMs,
    valueBytes: options.valueBytes,
    signal,
    onRound: (load, round, measured) => print(report.roundLine(load, round, measured)),
  });
}

async function measureBothElections(bench: Bench): Promise<report.Summary['elections']> {
  const { options, signal, ours, theirs } = bench;
  const measure = (watchers: Watchers): Promise<ElectionResult> =>
    measureElections(watchers, {
      killCount: options.killCount,
      valueBytes: options.valueBytes,
      signal,
      onRun: () => undefined,
    });
  print(`\n${options.killCount} times SIGKILL to the leader`);
  return { ours: await measure(ours), theirs: theirs === undefined ? undefined : await measure(theirs) };
}

/** Both kinds of client: one stream gives the most entries a second, unary calls keep the event loop busiest. */
async function steadyRuns({ options, signal, ours }: Bench): Promise<SteadyResult[]> {
  print('');
  const results: SteadyResult[] = [];
  for (const load of THROUGHPUT_LOADS.filter(({ clientCount }) => clientCount === 512)) {
    const { steadyMs, valueBytes } = options;
    results.push(await runSteady(ours, { load, steadyMs, valueBytes, signal }));
  }
  return results;
}

function stallRuns({ options, signal, cluster }: Bench): Promise<StallResult[]> {
  print('');
  return measureStalls(cluster, { stallCount: options.stallCount, signal });
}

function snapshotRun({ options, signal, cluster }: Bench): Promise<SnapshotResult> {
  print('');
  const { snapshotBytes: bytes, valueBytes } = options;
  return measureSnapshot(cluster, { bytes, valueBytes, signal });
}

async function settingsOf(
  options: BenchOptions,
  etcdVersion: string | undefined,
  directory: string,
): Promise<report.Summary['settings']> {
  await mkdir(directory, { recursive: true });
  const sync = await measureSync(directory);
  return {
    machine: `${availableParallelism()} processors, Linux ${release()}, Node ${process.version}`,
    'load average before': loadavg()
      .map((value) => value.toFixed(1))
      .join(' '),
    disk: `appended page with fdatasync: median ${sync.median} ms, 99 % ${sync.p99} ms`,
    members: 'three on loopback, fsync on, default settings',
    etcd: etcdVersion ?? 'left out',
    generator: 'this process: grpc-js, one connection to the leader for all clients, the same code for both',
    value: `${options.valueBytes} bytes`,
    rounds: `${options.roundCount} of ${options.windowMs} ms for each load, by turns`,
  };
}

/** With what lies behind it, which is where the reason is. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause === undefined ? error.message : `${error.message}: ${reasonOf(error.cause)}`;
}

let chosen: BenchOptions | undefined;
try {
  chosen = readOptions(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof UsageError)) throw error;
  process.stderr.write(`bench:raft: ${error.message}\n\n${USAGE}`);
  process.exit(2);
}
if (chosen === undefined) process.stdout.write(USAGE);
else process.exit(await main(chosen));
