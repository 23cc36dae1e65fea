// One whole life from a seed: a cluster is founded, troubled, and then left in peace, in which everything must come back. The same
// seed gives the same life, event by event, on any machine.
import { FEATURES } from '../../src/cluster/features.ts';
import { logIndex, nodeId, peerId } from '../../src/base/ids.ts';
import type { Membership } from '../../src/raft/types.ts';
import { JOINING } from './admin.ts';
import { createGroupChecks } from './checks/group-checks.ts';
import { createLogChecks } from './checks/log-checks.ts';
import { REGISTER_COUNT } from './clients/clients.ts';
import { createHistory } from './clients/history.ts';
import { chooseCodec, firstSnapshot } from './cluster/bridge.ts';
import { describeStanding } from './describe.ts';
import { run } from './dispatch.ts';
import { emptyDisk } from './disk/disk.ts';
import { switchMutant } from './engine/mutant.ts';
import { createRandom } from './engine/random.ts';
import { createTimeline } from './engine/timeline.ts';
import { createTrace } from './engine/trace.ts';
import { InvariantViolation, type Property } from './engine/violation.ts';
import { primaryHost, strike } from './faults/faults.ts';
import { makePeace } from './liveness.ts';
import { beginByHand } from './owner.ts';
import { GROUP, createPostgres } from './postgres/postgres.ts';
import { planCrash, startProcess } from './raft/process.ts';
import { type Profile, type ProfileName, drawProfile } from './profiles.ts';
import { type Tally, createTally } from './tally.ts';
import { EVENT, type Host, type World, after, newestState } from './world.ts';

export interface LifeOptions {
  /** Number of the mutation that is switched on; 0 or left out: none. */
  readonly mutant?: number;
  readonly profile?: ProfileName | undefined;
  /** Keeps every line of what happens. */
  readonly trace?: boolean;
  /** Trouble ends after so many events: for finding the shortest life that still fails. */
  readonly troubledEventsMax?: number | undefined;
}

export interface LifeResult {
  readonly seed: number;
  readonly profile: ProfileName;
  readonly tally: Tally;
  /** Of everything that happened: two runs of a seed give the same. */
  readonly hash: number;
  readonly lines: readonly string[] | undefined;
  /** Where everybody stood at the end, where somebody reads along. */
  readonly standing: readonly string[];
  readonly failure: Failure | undefined;
}

export interface Failure {
  /** The invariant; or what else ended the life: an assertion of the code under test, or a mistake of the simulator. */
  readonly property: Property | 'Crash';
  readonly message: string;
  readonly stack: string;
  readonly atEvent: number;
  /** False where it came in peace. */
  readonly inTrouble: boolean;
}

export function runLife(seed: number, options: LifeOptions = {}): LifeResult {
  switchMutant(options.mutant ?? 0);
  const world = createWorld(seed, options);
  let failure: Failure | undefined;
  try {
    live(world, options.troubledEventsMax);
  } catch (error) {
    failure = {
      property: error instanceof InvariantViolation ? error.property : 'Crash',
      message: (error as Error).message,
      stack: (error as Error).stack ?? '',
      atEvent: world.timeline.count,
      inTrouble: world.isTroubled,
    };
  }
  switchMutant(0);
  world.tally.events = world.timeline.count;
  world.tally.eventsInPeace = world.isTroubled ? 0 : world.timeline.count - world.peaceAtEvent;
  world.tally.virtualMs = Math.floor(world.timeline.nowUs / 1000);
  const { hash, lines } = world.trace;
  const standing = lines === undefined ? [] : describeStanding(world);
  return { seed, profile: world.profile.name, tally: world.tally, hash, lines, standing, failure };
}

/** How long a founded cluster is left alone before trouble begins. */
const FOUNDING_US = 700_000;

function live(world: World, troubledEventsMax = Number.POSITIVE_INFINITY): void {
  const { profile, random } = world;
  const plan = (kind: number, delayUs: number): void =>
    after(world, delayUs, { kind, host: 0, boot: -1, ref: undefined });
  if (profile.adopts) beginByHand(world);
  for (const host of world.hosts) startProcess(world, host);
  plan(EVENT.client, 300_000);
  plan(EVENT.pgWrite, 500_000);
  plan(EVENT.restart, 100_000);
  plan(EVENT.admin, 400_000 + random.below(200_000));
  if (profile.foundsInPeace) letWeatherBe(world, GENTLE);
  run(world, FOUNDING_US, troubledEventsMax);
  letWeatherBe(world, profile);
  plan(EVENT.fault, random.below(200_000));
  const at = (part: number): number => FOUNDING_US + Math.floor(profile.troubledUs * part);
  run(world, FOUNDING_US + random.below(200_000), troubledEventsMax);
  killPrimary(world, at(0.6), troubledEventsMax);
  if (profile.recovers) {
    run(world, at(0.5), troubledEventsMax);
    for (let tries = 0; tries < 20 && world.recovering === undefined; tries += 1) {
      strike(world, 'quorum-loss');
      run(world, world.timeline.nowUs + 30_000, troubledEventsMax);
    }
  }
  run(world, at(0.7), troubledEventsMax);
  if (random.ppm(900_000)) killPrimary(world, at(0.8), troubledEventsMax);
  run(world, at(1), troubledEventsMax);
  makePeace(world);
}

type Weather = Pick<
  Profile,
  'lossPpm' | 'repeatPpm' | 'stragglePpm' | 'delayUsMax' | 'writeUsMax' | 'crashPpm'
>;

const GENTLE: Weather = {
  lossPpm: 0,
  repeatPpm: 0,
  stragglePpm: 0,
  delayUsMax: 1500,
  writeUsMax: 800,
  crashPpm: 0,
};

function letWeatherBe(world: World, weather: Weather): void {
  const { network, hosts } = world;
  ({
    lossPpm: network.lossPpm,
    repeatPpm: network.repeatPpm,
    stragglePpm: network.stragglePpm,
    delayUsMax: network.delayUsMax,
    writeUsMax: world.writeUsMax,
    crashPpm: world.crashPpm,
  } = weather);
  for (const host of hosts) planCrash(world, host);
}

/** No life without a failover: the primary goes as soon as a standby could take over, if one ever can. */
function killPrimary(world: World, untilUs: number, troubledEventsMax: number): void {
  while (world.timeline.nowUs < untilUs) {
    const group = newestState(world)?.groups.get(GROUP);
    const canFail = group?.phase.kind === 'running' && group.rule.acks > 0;
    if (canFail && primaryHost(world)?.postgres?.isUp === true) {
      strike(world, 'postgres-crash-primary');
      return;
    }
    if (!run(world, world.timeline.nowUs + 30_000, troubledEventsMax)) return;
  }
}

function createWorld(seed: number, options: LifeOptions): World {
  const random = createRandom(seed);
  const profile = drawProfile(random, options.profile);
  chooseCodec(profile.realCodec);
  const ids = Array.from({ length: profile.hosts }, (_, place) => peerId(`p${place + 1}`));
  const voters = ids.slice(0, profile.voters);
  const initial: Membership = {
    voters,
    learners: [],
    addresses: new Map(voters.map((id) => [id, `${id}:1`])),
    incarnation: 1,
  };
  const hosts = ids.map((_, place) =>
    createHost(place, profile, place < profile.voters ? initial : JOINING, random),
  );
  const beginning = firstSnapshot(initial);
  return {
    seed,
    profile,
    random,
    timeline: createTimeline(),
    hosts,
    hostOf: new Map(hosts.map((host) => [host.id, host])),
    nodeHost: new Map(
      hosts.flatMap((host) => (host.postgres === undefined ? [] : [[host.postgres.name, host]])),
    ),
    network: {
      blocked: new Uint8Array(hosts.length * hosts.length),
      lossPpm: profile.lossPpm,
      repeatPpm: profile.repeatPpm,
      stragglePpm: profile.stragglePpm,
      lateHeartbeatPpm: 0,
      delayUsMax: profile.delayUsMax,
      forwards: false,
      old: [],
      oldNext: 0,
    },
    settings: profile.settings,
    beginning,
    history: createHistory(REGISTER_COUNT),
    logChecks: createLogChecks(hosts.length, beginning),
    groupChecks: createGroupChecks(hosts.flatMap((host) => host.postgres ?? [])),
    tally: createTally(),
    trace: createTrace(options.trace === true),
    writeUsMax: profile.writeUsMax,
    crashPpm: profile.crashPpm,
    isTroubled: true,
    counter: 0,
    wanted: new Set(ids),
    lost: new Set(),
    recovering: undefined,
    peaceAtEvent: 0,
  };
}

function createHost(
  place: number,
  profile: Profile,
  initialMembership: Membership,
  random: World['random'],
): Host {
  const id = peerId(`p${place + 1}`);
  const spread = profile.clockSpreadPpm;
  return {
    place,
    id,
    address: `${id}:1`,
    boot: 0,
    raft: undefined,
    pausedUntilUs: 0,
    busyUntilUs: 0,
    inbox: [],
    isDrainScheduled: false,
    effectsUntilCrash: -1,
    clock: {
      baseUs: random.below(1_000_000_000),
      sinceUs: 0,
      ratePpm: 1_000_000 - (spread >> 1) + random.below(spread + 1),
    },
    disk: emptyDisk(),
    store: undefined,
    storeId: '',
    image: undefined,
    diskHangsUntilUs: 0,
    diskFullUntilUs: 0,
    failsNextWrite: false,
    quarantine: undefined,
    isAmnesiac: false,
    initialMembership,
    features: profile.isUpgraded ? FEATURES : profile.mixedVersions ? random.between(1, 3) : 1,
    replica: undefined,
    storesAhead: { stores: new Map(), left: new Map(), upTo: logIndex(0) },
    leading: undefined,
    observer: { upSinceUs: -1, downSinceUs: -1, node: undefined, isUnderWay: false, nextLookUs: 0 },
    reads: new Map(),
    readCount: 0,
    snapshotDueAtIndex: 0,
    agent: undefined,
    postgres: place < profile.nodes ? createPostgres(nodeId(`n${place + 1}`), id, place) : undefined,
    isHeldDown: false,
    before: { term: 0, commitIndex: 0, wasLeader: false, lastIndex: 0, lastTerm: 0, membership: undefined },
  };
}
