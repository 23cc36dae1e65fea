// `npm run bench:failover`: how long clients cannot write when the primary, its host, a standby or sentinelds fail or are changed,
// and whether a write is lost or acknowledged twice over. Default settings of sentineld; ends everything that it started.
// Exit codes: 0 as promised (a control: it showed something), 1 not, 2 usage, 128+N by a signal.
import { readFile, writeFile } from 'node:fs/promises';
import { availableParallelism, release } from 'node:os';
import { watchInterruption } from '../../harness/interruption.ts';
import { prepareClients, readBack } from '../../harness/clients.ts';
import { startLocalCluster, type LocalCluster } from '../../harness/local-cluster.ts';
import { hasOwnNetwork, runInOwnNetwork } from '../../harness/network.ts';
import { compiled } from '../../harness/programs.ts';
import { CLIENT_DEFAULTS } from '../../harness/writer.ts';
import { type Drawing, renderChart, rowOfOutput, rowOfSummary } from './chart.ts';
import { UsageError } from '../command-line.ts';
import { type BenchOptions, readRequest, type Request, USAGE } from './options.ts';
import { RUN_TITLE, runLine, settingLines, summarize, summaryLines, type Summary } from './report.ts';
import { PACE_MS, runOnce, STUBBORN_PACE_MS, type RunResult } from './run.ts';
import { stepLine } from './steps.ts';
import { TAKES_OVER } from './strike.ts';

const HOST_COUNT = 3;
const START_TIMEOUT_MS = 120_000;

const print = (text: string): void => void process.stdout.write(`${text}\n`);

async function bench(options: BenchOptions): Promise<number> {
  const interruption = watchInterruption();
  const { signal } = interruption;
  let cluster: LocalCluster | undefined;
  let code = 1;
  try {
    cluster = await startLocalCluster({
      cluster: 'bench',
      hostCount: HOST_COUNT,
      witnessCount: HOST_COUNT - 1 - options.standbyCount,
      hasCables: options.event === 'host',
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
    if (options.svg !== undefined) await draw(options.svg, { rows: [rowOfSummary(summary)] });
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
    for (const step of result.steps ?? []) print(stepLine(step));
  }
  for (const id of await readBack(await cluster.primary())) acked.delete(id);
  return summarize(options, settings, results, acked.size);
}

function settingsOf({ postgres, hosts }: LocalCluster, options: BenchOptions): Summary['settings'] {
  return {
    hosts: `${hosts.length} on one machine, ${availableParallelism()} processors, Linux ${release()}`,
    postgresql: `${postgres.version} (${postgres.source}), fsync on, each commit waits for 1 of ${options.standbyCount} standby${options.standbyCount === 1 ? ' (the third host is a witness)' : 's'}`,
    sentineld:
      options.control === undefined ? 'default settings' : `default settings, UNSAFE: ${options.control}`,
    client: 'one insert in flight, follows the read-write node',
    'client retry': `at most every ${CLIENT_DEFAULTS.retryMs} ms`,
    'client connect timeout': `${CLIENT_DEFAULTS.connectTimeoutMs} ms`,
    'client statement timeout': `${CLIENT_DEFAULTS.statementTimeoutMs} ms`,
    'client pace': `${PACE_MS} ms after each write`,
    'stubborn writers': `2 pinned to every node, connected before the event, one of them without a statement timeout, pace ${STUBBORN_PACE_MS} ms`,
    ...eventSettings(options),
    ...(options.lagBeforeMs > 0
      ? { 'walsenders stopped': `${options.lagBeforeMs} ms before the crash` }
      : {}),
  };
}

function eventSettings(options: BenchOptions): Record<string, string> {
  const stubborn = { 'stubborn for': `${options.stubbornForMs} ms after its return` };
  const outage = {
    outage: TAKES_OVER[options.event]
      ? 'last write acknowledged before to first after, monotonic clock'
      : 'longest time between two acknowledged writes, from the event until all is whole again and 1 s beyond',
  };
  switch (options.event) {
    case 'freeze': {
      const SIGCONT =
        options.thawAfter === 'fencing'
          ? 'to PostgreSQL as soon as the failover runs, to sentineld 1000 ms later'
          : `${options.thawAfter} ms after SIGSTOP`;
      return { ...outage, SIGCONT, ...stubborn };
    }
    case 'host': {
      const network = `each host in a namespace of its own; cable cut, and back after ${options.thawAfter} ms`;
      return { ...outage, network, ...stubborn };
    }
    case 'standby':
    case 'leader':
    case 'quorum':
      return { ...outage, away: `${options.awayMs} ms, then started again` };
    case 'upgrade':
      return { ...outage, order: 'the next one is stopped (SIGTERM) when the one before is back' };
    case 'crash':
    case 'switchover':
      return outage;
  }
}

async function draw(file: string, drawing: Drawing): Promise<void> {
  await writeFile(file, renderChart(drawing));
  print(`drawn: ${file}`);
}

/** The exit code. */
async function main(request: Request): Promise<number> {
  switch (request.kind) {
    case 'help':
      process.stdout.write(USAGE);
      return 0;
    case 'draw': {
      const outputs = await Promise.all(request.files.map((file) => readFile(file, 'utf8')));
      const rows = outputs.map((output, at) => rowOfOutput(output, request.files[at] ?? ''));
      await draw(request.svg, { rows });
      return 0;
    }
    case 'run':
      // Clients have to be where the cables meet.
      return request.options.event === 'host' && !hasOwnNetwork()
        ? runInOwnNetwork()
        : bench(request.options);
  }
}

try {
  process.exit(await main(readRequest(process.argv.slice(2))));
} catch (error) {
  const isUsage = error instanceof UsageError;
  process.stderr.write(`bench:failover: ${(error as Error).message}\n${isUsage ? `\n${USAGE}` : ''}`);
  process.exit(isUsage ? 2 : 1);
}
