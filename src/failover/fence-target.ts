// Which former primaries a fence command should switch off now. Pure; made of the log and of the agents' reports. Must never name a node
// that answers, or one whose stop nobody has to prove: a host that is switched off for nothing is an outage of our own making.
import type { GroupId, NodeId, PeerId } from '../base/ids.ts';
import type { Fencing } from '../cluster/candidate.ts';
import { isKnownOff } from '../cluster/candidate.ts';
import { SETTINGS_FEATURE_LEVEL } from '../cluster/features.ts';
import type { FenceToken } from '../cluster/fence.ts';
import { isLeased, majority, reportsSuffice, standingDownCount } from '../cluster/quorum.ts';
import type { ClusterState, GroupState } from '../cluster/state.ts';
import { chooseCandidate } from './choose.ts';
import { type View, freshReport } from './view.ts';

export interface FenceTarget extends FenceToken {
  readonly group: GroupId;
  readonly node: NodeId;
  readonly peer: PeerId;
  /** Where the node is reached, as it registered. */
  readonly host: string;
  readonly port: number;
}

/** In the order of their groups. `self` is the leader that would run the command: it never switches its own host off. */
export function fenceTargets(state: ClusterState, view: View, self: PeerId): readonly FenceTarget[] {
  if (state.featureLevel < SETTINGS_FEATURE_LEVEL) return [];
  const { incarnation } = state.membership;
  return [...state.groups.values()].flatMap((group): FenceTarget[] => {
    const { phase } = group;
    if (phase.kind !== 'fencing' || !needsProof(group, phase) || !isAllThatLacks(state, group, phase, view))
      return [];
    const node = state.nodes.get(phase.primary);
    if (node === undefined || node.peer === self || !isGone(state, group, view, self)) return [];
    const { peer, host, port } = node;
    return [{ incarnation, epoch: group.epoch, group: group.id, node: phase.primary, peer, host, port }];
  });
}

/** That the former primary may still take writes keeps a promotion waiting. */
function needsProof(group: GroupState, phase: Fencing): boolean {
  if (isKnownOff(phase, phase.primary)) return false;
  switch (phase.cause.kind) {
    case 'down':
    case 'promotion-failed':
      return isLeased(group);
    case 'forced': {
      const cut = new Set(phase.reports.map(({ member }) => member));
      return isLeased(group) || !reportsSuffice(group.rule, group.next?.rule, cut);
    }
    case 'planned':
    case 'recovered':
    case 'followed':
      return false;
  }
}

/** With that proof somebody else could be promoted; else the one node that could end the outage by coming back would be switched off. */
function isAllThatLacks(state: ClusterState, group: GroupState, phase: Fencing, view: View): boolean {
  const proved: Fencing = { ...phase, off: [...phase.off, phase.primary] };
  const candidate = chooseCandidate(state, { ...group, phase: proved }, proved, Infinity, view);
  return candidate !== undefined && candidate.node !== phase.primary;
}

/** Neither its agent nor its PostgreSQL answers: a majority of the voters finds it down, the leader among them. */
function isGone(state: ClusterState, { phase }: GroupState, view: View, self: PeerId): boolean {
  const { voters } = state.membership;
  const entries = state.nodes.get(phase.primary)?.subjectiveDown ?? [];
  return (
    freshReport(view, phase.primary) === undefined &&
    entries.some(({ peer }) => peer === self) &&
    standingDownCount(voters, entries) >= majority(voters.length)
  );
}
