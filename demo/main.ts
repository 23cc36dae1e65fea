// `npm run demo`: a three-peer cluster on loopback whose primary is killed before your eyes. Ends everything that it
// started, whatever happens; with --keep when you say so. Exit codes: 0 as promised, 1 not, 2 usage, 128+N by a signal.
import { parseArgs } from 'node:util';
import type { Output } from '../src/cli/context.ts';
import { InterruptedError, watchInterruption } from '../harness/interruption.ts';
import { startLocalCluster, type LocalCluster } from '../harness/local-cluster.ts';
import { keepLines } from './keep.ts';
import { play } from './scenario.ts';
import { openStage, type Stage } from './stage.ts';

const USAGE = `usage: npm run demo [-- --json] [-- --keep]

  --json   the last line of standard output is one JSON object; the story goes to standard error
  --keep   leave the cluster running afterwards, until Ctrl-C
`;
const DEADLINE_MS = 300_000;

interface Arguments {
  readonly json: boolean;
  readonly keep: boolean;
}

function readArguments(argv: readonly string[]): Arguments | undefined {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      json: { type: 'boolean', default: false },
      keep: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  return values.help ? undefined : { json: values.json, keep: values.keep };
}

async function main({ json, keep }: Arguments): Promise<number> {
  const interruption = watchInterruption();
  const deadline = AbortSignal.timeout(DEADLINE_MS);
  const signal = AbortSignal.any([interruption.signal, deadline]);
  const output = outputOf(json ? process.stderr : process.stdout);
  const print = (text: string): void => output.write(`${text}\n`);
  let cluster: LocalCluster | undefined;
  let stage: Stage | undefined;
  let killMs: number | undefined;
  let failure: string | undefined;
  try {
    const title = 'pg-sentinel demo: the primary dies, the service comes back, nothing is lost';
    stage = openStage({ output, env: process.env, title, startMs: performance.now(), killMs: () => killMs });
    cluster = await startLocalCluster({ cluster: 'demo', hostCount: 3, signal });
    const result = await play({ cluster, stage, signal, onKill: (atMs) => (killMs = atMs) });
    stage.close();
    if (json) process.stdout.write(`${JSON.stringify(result)}\n`);
    if (keep) {
      print(['', ...keepLines(cluster)].join('\n'));
      await aborted(interruption.signal);
    }
  } catch (error) {
    failure = reasonOf(
      deadline.aborted && !interruption.signal.aborted
        ? new Error(`not done within ${DEADLINE_MS / 1000} s`)
        : error,
    );
    stage?.close();
    if (json && !(error instanceof InterruptedError))
      process.stdout.write(`${JSON.stringify({ ok: false, error: failure })}\n`);
  }
  if (failure !== undefined) print(`\n  ${failure}`);
  try {
    await cluster?.close();
    if (cluster !== undefined) print(`\n  Everything is stopped and ${cluster.directory} is removed.`);
  } catch (error) {
    print(`\n  ${reasonOf(error)}`);
    return 1;
  }
  if (interruption.exitCode() !== undefined)
    return keep && failure === undefined ? 0 : (interruption.exitCode() ?? 1);
  return failure === undefined ? 0 : 1;
}

const reasonOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** Resolves when the signal aborts. A timer holds the process meanwhile: an abort listener does not. */
async function aborted(signal: AbortSignal): Promise<void> {
  const hold = setInterval(() => undefined, 60_000);
  await new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
  clearInterval(hold);
}

function outputOf(stream: NodeJS.WriteStream): Output {
  return {
    isTerminal: stream.isTTY,
    write: (text) => void stream.write(text),
    size: () => ({ columns: stream.columns || 80, rows: stream.rows || 24 }),
    onResize(listener) {
      stream.on('resize', listener);
      return () => void stream.off('resize', listener);
    },
  };
}

let chosen: Arguments | undefined;
try {
  chosen = readArguments(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`${reasonOf(error)}\n${USAGE}`);
  process.exit(2);
}
if (chosen === undefined) process.stdout.write(USAGE);
else process.exit(await main(chosen));
