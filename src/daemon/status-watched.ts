// Servers that are only watched, as `status` shows them: the word of the majority from the log, figures as this peer sees them. Pure.
import { formatEndpoint } from './config-address.ts';
import { formatLsn } from '../base/lsn.ts';
import type { NodeId } from '../base/ids.ts';
import type { WatchedServer } from '../cluster/commands.ts';
import { watchedServers } from '../cluster/hosts.ts';
import type { ClusterState } from '../cluster/state.ts';
import type { WatchedView } from '../transport/types.ts';
import type { ServerSight } from './server-watch.ts';

export function watchedViews(
  state: ClusterState,
  sights: ReadonlyMap<NodeId, ServerSight>,
): readonly WatchedView[] {
  return watchedServers(state).map((server) => watchedView(state, server, sights.get(server.server)));
}

function watchedView(state: ClusterState, at: WatchedServer, sight: ServerSight | undefined): WatchedView {
  const known = state.watched.get(at.server);
  const word = known?.concluded;
  const facts = word?.kind === 'down' ? undefined : sight?.facts;
  return {
    server: at.server,
    address: formatEndpoint(at),
    formation: at.formation,
    state: word?.kind ?? 'unknown',
    role: (word?.kind === 'up' ? word.role : undefined) ?? 'none',
    timeline: word?.kind === 'up' ? word.timeline : undefined,
    lsn: facts?.position === undefined ? undefined : formatLsn(facts.position),
    lagBytes: facts?.lagBytes,
    lagMs: facts?.lagMs === undefined ? undefined : Math.max(0, Math.round(facts.lagMs)),
    heldDownBy: (known?.words ?? []).flatMap(({ peer, word: said }) =>
      said.kind === 'down' ? [`${peer}: ${said.evidence}`] : [],
    ),
    message: sight === undefined || sight.note === 'answers' ? undefined : sight.note,
  };
}
