// What a person should know of hosts whose configuration does not fit what the log has, and of servers that are only watched. For `status`;
// nothing is decided by it.
import {
  disowned,
  disownedText,
  formationOf,
  formationsOf,
  missingUpstream,
  missingUpstreamText,
  watchedServers,
} from '../cluster/hosts.ts';
import { type ClusterState, type GroupState, nodesOfGroup } from '../cluster/state.ts';

/** Of a group: nodes that nobody looks after any more, upstreams that are none, and hosts that do not agree on its formation. */
export function* hostNotices(state: ClusterState, group: GroupState): Iterable<string> {
  for (const node of nodesOfGroup(state, group.id)) {
    const upstream = missingUpstream(state, node);
    if (upstream !== undefined) yield missingUpstreamText(node, upstream);
    const gone = disowned(state, node);
    if (gone === undefined) continue;
    const text = disownedText(node.node, gone);
    yield node.node === group.phase.primary
      ? `${text}, the primary of group ${group.id}: nobody looks after it, its sync rule cannot change, and it is stopped once it has neither lease nor proof; put it back, or stop its PostgreSQL, and the peers fail over by themselves`
      : `${text}: it is neither promoted nor counted; sentinelctl node unregister ${node.node}, or put it back`;
  }
  const named = [...formationsOf(state, group.id).keys()].sort();
  if (named.length > 1)
    yield `group ${group.id}: its hosts name different formations (${named.join(', ')}); ${formationOf(state, group.id)} counts; give each the same node.formation`;
}

/** Of the cluster as a whole. */
export function* watchNotices(state: ClusterState): Iterable<string> {
  for (const { server, host, port } of watchedServers(state)) {
    if (state.nodes.has(server)) yield `watched server ${server} has the name of a node; give it another one`;
    for (const { peer, host: declared } of state.peers.values()) {
      const other = declared?.watch.find((each) => each.server === server);
      if (other !== undefined && (other.host !== host || other.port !== port))
        yield `watched server ${server} is at ${other.host}:${other.port} by the configuration of peer ${peer}, and at ${host}:${port} by that of another, which counts`;
    }
  }
}
