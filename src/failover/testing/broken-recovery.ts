// Logs that accept too much after they were recovered: each breaks one rule of apply, to see that the model notices. Never used
// outside tests.
import { apply } from '../../cluster/apply.ts';
import type { ClusterState } from '../../cluster/state.ts';
import type { Apply } from './life-options.ts';
import { GROUP } from './life-parts.ts';

const fencingAfterRecovery = (state: ClusterState) => {
  const group = state.groups.get(GROUP);
  return group?.phase.kind === 'fencing' && group.phase.cause.kind === 'recovered'
    ? { group, phase: group.phase }
    : undefined;
};

/** A node that has not reported does not hold up a promotion. */
export const oneNodeUnheard: Apply = (state, index, envelope) => {
  const found = fencingAfterRecovery(state);
  if (found === undefined || envelope.command.kind !== 'promote') return apply(state, index, envelope);
  const heard = [...state.nodes].filter(([name]) => found.phase.reports.some(({ node }) => node === name));
  if (heard.length < state.nodes.size - 1) return apply(state, index, envelope);
  const result = apply({ ...state, nodes: new Map(heard) }, index, envelope);
  return { ...result, state: { ...result.state, nodes: state.nodes } };
};

/** The candidate is taken for the holder of what the group's last known rule asks for, as if nothing had been lost. */
export const switchPointForgotten: Apply = (state, index, envelope) => {
  const result = apply(state, index, envelope);
  const group = result.state.groups.get(GROUP);
  if (fencingAfterRecovery(state) === undefined || group?.phase.kind !== 'promoting') return result;
  return {
    ...result,
    state: { ...result.state, groups: new Map([[GROUP, { ...group, floor: undefined }]]) },
  };
};

/** A primary that is believed to be well gets its group back although nobody knows whether it still is the primary. */
export const resumedUnheard: Apply = (state, index, envelope) => {
  const found = fencingAfterRecovery(state);
  if (found === undefined || envelope.command.kind !== 'resume') return apply(state, index, envelope);
  const phase = {
    ...found.phase,
    cause: { kind: 'down' } as const,
    reports: [],
    off: [],
    reinstate: undefined,
  };
  return apply({ ...state, groups: new Map([[GROUP, { ...found.group, phase }]]) }, index, envelope);
};
