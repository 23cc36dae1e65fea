// A learner of the cluster inside the benchmark: the product's own log, replicated state and transport, put together as src/daemon/daemon.ts
// does it, but for probes, agent and admin service. Through it all simulated agents hear the log, propose and report.
import { join } from 'node:path';
import { systemClock } from '../../src/base/clock.ts';
import type { PeerId } from '../../src/base/ids.ts';
import { decodeEnvelope, membershipCodec } from '../../src/cluster/codec.ts';
import { FEATURES } from '../../src/cluster/features.ts';
import type { Command } from '../../src/cluster/commands.ts';
import type { AgentReport } from '../../src/cluster/report.ts';
import { identityFrom, peersFrom, readAhead, registeredStores } from '../../src/daemon/acquaintance.ts';
import { beginWith, NOBODY } from '../../src/daemon/beginning.ts';
import { startConsensus } from '../../src/daemon/consensus.ts';
import { addressOf } from '../../src/daemon/membership.ts';
import { createReplica, type Replica } from '../../src/daemon/replica.ts';
import { DEFAULT_RAFT_SETTINGS, type Entry } from '../../src/raft/types.ts';
import { openLogStore } from '../../src/storage/log-store.ts';
import { startTransport } from '../../src/transport/server.ts';
import type { AdminHandlers, PeerAddress, Transport } from '../../src/transport/types.ts';

const SNAPSHOT_LIMITS = { entryCountMax: 10_000, bytesMax: 16 << 20 };

export interface Learner {
  readonly replica: Replica;
  /** The leader of the log, as far as this one knows. */
  leader(): PeerId | undefined;
  /** Entries committed since the start, and the bytes of their contents. */
  growth(): { readonly entries: number; readonly bytes: number };
  /** The last entries that came, oldest first: for a look at what was slow. */
  recent(): readonly SeenEntry[];
  broadcast(report: AgentReport): void;
  close(): Promise<void>;
}

/** A command, or what a new leader begins with, and when its proposer and this learner saw it (wall time in milliseconds). */
export interface SeenEntry {
  readonly command?: Command;
  readonly proposedAtMs?: number;
  readonly arrivedAtMs: number;
}

/** Of a strike at some tens of groups all are kept. */
const RECENT_COUNT_MAX = 3000;

/** Listens, and waits to be added: `peers` are the others as they are at first. */
export async function startLearner(options: {
  readonly cluster: string;
  readonly address: PeerAddress;
  readonly peers: readonly PeerAddress[];
  readonly directory: string;
  readonly onFatal: (error: unknown) => void;
}): Promise<Learner> {
  const { cluster, address, onFatal } = options;
  const self = address.peer;
  const config = { peer: self, peers: [...options.peers, address] };
  const store = await openLogStore({
    directory: join(options.directory, 'raft'),
    clusterId: cluster,
    self,
    membershipCodec,
    onFailure: onFatal,
  });
  const beginning = await beginWith(store, NOBODY);
  let transport: Transport | undefined;
  let growth = { entries: 0, bytes: 0 };
  const recent: SeenEntry[] = [];
  const replica = createReplica({
    self,
    membership: beginning.membership,
    snapshot: beginning.snapshot,
    storeId: store.storeId,
    features: FEATURES,
    clock: systemClock,
    submit: (id, data) => consensus.propose(id, data),
  });
  const ahead = readAhead(replica.state, beginning.entries);
  const identity = () => identityFrom(consensus.status(), registeredStores(replica.state, ahead));
  const identify = (): void => {
    transport?.setPeers(peersFrom(consensus.status(), config));
    transport?.setIdentity(identity());
  };
  const commit = (entries: readonly Entry[]): void => {
    const bytes = entries.reduce((sum, { data }) => sum + data.length, growth.bytes);
    growth = { entries: growth.entries + entries.length, bytes };
    const arrivedAtMs = Date.now();
    for (const entry of entries) {
      if (entry.kind === 'command') {
        const { command, proposedAtMs } = decodeEnvelope(entry.data);
        recent.push({ command, proposedAtMs, arrivedAtMs });
      } else if (entry.kind === 'noop') recent.push({ arrivedAtMs });
    }
    recent.splice(0, recent.length - RECENT_COUNT_MAX);
    replica.commit(entries);
  };
  const consensus = startConsensus({
    self,
    beginning,
    membershipCodec,
    settings: DEFAULT_RAFT_SETTINGS,
    store,
    clock: systemClock,
    random: Math.random,
    snapshotLimits: SNAPSHOT_LIMITS,
    send: (to, message) => transport?.send(to, message),
    onCommit: commit,
    onRestore: (snapshot) => replica.restore(snapshot),
    takeState: () => replica.takeSnapshot(),
    onMembership: identify,
    onRole: () => undefined,
    onProposalRefused: (id, reason) => replica.proposalRefused(id, reason),
    onFatal,
  });
  let seenPeers = '';
  replica.subscribe((state) => {
    const peers = [...state.peers.values()].map(({ peer, store: id }) => `${peer} ${id}`).join();
    if (peers === seenPeers) return;
    seenPeers = peers;
    identify();
  });
  const close = async (): Promise<void> => {
    replica.close();
    await transport?.close();
    await consensus.close();
  };
  try {
    transport = await startTransport({
      clusterId: cluster,
      self,
      listen: address,
      advertised: () => addressOf(consensus.status().membership, self, config),
      storeId: store.storeId,
      features: FEATURES,
      identity: identity(),
      commitIndex: () => consensus.status().commitIndex,
      peers: options.peers,
      membershipCodec,
      handlers: {
        onMessage: (from, message) => consensus.receive(from, message),
        onReport: () => undefined,
        onRefused: () => undefined,
        onHigherIncarnation: () => undefined,
        onSnapshotSent: (to, index, arrived) => consensus.snapshotSent(to, index, arrived),
      },
      admin: NO_ADMIN,
      log: { debug: () => undefined, info: () => undefined, warn: () => undefined },
    });
  } catch (error) {
    await close();
    throw error;
  }
  const { broadcastReport } = transport;
  return {
    replica,
    leader: () => consensus.status().leader,
    growth: () => growth,
    recent: () => recent,
    broadcast: broadcastReport,
    close,
  };
}

const unserved = (): never => {
  throw new Error("the benchmark's learner has no admin service");
};
const NO_ADMIN: AdminHandlers = {
  ...{ status: unserved, watch: unserved, failover: unserved, steer: unserved, events: unserved },
  settings: unserved,
  peers: {
    ...{ list: unserved, add: unserved, remove: unserved, promote: unserved, move: unserved },
    ...{ transfer: unserved, recover: unserved },
  },
};
