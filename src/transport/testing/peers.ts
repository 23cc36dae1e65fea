// Transports over real gRPC on loopback for tests, with what they received and logged written down.
// Must never be used outside tests.
import { logIndex, nodeId, peerId, type PeerId, epoch, term } from '../../base/ids.ts';
import { lsn } from '../../base/lsn.ts';
import type { AgentReport, Upkeep } from '../../cluster/report.ts';
import type { Membership, MembershipCodec, RaftMessage } from '../../raft/types.ts';
import { type StartedTransport, startTransport } from '../server.ts';
import type { AdminHandlers, PeerAddress, PeerHandlers, StatusView, TransportIdentity } from '../types.ts';

export interface Received {
  readonly from: PeerId;
  readonly message: RaftMessage;
}

export interface TestPeer {
  readonly transport: StartedTransport;
  readonly received: Received[];
  readonly reports: AgentReport[];
  readonly refused: string[];
  /** Lines of level info and above. */
  readonly logged: string[];
  readonly debugged: string[];
  /** `peer incarnation` */
  readonly ahead: string[];
  readonly snapshotsSent: { readonly to: PeerId; readonly index: number; readonly arrived: boolean }[];
}

const UPKEEP: Upkeep = {
  dataDisk: { freeBytes: 5_000_000_000_000, totalBytes: 20_000_000_000_000 },
  walDisk: undefined,
  slots: { keptBytes: 7, most: undefined },
  archiver: { isOn: true, isFailing: false },
  readyCount: 0,
  pendingRestart: ['max_connections'],
};
const NO_UPKEEP: Upkeep = {
  dataDisk: undefined,
  walDisk: undefined,
  slots: undefined,
  archiver: undefined,
  readyCount: undefined,
  pendingRestart: undefined,
};

export const STATUS: StatusView = {
  cluster: 'test',
  answeredBy: 'a',
  atMs: 1_700_000_000_123,
  leader: undefined,
  term: 3,
  commitIndex: 40,
  appliedIndex: 39,
  incarnation: 2,
  peers: [
    {
      peer: 'a',
      address: '127.0.0.1:1',
      role: 'leader',
      reachable: true,
      matchIndex: undefined,
      kind: 'voter',
      incarnation: 2,
      features: 1,
      snapshotIndex: 30,
      lagEntries: 0,
    },
    {
      peer: 'b',
      address: '127.0.0.1:2',
      role: 'unknown',
      reachable: false,
      matchIndex: 12,
      kind: undefined,
      incarnation: undefined,
      features: undefined,
      snapshotIndex: undefined,
      lagEntries: undefined,
    },
  ],
  groups: [
    {
      group: 'main',
      phase: 'running',
      epoch: 12,
      primary: 'pg1',
      durability: 'quorum',
      rule: '1 of pg2',
      ruleChange: undefined,
      nodes: [
        {
          node: 'pg1',
          address: '127.0.0.1:5432',
          peer: 'a',
          role: 'primary',
          state: 'running',
          timeline: 4,
          lsn: '0/3000060',
          lagBytes: undefined,
          sync: undefined,
          member: 'pg1_0a1b2c3d',
          heldDownBy: ['b: refused'],
          message: undefined,
          paused: { untilMs: undefined, maintenance: true },
          fenced: true,
          counted: false,
          guarded: undefined,
          upkeep: NO_UPKEEP,
          notPromoted: 'never promoted',
          notCounted: undefined,
          silentMs: 45_000,
        },
      ],
      settings: {
        durability: 'quorum',
        acks: 1,
        leaseMs: 5000,
        maxLagBytes: 1_048_576,
        maxFailovers: 5,
        sitePolicy: 'ignore',
        failback: 'off',
        failbackAfterMs: 300_000,
        failoverWindowMs: 3_600_000,
        slotRetentionMs: 86_400_000,
        maxSlotWalBytes: 10 * 2 ** 30,
      },
      scheduled: { atMs: 1_800_000_000_000, to: 'pg2' },
      restore: {
        ...{ target: 'name before', fromTimeline: 1, lsn: '0/3000110', timeline: 2 },
        lastTransactionMs: 1_700_000_000_000,
      },
      restarts: [{ node: 'pg2', atMs: 1_800_000_000_000, inPlace: false, begun: true }],
      paused: { untilMs: 1_800_000_000_000, maintenance: false },
    },
  ],
  warnings: ['only two peers'],
};

const notHere = () => Promise.resolve({ kind: 'refused', reason: 'not in this test' } as const);

export const QUIET_PEERS: PeerHandlers = {
  list: () => ({ cluster: 'test', incarnation: 1, featureLevel: 1, leader: undefined, peers: [] }),
  add: notHere,
  promote: notHere,
  remove: notHere,
  move: notHere,
  transfer: notHere,
  recover: notHere,
};

/** As good as any for a test: JSON. */
export const CODEC: MembershipCodec = {
  encode: (membership) =>
    new TextEncoder().encode(JSON.stringify({ ...membership, addresses: [...membership.addresses] })),
  decode(data) {
    const text = JSON.parse(new TextDecoder().decode(data)) as Membership & { addresses: [PeerId, string][] };
    return { ...text, addresses: new Map(text.addresses) };
  },
};

export const QUIET_ADMIN: AdminHandlers = {
  status: () => STATUS,
  watch: (listener) => listener(STATUS),
  failover: notHere,
  steer: notHere,
  settings: () => ({ kind: 'refused', reason: 'not in this test' }),
  events: () => [],
  peers: QUIET_PEERS,
};

export function at(peer: string, port: number): PeerAddress {
  return { peer: peerId(peer), host: '127.0.0.1', port };
}

export interface TestPeerOptions {
  readonly self: string;
  readonly port?: number;
  readonly peers: readonly PeerAddress[];
  readonly clusterId?: string;
  readonly admin?: AdminHandlers;
  /** Where not given: of incarnation 1, with `self` and `peers` as members. */
  readonly identity?: TransportIdentity;
  readonly storeId?: string;
  readonly advertised?: () => string;
  /** Default 0. */
  readonly commitIndex?: number;
  readonly route?: (peer: PeerAddress) => PeerAddress;
}

/** Members and incarnation, and stores where they are known. */
export function identityOf(
  incarnation: number,
  members: readonly string[],
  storeIds: Readonly<Record<string, string>> = {},
  membershipIndex = 0,
  logMembershipIndex = membershipIndex,
): TransportIdentity {
  return {
    incarnation,
    members: members.map(peerId),
    storeIds: new Map(Object.entries(storeIds).map(([peer, store]) => [peerId(peer), new Set([store])])),
    membershipIndex,
    logMembershipIndex,
  };
}

export async function startTestPeer(options: TestPeerOptions): Promise<TestPeer> {
  const received: Received[] = [];
  const reports: AgentReport[] = [];
  const refused: string[] = [];
  const logged: string[] = [];
  const debugged: string[] = [];
  const ahead: string[] = [];
  const snapshotsSent: { to: PeerId; index: number; arrived: boolean }[] = [];
  const noteIn =
    (lines: string[]) =>
    (fields: object, message: string): void => {
      lines.push('reason' in fields ? `${message}: ${String(fields.reason)}` : message);
    };
  const transport = await startTransport({
    clusterId: options.clusterId ?? 'test',
    self: peerId(options.self),
    listen: { host: '127.0.0.1', port: options.port ?? 0 },
    advertised: options.advertised,
    route: options.route,
    storeId: options.storeId ?? `store-of-${options.self}`,
    features: 1,
    identity: options.identity ?? identityOf(1, [options.self, ...options.peers.map(({ peer }) => peer)]),
    commitIndex: () => options.commitIndex ?? 0,
    peers: options.peers,
    membershipCodec: CODEC,
    handlers: {
      onMessage: (from, message) => received.push({ from, message }),
      onReport: (_from, report) => reports.push(report),
      onRefused: (detail) => refused.push(detail),
      onHigherIncarnation: (from, incarnation) => ahead.push(`${from} ${incarnation}`),
      onSnapshotSent: (to, index, arrived) => snapshotsSent.push({ to, index, arrived }),
    },
    admin: options.admin ?? QUIET_ADMIN,
    log: { debug: noteIn(debugged), info: noteIn(logged), warn: noteIn(logged) },
  });
  return { transport, received, reports, refused, logged, debugged, ahead, snapshotsSent };
}

export const heartbeat = (round: number): RaftMessage => ({
  kind: 'heartbeat-request',
  term: term(1),
  commitIndex: logIndex(0),
  round,
});

export const appendOf = (round: number, bytes: number): RaftMessage => ({
  kind: 'append-request',
  term: term(1),
  prevIndex: logIndex(round),
  prevTerm: term(1),
  entries: [
    { index: logIndex(round + 1), term: term(1), kind: 'command', data: new Uint8Array(bytes).fill(round) },
  ],
  commitIndex: logIndex(0),
  round,
});

export const reportOf = (node: string, sequence: number): AgentReport => ({
  node: nodeId(node),
  peer: peerId('a'),
  sequence,
  startedAtMs: 1_700_000_000_000,
  member: undefined,
  condition: 'standby',
  fenceEpoch: epoch(12),
  timeline: undefined,
  position: lsn(0x16_b374d848n),
  replayLsn: undefined,
  streamingFrom: { host: 'h', port: 5432 },
  walSenders: [
    { applicationName: 'pg2_0a1b2c3d', state: 'streaming', syncState: 'quorum', flushLsn: undefined },
  ],
  serverVersion: '15.18',
  message: undefined,
  isGuarded: true,
  upkeep: UPKEEP,
});

export function snapshotOf(
  index: number,
  data: Uint8Array,
  change: { readonly term?: number; readonly round?: number } = {},
): Extract<RaftMessage, { kind: 'snapshot-request' }> {
  return {
    kind: 'snapshot-request',
    term: term(change.term ?? 3),
    round: change.round ?? 7,
    snapshot: {
      index: logIndex(index),
      term: term(2),
      membership: {
        voters: [peerId('a'), peerId('b')],
        learners: [peerId('c')],
        addresses: new Map([[peerId('a'), '10.0.0.1:7432']]),
        incarnation: 1,
      },
      data,
    },
  };
}
