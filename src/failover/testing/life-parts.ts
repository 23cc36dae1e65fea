// What a life of the protocol's model begins with, what a leader with a bug may propose, and how a node is described in a
// trace. Never used outside tests.
import { type Epoch, type NodeId, groupId, timeline } from '../../base/ids.ts';
import type { Command, SyncRule } from '../../cluster/commands.ts';
import { followersAtOnce } from '../../cluster/candidate.ts';
import type { ClusterState, GroupState } from '../../cluster/state.ts';
import { type NodeModel, start, timelineOf } from './postgres-model.ts';
import type { Random } from './random.ts';

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
  clones: number;
  agentRestarts: number;
  refused: number;
}

/** The group's first primary runs alone; the others are standbys of the same data, streaming from it. */
export function found(options: {
  readonly names: readonly NodeId[];
  readonly nodes: readonly NodeModel[];
  readonly commit: (command: Command) => void;
  readonly states: readonly ClusterState[];
}): void {
  const [first] = options.nodes;
  if (first === undefined) throw new Error('no node');
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
      priority: 0,
    });
  });
  options.commit({ kind: 'create-group', group: GROUP, primary: first.name });
  const epoch = (options.states.length - 1) as Epoch;
  options.commit({
    kind: 'group-ready',
    group: GROUP,
    epoch,
    member: first.member as NonNullable<typeof first.member>,
    systemIdentifier: '1',
    timeline: timeline(1),
  });
  for (const node of options.nodes) {
    node.agent.applied = options.states.length - 1;
    node.fence = epoch;
    if (node === first) {
      node.fileNames = { kind: 'alone' };
      start(node, 'primary', 1);
    } else {
      node.upstream = first.name;
      start(node, 'standby', 1);
    }
  }
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
  switch (random.between(0, 5)) {
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
