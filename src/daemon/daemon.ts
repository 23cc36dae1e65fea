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
import { delay, systemClock } from '../base/clock.ts';
import type { NodeId, PeerId } from '../base/ids.ts';
import { majority } from '../cluster/quorum.ts';
import type { AgentReport } from '../cluster/report.ts';
import type { ClusterEvent, ClusterState, NodeState } from '../cluster/state.ts';
import { type Duty, duties } from '../failover/duties.ts';
import { DEFAULT_FAILOVER_SETTINGS, type FailoverSettings, type View } from '../failover/view.ts';
import { type Health, startHealth } from '../health/watch.ts';
import type { Judgement } from '../health/events.ts';
import { findBinaries } from '../postgres/binaries.ts';
import { findOsUser, makeDirectory } from '../postgres/os-user.ts';
import { DEFAULT_RAFT_SETTINGS } from '../raft/types.ts';
import { openLogStore } from '../storage/log-store.ts';
import { startTransport } from '../transport/server.ts';
import type { AdminHandlers, StatusView, Transport } from '../transport/types.ts';
import type { Config, NodeConfig } from './config.ts';
import { startConsensus } from './consensus.ts';
import { eventView } from './event-text.ts';
import { type ReceivedReport, startLeader } from './leader.ts';
import { createObserver, healthTargets, type Verdict } from './observer.ts';
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
const CATCH_UP_RETRY_MS = 50;

export async function runDaemon(options: DaemonOptions): Promise<Daemon> {
  const { config, log } = options;
  const self = config.peer;
  const voters = config.peers.map((peer) => peer.peer);
  await mkdir(config.stateDirectory, { recursive: true, mode: 0o755 });
  const store = await openLogStore({
    directory: join(config.stateDirectory, 'raft'),
    clusterId: config.cluster,
    self,
  });

  const reports = new Map<NodeId, ReceivedReport>();
  /** Of peers whose node has the name of another peer's: for people only. */
  const disowned = new Map<PeerId, ReceivedReport>();
  const watchers = new Set<() => void>();
  const settings: FailoverSettings = {
    ...DEFAULT_FAILOVER_SETTINGS,
    syncMemberTimeoutMs: config.timing.syncMemberTimeoutMs,
  };
  let transport: Transport | undefined;
  const isReachable = (peer: PeerId): boolean => transport?.isReachable(peer, PEER_REACHABLE_MS) ?? false;

  const replica = createReplica({
    self,
    voters,
    clock: systemClock,
    submit: (id, data) => consensus.propose(id, data),
  });
  const changed = (): void => {
    for (const notify of watchers) notify();
  };
  const leader = startLeader({
    clock: systemClock,
    settings,
    state: () => replica.state,
    reports: () => reports,
    propose: replica.propose,
    onFailed: options.onFatal,
    onRefused: (command, reason) =>
      log.debug({ command: command.kind, reason }, 'a proposal no longer fitted'),
  });
  const consensus = startConsensus({
    self,
    membership: { voters, learners: [] },
    settings: {
      ...DEFAULT_RAFT_SETTINGS,
      heartbeatMs: config.timing.heartbeatIntervalMs,
      electionMs: config.timing.electionTimeoutMs,
    },
    store,
    clock: systemClock,
    random: Math.random,
    send: (to, message) => transport?.send(to, message),
    onCommit: (entries) => replica.commit(entries),
    onRole: (role, term, leaderNow) => {
      log.info({ role, term, leader: leaderNow }, 'raft role');
      leader.setLeading(role === 'leader');
      changed();
    },
    onProposalRefused: (id, reason) => replica.proposalRefused(id, reason),
    onFatal: options.onFatal,
  });
  const observer = createObserver({ self, state: () => replica.state, propose: replica.propose });
  const health = startHealth({
    self,
    settings: config.timing,
    clock: systemClock,
    credentials: {
      user: config.users.probe.name,
      password: config.users.probe.password,
      database: 'postgres',
    },
    onJudgement: (node, _epoch, judgement) => {
      log.debug({ node, ...judgement }, 'judgement');
      observer.judged(node, verdictOf(judgement));
    },
    log,
  });

  const takeReport = (report: AgentReport): void => {
    const owner = replica.state.nodes.get(report.node)?.peer;
    if (owner !== undefined && owner !== report.peer) {
      disowned.set(report.peer, { report, receivedAtMs: systemClock.monotonicMs() });
      return;
    }
    const known = reports.get(report.node);
    if (known !== undefined && isOlder(report, known)) return;
    reports.set(report.node, { report, receivedAtMs: systemClock.monotonicMs() });
    leader.consider();
    changed();
  };
  const view = (): View => ({ nowMs: systemClock.monotonicMs(), reports, settings });
  const status = (): StatusView => {
    const nowMs = systemClock.monotonicMs();
    return buildStatus({
      cluster: config.cluster,
      self,
      atMs: systemClock.wallMs(),
      nowMs,
      state: replica.state,
      consensus: consensus.status(),
      peers: config.peers,
      isReachable,
      reports,
      disowned,
      view: view(),
    });
  };

  const closeCore = async (): Promise<void> => {
    leader.close();
    await health.close();
    replica.close();
    await transport?.close();
    await consensus.close();
  };

  const readThroughLeader = async (): Promise<boolean> => {
    const index = await consensus.readIndex(READ_TIMEOUT_MS);
    return index !== undefined && (await replica.appliedUpTo(index, READ_TIMEOUT_MS));
  };

  let agent: Agent | undefined;
  let isCaughtUp = false;
  let isClosing = false;
  const { node } = config;
  try {
    transport = await startTransport({
      clusterId: config.cluster,
      self,
      listen: config.listen,
      peers: config.peers.filter((peer) => peer.peer !== self),
      handlers: {
        onMessage: (from, message) => consensus.receive(from, message),
        onReport: (from, report) => {
          if (report.peer === from) takeReport(report);
        },
        onRefused: (detail) => log.warn(detail),
      },
      admin: adminHandlers({ status, watchers, replica, view }),
      log,
    });
    if (node !== undefined) {
      agent = await startLocalAgent({
        ...options,
        node,
        replica,
        health,
        onReport: (report) => {
          takeReport(report);
          transport?.broadcastReport(report);
        },
        readThroughLeader,
      });
    }
  } catch (error) {
    await closeCore();
    throw error;
  }

  const goneByHost = new Set<NodeId>();
  const tellHostWord = (id: NodeId, isGone: boolean): void => {
    if (isGone === goneByHost.has(id)) return;
    if (isGone) goneByHost.add(id);
    else goneByHost.delete(id);
    if (isGone) health.hostSaysGone(id);
    else health.hostSaysBack(id);
  };
  const follow = (state: ClusterState, events: readonly ClusterEvent[]): void => {
    sayEvents(log, state, events);
    health.setTargets(healthTargets(state));
    if (node !== undefined && isCaughtUp) agent?.setDuty(ownDuty(state, node.name, self));
    for (const known of state.nodes.values())
      if (known.peer !== self) tellHostWord(known.node, hostSaysGone(state, known));
    observer.reconcile();
    leader.consider();
    changed();
  };
  replica.subscribe(follow);
  follow(replica.state, []);
  // What the log held long ago must not be obeyed while it is still being read: first one read through the leader.
  const catchUp = async (): Promise<void> => {
    while (!isClosing && !(await readThroughLeader())) await delay(CATCH_UP_RETRY_MS);
    isCaughtUp = true;
    if (!isClosing) follow(replica.state, []);
  };
  catchUp().catch(options.onFatal);
  const quorumCheck = setInterval(() => {
    const count = voters.filter((voter) => voter === self || isReachable(voter)).length;
    health.setQuorumReachable(count >= majority(voters.length));
  }, QUORUM_CHECK_MS);

  return {
    async close() {
      isClosing = true;
      clearInterval(quorumCheck);
      await agent?.close();
      await closeCore();
    },
  };
}

/** Two peers whose files name the same node must not both carry out its duties: it is the one's that registered it. */
function ownDuty(state: ClusterState, node: NodeId, self: PeerId): Duty {
  const owner = state.nodes.get(node)?.peer;
  if (owner === undefined || owner === self) return duties(state, node);
  return {
    kind: 'none',
    reason: `node ${node} is managed by peer ${owner}, not ${self}; give each host's node a name of its own`,
  };
}

/** Reports of one agent may overtake each other; one of another run counts once the earlier run has fallen silent. */
function isOlder(report: AgentReport, known: ReceivedReport): boolean {
  if (report.startedAtMs === known.report.startedAtMs) return report.sequence < known.report.sequence;
  return (
    systemClock.monotonicMs() - known.receivedAtMs < PEER_REACHABLE_MS &&
    report.startedAtMs < known.report.startedAtMs
  );
}

/** The log holds, at the present epoch, the word of the node's own host that all its processes are gone. */
function hostSaysGone(state: ClusterState, node: NodeState): boolean {
  const epoch = state.groups.get(node.group)?.epoch;
  return node.subjectiveDown.some(
    (entry) => entry.peer === node.peer && entry.evidence === 'processes-gone' && entry.epoch === epoch,
  );
}

/** What the health checks' judgement amounts to in the log: an abstaining or undecided observer says nothing. */
function verdictOf(judgement: Judgement): Verdict {
  if (judgement.verdict === 'up') return { kind: 'up' };
  if (judgement.verdict === 'down' && judgement.evidence !== undefined)
    return { kind: 'down', evidence: judgement.evidence };
  return { kind: 'open' };
}

function adminHandlers(options: {
  readonly status: () => StatusView;
  readonly watchers: Set<() => void>;
  readonly replica: Replica;
  readonly view: () => View;
}): AdminHandlers {
  const { status, watchers, replica, view } = options;
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
    failover: (request, signal) =>
      switchOver({ request, state: () => replica.state, view, propose: replica.propose, signal }),
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
    readonly health: Health;
    readonly onReport: (report: AgentReport) => void;
    readonly readThroughLeader: () => Promise<boolean>;
  },
): Promise<Agent> {
  const { config, log, node, replica, health } = options;
  const { replication, probe, superuser } = config.users;
  if (replication === undefined) throw new Error('users.replication is missing: a peer with a node needs it');
  const user = await findOsUser({ configured: node.osUser });
  const paths = instancePaths(config.stateDirectory, node.name);
  const postgresDirectory = join(config.stateDirectory, 'postgresql');
  await makeDirectory(user, paths.passfileDirectory);
  await makeDirectory(user, node.socketDirectory);
  await makeDirectory(user, postgresDirectory);
  const binaries = await findBinaries({
    user,
    binDirectory: node.binDirectory,
    dataDirectory: node.dataDirectory,
    privateDirectory: postgresDirectory,
  });
  log.info(
    { version: binaries.version, directory: binaries.directory, source: binaries.source, user: user.name },
    'PostgreSQL found',
  );
  const dutyNow = () => ownDuty(replica.state, node.name, config.peer);
  return startAgent({
    peer: config.peer,
    registration: {
      node: node.name,
      group: node.group,
      peer: config.peer,
      host: node.host,
      port: node.port,
      priority: node.priority,
    },
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
    onReport: options.onReport,
    onGone: () => health.localProcessesGone(node.name),
    onBack: () => health.localProcessesBack(node.name),
    log: (level, message, fields) => log[level]({ node: node.name, ...fields }, message),
  });
}

function sayEvents(log: Logger, state: ClusterState, events: readonly ClusterEvent[]): void {
  for (const event of events) {
    const view = eventView(state, event);
    log.info({ index: view.index, group: view.group, event: view.kind, refused: view.refused }, view.text);
  }
}
