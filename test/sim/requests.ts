// What people ask of a group and its nodes beyond an ordinary day: to keep a node stopped, to take one out and let it in again, to leave one
// alone, to switch over or restart at a given time, to fail over whatever is lost, and their word that a host is off.
// Must never say of a node that it is off unless it is.
import type { GroupId, NodeId } from '../../src/base/ids.ts';
import { isCounted } from '../../src/cluster/apply-removal.ts';
import type { Command } from '../../src/cluster/commands.ts';
import { SCHEDULED_RESTART_FEATURE_LEVEL } from '../../src/cluster/features.ts';
import { type ClusterState, type GroupState, nodesOfGroup } from '../../src/cluster/state.ts';
import { propose } from './cluster/replica.ts';
import { GROUP, stop } from './postgres/postgres.ts';
import { dropReceiver } from './postgres/streams.ts';
import { endProcess } from './raft/process.ts';
import type { Host, World } from './world.ts';

const PROPOSAL_TIMEOUT_US = 600_000;
const PAUSE_MS_MAX = 1000;
const AHEAD_MS_MAX = 600;

export function proposeAny(world: World, leader: Host, command: Command): void {
  propose(world, leader, command, PROPOSAL_TIMEOUT_US, () => undefined);
}

/** One request; none where there is no group yet, or where what came to mind makes no sense now. */
export function request(world: World, leader: Host): void {
  const state = leader.replica?.state;
  const group = state?.groups.get(GROUP);
  const nodes = state === undefined ? [] : nodesOfGroup(state, GROUP);
  if (state === undefined || group === undefined || nodes.length === 0) return;
  const { node } = world.random.pick(nodes);
  const isLossAccepted = world.profile.forces && world.random.ppm(200_000);
  const command = isLossAccepted
    ? (offWord(world, leader, group) ?? forced(world, group, node))
    : anyRequest(world, state, group, node);
  if (command !== undefined) proposeAny(world, leader, command);
}

function anyRequest(world: World, state: ClusterState, group: GroupState, node: NodeId): Command | undefined {
  const { random } = world;
  switch (random.below(10)) {
    case 0:
    case 1:
      return { kind: 'fence-node', node };
    case 2:
      return group.fenced.length === 0
        ? undefined
        : { kind: 'unfence-node', node: random.pick(group.fenced) };
    case 3:
      return pauseOf(world, GROUP, random.ppm(300_000) ? undefined : node);
    case 4:
      return endOfPause(world, group);
    case 5:
    case 6:
      return removal(world, state, group);
    case 7: {
      const gone = [...state.removed.values()];
      return gone.length === 0
        ? undefined
        : { kind: 'readmit-node', group: GROUP, node: random.pick(gone).node };
    }
    case 8:
      return switchoverAt(world, group, node);
    default:
      return restartAt(world, state, group, node);
  }
}

/** `sentinelctl pause` and `maintenance on`, for a time or until somebody ends it. */
export function pauseOf({ timeline, random }: World, group: GroupId, node: NodeId | undefined): Command {
  const untilMs = Math.floor(timeline.nowUs / 1000) + random.between(100, PAUSE_MS_MAX);
  return {
    kind: 'pause',
    group,
    node,
    isMaintenance: random.ppm(500_000),
    untilMs: random.ppm(700_000) ? untilMs : undefined,
  };
}

/** `sentinelctl resume` and `maintenance off`, of any that there is. */
function endOfPause({ random }: World, { id, paused, pausedNodes }: GroupState): Command | undefined {
  if (paused !== undefined && (pausedNodes.length === 0 || random.ppm(300_000)))
    return { kind: 'end-pause', group: id, node: undefined };
  if (pausedNodes.length === 0) return undefined;
  return { kind: 'end-pause', group: id, node: random.pick(pausedNodes).node };
}

/** `sentinelctl node unregister` and `drop`: mostly of one that has left the sync rule, which a pause or a fence before it has seen to. */
function removal({ random }: World, state: ClusterState, group: GroupState): Command {
  const nodes = nodesOfGroup(state, group.id);
  const out = nodes.filter((each) => !isCounted(group, each) && each.node !== group.phase.primary);
  const { node } = random.pick(out.length > 0 && random.ppm(800_000) ? out : nodes);
  const leaving = random.pick(['leave', 'stop', 'destroy'] as const);
  return { kind: 'remove-node', group: group.id, node, leaving };
}

/** `sentinelctl failover --at`, and `--at never`. */
function switchoverAt({ timeline, random }: World, { id, scheduled }: GroupState, node: NodeId): Command {
  if (scheduled !== undefined && random.ppm(400_000))
    return { kind: 'schedule-switchover', group: id, at: undefined };
  const atMs = Math.floor(timeline.nowUs / 1000) + random.between(1, AHEAD_MS_MAX);
  const to = random.ppm(500_000) ? node : undefined;
  return { kind: 'schedule-switchover', group: id, at: { atMs, to } };
}

/** `sentinelctl node restart --at`, and `--cancel`. */
function restartAt(
  { timeline, random }: World,
  { featureLevel }: ClusterState,
  { id, restarts }: GroupState,
  node: NodeId,
): Command | undefined {
  if (featureLevel < SCHEDULED_RESTART_FEATURE_LEVEL) return undefined;
  const isThere = restarts.some((restart) => restart.node === node);
  if (isThere && random.ppm(500_000)) return { kind: 'schedule-restart', group: id, node, at: undefined };
  const atMs = Math.floor(timeline.nowUs / 1000) + random.between(1, AHEAD_MS_MAX);
  return { kind: 'schedule-restart', group: id, node, at: { atMs, inPlace: random.ppm(500_000) } };
}

/** `sentinelctl failover --accept-data-loss`: most people try it only where nothing goes on. */
function forced({ random }: World, group: GroupState, node: NodeId): Command | undefined {
  const isStuck = group.phase.kind !== 'running' || group.rule.acks === 0;
  if (random.ppm(isStuck ? 300_000 : 800_000)) return undefined;
  const to = random.ppm(500_000) ? node : undefined;
  return { kind: 'begin-failover', group: group.id, epoch: group.epoch, cause: { kind: 'forced', to } };
}

/**
 * `--old-primary-is-off`, or what a fence command says: it is true, for its host is switched off where it runs still. What starts there later
 * asks the log first.
 */
function offWord(world: World, leader: Host, { id, epoch, phase }: GroupState): Command | undefined {
  const host = world.nodeHost.get(phase.primary);
  if (phase.kind !== 'fencing' || phase.cause.kind !== 'forced' || host?.postgres === undefined)
    return undefined;
  if (host === leader || phase.reports.some(({ node }) => node === phase.primary)) return undefined;
  endProcess(world, host, 'a person switches its host off');
  dropReceiver(world, host.postgres);
  stop(host.postgres);
  return { kind: 'node-off', group: id, epoch, node: phase.primary, by: 'operator' };
}

/** What keeps the group from becoming whole is taken back, and what waits for a node that does not come is asked for otherwise. */
export function settle(world: World, leader: Host): void {
  const state = leader.replica?.state;
  const group = state?.groups.get(GROUP);
  if (state === undefined || group === undefined) return;
  const { id, epoch, phase } = group;
  if (group.paused !== undefined)
    proposeAny(world, leader, { kind: 'end-pause', group: id, node: undefined });
  for (const { node } of group.pausedNodes) proposeAny(world, leader, { kind: 'end-pause', group: id, node });
  for (const node of group.fenced) proposeAny(world, leader, { kind: 'unfence-node', node });
  for (const { node } of state.removed.values())
    proposeAny(world, leader, { kind: 'readmit-node', group: id, node });
  const isWaiting = phase.kind === 'fencing' && phase.cause.kind === 'forced' && phase.cause.to !== undefined;
  if (isWaiting && world.random.ppm(100_000))
    proposeAny(world, leader, {
      kind: 'begin-failover',
      group: id,
      epoch,
      cause: { kind: 'forced', to: undefined },
    });
}
