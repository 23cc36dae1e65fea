// What owners say of their nodes in a life of the protocol's model: which are never promoted or counted, which lag behind on purpose, where
// peers are, and where the primary should be. Never used outside tests.
import type { Command, NodeOptions } from '../../cluster/commands.ts';
import { hasOptions, promotionBar } from '../../cluster/eligibility.ts';
import { comparePositions } from '../../cluster/candidate.ts';
import { disowned } from '../../cluster/hosts.ts';
import type { ClusterState, GroupState, NodeState } from '../../cluster/state.ts';
import type { LifeOptions } from './life-options.ts';
import { request } from './life-settings.ts';
import type { NodeModel } from './postgres-model.ts';
import type { Random } from './random.ts';

/** What a person asks for, of what the life has people do. */
export function wish(
  options: Pick<LifeOptions, 'isPlaced' | 'isSteered'>,
  random: Random,
  state: ClusterState,
  group: GroupState,
  nodes: readonly NodeModel[],
): Command | undefined {
  const isOfPlaces = options.isPlaced === true && (options.isSteered !== true || random.chance(0.4));
  return isOfPlaces ? placing(random, state, group) : request(random, group, nodes);
}

function placing(random: Random, state: ClusterState, group: GroupState): Command | undefined {
  const node = random.pick([...state.nodes.values()]);
  switch (random.between(0, 6)) {
    case 5: {
      const { peer, group: of } = node;
      const runs = random.chance(0.4) ? undefined : { node: node.node, group: of, formation: 'default' };
      return { kind: 'declare-host', peer, host: { runs, watch: [] } };
    }
    case 0:
    case 1:
    case 2: {
      const options = {
        noFailover: random.chance(0.4),
        noSync: random.chance(0.2),
        applyDelayMs: random.chance(0.2) ? 1000 : 0,
      };
      const upstream = random.chance(0.4) ? { upstream: random.pick([...state.nodes.keys()]) } : {};
      return registered(node, { ...options, ...upstream });
    }
    case 3:
      return registered(node, undefined);
    case 4: {
      const { peer } = node;
      return {
        kind: 'describe-peer',
        peer,
        site: random.chance(0.2) ? undefined : random.pick(['east', 'west']),
      };
    }
    default: {
      const sitePolicy = random.pick(['ignore', 'prefer', 'majority'] as const);
      const failback = random.pick(['off', `node:${node.node}`] as const);
      const settings = { sitePolicy, failback, failbackAfterMs: 1000 };
      return { kind: 'change-settings', group: group.id, settings };
    }
  }
}

/** In the middle of a failover: one that has reported is never to be promoted. */
export function barring(random: Random, state: ClusterState, { phase }: GroupState): Command | undefined {
  if (phase.kind !== 'fencing' || phase.reports.length === 0) return undefined;
  const node = state.nodes.get(random.pick(phase.reports).node);
  return node && registered(node, { noFailover: true, noSync: false, applyDelayMs: 0 });
}

function registered({ subjectiveDown: _, options: __, ...rest }: NodeState, options?: NodeOptions): Command {
  const isSaid = options !== undefined && hasOptions(options);
  return { kind: 'register-node', ...rest, ...(isSaid ? { options } : {}) };
}

/** What takes all of it back: the group has to become whole again. */
export function* unplaced(state: ClusterState): Iterable<Command> {
  for (const node of state.nodes.values()) if (node.options !== undefined) yield registered(node, undefined);
  for (const node of state.nodes.values()) {
    const gone = disowned(state, node);
    const runs = { node: node.node, group: node.group, formation: 'default' };
    if (gone !== undefined) yield { kind: 'declare-host', peer: gone.peer, host: { runs, watch: [] } };
  }
  for (const { id, settings } of state.groups.values())
    if (settings.sitePolicy !== 'ignore' || settings.failback !== 'off')
      yield { kind: 'change-settings', group: id, settings: { sitePolicy: 'ignore', failback: 'off' } };
}

/** Whether the promotion passes over a node that holds more, because that may not be promoted. */
export function isPassingOver(state: ClusterState, group: GroupState, command: Command): boolean {
  if (command.kind !== 'promote' || group.phase.kind !== 'fencing') return false;
  const { phase } = group;
  const chosen = phase.reports.find(({ node }) => node === command.candidate);
  return phase.reports.some(
    (report) =>
      chosen !== undefined &&
      comparePositions(report, chosen) > 0 &&
      promotionBar(state, group, report.node) !== undefined,
  );
}
