// What a life of the protocol's model begins with, what a leader with a bug may propose, and how a node is described in a
// trace. Never used outside tests.
import { type Epoch, type NodeId, type PeerId, groupId, logIndex, timeline } from '../../base/ids.ts';
import type { Command, SyncRule } from '../../cluster/commands.ts';
import { DEFAULT_GROUP_SETTINGS } from '../../cluster/apply-settings.ts';
import { followersAtOnce } from '../../cluster/candidate.ts';
import { FEATURES, FIRST_FEATURE_LEVEL } from '../../cluster/features.ts';
import { isLeased } from '../../cluster/quorum.ts';
import { lsn } from '../../base/lsn.ts';
import type { AgentReport } from '../../cluster/report.ts';
import type { ClusterState, GroupState } from '../../cluster/state.ts';
import type { Membership } from '../../raft/types.ts';
import { type NodeModel, hasPriority, isPrimary, start } from './postgres-model.ts';
import type { Random } from './random.ts';
import { timelineOf } from './wal.ts';

export const GROUP = groupId('main');

/** How often what happened: a life in which nothing happens proves nothing. */
export interface Tally {
  acknowledged: number;
  failovers: number;
  promotions: number;
  promotionsOverFloor: number;
  promotionsDuringChange: number;
  formerChosenAgain: number;
  failedPromotions: number;
  resumed: number;
  ruleChanges: number;
  leasedPromotions: number;
  forcedPromotions: number;
  strictPromotions: number;
  fenceCommands: number;
  clones: number;
  agentRestarts: number;
  recoveries: number;
  removals: number;
  refused: number;
  passedOver: number;
  fetches: number;
  fetched: number;
  fetchesFailed: number;
  cascades: number;
}

export const emptyTally = (): Tally => ({
  acknowledged: 0,
  failovers: 0,
  promotions: 0,
  promotionsOverFloor: 0,
  promotionsDuringChange: 0,
  formerChosenAgain: 0,
  failedPromotions: 0,
  resumed: 0,
  ruleChanges: 0,
  leasedPromotions: 0,
  forcedPromotions: 0,
  strictPromotions: 0,
  fenceCommands: 0,
  clones: 0,
  agentRestarts: 0,
  recoveries: 0,
  removals: 0,
  refused: 0,
  passedOver: 0,
  fetches: 0,
  fetched: 0,
  fetchesFailed: 0,
  cascades: 0,
});

/** Notes what a command that was taken amounts to; `before` is the group as it met it. */
export function count(tally: Tally, command: Command, before: GroupState): void {
  if (command.kind === 'begin-failover') tally.failovers += 1;
  if (command.kind === 'resume') tally.resumed += 1;
  if (command.kind === 'commit-rule') tally.ruleChanges += 1;
  if (command.kind === 'remove-node') tally.removals += 1;
  if (command.kind === 'promotion-failed') tally.failedPromotions += 1;
  if (command.kind === 'fetch-wal') tally.fetches += 1;
  if (command.kind === 'fetch-failed') tally.fetchesFailed += 1;
  if (command.kind === 'use-upstream' && command.upstream !== undefined) tally.cascades += 1;
  if (command.kind !== 'promote') return;
  const { phase } = before;
  if (
    phase.kind === 'fencing' &&
    phase.fetches?.some(({ node, isOver }) => isOver && node === command.candidate)
  )
    tally.fetched += 1;
  tally.promotions += 1;
  if (before.rule.leased === true) tally.leasedPromotions += 1;
  if (before.phase.kind === 'fencing' && before.phase.cause.kind === 'forced') tally.forcedPromotions += 1;
  if (command.rule.acks > command.rule.members.length) tally.strictPromotions += 1;
  if (before.floor !== undefined) tally.promotionsOverFloor += 1;
  if (before.next !== undefined) tally.promotionsDuringChange += 1;
  if (before.phase.kind === 'fencing' && before.phase.primary === command.candidate)
    tally.formerChosenAgain += 1;
}

/** All proposals are made in one session, that of the first peer: what comes twice counts once. */
export const SESSION = 'model';

export function votersOf(peers: readonly PeerId[], incarnation: number): Membership {
  return { voters: peers, learners: [], addresses: new Map(), incarnation };
}

/** The group's first primary runs alone; the others are standbys of the same data, streaming from it. */
export function found(options: {
  readonly names: readonly NodeId[];
  readonly nodes: readonly NodeModel[];
  readonly commit: (command: Command) => void;
  readonly states: readonly ClusterState[];
  /** Whether all are wanted alike: then nobody fetches WAL that another has, unless it must. */
  readonly isEven: boolean;
}): void {
  const [first] = options.nodes;
  if (first === undefined) throw new Error('no node');
  for (const { peer } of options.nodes) {
    const session = peer === first.peer ? SESSION : `${SESSION}-${peer}`;
    const seenIndex = logIndex(0);
    options.commit({ kind: 'open-session', peer, session, store: session, features: FEATURES, seenIndex });
  }
  for (let level = FIRST_FEATURE_LEVEL; level < FEATURES; level += 1)
    options.commit({ kind: 'set-feature-level', level: level + 1 });
  options.nodes.forEach((node, place) => {
    const { name, peer } = node;
    const member = place === 0 ? node.member : undefined;
    options.commit({
      kind: 'register-node',
      node: name,
      group: GROUP,
      peer,
      host: name,
      port: 5432,
      member,
      systemIdentifier: member === undefined ? undefined : '1',
      // Else the last one is wanted most, and seldom the one that stands furthest.
      priority: options.isEven ? 0 : place,
    });
  });
  options.commit({ kind: 'create-group', group: GROUP, primary: first.name });
  const epoch = (options.states.length - 1) as Epoch;
  // All failovers of a life lie within any window: nobody is there to acknowledge them.
  const settings = { ...DEFAULT_GROUP_SETTINGS, maxFailovers: 1000 };
  options.commit({ kind: 'change-settings', group: GROUP, settings });
  options.commit({
    kind: 'group-ready',
    group: GROUP,
    epoch,
    member: first.member as NonNullable<typeof first.member>,
    systemIdentifier: '1',
    timeline: timeline(1),
  });
  for (const node of options.nodes) {
    node.agent.log = options.states;
    node.agent.applied = options.states.length - 1;
    node.fence = { incarnation: 1, epoch };
    if (node === first) {
      node.fileNames = { kind: 'alone' };
      start(node, 'primary', 1);
    } else {
      node.upstream = first.name;
      start(node, 'standby', 1);
    }
  }
}

/** What a node's agent tells the leader. */
export const reportOf = (node: NodeModel, now: number): AgentReport => ({
  node: node.name,
  peer: node.peer,
  sequence: now,
  startedAtMs: 0,
  member: node.isFit ? node.member : undefined,
  condition: !node.isFit ? 'absent' : !node.isUp ? 'stopped' : node.role,
  fenceEpoch: node.fence.epoch,
  timeline: timeline(timelineOf(node.wal)),
  position: lsn(BigInt(node.wal.length)),
  replayLsn: undefined,
  streamingFrom: undefined,
  walSenders: [...node.senders].map(([member, sender]) => ({
    applicationName: member,
    state: 'streaming',
    syncState: hasPriority([member, sender]) ? 'quorum' : 'async',
    flushLsn: lsn(BigInt(sender.flush)),
  })),
  serverVersion: undefined,
  message: undefined,
});

/** The primary of a group that runs as it should: every standby in the rule, nothing pending. */
export function wholePrimary(group: GroupState, nodes: readonly NodeModel[]): NodeModel | undefined {
  const { phase, rule, next, floor } = group;
  const primary = nodes.find((node) => node.name === phase.primary);
  if (phase.kind !== 'running' || next !== undefined || floor !== undefined) return undefined;
  if (primary === undefined || !isPrimary(primary)) return undefined;
  const standbys = nodes.filter((node) => node !== primary);
  const isCounted = (node: NodeModel): boolean =>
    node.member !== undefined && rule.members.includes(node.member);
  return standbys.every(isCounted) ? primary : undefined;
}

export const textOf = (item: unknown): string =>
  JSON.stringify(item, (_key: string, part: unknown): unknown =>
    typeof part === 'bigint' ? Number(part) : part instanceof Map ? [...part] : part,
  );

/** Where a node stands, in one line. */
export function describeNode({
  wal,
  senders: _senders,
  waiting: _waiting,
  agent: _agent,
  ...node
}: NodeModel): string {
  return `${textOf(node)} at ${timelineOf(wal)}/${wal.length}`;
}

/** What a leader with a bug might propose. */
export function mischief(
  random: Random,
  group: GroupState,
  state: ClusterState,
  nodes: readonly NodeModel[],
): Command | undefined {
  const base = { group: group.id, epoch: group.epoch };
  const members = nodes.flatMap((node) => state.nodes.get(node.name)?.member ?? []);
  const subset = members.filter(() => random.chance(0.5));
  const rule: SyncRule = {
    members: subset,
    acks: subset.length === 0 ? 0 : random.between(1, Math.min(2, subset.length)),
  };
  const share = random.pick([0, 0.8, 1]);
  switch (random.between(0, 6)) {
    case 6: {
      const [node, from] = [random.pick(nodes).name, random.pick(nodes).name];
      if (group.phase.kind !== 'fencing') return { kind: 'use-upstream', ...base, node, upstream: from };
      return random.chance(0.2)
        ? { kind: 'fetch-failed', ...base, node, reason: 'somebody said so' }
        : { kind: 'fetch-wal', ...base, node, from };
    }
    case 0:
      return {
        kind: 'begin-failover',
        ...base,
        cause: { kind: 'planned', to: random.chance(0.5) ? random.pick(nodes).name : undefined },
      };
    case 1:
      return {
        kind: 'begin-failover',
        ...base,
        cause: { kind: random.chance(0.5) ? 'down' : 'promotion-failed' },
      };
    case 2:
      return { kind: 'resume', ...base };
    case 3:
      return { kind: 'begin-rule-change', ...base, next: rule };
    default: {
      if (group.phase.kind !== 'fencing' || group.phase.reports.length === 0) return undefined;
      // That a lease has run out is the leader's word alone: no log could tell.
      if (isLeased(group)) return undefined;
      const candidate = random.pick(group.phase.reports);
      const able = followersAtOnce(group.phase.primary, group.phase.reports, candidate).filter(() =>
        random.chance(share),
      );
      const acks = able.length === 0 ? 0 : random.between(1, able.length);
      return {
        kind: 'promote',
        ...base,
        candidate: candidate.node,
        timeline: timeline(group.highestTimeline + random.between(0, 2)),
        rule: { members: able, acks },
      };
    }
  }
}
