// What `sentinelctl status` is told: the replicated state, with the agents' live reports laid over it. Pure; for people,
// nothing is decided by it.
import { formatEndpoint } from './config-address.ts';
import { formatLsn, lagBytes } from '../base/lsn.ts';
import { type GroupId, type NodeId, type PeerId, peerId } from '../base/ids.ts';
import { upstreamOf } from '../cluster/apply-cascade.ts';
import { promotionBar, syncBar } from '../cluster/eligibility.ts';
import { formationOf } from '../cluster/hosts.ts';
import type { AgentReport, RefusedProbe } from '../cluster/report.ts';
import {
  type ClusterState,
  type GroupState,
  type NodeState,
  asideReason,
  hasFollowed,
  nodesOfGroup,
  pauseOf,
  isDoubtfulSite,
  isReplacingDatabase,
} from '../cluster/state.ts';
import { failoverObstacle } from '../failover/obstacles.ts';
import type { View } from '../failover/view.ts';
import type {
  GroupView,
  NodeView,
  PeerView,
  ProbeRefusal,
  StatusView,
  Transport,
} from '../transport/types.ts';
import type { ConsensusStatus } from './consensus.ts';
import { ruleText } from './event-text.ts';
import { groupNotices, leaderlessNotice } from './group-notices.ts';
import { hostNotices, watchNotices } from './host-notices.ts';
import { logicalSlotNotes } from './logical-slot-notes.ts';
import type { ReceivedReport } from './leader.ts';
import { peerList, roleOf } from './peer-list.ts';
import { refusalsByNode } from './probe-refusals.ts';
import { siteWait, sourceOfGroup } from './site-plan.ts';
import type { ServerSight } from './server-watch.ts';
import { watchedViews } from './status-watched.ts';

const REPORT_SHOWN_MS = 3000;
const DISTANT_BYTES = 64 << 20;
const COME_BACK =
  'To have it take part again: stop it, delete the folder raft in its state directory, set join: true in its configuration, start it, and add it with sentinelctl peer add';

export interface StatusOptions {
  readonly cluster: string;
  readonly self: PeerId;
  readonly atMs: number;
  readonly nowMs: number;
  readonly state: ClusterState;
  readonly consensus: ConsensusStatus;
  /** Where the configuration has this peer: all that is known of a peer that no membership names. */
  readonly ownAddress: string;
  /** The cluster went on without this peer. */
  readonly leftBehind: { readonly by: PeerId; readonly incarnation: number } | undefined;
  /** Why this peer can propose nothing. */
  readonly obstacle: string | undefined;
  readonly isReachable: (peer: PeerId) => boolean;
  /** See {@link Transport.refusals}. */
  readonly peerRefusals?: ReturnType<Transport['refusals']> | undefined;
  readonly reports: ReadonlyMap<NodeId, ReceivedReport>;
  /** Of peers whose node has the name of another peer's. */
  readonly disowned: ReadonlyMap<PeerId, ReceivedReport>;
  readonly view: View;
  /** Of this peer's own probes. */
  readonly refusedProbes?: readonly RefusedProbe[];
  /** What this peer sees of servers that are only watched. */
  readonly sights?: ReadonlyMap<NodeId, ServerSight>;
}

type Shown = StatusOptions & { readonly refusals: ReadonlyMap<NodeId, readonly ProbeRefusal[]> };

const NO_SIGHTS: ReadonlyMap<NodeId, ServerSight> = new Map();

interface Warning {
  readonly text: string;
  /** Undefined: it is about the cluster as a whole. */
  readonly group?: GroupId;
}

export function buildStatus(options: StatusOptions): StatusView {
  const { state, consensus } = options;
  const found = [...warnings(options)];
  const shown = { ...options, refusals: probeRefusals(options) };
  return {
    cluster: options.cluster,
    answeredBy: options.self,
    atMs: options.atMs,
    leader: options.leftBehind === undefined ? consensus.leader : undefined,
    term: consensus.term,
    commitIndex: consensus.commitIndex,
    appliedIndex: state.appliedIndex,
    incarnation: consensus.membership.incarnation,
    peers: peerViews(options),
    groups: [...state.groups.values()].map((group) => groupView(shown, group)),
    warnings: found.map(({ text }) => text),
    warningGroups: found.map(({ group }) => group ?? ''),
    watched: watchedViews(state, options.sights ?? NO_SIGHTS),
    ...waitingNodes(state),
  };
}

/** In the order of their names. */
function waitingNodes(state: ClusterState): Pick<StatusView, 'waiting'> {
  const waiting = [...state.nodes.values()]
    .filter(({ group }) => !state.groups.has(group))
    .map(({ node, group, peer, systemIdentifier }) => ({
      node,
      group,
      peer,
      hasData: systemIdentifier !== undefined,
    }))
    .toSorted((a, b) => (a.node < b.node ? -1 : 1));
  return waiting.length === 0 ? {} : { waiting };
}

/** In the order of their names. A peer that no membership names shows itself alone. */
function peerViews(options: StatusOptions): PeerView[] {
  const { consensus, self, state } = options;
  const { incarnation } = consensus.membership;
  const { peers } = peerList({
    ...options,
    consensus: { status: () => consensus },
    state: () => state,
  });
  const members = peers.map(
    ({
      peer,
      address,
      kind,
      role,
      reachable,
      matchIndex,
      lagEntries,
      snapshotIndex,
      features,
    }): PeerView => ({
      ...runsOf(state, peer),
      peer,
      address,
      kind,
      role,
      reachable,
      matchIndex,
      lagEntries,
      snapshotIndex,
      features,
      incarnation,
    }),
  );
  if (members.some(({ peer }) => peer === self))
    return members.toSorted((a, b) => (a.peer < b.peer ? -1 : 1));
  return [
    {
      peer: self,
      address: options.ownAddress,
      kind: 'joining',
      role: roleOf(consensus, self, true, true),
      reachable: true,
      matchIndex: consensus.lastIndex,
      incarnation,
    },
    ...members,
  ];
}

/** Left out of a peer that has not said. */
function runsOf({ peers }: ClusterState, peer: string): Pick<PeerView, 'runs'> {
  const host = peers.get(peerId(peer))?.host;
  return host === undefined ? {} : { runs: host.runs?.node ?? '' };
}

/** By node. */
function probeRefusals(options: StatusOptions): Shown['refusals'] {
  const said = [...options.reports.values()].filter(
    (entry) => entry.report.peer !== options.self && isShown(options, entry),
  );
  return refusalsByNode([
    { peer: options.self, refused: options.refusedProbes ?? [] },
    ...said.map(({ report }) => ({ peer: report.peer, refused: report.refusedProbes ?? [] })),
  ]);
}

function groupView(options: Shown, group: GroupState): GroupView {
  const nodes = nodesOfGroup(options.state, group.id);
  // Not by all nodes of the cluster: with hundreds of groups that would be most of the work.
  const name = (member: string): string => nodes.find((node) => node.member === member)?.node ?? member;
  const primaryReport = liveReport(options, group.phase.primary);
  return {
    group: group.id,
    phase: group.phase.kind,
    epoch: group.epoch,
    primary: group.phase.primary,
    durability: group.settings.durability,
    rule: ruleText(group.rule, name),
    ruleChange: group.next === undefined ? undefined : ruleText(group.next.rule, name),
    nodes: nodes.map((node) => nodeView(options, group, node, primaryReport)),
    settings: group.settings,
    scheduled: group.scheduled,
    paused: group.paused && { untilMs: group.paused.untilMs, maintenance: false },
    formation: formationOf(options.state, group.id),
    restore: restoreView(group),
    restarts: group.restarts.map(({ node, atMs, inPlace, serverStartedAtS }) => ({
      ...{ node, atMs, inPlace },
      begun: serverStartedAtS !== undefined,
    })),
    ...(group.phase.kind === 'following' || hasFollowed(group)
      ? { source: sourceOfGroup(options.state, group) }
      : {}),
    ...(isDoubtfulSite(group) ? { isDoubtful: true } : {}),
    ...(isReplacingDatabase(group) ? { isReplacingDatabase: true } : {}),
  };
}

function restoreView({ restore, systemIdentifier }: GroupState): GroupView['restore'] {
  const reached = restore?.reached;
  if (reached === undefined) return undefined;
  // It goes on with another database since.
  if (systemIdentifier !== undefined && systemIdentifier !== reached.systemIdentifier) return undefined;
  const { target, timeline, position, assigned, lastTransactionMs } = reached;
  return { target, fromTimeline: timeline, lsn: formatLsn(position), timeline: assigned, lastTransactionMs };
}

function nodeView(
  options: Shown,
  group: GroupState,
  node: NodeState,
  primary: AgentReport | undefined,
): NodeView {
  const report = liveReport(options, node.node);
  const isPrimary = report?.condition === 'primary';
  const role = isPrimary ? 'primary' : report?.condition === 'standby' ? 'standby' : 'none';
  const sender = primary?.walSenders.find((candidate) => candidate.applicationName === node.member);
  const pause = pauseOf(group, node.node);
  const refusals = options.refusals.get(node.node);
  // While the group follows another site, what that has written counts, as far as the site leader was told.
  const following = group.phase.kind === 'following';
  const end = following ? primary?.sourceEnd : primary?.position;
  return {
    node: node.node,
    address: formatEndpoint(node),
    peer: node.peer,
    role,
    state: stateText(group, node, report),
    timeline: report?.timeline,
    lsn: report?.position === undefined ? undefined : formatLsn(report.position),
    lagBytes:
      role === 'standby' && end !== undefined && report?.position !== undefined
        ? Math.max(0, lagBytes(end, report.position))
        : undefined,
    sync: role === 'standby' && sender !== undefined ? sender.syncState : undefined,
    member: node.member,
    heldDownBy: node.subjectiveDown
      .filter((entry) => entry.epoch === group.epoch)
      .map((entry) => `${entry.peer}: ${entry.evidence}`),
    message: report === undefined ? `no report from its agent (peer ${node.peer})` : report.message,
    pendingRestart: report?.parameters?.pendingRestart,
    paused: pause && { untilMs: pause.untilMs, maintenance: pause.isMaintenance },
    fenced: group.fenced.includes(node.node),
    counted: node.member !== undefined && group.rule.members.includes(node.member),
    guarded: report?.isGuarded,
    upkeep: report?.upkeep,
    notPromoted: promotionBar(options.state, group, node.node),
    notCounted:
      following || group.phase.primary === node.node ? undefined : syncBar(options.state, group, node.node),
    ...upstreamView(options.state, group, node),
    ...(refusals === undefined ? {} : { probeRefusals: refusals }),
    ...(report === undefined ? { silentMs: silentMs(options, node.node) } : {}),
  };
}

/** Of the primary nothing: it streams from nobody. */
function upstreamView(
  state: ClusterState,
  group: GroupState,
  { node, options }: NodeState,
): Pick<NodeView, 'upstream' | 'upstreamUsed'> {
  const upstream = options?.upstream;
  if (upstream === undefined || group.phase.kind === 'following' || group.phase.primary === node) return {};
  return { upstream, upstreamUsed: upstreamOf(state, group, node) !== undefined };
}

function stateText(group: GroupState, node: NodeState, report: AgentReport | undefined): string {
  if (report === undefined) return 'unknown';
  const aside = report.condition === 'stopped' ? asideReason(group, node.node) : undefined;
  if (aside !== undefined) return aside === 'in maintenance' ? 'maintenance' : aside;
  if (report.condition === 'primary') return 'running';
  if (report.condition !== 'standby') return report.condition;
  if (group.phase.kind === 'promoting' && group.phase.primary === node.node) return 'promoting';
  if (report.streamingFrom !== undefined) return 'streaming';
  const isCut =
    group.phase.kind === 'fencing' && group.phase.reports.some((known) => known.node === node.node);
  return isCut ? 'cut' : 'running';
}

function liveReport(options: StatusOptions, node: NodeId): AgentReport | undefined {
  const entry = options.reports.get(node);
  return entry !== undefined && isShown(options, entry) ? entry.report : undefined;
}

/** Of one that was never heard since this peer was started, with which its clock begins: since then. */
function silentMs({ nowMs, reports }: StatusOptions, node: NodeId): number {
  return Math.max(0, nowMs - (reports.get(node)?.receivedAtMs ?? 0));
}

function* warnings(options: StatusOptions): Iterable<Warning> {
  const { membership } = options.consensus;
  const isPart = options.leftBehind === undefined && membership.incarnation !== 0;
  for (const text of peerWarnings(options)) yield { text };
  if (!isPart || !isMember(options.consensus, options.self)) return;
  for (const group of options.state.groups.values())
    for (const text of groupWarnings(options, group)) yield { text, group: group.id };
  for (const text of [...groupsToCome(options), ...watchNotices(options.state), ...strangers(options)])
    yield { text };
}

/** What keeps this peer, or the cluster as a whole, from doing its part. */
function* peerWarnings(options: StatusOptions): Iterable<string> {
  const { membership } = options.consensus;
  if (options.leftBehind !== undefined) {
    const { by, incarnation } = options.leftBehind;
    yield `the cluster was recovered without peer ${options.self}: ${by} is at incarnation ${incarnation}, this peer at ${membership.incarnation}. It takes no part any more and its PostgreSQL is stopped. ${COME_BACK}`;
    return;
  }
  if (membership.incarnation === 0) {
    yield `peer ${options.self} is not a member yet: run sentinelctl peer add ${options.self} ${options.ownAddress} against a peer that is`;
    return;
  }
  if (!isMember(options.consensus, options.self)) {
    yield `peer ${options.self} was removed from the cluster. ${COME_BACK}`;
    return;
  }
  if (options.obstacle !== undefined) yield options.obstacle;
  if (options.consensus.isDiskStalled)
    yield `the disk of peer ${options.self} does not answer: it neither leads nor votes until it does`;
  const { peerRefusals: refusals = [] } = options;
  if (hasNoLeader(options) && refusals.length > 0) {
    const [{ reason } = { reason: '' }] = refusals;
    yield `no Raft leader here: ${refusals.map(({ peer }) => peer).join(', ')} ${refusals.length === 1 ? 'answers and refuses' : 'answer and refuse'} this peer: ${reason}`;
  } else if (hasNoLeader(options)) {
    yield 'no Raft leader: nothing can fail over or be changed until a majority of the voters reach each other; bring their hosts back, or where their disks are gone for good see sentinelctl peer recover --help';
  }
}

/** Of a peer that takes part: for any other it means nothing. */
function hasNoLeader(options: StatusOptions): boolean {
  const { consensus, leftBehind, self } = options;
  return leftBehind === undefined && consensus.leader === undefined && isMember(consensus, self);
}

function* groupWarnings(options: StatusOptions, group: GroupState): Iterable<string> {
  const { state } = options;
  const nodes = nodesOfGroup(state, group.id);
  const open = nodes.filter((node) => liveReport(options, node.node)?.condition === 'primary');
  if (open.length > 1)
    yield `group ${group.id}: ${open.map((node) => node.node).join(' and ')} both run as primary`;
  if (group.phase.kind === 'running') {
    const obstacle = failoverObstacle(state, group, options.view);
    if (obstacle !== undefined && nodes.length > 1)
      yield `group ${group.id} could not fail over now: ${obstacle}`;
  }
  const wait = siteWait(state, group, options.view);
  if (wait !== undefined)
    yield `group ${group.id} follows the other site no longer, and has no primary yet: ${wait}`;
  const leaderless = hasNoLeader(options) ? leaderlessNotice(state, group) : undefined;
  if (leaderless !== undefined) yield leaderless;
  yield* groupNotices(options, group);
  yield* hostNotices(state, group);
  for (const slot of group.logicalSlots) {
    const reportOf = (node: NodeId): AgentReport | undefined => liveReport(options, node);
    for (const problem of logicalSlotNotes({ slot, group, nodes, reportOf }).problems)
      yield `logical slot ${slot.name}: ${problem}`;
  }
  const primary = liveReport(options, group.phase.primary);
  for (const node of nodes) {
    const report = liveReport(options, node.node);
    if (report?.condition === 'failed')
      yield `${node.node}: ${report.message ?? 'its agent cannot do its duty'}`;
    if (report?.condition === 'standby' && report.position !== undefined && primary?.position !== undefined) {
      const behind = lagBytes(primary.position, report.position);
      if (behind > DISTANT_BYTES) yield `${node.node} is ${Math.round(behind / (1 << 20))} MB behind`;
    }
  }
}

/** Agents whose node is not, or no longer, one of the log's. */
function* strangers(options: StatusOptions): Iterable<string> {
  const { state } = options;
  for (const entry of options.disowned.values()) {
    if (isShown(options, entry))
      yield `peer ${entry.report.peer}: ${entry.report.message ?? `its node ${entry.report.node} is another peer's`}`;
  }
  // A node that the log refuses, such as one with another database, is in no group: only its agent speaks of it.
  for (const { report } of options.reports.values()) {
    if (liveReport(options, report.node) === undefined || state.nodes.has(report.node)) continue;
    if (state.removed.has(report.node))
      yield `${report.node} (peer ${report.peer}): ${report.message ?? 'removed'}`;
    else
      yield `${report.node} (peer ${report.peer}) is not registered: ${report.message ?? report.condition}`;
  }
}

function isMember(consensus: ConsensusStatus, peer: PeerId): boolean {
  const { voters, learners } = consensus.membership;
  return voters.includes(peer) || learners.includes(peer);
}

function isShown(options: StatusOptions, entry: ReceivedReport): boolean {
  return options.nowMs - entry.receivedAtMs <= REPORT_SHOWN_MS;
}

function* groupsToCome(options: StatusOptions): Iterable<string> {
  const { state } = options;
  const unplaced = [...state.nodes.values()].filter((node) => !state.groups.has(node.group));
  for (const name of new Set(unplaced.map((node) => node.group))) {
    const nodes = unplaced
      .filter((node) => node.group === name)
      .toSorted((a, b) => (a.node < b.node ? -1 : 1));
    const withData = nodes.filter((node) => node.systemIdentifier !== undefined);
    const running = withData.filter(({ node }) => liveReport(options, node)?.found !== undefined);
    const followers = nodes.filter(({ options }) => options?.source !== undefined);
    if (followers.length > 0 && withData.length > 0)
      yield `group ${name} is not created: it is to follow another site (node.follow on ${followers.map(({ node }) => node).join(', ')}), and begins without data, but ${withData.map(({ node }) => node).join(' and ')} ${withData.length === 1 ? 'has' : 'have'} a database; move it away`;
    else if (running.length > 0)
      yield `group ${name} is not created: PostgreSQL runs already on ${running.map(({ node }) => node).join(' and ')}; to have a primary and its standbys taken over as they run: sentinelctl adopt ${name} --dry-run`;
    else
      yield withData.length > 1
        ? `group ${name} is not created: ${withData.map((node) => node.node).join(' and ')} each hold a database; leave it on one of them and move the others away`
        : `group ${name} is not created yet; registered so far: ${nodes.map((node) => node.node).join(', ')}`;
  }
}
