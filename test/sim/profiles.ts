// How rough a life is, and at what: the mix of faults, of operations, of timings, drawn from its seed. Named, so that a mutation
// can ask for lives in which its bug has a chance to show.
import type { RaftSettings } from '../../src/raft/types.ts';
import type { Random } from './engine/random.ts';
import type { FaultName } from './faults/faults.ts';

export interface Profile {
  readonly name: ProfileName;
  readonly hosts: number;
  /** Voters from the start; further hosts join. */
  readonly voters: number;
  /** Hosts that manage a PostgreSQL; the rest are witnesses. */
  readonly nodes: number;
  readonly settings: RaftSettings;
  readonly lossPpm: number;
  readonly repeatPpm: number;
  readonly stragglePpm: number;
  readonly delayUsMax: number;
  readonly writeUsMax: number;
  /** Of dying at any one effect. */
  readonly crashPpm: number;
  /** Of a new leader: that it dies before long. */
  readonly coupPpm: number;
  /** Of a process of PostgreSQL: that it takes a setting late, and how late at most. */
  readonly lateReloadPpm: number;
  readonly lateReloadUsMax: number;
  readonly clockSpreadPpm: number;
  readonly faultEveryUs: readonly [number, number];
  readonly faults: readonly FaultName[];
  /** The network and the disks are well until the cluster is founded. */
  readonly foundsInPeace: boolean;
  readonly troubledUs: number;
  readonly clientEveryUs: readonly [number, number];
  readonly clientOperationsMax: number;
  readonly readPpm: number;
  readonly burstPpm: number;
  readonly writeEveryUs: readonly [number, number];
  readonly writesAtOnceMax: number;
  readonly waitingMax: number;
  readonly snapshotEvery: number;
  readonly snapshotUsMax: number;
  readonly agentPassUs: number;
  readonly stepUsMax: number;
  readonly acksWanted: number;
  readonly promotionFailsPpm: number;
  readonly adminEveryUs: number;
  /** Of a random operation of a person at each look. */
  readonly operationPpm: number;
  /** Of a request to a group or a node beyond those, at each look. */
  readonly requestPpm: number;
  /** Some of those accept a loss. */
  readonly forces: boolean;
  readonly mischiefPpm: number;
  readonly recovers: boolean;
  /** Its group begins as servers that run already. */
  readonly adopts: boolean;
  readonly mixedVersions: boolean;
  /** Every peer understands everything from the start. */
  readonly isUpgraded: boolean;
  readonly realCodec: boolean;
}

export const PROFILE_NAMES = [
  'calm',
  'storm',
  'short-reigns',
  'disks',
  'members',
  'failovers',
  'standbys',
  'recovery',
  'few',
  'coups',
  'ambushes',
  'echoes',
  'requests',
  'adoption',
] as const;
export type ProfileName = (typeof PROFILE_NAMES)[number];

const EVERYDAY: readonly FaultName[] = [
  'partition',
  'partition',
  'one-way-block',
  'block-one-pair',
  'crash-process',
  'crash-process',
  'crash-leader',
  'crash-at-effect',
  'crash-host',
  'pause',
  'stalled-loop',
  'fsync-hang',
  'transfer',
  'clock-jump',
  'clock-drift',
  'postgres-crash',
  'postgres-crash-primary',
  'replay-old-messages',
  'heal',
  'heal',
];

const FAULTS: Record<ProfileName, readonly FaultName[]> = {
  calm: ['postgres-crash-primary', 'crash-leader', 'partition', 'heal', 'pause', 'crash-host', 'transfer'],
  storm: [...EVERYDAY, 'crash-all', 'isolate-leader', 'relieve-deaf-leader', 'pause-leader', 'loss-burst'],
  'short-reigns': [
    'crash-leader',
    'crash-leader',
    'isolate-leader',
    'isolate-leader',
    'partition',
    'pause-leader',
    'relieve-deaf-leader',
    'postgres-crash-primary',
    'heal',
    'heal',
  ],
  disks: [
    ...EVERYDAY,
    'write-error',
    'fsync-error',
    'full-disk',
    'bit-flip',
    'bit-flip',
    'lost-tail',
    'stale-image',
    'stale-image',
    'wiped-disk',
    'fsync-hang',
    'crash-at-effect',
    'wiped-disk',
    'wiped-disk',
  ],
  members: [
    ...EVERYDAY,
    'isolate-leader',
    'isolate-leader',
    'membership-change-in-partition',
    'membership-change-in-partition',
    'wiped-disk',
    'crash-leader',
    'transfer',
    'wiped-disk',
  ],
  failovers: [
    'postgres-crash-primary',
    'postgres-crash-primary',
    'crash-host',
    'isolate-primary',
    'isolate-primary',
    'postgres-link-cut',
    'postgres-link-cut',
    'postgres-freeze',
    'walsender-ends',
    'crash-agent-of-primary',
    'crash-process',
    'standby-data-lost',
    'switchover',
    'partition',
    'heal',
    'heal',
    'heal',
  ],
  standbys: [
    'ambush-fetch',
    'ambush-fetch',
    'ambush-fetch',
    'ambush-fetch',
    'postgres-crash-primary',
    'postgres-crash-primary',
    'crash-host',
    'isolate-primary',
    'postgres-link-cut',
    'postgres-link-cut',
    'postgres-freeze',
    'postgres-freeze',
    'crash-process',
    'standby-data-lost',
    'heal',
    'heal',
  ],
  recovery: [...EVERYDAY, 'postgres-crash-primary', 'crash-host'],
  few: [...EVERYDAY, 'crash-all', 'write-error', 'crash-at-effect'],
  coups: [
    'ambush-reigns',
    'ambush-reigns',
    'ambush-deaf-leader',
    'ambush-deaf-leader',
    'crash-process',
    'isolate-leader',
    'heal',
  ],
  requests: [
    'postgres-crash-primary',
    'postgres-crash',
    'crash-host',
    'crash-host',
    'isolate-primary',
    'postgres-link-cut',
    'postgres-freeze',
    'crash-agent-of-primary',
    'crash-process',
    'crash-leader',
    'standby-data-lost',
    'partition',
    'heal',
    'heal',
  ],
  adoption: [
    'postgres-crash-primary',
    'postgres-crash',
    'crash-host',
    'isolate-primary',
    'postgres-link-cut',
    'postgres-freeze',
    'crash-agent-of-primary',
    'crash-process',
    'crash-leader',
    'switchover',
    'partition',
    'heal',
    'heal',
    'heal',
  ],
  echoes: ['partition', 'partition', 'partition', 'one-way-block', 'crash-leader', 'heal'],
  ambushes: [
    'ambush-cut',
    'ambush-cut',
    'ambush-half-open',
    'ambush-clone',
    'ambush-rule-change',
    'ambush-rule-change',
    'ambush-rule-change',
    'ambush-floor',
    'ambush-floor',
    'postgres-crash-primary',
    'heal',
  ],
};

/** Weights out of 100 for seeds that are not told which. */
const WEIGHTS: readonly (readonly [ProfileName, number])[] = [
  ['calm', 9],
  ['storm', 14],
  ['short-reigns', 13],
  ['disks', 14],
  ['members', 14],
  ['failovers', 13],
  ['standbys', 3],
  ['recovery', 6],
  ['few', 4],
  ['coups', 3],
  ['ambushes', 2],
  ['requests', 3],
  ['adoption', 2],
];

const VOTERS: Partial<Record<ProfileName, readonly number[]>> = {
  recovery: [3, 5],
  coups: [3],
  ambushes: [5],
  echoes: [5],
};

function drawName(random: Random): ProfileName {
  let at = random.below(100);
  for (const [name, weight] of WEIGHTS) {
    at -= weight;
    if (at < 0) return name;
  }
  return 'storm';
}

/** Real timings, shortened: what matters is their order. */
function drawSettings(random: Random): RaftSettings {
  return {
    heartbeatMs: 50,
    electionMs: 200,
    electionSpreadMs: 150,
    maxEntriesPerAppend: random.pick([1, 4, 16, 16]),
    maxBytesPerAppend: 800,
    maxInflightAppends: random.pick([1, 4, 4]),
    maxInflightBytes: 2000,
    maxPendingProposals: 40,
    maxProposalBytes: 1024,
    keptEntries: random.pick([0, 3, 20]),
    snapshotTimeoutMs: random.pick([150, 400, 2000]),
  };
}

/** Of lives with requests of people: that the log is recovered in them. */
const RECOVERS_PPM = 150_000;

export function drawProfile(random: Random, wanted: ProfileName | undefined): Profile {
  const drawn = drawName(random);
  const name = wanted ?? drawn;
  const isFew = name === 'few';
  const isAmbushed = name === 'ambushes';
  const isCoups = name === 'coups';
  const isOfStandbys = name === 'standbys';
  const voters = isFew ? random.pick([1, 1, 2]) : random.pick(VOTERS[name] ?? [3, 3, 3, 4, 5]);
  const spares = name === 'members' || isFew ? random.pick([1, 2]) : isCoups ? 0 : random.pick([0, 0, 1]);
  const hosts = voters + spares;
  const adopts = name === 'adoption';
  const isOfRequests = name === 'requests' || adopts;
  const isGentle = name === 'calm' || name === 'failovers' || isOfStandbys || isAmbushed || isOfRequests;
  const isShort = name === 'short-reigns';
  return {
    name,
    hosts,
    voters,
    nodes: isFew ? Math.min(2, hosts) : Math.min(hosts, isAmbushed ? 3 : random.pick([3, 3, 3, 4])),
    settings: isCoups
      ? { ...drawSettings(random), maxEntriesPerAppend: 1, maxInflightAppends: 1 }
      : drawSettings(random),
    lossPpm: isGentle ? random.pick([0, 0, 5000]) : random.pick([0, 10_000, 50_000, 150_000]),
    repeatPpm:
      name === 'echoes' ? 400_000 : isGentle ? random.pick([0, 5000]) : random.pick([0, 30_000, 150_000]),
    stragglePpm: isGentle ? 0 : random.pick([0, 5000, 40_000]),
    delayUsMax: random.pick([1000, 4000, isGentle ? 4000 : 20_000]),
    writeUsMax: random.pick([500, 2000, isGentle ? 2000 : 15_000]),
    coupPpm: isCoups ? 100_000 : 0,
    lateReloadPpm: isAmbushed ? 400_000 : 100_000,
    lateReloadUsMax: isAmbushed ? 400_000 : 120_000,
    crashPpm: isGentle ? 0 : random.pick([0, 0, 500, 2500]),
    clockSpreadPpm: random.pick([0, 50_000, isShort ? 300_000 : 100_000]),
    faultEveryUs:
      isShort || isCoups
        ? [20_000, 300_000]
        : isAmbushed
          ? [500_000, 900_000]
          : isGentle
            ? [150_000, 500_000]
            : [40_000, 500_000],
    faults: FAULTS[name],
    foundsInPeace: random.ppm(750_000),
    troubledUs: isAmbushed || isOfRequests ? 3_600_000 : 2_000_000,
    clientEveryUs: [12_000, 40_000],
    clientOperationsMax: 11,
    readPpm: 550_000,
    burstPpm: 10_000,
    writeEveryUs: [8000, 22_000],
    writesAtOnceMax: 14,
    waitingMax: 60,
    snapshotEvery: random.pick([15, 40, 120]),
    snapshotUsMax: random.pick([2000, 40_000, 250_000]),
    agentPassUs: 40_000,
    stepUsMax: random.pick([60, 300]),
    acksWanted: random.pick(isAmbushed ? [1, 2] : [1, 1, 2]),
    promotionFailsPpm: name === 'failovers' ? 30_000 : 5000,
    adminEveryUs: isOfRequests ? 40_000 : random.pick([60_000, 120_000]),
    operationPpm: name === 'members' || isOfStandbys ? 350_000 : isAmbushed ? 0 : 60_000,
    requestPpm: adopts ? 200_000 : isOfRequests ? 700_000 : 0,
    adopts,
    forces: isOfRequests && random.ppm(500_000),
    mischiefPpm: name === 'failovers' || isOfStandbys || isOfRequests ? 150_000 : 40_000,
    recovers: name === 'recovery' || (isOfRequests && random.ppm(RECOVERS_PPM)),
    mixedVersions: random.ppm(250_000) && !isOfStandbys && !isOfRequests,
    // What standbys do among themselves and people ask for is new: all levels are raised at once.
    isUpgraded: isOfStandbys || isOfRequests,
    realCodec: random.ppm(15_000),
  };
}
