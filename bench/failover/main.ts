// `npm run bench:failover`: how long clients cannot write when the primary crashes, freezes or is switched over, and whether
// a write is lost or acknowledged twice over. Default settings of sentineld; ends everything that it started.
// Exit codes: 0 as promised (a control: it showed something), 1 not, 2 usage, 128+N by a signal.
import { availableParallelism, release } from 'node:os';
import { watchInterruption } from '../../harness/interruption.ts';
import { prepareClients, readBack } from '../../harness/clients.ts';
import { startLocalCluster, type LocalCluster } from '../../harness/local-cluster.ts';
import { compiled } from '../../harness/programs.ts';
import { CLIENT_DEFAULTS } from '../../harness/writer.ts';
import { readOptions, USAGE, UsageError, type BenchOptions } from './options.ts';
import { RUN_TITLE, runLine, settingLines, summarize, summaryLines, type Summary } from './report.ts';
import { PACE_MS, runOnce, STUBBORN_PACE_MS, type RunResult } from './run.ts';

const HOST_COUNT = 3;
const START_TIMEOUT_MS = 120_000;

const print = (text: string): void => void process.stdout.write(`${text}\n`);

async function main(options: BenchOptions): Promise<number> {
  const interruption = watchInterruption();
  const { signal } = interruption;
  let cluster: LocalCluster | undefined;
  let code = 1;
  try {
    cluster = await startLocalCluster({
      cluster: 'bench',
      hostCount: HOST_COUNT,
      signal,
      isRuleEnforced: options.control !== 'no-rule',
      ...(options.control === undefined
        ? {}
        : {
            sentineldProgram: compiled('bench/failover/unsafe-sentineld.js'),
            environment: { PG_SENTINEL_UNSAFE_CONTROL: options.control },
          }),
    });
    const summary = await measure(cluster, options, signal);
    for (const line of ['', ...summaryLines(summary)]) print(line);
    if (options.json) print(JSON.stringify(summary));
    code = summary.ok ? 0 : 1;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    process.stderr.write(`bench:failover: ${reason}\n`);
    if (options.json && !signal.aborted) print(JSON.stringify({ ok: false, error: reason }));
  }
  await cluster?.close();
  return interruption.exitCode() ?? code;
}

async function measure(cluster: LocalCluster, options: BenchOptions, signal: AbortSignal): Promise<Summary> {
  const settings = settingsOf(cluster, options);
  print(`bench:failover --event ${options.event}, ${options.runCount} runs`);
  for (const line of settingLines(settings)) print(line);
  await cluster.waitUntilHealthy(START_TIMEOUT_MS);
  const client = await prepareClients(await cluster.primary());
  const results: RunResult[] = [];
  const acked = new Set<string>();
  print(`\n${RUN_TITLE}`);
  for (let run = 1; run <= options.runCount; run++) {
    const result = await runOnce({ cluster, options, client, signal }, run, (id) => acked.add(id));
    results.push(result);
    print(runLine(result));
  }
  for (const id of await readBack(await cluster.primary())) acked.delete(id);
  return summarize(options, settings, results, acked.size);
}

function settingsOf({ postgres, hosts }: LocalCluster, options: BenchOptions): Summary['settings'] {
  return {
    hosts: `${hosts.length} on one machine, ${availableParallelism()} processors, Linux ${release()}`,
    postgresql: `${postgres.version} (${postgres.source}), fsync on, each commit waits for 1 of 2 standbys`,
    sentineld:
      options.control === undefined ? 'default settings' : `default settings, UNSAFE: ${options.control}`,
    client: 'one insert in flight, follows the read-write node',
    'client retry': `at most every ${CLIENT_DEFAULTS.retryMs} ms`,
    'client connect timeout': `${CLIENT_DEFAULTS.connectTimeoutMs} ms`,
    'client statement timeout': `${CLIENT_DEFAULTS.statementTimeoutMs} ms`,
    'client pace': `${PACE_MS} ms after each write`,
    'stubborn writers': `2 pinned to every node, connected before the event, one of them without a statement timeout, pace ${STUBBORN_PACE_MS} ms`,
    outage: 'last write acknowledged before to first after, monotonic clock',
    ...(options.event === 'freeze'
      ? {
          SIGCONT:
            options.thawAfter === 'fencing'
              ? 'to PostgreSQL as soon as the failover runs, to sentineld 1000 ms later'
              : `${options.thawAfter} ms after SIGSTOP`,
          'stubborn for': `${options.stubbornForMs} ms after SIGCONT`,
        }
      : {}),
    ...(options.lagBeforeMs > 0
      ? { 'walsenders stopped': `${options.lagBeforeMs} ms before the crash` }
      : {}),
  };
}

let chosen: BenchOptions | undefined;
try {
  chosen = readOptions(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof UsageError)) throw error;
  process.stderr.write(`bench:failover: ${error.message}\n\n${USAGE}`);
  process.exit(2);
}
if (chosen === undefined) process.stdout.write(USAGE);
else process.exit(await main(chosen));
