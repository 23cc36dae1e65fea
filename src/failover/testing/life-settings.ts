// What people do to a group in a life of the protocol's model: change its settings, fence and pause nodes, fail over on their own word, and say
// truly that a node is off. Never used outside tests.
import { DEFAULT_GROUP_SETTINGS } from '../../cluster/apply-settings.ts';
import type { Command, Durability, GroupSettings } from '../../cluster/commands.ts';
import type { ClusterState, GroupState } from '../../cluster/state.ts';
import { fenceTargets } from '../fence-target.ts';
import type { View } from '../view.ts';
import { type NodeModel, stop } from './postgres-model.ts';
import type { Random } from './random.ts';

/** A failover of the model takes about so long: a shorter lease would always have run out. */
const LEASE_MS = 20_000;

function settingsOf(durability: Durability, acks: number, maxLagBytes: number): GroupSettings {
  return {
    ...DEFAULT_GROUP_SETTINGS,
    durability,
    acks,
    leaseMs: LEASE_MS,
    maxLagBytes,
    maxFailovers: 1000,
  };
}

/** Any of them, now and then. */
export function request(random: Random, group: GroupState, nodes: readonly NodeModel[]): Command | undefined {
  const node = random.pick(nodes).name;
  const base = { group: group.id, epoch: group.epoch };
  switch (random.between(0, 12)) {
    case 0:
    case 1: {
      const durability = random.pick(['quorum', 'quorum', 'strict', 'async'] as const);
      const settings = settingsOf(durability, random.between(1, 2), random.pick([0, 3, 1000]));
      // Without a draw of its own: the lives of the seeds stay as they were.
      if (settings.maxLagBytes === 3) {
        const value = settings.acks === 1 ? undefined : settings.durability;
        const parameters = [{ name: 'application.mode', value }];
        const hba = settings.acks === 1 ? ['host all all all scram-sha-256'] : [];
        return { kind: 'configure', group: group.id, settings, parameters, hba, by: '' };
      }
      return { kind: 'change-settings', group: group.id, settings };
    }
    case 2:
      return { kind: 'fence-node', node };
    case 3:
    case 4:
      return { kind: 'unfence-node', node };
    case 5:
      if (!random.chance(0.3)) return undefined;
      return {
        kind: 'begin-failover',
        ...base,
        cause: { kind: 'forced', to: random.chance(0.5) ? node : undefined },
      };
    case 6:
    case 7: {
      const untilMs = random.chance(0.5) ? random.between(1, 1000) : undefined;
      const of = random.chance(0.3) ? undefined : node;
      return { kind: 'pause', group: group.id, node: of, isMaintenance: random.chance(0.5), untilMs };
    }
    case 8:
    case 9:
      return { kind: 'end-pause', group: group.id, node: random.chance(0.3) ? undefined : node };
    default: {
      const primary = nodes.find(({ name }) => name === group.phase.primary);
      if (primary === undefined || primary.isUp || primary.agent.isAlive) return undefined;
      return { kind: 'node-off', ...base, node: primary.name, by: 'operator' };
    }
  }
}

/** As many standbys as before have to hold a commit, or one more, or one fewer. */
export function recount(random: Random, group: GroupState): Command {
  return { kind: 'change-settings', group: group.id, settings: { acks: random.between(1, 2) } };
}

/** A node is taken out, or let in again. */
export function removal(random: Random, group: GroupState, nodes: readonly NodeModel[]): Command {
  const node = random.pick(nodes).name;
  const base = { group: group.id, node };
  return random.chance(0.5)
    ? { kind: 'readmit-node', ...base }
    : { kind: 'remove-node', ...base, leaving: random.pick(['leave', 'stop', 'destroy'] as const) };
}

/**
 * What the fence command does where the leader has it run: the host loses its power, and says so. Throws where it is asked to switch off a
 * host whose agent answers.
 */
export function switchedOff(
  state: ClusterState,
  view: View,
  nodes: readonly NodeModel[],
  tally: { fenceCommands: number },
): Command | undefined {
  const leader = nodes.find(
    ({ name }) => ![...state.groups.values()].some(({ phase }) => phase.primary === name),
  );
  const [target] = leader === undefined ? [] : fenceTargets(state, view, leader.peer);
  if (target === undefined) return undefined;
  const { group, epoch, node: name } = target;
  const node = nodes.find((each) => each.name === name);
  if (node === undefined || (node.agent.isAlive && node.agent.isConnected))
    throw new Error(`${name} answers, and was to be switched off`);
  stop(node);
  node.agent.isAlive = false;
  tally.fenceCommands += 1;
  return { kind: 'node-off', group, epoch, node: name, by: 'fence-command' };
}

/** What leaves the group such that it has to become whole again. */
export function* settled(random: Random, group: GroupState): Iterable<Command> {
  if (group.paused !== undefined) yield { kind: 'end-pause', group: group.id, node: undefined };
  for (const { node } of group.pausedNodes) yield { kind: 'end-pause', group: group.id, node };
  for (const node of group.fenced) yield { kind: 'unfence-node', node };
  const durability = random.pick(['quorum', 'strict'] as const);
  // While a change to a weaker rule is under way strict is refused.
  const settings = settingsOf(group.next === undefined ? durability : 'quorum', random.between(1, 2), 1000);
  yield { kind: 'change-settings', group: group.id, settings };
}

/** From here on what was acknowledged before is no longer promised: a lease has begun, or a person has accepted a loss. */
export function mayLose(before: GroupState, after: GroupState): boolean {
  const isForced = before.phase.kind === 'fencing' && before.phase.cause.kind === 'forced';
  return (
    (after.rule.leased === true && before.rule.leased !== true) ||
    (isForced && after.phase.kind === 'promoting')
  );
}
