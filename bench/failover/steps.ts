// What happened when, around one outage: what its client saw, when each entry of the log was proposed and applied, and what
// sentineld and PostgreSQL wrote into their logs. All on one machine, so one wall clock; PostgreSQL and the log round to 1 ms.
import { readFile } from 'node:fs/promises';
import type { Attempt } from '../../harness/attempt.ts';
import type { Gap } from '../../harness/history.ts';
import type { LocalCluster } from '../../harness/local-cluster.ts';

export interface Step {
  /** After the event. */
  readonly atMs: number;
  /** `client`, `log`, `sentineld a`, `postgres pg1`. */
  readonly who: string;
  readonly what: string;
}

const EVENT_COUNT_MAX = 500;
/** Beyond the outage, so that it can be seen what came next. */
const BEFORE_MS = 20;
const AFTER_MS = 300;

/** The steps from shortly before the outage or the event to shortly after it, in the order of their times. */
export async function collectSteps(options: {
  readonly cluster: LocalCluster;
  /** Monotonic. */
  readonly eventMs: number;
  readonly hit: string;
  readonly outage: Gap;
  /** Of the client that had it. */
  readonly attempts: readonly Attempt[];
}): Promise<Step[]> {
  const { cluster, eventMs, outage, attempts } = options;
  const eventWallMs = Date.now() - performance.now() + eventMs;
  const steps: Step[] = [
    { atMs: 0, who: 'event', what: options.hit },
    {
      atMs: outage.fromMs - eventMs,
      who: 'client',
      what: `last write acknowledged before, by ${outage.fromNode}`,
    },
    {
      atMs: outage.toMs - eventMs,
      who: 'client',
      what: `first write acknowledged after, by ${outage.toNode}`,
    },
  ];
  for (const { startMs, endMs, node, outcome } of attempts) {
    if (endMs <= outage.fromMs || startMs > outage.toMs) continue;
    const took = `${(endMs - startMs).toFixed(1)} ms`;
    steps.push({
      atMs: startMs - eventMs,
      who: 'client',
      what: `writes to ${node}: ${outcome} after ${took}`,
    });
  }
  for (const entry of await cluster.admin.events(EVENT_COUNT_MAX)) {
    const refused = entry.refused === undefined ? '' : ` (refused: ${entry.refused})`;
    const what = `${entry.index} ${entry.text}: proposed${refused}`;
    steps.push({ atMs: entry.atMs - eventWallMs, who: 'log', what });
  }
  for (const host of cluster.hosts) {
    const add = (who: string, line: Line | undefined): void => {
      if (line !== undefined) steps.push({ atMs: line.wallMs - eventWallMs, who, what: line.what });
    };
    for (const text of await linesOf(host.logFile)) add(`sentineld ${host.peer}`, readSentineldLine(text));
    for (const text of await linesOf(host.postgresLogFile))
      add(`postgres ${host.node}`, readPostgresLine(text));
  }
  const fromMs = Math.min(0, outage.fromMs - eventMs) - BEFORE_MS;
  const toMs = outage.toMs - eventMs + AFTER_MS;
  return steps
    .filter(({ atMs }) => atMs >= fromMs && atMs <= toMs)
    .map((step) => ({ ...step, atMs: Math.round(step.atMs * 10) / 10 }))
    .sort((a, b) => a.atMs - b.atMs);
}

/** A host without PostgreSQL, or whose log was never written, has no lines. */
async function linesOf(file: string): Promise<string[]> {
  const text = await readFile(file, 'utf8').catch(() => '');
  return text.split('\n');
}

export interface Line {
  readonly wallMs: number;
  readonly what: string;
}

/** One line of sentineld's log in its JSON format; undefined for anything else. */
export function readSentineldLine(text: string): Line | undefined {
  if (!text.startsWith('{')) return undefined;
  let line: Record<string, unknown>;
  try {
    line = JSON.parse(text) as Record<string, unknown>;
  } catch {
    // The last line may be half written.
    return undefined;
  }
  const { time, msg, index, error, tookMs } = line;
  if (typeof time !== 'number' || typeof msg !== 'string') return undefined;
  const what = [
    typeof index === 'number' ? `${index} applied: ${msg}` : msg,
    ...(typeof tookMs === 'number' ? [`(took ${tookMs} ms)`] : []),
    ...(typeof error === 'string' ? [`(${error})`] : []),
  ].join(' ');
  return { wallMs: time, what };
}

/** `2026-01-31 10:30:08.710 UTC [28236] LOG:  redo starts at 0/40AC228`; undefined for other lines and other time zones. */
export function readPostgresLine(text: string): Line | undefined {
  const found = /^(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d\.\d{3}) (?:UTC|GMT|Etc\/UTC) \[\d+\] (.*)$/.exec(text);
  const [, day, time, what] = found ?? [];
  return what === undefined ? undefined : { wallMs: Date.parse(`${day}T${time}Z`), what };
}

/** `   +12.3 ms  log           38 switchover of group main begins` */
export const stepLine = ({ atMs, who, what }: Step): string =>
  `${atMs < 0 ? '' : '+'}${atMs.toFixed(1)} ms`.padStart(16) + `  ${who.padEnd(13)} ${what}`;
