// Each peer's judgement of the group's primary, turned into log entries: edges only (src/daemon/observer.ts). What a probe sees
// is the network and PostgreSQL as they are; how long it takes to believe it differs from look to look.
import type { Command } from '../../../src/cluster/commands.ts';
import type { ClusterState, GroupState } from '../../../src/cluster/state.ts';
import type { PeerId } from '../../../src/base/ids.ts';
import { GROUP } from '../postgres/postgres.ts';
import { type Host, type World, isLinked } from '../world.ts';
import { propose } from './replica.ts';

const LOOK_US = 50_000;
const DOWN_AFTER_US = 160_000;
const UP_AFTER_US = 100_000;
const PROPOSAL_TIMEOUT_US = 600_000;

/** One look at the primary; called on ticks. */
export function observe(world: World, host: Host): void {
  const { observer, replica } = host;
  const { nowUs } = world.timeline;
  if (nowUs < observer.nextLookUs || replica === undefined || !replica.proposer.isOpen) return;
  observer.nextLookUs = nowUs + LOOK_US;
  const group = replica.state.groups.get(GROUP);
  if (group === undefined || group.phase.kind === 'creating') return;
  const { primary } = group.phase;
  if (observer.node !== primary) {
    observer.node = primary;
    observer.upSinceUs = -1;
    observer.downSinceUs = -1;
  }
  const seen = isSeenWell(world, host, group);
  if (seen) {
    observer.downSinceUs = -1;
    if (observer.upSinceUs < 0) observer.upSinceUs = nowUs;
  } else {
    observer.upSinceUs = -1;
    if (observer.downSinceUs < 0) observer.downSinceUs = nowUs;
  }
  if (observer.isUnderWay) return;
  const isDown = !seen && nowUs - observer.downSinceUs >= DOWN_AFTER_US;
  const isUp = seen && nowUs - observer.upSinceUs >= UP_AFTER_US;
  const command = isDown || isUp ? missingCommand(replica.state, host.id, group, isDown) : undefined;
  if (command === undefined) return;
  observer.isUnderWay = propose(world, host, command, PROPOSAL_TIMEOUT_US, () => {
    observer.isUnderWay = false;
  });
}

function isSeenWell(world: World, host: Host, group: GroupState): boolean {
  const target = world.nodeHost.get(group.phase.primary);
  const postgres = target?.postgres;
  if (target === undefined || postgres === undefined) return false;
  return (
    postgres.isUp &&
    postgres.role === 'primary' &&
    !postgres.isFrozen &&
    isLinked(world, host.place, target.place)
  );
}

/** What this peer has to propose so that the log says what it judges; undefined where it does. */
function missingCommand(
  state: ClusterState,
  self: PeerId,
  group: GroupState,
  isDown: boolean,
): Command | undefined {
  const { epoch, phase } = group;
  const node = state.nodes.get(phase.primary);
  if (node === undefined || !state.membership.voters.includes(self)) return undefined;
  const standing = node.subjectiveDown.find((entry) => entry.peer === self);
  if (!isDown)
    return standing === undefined
      ? undefined
      : { kind: 'subjective-up', peer: self, node: phase.primary, epoch };
  const isCounted = !(phase.kind === 'fencing' && phase.cause.kind !== 'planned');
  if (standing !== undefined && (standing.epoch === epoch || !isCounted)) return undefined;
  return { kind: 'subjective-down', peer: self, node: phase.primary, epoch, evidence: 'refused' };
}
