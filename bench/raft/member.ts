// The program of one of our members: the real consensus, log store and transport, and a small gRPC service in front.
// Ends when the benchmark that started it ends. Not a sentineld: it replicates bytes and knows of no PostgreSQL.
//
//   node dist/bench/raft/member.js PLAN        (PLAN: a MemberPlan as JSON)
import { systemClock } from '../../src/base/clock.ts';
import { logIndex, peerId } from '../../src/base/ids.ts';
import { membershipCodec } from '../../src/cluster/codec.ts';
import { FEATURES } from '../../src/cluster/features.ts';
import { beginWith } from '../../src/daemon/beginning.ts';
import { startConsensus } from '../../src/daemon/consensus.ts';
import { DEFAULT_RAFT_SETTINGS, type Membership, type RaftMessage } from '../../src/raft/types.ts';
import { openLogStore } from '../../src/storage/log-store.ts';
import { startTransport } from '../../src/transport/server.ts';
import type { AdminHandlers, Transport } from '../../src/transport/types.ts';
import { createPulse } from './arithmetic.ts';
import type { MemberFigures, MemberPlan, MemberRequest } from './member-plan.ts';
import { startMemberService } from './member-service.ts';
import { createProposals } from './proposals.ts';

/** As sentineld by default. */
const SNAPSHOT_ENTRIES = 10_000;
const SNAPSHOT_BYTES_MAX = 16 << 20;

const plan = JSON.parse(process.argv[2] ?? '') as MemberPlan;
const self = peerId(plan.self);

// The channel to the benchmark closes when it ends, however it ends.
process.on('disconnect', () => process.exit(0));

const onFatal = (error: unknown): never => {
  console.error(error);
  process.exit(1);
};
const peers = plan.members.map(({ name, port }) => ({ peer: peerId(name), host: '127.0.0.1', port }));
const own = peers.find(({ peer }) => peer === self);
if (own === undefined) throw new Error(`${self} is not among the members`);
const membership: Membership = {
  voters: peers.map(({ peer }) => peer).toSorted(),
  learners: [],
  addresses: new Map(peers.map(({ peer, host, port }) => [peer, `${host}:${port}`])),
  incarnation: 1,
};
const store = await openLogStore({
  directory: plan.storeDirectory,
  clusterId: plan.clusterId,
  self,
  membershipCodec,
  onFailure: onFatal,
});
const beginning = await beginWith(store, membership);
const pulse = createPulse();
let stoodCount = 0;
/** What a snapshot of this member holds besides its index. */
let state: Uint8Array = new Uint8Array(16);
/** What is sent before the transport is there is lost, as Raft allows. */
const outbound: { transport: Transport | undefined } = { transport: undefined };

const proposals = createProposals((id, data) => consensus.propose(id, data));
if (beginning.snapshot !== undefined) proposals.restore(beginning.snapshot.index);
const consensus = startConsensus({
  self,
  membershipCodec,
  beginning,
  settings: DEFAULT_RAFT_SETTINGS,
  store,
  clock: systemClock,
  random: Math.random,
  snapshotLimits: { entryCountMax: SNAPSHOT_ENTRIES, bytesMax: SNAPSHOT_BYTES_MAX },
  send: (to, message) => outbound.transport?.send(to, message),
  onCommit: (entries) => proposals.commit(entries),
  onRestore: ({ index }) => proposals.restore(index),
  takeState: () => ({ index: logIndex(proposals.appliedIndex), data: state }),
  onMembership: () => undefined,
  onRole: (role, term, leader) => {
    if (role === 'pre-candidate') stoodCount += 1;
    console.log(`${new Date().toISOString()} ${role} in term ${term}, leader ${leader ?? 'unknown'}`);
  },
  onProposalRefused: (id, reason) => proposals.refused(id, reason),
  onFatal,
});

const receive = (from: ReturnType<typeof peerId>, message: RaftMessage): void => {
  if (message.kind === 'heartbeat-request') pulse.beat(performance.now());
  consensus.receive(from, message);
};
const unserved = (): never => {
  throw new Error('the benchmark has no admin service');
};
const admin: AdminHandlers = {
  ...{ status: unserved, watch: unserved, failover: unserved, steer: unserved, events: unserved },
  settings: unserved,
  peers: {
    ...{ list: unserved, add: unserved, remove: unserved, promote: unserved, move: unserved },
    ...{ transfer: unserved, recover: unserved },
  },
};
outbound.transport = await startTransport({
  clusterId: plan.clusterId,
  self,
  listen: { host: own.host, port: own.port },
  storeId: store.storeId,
  features: FEATURES,
  identity: { incarnation: membership.incarnation, members: membership.voters, storeIds: new Map() },
  commitIndex: () => consensus.status().commitIndex,
  membershipCodec,
  peers: peers.filter(({ peer }) => peer !== self),
  handlers: {
    onMessage: receive,
    onReport: () => undefined,
    onRefused: (detail) => console.error(detail),
    onHigherIncarnation: () => undefined,
    onSnapshotSent: (to, index, arrived) => consensus.snapshotSent(to, index, arrived),
  },
  admin,
  log: { debug: () => undefined, info: () => undefined, warn: (_fields, message) => console.error(message) },
});

await startMemberService({
  port: plan.servicePort,
  proposals,
  view: () => {
    const { term, leader } = consensus.status();
    return { self, leader, term, appliedIndex: proposals.appliedIndex };
  },
});

process.on('message', (message) => {
  const request = message as MemberRequest & { readonly id: number };
  process.send?.({ id: request.id, value: answer(request) });
});

function answer(request: MemberRequest): MemberFigures | undefined {
  switch (request.kind) {
    case 'figures':
      return {
        largestHeartbeatGapMs: pulse.largestGapMs(performance.now()) ?? null,
        heartbeatCount: pulse.count,
        stoodCount,
        snapshotIndex: consensus.status().snapshotIndex,
        rssBytes: process.memoryUsage.rss(),
      };
    case 'reset':
      pulse.reset();
      return undefined;
    case 'grow':
      state = new Uint8Array(request.bytes);
      return undefined;
    case 'stall': {
      const untilMs = performance.now() + request.ms;
      while (performance.now() < untilMs);
      return undefined;
    }
  }
}
