// The command line of the benchmark with many groups. Pure: says what is wrong, changes nothing.
import { parseOptions, UsageError, whole } from '../command-line.ts';

export interface BenchOptions {
  readonly groupCount: number;
  readonly nodesPerGroup: number;
  /** Crashes of one primary at a time, with all groups there. */
  readonly runCount: number;
  /** The same before, with one group alone. */
  readonly aloneRunCount: number;
  /** How often a tenth of all groups crashes in the same moment. */
  readonly burstCount: number;
  /** Of each measurement in which nothing happens. */
  readonly idleMs: number;
  readonly json: boolean;
  /** Where the temporary directory with all data is made; undefined: the system's. */
  readonly directory: string | undefined;
  /** Every sentineld writes a profile of its processor time there when it ends; undefined: none. */
  readonly profileDirectory: string | undefined;
}

const NODE_COUNT_MAX = 3000;

export const USAGE = `usage: npm run bench:scale -- [options]

  --groups N         groups on one cluster of three peers, 2 to 1000 (default 200)
  --nodes N          nodes in each group, 2 to 7 (default 3); groups x nodes is at most ${NODE_COUNT_MAX}
  --runs N           crashes of one primary at a time, 1 to 1000 (default 60)
  --alone N          the same with one group alone, before the others come, 1 to 1000 (default 20)
  --bursts N         how often a tenth of all groups crashes at once, 1 to 100 (default 5)
  --idle SECONDS     each measurement in which nothing happens, 5 to 600 (default 30)
  --quick            20 groups and few runs: about a minute
  --json             one JSON object as the last line
  --directory DIR    where the data goes; must be on a disk (default the temporary directory)
  --profile DIR      every sentineld leaves a profile of its processor time (.cpuprofile) there
`;

interface Amounts {
  readonly groupCount: number;
  readonly runCount: number;
  readonly aloneRunCount: number;
  readonly burstCount: number;
  readonly idleSeconds: number;
}

const FULL: Amounts = { groupCount: 200, runCount: 60, aloneRunCount: 20, burstCount: 5, idleSeconds: 30 };
const QUICK: Amounts = { groupCount: 20, runCount: 8, aloneRunCount: 4, burstCount: 2, idleSeconds: 8 };

/** Throws {@link UsageError}; undefined when help was asked for. */
export function readOptions(argv: readonly string[]): BenchOptions | undefined {
  const values = parse(argv);
  if (values.help === true) return undefined;
  const amounts = values.quick === true ? QUICK : FULL;
  const groupCount = whole('--groups', values.groups, 2, 1000) ?? amounts.groupCount;
  const nodesPerGroup = whole('--nodes', values.nodes, 2, 7) ?? 3;
  if (groupCount * nodesPerGroup > NODE_COUNT_MAX)
    throw new UsageError(
      `--groups ${groupCount} --nodes ${nodesPerGroup}: expected at most ${NODE_COUNT_MAX} nodes in all, not ${groupCount * nodesPerGroup}`,
    );
  return {
    groupCount,
    nodesPerGroup,
    runCount: whole('--runs', values.runs, 1, 1000) ?? amounts.runCount,
    aloneRunCount: whole('--alone', values.alone, 1, 1000) ?? amounts.aloneRunCount,
    burstCount: whole('--bursts', values.bursts, 1, 100) ?? amounts.burstCount,
    idleMs: 1000 * (whole('--idle', values.idle, 5, 600) ?? amounts.idleSeconds),
    json: values.json === true,
    directory: values.directory,
    profileDirectory: values.profile,
  };
}

const parse = (argv: readonly string[]) =>
  parseOptions(argv, {
    groups: { type: 'string' },
    nodes: { type: 'string' },
    runs: { type: 'string' },
    alone: { type: 'string' },
    bursts: { type: 'string' },
    idle: { type: 'string' },
    quick: { type: 'boolean' },
    json: { type: 'boolean' },
    directory: { type: 'string' },
    profile: { type: 'string' },
    help: { type: 'boolean', short: 'h' },
  });
