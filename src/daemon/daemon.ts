// Wires one sentineld together: log store, consensus, replicated state, transport, health checks, agent, leader's part.
// Data flows one way: probe -> judgement -> log -> decision -> log -> duty -> action -> log. Holds no logic of its own.
import { mkdir } from 'node:fs/promises';
import { isIP } from 'node:net';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { ALL_PROTECTIONS, DEFAULT_AGENT_TIMING, type Protections } from '../actions/context.ts';
import { type Agent, startAgent } from '../actions/agent.ts';
import { openFenceFile } from '../actions/fence-file.ts';
import { instancePaths } from '../actions/instance.ts';
import { systemClock } from '../base/clock.ts';
import type { NodeId, PeerId } from '../base/ids.ts';
import type { AgentReport } from '../cluster/report.ts';
import type { ClusterEvent, ClusterState } from '../cluster/state.ts';
import { duties } from '../failover/duties.ts';
import { DEFAULT_FAILOVER_SETTINGS, type FailoverSettings } from '../failover/view.ts';
import { type Health, startHealth } from '../health/watch.ts';
import type { Judgement } from '../health/events.ts';
import { findBinaries } from '../postgres/binaries.ts';
import { findOsUser, makeDirectory } from '../postgres/os-user.ts';
import { DEFAULT_RAFT_SETTINGS } from '../raft/types.ts';
import { openLogStore } from '../storage/log-store.ts';
import { startTransport } from '../transport/server.ts';
import type { AdminHandlers, StatusView, Transport } from '../transport/types.ts';
import type { Config, NodeConfig } from './config.ts';
import { type Consensus, startConsensus } from './consensus.ts';
import { eventView } from './event-text.ts';
import { type Leader, type ReceivedReport, startLeader } from './leader.ts';
import { createObserver, healthTargets, type Observer, type Verdict } from './observer.ts';
import { createReplica, type Replica } from './replica.ts';
import { buildStatus } from './status.ts';
import { switchOver } from './switchover.ts';

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
const WATCH_EVERY_MS = 50;
const AGENT_PROPOSAL_TIMEOUT_MS = 2000;
const READ_TIMEOUT_MS = 1000;
const QUORUM_CHECK_MS = 200;

export async function runDaemon(options: DaemonOptions): Promise<Daemon> {
  const { config, log } = options;
  const self = config.peer;
  const voters = config.peers.map((peer) => peer.peer);
  await mkdir(config.stateDirectory, { recursive: true, mode: 0o755 });
  const store = await openLogStore({ directory: join(config.stateDirectory, 'raft'), clusterId: config.cluster, self });

  const parts = {} as { consensus: Consensus; transport: Transport; health: Health; leader: Leader; agent: Agent | undefined; observer: Observer };
  const reports = new Map<NodeId, ReceivedReport>();
  const watchers = new Set<() => void>();
  const replica = createReplica({ self, voters, clock: systemClock, submit: (id, data) => parts.consensus.propose(id, data) });
  const settings: FailoverSettings = { ...DEFAULT_FAILOVER_SETTINGS, syncMemberTimeoutMs: config.timing.syncMemberTimeoutMs };

  const status = (): StatusView =>
    buildStatus({
      cluster: config.cluster,
      self,
      atMs: systemClock.wallMs(),
      nowMs: systemClock.monotonicMs(),
      state: replica.state,
      consensus: parts.consensus.status(),
      peers: config.peers,
      isReachable: (peer) => parts.transport.isReachable(peer, PEER_REACHABLE_MS),
      reports,
      view: { nowMs: systemClock.monotonicMs(), reports, settings },
      warnings: [],
    });
  const changed = (): void => {
    for (const notify of watchers) notify();
  };
  const takeReport = (report: AgentReport): void => {
    const known = reports.get(report.node);
    const isOlder =
      known !== undefined &&
      (report.startedAtMs < known.report.startedAtMs ||
        (report.startedAtMs === known.report.startedAtMs && report.sequence < known.report.sequence));
    if (isOlder) return;
    reports.set(report.node, { report, receivedAtMs: systemClock.monotonicMs() });
    parts.leader.consider();
    changed();
  };

  parts.leader = startLeader({
    clock: systemClock,
    settings,
    state: () => replica.state,
    reports: () => reports,
    propose: replica.propose,
    onRefused: (command, reason) => log.debug({ command: command.kind, reason }, 'a proposal no longer fitted'),
  });
  parts.observer = createObserver({ self, state: () => replica.state, propose: replica.propose });
  parts.transport = await startTransport({
    clusterId: config.cluster,
    self,
    listen: config.listen,
    peers: config.peers.filter((peer) => peer.peer !== self),
    handlers: {
      onMessage: (from, message) => parts.consensus.receive(from, message),
      onReport: (_from, report) => takeReport(report),
      onRefused: (detail) => log.warn(detail),
    },
    admin: adminHandlers({ status, watchers, replica }),
    log,
  }).catch(async (error: unknown) => {
    await store.close();
    throw error;
  });
  parts.health = startHealth({
    self,
    settings: config.timing,
    clock: systemClock,
    credentials: { user: config.users.probe.name, password: config.users.probe.password, database: 'postgres' },
    onJudgement: (node, _epoch, judgement) => {
      log.debug({ node, ...judgement }, 'judgement');
      parts.observer.judged(node, verdictOf(judgement));
    },
    log,
  });
  parts.consensus = startConsensus({
    self,
    membership: { voters, learners: [] },
    settings: { ...DEFAULT_RAFT_SETTINGS, heartbeatMs: config.timing.heartbeatIntervalMs, electionMs: config.timing.electionTimeoutMs },
    store,
    clock: systemClock,
    random: Math.random,
    send: (to, message) => parts.transport.send(to, message),
    onCommit: (entries) => replica.commit(entries),
    onRole: (role, term, leader) => {
      log.info({ role, term, leader }, 'raft role');
      parts.leader.setLeading(role === 'leader');
      changed();
    },
    onProposalRefused: (id, reason) => replica.proposalRefused(id, reason),
    onFatal: options.onFatal,
  });

  const readThroughLeader = async (): Promise<boolean> => {
    const index = await parts.consensus.readIndex(READ_TIMEOUT_MS);
    return index !== undefined && (await replica.appliedUpTo(index, READ_TIMEOUT_MS));
  };
  const { node } = config;
  if (node !== undefined) {
    parts.agent = await startLocalAgent({ ...options, node, replica, parts, takeReport, readThroughLeader });
  }

  replica.subscribe((state, events) => {
    sayEvents(log, state, events);
    parts.health.setTargets(healthTargets(state));
    if (node !== undefined) parts.agent?.setDuty(duties(state, node.name));
    for (const known of state.nodes.values()) {
      const isGone = known.subjectiveDown.some((entry) => entry.peer === known.peer && entry.evidence === 'processes-gone' && entry.epoch === state.groups.get(known.group)?.epoch);
      if (isGone && known.peer !== self) parts.health.hostSaysGone(known.node);
    }
    parts.observer.reconcile();
    parts.leader.consider();
    changed();
  });
  const quorumCheck = setInterval(() => parts.health.setQuorumReachable(reachesQuorum(parts, voters, self)), QUORUM_CHECK_MS);

  return {
    async close() {
      clearInterval(quorumCheck);
      parts.leader.close();
      await parts.agent?.close();
      await parts.health.close();
      replica.close();
      await parts.transport.close();
      await parts.consensus.close();
    },
  };
}

function reachesQuorum(parts: { transport: Transport }, voters: readonly PeerId[], self: PeerId): boolean {
  const count = voters.filter((voter) => voter === self || parts.transport.isReachable(voter, PEER_REACHABLE_MS)).length;
  return count > voters.length / 2;
}

/** What the health checks' judgement amounts to in the log: an abstaining or undecided observer says nothing. */
function verdictOf(judgement: Judgement): Verdict {
  if (judgement.verdict === 'up') return { kind: 'up' };
  if (judgement.verdict === 'down' && judgement.evidence !== undefined) return { kind: 'down', evidence: judgement.evidence };
  return { kind: 'open' };
}

function adminHandlers(options: {
  readonly status: () => StatusView;
  readonly watchers: Set<() => void>;
  readonly replica: Replica;
}): AdminHandlers {
  const { status, watchers, replica } = options;
  return {
    status,
    watch(listener, signal) {
      let timer: NodeJS.Timeout | undefined;
      const notify = (): void => {
        timer ??= setTimeout(() => {
          timer = undefined;
          listener(status());
        }, WATCH_EVERY_MS);
      };
      listener(status());
      watchers.add(notify);
      signal.addEventListener('abort', () => {
        watchers.delete(notify);
        clearTimeout(timer);
      });
    },
    failover: (request, signal) => switchOver({ request, state: () => replica.state, propose: replica.propose, signal }),
    events({ group, limit }) {
      const views = replica.state.events.map((event) => eventView(replica.state, event));
      return views.filter((view) => group === undefined || view.group === group).slice(-limit);
    },
  };
}

async function startLocalAgent(
  options: DaemonOptions & {
    readonly node: NodeConfig;
    readonly replica: Replica;
    readonly parts: { readonly health: Health; readonly transport: Transport };
    readonly takeReport: (report: AgentReport) => void;
    readonly readThroughLeader: () => Promise<boolean>;
  },
): Promise<Agent> {
  const { config, log, node, replica, parts } = options;
  const { replication, probe, superuser } = config.users;
  if (replication === undefined) throw new Error('users.replication is missing: a peer with a node needs it');
  const user = await findOsUser({ configured: node.osUser });
  const paths = instancePaths(config.stateDirectory, node.name);
  const postgresDirectory = join(config.stateDirectory, 'postgresql');
  await makeDirectory(user, paths.passfileDirectory);
  await makeDirectory(user, node.socketDirectory);
  await makeDirectory(user, postgresDirectory);
  const binaries = await findBinaries({ user, binDirectory: node.binDirectory, dataDirectory: node.dataDirectory, privateDirectory: postgresDirectory });
  log.info({ version: binaries.version, directory: binaries.directory, source: binaries.source, user: user.name }, 'PostgreSQL found');
  const dutyNow = () => duties(replica.state, node.name);
  return startAgent({
    peer: config.peer,
    registration: { node: node.name, group: node.group, peer: config.peer, host: node.host, port: node.port, priority: node.priority },
    instance: {
      node: node.name,
      clusterName: config.cluster,
      listenAddresses: isIP(node.host) === 0 ? ['*'] : [node.host],
      port: node.port,
      dataDirectory: node.dataDirectory,
      socketDirectory: node.socketDirectory,
      passfileDirectory: paths.passfileDirectory,
      logFile: paths.logFile,
      binaries,
      user,
      superuser: superuser.name,
      replication,
      probe,
      parameters: node.parameters,
      hbaLines: node.hba,
    },
    fence: await openFenceFile({ path: paths.fenceFile, cluster: config.cluster, node: node.name }),
    timing: { ...DEFAULT_AGENT_TIMING, restartGraceMs: config.timing.restartGraceMs },
    protections: options.protections ?? ALL_PROTECTIONS,
    propose: (command) => replica.propose(command, AGENT_PROPOSAL_TIMEOUT_MS),
    readDuty: async () => ((await options.readThroughLeader()) ? dutyNow() : undefined),
    registered: () => replica.state.nodes.get(node.name),
    group: () => replica.state.groups.get(node.group),
    onReport: (report) => {
      options.takeReport(report);
      parts.transport.broadcastReport(report);
    },
    onGone: () => parts.health.localProcessesGone(node.name),
    onBack: () => parts.health.localProcessesBack(node.name),
    log: (level, message, fields) => log[level]({ node: node.name, ...fields }, message),
  });
}

function sayEvents(log: Logger, state: ClusterState, events: readonly ClusterEvent[]): void {
  for (const event of events) {
    const view = eventView(state, event);
    log.info({ index: view.index, group: view.group, event: view.kind, refused: view.refused }, view.text);
  }
}
