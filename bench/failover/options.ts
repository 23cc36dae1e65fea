// The command line of the failover benchmark. Pure: says what is wrong, changes nothing.
import { parseArgs } from 'node:util';

export type Event = 'crash' | 'freeze' | 'switchover';
export type Control = 'no-rule' | 'no-cut';

export interface BenchOptions {
  readonly event: Event;
  readonly runCount: number;
  readonly json: boolean;
  /** A protection that is switched off, to show what it protects from. */
  readonly control: Control | undefined;
  /**
   * From SIGSTOP to SIGCONT; `fencing`: PostgreSQL as soon as the failover is seen to run, its agent a second later. That is
   * the hardest moment: standbys are cut or about to be, and the old primary knows of nothing.
   */
  readonly thawAfter: number | 'fencing';
  /** How long the stubborn writers go on after SIGCONT. */
  readonly stubbornForMs: number;
  /** The primary's walsenders are stopped this long before a crash, so that it acknowledges what nobody else has. */
  readonly lagBeforeMs: number;
}

export const USAGE = `usage: npm run bench:failover -- --event crash|freeze|switchover [options]

  --event EVENT        crash: SIGKILL to the primary's postmaster
                       freeze: SIGSTOP to every process of the primary's host, SIGCONT later
                       switchover: as by sentinelctl failover
  --runs N             how often, 1 to 1000 (default 20)
  --json               one JSON object as the last line
  --thaw-after MS      freeze: from SIGSTOP to SIGCONT (default 6000); or the word fencing: PostgreSQL
                       as soon as the failover runs, its sentineld a second later
  --stubborn-for MS    freeze: how long the pinned writers go on after SIGCONT (default 30000)
  --lag-before MS      crash: stop the primary's walsenders this long before (default 0)
  --control no-rule    without the sync rule (crash, freeze): must show losses or doubles
  --control no-cut     standbys do not cut their WAL streams (freeze): must show losses or doubles
`;

export class UsageError extends Error {
  override readonly name = 'UsageError';
}

const RUN_COUNT_MAX = 1000;
const MS_MAX = 600_000;

/** Throws {@link UsageError}; undefined when help was asked for. */
export function readOptions(argv: readonly string[]): BenchOptions | undefined {
  const values = parse(argv);
  if (values.help === true) return undefined;
  const event = oneOf('--event', values.event, ['crash', 'freeze', 'switchover'] as const);
  if (event === undefined) throw new UsageError('--event is missing: expected crash, freeze or switchover');
  const control = oneOf('--control', values.control, ['no-rule', 'no-cut'] as const);
  if (control === 'no-cut' && event !== 'freeze') {
    throw new UsageError(
      `--control no-cut shows nothing with --event ${event}: only a primary that comes back can use streams left open; expected freeze`,
    );
  }
  if (control !== undefined && event === 'switchover')
    throw new UsageError(`--control ${control} goes with --event crash or freeze, not with switchover`);
  const only = (name: 'thaw-after' | 'stubborn-for' | 'lag-before', wanted: Event): void => {
    if (values[name] !== undefined && event !== wanted)
      throw new UsageError(`--${name} goes with --event ${wanted}, not with ${event}`);
  };
  only('thaw-after', 'freeze');
  only('stubborn-for', 'freeze');
  only('lag-before', 'crash');
  const thawAfter =
    values['thaw-after'] === 'fencing' ? 'fencing' : whole('--thaw-after', values['thaw-after'], 0, MS_MAX);
  return {
    event,
    runCount: whole('--runs', values.runs, 1, RUN_COUNT_MAX) ?? 20,
    json: values.json === true,
    control,
    thawAfter: thawAfter ?? (control === 'no-cut' ? 'fencing' : 6000),
    stubbornForMs: whole('--stubborn-for', values['stubborn-for'], 0, MS_MAX) ?? 30_000,
    lagBeforeMs:
      whole('--lag-before', values['lag-before'], 0, MS_MAX) ??
      (control === 'no-rule' && event === 'crash' ? 300 : 0),
  };
}

type Values = ReturnType<typeof parse>;
function parse(argv: readonly string[]) {
  try {
    return parseArgs({
      args: [...argv],
      options: {
        event: { type: 'string' },
        runs: { type: 'string' },
        json: { type: 'boolean' },
        control: { type: 'string' },
        'thaw-after': { type: 'string' },
        'stubborn-for': { type: 'string' },
        'lag-before': { type: 'string' },
        help: { type: 'boolean', short: 'h' },
      },
    }).values;
  } catch (error) {
    throw new UsageError((error as Error).message, { cause: error });
  }
}

function oneOf<T extends string>(name: string, value: Values['event'], choices: readonly T[]): T | undefined {
  if (value === undefined) return undefined;
  const found = choices.find((choice) => choice === value);
  if (found === undefined)
    throw new UsageError(`${name} ${value}: expected ${choices.join(', ').replace(/, ([^,]*)$/, ' or $1')}`);
  return found;
}

function whole(name: string, value: Values['event'], min: number, max: number): number | undefined {
  if (value === undefined) return undefined;
  const number = Number(value);
  if (!/^\d+$/.test(value) || number < min || number > max)
    throw new UsageError(`${name} ${value}: expected a whole number from ${min} to ${max}`);
  return number;
}
