// A log and a leader that break what the choice of a candidate owes to nodes that are never promoted, to see that the model notices. Never
// used outside tests.
import { timeline } from '../../base/ids.ts';
import { lsn } from '../../base/lsn.ts';
import { apply } from '../../cluster/apply.ts';
import { promotionBar } from '../../cluster/eligibility.ts';
import type { ClusterState } from '../../cluster/state.ts';
import type { Apply } from './life-options.ts';
import { GROUP } from './life-parts.ts';

/** Whoever may not be promoted is passed over, also where the sync rule counts it: what it alone holds is lost. */
export const memberPassedOver: Apply = (state, index, envelope) => {
  if (envelope.command.kind !== 'promote') return apply(state, index, envelope);
  const result = apply(withoutBarred(state), index, envelope);
  return result.refused === undefined
    ? result
    : { ...result, state: { ...result.state, groups: state.groups } };
};

/** Whoever has begun to fetch WAL is taken to hold all that its source does. */
export const fetchTakenForGranted: Apply = (state, index, envelope) => {
  const group = state.groups.get(GROUP);
  if (envelope.command.kind !== 'promote' || group?.phase.kind !== 'fencing')
    return apply(state, index, envelope);
  const { phase } = group;
  const fetchOf = (node: string) => phase.fetches?.find((fetch) => fetch.node === node);
  const reports = phase.reports.map((report) => ({ ...report, ...fetchOf(report.node)?.upTo }));
  const granted = { ...group, phase: { ...phase, reports, fetches: [] } };
  return apply({ ...state, groups: new Map([[GROUP, granted]]) }, index, envelope);
};

/** As if nodes that may not be promoted had reported to hold nothing. */
export function withoutBarred(state: ClusterState): ClusterState {
  const group = state.groups.get(GROUP);
  if (group?.phase.kind !== 'fencing') return state;
  const reports = group.phase.reports.map((report) =>
    promotionBar(state, group, report.node) === undefined
      ? report
      : { ...report, timeline: timeline(1), position: lsn(0n) },
  );
  return { ...state, groups: new Map([[GROUP, { ...group, phase: { ...group.phase, reports } }]]) };
}
