// What the benchmark with many groups prints, and the one object it ends with. Pure: figures in, lines out.
import { ratioOf, rounded, type Times } from './arithmetic.ts';

export interface PeerFigures {
  readonly peer: string;
  readonly isLeader: boolean;
  /** Of one core. */
  readonly cpuPercent: number;
  readonly residentMb: number;
}

/** A time in which nothing happens. */
export interface Idle {
  readonly groups: number;
  readonly nodes: number;
  readonly seconds: number;
  readonly peers: readonly PeerFigures[];
  /** Of each peer: statements and new connections. */
  readonly probesPerSecond: number;
  readonly entriesPerMinute: number;
  readonly bytesPerMinute: number;
  /** By how much the files of the three logs changed in size. */
  readonly diskBytes: number;
}

export interface Failovers {
  /** From the crash to the opening of the next primary. */
  readonly openedMs: Times;
  /** Of each, until the crashed node was back; means. */
  readonly entries: number;
  readonly bytes: number;
}

export interface Measured {
  readonly alone: { readonly idle: Idle; readonly failovers: Failovers };
  readonly many: {
    readonly addedMs: number;
    readonly idle: Idle;
    readonly failovers: Failovers;
    /** So many groups in the same moment. */
    readonly burstSize: number;
    readonly bursts: Failovers;
    readonly snapshotBytes: number;
  };
}

export interface Summary extends Measured {
  readonly ok: boolean;
  /** What is not as promised, a sentence each. A figure has no limit but these. */
  readonly broken: readonly string[];
  readonly settings: Readonly<Record<string, string>>;
  /** Failover times with many groups to those with one. */
  readonly ratios: Readonly<Record<'median' | 'p99' | 'burstMedian' | 'burstP99', number>>;
}

export function ratiosOf({ alone, many }: Measured): Summary['ratios'] {
  const { openedMs: one } = alone.failovers;
  return {
    median: ratioOf(many.failovers.openedMs.median, one.median),
    p99: ratioOf(many.failovers.openedMs.p99, one.p99),
    burstMedian: ratioOf(many.bursts.openedMs.median, one.median),
    burstP99: ratioOf(many.bursts.openedMs.p99, one.p99),
  };
}

/** "An idle cluster writes nothing." */
export function brokenPromises({ alone, many }: Measured): string[] {
  return [alone.idle, many.idle].flatMap(({ groups, seconds, entriesPerMinute, diskBytes }) =>
    entriesPerMinute === 0 && diskBytes === 0
      ? []
      : [
          `with ${groups} idle group${groups === 1 ? '' : 's'} the log grew within ${seconds} s: ${entriesPerMinute} entries a minute, ${diskBytes} bytes of files`,
        ],
  );
}

export function lines(measured: Measured): string[] {
  const { alone, many } = measured;
  const ratios = ratiosOf(measured);
  const title = row('', '1 group', `${many.idle.groups} groups`, 'ratio');
  return [
    title,
    ...idleLines(alone.idle, many.idle),
    row('entries, bytes for each failover', growth(alone.failovers), growth(many.failovers), ''),
    row('snapshot', '', `${rounded(many.snapshotBytes / 1024, 0)} kB`, ''),
    row(
      'crash to opened: median',
      ms(alone.failovers, 'median'),
      ms(many.failovers, 'median'),
      ratios.median,
    ),
    row('… 99 %', ms(alone.failovers, 'p99'), ms(many.failovers, 'p99'), ratios.p99),
    row('… worst', ms(alone.failovers, 'worst'), ms(many.failovers, 'worst'), ''),
    row(`… of ${many.burstSize} at once: median`, '', ms(many.bursts, 'median'), ratios.burstMedian),
    row('… … 99 %', '', ms(many.bursts, 'p99'), ratios.burstP99),
    row('… … worst', '', ms(many.bursts, 'worst'), ''),
    row('… … entries, bytes for each', '', growth(many.bursts), ''),
    row('all other groups added and whole', '', `${rounded(many.addedMs / 1000, 1)} s`, ''),
  ];
}

function idleLines(one: Idle, many: Idle): string[] {
  const [leader, manyLeader] = [leaderOf(one), leaderOf(many)];
  const [follower, manyFollower] = [followerOf(one), followerOf(many)];
  const percent = (value: number): string => `${value.toFixed(2)} %`;
  const megabytes = (idle: Idle): string =>
    `${Math.max(...idle.peers.map(({ residentMb }) => residentMb))} MB`;
  return [
    row('idle: leader, of one core', percent(leader), percent(manyLeader), ratioOf(manyLeader, leader)),
    row('… follower', percent(follower), percent(manyFollower), ratioOf(manyFollower, follower)),
    row('… memory of the largest peer', megabytes(one), megabytes(many), ''),
    row('… probes a second of each peer', String(one.probesPerSecond), String(many.probesPerSecond), ''),
    row('… entries a minute', String(one.entriesPerMinute), String(many.entriesPerMinute), ''),
    row('… bytes a minute, of files', logGrowth(one), logGrowth(many), ''),
  ];
}

/** Of the peer that led at the end of the measurement; of the busiest one where none did. */
function leaderOf({ peers }: Idle): number {
  return (
    peers.find(({ isLeader }) => isLeader)?.cpuPercent ?? Math.max(...peers.map((peer) => peer.cpuPercent))
  );
}

/** The busier one. */
function followerOf({ peers }: Idle): number {
  return Math.max(...peers.filter(({ isLeader }) => !isLeader).map(({ cpuPercent }) => cpuPercent));
}

const logGrowth = ({ bytesPerMinute, diskBytes }: Idle): string => `${bytesPerMinute}, ${diskBytes}`;
const growth = ({ entries, bytes }: Failovers): string => `${entries}, ${bytes}`;
const ms = ({ openedMs }: Failovers, which: 'median' | 'p99' | 'worst'): string => `${openedMs[which]} ms`;

function row(name: string, one: string, many: string, ratio: number | string): string {
  const cells = [one, many].map((cell) => cell.padStart(16));
  return `${name.padEnd(34)}${cells.join('')}${String(ratio).padStart(9)}`.trimEnd();
}
