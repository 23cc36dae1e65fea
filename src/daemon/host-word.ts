// Passes on to the probes what the hosts of other nodes say in the log: that all processes of their PostgreSQL are gone, and that they are back.
import type { NodeId, PeerId } from '../base/ids.ts';
import type { ClusterState, NodeState } from '../cluster/state.ts';
import type { Health } from '../health/watch.ts';

export function createHostWord(
  self: PeerId,
  health: Pick<Health, 'hostSaysGone' | 'hostSaysBack'>,
): { tell(state: ClusterState): void } {
  const gone = new Set<NodeId>();
  return {
    tell(state) {
      for (const known of state.nodes.values()) {
        const isGone = hostSaysGone(state, known);
        if (known.peer === self || isGone === gone.has(known.node)) continue;
        if (isGone) gone.add(known.node);
        else gone.delete(known.node);
        if (isGone) health.hostSaysGone(known.node);
        else health.hostSaysBack(known.node);
      }
    },
  };
}

/** The log holds, at the present epoch, the word of the node's own host that all its processes are gone. */
function hostSaysGone(state: ClusterState, node: NodeState): boolean {
  const epoch = state.groups.get(node.group)?.epoch;
  return node.subjectiveDown.some(
    (entry) => entry.peer === node.peer && entry.evidence === 'processes-gone' && entry.epoch === epoch,
  );
}
