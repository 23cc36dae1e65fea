// Which of two nodes that stand equally far is rather promoted. Pure.
import type { Fencing } from '../cluster/candidate.ts';
import type { CutReport } from '../cluster/commands.ts';
import { siteOfNode } from '../cluster/eligibility.ts';
import type { ClusterState, GroupState } from '../cluster/state.ts';

/**
 * Negative where `a` is to be promoted rather than `b`, 0 where nothing speaks for either: first one that follows the primary directly, then by
 * priority, then (where the group's `sitePolicy` asks for it) one in the site of the former primary.
 */
export function comparePreference(
  state: ClusterState,
  group: GroupState,
  phase: Fencing,
  a: CutReport,
  b: CutReport,
): number {
  const home = group.settings.sitePolicy === 'ignore' ? undefined : siteOfNode(state, phase.primary);
  const isFar = ({ node }: CutReport): number =>
    Number(home !== undefined && siteOfNode(state, node) !== home);
  const priority = ({ node }: CutReport): number => state.nodes.get(node)?.priority ?? 0;
  const isCascading = ({ node }: CutReport): number =>
    Number(state.nodes.get(node)?.options?.upstream !== undefined);
  return isCascading(a) - isCascading(b) || priority(b) - priority(a) || isFar(a) - isFar(b);
}
