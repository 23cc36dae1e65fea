// Logs and leaders that break one rule of durability `async`, or of failovers on a person's word, to see that the model notices. Never
// used outside tests.
import type { LogIndex } from '../../base/ids.ts';
import { type ApplyResult, apply } from '../../cluster/apply.ts';
import type { Envelope } from '../../cluster/commands.ts';
import type { ClusterState, GroupState } from '../../cluster/state.ts';
import type { Apply } from './life-options.ts';
import { GROUP } from './life-parts.ts';

const onPromote =
  (seen: (group: GroupState) => GroupState): Apply =>
  (state: ClusterState, index: LogIndex, envelope: Envelope): ApplyResult => {
    const group = state.groups.get(GROUP);
    if (group === undefined || envelope.command.kind !== 'promote') return apply(state, index, envelope);
    const result = apply({ ...state, groups: new Map([[GROUP, seen(group)]]) }, index, envelope);
    if (result.refused === undefined) return result;
    return { ...result, state: { ...result.state, groups: state.groups } };
  };

/** A person's word alone is enough: nobody asks whether the former primary is off. */
export const proofNotAsked: Apply = onPromote((group) =>
  group.phase.kind === 'fencing' && group.phase.cause.kind === 'forced'
    ? { ...group, phase: { ...group.phase, off: [group.phase.primary] } }
    : group,
);

/** What a leader sees that does not wait for leases: they are over before they begin. */
export function withoutLeases(state: ClusterState): ClusterState {
  const groups = [...state.groups.values()].map(
    (group) => [group.id, { ...group, settings: { ...group.settings, leaseMs: -1_000_000 } }] as const,
  );
  return { ...state, groups: new Map(groups) };
}
