// `npm run bench:availability`: what losing sentinelds costs the writes of a healthy PostgreSQL: nothing, it is promised. Each
// run compares the largest gap between two acknowledged writes while sentinelds are gone with the largest gap of an equally
// long time just before, in the same cluster with all of them there. Ends everything that it started.
// Exit codes: 0 no write failed and nothing failed over, 1 otherwise, 2 usage, 128+N by a signal.
import { parseArgs } from 'node:util';
import { delay } from '../../src/base/clock.ts';
import { INSERT, prepareClients, readBack } from '../../harness/clients.ts';
import { checkHistory, largestGap } from '../../harness/history.ts';
import type { Host } from '../../harness/host.ts';
import { watchInterruption } from '../../harness/interruption.ts';
import { startLocalCluster, type LocalCluster } from '../../harness/local-cluster.ts';
import { CLIENT_DEFAULTS, startWriter, type WriterSettings } from '../../harness/writer.ts';
import { distributionOf, type Distribution } from '../failover/statistics.ts';

const USAGE = `usage: npm run bench:availability -- [--runs N] [--json]

  --runs N   how often one sentineld is killed for 5 s, 1 to 100 (default 12); then, once, two of
             three for 60 s
  --json     one JSON object as the last line
`;
const HEALTHY_TIMEOUT_MS = 120_000;
const CONNECT_TIMEOUT_MS = 10_000;
const ONE_AWAY_MS = 5000;
const TWO_AWAY_MS = 60_000;
const PACE_MS = 5;

interface Run {
  readonly away: string;
  /** Largest gap between acknowledged writes with every sentineld there, and with some gone, over equally long times. */
  readonly controlGapMs: number;
  readonly gapMs: number;
  readonly acked: number;
  readonly notAcked: number;
  readonly lost: number;
  readonly failedOver: boolean;
}

const print = (text: string): void => void process.stdout.write(`${text}\n`);

async function runOnce(options: {
  readonly cluster: LocalCluster;
  readonly client: WriterSettings['client'];
  readonly away: readonly Host[];
  readonly awayMs: number;
  readonly name: string;
  readonly signal: AbortSignal;
}): Promise<Run> {
  const { cluster, away, awayMs, signal } = options;
  const before = await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
  const targets = cluster.hosts.map(({ target }) => target);
  const { name, client } = options;
  const writer = startWriter({ ...CLIENT_DEFAULTS, name, client, insert: INSERT, paceMs: PACE_MS, targets });
  try {
    await writer.connected(CONNECT_TIMEOUT_MS);
    const controlFromMs = performance.now();
    await delay(awayMs, signal);
    const fromMs = performance.now();
    for (const host of away) await host.stopSentineld('SIGKILL');
    await delay(awayMs, signal);
    const toMs = performance.now();
    for (const host of away) host.startSentineld();
    const after = await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
    await writer.stop();
    const attempts = writer.attempts.slice(0, -1);
    const there = await readBack(cluster.hostOf(after.primary ?? ''), `${name}:`);
    const during = attempts.filter(({ endMs }) => endMs >= fromMs && endMs <= toMs);
    return {
      away: away
        .map(({ peer, node }) => `${peer} (${node === before.primary ? 'primary' : 'standby'})`)
        .join(', '),
      controlGapMs: largestGap(attempts, controlFromMs, fromMs)?.ms ?? awayMs,
      gapMs: largestGap(attempts, fromMs, toMs)?.ms ?? awayMs,
      acked: during.filter(({ outcome }) => outcome === 'acked').length,
      notAcked: during.filter(({ outcome }) => outcome !== 'acked').length,
      lost: checkHistory({ attempts: writer.attempts, readBack: there }).lost.length,
      failedOver: after.epoch !== before.epoch,
    };
  } finally {
    await writer.stop();
  }
}

const line = (run: Run): string =>
  [
    `${run.gapMs.toFixed(0)} ms`.padStart(9),
    `${run.controlGapMs.toFixed(0)} ms`.padStart(9),
    String(run.acked).padStart(7),
    String(run.notAcked).padStart(9),
    String(run.lost).padStart(5),
    ` ${run.away}${run.failedOver ? ' FAILED OVER' : ''}`,
  ].join(' ');

interface Summary {
  readonly ok: boolean;
  readonly oneAway: { readonly gapMs: Distribution; readonly controlGapMs: Distribution };
  readonly twoAway: Run;
  readonly perRun: readonly Run[];
}

async function measure(cluster: LocalCluster, runCount: number, signal: AbortSignal): Promise<Summary> {
  await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
  const client = await prepareClients(await cluster.primary());
  const common = { cluster, client, signal };
  print(`\n      gap   control   acked not acked  lost  sentinelds gone`);
  const perRun: Run[] = [];
  const take = (run: Run): Run => {
    print(line(run));
    perRun.push(run);
    return run;
  };
  for (let at = 0; at < runCount; at += 1) {
    const away = cluster.hosts.slice(at % cluster.hosts.length).slice(0, 1);
    take(await runOnce({ ...common, away, awayMs: ONE_AWAY_MS, name: `one-${at}` }));
  }
  const one = [...perRun];
  const away = [await cluster.primary(), ...cluster.hosts].filter(
    (host, at, all) => all.indexOf(host) === at,
  );
  const twoAway = take(
    await runOnce({ ...common, away: away.slice(0, 2), awayMs: TWO_AWAY_MS, name: 'two' }),
  );
  return {
    ok: perRun.every((run) => run.notAcked === 0 && run.lost === 0 && !run.failedOver),
    oneAway: {
      gapMs: distributionOf(one.map(({ gapMs }) => gapMs)),
      controlGapMs: distributionOf(one.map(({ controlGapMs }) => controlGapMs)),
    },
    twoAway,
    perRun,
  };
}

async function main(runCount: number, json: boolean): Promise<number> {
  const interruption = watchInterruption();
  let cluster: LocalCluster | undefined;
  let code = 1;
  try {
    cluster = await startLocalCluster({ cluster: 'availability', hostCount: 3, signal: interruption.signal });
    const summary = await measure(cluster, runCount, interruption.signal);
    const { gapMs, controlGapMs } = summary.oneAway;
    print(
      `\none gone:  median ${gapMs.median} ms, max ${gapMs.max} ms; with all there ${controlGapMs.median} and ${controlGapMs.max}`,
    );
    print(
      `two gone, 60 s: max ${summary.twoAway.gapMs.toFixed(0)} ms, ${summary.twoAway.acked} writes; with all there ${summary.twoAway.controlGapMs.toFixed(0)} ms`,
    );
    print(summary.ok ? 'as promised' : 'THE PROMISE IS BROKEN');
    if (json) print(JSON.stringify(summary));
    code = summary.ok ? 0 : 1;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    process.stderr.write(`bench:availability: ${reason}\n`);
  }
  await cluster?.close();
  return interruption.exitCode() ?? code;
}

/** Exits with 2 where the arguments are wrong. */
function readOptions(): { readonly runCount: number; readonly json: boolean } | undefined {
  try {
    const { values } = parseArgs({
      options: { runs: { type: 'string' }, json: { type: 'boolean' }, help: { type: 'boolean', short: 'h' } },
    });
    if (values.help === true) return undefined;
    const runs = values.runs ?? '12';
    if (!/^\d{1,3}$/.test(runs) || Number(runs) < 1 || Number(runs) > 100)
      throw new Error(`--runs ${runs}: expected a whole number from 1 to 100`);
    return { runCount: Number(runs), json: values.json === true };
  } catch (error) {
    process.stderr.write(`bench:availability: ${(error as Error).message}\n\n${USAGE}`);
    process.exit(2);
  }
}

const options = readOptions();
if (options === undefined) process.stdout.write(USAGE);
else process.exit(await main(options.runCount, options.json));
