// Nodes whose PostgreSQL does not let in the probes of a peer: each peer knows its own and tells them with the report of its agent, so that
// whoever is asked for the status knows of all but those of peers without a node. For people; nothing is decided by it.
import type { NodeId } from '../base/ids.ts';
import type { AgentReport, RefusedProbe } from '../cluster/report.ts';
import type { Health } from '../health/watch.ts';
import type { ProbeRefusal } from '../transport/types.ts';

/** One wrong password concerns every node; reports are sent several times a second. */
const TOLD_MAX = 16;
const WHY_LENGTH_MAX = 300;

/** Of this peer. */
export function refusedProbes(health: Pick<Health, 'snapshot'>): Pick<AgentReport, 'refusedProbes'> {
  const refused = health
    .snapshot()
    .nodes.flatMap(({ node, loginRefused }): RefusedProbe[] =>
      loginRefused === undefined ? [] : [{ node, why: loginRefused.slice(0, WHY_LENGTH_MAX) }],
    );
  return refused.length === 0 ? {} : { refusedProbes: refused.slice(0, TOLD_MAX) };
}

/** Of each node the peers that it does not let in, in the order of their names. */
export function refusalsByNode(
  said: readonly { readonly peer: string; readonly refused: readonly RefusedProbe[] }[],
): ReadonlyMap<NodeId, readonly ProbeRefusal[]> {
  const found = new Map<NodeId, ProbeRefusal[]>();
  for (const { peer, refused } of said.toSorted((a, b) => (a.peer < b.peer ? -1 : 1)))
    for (const { node, why } of refused) found.set(node, [...(found.get(node) ?? []), { peer, why }]);
  return found;
}
