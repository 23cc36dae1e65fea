// The command line of the failover benchmark. Pure: says what is wrong, changes nothing.
import { parseOptions, UsageError, whole } from '../command-line.ts';

/** `freeze` is `host` without a network to cut: SIGSTOP, after which the kernel still answers for the host. */
export const EVENTS = [
  'crash',
  'host',
  'freeze',
  'switchover',
  'standby',
  'leader',
  'quorum',
  'upgrade',
] as const;
export type Event = (typeof EVENTS)[number];
export type Control = 'no-rule' | 'no-cut';

export interface BenchOptions {
  readonly event: Event;
  readonly runCount: number;
  readonly json: boolean;
  /** Where to write the chart. */
  readonly svg: string | undefined;
  /** Each run's steps are printed, with their times. */
  readonly hasSteps: boolean;
  /** A protection that is switched off, to show what it protects from. */
  readonly control: Control | undefined;
  /**
   * From SIGSTOP to SIGCONT, or from the cable's cut to its return; `fencing`: PostgreSQL as soon as the failover is seen to run, its
   * agent a second later. That is the hardest moment: standbys are cut or about to be, and the old primary knows of nothing.
   */
  readonly thawAfter: number | 'fencing';
  /** How long the stubborn writers go on after that. */
  readonly stubbornForMs: number;
  /** The primary's walsenders are stopped this long before a crash, so that it acknowledges what nobody else has. */
  readonly lagBeforeMs: number;
  /** How long what was killed stays away. */
  readonly awayMs: number;
  /** Standbys in the cluster; with one, the third host is a witness. */
  readonly standbyCount: 1 | 2;
}

/** What the command line asks for. */
export type Request =
  | { readonly kind: 'help' }
  /** No run: a chart of earlier runs, from files with the output of `--json`. */
  | { readonly kind: 'draw'; readonly files: readonly string[]; readonly svg: string }
  | { readonly kind: 'run'; readonly options: BenchOptions };

export const USAGE = `usage: npm run bench:failover -- --event EVENT [options]
       npm run bench:failover -- --draw FILE,... --svg FILE

The primary fails or is changed:
  --event crash        SIGKILL to the primary's postmaster
  --event host         the primary's host is cut off the network: nothing is refused, nothing answers
                       (root; all runs in a network of their own)
  --event freeze       SIGSTOP to every process of the primary's host, SIGCONT later
  --event switchover   as by sentinelctl failover
The primary stays, and its commits may pause:
  --event standby      SIGKILL to every process of a standby's host
  --event leader       SIGKILL to the Raft leader's sentineld
  --event quorum       SIGKILL to two of the three sentinelds
  --event upgrade      every sentineld stopped and started again, one after the other

  --runs N             how often, 1 to 1000 (default 20)
  --json               one JSON object as the last line
  --svg FILE           a chart of the outages
  --draw FILE,...      no run: a chart of earlier runs, from files with the output of --json
  --steps              what happened when in each run, from the log, sentineld and PostgreSQL
  --thaw-after MS      freeze, host: from the event to the host's return (default 6000); freeze also: the
                       word fencing: PostgreSQL as soon as the failover runs, its sentineld a second later
  --stubborn-for MS    freeze, host: how long the pinned writers go on after that (default 30000, 10000)
  --lag-before MS      crash: stop the primary's walsenders this long before (default 0)
  --standbys 1|2       standby: how many there are (default 1: the third host is a witness)
  --away MS            standby, leader, quorum: how long they stay away (default 5000, 5000, 35000)
  --control no-rule    without the sync rule (crash, freeze): must show losses or doubles
  --control no-cut     standbys do not cut their WAL streams (freeze): must show losses or doubles
`;

const RUN_COUNT_MAX = 1000;
const MS_MAX = 600_000;
/** The majority is away for longer than a primary without proof of its authority would be let run. */
const AWAY_MS: Partial<Record<Event, number>> = { standby: 5000, leader: 5000, quorum: 35_000 };

/** So that what is away was noticed to be, and is not taken for whole again. */
const AWAY_MS_MIN = 2000;

/** Which options go with some events only. */
const ONLY_WITH = {
  'thaw-after': ['freeze', 'host'],
  'stubborn-for': ['freeze', 'host'],
  'lag-before': ['crash'],
  standbys: ['standby'],
  away: ['standby', 'leader', 'quorum'],
} as const satisfies Record<string, readonly Event[]>;

/** Throws {@link UsageError}. */
export function readRequest(argv: readonly string[]): Request {
  const values = parse(argv);
  if (values.help === true) return { kind: 'help' };
  return values.draw === undefined ? { kind: 'run', options: readOptions(values) } : readDrawing(values);
}

function readDrawing({ draw = '', svg, ...others }: Values): Request {
  const [other] = Object.keys(others);
  if (other !== undefined) throw new UsageError(`--draw makes no run: --${other} does not go with it`);
  const files = draw.split(',').filter((file) => file !== '');
  if (files.length === 0) throw new UsageError('--draw names no file');
  if (svg === undefined) throw new UsageError('--draw goes with --svg FILE');
  return { kind: 'draw', files, svg };
}

function readOptions(values: Values): BenchOptions {
  const event = oneOf('--event', values.event, EVENTS);
  if (event === undefined) throw new UsageError(`--event is missing: expected ${either(EVENTS)}`);
  for (const [name, events] of Object.entries(ONLY_WITH)) {
    const isGiven = values[name as keyof typeof ONLY_WITH] !== undefined;
    if (isGiven && !events.some((each) => each === event))
      throw new UsageError(`--${name} goes with --event ${either(events)}, not with ${event}`);
  }
  const control = readControl(values.control, event);
  return {
    event,
    runCount: whole('--runs', values.runs, 1, RUN_COUNT_MAX) ?? 20,
    json: values.json === true,
    svg: values.svg,
    hasSteps: values.steps === true,
    control,
    thawAfter: readThawAfter(values['thaw-after'], event) ?? (control === 'no-cut' ? 'fencing' : 6000),
    stubbornForMs:
      whole('--stubborn-for', values['stubborn-for'], 0, MS_MAX) ?? (event === 'host' ? 10_000 : 30_000),
    lagBeforeMs:
      whole('--lag-before', values['lag-before'], 0, MS_MAX) ??
      (control === 'no-rule' && event === 'crash' ? 300 : 0),
    awayMs: whole('--away', values.away, AWAY_MS_MIN, MS_MAX) ?? AWAY_MS[event] ?? 0,
    standbyCount:
      oneOf('--standbys', values.standbys, ['1', '2'] as const) === '1' ||
      (event === 'standby' && values.standbys === undefined)
        ? 1
        : 2,
  };
}

function readControl(value: string | undefined, event: Event): Control | undefined {
  const control = oneOf('--control', value, ['no-rule', 'no-cut'] as const);
  if (control === 'no-cut' && event !== 'freeze') {
    throw new UsageError(
      `--control no-cut shows nothing with --event ${event}: only a primary that comes back can use streams left open; expected freeze`,
    );
  }
  if (control !== undefined && event !== 'crash' && event !== 'freeze')
    throw new UsageError(`--control ${control} goes with --event crash or freeze, not with ${event}`);
  return control;
}

function readThawAfter(value: string | undefined, event: Event): number | 'fencing' | undefined {
  if (value === 'fencing' && event === 'freeze') return 'fencing';
  return whole('--thaw-after', value, 0, MS_MAX);
}

type Values = ReturnType<typeof parse>;
const parse = (argv: readonly string[]) =>
  parseOptions(argv, {
    event: { type: 'string' },
    runs: { type: 'string' },
    json: { type: 'boolean' },
    svg: { type: 'string' },
    draw: { type: 'string' },
    steps: { type: 'boolean' },
    control: { type: 'string' },
    'thaw-after': { type: 'string' },
    'stubborn-for': { type: 'string' },
    'lag-before': { type: 'string' },
    standbys: { type: 'string' },
    away: { type: 'string' },
    help: { type: 'boolean', short: 'h' },
  });

const either = (choices: readonly string[]): string =>
  choices.length < 2 ? choices.join('') : `${choices.slice(0, -1).join(', ')} or ${choices.at(-1)}`;

function oneOf<T extends string>(
  name: string,
  value: string | undefined,
  choices: readonly T[],
): T | undefined {
  if (value === undefined) return undefined;
  const found = choices.find((choice) => choice === value);
  if (found === undefined) throw new UsageError(`${name} ${value}: expected ${either(choices)}`);
  return found;
}
