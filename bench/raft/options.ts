// The command line of the Raft benchmark. Pure: says what is wrong, changes nothing.
import { parseOptions, UsageError, whole } from '../command-line.ts';

export const PARTS = ['latency', 'throughput', 'elections', 'steady', 'stall', 'snapshot'] as const;
export type Part = (typeof PARTS)[number];

export interface BenchOptions {
  readonly parts: ReadonlySet<Part>;
  readonly json: boolean;
  /** False: ours alone, no ratios. */
  readonly withEtcd: boolean;
  /** Where the temporary directory with all data is made; undefined: the system's. */
  readonly directory: string | undefined;
  readonly valueBytes: number;
  /** Each round measures every load on both systems once. */
  readonly roundCount: number;
  /** Of one measurement, its warm-up not included. */
  readonly windowMs: number;
  /** How often the leader is killed, for each system. */
  readonly killCount: number;
  /** Full throughput without an election: for how long. */
  readonly steadyMs: number;
  /** How often each length of stall is tried. */
  readonly stallCount: number;
  readonly snapshotBytes: number;
}

export const USAGE = `usage: npm run bench:raft -- [options]

  --quick            fewer and shorter measurements: about two minutes instead of fifteen
  --json             one JSON object as the last line
  --only PARTS       some of ${PARTS.join(',')} (default all)
  --without-etcd     our own figures alone, no ratios
  --directory DIR    where the data goes; must be on the disk to be measured (default the
                     temporary directory)
  --rounds N         rounds of latency and throughput, 1 to 100
  --window MS        length of one measurement, 200 to 600000
  --kills N          how often the leader is killed, 1 to 1000
  --steady MS        length of the run in which no election may happen, 1000 to 600000
  --stalls N         how often each stall is tried, 1 to 100
  --value-bytes N    size of a value, 16 to 65536 (default 256)
  --snapshot-mb N    size of the snapshot, 1 to 200 (default 100)
`;

interface Amounts {
  readonly roundCount: number;
  readonly windowMs: number;
  readonly killCount: number;
  readonly steadyMs: number;
  readonly stallCount: number;
}

const FULL: Amounts = { roundCount: 7, windowMs: 5000, killCount: 100, steadyMs: 60_000, stallCount: 10 };
const QUICK: Amounts = { roundCount: 3, windowMs: 2000, killCount: 8, steadyMs: 10_000, stallCount: 3 };

/** Throws {@link UsageError}; undefined when help was asked for. */
export function readOptions(argv: readonly string[]): BenchOptions | undefined {
  const values = parse(argv);
  if (values.help === true) return undefined;
  const amounts = values.quick === true ? QUICK : FULL;
  return {
    parts: readParts(values.only),
    json: values.json === true,
    withEtcd: values['without-etcd'] !== true,
    directory: values.directory,
    valueBytes: whole('--value-bytes', values['value-bytes'], 16, 65_536) ?? 256,
    roundCount: whole('--rounds', values.rounds, 1, 100) ?? amounts.roundCount,
    windowMs: whole('--window', values.window, 200, 600_000) ?? amounts.windowMs,
    killCount: whole('--kills', values.kills, 1, 1000) ?? amounts.killCount,
    steadyMs: whole('--steady', values.steady, 1000, 600_000) ?? amounts.steadyMs,
    stallCount: whole('--stalls', values.stalls, 1, 100) ?? amounts.stallCount,
    snapshotBytes: (whole('--snapshot-mb', values['snapshot-mb'], 1, 200) ?? 100) << 20,
  };
}

function readParts(value: string | undefined): ReadonlySet<Part> {
  if (value === undefined) return new Set(PARTS);
  const parts = value.split(',').map((name) => {
    const part = PARTS.find((known) => known === name);
    if (part === undefined) throw new UsageError(`--only ${value}: expected some of ${PARTS.join(',')}`);
    return part;
  });
  return new Set(parts);
}

const parse = (argv: readonly string[]) =>
  parseOptions(argv, {
    quick: { type: 'boolean' },
    json: { type: 'boolean' },
    only: { type: 'string' },
    'without-etcd': { type: 'boolean' },
    directory: { type: 'string' },
    rounds: { type: 'string' },
    window: { type: 'string' },
    kills: { type: 'string' },
    steady: { type: 'string' },
    stalls: { type: 'string' },
    'value-bytes': { type: 'string' },
    'snapshot-mb': { type: 'string' },
    help: { type: 'boolean', short: 'h' },
  });
