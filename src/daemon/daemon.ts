// Wires one sentineld together: log store, consensus, replicated state, transport, health checks, agent, leader's part.
// Data flows one way: probe -> judgement -> log -> decision -> log -> duty -> action -> log. Holds no logic of its own.
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import type { Protections } from '../actions/context.ts';
import { instancePaths } from '../actions/instance-files.ts';
import { delay, systemClock } from '../base/clock.ts';
import type { PeerId } from '../base/ids.ts';
import { membershipCodec } from '../cluster/codec.ts';
import { FEATURES } from '../cluster/features.ts';
import { majority } from '../cluster/quorum.ts';
import type { AgentReport } from '../cluster/report.ts';
import type { ClusterEvent, ClusterState } from '../cluster/state.ts';
import { DEFAULT_FAILOVER_SETTINGS, type FailoverSettings, type View } from '../failover/view.ts';
import type { Credentials } from '../health/session.ts';
import { startHealth } from '../health/watch.ts';
import { DEFAULT_RAFT_SETTINGS, type RaftSettings } from '../raft/types.ts';
import { openLogStore } from '../storage/log-store.ts';
import { startTransport } from '../transport/server.ts';
import type { StatusView, Transport } from '../transport/types.ts';
import { identityFrom, peersFrom, readAhead, registeredStores } from './acquaintance.ts';
import { adminHandlers } from './admin-handlers.ts';
import { beginWith } from './beginning.ts';
import { openAccounts } from './accounts.ts';
import type { Config } from './config.ts';
import { startConsensus } from './consensus.ts';
import { eventView } from './event-text.ts';
import { startFenceRunner } from './fence-runner.ts';
import { declarationOf, declareHost } from './host-declaration.ts';
import { createHostWord } from './host-word.ts';
import { startLeaderPlacement } from './leader-placement.ts';
import { startLeader } from './leader.ts';
import { type LocalAgent, ownDuty, startLocalAgent } from './local-agent.ts';
import { addressOf, initialMembership } from './membership.ts';
import { createObserver, healthTargets, verdictOf } from './observer.ts';
import { createPeerHandlers } from './peer-changes.ts';
import { createReplica } from './replica.ts';
import { refusedProbes } from './probe-refusals.ts';
import { createReports } from './reports.ts';
import { startRestartRunner } from './restart-runner.ts';
import { routedPeer, routedTargets } from './routes.ts';
import { tellSite } from './site-word.ts';
import { startServerWatch } from './server-watch.ts';
import { buildStatus } from './status.ts';
import { steer } from './steer.ts';

export interface DaemonOptions {
  readonly config: Config;
  readonly log: Logger;
  /** Only the benchmark's controls pass anything else than all. */
  readonly protections?: Protections;
  /** The daemon cannot go on (its disk failed, an invariant broke): the process must end. */
  readonly onFatal: (error: unknown) => void;
}

export interface Daemon {
  /** Stops this peer; PostgreSQL goes on. */
  close(): Promise<void>;
}

const PEER_REACHABLE_MS = 1000;
/** A peer that is refused calls again within about three seconds. */
const REFUSED_WITHIN_MS = 10_000;
const READ_TIMEOUT_MS = 1000;
const QUORUM_CHECK_MS = 500;
const CATCH_UP_RETRY_MS = 50;
const SNAPSHOT_BYTES_MAX = 16 << 20;

export async function runDaemon(options: DaemonOptions): Promise<Daemon> {
  const { config, log } = options;
  const { peer: self, node, site } = config;
  const accounts = openAccounts(config.users, log);
  const nowMs = (): number => systemClock.monotonicMs();
  await mkdir(config.stateDirectory, { recursive: true, mode: 0o755 });
  const store = await openLogStore({
    directory: join(config.stateDirectory, 'raft'),
    clusterId: config.cluster,
    self,
    membershipCodec,
    onFailure: options.onFatal,
  });
  const beginning = await beginWith(
    store,
    initialMembership(config),
    node && { peer: self, path: instancePaths(config.stateDirectory, node.name).fenceFile },
  );

  const watchers = new Set<() => void>();
  const settings: FailoverSettings = {
    ...DEFAULT_FAILOVER_SETTINGS,
    syncMemberTimeoutMs: config.timing.syncMemberTimeoutMs,
  };
  let transport: Transport | undefined;
  let local: LocalAgent | undefined;
  let isCaughtUp = false;
  let leftBehind: { readonly by: PeerId; readonly incarnation: number } | undefined;
  const closing = new AbortController();
  const isReachable = (peer: PeerId): boolean => transport?.isReachable(peer, PEER_REACHABLE_MS) ?? false;

  const replica = createReplica({
    self,
    membership: beginning.membership,
    snapshot: beginning.snapshot,
    storeId: store.storeId,
    features: FEATURES,
    clock: systemClock,
    submit: (id, data) => consensus.propose(id, data),
  });
  const changed = (): void => {
    for (const notify of watchers) notify();
  };
  const reports = createReports({
    clock: systemClock,
    ownerOf: (node) => (replica.state.nodes.get(node) ?? replica.state.removed.get(node))?.peer,
  });
  const leader = startLeader({
    clock: systemClock,
    settings,
    state: () => replica.state,
    reports: () => reports.latest,
    propose: replica.propose,
    onFailed: options.onFatal,
    onRefused: (command, reason) =>
      log.debug({ command: command.kind, reason }, 'a proposal no longer fitted'),
  });
  const fencing = startFenceRunner({
    ...{ self, cluster: config.cluster, fence: config.fence, clock: systemClock },
    state: () => replica.state,
    view: () => view(),
    confirm: () => readThroughLeader(),
    propose: replica.propose,
    log: (level, message, fields) => log[level](fields, message),
  });
  const lead = (isLeading: boolean): void => {
    leader.setLeading(isLeading);
    fencing.setLeading(isLeading);
  };

  /** Tells the transport whom to talk to, as the log has it now. */
  const identify = (): void => {
    if (transport === undefined) return;
    transport.setPeers(peersFrom(consensus.status(), config));
    transport.setIdentity(identity());
  };
  const ahead = readAhead(replica.state, beginning.entries);
  const identity = () => ({
    ...identityFrom(consensus.status(), registeredStores(replica.state, ahead)),
    founders: replica.state.founders,
  });

  const consensus = startConsensus({
    self,
    beginning,
    membershipCodec,
    settings: raftSettings(config),
    store,
    clock: systemClock,
    random: Math.random,
    snapshotLimits: { entryCountMax: config.raft.snapshotEntries, bytesMax: SNAPSHOT_BYTES_MAX },
    send: (to, message) => transport?.send(to, message),
    onCommit: (entries) => replica.commit(entries),
    onRestore: (restored) => replica.restore(restored),
    takeState: () => replica.takeSnapshot(),
    onMembership: (membership) => {
      const { voters, learners, incarnation } = membership;
      log.info({ voters, learners, incarnation }, 'membership');
      identify();
      changed();
    },
    onRole: (role, term, leaderNow) => {
      log.info({ role, term, leader: leaderNow }, 'raft role');
      lead(role === 'leader');
      changed();
    },
    onProposalRefused: (id, reason) => replica.proposalRefused(id, reason),
    onFatal: options.onFatal,
  });
  tellSite({ self, site, replica, signal: closing.signal });
  declareHost({ self, host: declarationOf(config), replica, signal: closing.signal });
  const observer = createObserver({ self, state: () => replica.state, propose: replica.propose });
  const probing = { self, settings: config.timing, clock: systemClock, log };
  const credentials = (onWrongPassword?: (password: string) => void): Credentials => ({
    user: config.users.probe.name,
    get password() {
      return accounts.probe.password;
    },
    onWrongPassword,
    database: 'postgres',
  });
  const health = startHealth({
    ...probing,
    credentials: credentials((password) => accounts.probe.rotation?.rejected(password)),
    onJudgement: (node, _epoch, judgement) => {
      log.debug({ node, ...judgement }, 'judgement');
      observer.judged(node, verdictOf(judgement));
    },
  });
  const servers = startServerWatch({
    ...probing,
    // A server of somebody else that refuses the password says nothing of which one our own nodes take by now.
    credentials: credentials(),
    via: config.via,
    state: () => replica.state,
    propose: replica.propose,
  });

  const takeReport = (report: AgentReport): void => {
    const taken = reports.take(report);
    if (taken === 'dropped') return;
    if (taken === 'news') leader.considerSoon();
    changed();
  };
  const view = (): View => ({
    nowMs: nowMs(),
    wallMs: systemClock.wallMs(),
    reports: reports.latest,
    settings,
  });
  const status = (): StatusView =>
    buildStatus({
      cluster: config.cluster,
      self,
      atMs: systemClock.wallMs(),
      nowMs: nowMs(),
      state: replica.state,
      consensus: consensus.status(),
      ownAddress: addressOf(consensus.status().membership, self, config),
      leftBehind,
      obstacle: replica.obstacle(),
      isReachable,
      peerRefusals: transport?.refusals(REFUSED_WITHIN_MS),
      reports: reports.latest,
      disowned: reports.disowned,
      view: view(),
      sights: servers.sights(),
      ...refusedProbes(health),
    });

  const placement = startLeaderPlacement({
    self,
    clock: systemClock,
    state: () => replica.state,
    consensus,
    isReachable,
    onMove: (to) => log.info({ to }, 'this host has a primary: the leadership of the log moves off it'),
  });
  const closeCore = async (): Promise<void> => {
    placement.close();
    leader.close();
    await fencing.close();
    await Promise.all([health.close(), servers.close()]);
    replica.close();
    await transport?.close();
    await consensus.close();
  };

  const readThroughLeader = async (): Promise<boolean> => {
    const index = await consensus.readIndex(READ_TIMEOUT_MS);
    return index !== undefined && (await replica.appliedUpTo(index, READ_TIMEOUT_MS));
  };

  /** The cluster was recovered without this peer: it takes no part any more, and its PostgreSQL is stopped. */
  const leaveBehind = (by: PeerId, incarnation: number): void => {
    if (leftBehind !== undefined) return;
    leftBehind = { by, incarnation };
    log.error(
      { peer: by, incarnation },
      'the cluster was recovered without this peer: it takes no part any more',
    );
    consensus.leaveForGood();
    lead(false);
    changed();
    standDown(incarnation);
  };
  const standDown = (incarnation: number): void => {
    local?.standDown(incarnation, closing.signal).catch(options.onFatal);
  };

  const restarts =
    node &&
    startRestartRunner({
      node: node.name,
      clock: systemClock,
      state: () => replica.state,
      confirm: () => readThroughLeader(),
      serverStartedAtS: () => local?.serverStartedAtS(),
      restart: (inPlace, signal) =>
        steer(
          {
            ...{ state: () => replica.state, view, propose: replica.propose, signal },
            ...{ self, agent: () => local?.agent },
          },
          { kind: 'node', node: node.name, action: 'restart', inPlace, dryRun: false },
        ),
      propose: replica.propose,
      log: (level, message, fields) => log[level](fields, message),
    });

  const peers = createPeerHandlers({
    cluster: config.cluster,
    self,
    consensus,
    state: () => replica.state,
    isReachable,
    foundingConflict: (peer, withinMs) => transport?.foundingConflict(peer, withinMs),
  });
  try {
    transport = await startTransport({
      clusterId: config.cluster,
      self,
      listen: config.listen,
      advertised: () => addressOf(consensus.status().membership, self, config),
      storeId: store.storeId,
      features: FEATURES,
      identity: identity(),
      commitIndex: () => consensus.status().commitIndex,
      peers: peersFrom(consensus.status(), config),
      route: (peer) => routedPeer(peer, config.via),
      membershipCodec,
      handlers: {
        onMessage: (from, message) => consensus.receive(from, message),
        onReport: (from, report) => {
          if (report.peer === from) takeReport(report);
        },
        onRefused: (detail) => log.warn(detail),
        onHigherIncarnation: leaveBehind,
        onSnapshotSent: (to, index, arrived) => consensus.snapshotSent(to, index, arrived),
      },
      admin: adminHandlers({
        ...{ config, accounts, status, watchers, replica, view, peers, readThroughLeader, self },
        agent: () => local?.agent,
      }),
      log,
    });
    if (node !== undefined) {
      local = await startLocalAgent({
        ...options,
        node,
        accounts,
        replica,
        health,
        onReport: (report) => {
          takeReport(report);
          if (reports.mustBroadcast(report)) transport?.broadcastReport(report);
        },
        readThroughLeader,
        view,
      });
      if (leftBehind !== undefined) standDown(leftBehind.incarnation);
    }
  } catch (error) {
    await closeCore();
    throw error;
  }

  const hostWord = createHostWord(self, health);
  let { peers: seenPeers } = replica.state;
  let seenStores = storesOf(replica.state);
  let isPastAhead = false;
  const follow = (state: ClusterState, events: readonly ClusterEvent[]): void => {
    sayEvents(log, state, events);
    if (state.peers !== seenPeers) {
      seenPeers = state.peers;
      const stores = storesOf(state);
      if (stores !== seenStores) identify();
      seenStores = stores;
    }
    if (!isPastAhead && state.appliedIndex >= ahead.upTo) {
      isPastAhead = true;
      identify();
    }
    health.setTargets(routedTargets(healthTargets(state), config.via));
    if (node !== undefined && isCaughtUp) local?.agent.setDuty(ownDuty(state, node.name, config));
    servers.follow(state);
    hostWord.tell(state);
    observer.reconcile();
    leader.consider();
    fencing.consider();
    if (isCaughtUp) restarts?.consider();
    changed();
  };
  replica.subscribe(follow);
  follow(replica.state, []);
  // What the log held long ago must not be obeyed while it is still being read: first one read through the leader.
  const catchUp = async (): Promise<void> => {
    while (!closing.signal.aborted && leftBehind === undefined) {
      if ((await readThroughLeader()) && !closing.signal.aborted) {
        isCaughtUp = true;
        return follow(replica.state, []);
      }
      await delay(CATCH_UP_RETRY_MS, closing.signal);
    }
  };
  catchUp().catch(options.onFatal);
  const quorumCheck = setInterval(() => {
    const { voters } = consensus.status().membership;
    const count = voters.filter((voter) => voter === self || isReachable(voter)).length;
    const isQuorum = voters.length > 0 && count >= majority(voters.length);
    health.setQuorumReachable(isQuorum);
    servers.setQuorumReachable(isQuorum);
  }, QUORUM_CHECK_MS);

  return {
    async close() {
      closing.abort();
      clearInterval(quorumCheck);
      await restarts?.close();
      await local?.agent.close();
      await closeCore();
    },
  };
}

/** Entries kept below a snapshot: a tenth of what it stands for, so that compaction is worth it. */
const KEPT_SHARE = 10;

function raftSettings(config: Config): RaftSettings {
  return {
    ...DEFAULT_RAFT_SETTINGS,
    heartbeatMs: config.timing.heartbeatIntervalMs,
    electionMs: config.timing.electionTimeoutMs,
    keptEntries: Math.min(
      DEFAULT_RAFT_SETTINGS.keptEntries,
      Math.floor(config.raft.snapshotEntries / KEPT_SHARE),
    ),
  };
}

/** Which store each peer has registered with; everything else about a peer changes with each of its proposals. */
function storesOf(state: ClusterState): string {
  return [...state.peers.values()].map(({ peer, store }) => `${peer} ${store}`).join();
}

function sayEvents(log: Logger, state: ClusterState, events: readonly ClusterEvent[]): void {
  for (const event of events) {
    const view = eventView(state, event);
    log.info({ index: view.index, group: view.group, event: view.kind, refused: view.refused }, view.text);
  }
}
