// Everything that one life consists of, as plain data: hosts with their processes, disks, clocks and PostgreSQL, the network
// between them, and what the checks remember. Nothing here decides anything.
import type { LogIndex, NodeId, PeerId } from '../../src/base/ids.ts';
import type { StoresAhead } from '../../src/cluster/acquaintance.ts';
import type { Command } from '../../src/cluster/commands.ts';
import type { Proposer, Submission } from '../../src/cluster/proposer.ts';
import type { ClusterState } from '../../src/cluster/state.ts';
import type { Raft } from '../../src/raft/raft.ts';
import type { Membership, RaftEvent, RaftMessage, RaftSettings, Snapshot } from '../../src/raft/types.ts';
import type { AgentReport } from '../../src/cluster/report.ts';
import type { Memory } from '../../src/failover/decide.ts';
import type { Disk } from './disk/disk.ts';
import type { Store } from './disk/store.ts';
import type { Random } from './engine/random.ts';
import type { SimEvent, Timeline } from './engine/timeline.ts';
import { schedule } from './engine/timeline.ts';
import type { Agent } from './postgres/pass.ts';
import type { Postgres } from './postgres/postgres.ts';
import type { History } from './clients/history.ts';
import type { LogChecks } from './checks/log-checks.ts';
import type { GroupChecks } from './checks/group-checks.ts';
import type { Profile } from './profiles.ts';
import type { Tally } from './tally.ts';
import type { Trace } from './engine/trace.ts';

/** The kinds of events on the timeline. */
export const EVENT = {
  tick: 1,
  drain: 2,
  deliver: 3,
  diskDone: 4,
  snapshotTaken: 5,
  client: 6,
  agent: 7,
  pgConnect: 8,
  pgFlow: 9,
  pgAnswer: 10,
  pgReload: 11,
  pgWrite: 12,
  fault: 13,
  faultEnd: 14,
  admin: 15,
  report: 16,
  restart: 17,
  pgSenderTimeout: 18,
} as const;

/** A host: one sentinel process, its disk and clock, and where it manages one, PostgreSQL. */
export interface Host {
  readonly place: number;
  readonly id: PeerId;
  address: string;
  /** Number of the present run of the process; counts up with each start and each end. */
  boot: number;
  raft: Raft | undefined;
  /** The process does nothing before this moment. */
  pausedUntilUs: number;
  /** The loop is busy with what it does. */
  busyUntilUs: number;
  inbox: RaftEvent[];
  isDrainScheduled: boolean;
  /** The process dies when it has carried out so many more effects; negative: not planned. */
  effectsUntilCrash: number;
  clock: HostClock;
  readonly disk: Disk;
  store: Store | undefined;
  storeId: string;
  /** An older copy of the disk, as a backup would have it. */
  image: Disk | undefined;
  diskHangsUntilUs: number;
  diskFullUntilUs: number;
  failsNextWrite: boolean;
  /** Why the store was refused; the process then does not run. */
  quarantine: string | undefined;
  /** Its store forgot what it had promised, without being able to know: the atlas has made sure that the rest remembers. */
  isAmnesiac: boolean;
  /** What its configuration file says. */
  initialMembership: Membership;
  /** The highest feature level its version knows. */
  features: number;
  replica: Replica | undefined;
  /** The stores that its log registered beyond its state when it started (src/daemon/acquaintance.ts). */
  storesAhead: StoresAhead;
  leading: Leading | undefined;
  readonly observer: Observer;
  readonly reads: Map<string, ReadHandle>;
  readCount: number;
  snapshotDueAtIndex: number;
  agent: Agent | undefined;
  readonly postgres: Postgres | undefined;
  /** Before the step at hand. */
  /** Whoever runs the hosts leaves it down. */
  isHeldDown: boolean;
  readonly before: BeforeStep;
}

export interface BeforeStep {
  term: number;
  commitIndex: number;
  wasLeader: boolean;
  lastIndex: number;
  lastTerm: number;
  membership: Membership | undefined;
}

/** Local time in microseconds: `baseUs` at virtual time `sinceUs`, then at `ratePpm` millionths of virtual time. */
export interface HostClock {
  baseUs: number;
  sinceUs: number;
  ratePpm: number;
}

/** The replicated state on one peer, and what its process has proposed (src/daemon/replica.ts). */
export interface Replica {
  state: ClusterState;
  readonly proposer: Proposer;
  opening: Submission | undefined;
  openSentAtUs: number;
  readonly pending: Set<Pending>;
  readonly byId: Map<string, Pending>;
}

export type Outcome = 'applied' | 'refused' | 'unknown';

export interface Pending {
  readonly command: Command;
  /** Undefined while the session is not open. */
  submitted: (Submission & { readonly session: string; readonly sequence: number }) | undefined;
  readonly deadlineUs: number;
  sentAtUs: number;
  readonly settle: (outcome: Outcome) => void;
}

/** What a leader remembers between decisions. */
export interface Leading {
  memory: Memory;
  readonly reports: Map<NodeId, { report: AgentReport; receivedAtMs: number }>;
  readonly underWay: Set<string>;
  consideredUs: number;
  seenGroups: ClusterState['groups'] | undefined;
  seenMembership: Membership | undefined;
  /** Since when a change of the rule to several acknowledgements has been pending; negative: none is. */
  pendingSinceUs: number;
}

export interface Observer {
  /** Since when the primary of the group has been found well, or not, by virtual time; negative: not so. */
  upSinceUs: number;
  downSinceUs: number;
  node: NodeId | undefined;
  isUnderWay: boolean;
  nextLookUs: number;
}

export interface ReadHandle {
  index: LogIndex | undefined;
  state: 'pending' | 'ready' | 'refused';
  /** Called once when it is ready or refused. */
  readonly onSettled: ((handle: ReadHandle) => void) | undefined;
}

/** A message under way, with what the handshake of its connection said. */
export interface Packet {
  readonly from: number;
  readonly to: number;
  readonly incarnation: number;
  readonly storeId: string;
  readonly membershipIndex: number;
  readonly logMembershipIndex: number;
  /** The run of the receiver's process that the connection leads to. */
  readonly toBoot: number;
  readonly toStore: string;
  readonly fromBoot: number;
  /** Held up somewhere on its way: it is past the place where a partition would stop it. */
  isLate: boolean;
  readonly message: RaftMessage;
}

export interface Network {
  /** `from * hosts + to`: passes nothing where 1. */
  readonly blocked: Uint8Array;
  lossPpm: number;
  repeatPpm: number;
  stragglePpm: number;
  /** The same of answers to heartbeats alone. */
  lateHeartbeatPpm: number;
  delayUsMax: number;
  /** A host that moved is reached at its old address too. */
  forwards: boolean;
  /** Lately delivered or lost: what an old connection might still bring. */
  readonly old: Packet[];
  oldNext: number;
}

export interface World {
  readonly seed: number;
  readonly profile: Profile;
  readonly random: Random;
  readonly timeline: Timeline;
  readonly hosts: readonly Host[];
  readonly hostOf: ReadonlyMap<PeerId, Host>;
  readonly nodeHost: ReadonlyMap<NodeId, Host>;
  readonly network: Network;
  readonly settings: RaftSettings;
  /** What the first peers begin with (src/daemon/beginning.ts). */
  readonly beginning: Snapshot;
  readonly history: History;
  readonly logChecks: LogChecks;
  readonly groupChecks: GroupChecks;
  readonly tally: Tally;
  readonly trace: Trace;
  writeUsMax: number;
  crashPpm: number;
  /** Faults and random operations go on. */
  isTroubled: boolean;
  /** Counts up: ids, values, suffixes. */
  counter: number;
  /** Who should be a member in the end. */
  readonly wanted: Set<PeerId>;
  /** Peers whose process takes part no more until a person has added them again. */
  readonly lost: Set<PeerId>;
  peaceAtEvent: number;
  /** After the loss of a quorum: who is to go on alone, and from when on. */
  recovering: { readonly host: Host; readonly incarnation: number; readonly atUs: number } | undefined;
}

export function after(world: World, delayUs: number, event: SimEvent): void {
  schedule(world.timeline, delayUs, event);
}

/** What the host's monotonic clock says, in milliseconds. */
export function nowMsOf(world: World, host: Host): number {
  const { baseUs, sinceUs, ratePpm } = host.clock;
  return (baseUs + Math.floor(((world.timeline.nowUs - sinceUs) * ratePpm) / 1_000_000)) / 1000;
}

export function isBlocked(world: World, from: number, to: number): boolean {
  return world.network.blocked[from * world.hosts.length + to] === 1;
}

/** Whether a connection between two hosts carries anything: it takes both ways. */
export function isLinked(world: World, a: number, b: number): boolean {
  return a === b || (!isBlocked(world, a, b) && !isBlocked(world, b, a));
}

export function leaderHost(world: World): Host | undefined {
  let found: Host | undefined;
  for (const host of world.hosts) {
    if (host.raft?.role !== 'leader') continue;
    const isNewer =
      found?.raft === undefined ||
      host.raft.membership.incarnation > found.raft.membership.incarnation ||
      (host.raft.membership.incarnation === found.raft.membership.incarnation &&
        host.raft.term > found.raft.term);
    if (isNewer) found = host;
  }
  return found;
}

/** The state that the most advanced peer of the latest incarnation has applied. */
export function newestState(world: World): ClusterState | undefined {
  let found: ClusterState | undefined;
  for (const { replica } of world.hosts) {
    if (replica === undefined) continue;
    const { state } = replica;
    const isNewer =
      found === undefined ||
      state.membership.incarnation > found.membership.incarnation ||
      (state.membership.incarnation === found.membership.incarnation &&
        state.appliedIndex > found.appliedIndex);
    if (isNewer) found = state;
  }
  return found;
}
